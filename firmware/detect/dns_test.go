package detect_test

import (
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"math/rand"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

const (
	qA, qCNAME, qNULL, qMX, qTXT, qAAAA, qSRV = 1, 5, 10, 15, 16, 28, 33

	noError, nxDomain = 0, 3
)

var resolver = netip.MustParseAddr("9.9.9.9")

// query sends one question from a device to a server.
func (o *office) query(from int, server netip.Addr, name string, kind uint16) {
	o.play(&flow.DNS{Meta: o.meta(mac(from)), Src: netip.AddrPortFrom(ip(from), 40000),
		Dst: netip.AddrPortFrom(server, 53), QName: name, QType: kind})
}

// reply sends the answer; data < 0 is an address, else that many bytes.
func (o *office) reply(to int, server netip.Addr, name string, kind uint16, rcode uint8, data int) {
	m := o.meta(gatewayMAC)
	m.DstMAC = mac(to)
	e := &flow.DNS{Meta: m, Src: netip.AddrPortFrom(server, 53), Dst: netip.AddrPortFrom(ip(to), 40000),
		Response: true, RCode: rcode, QName: name, QType: kind}
	switch {
	case rcode != noError:
	case data < 0:
		e.Answers = []flow.DNSRecord{{Name: name, Type: kind, TTL: 300, Data: "203.0.113.9", Size: 4}}
	default:
		e.Answers = []flow.DNSRecord{{Name: name, Type: kind, Size: data}}
	}
	o.play(e)
	o.now = o.now.Add(50 * time.Millisecond)
}

func (o *office) lookup(from int, name string, kind uint16, data int) {
	o.query(from, resolver, name, kind)
	o.reply(from, resolver, name, kind, noError, data)
}

func (o *office) missing(from int, name string) {
	o.query(from, resolver, name, qA)
	o.reply(from, resolver, name, qA, nxDomain, 0)
}

// random gives the same octets in every run.
func random(t testing.TB, seed int64) func(n int) []byte {
	r := rand.New(rand.NewSource(seed))
	return func(n int) []byte {
		b := make([]byte, n)
		r.Read(b)
		return b
	}
}

// labels cuts a long text into labels of 60.
func labels(s string) string {
	var out []string
	for len(s) > 60 {
		out, s = append(out, s[:60]), s[60:]
	}
	return strings.Join(append(out, s), ".")
}

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz012345").WithPadding(base32.NoPadding)

func TestTunnelInBothDirectionsIsCertainWithinSeconds(t *testing.T) {
	kinds := map[string][]uint16{"NULL": {qNULL}, "TXT": {qTXT}, "as dnscat2 mixes": {qTXT, qCNAME, qMX}, "SRV": {qSRV}, "private": {65399}}
	for name, types := range kinds {
		t.Run(name, func(t *testing.T) {
			o, bytes := newOffice(t, detect.Config{}), random(t, 1)
			for i := range 40 {
				o.lookup(5, labels(base32Lower.EncodeToString(bytes(90)))+".t.example.com", types[i%len(types)], 120)
			}
			o.want("dns_tunnel", detect.High)
			f := o.found[0]
			if f.Host.MAC != mac(5) || f.Technique != "T1071.004" || f.Time.Sub(f.First) > 5*time.Second {
				t.Errorf("host %v, technique %s, after %v", f.Host, f.Technique, f.Time.Sub(f.First))
			}
		})
	}
}

func TestTunnelByAddressAnswersAloneIsMedium(t *testing.T) {
	o, bytes := newOffice(t, detect.Config{}), random(t, 2)
	for range 120 {
		o.lookup(5, labels(hex.EncodeToString(bytes(60)))+".example.net", qA, -1)
	}
	o.want("dns_tunnel", detect.Medium)
}

func TestNamesInsteadOfAddressesCarryData(t *testing.T) {
	play := func(address bool) *office {
		o, bytes := newOffice(t, detect.Config{}), random(t, 11)
		for range 60 {
			name, alias := labels(hex.EncodeToString(bytes(50)))+".example.net", hex.EncodeToString(bytes(60))+".xy"
			o.query(5, resolver, name, qA)
			m := o.meta(gatewayMAC)
			m.DstMAC = mac(5)
			e := &flow.DNS{Meta: m, Src: addrPort(resolver, 53), Dst: addrPort(ip(5), 40000), Response: true, QName: name, QType: qA,
				Answers: []flow.DNSRecord{{Name: name, Type: qCNAME, Data: alias, Size: 64}}}
			if address {
				e.Answers = append(e.Answers, flow.DNSRecord{Name: alias, Type: qA, Data: "203.0.113.9", Size: 4})
			}
			o.play(e)
		}
		return o
	}
	play(false).want("dns_tunnel", detect.High)
	if o := play(true); o.best("dns_tunnel") == detect.High {
		t.Errorf("an alias with its address:\n%s", o.dump())
	}
}

func TestSlowTunnelIsFoundWithinItsDay(t *testing.T) {
	o, bytes := newOffice(t, detect.Config{}), random(t, 3)
	for range 300 { // one question in four minutes, 20 octets each: 6 kB in 20 h
		o.lookup(5, hex.EncodeToString(bytes(20))+".example.net", qTXT, 16)
		o.now = o.now.Add(4 * time.Minute)
	}
	o.want("dns_tunnel", detect.Medium)
}

func TestHurryIsForgottenAfterADay(t *testing.T) {
	o, bytes := newOffice(t, detect.Config{}), random(t, 12)
	for range 20 {
		o.lookup(5, labels(hex.EncodeToString(bytes(90)))+".example.net", qTXT, 4)
	}
	o.now = o.now.Add(48 * time.Hour)
	for range 400 {
		o.lookup(5, hex.EncodeToString(bytes(20))+".example.net", qTXT, 40)
		o.now = o.now.Add(3 * time.Minute)
	}
	o.want("dns_tunnel", detect.Medium)
}

func TestBelowThePapersBoundNothingIsSaid(t *testing.T) {
	o, bytes := newOffice(t, detect.Config{}), random(t, 4)
	for range 3 * 24 * 6 { // 14 octets and what the coder loses, each ten minutes: 2 kB a day, for three days
		o.lookup(5, hex.EncodeToString(bytes(14))+".example.net", qA, -1)
		o.now = o.now.Add(10 * time.Minute)
	}
	o.quiet()
}

func TestTunnelWithoutADomainIsKeptByItsServer(t *testing.T) {
	o, bytes := newOffice(t, detect.Config{}), random(t, 5)
	server := netip.MustParseAddr("203.0.113.53")
	for range 60 {
		name := "dnscat." + labels(hex.EncodeToString(bytes(80)))
		o.query(5, server, name, qTXT)
		o.reply(5, server, name, qTXT, noError, 100)
	}
	o.want("dns_tunnel", detect.High)
	if f := o.last("dns_tunnel"); len(f.Peers) != 1 || f.Peers[0].IP != server {
		t.Errorf("peers %v, want the server", f.Peers)
	}
}

func TestOneNameThatIsAFile(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.query(5, resolver, "h4sicn03*2qaa3rlc3qudhh0aavjycxwakjeheluhlhs-.4s2fgaaaaa==.example.net", qA)
	o.want("dns_tunnel", detect.Medium)
	o = newOffice(t, detect.Config{})
	o.query(5, resolver, "1f8b0800000000000203cb48cdc9c9e7020020303a3606000000.example.net", qA)
	o.want("dns_tunnel", detect.Low)
	o = newOffice(t, detect.Config{})
	o.query(5, resolver, "h4siteoffice-branch-tokyo-west.example.net", qA)
	o.query(5, resolver, "1f8b08.example.net", qA)
	o.quiet()
}

// day plays one kind of ordinary look-up for a device.
func ordinary(o *office, bytes func(int) []byte) map[string]func() {
	return map[string]func(){
		"few names of a CDN, again and again": func() {
			for i := range 2000 {
				o.lookup(5, fmt.Sprintf("r%d---sn-%s.googlevideo.com", i%5, hex.EncodeToString([]byte{byte(i % 60), 7})), qA, -1)
			}
		},
		"block lists of a mail server": func() {
			for range 3000 {
				b := bytes(4)
				o.missing(5, fmt.Sprintf("%d.%d.%d.%d.zen.spamhaus.org", b[0], b[1], b[2], b[3]))
			}
		},
		"hashes to an antivirus": func() {
			for range 400 {
				o.lookup(5, labels(hex.EncodeToString(bytes(40)))+".avqs.mcafee.com", qA, -1)
				o.lookup(5, hex.EncodeToString(bytes(20))+".i.00.s.sophosxl.net", qTXT, 60)
			}
		},
		"frames of advertising": func() {
			for range 900 {
				o.lookup(5, hex.EncodeToString(bytes(16))+".safeframe.googlesyndication.com", qA, -1)
			}
		},
		"reverse names": func() {
			for range 3000 {
				b := bytes(4)
				o.lookup(5, fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[0], b[1], b[2], b[3]), 12, 30)
			}
		},
		"a search domain behind each name": func() {
			for i := range 4000 {
				o.missing(5, fmt.Sprintf("www.%s-%d.com.branch.example.co.jp", hex.EncodeToString(bytes(3)), i))
			}
		},
		"keys and policies of senders": func() {
			for i := range 2000 {
				o.lookup(5, fmt.Sprintf("s%d._domainkey.sender%d.example%d.com", i%3, i, i), qTXT, 400)
				o.lookup(5, fmt.Sprintf("_dmarc.example%d.com", i), qTXT, 80)
			}
		},
		"Active Directory": func() {
			for i := range 2000 {
				site := []string{"_ldap._tcp.dc._msdcs", "_kerberos._tcp.tokyo._sites", "_ldap._tcp.pdc._msdcs", "_gc._tcp"}[i%4]
				o.lookup(5, site+".corp.example.local", qSRV, 40)
			}
		},
		"printers found by DNS": func() {
			for i := range 60 {
				name := fmt.Sprintf("printer %d [%x]._ipp._tcp.corp.example.co.jp", i, bytes(3))
				o.lookup(5, name, qSRV, 40)
				o.lookup(5, name, qTXT, 300)
			}
		},
		"random labels of a browser": func() {
			for range 30 {
				for range 3 {
					o.missing(5, base32Lower.EncodeToString(bytes(8))+".corp.example.co.jp")
				}
				o.now = o.now.Add(time.Hour)
			}
		},
	}
}

