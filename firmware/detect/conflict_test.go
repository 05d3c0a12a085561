package detect_test

import (
	"net/netip"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

func (o *office) on(iface uint32, m flow.MAC, after time.Duration) {
	meta := o.meta(m)
	meta.Iface = iface
	o.play(&flow.ARP{Meta: meta, Op: 1, SenderMAC: m, SenderIP: ip(10), TargetIP: ip(11)})
	o.now = o.now.Add(after)
}

func TestOneAddressOnTwoPortsAtOnceIsAConflict(t *testing.T) {
	c := detect.Config{Gateway: []netip.Addr{gatewayIP}}
	o := newOffice(t, c)
	for range 5 {
		o.on(1, mac(10), time.Second)
		o.on(2, mac(10), time.Second)
	}
	o.want("mac_conflict", detect.Medium)
	if f := o.last("mac_conflict"); f.Host.MAC != mac(10) {
		t.Errorf("host %+v", f.Host)
	}

	o = newOffice(t, c) // carried from desk to desk all day
	for i := range 20 {
		o.on(uint32(i%2), mac(10), 20*time.Minute)
	}
	o.quiet()

	o = newOffice(t, c) // a loop: everybody moves
	for range 10 {
		for n := 1; n < 30; n++ {
			o.on(1, mac(n), time.Millisecond)
			o.on(2, mac(n), time.Millisecond)
		}
	}
	if o.best("mac_conflict") != "" {
		t.Error("a loop is taken for a conflict\n" + o.dump())
	}

	o = newOffice(t, detect.Config{}) // two interfaces of a capture
	for range 20 {
		o.on(1, mac(10), time.Second)
		o.on(2, mac(10), time.Second)
	}
	o.quiet()
}

func (o *office) lease(m flow.MAC, name, class string, params ...byte) {
	o.play(&flow.DHCP{Meta: o.meta(m), Type: 3, ClientMAC: m, Hostname: name, VendorClass: class, Params: params})
	o.now = o.now.Add(20 * time.Second)
}

func TestTwoIdentitiesInTurnAreAConflict(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 4 {
		o.lease(mac(10), "pc-sato", "MSFT 5.0", 1, 3, 6)
		o.lease(mac(10), "kali", "", 1, 28, 2)
	}
	o.want("mac_conflict", detect.Medium)

	o = newOffice(t, detect.Config{})
	o.lease(mac(11), "", "PXEClient:Arch:00007", 1, 2, 3) // boots from the network, twice
	o.lease(mac(11), "pc", "MSFT 5.0", 1, 3, 6)
	o.wait(time.Hour)
	o.lease(mac(11), "", "PXEClient:Arch:00007", 1, 2, 3)
	o.lease(mac(11), "pc", "MSFT 5.0", 1, 3, 6)
	for range 9 { // and is renamed
		o.lease(mac(11), "pc-new", "MSFT 5.0", 1, 3, 6)
	}
	o.quiet()
}

func (o *office) ra(m flow.MAC, src string, lifetime uint16, prefix string, dns ...netip.Addr) {
	e := &flow.NDP{Meta: o.meta(m), Type: 134, Src: netip.MustParseAddr(src), Lifetime: lifetime, RDNSS: dns}
	if prefix != "" {
		e.Prefixes = []netip.Prefix{netip.MustParsePrefix(prefix)}
	}
	o.play(e)
	o.now = o.now.Add(time.Second)
}

func TestSecondRouterIsMediumAndAnImpostorHigh(t *testing.T) {
	o := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}})
	o.ra(gatewayMAC, "fe80::1", 1800, "2001:db8::/64")
	o.ra(mac(5), "fe80::5", 0, "fd00:1::/64") // a smart speaker
	o.quiet()
	o.ra(mac(66), "fe80::66", 1800, "2001:db8:bad::/64")
	o.want("rogue_ra", detect.Medium)
	for range 20 {
		o.ra(mac(66), "fe80::66", 1800, "2001:db8:bad::/64")
	}
	if len(o.found) != 1 {
		t.Errorf("%d findings of one cause", len(o.found))
	}
	o.ra(mac(66), "fe80::1", 0, "") // takes the router away
	o.want("rogue_ra", detect.High)
	f := o.last("rogue_ra")
	for _, a := range f.Host.IPs {
		if a == netip.MustParseAddr("fe80::1") {
			t.Error("the router's address is attributed to the impostor")
		}
	}
}

func TestNameServersAloneDrawTraffic(t *testing.T) {
	o := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}})
	o.ra(mac(66), "fe80::66", 0, "", netip.MustParseAddr("fe80::66"))
	o.want("rogue_ra", detect.Medium)
}

func TestInAReplayTheFirstRouterIsTheOffices(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 30 {
		o.ra(mac(1), "fe80::1", 1800, "2001:db8::/64")
	}
	o.quiet()
	o.ra(mac(66), "fe80::66", 1800, "2001:db8:bad::/64")
	o.want("rogue_ra", detect.Medium)
}

func TestRouterAdvertisementFloodIsHigh(t *testing.T) {
	o := newOffice(t, detect.Config{Gateway: []netip.Addr{gatewayIP}})
	for i := range 40 {
		o.ra(mac(66), "fe80::66", 1800, netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i)}), 64).String())
		o.now = o.now.Add(-900 * time.Millisecond)
	}
	o.want("rogue_ra", detect.High)
}
