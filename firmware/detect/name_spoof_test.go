package detect_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

var groups = map[flow.NameProto]netip.AddrPort{
	flow.NameLLMNR: netip.MustParseAddrPort("224.0.0.252:5355"),
	flow.NameMDNS:  netip.MustParseAddrPort("224.0.0.251:5353"),
	flow.NameNBNS:  netip.MustParseAddrPort("192.168.0.255:137"),
}

// asks plays a multicast question, and an answer by a device when there is one.
func (o *office) asks(p flow.NameProto, who int, name string) {
	m := o.meta(mac(who))
	m.DstMAC = flow.MAC{0x01, 0, 0x5e, 0, 0, 0xfb}
	o.play(&flow.DNS{Meta: m, Proto: p, Src: netip.AddrPortFrom(ip(who), groups[p].Port()), Dst: groups[p], QName: name, QType: 1})
	o.now = o.now.Add(20 * time.Millisecond)
}

func (o *office) says(p flow.NameProto, who, to int, name string, target netip.Addr) {
	m := o.meta(mac(who))
	m.DstMAC = mac(to)
	kind := uint16(1)
	if p == flow.NameNBNS {
		kind = 32
	}
	o.play(&flow.DNS{Meta: m, Proto: p, Response: true, Src: netip.AddrPortFrom(ip(who), groups[p].Port()),
		Dst: netip.AddrPortFrom(ip(to), 50000), QName: name, Answers: []flow.DNSRecord{{Name: name, Type: kind, Data: target.String()}}})
	o.now = o.now.Add(time.Second)
}

func (o *office) registers(who int, name string) {
	m := o.meta(mac(who))
	o.play(&flow.DNS{Meta: m, Proto: flow.NameNBNS, Opcode: 5, Src: netip.AddrPortFrom(ip(who), 137), Dst: groups[flow.NameNBNS],
		QName: name, Answers: []flow.DNSRecord{{Name: name, Type: 32, Data: ip(who).String()}}})
}

func TestWhoAnswersEveryNameIsAnImpostor(t *testing.T) {
	for _, p := range []flow.NameProto{flow.NameLLMNR, flow.NameNBNS, flow.NameMDNS} {
		t.Run(fmt.Sprint(p), func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			o.registers(8, "fileserver")
			for _, name := range []string{"pritner", "flieserver", "wpad", "fileserver", "intranet"} {
				if p == flow.NameMDNS {
					name += ".local"
				}
				o.asks(p, 5, name)
				o.says(p, 66, 5, name, ip(66))
			}
			o.want("name_spoof", detect.High)
			f := o.last("name_spoof")
			if f.Host.MAC != mac(66) || f.Technique != "T1557.001" || len(f.Peers) != 1 || f.Peers[0].IP != ip(5) {
				t.Errorf("host %v, peers %v, technique %s", f.Host, f.Peers, f.Technique)
			}
		})
	}
}

func TestWpadIsNobodysToAnswer(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.asks(flow.NameLLMNR, 5, "wpad")
	o.quiet()
	o.says(flow.NameLLMNR, 66, 5, "wpad", ip(66))
	o.want("name_spoof", detect.Medium)
}

func TestFourNamesOfNobodyAreMedium(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 4 {
		o.says(flow.NameNBNS, 66, 5, fmt.Sprintf("typo%d", i), ip(66))
	}
	o.want("name_spoof", detect.Medium)
}

// A host that publishes a name for each of its services was there before us.
func TestManyNamesByMDNSAloneAreMedium(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 15 {
		o.asks(flow.NameMDNS, 5, fmt.Sprintf("app%d.local", i))
		o.says(flow.NameMDNS, 8, 5, fmt.Sprintf("app%d.local", i), ip(8))
	}
	o.want("name_spoof", detect.Medium)
}

func TestAnswersThatLeadToAThirdDeviceAreMediumAtMost(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 20 {
		o.says(flow.NameLLMNR, 66, 5, fmt.Sprintf("typo%d", i), ip(67))
	}
	o.want("name_spoof", detect.Medium)
}

