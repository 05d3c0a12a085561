package detect_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// tlsCall is one TLS connection of a device: what the client and the server say.
type tlsCall struct {
	from    int
	to      netip.Addr
	port    uint16
	sni     string
	ja4     string
	version uint16 // 0: TLS 1.2, with cert
	quic    bool
	cert    flow.TLSCert
}

// tls plays a call; the server is reached through the gateway.
func (o *office) tls(c tlsCall) {
	if c.port == 0 {
		c.port = 443
	}
	client, server := netip.AddrPortFrom(ip(c.from), 50000), netip.AddrPortFrom(c.to, c.port)
	up := flow.Meta{Time: o.now, SrcMAC: mac(c.from), DstMAC: gatewayMAC}
	down := flow.Meta{Time: o.now, SrcMAC: gatewayMAC, DstMAC: mac(c.from)}
	o.play(&flow.TLSHello{Meta: up, Client: client, Server: server, SNI: c.sni, JA4: c.ja4, QUIC: c.quic, Version: 0x0303})
	switch {
	case c.quic:
	case c.version != 0:
		o.play(&flow.TLSHello{Meta: down, Client: client, Server: server, FromServer: true, Version: c.version})
	default:
		o.play(&flow.TLSHello{Meta: down, Client: client, Server: server, FromServer: true, Version: 0x0303})
		e := c.cert
		e.Meta, e.Client, e.Server, e.Chain = down, client, server, 1
		o.play(&e)
	}
	o.now = o.now.Add(100 * time.Millisecond)
}

var nine = time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)

// issued is an ordinary certificate, own one that its owner signed himself.
func issued(name string) flow.TLSCert {
	return flow.TLSCert{Subject: "CN=" + name, Issuer: "CN=R10,O=Let's Encrypt,C=US", CommonName: name, Names: []string{name},
		NotBefore: nine.AddDate(0, 0, -30), NotAfter: nine.AddDate(0, 0, 60)}
}

func own(subject, name string) flow.TLSCert {
	return flow.TLSCert{Subject: subject, Issuer: subject, CommonName: name, SelfSigned: true,
		NotBefore: nine.AddDate(-1, 0, 0), NotAfter: nine.AddDate(3, 0, 0)}
}

var elsewhere = netip.MustParseAddr("10.9.0.4")

func TestImplantsWithCertificatesOfTheirOwn(t *testing.T) {
	for name, c := range map[string]struct {
		call tlsCall
		want detect.Confidence
		says []string
	}{
		"left as the manual proposes": {tlsCall{to: net4(9), cert: own("CN=example.com,OU=IT,O=Global,C=GB", "example.com")}, detect.Medium,
			[]string{"vouches for itself", "names that tools propose", "named no server"}},
		"empty subject": {tlsCall{to: net4(9), port: 8080, cert: own("", "")}, detect.Medium,
			[]string{"port 8080 is not meant for encryption"}},
		"invented organisation": {tlsCall{to: net4(9), port: 4444, cert: own("CN=P1,O=Hkjfdsu Ltd", "P1")}, detect.Medium,
			[]string{"organisation looks invented (Hkjfdsu Ltd)", "port 4444 is unusual"}},
		"authority of its own": {tlsCall{to: net4(9), port: 2222, cert: signed("CN=qvpj.org,O=Wmleaokx Inc.,C=FR", "rtgu.us")}, detect.Medium,
			[]string{"authority that signed looks invented (Wmleaokx Inc.)", "named no server"}},
		"private address behind a router": {tlsCall{to: elsewhere, port: 8080, cert: own("CN=P1,OU=Qxvbzk,O=Hkjfdsu", "P1")}, detect.Medium, []string{"10.9.0.4"}},
		"the same on the usual port":      {tlsCall{to: elsewhere, cert: own("CN=P1,O=Hkjfdsu", "P1")}, detect.Low, nil},
		"expired, for another name":       {tlsCall{to: net4(9), sni: "updates.example.jp", cert: expired(own("CN=vps,O=Me", "vps"))}, detect.Low, []string{"expired on 2026-03-01", "for another name (vps)"}},
	} {
		o := newOffice(t, detect.Config{})
		c.call.from = 7
		o.tls(c.call)
		if got := o.best("tls_anomaly"); got != c.want {
			t.Errorf("%s: %q, want %q\n%s", name, got, c.want, o.dump())
			continue
		}
		f := o.last("tls_anomaly")
		if f.Host.IP != ip(7) || len(f.Peers) != 1 || f.Peers[0].IP != c.call.to || f.Score <= 0 || f.Score >= 1 {
			t.Errorf("%s: host %v, peers %v, score %v", name, f.Host.IP, f.Peers, f.Score)
		}
		for _, s := range c.says {
			if !strings.Contains(f.Explain.EN, s) {
				t.Errorf("%s: %q does not say %q", name, f.Explain.EN, s)
			}
		}
		if f.Explain.JA == "" || strings.Contains(f.Explain.JA, "%!") {
			t.Errorf("%s: %s", name, f.Explain.JA)
		}
	}
}

