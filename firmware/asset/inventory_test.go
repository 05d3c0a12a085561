package asset_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
)

var start = time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC)

func mac(n int) flow.MAC {
	return flow.MAC{0x00, 0x16, 0x3e, byte(n >> 16), byte(n >> 8), byte(n)}
}
func id(n int) asset.ID   { return asset.ID("mac:" + mac(n).String()) }
func ip(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 0, byte(n)}) }
func meta(n int, after time.Duration) flow.Meta {
	return flow.Meta{Time: start.Add(after), SrcMAC: mac(n)}
}

func arp(n, addr int, after time.Duration) flow.Event {
	return &flow.ARP{Meta: meta(n, after), Op: 1, SenderMAC: mac(n), SenderIP: ip(addr), TargetIP: ip(1)}
}

func talk(n int, client netip.Addr, port uint16, after time.Duration) flow.Event {
	return &flow.Conn{Meta: meta(n, after), State: flow.ConnEstablished, Proto: 6, RecvPackets: 1,
		Client: netip.AddrPortFrom(client, 4000), Server: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), port),
		ClientMAC: mac(n), ServerMAC: mac(1)}
}

func play(v *asset.Inventory, evs ...flow.Event) {
	for _, e := range evs {
		v.Observe(e)
	}
}

func TestDeviceIsLearntFromARP(t *testing.T) {
	v := asset.New(asset.Config{PortName: func(uint32) string { return "port3" }})
	play(v, arp(10, 10, 0), arp(10, 10, time.Hour))
	a, ok := v.ByAddr(ip(10))
	if !ok || a.ID != id(10) || a.MAC != mac(10) || a.Port != "port3" || !a.FirstSeen.Equal(start) || !a.LastSeen.Equal(start.Add(time.Hour)) {
		t.Errorf("asset %+v", a)
	}
	if a.Vendor == "" || a.RandomMAC {
		t.Errorf("maker %q of a registered prefix, random %v", a.Vendor, a.RandomMAC)
	}
}

func TestTheGatewaysAddressesOfNowAreNobodyElses(t *testing.T) {
	v := asset.New(asset.Config{Self: []flow.MAC{mac(1)}, SelfAddrs: []netip.Addr{ip(1)}})
	play(v, arp(1, 1, 0), arp(10, 7, 0), arp(11, 1, time.Minute))
	owner := func(a netip.Addr) asset.ID {
		d, _ := v.ByAddr(a)
		return d.ID
	}
	if owner(ip(1)) != id(1) || owner(ip(7)) != id(10) {
		t.Fatalf("%s, %s", owner(ip(1)), owner(ip(7)))
	}
	play(v, &flow.Self{Addrs: []netip.Addr{ip(7)}}, arp(10, 7, 2*time.Minute), arp(11, 1, 2*time.Minute))
	if got := owner(ip(7)); got != "" {
		t.Errorf("the gateway's new address is given to %s", got)
	}
	if got := owner(ip(1)); got != id(11) {
		t.Errorf("its former address belongs to %q, want whoever has it now", got)
	}
	play(v, arp(1, 7, 3*time.Minute))
	if owner(ip(7)) != id(1) {
		t.Error("the gateway does not have its own address")
	}
}

func TestAChangeOfPortIsRemembered(t *testing.T) {
	v := asset.New(asset.Config{PortName: func(i uint32) string { return map[uint32]string{1: "port1", 2: "port2"}[i] }})
	at := func(iface uint32, after time.Duration) flow.Event {
		m := meta(10, after)
		m.Iface = iface
		return &flow.ARP{Meta: m, Op: 1, SenderMAC: mac(10), SenderIP: ip(10), TargetIP: ip(1)}
	}
	play(v, at(1, 0), at(1, time.Minute))
	if a, _ := v.ByMAC(mac(10)); !a.Moved.IsZero() || a.MovedFrom != "" {
		t.Errorf("it never moved: %+v", a)
	}
	play(v, at(2, time.Hour), at(2, 2*time.Hour))
	if a, _ := v.ByMAC(mac(10)); a.Port != "port2" || a.MovedFrom != "port1" || !a.Moved.Equal(start.Add(time.Hour)) {
		t.Errorf("asset %+v", a)
	}
}

