package detect_test

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

const (
	svcctl   = "367abb81-9844-35f1-ad32-98f038001003"
	tasks    = "86d35949-83c9-4044-b424-db363231fd0c"
	winreg   = "338cd001-2244-31f1-aaaa-900038001003"
	wmi      = "9556dc99-828c-11cf-a37e-00aa003240c7"
	dispatch = "00020400-0000-0000-c000-000000000046"
	activate = "000001a0-0000-0000-c000-000000000046"
	drsuapi  = "e3514235-4b06-11d1-ab04-00c04fc2dcd2"
	netlogon = "12345678-1234-abcd-ef00-01234567cffb"
	lsarpc   = "12345778-1234-abcd-ef00-0123456789ab"
	samr     = "12345778-1234-abcd-ef00-0123456789ac"
	srvsvc   = "4b324fc8-1670-01d3-1278-5a47bf6ee188"
)

// admin plays what one device does to others from afar.
type admin struct {
	*office
	from int
}

func (a admin) ends(to int, port uint16) (flow.Meta, netip.AddrPort, netip.AddrPort) {
	m := a.meta(mac(a.from))
	m.DstMAC = mac(to)
	return m, netip.AddrPortFrom(ip(a.from), 50000), netip.AddrPortFrom(ip(to), port)
}

func (a admin) tick() { a.now = a.now.Add(200 * time.Millisecond) }

func (a admin) call(to int, iface string, opnum uint16, stub ...byte) {
	m, c, s := a.ends(to, 49670)
	a.play(&flow.RPC{Meta: m, ConnID: uint64(to), Client: c, Server: s, Kind: flow.RPCRequest, Interface: iface, Opnum: opnum, Stub: stub})
	a.tick()
}

func (a admin) smb(to int, e flow.SMB) {
	m, c, s := a.ends(to, 445)
	if e.Response {
		m.SrcMAC, m.DstMAC = m.DstMAC, m.SrcMAC
	}
	if e.ConnID == 0 {
		e.ConnID = uint64(100*a.from + to)
	}
	if e.Version == 0 {
		e.Version = 2
	}
	e.Meta, e.Client, e.Server, e.Session = m, c, s, 7
	a.play(&e)
	a.tick()
}