func TestOrdinaryLookupsAreNoTunnel(t *testing.T) {
	for name := range ordinary(nil, nil) {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			ordinary(o, random(t, 6))[name]()
			if c := o.best("dns_tunnel"); c != "" {
				t.Errorf("%s:\n%s", c, o.dump())
			}
		})
	}
}

func TestProductThatThreeDevicesUseIsAtMostLow(t *testing.T) {
	o, bytes := newOffice(t, detect.Config{}), random(t, 7)
	for i := range 900 {
		o.lookup(5+i%3, hex.EncodeToString(bytes(24))+".telemetry.example.com", qA, -1)
	}
	o.want("dns_tunnel", detect.Low)
}

func TestNamesAskedAgainAreAtMostLow(t *testing.T) {
	o, bytes := newOffice(t, detect.Config{}), random(t, 8)
	for range 300 {
		name := hex.EncodeToString(bytes(24)) + ".cdn.example.com"
		for range 3 {
			o.lookup(5, name, qA, -1)
		}
	}
	o.want("dns_tunnel", detect.Low)
}

func TestForwardedQuestionsAreTheClients(t *testing.T) {
	o, bytes := newOffice(t, detect.Config{}), random(t, 9)
	for range 100 {
		name := labels(hex.EncodeToString(bytes(60))) + ".example.net"
		o.query(5, ip(53), name, qTXT)
		o.query(53, resolver, name, qTXT)
		o.reply(53, resolver, name, qTXT, noError, 100)
		m := o.meta(mac(53))
		m.DstMAC = mac(5)
		o.play(&flow.DNS{Meta: m, Src: netip.AddrPortFrom(ip(53), 53), Dst: netip.AddrPortFrom(ip(5), 40000), Response: true,
			QName: name, QType: qTXT, Answers: []flow.DNSRecord{{Name: name, Type: qTXT, Size: 100}}})
	}
	o.want("dns_tunnel", detect.High)
	for _, f := range o.found {
		if f.Host.MAC != mac(5) && f.Confidence != detect.Low {
			t.Errorf("%v is blamed", f.Host)
		}
	}
}