func TestARPProbeBindsNothing(t *testing.T) {
	v := asset.New(asset.Config{})
	play(v, &flow.ARP{Meta: meta(10, 0), Op: 1, SenderMAC: mac(10), SenderIP: netip.IPv4Unspecified(), TargetIP: ip(10)})
	if _, ok := v.ByAddr(ip(10)); ok {
		t.Error("a probe is a question, not a claim")
	}
}

func TestRandomMACIsRecognised(t *testing.T) {
	v := asset.New(asset.Config{})
	m := flow.MAC{0xda, 1, 2, 3, 4, 5}
	play(v, &flow.ARP{Meta: flow.Meta{Time: start, SrcMAC: m}, SenderMAC: m, SenderIP: ip(10)})
	if a, _ := v.ByMAC(m); !a.RandomMAC || a.Vendor != "" {
		t.Errorf("asset %+v", a)
	}
}

func TestLiveOwnersAddressIsNotTakenByAClaim(t *testing.T) {
	v := asset.New(asset.Config{})
	play(v, arp(10, 10, 0), arp(66, 10, time.Second), talk(66, ip(10), 80, 2*time.Second))
	if a, _ := v.ByAddr(ip(10)); a.ID != id(10) {
		t.Errorf("%s holds the address of a living device", a.ID)
	}
	play(v, arp(66, 10, 10*time.Minute))
	if a, _ := v.ByAddr(ip(10)); a.ID != id(66) {
		t.Errorf("%s holds the address: its former owner is silent", a.ID)
	}
}

func TestGatewaysAddressesAreNeverGivenAway(t *testing.T) {
	v := asset.New(asset.Config{Self: []flow.MAC{mac(1)}, SelfAddrs: []netip.Addr{ip(2)}})
	play(v, arp(1, 1, 0), arp(66, 1, time.Hour), arp(66, 2, time.Hour),
		&flow.DHCP{Meta: meta(66, time.Hour), Type: 5, FromServer: true, Src: ip(66), YourIP: ip(1), ClientMAC: mac(66)})
	a, _ := v.ByAddr(ip(1))
	b, ok := v.ByAddr(ip(2))
	if a.ID != id(1) || !a.Gateway || ok && b.ID == id(66) {
		t.Errorf("the gateway's addresses went to %s and %s", a.ID, b.ID)
	}
}

func TestLeaseMovesAnAddressAtOnce(t *testing.T) {
	v := asset.New(asset.Config{})
	play(v, arp(10, 10, 0), &flow.DHCP{Meta: meta(1, time.Second), Type: 5, FromServer: true, Src: ip(1), YourIP: ip(10), ClientMAC: mac(11)})
	if a, _ := v.ByAddr(ip(10)); a.ID != id(11) {
		t.Errorf("%s holds the leased address", a.ID)
	}
}

func TestHostsBehindARouterAreDevicesOfTheirOwn(t *testing.T) {
	v := asset.New(asset.Config{})
	play(v, arp(5, 5, 0))
	for i := range 6 {
		play(v, talk(5, netip.AddrFrom4([4]byte{10, 1, 0, byte(i + 1)}), 443, time.Duration(i)*time.Second))
	}
	r, _ := v.ByMAC(mac(5))
	h, ok := v.ByAddr(netip.MustParseAddr("10.1.0.4"))
	if !r.Router || !ok || h.ID != "ip:10.1.0.4" || len(r.Addrs) != 1 {
		t.Errorf("router %+v, host %+v", r, h)
	}
}

