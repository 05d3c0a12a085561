package detect_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

func TestWormFiresAtTheFifthDeadPeerAndNotBefore(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 4 {
		o.tcp(10, ip(50+i), 445, flow.ConnUnanswered)
	}
	o.hasty()
	o.tcp(10, ip(54), 445, flow.ConnUnanswered)
	o.want("worm", detect.High)
	f := o.last("worm")
	if f.Host.MAC != mac(10) || f.Host.IP != ip(10) || f.PeerCount != 5 || len(f.Peers) != 5 || f.Technique != "T1210" {
		t.Errorf("finding %+v", f)
	}
	for _, want := range []string{"SMB", "5"} {
		if !strings.Contains(f.Explain.EN, want) || !strings.Contains(f.Explain.JA, want) {
			t.Errorf("explanations lack %q: %q %q", want, f.Explain.EN, f.Explain.JA)
		}
	}
}

func TestWormCountsDeadAddressesAskedForByARP(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.tcp(10, ip(20), 445, flow.ConnRefused)
	o.tcp(10, ip(21), 445, flow.ConnRefused)
	for i := range 4 {
		o.arp(1, mac(10), ip(10), ip(60+i))
	}
	o.wait(3 * time.Second)
	o.want("worm", detect.High)
}

func TestWormFiresAmongSomeSuccesses(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 12 {
		s := flow.ConnUnanswered
		if i%4 == 0 {
			s = flow.ConnEstablished
		}
		o.tcp(10, net4(i), 445, s)
	}
	o.want("worm", detect.High)
}

func TestDeadShortcutsOverTheDayAreNoWorm(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for round := range 20 {
		for i := range 3 {
			o.tcp(10, ip(50+i), 445, flow.ConnUnanswered) // same three again and again
		}
		if round%5 == 0 {
			o.tcp(10, ip(60+round/5), 445, flow.ConnEstablished)
		}
		o.wait(10 * time.Minute)
	}
	o.hasty()
}

func TestHostScanDecidesAboutTheFifthFirstContact(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 4 {
		o.tcp(10, ip(50+i), 8000, flow.ConnRefused)
	}
	o.hasty()
	o.tcp(10, ip(54), 8000, flow.ConnRefused)
	o.want("host_scan", detect.Medium)
	for i := range 3 {
		o.tcp(10, ip(55+i), 8000, flow.ConnRefused)
	}
	o.want("host_scan", detect.Medium) // programs call what the internet told them
	for i := range 42 {
		o.tcp(10, ip(60+i), 8000, flow.ConnRefused)
	}
	o.want("host_scan", detect.High)

	o = newOffice(t, detect.Config{})
	for i := range 8 {
		o.tcp(10, ip(50+i), 3389, flow.ConnRefused)
		o.wait(10 * time.Minute) // slower than the worm counter forgets
	}
	o.want("host_scan", detect.High)
}

func TestAnAnswerToARetryTakesTheFailureBack(t *testing.T) {
	for _, port := range []uint16{8000, 445} {
		o := newOffice(t, detect.Config{})
		for i := range 4 {
			o.tcp(10, ip(50+i), port, flow.ConnUnanswered)
		}
		for i := range 3 {
			o.tcp(10, ip(50+i), port, flow.ConnEstablished)
		}
		o.tcp(10, ip(54), port, flow.ConnUnanswered)
		o.hasty()
	}
}

func TestPingSweepIsMediumAtMost(t *testing.T) {
	for _, answered := range []bool{true, false} {
		o := newOffice(t, detect.Config{})
		for i := range 30 {
			o.ping(10, ip(20+i), answered)
		}
		o.wait(3 * time.Second)
		o.want("host_scan", detect.Medium)
	}
}

func TestMonitoringItsLivingHostsIsQuiet(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 8 {
		o.arp(1, mac(20+i), ip(20+i), ip(1))
	}
	for range 100 {
		for i := range 8 {
			o.ping(10, ip(20+i), true)
		}
		o.wait(time.Minute)
	}
	o.quiet()
}