func signed(issuer, name string) flow.TLSCert {
	c := issued(name)
	c.Subject, c.Issuer = "CN="+name+",OU=Hkjfdsu", issuer
	return c
}

func expired(c flow.TLSCert) flow.TLSCert {
	c.NotAfter = nine.AddDate(0, -1, 0)
	return c
}

// One oddity alone is met every day.
func TestSingleOdditiesAreQuiet(t *testing.T) {
	long := issued("fkp.device.example.com")
	long.NotAfter = nine.AddDate(20, 0, 0)
	for name, c := range map[string]tlsCall{
		"ordinary":                   {to: net4(9), sni: "www.shop.jp", cert: issued("www.shop.jp")},
		"wildcard":                   {to: net4(9), sni: "img.shop.jp", cert: issued("*.shop.jp")},
		"no name":                    {to: net4(9), cert: issued("www.shop.jp")},
		"no name, TLS 1.3":           {to: net4(9), version: 0x0304},
		"no name, QUIC":              {to: net4(9), quic: true},
		"no name, little authority":  {to: net4(9), cert: signed("CN=Gandi Standard SSL CA 2,O=Gandi,L=Paris,C=FR", "www.shop.jp")},
		"camera's cloud on own port": {to: net4(9), port: 50443, sni: "cam.maker.com", cert: issued("cam.maker.com")},
		"maker's own authority":      {to: net4(9), sni: "fkp.device.example.com", cert: long},
		"expired":                    {to: net4(9), sni: "www.shop.jp", cert: expired(issued("www.shop.jp"))},
		"self-signed, named":         {to: net4(9), sni: "vpn.office.jp", cert: own("CN=vpn.office.jp,O=Yamada Trading", "vpn.office.jp")},
		"another name":               {to: net4(9), sni: "old.shop.jp", cert: issued("www.shop.jp")},
		"proxy of the branch office": {to: elsewhere, port: 8443, cert: own("CN=proxy,O=Yamada Trading", "proxy")},
	} {
		o := newOffice(t, detect.Config{})
		c.from = 7
		for range 5 {
			o.tls(c)
		}
		if len(o.found) > 0 {
			t.Errorf("%s:\n%s", name, o.dump())
		}
	}
}

func TestServersOnTheOwnSegmentAreNotJudged(t *testing.T) {
	o := newOffice(t, detect.Config{})
	server, client := netip.AddrPortFrom(ip(20), 8080), netip.AddrPortFrom(ip(7), 50000)
	for range 3 { // the page of a printer or a NAS, as it comes out of the box
		o.play(&flow.TLSHello{Meta: flow.Meta{Time: o.now, SrcMAC: mac(7), DstMAC: mac(20)}, Client: client, Server: server, Version: 0x0303})
		c := own("CN=localhost,O=Default Company Ltd", "localhost")
		c.Meta, c.Client, c.Server = flow.Meta{Time: o.now, SrcMAC: mac(20), DstMAC: mac(7)}, client, server
		o.play(&c)
	}
	o.quiet()
}