// share opens a share; its tree is the length of its name.
func (a admin) share(to int, name string) {
	a.smb(to, flow.SMB{Op: flow.SMBTree, Path: `\\host\` + name})
	a.smb(to, flow.SMB{Op: flow.SMBTree, Path: `\\host\` + name, Response: true, Tree: uint32(len(name))})
}

func (a admin) open(to int, share, path string, disposition, access uint32) {
	a.smb(to, flow.SMB{Op: flow.SMBOpen, Tree: uint32(len(share)), Path: path, Disposition: disposition, Access: access})
}

func (a admin) wsman(to int, path string) {
	m, c, s := a.ends(to, 5985)
	a.play(&flow.HTTP{Meta: m, Client: c, Server: s, Method: "POST", Path: path, Number: 1})
	a.tick()
}

func (a admin) psexec(to int) {
	a.share(to, "ADMIN$")
	a.open(to, "ADMIN$", "kqTzWbRx.exe", 5, 0x40000000)
	a.call(to, svcctl, 15)
	a.call(to, svcctl, 12)
	a.call(to, svcctl, 19)
}

const lateral = "lateral_movement"

func watch(t *testing.T) (*office, admin) {
	o := newOffice(t, detect.Config{})
	return o, admin{o, 1}
}

func TestLateralBandOfOneAct(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(a admin)
		want detect.Confidence
		tech string
	}{
		{"lists services", func(a admin) { a.call(2, svcctl, 42) }, detect.Low, "T1007"},
		{"installs a service", func(a admin) { a.call(2, svcctl, 12) }, detect.Medium, "T1569.002"},
		{"installs a service, narrow characters", func(a admin) { a.call(2, svcctl, 24) }, detect.Medium, "T1569.002"},
		{"changes a service", func(a admin) { a.call(2, svcctl, 11) }, detect.Medium, "T1543.003"},
		{"stops a service", func(a admin) { a.call(2, svcctl, 1) }, detect.Medium, "T1489"},
		{"creates a task", func(a admin) { a.call(2, tasks, 1) }, detect.Medium, "T1053.005"},
		{"saves the registry", func(a admin) { a.call(2, winreg, 31) }, detect.Medium, "T1003.002"},
		{"queries WMI", func(a admin) { a.call(2, wmi, 20) }, detect.Low, "T1047"},
		{"runs a WMI method", func(a admin) { a.call(2, wmi, 24) }, detect.Medium, "T1047"},
		{"subscribes to WMI events", func(a admin) { a.call(2, wmi, 14) }, detect.Medium, "T1546.003"},
		{"starts a COM object", func(a admin) { a.call(2, activate, 4) }, detect.Low, "T1021.003"},
		{"starts MMC by COM", func(a admin) {
			id, _ := hex.DecodeString("9127b249aeb1904c9b8ee860ba07f889")
			a.call(2, activate, 4, append(make([]byte, 40), id...)...)
		}, detect.Medium, "T1021.003"},
		{"invokes a COM object", func(a admin) { a.call(2, dispatch, 6) }, detect.Medium, "T1021.003"},
		{"fetches a stored secret", func(a admin) { a.call(2, lsarpc, 43) }, detect.Medium, "T1003.004"},
		{"opens the passwords of the domain", func(a admin) { a.share(2, "C$"); a.open(2, "C$", `Windows\NTDS\ntds.dit`, 1, 1) }, detect.Medium, "T1003.003"},
		{"installs a printer driver", func(a admin) { a.call(2, "76f03f96-cdfd-44fc-a22c-64950a001209", 39) }, detect.Medium, "T1547.012"},
		{"clears the event log", func(a admin) { a.call(2, "f6beaff7-1e19-4fbb-9f8f-b89e2018337c", 6) }, detect.Medium, "T1070.001"},
		{"opens a remote shell over TLS", func(a admin) { a.tcp(1, ip(2), 5986, flow.ConnEstablished) }, detect.Low, "T1021.006"},
		{"lists accounts", func(a admin) { a.call(2, samr, 13) }, detect.Low, "T1087.002"},
		{"lists sessions", func(a admin) { a.call(2, srvsvc, 12) }, detect.Low, "T1049"},
		{"opens a remote shell", func(a admin) { a.wsman(2, "/wsman?PSVersion=5.1") }, detect.Medium, "T1021.006"},
		{"opens an administrative share", func(a admin) { a.share(2, "C$") }, detect.Low, "T1021.002"},
		{"writes a document to one", func(a admin) { a.share(2, "C$"); a.open(2, "C$", `Temp\notes.txt`, 5, 2) }, detect.Low, "T1021.002"},
		{"writes a program to one", func(a admin) { a.share(2, "C$"); a.open(2, "C$", `Temp\x.dll`, 5, 2) }, detect.Medium, "T1570"},
		{"opens the pipe of PsExec", func(a admin) { a.share(2, "IPC$"); a.open(2, "IPC$", `PSEXESVC-A-12-stdin`, 1, 2) }, detect.Medium, "T1021.002"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, a := watch(t)
			c.do(a)
			o.want(lateral, c.want)
			if f := o.last(lateral); f.Host.IP != ip(1) || f.Host.MAC != mac(1) || f.Peers[0].IP != ip(2) || f.Technique != c.tech {
				t.Errorf("%s by %s (%s) to %s", f.Technique, f.Host.IP, f.Host.MAC, f.Peers[0].IP)
			}
		})
	}
}

// What computers do among themselves, and users do with shares.
func TestLateralStaysQuietForOrdinaryUse(t *testing.T) {
	for name, do := range map[string]func(a admin){
		"log-on of a domain member": func(a admin) {
			for _, op := range []uint16{64, 6, 5, 7, 17, 34, 36, 39, 1} { // connect, look up, open, groups of oneself
				a.call(2, samr, op)
			}
			for _, op := range []uint16{44, 76, 77, 68} { // look up names and identifiers
				a.call(2, lsarpc, op)
			}
			for _, op := range []uint16{0, 12, 1} { // bind, crack names, unbind
				a.call(2, drsuapi, op)
			}
		},
		"log-on over Netlogon": func(a admin) {
			stub := append(make([]byte, 60), 0x8a, 0x11, 0x92, 0xfe, 0x31, 0x07, 0x55, 0xc2)
			a.call(2, netlogon, 4, stub...)
			a.call(2, netlogon, 26, append(stub, 0xff, 0xff, 0x2f, 0x61)...)
		},
		"forwarding of event logs":      func(a admin) { a.wsman(2, "/wsman/SubscriptionManager/WEC"); a.wsman(2, "/wsman/subscriptions/6A1D/1") },
		"browsing two servers":          func(a admin) { a.call(2, srvsvc, 15); a.call(3, srvsvc, 15) },
		"programs on an ordinary share": func(a admin) { a.share(2, "software"); a.open(2, "software", `setup.exe`, 5, 2) },
		"ordinary pipes": func(a admin) {
			a.share(2, "IPC$")
			a.open(2, "IPC$", "spoolss", 1, 3)
			a.open(2, "IPC$", "wkssvc", 1, 3)
		},
		"a printer read by the registry": func(a admin) { a.call(2, winreg, 2); a.call(2, winreg, 15); a.call(2, winreg, 17) },
		"RPC answers": func(a admin) {
			m, c, s := a.ends(2, 135)
			a.play(&flow.RPC{Meta: m, Client: c, Server: s, Kind: flow.RPCResponse, Interface: svcctl, Opnum: 12})
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, a := watch(t)
			do(a)
			o.quiet()
		})
	}
}

// Acts that together are what tools of attackers do are high, once the office
// is known; before, nobody can tell them from the administrator.
func TestLateralPictures(t *testing.T) {
	for name, do := range map[string]func(a admin){
		"atexec": func(a admin) { a.call(2, tasks, 1); a.call(2, tasks, 12); a.call(2, tasks, 13) },
		"wmiexec": func(a admin) {
			a.call(2, wmi, 24)
			a.share(2, "ADMIN$")
			a.smb(2, flow.SMB{Op: flow.SMBRead, Tree: 6, Path: "__1605210456.33", Length: 1 << 16})
		},
		"secretsdump": func(a admin) {
			a.call(2, winreg, 20)
			a.share(2, "C$")
			a.smb(2, flow.SMB{Op: flow.SMBRead, Tree: 2, Path: `Windows\Temp\hXqz.tmp`, Length: 1 << 16})
		},
		"beacon over SMB": func(a admin) {
			a.psexec(2)
			a.share(2, "IPC$")
			a.open(2, "IPC$", `msagent_7f`, 1, 3)
		},
		"service that calls back": func(a admin) {
			a.call(2, svcctl, 24)
			a.tcp(2, ip(1), 4444, flow.ConnEstablished)
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, a := watch(t)
			do(a)
			o.want(lateral, detect.Medium)

			o, a = watch(t)
			o.play(&flow.Tick{Meta: o.meta(flow.MAC{})})
			o.now = o.now.Add(8 * 24 * time.Hour)
			do(a)
			o.want(lateral, detect.High)
		})
	}
}

// What PsExec does, antivirus and backup do to each new computer, and an
// administrator once in a while: a person is asked, however long the office is known.
func TestLateralInstallingAServiceIsNeverCertain(t *testing.T) {
	for name, do := range map[string]func(a admin){
		"PsExec": func(a admin) {
			a.psexec(2)
			a.share(2, "IPC$")
			a.open(2, "IPC$", "PSEXESVC-PC1-4711-stdin", 1, 3)
		},
		"agent installed, its log fetched, its installer removed": func(a admin) {
			a.psexec(2)
			a.smb(2, flow.SMB{Op: flow.SMBRead, Tree: 6, Path: "install.log", Length: 4000})
			a.call(2, svcctl, 2)
		},
		"library put into place and its service restarted": func(a admin) {
			a.share(2, "C$")
			a.open(2, "C$", `Windows\System32\wlbsctrl.dll`, 2, 0x40000000)
			a.call(2, svcctl, 1)
			a.call(2, svcctl, 19)
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, a := watch(t)
			o.play(&flow.Tick{Meta: o.meta(flow.MAC{})})
			o.now = o.now.Add(8 * 24 * time.Hour)
			do(a)
			o.want(lateral, detect.Medium)
		})
	}
}

// A task of every night is a habit in the night in which the office is known,
// also when it runs a little early then.
func TestLateralHabitsAreKnownWhenTheOfficeIs(t *testing.T) {
	o, a := watch(t)
	o.play(&flow.Tick{Meta: o.meta(flow.MAC{})})
	o.now = o.now.Add(time.Minute)
	for range 20 {
		a.call(2, tasks, 1)
		a.call(2, tasks, 12)
		a.call(2, tasks, 13)
		o.now = o.now.Add(24*time.Hour - 2*time.Second)
	}
	o.want(lateral, detect.Medium)
}

// The clock of a small computer begins in the past, until it is set.
func TestLateralLearnsNothingFromAClockThatIsSet(t *testing.T) {
	o, a := watch(t)
	o.now = o.now.AddDate(-3, 0, 0)
	a.tcp(1, ip(9), 80, flow.ConnEstablished)
	o.now = o.now.AddDate(3, 0, 0)
	a.call(2, tasks, 1)
	a.call(2, tasks, 12)
	a.call(2, tasks, 13)
	o.want(lateral, detect.Medium)
}

func TestLateralPicturesNeedTheirActsTogether(t *testing.T) {
	o, a := watch(t)
	o.play(&flow.Tick{Meta: o.meta(flow.MAC{})})
	o.now = o.now.Add(8 * 24 * time.Hour)
	a.share(2, "ADMIN$")
	a.open(2, "ADMIN$", "tool.exe", 5, 0x40000000)
	o.now = o.now.Add(time.Hour)
	a.call(3, svcctl, 19) // another server
	a.call(2, svcctl, 19) // much later
	o.want(lateral, detect.Medium)
}

// An administrator's tool, used each day, is learnt; the same from another
// device is not, and a suspect teaches nothing.
func TestLateralLearnsHabits(t *testing.T) {
	work := func(o *office, days int) {
		for range days {
			admin{o, 1}.call(2, svcctl, 15)
			admin{o, 1}.call(2, svcctl, 19)
			o.now = o.now.Add(24 * time.Hour)
		}
	}
	o, _ := watch(t)
	work(o, 10)
	o.want(lateral, detect.Medium)
	o.found = nil
	work(o, 30)
	for _, f := range o.found {
		if f.Confidence != detect.Low {
			t.Errorf("a habit is %s: %s", f.Confidence, f.Explain.EN)
		}
	}
	if len(o.found) > 5 {
		t.Errorf("%d findings in a month of daily work", len(o.found))
	}
	admin{o, 5}.call(2, svcctl, 19)
	o.want(lateral, detect.Medium)
	o.found = nil
	m, c, s := admin{o, 1}.ends(2, 49670)
	m.SrcMAC = mac(77) // another device with the administrator's address
	o.play(&flow.RPC{Meta: m, Client: c, Server: s, Kind: flow.RPCRequest, Interface: svcctl, Opnum: 12})
	o.want(lateral, detect.Medium)

	o = newOffice(t, detect.Config{Suspect: func(m flow.MAC) bool { return m == mac(1) }})
	work(o, 30)
	o.found = nil
	work(o, 10)
	for _, f := range o.found {
		if f.Confidence == detect.Low && strings.Contains(f.Explain.EN, "started") {
			t.Error("habits of a suspect are learnt")
		}
	}
}

func TestLateralHabitsOutliveARestart(t *testing.T) {
	o, a := watch(t)
	for range 10 {
		a.call(2, svcctl, 19)
		o.now = o.now.Add(24 * time.Hour)
	}
	memory, err := o.eng.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	n := newOffice(t, detect.Config{})
	n.now = o.now
	if err := n.eng.Restore(memory); err != nil {
		t.Fatal(err)
	}
	b := admin{n, 1}
	b.call(2, svcctl, 19)
	n.want(lateral, detect.Low)
	again, err := n.eng.Snapshot()
	if err != nil || len(again) == 0 {
		t.Fatal(err)
	}
	b.call(3, tasks, 1)
	b.call(3, tasks, 12)
	b.call(3, tasks, 13)
	n.want(lateral, detect.High) // the week of watching counts too
}

func TestLateralReplicationIsForDomainControllers(t *testing.T) {
	o, a := watch(t)
	m, c, s := a.ends(2, 88)
	for _, server := range []netip.AddrPort{s, netip.AddrPortFrom(ip(3), 88)} {
		o.play(&flow.Kerberos{Meta: m, Client: c, Server: server, Type: 11, User: "someone"})
	}
	admin{o, 3}.call(2, drsuapi, 3)
	o.quiet()
	a.call(2, drsuapi, 3)
	o.want(lateral, detect.Medium)
	if f := o.last(lateral); f.Technique != "T1003.006" {
		t.Error(f.Technique)
	}

	o, a = watch(t)
	o.play(&flow.Tick{Meta: o.meta(flow.MAC{})})
	o.now = o.now.Add(8 * 24 * time.Hour)
	a.call(2, drsuapi, 3) // a server that becomes the bridge to a directory in the cloud
	o.want(lateral, detect.Medium)
	a.share(2, "ADMIN$")
	o.want(lateral, detect.High)
}

// Zerologon has no use but attack, whatever else is known.
func TestLateralEmptyProofIsAnAttack(t *testing.T) {
	for name, stub := range map[string]string{
		"aligned":  "05000000640063000000" + "0000000000000000" + "ffff2f21",
		"unpadded": "0500000064006300300031000000" + "0000000000000000" + "0000" + "ffff2f21",
	} {
		t.Run(name, func(t *testing.T) {
			o, a := watch(t)
			b, err := hex.DecodeString(strings.Repeat("41", 40) + stub)
			if err != nil {
				t.Fatal(err)
			}
			for range 7 {
				a.call(2, netlogon, 15, b...)
			}
			o.want(lateral, detect.Medium) // a test for the hole, so far
			a.call(2, netlogon, 26, b...)
			o.want(lateral, detect.High)

			o, a = watch(t)
			a.call(2, netlogon, 30, 1, 2, 3)
			o.quiet() // computers change their passwords
			a.call(2, netlogon, 15, b...)
			a.call(2, netlogon, 30, 1, 2, 3)
			o.want(lateral, detect.High)
		})
	}
}

func TestLateralKerberos(t *testing.T) {
	kerb := func(a admin, e flow.Kerberos) {
		m, c, s := a.ends(2, 88)
		e.Meta, e.Client, e.Server = m, c, s
		a.play(&e)
		a.tick()
	}
	windows := []int32{18, 17, 23, 24, -135, 3}
	o, a := watch(t)
	kerb(a, flow.Kerberos{Type: 10, User: "kato", ETypes: windows})
	kerb(a, flow.Kerberos{Type: 30, Error: 25})
	kerb(a, flow.Kerberos{Type: 10, User: "kato", ETypes: windows, PreAuth: true})
	kerb(a, flow.Kerberos{Type: 11, User: "kato", EType: 18})
	for _, s := range []string{"cifs/a", "cifs/b", "ldap/dc", "host/c", "HTTP/old", "host/d", "RPCSS/e"} { // an old client: RC4 for all
		kerb(a, flow.Kerberos{Type: 12, Service: s, ETypes: []int32{23, -133, 3}})
		kerb(a, flow.Kerberos{Type: 13, Service: s, EType: 23})
	}
	kerb(a, flow.Kerberos{Type: 10, User: "xp", ETypes: []int32{23, -133, 3, 1}, PreAuth: true})
	o.quiet()

	kerb(a, flow.Kerberos{Type: 10, User: "kato", ETypes: []int32{23}, PreAuth: true})
	if f := o.last(lateral); f.Technique != "T1550.002" || f.Confidence != detect.Medium {
		t.Errorf("pass the hash: %s %s", f.Technique, f.Confidence)
	}

	o, a = watch(t)
	kerb(a, flow.Kerberos{Type: 10, User: "svc", ETypes: []int32{23}})
	o.quiet()
	kerb(a, flow.Kerberos{Type: 11, User: "svc", EType: 23})
	if f := o.last(lateral); f.Technique != "T1558.004" {
		t.Errorf("no pre-authentication: %s", f.Technique)
	}

	o, a = watch(t)
	for _, s := range []string{"MSSQLSvc/db:1433", "HTTP/intranet", "backup/nas", "MSSQLSvc/db2", "sap/erp"} {
		o.quiet()
		kerb(a, flow.Kerberos{Type: 13, Service: s, EType: 23})
		kerb(a, flow.Kerberos{Type: 13, Service: s, EType: 23})
	}
	if f := o.last(lateral); f.Technique != "T1558.003" || f.Host.IP != ip(1) {
		t.Errorf("roasting: %s by %s", f.Technique, f.Host.IP)
	}
}

func TestLateralDirectorySearches(t *testing.T) {
	search := func(a admin, filter string, attrs ...string) {
		m, c, s := a.ends(2, 389)
		a.play(&flow.LDAP{Meta: m, Client: c, Server: s, Op: 3, Base: "DC=office", Scope: 2, Filter: filter, Attributes: attrs})
		a.tick()
	}
	o, a := watch(t)
	search(a, "(&(objectClass=user)(sAMAccountName=kato))", "mail")
	search(a, "(objectClass=groupPolicyContainer)", "displayName")
	search(a, "(&(servicePrincipalName=HTTP/intranet))")
	o.quiet()
	search(a, "(&(objectCategory=group)(sAMAccountName=Domain Admins))")
	o.want(lateral, detect.Low)
	search(a, "(adminCount=1)")
	o.want(lateral, detect.Low)
	search(a, "(&(samAccountType=805306368)(servicePrincipalName=*))")
	search(a, "(userAccountControl:1.2.840.113556.1.4.803:=4194304)")
	o.want(lateral, detect.Medium)
}

func TestLateralFanOut(t *testing.T) {
	for name, do := range map[string]func(a admin, to int){
		"service managers": func(a admin, to int) { a.call(to, svcctl, 64) },
		"sessions":         func(a admin, to int) { a.call(to, srvsvc, 12) },
		"remote desktops":  func(a admin, to int) { a.tcp(1, ip(to), 3389, flow.ConnEstablished) },
		"one account": func(a admin, to int) {
			m, c, s := a.ends(to, 445)
			a.play(&flow.Login{Meta: m, Client: c, Server: s, Service: "smb", Mechanism: "ntlm", User: "administrator", Result: flow.LoginOK})
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, a := watch(t)
			for to := 2; to <= 6; to++ {
				do(a, to)
				o.now = o.now.Add(20 * time.Second)
			}
			o.want(lateral, detect.Medium)
			widest := 0
			for _, f := range o.found {
				if widest = max(widest, f.PeerCount); f.Host.IP != ip(1) {
					t.Errorf("host %s", f.Host.IP)
				}
			}
			if widest != 5 {
				t.Errorf("%d peers", widest)
			}

			o, a = watch(t)
			for to := 2; to <= 6; to++ { // a person goes from one to the next
				do(a, to)
				o.now = o.now.Add(11 * time.Minute)
			}
			if b := o.best(lateral); b == detect.Medium || b == detect.High {
				t.Errorf("work of an hour is %s\n%s", b, o.dump())
			}
		})
	}
}

func TestLateralFanOutOfDifferentUsersIsAServer(t *testing.T) {
	o, a := watch(t)
	for to := 2; to <= 9; to++ {
		m, c, s := a.ends(to, 445)
		a.play(&flow.Login{Meta: m, Client: c, Server: s, Service: "smb", Mechanism: "ntlm", User: "user" + string(rune('a'+to)), Result: flow.LoginOK})
	}
	o.quiet()
}

func TestLateralCallback(t *testing.T) {
	touch := func(a admin) { a.share(2, "IPC$"); a.smb(2, flow.SMB{Op: flow.SMBPipe, Path: "spoolss"}) }
	o, a := watch(t)
	touch(a)
	a.tcp(2, ip(1), 4444, flow.ConnEstablished)
	o.want(lateral, detect.Low)

	for name, do := range map[string]func(o *office, a admin){
		"RPC calls back by its dynamic ports": func(o *office, a admin) { touch(a); a.tcp(2, ip(1), 49700, flow.ConnEstablished) },
		"print servers call back by SMB":      func(o *office, a admin) { touch(a); a.tcp(2, ip(1), 445, flow.ConnEstablished) },
		"a service that was there before": func(o *office, a admin) {
			a.tcp(3, ip(1), 8080, flow.ConnEstablished)
			touch(a)
			a.tcp(2, ip(1), 8080, flow.ConnEstablished)
		},
		"much later": func(o *office, a admin) {
			touch(a)
			o.now = o.now.Add(time.Minute)
			a.tcp(2, ip(1), 4444, flow.ConnEstablished)
		},
		"a refusal":    func(o *office, a admin) { touch(a); a.tcp(2, ip(1), 4444, flow.ConnRefused) },
		"nothing done": func(o *office, a admin) { a.tcp(2, ip(1), 4444, flow.ConnEstablished) },
	} {
		t.Run(name, func(t *testing.T) {
			o, a := watch(t)
			do(o, a)
			if b := o.best(lateral); b != "" {
				t.Errorf("%s\n%s", b, o.dump())
			}
		})
	}
}

func TestLateralDesktopsThatNobodyUses(t *testing.T) {
	desktop := func(a admin, sent uint64, lasting time.Duration) {
		m, c, s := a.ends(2, 3389)
		a.play(&flow.Conn{Meta: m, State: flow.ConnClosed, Prev: flow.ConnEstablished, Proto: 6, Client: c, Server: s,
			ClientMAC: mac(1), ServerMAC: mac(2), Start: a.now.Add(-lasting), Sent: sent, Received: 49000})
		a.now = a.now.Add(lasting)
	}
	o, a := watch(t)
	for range 2 {
		desktop(a, 2145, 2*time.Minute)
	}
	for range 9 {
		desktop(a, 90000, 20*time.Minute) // somebody works
		desktop(a, 1200, 4*time.Second)   // a check that the port is open
	}
	o.quiet()
	for range 3 {
		desktop(a, 2145, 2*time.Minute)
	}
	o.want(lateral, detect.Low)
}

func TestLateralShellsNameWhoCommands(t *testing.T) {
	say := func(o *office, from int, client, server netip.AddrPort, fromServer bool, text string) {
		o.play(&flow.Opaque{Meta: o.meta(mac(from)), Client: client, Server: server, FromServer: fromServer, Data: []byte(text)})
	}
	banner := "Microsoft Windows [Version 10.0.19045.3803]\r\n(c) Microsoft Corporation.\r\n\r\nC:\\Windows\\system32>"
	inside, other := netip.AddrPortFrom(ip(2), 50000), netip.AddrPortFrom(ip(1), 4444)

	o, _ := watch(t)
	say(o, 2, inside, other, false, banner)
	if f := o.last(lateral); f.Host.IP != ip(1) || f.Confidence != detect.High {
		t.Errorf("reverse shell by %s, %s", f.Host.IP, f.Confidence)
	}
	o, _ = watch(t)
	say(o, 2, netip.AddrPortFrom(ip(1), 50000), netip.AddrPortFrom(ip(2), 4444), true, "PS C:\\Users\\kato> ")
	if f := o.last(lateral); f.Host.IP != ip(1) {
		t.Errorf("bind shell by %s", f.Host.IP)
	}
	o, _ = watch(t)
	say(o, 2, inside, netip.AddrPortFrom(net4(7), 443), false, banner)
	if o.best(lateral) != "" {
		t.Error("a commander outside is the matter of c2_channel")
	}
	o, _ = watch(t)
	say(o, 2, inside, netip.AddrPortFrom(ip(1), 23), true, banner)
	say(o, 2, inside, other, false, "\x16\x03\x01 C:\\")
	say(o, 2, inside, other, false, "<13>Nov 25 02:00:01 pc2 cron: bash: no job control in this shell\n") // a log that is sent along
	say(o, 2, inside, other, false, `{"text":"Microsoft Windows [Version 10.0.19045.3803]"}`)
	if o.best(lateral) != "" {
		t.Error(o.dump())
	}
}

// The marks of the SMB1 exploits, each a breach of MS-CIFS.
func TestLateralSMB1Exploits(t *testing.T) {
	for name, do := range map[string]func(a admin, to int){
		"DoublePulsar ping": func(a admin, to int) {
			a.smb(to, flow.SMB{Version: 1, Op: flow.SMBTransaction, Command: 0x32, Function: 0x0e, MID: 65, Size: 78})
		},
		"transaction continued as another kind": func(a admin, to int) {
			a.smb(to, flow.SMB{Version: 1, Op: flow.SMBTransaction, Command: 0xa0, MID: 64, Length: 66512, Size: 1080})
			a.smb(to, flow.SMB{Version: 1, Op: flow.SMBTransaction, Command: 0x33, MID: 64, Length: 4096, Size: 4149})
		},
		"transactions never continued": func(a admin, to int) {
			for i := range uint64(12) {
				a.smb(to, flow.SMB{Version: 1, Op: flow.SMBTransaction, Command: 0x25, Function: 54, MID: 64 + i, Length: 21504, Size: 67})
			}
		},
		"negotiation of 64 kB on several connections": func(a admin, to int) {
			for i := range uint64(4) {
				a.smb(to, flow.SMB{ConnID: 500 + i, Op: flow.SMBNegotiate, Size: 65527})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, a := watch(t)
			do(a, 2)
			o.want(lateral, detect.High)
			o.want("worm", "")
			do(a, 3)
			o.want("worm", detect.High)
			if f := o.last("worm"); f.PeerCount != 2 || f.Host.IP != ip(1) {
				t.Errorf("worm %s to %d hosts", f.Host.IP, f.PeerCount)
			}
		})
	}
}

func TestLateralSMB1OfOldDevicesIsNoExploit(t *testing.T) {
	o, a := watch(t)
	for i := range uint64(50) { // a scanner that stores its pages, long transactions included
		mid := 64 + i
		a.smb(2, flow.SMB{Version: 1, Op: flow.SMBTransaction, Command: 0xa0, Function: 2, MID: mid, Length: 66512, Size: 1080})
		a.smb(2, flow.SMB{Version: 1, Op: flow.SMBTransaction, Command: 0xa0, Function: 2, MID: mid, Response: true})
		a.smb(2, flow.SMB{Version: 1, Op: flow.SMBTransaction, Command: 0xa1, Function: 2, MID: mid, Length: 65432, Size: 65500})
		a.smb(2, flow.SMB{Version: 1, Op: flow.SMBTransaction, Command: 0x32, Function: 5, MID: mid, Length: 40, Size: 140})
		a.smb(2, flow.SMB{Version: 1, Op: flow.SMBTransaction, Command: 0x32, Function: 5, MID: mid, Response: true, Length: 40, Size: 140})
	}
	a.smb(2, flow.SMB{Version: 1, Op: flow.SMBNegotiate, Size: 300})
	o.quiet()
}

func TestLateralTestsForTheHoleAreMedium(t *testing.T) {
	o, a := watch(t)
	a.smb(2, flow.SMB{Version: 1, Op: flow.SMBTransaction, Command: 0x25, Function: 0x23, Size: 74})
	o.want(lateral, detect.Medium)
}

func TestLateralNeverAccusesTheGateway(t *testing.T) {
	o := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}})
	a := admin{o, 254}
	a.psexec(2)
	a.smb(2, flow.SMB{Version: 1, Op: flow.SMBTransaction, Command: 0x32, Function: 0x0e, MID: 65})
	if o.best(lateral) != "" {
		t.Error(o.dump())
	}
}

// Whoever invents addresses finds bounded tables.
func TestLateralIsBounded(t *testing.T) {
	o := newOffice(t, detect.Config{MaxHosts: 64})
	for i := range 5000 {
		m := o.meta(mac(i))
		c := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)}), 50000)
		s := netip.AddrPortFrom(ip(2), 445)
		o.play(&flow.RPC{Meta: m, Client: c, Server: s, Kind: flow.RPCRequest, Interface: svcctl, Opnum: 12})
		o.play(&flow.SMB{Meta: m, ConnID: uint64(i), Client: c, Server: s, Version: 1, Op: flow.SMBTransaction, Command: 0x25, Length: 9})
		o.play(&flow.Kerberos{Meta: m, Client: c, Server: s, Type: 13, EType: 23, Service: "x/y"})
	}
	st := o.eng.Stats()
	if st.Entries[lateral] > 64*8+8192+4096 || st.Evicted[lateral] == 0 {
		t.Errorf("%d entries, %d evicted", st.Entries[lateral], st.Evicted[lateral])
	}
}

// A file server's busiest minute: one client reads a large file.
func BenchmarkSMBReads(b *testing.B) {
	o := newOffice(b, detect.Config{})
	e := flow.SMB{Meta: o.meta(mac(1)), ConnID: 1, Version: 2, Op: flow.SMBRead, Session: 7, Tree: 5, Path: `Projects\2026\Plan of the house.dwg`,
		Length: 1 << 20, Client: netip.AddrPortFrom(ip(1), 50000), Server: netip.AddrPortFrom(ip(2), 445)}
	b.ReportAllocs()
	for b.Loop() {
		e.Offset += 1 << 20
		e.Response = !e.Response
		o.eng.Observe(&e)
	}
}
