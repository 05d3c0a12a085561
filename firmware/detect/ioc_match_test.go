package detect_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// listed is a list of texts, all with one trust.
type listed struct {
	texts []string
	trust detect.Confidence
}

func (l listed) find(s string) (detect.Indicator, bool) {
	return detect.Indicator{Value: s, Source: "test list", Trust: l.trust}, s != "" && slices.Contains(l.texts, s)
}
func (l listed) Domain(n string, _ time.Time) (detect.Indicator, bool)      { return l.find(n) }
func (l listed) Addr(a netip.Addr, _ time.Time) (detect.Indicator, bool)    { return l.find(a.String()) }
func (l listed) URL(h, p string, _ time.Time) (detect.Indicator, bool)      { return l.find(h + p) }
func (l listed) Fingerprint(s string, _ time.Time) (detect.Indicator, bool) { return l.find(s) }

func withList(t *testing.T, trust detect.Confidence, texts ...string) *office {
	l := listed{texts, trust}
	return newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}, Indicators: func() detect.Indicators { return l }})
}

func (o *office) lookUp(from int, name string) {
	o.play(&flow.DNS{Meta: o.meta(mac(from)), Src: netip.AddrPortFrom(ip(from), 5353), Dst: netip.AddrPortFrom(gatewayIP, 53), QName: name, QType: 1})
}

func (o *office) hello(from int, to netip.Addr, sni, ja3 string) {
	o.play(&flow.TLSHello{Meta: o.meta(mac(from)), Client: netip.AddrPortFrom(ip(from), 40000), Server: netip.AddrPortFrom(to, 443), SNI: sni, JA3: ja3})
}

func TestTalkingToAListedAddressReachesTheTrustOfItsList(t *testing.T) {
	bad := net4(7)
	for _, trust := range []detect.Confidence{detect.Low, detect.Medium, detect.High} {
		o := withList(t, trust, bad.String())
		o.tcp(10, net4(8), 443, flow.ConnEstablished)
		o.quiet()
		o.tcp(10, bad, 443, flow.ConnEstablished)
		o.want("ioc_match", trust)
		f := o.last("ioc_match")
		if f.Host.MAC != mac(10) || f.Peers[0].IP != bad {
			t.Errorf("host %+v peers %+v", f.Host, f.Peers)
		}
		n := len(o.found)
		for range 50 {
			o.tcp(10, bad, 443, flow.ConnEstablished)
		}
		if len(o.found) != n {
			t.Error("the same entry is told again")
		}
	}
}

func TestLookUpsAndTriesStayABandBelow(t *testing.T) {
	o := withList(t, detect.High, "bad.example.com", net4(7).String())
	o.lookUp(10, "bad.example.com")
	o.want("ioc_match", detect.Medium)
	o = withList(t, detect.High, net4(7).String())
	o.tcp(10, net4(7), 443, flow.ConnUnanswered)
	o.want("ioc_match", detect.Medium)
	o = withList(t, detect.Medium, "bad.example.com")
	o.lookUp(10, "bad.example.com")
	o.want("ioc_match", detect.Low)
	o.hello(10, net4(7), "bad.example.com", "")
	o.want("ioc_match", detect.Medium)
}

func TestTheOfficesResolverAsksForOthers(t *testing.T) {
	o := withList(t, detect.High, "bad.example.com")
	e := &flow.DNS{Meta: o.meta(gatewayMAC), Src: netip.AddrPortFrom(gatewayIP, 5353), Dst: netip.AddrPortFrom(net4(53), 53), QName: "bad.example.com"}
	o.play(e)
	o.quiet()
}

func TestAFingerprintNeedsAnotherKindOfEntry(t *testing.T) {
	o := withList(t, detect.High, "e7d705a3286e19ea42f587b344ee6865", "bad.example.com")
	o.hello(10, net4(7), "good.example.com", "e7d705a3286e19ea42f587b344ee6865")
	o.want("ioc_match", detect.Medium)
	o.hello(10, net4(7), "bad.example.com", "e7d705a3286e19ea42f587b344ee6865")
	o.want("ioc_match", detect.High)
}

func TestVisitorsFromListedAddressesAreLow(t *testing.T) {
	o := withList(t, detect.High, net4(7).String())
	for _, s := range []flow.ConnState{flow.ConnAttempt, flow.ConnEstablished} {
		o.play(&flow.Conn{Meta: o.meta(gatewayMAC), State: s, Proto: 6, Client: netip.AddrPortFrom(net4(7), 9), Server: netip.AddrPortFrom(ip(2), 443), ClientMAC: gatewayMAC})
	}
	o.want("ioc_match", detect.Low)
}

func TestPagesAndCertificates(t *testing.T) {
	sum := [32]byte{1, 2, 3}
	o := withList(t, detect.Medium, "cdn.example.net/evil.exe", "0102030000000000000000000000000000000000000000000000000000000000")
	o.play(&flow.HTTP{Meta: o.meta(mac(10)), Client: netip.AddrPortFrom(ip(10), 4000), Server: netip.AddrPortFrom(net4(7), 80), Host: "cdn.example.net", Path: "/good.exe"})
	o.quiet()
	o.play(&flow.HTTP{Meta: o.meta(mac(10)), Client: netip.AddrPortFrom(ip(10), 4000), Server: netip.AddrPortFrom(net4(7), 80), Host: "cdn.example.net", Path: "/evil.exe"})
	o.want("ioc_match", detect.Medium)
	m := o.meta(gatewayMAC)
	m.DstMAC = mac(11)
	o.play(&flow.TLSCert{Meta: m, Client: netip.AddrPortFrom(ip(11), 4000), Server: netip.AddrPortFrom(net4(9), 443), SHA256: sum})
	if f := o.last("ioc_match"); f.Host.MAC != mac(11) || f.Confidence != detect.Medium {
		t.Errorf("certificate: %+v", f)
	}
}
