package detect_test

import (
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// What offices do without any attack, and what a detector may take for one.

// datagrams plays UDP from a new port each time that nobody answers.
func (o *office) datagrams(from int, to netip.Addr, port uint16, n int, every time.Duration) {
	for i := range n {
		c := flow.Conn{Meta: o.meta(mac(from)), Proto: 17, Client: netip.AddrPortFrom(ip(from), uint16(1024+i%60000)),
			Server: netip.AddrPortFrom(to, port), ClientMAC: mac(from), Start: o.now}
		o.play(&c)
		c.State = flow.ConnUnanswered
		o.play(&c)
		o.now = o.now.Add(every)
	}
}

// While the line is down, a name server repeats what the whole office asks; a
// web server sends each measurement from a new port and wants no answer.
func TestUDPThatNobodyAnswersIsNoReasonToIsolate(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.datagrams(53, net4(9), 53, 60000, 10*time.Millisecond)
	o.want("flood", detect.Low)

	o = newOffice(t, detect.Config{})
	o.datagrams(80, ip(30), 8125, 60000, 5*time.Millisecond)
	o.want("flood", detect.Medium)
}

// A small device asks by its loader and then by its system; two DHCP clients
// run on one machine; an installation boots from the network again and again.
func TestSeveralDHCPClientsOfOneMachineAreNoConflict(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 8 {
		o.lease(mac(10), "", "", 1, 3)
		o.lease(mac(10), "sensor", "udhcp 1.22", 1, 3, 6)
		o.lease(mac(11), "raspberrypi", "dhcpcd-9.4.1", 1, 3, 6)
		o.lease(mac(11), "raspberrypi", "", 1, 2, 6, 12, 15)
		o.lease(mac(12), "pc", "PXEClient:Arch:00007", 1, 2, 3)
		o.lease(mac(12), "minint-1", "MSFT 5.0", 1, 3, 6)
	}
	o.quiet()
}

// Many makers give their routers fe80::1, so a new one seems to take the place
// of the old one by force.
func TestAReplacedIPv6RouterIsNotIsolated(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.ra(mac(1), "fe80::1", 1800, "2001:db8::/64")
	o.wait(10 * time.Minute)
	for range 9 {
		o.ra(mac(2), "fe80::1", 1800, "2001:db8:1::/64")
		o.wait(10 * time.Minute)
	}
	o.want("rogue_ra", detect.Medium)
	o.ra(mac(1), "fe80::1", 1800, "2001:db8::/64") // it is still there
	o.ra(mac(2), "fe80::1", 0, "")
	o.want("rogue_ra", detect.High)
}

// A firewall lets the control connection pass and none of the files: a printer
// that files its scans tries each time on another port, in both modes.
func TestFilesThatFTPCannotSendAreNoPortScan(t *testing.T) {
	o := newOffice(t, detect.Config{})
	greet := func(from, to int, id uint64) (end func()) {
		client, server := netip.AddrPortFrom(ip(from), 40000), netip.AddrPortFrom(ip(to), 21)
		m := o.meta(mac(to))
		m.DstMAC = mac(from)
		o.play(&flow.Banner{Meta: m, ConnID: id, Client: client, Server: server, FromServer: true, Service: "ftp", Text: "220 nas"})
		return func() {
			o.play(&flow.Conn{Meta: o.meta(mac(from)), ID: id, State: flow.ConnClosed, Prev: flow.ConnEstablished, Proto: 6, Client: client, Server: server, ClientMAC: mac(from), Start: o.now})
		}
	}
	for i := range 40 {
		end := greet(10, 20, uint64(i))
		o.tcp(10, ip(20), uint16(50000+37*i), flow.ConnUnanswered)
		o.conn(20, ip(10), 6, uint16(40000+31*i), flow.ConnRefused)
		end()
		o.wait(time.Minute)
	}
	o.quiet()

	for i := range 40 { // the session is over
		o.tcp(10, ip(20), uint16(2000+i), flow.ConnRefused)
	}
	o.want("port_scan", detect.High)
}

// Large services return no more than the first bytes of a long ping.
func TestRepliesThatAreCutShortCarryNoData(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range uint16(2000) {
		o.echo(10, net4(8), false, i, 1000, 5)
		o.echo(10, net4(8), true, i, 68, 9)
		o.now = o.now.Add(time.Second)
	}
	o.quiet()
}

// An inventory reads each new computer as it reads the others: with exactly the
// acts of wmiexec. Another device that does it is sure.
func TestLookingAfterANewComputerIsNoAttack(t *testing.T) {
	read := func(a admin, pc int) {
		a.call(pc, wmi, 24)
		a.share(pc, "ADMIN$")
		a.smb(pc, flow.SMB{Op: flow.SMBRead, Tree: 6, Path: "inventory.txt", Length: 4000})
	}
	o, a := watch(t)
	for range 10 {
		for pc := 2; pc < 6; pc++ {
			read(a, pc)
			o.now = o.now.Add(time.Minute)
		}
		o.now = o.now.Add(24 * time.Hour)
	}
	o.found = nil
	read(a, 9)
	o.want(lateral, detect.Medium)
	a.call(9, winreg, 20) // what it never did
	o.want(lateral, detect.High)
	o.found = nil
	read(admin{o, 7}, 3)
	o.want(lateral, detect.High)
}

// A mirror port may show each frame twice: that is no name asked again.
func TestATunnelSeenTwiceIsOne(t *testing.T) {
	o := newOffice(t, detect.Config{})
	random := random(t, 3)
	for i := range 400 {
		name := hex.EncodeToString(random(30)) + "." + hex.EncodeToString(random(30)) + ".tunnel.example.com"
		for range 2 {
			o.play(&flow.DNS{Meta: o.meta(mac(10)), Src: netip.AddrPortFrom(ip(10), 40000), Dst: netip.AddrPortFrom(resolver, 53),
				ID: uint16(i), QName: name, QType: qTXT})
		}
		o.reply(10, resolver, name, qTXT, noError, 200)
		o.reply(10, resolver, name, qTXT, noError, 200)
	}
	o.want("dns_tunnel", detect.High)
}

// A storage box that spreads its load over two interfaces tells each client
// another of its hardware addresses, without being asked.
func TestTwoInterfacesOfOneMachineAreNotIsolated(t *testing.T) {
	play := func(second int) *office {
		o := newOffice(t, detect.Config{})
		for i := range 30 {
			o.arp(1, mac(64), ip(20), ip(100+i))
			o.arp(2, mac(second), ip(20), ip(10))
			o.wait(20 * time.Second)
		}
		return o
	}
	play(65).want("arp_spoof", detect.Medium)
	play(90).want("arp_spoof", detect.High)
}

// While a computer sleeps, a sleep proxy answers for it; then it wakes up.
func TestASleepProxyIsNoImpostor(t *testing.T) {
	play := func(service string) *office {
		o := newOffice(t, detect.Config{})
		o.play(&flow.DNS{Meta: o.meta(mac(90)), Proto: flow.NameMDNS, Response: true,
			Src: netip.AddrPortFrom(ip(90), 5353), Dst: netip.MustParseAddrPort("224.0.0.251:5353"),
			Answers: []flow.DNSRecord{{Name: service, Type: 12, Data: "70-35-60-63." + service}}})
		o.arp(1, mac(20), ip(20), ip(1))
		for range 10 {
			o.arp(2, mac(90), ip(20), ip(20)) // it takes over
			o.wait(time.Minute)
			o.arp(1, mac(10), ip(10), ip(20))
			o.arp(2, mac(90), ip(20), ip(10))
			o.wait(time.Minute)
			o.arp(1, mac(20), ip(20), ip(20)) // the computer is awake
			o.wait(time.Hour)
		}
		return o
	}
	if o := play("_sleep-proxy._udp.local"); o.best("arp_spoof") == detect.Medium || o.best("arp_spoof") == detect.High {
		t.Error(o.dump())
	}
	play("_airplay._tcp.local").want("arp_spoof", detect.Medium)
}

// A cable that joins two ports of one switch sends each broadcast round and round.
func TestALoopOfCablesBlamesNobody(t *testing.T) {
	o := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}})
	for range 200 {
		for n := 10; n < 30; n++ {
			m := o.meta(mac(n))
			m.DstMAC = flow.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
			o.play(&flow.DHCP{Meta: m, Type: 1, ClientMAC: mac(n), XID: uint32(n)})
			o.play(&flow.ARP{Meta: m, Op: 1, SenderMAC: mac(n), SenderIP: ip(n), TargetIP: ip(n + 1)})
			o.now = o.now.Add(100 * time.Microsecond)
		}
	}
	o.wait(time.Minute)
	for _, f := range o.found {
		if f.Confidence != detect.Low {
			t.Error(f.Explain.EN)
		}
	}
}