func TestStrangersWhoCallInAreNotJudged(t *testing.T) {
	o := newOffice(t, detect.Config{})
	c := own("", "")
	c.Meta = flow.Meta{Time: o.now, SrcMAC: mac(20), DstMAC: gatewayMAC}
	c.Client, c.Server = netip.AddrPortFrom(net4(9), 50000), netip.AddrPortFrom(ip(20), 8080)
	o.play(&flow.TLSHello{Meta: flow.Meta{Time: o.now, SrcMAC: gatewayMAC, DstMAC: mac(20)}, Client: c.Client, Server: c.Server, Version: 0x0303})
	o.play(&c)
	o.quiet()
}

func TestTheSameServerIsReportedOnce(t *testing.T) {
	o := newOffice(t, detect.Config{})
	bad := tlsCall{from: 7, to: net4(9), cert: own("CN=example.com", "example.com")}
	for range 50 {
		o.tls(bad)
	}
	if len(o.found) != 1 {
		t.Errorf("%d findings, want 1\n%s", len(o.found), o.dump())
	}
	bad.from = 8
	if o.tls(bad); len(o.found) != 2 {
		t.Error("the second device that calls it is not reported")
	}
}

// Embedded clients name no server, and use ports of their maker's; but they
// asked for it.
func TestAServerThatWasAskedForHasAName(t *testing.T) {
	for asked, want := range map[bool]detect.Confidence{true: "", false: detect.Low} {
		o := newOffice(t, detect.Config{})
		if asked {
			o.resolves(7, "use.maker.com", net4(9))
		}
		o.tls(tlsCall{from: 7, to: net4(9), port: 50443, cert: issued("*.maker.com")})
		o.want("tls_anomaly", want)
	}
}

// resolves lets the gateway tell a device an address.
func (o *office) resolves(to int, name string, a netip.Addr) {
	o.play(&flow.DNS{Meta: flow.Meta{Time: o.now, SrcMAC: gatewayMAC, DstMAC: mac(to)}, Src: netip.AddrPortFrom(gatewayIP, 53), Dst: netip.AddrPortFrom(ip(to), 5000),
		Response: true, QName: name, QType: 1, Answers: []flow.DNSRecord{{Name: name, Type: 1, Data: a.String()}}})
}

// An address that came by no answer and a program that is new to the device
// count only once the office is known.
func TestWhatIsNewCountsAfterTheOfficeIsKnown(t *testing.T) {
	strange := tlsCall{from: 7, to: net4(9), port: 8080, sni: "cdn.shop.jp", ja4: "t13i1", version: 0x0304}
	o := newOffice(t, detect.Config{Learn: 2 * time.Hour})
	o.tls(strange)
	o.quiet()
	o = newOffice(t, detect.Config{Learn: 2 * time.Hour})
	for range 25 {
		o.resolves(7, "www.shop.jp", net4(5))
		o.tls(tlsCall{from: 7, to: net4(5), sni: "www.shop.jp", ja4: "t13d1", version: 0x0304})
		o.now = o.now.Add(6 * time.Minute)
	}
	o.quiet()
	o.tls(strange)
	o.want("tls_anomaly", detect.Medium)
	for _, s := range []string{"no DNS answer led to that address", "new to this device"} {
		if f := o.last("tls_anomaly"); !strings.Contains(f.Explain.EN, s) {
			t.Errorf("%q does not say %q", f.Explain.EN, s)
		}
	}
}

func TestPairsOfTLSAreBounded(t *testing.T) {
	o := newOffice(t, detect.Config{MaxHosts: 16})
	for n := range 20000 {
		o.tls(tlsCall{from: 1 + n%200, to: net4(n), sni: "a.jp", ja4: fmt.Sprint(n), version: 0x0304})
	}
	s := o.eng.Stats()
	if s.Entries["tls_anomaly"] > 16384+16 || s.Evicted["tls_anomaly"] == 0 {
		t.Errorf("%d entries, %d evicted", s.Entries["tls_anomaly"], s.Evicted["tls_anomaly"])
	}
}