func TestOutsideScannerIsLowOnly(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 200 {
		o.play(&flow.Conn{Meta: o.meta(mac(1)), State: flow.ConnUnanswered, Proto: 6, Client: netip.AddrPortFrom(net4(9), 4000),
			Server: netip.AddrPortFrom(ip(1+i), 445), ClientMAC: mac(1), Start: o.now})
	}
	o.want("host_scan", detect.Low)
	o.want("worm", "")
	if f := o.last("host_scan"); f.Host.IP != net4(9) || !f.Host.MAC.IsZero() {
		t.Errorf("host %+v: the router's MAC is not the scanner's", f.Host)
	}
}

// Hard negatives of contacts that fail.
func TestFailingContactsOfAnOrdinaryOffice(t *testing.T) {
	cases := map[string]func(*office){
		"dead cloud server retried for days": func(o *office) {
			for range 500 {
				o.tcp(10, net4(1), 443, flow.ConnUnanswered)
				o.wait(10 * time.Minute)
			}
		},
		"peer-to-peer, ports of each peer's choice": func(o *office) {
			for i := range 300 {
				o.tcp(10, net4(i), uint16(20000+7*i), flow.ConnUnanswered)
			}
		},
		"peer-to-peer on one port": func(o *office) {
			for i := range 300 {
				o.tcp(10, net4(i), 6881, flow.ConnUnanswered)
			}
		},
		"the line is down": func(o *office) {
			for i := range 200 {
				o.tcp(10+i%20, net4(i), 443, flow.ConnUnanswered)
			}
		},
		"browsing": func(o *office) {
			for i := range 500 {
				s := flow.ConnEstablished
				if i%20 == 0 {
					s = flow.ConnRefused
				}
				o.tcp(10, net4(i), 443, s)
			}
		},
		"file browser that opens share after share": func(o *office) {
			for i := range 600 {
				o.tcp(10, ip(30+i%3), 445, flow.ConnEstablished)
			}
		},
		"forwarder that calls home every 30 s": func(o *office) {
			for range 200 {
				o.tcp(10, net4(1), 8080, flow.ConnEstablished)
				o.wait(30 * time.Second)
			}
		},
		"UPnP control point polls its devices, one of them gone": func(o *office) {
			for i := range 200 {
				for d, port := range []uint16{49152, 49153, 8008, 1400} {
					state := flow.ConnEstablished
					if d == 0 && i > 20 {
						state = flow.ConnUnanswered
					}
					o.tcp(10, ip(40+d), port, state)
				}
				o.wait(5 * time.Second)
			}
		},
		"UPnP device that moves its port at each start": func(o *office) {
			for i := range 4 {
				o.tcp(10, ip(40), uint16(49152+i), flow.ConnRefused)
			}
			o.tcp(10, ip(40), 49156, flow.ConnEstablished)
		},
		"printer driver on a dead printer": func(o *office) {
			for _, p := range []uint16{9100, 515, 631, 80, 443} {
				o.tcp(10, ip(77), p, flow.ConnUnanswered)
			}
		},
		"traceroute": func(o *office) {
			for i := range 90 {
				o.conn(10, ip(77), 17, uint16(33434+i), flow.ConnRefused)
			}
		},
		"one dead name server": func(o *office) {
			for range 100 {
				o.conn(10, ip(53), 17, 53, flow.ConnUnanswered)
			}
		},
	}
	for name, play := range cases {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			play(o)
			o.hasty() // peer-to-peer programs call strangers at once, and are told as low
		})
	}
}

func TestThreeProbesThatNoTCPSendsAreAScan(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 3 {
		o.quiet()
		for _, st := range []flow.ConnState{flow.ConnAttempt, flow.ConnUnanswered} {
			o.play(&flow.Conn{Meta: o.meta(mac(10)), State: st, Proto: 6, Probe: true, Start: o.now, ClientMAC: mac(10),
				Client: netip.AddrPortFrom(ip(10), 40000), Server: netip.AddrPortFrom(ip(20), uint16(3390+i))})
		}
	}
	o.want("port_scan", detect.Medium)
}