func TestAnImpostorsWordDoesNotMakeARouterOfAnOfficeThatHasOne(t *testing.T) {
	offer := &flow.DHCP{Meta: meta(66, time.Second), Type: 2, FromServer: true, Src: ip(66), ServerID: ip(66), YourIP: ip(10), Routers: []netip.Addr{ip(66)}, ClientMAC: mac(10)}
	advert := &flow.NDP{Meta: meta(66, 2*time.Second), Type: 134, Src: netip.MustParseAddr("fe80::66"), Lifetime: 1800}
	for _, c := range []struct {
		name string
		cfg  asset.Config
		want bool
	}{
		{"in a capture of an unknown office", asset.Config{}, true},
		{"where this appliance is the gateway", asset.Config{Self: []flow.MAC{mac(1)}, SelfAddrs: []netip.Addr{ip(1)}}, false},
	} {
		v := asset.New(c.cfg)
		play(v, arp(66, 66, 0), offer, advert)
		if a, _ := v.ByMAC(mac(66)); a.Router != c.want {
			t.Errorf("%s: router = %v, want %v", c.name, a.Router, c.want)
		}
	}
}

func TestInventedSourcesDoNotMakeARouter(t *testing.T) {
	v := asset.New(asset.Config{})
	play(v, arp(66, 66, 0))
	for i := range 100 {
		play(v, &flow.Conn{Meta: meta(66, 0), State: flow.ConnUnanswered, Proto: 6, ClientMAC: mac(66),
			Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), 1), Server: netip.AddrPortFrom(ip(9), 445)})
	}
	a, _ := v.ByMAC(mac(66))
	if a.Router || len(a.Addrs) > 16 {
		t.Errorf("router %v with %d addresses", a.Router, len(a.Addrs))
	}
}

func TestNamesByPrecedenceAndSafeToShow(t *testing.T) {
	v := asset.New(asset.Config{})
	mdns := func(name string) flow.Event {
		return &flow.DNS{Meta: meta(10, 0), Proto: flow.NameMDNS, Response: true, Src: netip.AddrPortFrom(ip(10), 5353),
			Answers: []flow.DNSRecord{{Name: name, Type: 1, Data: ip(10).String()}, {Name: "other.local", Type: 1, Data: ip(99).String()}}}
	}
	dhcp := func(name string) flow.Event {
		return &flow.DHCP{Meta: meta(10, 0), Type: 3, ClientMAC: mac(10), Hostname: name}
	}
	steps := []struct {
		ev   flow.Event
		name string
	}{
		{mdns("desk.local"), "desk"},
		{dhcp("PC-01"), "PC-01"},
		{mdns("later.local"), "PC-01"},
		{dhcp("a\x00b\u202ec\u2066d\nロビー"), "abcdロビー"},
		{dhcp("\u202e\x07"), "abcdロビー"},
		{dhcp(strings.Repeat("x", 255)), strings.Repeat("x", 63)},
	}
	for _, s := range steps {
		play(v, s.ev)
		if a, _ := v.ByMAC(mac(10)); a.Name != s.name {
			t.Errorf("name %q, want %q", a.Name, s.name)
		}
	}
	if !v.SetName(id(10), "Reception") || v.SetName(id(99), "x") {
		t.Error("SetName must say whether the device is known")
	}
	play(v, dhcp("PC-02"))
	if a, _ := v.ByMAC(mac(10)); a.Name != "Reception" || a.NameFrom != "owner" {
		t.Errorf("the owner's name was replaced by %q", a.Name)
	}
}

func TestKinds(t *testing.T) {
	dhcp := func(class string, params ...byte) flow.Event {
		return &flow.DHCP{Meta: meta(10, 0), Type: 3, ClientMAC: mac(10), VendorClass: class, Params: params}
	}
	serves := func(port uint16) flow.Event {
		return &flow.Conn{Meta: meta(20, 0), State: flow.ConnEstablished, Proto: 6, RecvPackets: 1, ClientMAC: mac(20), ServerMAC: mac(10),
			Client: netip.AddrPortFrom(ip(20), 4000), Server: netip.AddrPortFrom(ip(10), port)}
	}
	advert := &flow.DNS{Meta: meta(10, 0), Proto: flow.NameMDNS, Response: true, Src: netip.AddrPortFrom(ip(10), 5353),
		Answers: []flow.DNSRecord{{Name: "_ipp._tcp.local", Type: 12}}}
	cases := []struct {
		evs  []flow.Event
		want asset.Kind
	}{
		{[]flow.Event{dhcp("MSFT 5.0")}, asset.KindComputer},
		{[]flow.Event{dhcp("android-dhcp-13")}, asset.KindPhone},
		{[]flow.Event{dhcp("", 1, 121, 3, 6, 15, 119, 252)}, asset.KindPhone},
		{[]flow.Event{dhcp("", 1, 121, 3, 6, 15, 119, 252, 95, 44, 46)}, asset.KindComputer},
		{[]flow.Event{serves(9100)}, asset.KindPrinter},
		{[]flow.Event{serves(9100), dhcp("MSFT 5.0")}, asset.KindComputer},
		{[]flow.Event{advert, serves(445)}, asset.KindPrinter},
		{[]flow.Event{arp(10, 10, 0)}, asset.KindUnknown},
	}
	for i, c := range cases {
		v := asset.New(asset.Config{})
		play(v, c.evs...)
		if a, _ := v.ByMAC(mac(10)); a.Kind != c.want {
			t.Errorf("case %d: kind %s, want %s", i, a.Kind, c.want)
		}
	}
}

