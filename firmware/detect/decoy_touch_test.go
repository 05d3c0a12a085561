package detect_test

import (
	"fmt"
	"net/netip"
	"testing"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

func baits(c detect.Config) detect.Config {
	c.Decoys = func() []netip.Addr { return []netip.Addr{ip(240), ip(241)} }
	c.DecoyNames = func() []string { return []string{"Payroll-Archive-2019", "backup-dc"} }
	return c
}

func TestDecoyNameIsMediumByWhateverProtocol(t *testing.T) {
	ask := map[string]func(o *office){
		"DNS":                 func(o *office) { o.query(5, gatewayIP, "backup-dc", qA) },
		"DNS, office's zone":  func(o *office) { o.query(5, gatewayIP, "backup-dc.office.lan", qA) },
		"LLMNR":               func(o *office) { o.asks(flow.NameLLMNR, 5, "backup-dc") },
		"NBNS, 15 characters": func(o *office) { o.asks(flow.NameNBNS, 5, "payroll-archive") },
		"mDNS":                func(o *office) { o.asks(flow.NameMDNS, 5, "payroll-archive-2019.local") },
	}
	for name, play := range ask {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, baits(detect.Config{}))
			for range 5 {
				play(o)
			}
			o.want("decoy_touch", detect.Medium)
			if len(o.found) != 1 || o.found[0].Host.MAC != mac(5) {
				t.Errorf("%d findings, of %v", len(o.found), o.found[0].Host)
			}
		})
	}
}

func TestNamesLikeADecoysAreNothing(t *testing.T) {
	o := newOffice(t, baits(detect.Config{}))
	o.query(5, resolver, "backup-dc.example.com", qA) // of somebody else
	o.query(5, gatewayIP, "backup-dc2", qA)
	o.asks(flow.NameLLMNR, 5, "printer")
	o.says(flow.NameLLMNR, 8, 5, "backup-dc", ip(8)) // who answers is not who asks
	o.quiet()
}

func TestForwarderThatAsksForADecoyNameIsLow(t *testing.T) {
	o := newOffice(t, baits(detect.Config{}))
	m := o.meta(mac(53))
	m.DstMAC = mac(5)
	o.play(&flow.DNS{Meta: m, Src: addrPort(ip(53), 53), Dst: addrPort(ip(5), 40000), Response: true, QName: "www.example.com", QType: qA})
	o.query(53, gatewayIP, "backup-dc", qA)
	o.want("decoy_touch", detect.Low)
}

func TestManyPortsOfOneDecoyAreCertain(t *testing.T) {
	o := newOffice(t, baits(detect.Config{}))
	for _, port := range []uint16{445, 139, 80, 135} { // what Windows tries for a share that is gone
		o.tcp(5, ip(240), port, flow.ConnUnanswered)
	}
	o.want("decoy_touch", detect.Medium)
	o.tcp(5, ip(240), 8080, flow.ConnUnanswered)
	o.want("decoy_touch", detect.High)
}

func TestNamesAloneAreNeverHigh(t *testing.T) {
	c := detect.Config{DecoyNames: func() (all []string) {
		for i := range 40 {
			all = append(all, fmt.Sprintf("bait-%d", i))
		}
		return all
	}}
	o := newOffice(t, c)
	for i := range 40 {
		o.asks(flow.NameLLMNR, 5, fmt.Sprintf("bait-%d", i))
	}
	o.want("decoy_touch", detect.Medium)
}