func TestRouterThatProbesItsClientsPrintersIsLow(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.arp(2, mac(1), ip(1), ip(10))
	for i := range 8 { // answers from outside come through it: it is a router
		o.play(&flow.Conn{Meta: o.meta(mac(10)), State: flow.ConnEstablished, Prev: flow.ConnAttempt, Proto: 6, ClientMAC: mac(20 + i), ServerMAC: mac(1),
			Client: netip.AddrPortFrom(ip(20+i), 40000), Server: netip.AddrPortFrom(net4(i), 443), Start: o.now, RecvPackets: 1})
	}
	for i := range 30 {
		for _, p := range []uint16{9100, 515, 631} {
			o.tcp(1, ip(20+i), p, flow.ConnRefused)
		}
	}
	for _, f := range o.found {
		if f.Confidence != detect.Low {
			t.Errorf("%s %s: %s", f.Detector, f.Confidence, f.Explain.EN)
		}
	}
}

func TestGatewayItselfIsNeverReported(t *testing.T) {
	o := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}})
	for i := range 100 {
		o.tcp(0xfe, ip(i), 445, flow.ConnUnanswered)
		o.arp(1, gatewayMAC, gatewayIP, ip(i))
	}
	o.wait(5 * time.Second)
	o.quiet()
}

func TestPortScanBandsRiseWithThePorts(t *testing.T) {
	o := newOffice(t, detect.Config{})
	bands := map[int]detect.Confidence{4: "", 5: detect.Low, 7: detect.Low, 8: detect.Medium, 14: detect.Medium, 15: detect.High}
	for i := 1; i <= 15; i++ {
		o.tcp(10, ip(20), uint16(100+i), flow.ConnRefused)
		if want, ok := bands[i]; ok {
			o.want("port_scan", want)
		}
	}
	if f := o.last("port_scan"); f.Peers[0].IP != ip(20) || f.Technique != "T1046" {
		t.Errorf("finding %+v", f)
	}
}

func TestARPScanFastAndSlow(t *testing.T) {
	for _, pause := range []time.Duration{0, time.Minute} {
		o := newOffice(t, detect.Config{})
		for i := range 7 {
			o.arp(1, mac(10), ip(10), ip(50+2*i))
			o.wait(pause)
		}
		o.wait(2 * time.Second)
		o.hasty()
		for i := range 40 {
			o.arp(1, mac(10), ip(10), ip(60+i))
			o.wait(pause)
		}
		o.wait(2 * time.Second)
		o.want("arp_scan", detect.Medium)
	}
}

func TestARPForKnownHostsAndStormsOfRoutersAreQuiet(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 60 { // everybody has spoken
		o.arp(1, mac(20+i), ip(20+i), ip(1))
	}
	for i := range 60 { // the router asks for known hosts
		o.arp(1, mac(1), ip(1), ip(20+i))
	}
	for i := range 200 { // a cable modem's router asks from several networks of its own
		o.arp(1, mac(2), netip.AddrFrom4([4]byte{10, byte(i % 5), 0, 1}), netip.AddrFrom4([4]byte{10, byte(i % 5), 1, byte(i)}))
	}
	for i := range 200 { // and one from outside
		o.arp(1, mac(3), net4(1), net4(500+i))
	}
	o.wait(3 * time.Second)
	o.quiet()
}

func TestTheMarkOfMiraiIsEnoughAtTheSecondTarget(t *testing.T) {
	o := newOffice(t, detect.Config{})
	syn := func(to netip.Addr, mark bool) {
		o.play(&flow.Conn{Meta: o.meta(mac(66)), Proto: 6, Client: netip.AddrPortFrom(ip(66), 4000), Server: netip.AddrPortFrom(to, 81), ClientMAC: mac(66), SeqIsServer: mark})
	}
	for i := range 40 {
		syn(net4(i), false)
	}
	syn(net4(1), true)
	syn(net4(1), true)
	o.hasty()
	syn(net4(2), true)
	o.want("worm", detect.High)
	if f := o.last("worm"); f.Host.MAC != mac(66) || f.PeerCount != 2 {
		t.Errorf("finding %+v", f)
	}
}