func TestFloodNeverEvictsTheOffice(t *testing.T) {
	v := asset.New(asset.Config{Max: 100, Self: []flow.MAC{mac(1)}})
	play(v, arp(1, 1, 0), arp(2, 2, 0), talk(3, ip(3), 443, 0), arp(4, 4, 0))
	v.SetProtected(id(2), true)
	for i := range 200_000 {
		play(v, arp(1000+i, 9, time.Second))
	}
	s := v.Stats()
	if s.Assets > 100 || s.Evicted < 199_000 {
		t.Errorf("stats %+v", s)
	}
	for _, keep := range []int{1, 2, 3} { // gateway, protected, confirmed
		if _, ok := v.Get(id(keep)); !ok {
			t.Errorf("%s was pushed out", id(keep))
		}
	}
	if _, ok := v.Get(id(4)); ok {
		t.Error("a device nobody confirmed outlived the flood: nothing was evicted")
	}
}

func TestChangedDrainsOnceAndNamesTheForgotten(t *testing.T) {
	v := asset.New(asset.Config{Max: 1})
	play(v, arp(10, 10, 0))
	if got := v.Changed(); !reflect.DeepEqual(got, []asset.ID{id(10)}) {
		t.Errorf("changed %v", got)
	}
	play(v, arp(10, 10, time.Second))
	if got := v.Changed(); len(got) != 0 {
		t.Errorf("nothing to tell, yet %v", got)
	}
	play(v, arp(11, 11, 2*time.Second))
	if got := v.Changed(); !reflect.DeepEqual(got, []asset.ID{id(10), id(11)}) {
		t.Errorf("changed %v", got)
	}
}

func TestStrangersThatComeAndGoLeaveNothingToTell(t *testing.T) {
	v := asset.New(asset.Config{Max: 16})
	play(v, arp(1, 1, 0))
	if got := v.Changed(); len(got) != 1 {
		t.Fatalf("changed %v", got)
	}
	for i := range 1000 {
		play(v, arp(1000+i, 10+i%200, time.Second+time.Duration(i)))
	}
	play(v, arp(1, 1, time.Minute)) // back, and pushed out again
	for i := range 1000 {
		play(v, arp(5000+i, 10+i%200, time.Minute+time.Duration(i)))
	}
	got := v.Changed()
	if len(got) > 16+1 {
		t.Errorf("%d devices to tell of, %d are kept", len(got), v.Stats().Assets)
	}
	if !slices.Contains(got, id(1)) {
		t.Error("the one that was told of before is forgotten without a word")
	}
}

func TestSnapshotsAreCopies(t *testing.T) {
	v := asset.New(asset.Config{})
	play(v, arp(10, 10, 0))
	a, _ := v.Get(id(10))
	a.Addrs[0] = ip(99)
	if b, _ := v.Get(id(10)); b.Addrs[0] != ip(10) {
		t.Error("a reader changed the inventory")
	}
}