func TestNameThatAnotherDeviceClaimedIsLowAlone(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.registers(8, "fileserver")
	o.says(flow.NameLLMNR, 66, 5, "fileserver", ip(66))
	o.want("name_spoof", detect.Low)
}

func TestHonestAnswers(t *testing.T) {
	cases := map[string]func(o *office){
		"its own name by every protocol": func(o *office) {
			for range 50 {
				o.says(flow.NameLLMNR, 8, 5, "accounting-pc", ip(8))
				o.says(flow.NameNBNS, 8, 5, "accounting-pc", ip(8))
				o.asks(flow.NameMDNS, 5, "accounting-pc.local")
				o.says(flow.NameMDNS, 8, 5, "accounting-pc.local", ip(8))
			}
		},
		"a server with aliases that it registered": func(o *office) {
			for i := range 12 {
				o.registers(8, fmt.Sprintf("old-server-%d", i))
			}
			for i := range 12 {
				o.says(flow.NameNBNS, 8, 5, fmt.Sprintf("old-server-%d", i), ip(8))
			}
		},
		"services announced before anybody asked": func(o *office) {
			for i := range 12 {
				o.says(flow.NameMDNS, 8, 5, fmt.Sprintf("app%d.local", i), ip(8))
				o.wait(time.Minute)
				o.asks(flow.NameMDNS, 5, fmt.Sprintf("app%d.local", i))
				o.says(flow.NameMDNS, 8, 5, fmt.Sprintf("app%d.local", i), ip(8))
			}
		},
		"a WINS server": func(o *office) {
			for i := range 40 {
				o.registers(100+i, fmt.Sprintf("pc-%d", i))
				o.says(flow.NameNBNS, 8, 5, fmt.Sprintf("pc-%d", i), ip(100+i))
			}
		},
		"a sleep proxy": func(o *office) {
			for i := range 10 {
				o.says(flow.NameMDNS, 100+i, 5, fmt.Sprintf("mac-%d.local", i), ip(100+i))
				o.wait(time.Minute)
				o.asks(flow.NameMDNS, 5, fmt.Sprintf("mac-%d.local", i))
				o.says(flow.NameMDNS, 8, 5, fmt.Sprintf("mac-%d.local", i), ip(100+i))
			}
		},
		"calls of a browser": func(o *office) {
			for i := range 20 {
				name := fmt.Sprintf("%08x-ea17-4bcf-a596-105139dfd8bf.local", i*7919)
				o.asks(flow.NameMDNS, 5, name)
				o.says(flow.NameMDNS, 8, 5, name, ip(8))
			}
		},
		"members of a workgroup": func(o *office) {
			for _, g := range []string{"workgroup", "sales", "factory", "office"} {
				for i := range 5 {
					o.play(&flow.DNS{Meta: o.meta(mac(20 + i)), Proto: flow.NameNBNS, Response: true, Src: netip.AddrPortFrom(ip(20+i), 137),
						Dst: netip.AddrPortFrom(ip(5), 137), Answers: []flow.DNSRecord{{Name: g, Type: 32, Data: ip(20 + i).String(), Group: true}}})
				}
			}
		},
		"a name it leased": func(o *office) {
			for _, n := range []string{"a", "b", "c", "d"} {
				o.play(&flow.DHCP{Meta: o.meta(mac(8)), Type: 3, ClientMAC: mac(8), Hostname: n})
				o.says(flow.NameLLMNR, 8, 5, n, ip(8))
			}
		},
		"names that do not exist, in vain": func(o *office) {
			for i := range 20 {
				o.asks(flow.NameLLMNR, 5, fmt.Sprintf("typo%d", i))
			}
		},
	}
	for name, play := range cases {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			play(o)
			if c := o.best("name_spoof"); c != "" {
				t.Errorf("%s\n%s", c, o.dump())
			}
		})
	}
}