// In a capture that nobody explained, the second server may be the new router.
func TestAReplacedRouterThatGivesLeasesIsNotIsolated(t *testing.T) {
	o := newOffice(t, detect.Config{})
	renew := func(server int) {
		for range 3 {
			lease(o, 2, server, ip(10), ip(server))
			lease(o, 5, server, ip(10), ip(server))
		}
	}
	renew(1)
	o.wait(time.Minute)
	for range 5 {
		renew(2)
		o.wait(time.Hour)
	}
	o.want("rogue_dhcp", detect.Medium)
	renew(1) // it is still there
	o.wait(time.Hour)
	renew(2)
	o.want("rogue_dhcp", detect.High)
}

func TestWhileTheLineIsDownManyLogInsElsewhereAreAQuestion(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.tcp(20, net4(1), 443, flow.ConnEstablished)
	o.wait(5 * time.Minute) // and then the line goes
	for i := range 12 {     // an administrator's tool calls its servers
		o.tcp(10, net4(100+i), 22, flow.ConnUnanswered)
	}
	o.want("worm", detect.Medium)
	o.want("host_scan", detect.Medium)

	o = newOffice(t, detect.Config{})
	for i := range 12 { // the line is there, and most of those called are not
		o.tcp(20, net4(1), 443, flow.ConnEstablished)
		o.tcp(10, net4(100+i), 22, flow.ConnUnanswered)
	}
	o.want("worm", detect.High)

	o = newOffice(t, detect.Config{})
	for i := range 12 { // nobody calls Telnet there, whatever the line does
		o.tcp(10, net4(100+i), 23, flow.ConnUnanswered)
	}
	o.want("worm", detect.High)
}