// Restart: what All gave, Restore gives back, also by way of JSON.
func TestRestoreOfAllIsIdentity(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v := asset.New(asset.Config{Self: []flow.MAC{mac(1)}, Max: 20})
		n := rapid.IntRange(0, 120).Draw(r, "events")
		for i := range n {
			m, a := rapid.IntRange(1, 30).Draw(r, "mac"), rapid.IntRange(1, 40).Draw(r, "addr")
			at := time.Duration(i) * time.Duration(rapid.IntRange(0, 90).Draw(r, "gap")) * time.Second
			switch rapid.IntRange(0, 5).Draw(r, "what") {
			case 0:
				play(v, talk(m, ip(a), 443, at))
			case 1:
				play(v, &flow.DHCP{Meta: meta(m, at), Type: 3, ClientMAC: mac(m), Hostname: "h", VendorClass: "MSFT 5.0"})
			case 2:
				play(v, &flow.DHCP{Meta: meta(1, at), Type: 5, FromServer: true, Src: ip(1), YourIP: ip(a), ClientMAC: mac(m)})
			case 3:
				v.SetProtected(id(m), a%2 == 0)
			default:
				play(v, arp(m, a, at))
			}
		}
		all := v.All()
		b, err := json.Marshal(all)
		if err != nil {
			r.Fatal(err)
		}
		var read []asset.Asset
		if err := json.Unmarshal(b, &read); err != nil {
			r.Fatal(err)
		}
		w := asset.New(asset.Config{Self: []flow.MAC{mac(1)}, Max: 20})
		w.Restore(read)
		again, err := json.Marshal(w.All())
		if err != nil {
			r.Fatal(err)
		}
		if string(again) != string(b) {
			r.Fatalf("restored:\n%s\nwant:\n%s", again, b)
		}
		for _, x := range all {
			for _, addr := range x.Addrs {
				if o, _ := v.ByAddr(addr); o.ID != x.ID {
					r.Fatalf("%s is listed by %s and held by %q", addr, x.ID, o.ID)
				}
				if o, _ := w.ByAddr(addr); o.ID != x.ID {
					r.Fatalf("after the restart %s is held by %q, want %s", addr, o.ID, x.ID)
				}
			}
		}
	})
}

func TestMakerKnowsTheRegistry(t *testing.T) {
	cases := map[flow.MAC]string{
		{0x00, 0x00, 0x0c, 1, 2, 3}:          "Cisco",
		{0xb8, 0x27, 0xeb, 1, 2, 3}:          "Raspberry Pi",
		{0x02, 0x00, 0x0c, 1, 2, 3}:          "",
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}: "",
	}
	for m, want := range cases {
		if got := asset.Maker(m); want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", m, got, want)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	v := asset.New(asset.Config{})
	ev := talk(10, ip(10), 443, 0)
	b.ReportAllocs()
	for b.Loop() {
		v.Observe(ev)
	}
}

func TestRoleAgreesWithTheSnapshot(t *testing.T) {
	v := asset.New(asset.Config{Self: []flow.MAC{mac(1)}})
	play(v, arp(1, 1, 0), arp(10, 10, 0))
	if r := v.Role(mac(1), ip(1)); !r.Gateway || !r.Router || !r.Holds {
		t.Errorf("gateway %+v", r)
	}
	if r := v.Role(mac(10), ip(1)); r.Gateway || r.Router || r.Holds {
		t.Errorf("host %+v holds the gateway's address", r)
	}
	if r := v.Role(mac(99), ip(1)); r != (asset.Role{}) {
		t.Errorf("stranger %+v", r)
	}
}

func TestReadersMayRunBesideTheObserver(t *testing.T) {
	v := asset.New(asset.Config{Max: 50})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 {
			play(v, arp(i%80, i%200, time.Duration(i)*time.Second))
		}
	}()
	for range 200 {
		v.All()
		v.Changed()
		v.Role(mac(1), ip(1))
		v.SetProtected(id(3), false)
	}
	<-done
	if n := v.Stats().Assets; n == 0 || n > 50 {
		t.Errorf("%d assets", n)
	}
}

