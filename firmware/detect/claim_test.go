package detect_test

import (
	"net/netip"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

func TestClaimOfTheGatewaysAddressIsToldAtOnceAndHighWhenItInsists(t *testing.T) {
	o := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}})
	o.arp(2, gatewayMAC, gatewayIP, ip(10))
	o.quiet()
	o.arp(1, mac(66), ip(66), ip(10)) // the impostor's own address
	o.arp(2, mac(66), gatewayIP, ip(10))
	o.want("arp_spoof", detect.Medium)
	o.arp(2, mac(66), gatewayIP, ip(10))
	o.arp(2, mac(66), gatewayIP, ip(10))
	o.want("arp_spoof", detect.High)
	f := o.last("arp_spoof")
	if f.Host.MAC != mac(66) || f.Host.IP != ip(66) {
		t.Errorf("host %+v", f.Host)
	}
	for _, a := range f.Host.IPs {
		if a == gatewayIP {
			t.Error("the gateway's address is attributed to the impostor: isolating it would hit the gateway")
		}
	}
	n := len(o.found)
	for range 50 {
		o.arp(2, mac(66), gatewayIP, ip(10))
	}
	if len(o.found) != n {
		t.Error("the same claim is reported again")
	}
}

func TestTheGatewaysAddressIsTheOneThatItHasNow(t *testing.T) {
	o := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}})
	o.arp(2, mac(66), ip(7), ip(10)) // nobody's yet
	o.quiet()
	o.play(&flow.Self{Addrs: []netip.Addr{ip(7)}})
	o.arp(2, mac(66), gatewayIP, ip(10)) // anybody's again
	o.quiet()
	o.arp(2, mac(66), ip(7), ip(10))
	o.want("arp_spoof", detect.Medium)
	o.play(&flow.DHCP{Meta: o.meta(mac(66)), Src: ip(7), Type: 2, FromServer: true, YourIP: ip(10), ClientMAC: mac(10), ServerID: ip(7)})
	o.want("rogue_dhcp", detect.High)
}

func TestPoisoningOfALivingHostIsHigh(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.arp(1, mac(1), ip(1), ip(10))
	for range 2 {
		o.arp(2, mac(66), ip(1), ip(10))
		o.wait(4 * time.Second)
	}
	o.want("arp_spoof", detect.Low)
	o.arp(1, mac(1), ip(1), ip(11)) // the owner is alive
	o.want("arp_spoof", detect.Medium)
	o.arp(2, mac(66), ip(1), ip(10))
	o.arp(1, mac(1), ip(1), ip(11))
	o.want("arp_spoof", detect.High)
}

// TestAnswersThatContainmentAskedForMakeNoImpostor has two devices with one
// address behind a switch where netcontain/neigh works: it asks both, again and
// again, by their port alone.
func TestAnswersThatContainmentAskedForMakeNoImpostor(t *testing.T) {
	nowhere := flow.MAC{0x02, 0x9a, 1, 2, 3, 4}
	for _, asker := range []flow.MAC{nowhere, mac(10)} {
		o := newOffice(t, detect.Config{Nowhere: nowhere})
		o.arp(1, mac(1), ip(1), ip(10))
		for range 10 {
			for _, m := range []flow.MAC{mac(66), mac(1)} {
				meta := o.meta(m)
				meta.DstMAC = asker
				o.play(&flow.ARP{Meta: meta, Op: 2, SenderMAC: m, SenderIP: ip(1), TargetMAC: asker, TargetIP: ip(10)})
				o.wait(4 * time.Second)
			}
		}
		want := detect.Medium // two devices with one address
		if asker != nowhere {
			want = detect.High // the same to a machine that did not ask
		}
		o.want("arp_spoof", want)
	}
}

// say is an ARP answer about an address, sent by one device in the name of another.
func (o *office) say(by, of flow.MAC, a, to netip.Addr) {
	o.play(&flow.ARP{Meta: o.meta(by), Op: 2, SenderMAC: of, SenderIP: a, TargetIP: to})
	o.wait(2 * time.Second)
}

func TestImpostorThatEndsIsNamedAndNotItsVictim(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 5 { // it began before we listened
		o.say(mac(66), mac(66), ip(10), ip(1))
	}
	o.quiet()
	o.say(mac(66), mac(10), ip(10), ip(1)) // gives the address back
	o.want("arp_spoof", detect.Medium)
	o.say(mac(66), mac(10), ip(10), ip(1))
	o.say(mac(66), mac(10), ip(10), ip(1))
	o.want("arp_spoof", detect.High)
	for _, f := range o.found {
		if f.Host.MAC != mac(66) || len(f.Peers) != 1 || f.Peers[0].MAC != mac(10) {
			t.Errorf("%s against %v is about %s", f.Confidence, f.Peers, f.Host.MAC)
		}
	}
}

func TestGivingAnAddressBackIsTheOwnersWord(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.arp(1, mac(10), ip(10), ip(1))
	for range 4 {
		o.say(mac(66), mac(66), ip(10), ip(1))
	}
	o.want("arp_spoof", detect.Low)
	o.say(mac(66), mac(10), ip(10), ip(1))
	o.want("arp_spoof", detect.High)
	if f := o.last("arp_spoof"); f.Host.MAC != mac(66) {
		t.Errorf("host %s", f.Host.MAC)
	}
}