func TestGatewaysOwnQuestionsAreNobodys(t *testing.T) {
	o, bytes := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}}), random(t, 10)
	for range 200 {
		e := &flow.DNS{Meta: o.meta(gatewayMAC), Src: netip.AddrPortFrom(gatewayIP, 40000), Dst: netip.AddrPortFrom(resolver, 53),
			QName: labels(hex.EncodeToString(bytes(60))) + ".example.net", QType: qTXT}
		o.play(e)
	}
	o.quiet()
}

func TestInventedDomainsAreForgottenNotKept(t *testing.T) {
	o := newOffice(t, detect.Config{MaxHosts: 16})
	for i := range 5000 {
		o.lookup(5, fmt.Sprintf("a.b%d.com", i), qA, -1)
	}
	if s := o.eng.Stats(); s.Entries["dns_tunnel"] > 96 || s.Evicted["dns_tunnel"] == 0 {
		t.Errorf("entries %d, evicted %d", s.Entries["dns_tunnel"], s.Evicted["dns_tunnel"])
	}
}

func addrPort(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

func BenchmarkOrdinaryLookups(b *testing.B) {
	o := newOffice(b, detect.Config{})
	var list []flow.Event
	for i := range 400 {
		name := fmt.Sprintf("host%d.service%d.example%d.com", i, i%7, i%40)
		q := &flow.DNS{Meta: o.meta(mac(i % 50)), Src: addrPort(ip(i%50), 40000), Dst: addrPort(resolver, 53), QName: name, QType: qA}
		a := &flow.DNS{Meta: o.meta(gatewayMAC), Src: addrPort(resolver, 53), Dst: addrPort(ip(i%50), 40000), Response: true, QName: name, QType: qA,
			Answers: []flow.DNSRecord{{Name: name, Type: qA, Data: "203.0.113.9", Size: 4}}}
		a.DstMAC = mac(i % 50)
		list = append(list, q, a)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		o.eng.Observe(list[i%len(list)])
	}
}

// Three computers ask one unknown vendor about every file that they see: fast,
// both ways, and no channel.
func TestVerdictsThatThreeDevicesAskForAreNeverCertain(t *testing.T) {
	o, random := newOffice(t, detect.Config{}), random(t, 5)
	for range 300 {
		for device := 10; device < 13; device++ {
			name := hex.EncodeToString(random(30)) + ".verdict.vendor.com"
			o.lookup(device, name, qTXT, 60)
		}
	}
	o.want("dns_tunnel", detect.Medium)
}