func TestNetBIOSNameIsTheFirstOneRegistered(t *testing.T) {
	v := asset.New(asset.Config{})
	register := func(name, data string) flow.Event {
		return &flow.DNS{Meta: meta(10, 0), Proto: flow.NameNBNS, Opcode: 5, Src: netip.AddrPortFrom(ip(10), 137), QName: name,
			Answers: []flow.DNSRecord{{Name: name, Type: 32, Data: data}}}
	}
	play(v, register("server", ip(9).String()), register("pc-7", ip(10).String()), register("workgroup", ip(10).String()))
	if a, _ := v.ByMAC(mac(10)); a.Name != "pc-7" || a.NameFrom != "nbns" {
		t.Errorf("name %q from %q", a.Name, a.NameFrom)
	}
	play(v, &flow.DNS{Meta: meta(10, 0), Proto: flow.NameNBNS, Response: true, Src: netip.AddrPortFrom(ip(10), 137),
		Answers: []flow.DNSRecord{{Name: "*", Type: 33, Data: "pc-8"}}})
	if a, _ := v.ByMAC(mac(10)); a.Name != "pc-8" {
		t.Errorf("name %q: a node status names the computer itself", a.Name)
	}
}

func TestActiveCountsWhoWasSeenLately(t *testing.T) {
	self := flow.MAC{2, 0, 0, 0, 0, 0xfe}
	inv := asset.New(asset.Config{Self: []flow.MAC{self}})
	began := time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC)
	for i, m := range []flow.MAC{{0, 1, 2, 3, 4, 1}, {0, 1, 2, 3, 4, 2}, {0, 1, 2, 3, 4, 3}, self} {
		inv.Observe(&flow.ARP{Meta: flow.Meta{Time: began.Add(time.Duration(i) * time.Minute), SrcMAC: m}, Op: 1, SenderMAC: m})
	}
	if n := inv.Active(began.Add(time.Minute)); n != 2 {
		t.Errorf("%d devices, want the two that were not silent since", n)
	}
}

func TestAForgottenDeviceIsGoneForTheStoreTooAndNewWhenItSpeaks(t *testing.T) {
	v := asset.New(asset.Config{Self: []flow.MAC{mac(1)}})
	play(v, arp(10, 10, 0), arp(1, 1, 0))
	v.SetName(id(10), "Yamada")
	v.Changed()
	if v.Forget(id(1)) || v.Forget(id(99)) {
		t.Error("the gateway or a stranger was forgotten")
	}
	if !v.Forget(id(10)) {
		t.Fatal("the device was not forgotten")
	}
	if _, ok := v.Get(id(10)); ok || !slices.Contains(v.Changed(), id(10)) {
		t.Error("the store is not told that it is gone")
	}
	play(v, arp(10, 10, time.Hour))
	if a, ok := v.ByMAC(mac(10)); !ok || a.Name != "" || !a.FirstSeen.Equal(start.Add(time.Hour)) {
		t.Errorf("when it speaks again: %+v", a)
	}
}

// A bridge that was made anew has another Ethernet address, and its first frames
// may be seen before anybody has told the inventory.
func TestTheGatewayMayGetAnotherEthernetAddress(t *testing.T) {
	given := []flow.MAC{mac(1)}
	v := asset.New(asset.Config{Self: given})
	play(v, arp(1, 1, 0), arp(2, 9, 0), arp(4, 4, 0))
	v.Own(mac(2)) // seen before
	v.Own(mac(3)) // not yet
	v.Own(flow.MAC{})
	v.Own(flow.MAC{1, 0, 0x5e, 0, 0, 1})
	play(v, arp(3, 8, time.Minute))
	for n, want := range map[int]bool{1: true, 2: true, 3: true, 4: false} {
		if a, ok := v.Get(id(n)); !ok || a.Gateway != want || a.Router != want {
			t.Errorf("%d: %+v", n, a)
		}
	}
	if got := v.Active(start); got != 1 {
		t.Errorf("%d devices of the office", got)
	}
	if a, ok := v.Get(id(2)); !slices.Contains(v.Changed(), a.ID) || !ok {
		t.Error("not kept")
	}
	for n := range 1000 { // bounded: the oldest go
		v.Own(mac(1000 + n))
	}
	play(v, arp(1999, 7, time.Minute))
	if a, _ := v.Get(id(1999)); !a.Gateway {
		t.Error("the newest is not known")
	}
	if given[0] != mac(1) {
		t.Error("the caller's list was written to")
	}
}