func TestNobodyIsIsolatedForWhatAnotherSaysOfIt(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.arp(1, mac(10), ip(10), ip(1))
	o.arp(1, mac(20), ip(20), ip(1))
	for range 20 { // 66 says that 20 took the address of 10
		o.say(mac(66), mac(20), ip(10), ip(1))
		o.arp(1, mac(10), ip(10), ip(1))
	}
	if got := o.best("arp_spoof"); got == detect.High {
		t.Errorf("confidence %s\n%s", got, o.dump())
	}
}

func TestForgedClaimOfTheGatewaysAddressWaitsForAPerson(t *testing.T) {
	o := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}})
	o.say(mac(66), mac(20), gatewayIP, ip(10))
	o.want("arp_spoof", detect.Medium)
	for range 3 {
		o.say(mac(20), mac(20), gatewayIP, ip(10)) // now it says so itself
	}
	o.want("arp_spoof", detect.High)
}

// A router or a camera comes with an address by its maker, which may be the
// gateway's. It announces itself, defends its address and answers.
func TestDeviceWithTheGatewaysAddressByItsMakerIsAskedAbout(t *testing.T) {
	o := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}})
	for range 3 { // it is switched on and off
		for range 2 {
			o.arp(1, mac(66), gatewayIP, gatewayIP)
			o.wait(2 * time.Second)
		}
		for range 30 {
			o.wait(10 * time.Second)
			o.arp(1, mac(66), gatewayIP, gatewayIP)
			o.arp(1, mac(10), ip(10), gatewayIP)
			o.arp(2, mac(66), gatewayIP, ip(10))
		}
	}
	o.want("arp_spoof", detect.Medium)

	o = newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}})
	for range 6 {
		o.arp(2, mac(66), gatewayIP, gatewayIP)
		o.wait(2 * time.Second)
	}
	o.want("arp_spoof", detect.High)
}

func TestRepeaterThatPassesOnARPIsQuiet(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 10 {
		for i := range 3 {
			o.arp(1, mac(1), ip(1), ip(20+i))
			o.say(mac(99), mac(20+i), ip(20+i), ip(1)) // as its station said
			o.arp(1, mac(20+i), ip(20+i), ip(1))       // the station, heard directly
		}
		o.arp(2, mac(99), ip(99), ip(1))
	}
	o.quiet()
}

// Hard negatives: an address that gets another MAC.
func TestOrdinaryChangesOfMAC(t *testing.T) {
	cases := map[string]func(*office){
		"lease goes to another device": func(o *office) {
			o.arp(1, mac(10), ip(10), ip(1))
			o.play(&flow.DHCP{Meta: o.meta(mac(1)), Src: ip(1), Type: 5, FromServer: true, YourIP: ip(10), ClientMAC: mac(11), ServerID: ip(1)})
			o.arp(1, mac(11), ip(10), ip(1))
		},
		"new network card after a pause": func(o *office) {
			o.arp(1, mac(10), ip(10), ip(1))
			o.wait(10 * time.Minute)
			o.arp(1, mac(11), ip(10), ip(1))
			o.arp(1, mac(11), ip(10), ip(2))
		},
		"virtual router fails over": func(o *office) {
			for range 5 {
				o.arp(2, flow.MAC{0, 0, 0x5e, 0, 1, 7}, ip(1), ip(1))
				o.arp(2, mac(1), ip(1), ip(1))
				o.arp(2, flow.MAC{0, 0, 0x0c, 0x07, 0xac, 7}, ip(1), ip(1))
			}
		},
	}
	for name, play := range cases {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			play(o)
			o.quiet()
		})
	}
}

func TestWiFiBridgeThatAnswersForItsHostsStaysBelowHigh(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 20 {
		for i := range 6 {
			o.arp(1, mac(1), ip(1), ip(20+i))
			o.arp(2, mac(20+i), ip(20+i), ip(1))
			o.arp(2, mac(99), ip(20+i), ip(1)) // asked for
		}
	}
	for _, f := range o.found {
		if f.Confidence == detect.High {
			t.Errorf("%s", f.Explain.EN)
		}
	}
}

func lease(o *office, typ uint8, server int, your netip.Addr, router netip.Addr) {
	o.play(&flow.DHCP{Meta: o.meta(mac(server)), Src: ip(server), Type: typ, FromServer: true, YourIP: your,
		ClientMAC: mac(10), ServerID: ip(server), Routers: []netip.Addr{router}, DNS: []netip.Addr{router}})
	o.now = o.now.Add(100 * time.Millisecond)
}

func TestOfferOfAStrangerIsHighWhereTheServerIsKnown(t *testing.T) {
	o := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}, DHCPServers: []netip.Addr{ip(2)}})
	lease(o, 2, 0xfe, ip(10), gatewayIP)
	lease(o, 5, 0xfe, ip(10), gatewayIP)
	lease(o, 2, 2, ip(10), gatewayIP)
	o.quiet()
	lease(o, 2, 66, ip(10), ip(66))
	o.want("rogue_dhcp", detect.High)
	if f := o.last("rogue_dhcp"); f.Host.MAC != mac(66) || f.Technique != "T1557.003" {
		t.Errorf("finding %+v", f)
	}
}

// The office's Windows server gives leases, and nobody wrote it into the settings.
func TestServerThatNamesTheGatewayAsRouterIsAskedAbout(t *testing.T) {
	o := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}})
	for range 20 {
		lease(o, 2, 5, ip(10), gatewayIP)
		lease(o, 5, 5, ip(10), gatewayIP)
	}
	o.want("rogue_dhcp", detect.Medium)
}

func TestImpostorInTheGatewaysNameIsFound(t *testing.T) {
	o := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}})
	o.play(&flow.DHCP{Meta: o.meta(mac(66)), Src: gatewayIP, Type: 2, FromServer: true, YourIP: ip(10), ClientMAC: mac(10), ServerID: gatewayIP})
	o.want("rogue_dhcp", detect.High)
}

func TestReplayLearnsTheServerByItsFirstLease(t *testing.T) {
	o := newOffice(t, detect.Config{})
	lease(o, 2, 66, ip(10), ip(66)) // offered first, not taken
	lease(o, 2, 1, ip(10), ip(1))
	o.quiet()
	lease(o, 5, 1, ip(10), ip(1))
	o.want("rogue_dhcp", detect.Medium)
	if f := o.last("rogue_dhcp"); f.Host.MAC != mac(66) {
		t.Errorf("host %+v, want the one whose offer nobody took", f.Host)
	}
	lease(o, 5, 1, ip(10), ip(1))
	lease(o, 2, 66, ip(10), ip(66))
	o.want("rogue_dhcp", detect.High)
}

func TestLegitimateSecondServers(t *testing.T) {
	o := newOffice(t, detect.Config{})
	lease(o, 5, 1, ip(10), ip(1))
	for range 5 { // INFORM answered by two directory servers grants nothing
		lease(o, 5, 1, netip.Addr{}, ip(1))
		lease(o, 5, 4, netip.IPv4Unspecified(), ip(1))
	}
	o.quiet()
	lease(o, 2, 2, ip(10), ip(1)) // failover pair: same router, same name server
	o.want("rogue_dhcp", detect.Low)
}

func TestServersInventedForEveryAnswerAreToldOfAFewTimes(t *testing.T) {
	o := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}})
	before := o.eng.Stats().Evicted["rogue_dhcp"]
	for i := range 5000 {
		o.play(&flow.DHCP{Meta: o.meta(mac(1000 + i)), Src: net4(i), Type: 2, FromServer: true, YourIP: ip(10), ClientMAC: mac(10)})
	}
	if n := len(o.found); n == 0 || n > 64 {
		t.Errorf("%d findings", n)
	}
	if o.eng.Stats().Evicted["rogue_dhcp"] == before {
		t.Error("what is not told is not counted")
	}
	o.wait(time.Hour)
	n := len(o.found)
	lease(o, 2, 66, ip(10), ip(66))
	if len(o.found) == n {
		t.Error("an impostor an hour later is not reported")
	}
}

func TestDecoyBands(t *testing.T) {
	decoys := func() []netip.Addr { return []netip.Addr{ip(201), ip(202)} }
	cases := []struct {
		name string
		play func(*office)
		want detect.Confidence
	}{
		{"ARP alone", func(o *office) { o.arp(1, mac(10), ip(10), ip(201)) }, ""},
		{"another address", func(o *office) { o.tcp(10, ip(200), 80, flow.ConnEstablished) }, ""},
		{"one ping", func(o *office) { o.ping(10, ip(201), false) }, detect.Low},
		{"pings of two", func(o *office) { o.ping(10, ip(201), false); o.ping(10, ip(202), false) }, detect.Medium},
		{"one attempt", func(o *office) { o.tcp(10, ip(201), 80, flow.ConnAttempt) }, detect.Medium},
		{"one datagram", func(o *office) { o.conn(10, ip(201), 17, 161, flow.ConnAttempt) }, detect.Medium},
		{"hand-shake on SMB", func(o *office) { o.tcp(10, ip(201), 445, flow.ConnEstablished) }, detect.High},
		{"two decoys", func(o *office) {
			o.tcp(10, ip(201), 80, flow.ConnAttempt)
			o.tcp(10, ip(202), 80, flow.ConnAttempt)
		}, detect.High},
		{"the gateway itself", func(o *office) { o.tcp(0xfe, ip(201), 80, flow.ConnAttempt) }, ""},
		{"group destination", func(o *office) {
			o.play(&flow.Conn{Meta: o.meta(mac(10)), Multicast: true, Proto: 17, Client: netip.AddrPortFrom(ip(10), 5), Server: netip.AddrPortFrom(ip(201), 5)})
		}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice(t, detect.Config{Decoys: decoys})
			c.play(o)
			o.want("decoy_touch", c.want)
		})
	}
}
