package nft

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/netcontain"
	"sekisho/netcontain/nstest"
	"sekisho/netcontain/refuge"
)

func policyOf(hosts ...netcontain.Host) netcontain.Policy { return netcontain.Policy{Hosts: hosts} }

// inject sends one raw frame from eth0 of a host.
func inject(t *testing.T, o *office, host int, frame []byte) {
	t.Helper()
	o.hosts[host].Do(t, func() {
		var one unix.CPUSet
		one.Set(0) // one processor's queue keeps the order of frames
		dev, err := net.InterfaceByName("eth0")
		if err = errors.Join(err, unix.SchedSetaffinity(0, &one)); err != nil {
			t.Error(err)
			return
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: dev.Index}); err != nil {
			t.Errorf("inject: %v", err)
		}
	})
}

var broadcast = netcontain.MAC{255, 255, 255, 255, 255, 255}

func frame(dst, src netcontain.MAC, rest ...byte) []byte {
	b := append(append(append([]byte{}, dst[:]...), src[:]...), rest...)
	return append(b, make([]byte, max(0, 60-len(b)))...)
}

func arp(src netcontain.MAC, from, to netip.Addr) []byte {
	b := append([]byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, src[:]...)
	b = append(append(b, from.AsSlice()...), 0, 0, 0, 0, 0, 0)
	return frame(broadcast, src, append(b, to.AsSlice()...)...)
}

func ipv4(dst, src netcontain.MAC, from, to netip.Addr) []byte {
	b := append([]byte{8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 99, 0, 0}, from.AsSlice()...)
	b = append(b, to.AsSlice()...)
	sum := uint32(0)
	for i := 2; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	sum = ^(sum>>16 + sum&0xffff) // br_netfilter drops a wrong checksum
	b[12], b[13] = byte(sum>>8), byte(sum)
	return frame(dst, src, b...)
}

// TestNoKindOfFrameLeaves injects frames of every kind, and a last one from a
// free host as a fence: veth and bridge deliver in order, so when the fence has
// arrived, whatever leaked has too.
func TestNoKindOfFrameLeaves(t *testing.T) {
	o := newOffice(t)
	h := held(1, netcontain.Isolate)
	other := netcontain.MAC{2, 7, 7, 7, 7, 7}
	frames := map[string][]byte{
		"ARP for another":          arp(mac(1), ip4(1), ip4(2)),
		"ARP for the gateway":      arp(mac(1), ip4(1), netip.MustParseAddr("192.0.2.1")),
		"ARP with another MAC":     arp(other, ip4(1), ip4(2)),
		"IPv4":                     ipv4(mac(2), mac(1), ip4(1), ip4(2)),
		"IPv4 with another source": ipv4(mac(2), mac(1), ip4(3), ip4(2)),
		"IPv4 with another MAC":    ipv4(mac(2), other, ip4(1), ip4(2)),
		"broadcast":                ipv4(broadcast, mac(1), ip4(1), netip.MustParseAddr("255.255.255.255")),
		"multicast":                ipv4(netcontain.MAC{1, 0, 0x5e, 0, 0, 0xfb}, mac(1), ip4(1), netip.MustParseAddr("224.0.0.251")),
		"VLAN":                     frame(mac(2), mac(1), append([]byte{0x81, 0, 0, 5}, ipv4(mac(2), mac(1), ip4(1), ip4(2))[12:]...)...),
		"VLAN, another MAC":        frame(mac(2), other, append([]byte{0x81, 0, 0, 5}, ipv4(mac(2), mac(1), ip4(1), ip4(2))[12:]...)...),
		"unknown ethertype":        frame(mac(2), mac(1), 0x88, 0xb5, 1, 2, 3),
		"unknown ethertype to all": frame(broadcast, mac(1), 0x88, 0xb5, 1, 2, 3),
	}
	send := func() map[string]int {
		count := tap(t, o.hosts[2])
		fence := frame(mac(2), mac(3), 0x88, 0xb6, 9)
		for _, f := range frames {
			inject(t, o, 1, f)
		}
		inject(t, o, 3, fence)
		seen := map[string]int{}
		count(func(b []byte) bool {
			for name, f := range frames {
				if len(b) >= 46 && string(b[:12]) == string(f[:12]) && strings.HasSuffix(string(f), string(b[len(b)-40:])) {
					seen[name]++
				}
			}
			if b[12] == 0x88 && b[13] == 0xb6 {
				seen["fence"]++
			}
			return true
		})
		return seen
	}
	if free := send(); len(free) < len(frames) { // the tap may lose the tag, never the frame
		t.Fatalf("free host: only %v were seen", free)
	}
	o.apply(t, policyOf(h))
	seen := send()
	if seen["fence"] != 1 {
		t.Fatalf("the fence did not arrive: %v", seen)
	}
	delete(seen, "fence")
	if len(seen) != 0 {
		t.Errorf("leaked: %v", seen)
	}
}

func TestHeldPortKeepsBroadcastsOfOthersOut(t *testing.T) {
	o := newOffice(t)
	h := held(1, netcontain.Isolate)
	h.Ports = []string{"p1"}
	o.apply(t, policyOf(h))
	atHeld, atFree := tap(t, o.hosts[1]), tap(t, o.hosts[4])
	inject(t, o, 3, arp(mac(3), ip4(3), ip4(4)))
	from3 := func(b []byte) bool { m := mac(3); return string(b[6:12]) == string(m[:]) }
	if n := atFree(from3); n == 0 {
		t.Fatal("the broadcast did not reach a free host")
	}
	if n := atHeld(from3); n != 0 {
		t.Errorf("%d broadcasts of others reached the held port", n)
	}
}

func TestIsolatedHostsAreKeptApartAndBothReachTheGateway(t *testing.T) {
	o := newOffice(t)
	server := serve(t, o.hosts[2], "192.0.2.12:7000")
	dns := serve(t, o.gw, "192.0.2.1:53")
	dns6 := serve(t, o.gw, "[2001:db8:1::1]:53")
	panel := serve(t, o.gw, "192.0.2.1:22")
	o.apply(t, policyOf(held(1, netcontain.Isolate), held(2, netcontain.Isolate)))
	if dial(t, o.hosts[1], server.addr) != nil {
		t.Error("one isolated host reaches another")
	}
	for _, to := range []string{dns.addr, dns6.addr} {
		connected(t, o.hosts[1], to)
	}
	if dial(t, o.hosts[1], panel.addr) != nil {
		t.Error("isolated host reaches another service of the gateway")
	}
}

func TestLimitedHostReachesOnlyTheAllowList(t *testing.T) {
	o := newOffice(t)
	peer := serve(t, o.hosts[2], "192.0.2.12:7000")
	allowed := serve(t, o.inet, "203.0.113.9:7000")
	refused := serve(t, o.inet, "198.51.100.1:7000")
	allowed6 := serve(t, o.inet, "[2001:db8:2::1]:7000")
	p := policyOf(held(1, netcontain.Limit))
	p.Allow = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:2::/64")}
	o.apply(t, p)
	for _, to := range []string{allowed.addr, allowed6.addr} {
		connected(t, o.hosts[1], to)
	}
	for _, to := range []string{peer.addr, refused.addr} {
		if alive(dial(t, o.hosts[1], to)) {
			t.Errorf("limited host reaches %s", to)
		}
	}
	connected(t, o.hosts[3], refused.addr) // another host is not limited
	p.Allow = append(p.Allow, netip.MustParsePrefix("192.0.2.0/24"))
	o.apply(t, p)
	if alive(dial(t, o.hosts[1], peer.addr)) {
		t.Error("an allow list that names the office lets host reach host")
	}
}

func TestLockdownCutsTheUplinkAndPartsThePorts(t *testing.T) {
	o := newOffice(t)
	peer := serve(t, o.hosts[2], "192.0.2.12:7000")
	world := serve(t, o.inet, "203.0.113.9:7000")
	gateway := serve(t, o.gw, "192.0.2.1:443")
	old := []net.Conn{connected(t, o.hosts[1], peer.addr), connected(t, o.hosts[1], world.addr)}
	o.apply(t, netcontain.Policy{Lockdown: true})
	for _, c := range old {
		if alive(c) {
			t.Error("an established connection is alive")
		}
	}
	if alive(dial(t, o.hosts[3], peer.addr)) || alive(dial(t, o.hosts[3], world.addr)) {
		t.Error("a new connection was let through")
	}
	connected(t, o.hosts[3], gateway.addr)
	o.apply(t, netcontain.Policy{})
	connected(t, o.hosts[3], peer.addr) // lockdown has ended
	connected(t, o.hosts[3], world.addr)
}

func TestFlushRulesetIsNoticedAndRepairedAndForeignTablesStay(t *testing.T) {
	o := newOffice(t)
	p := policyOf(held(1, netcontain.Isolate))
	r, err := netcontain.NewReconciler(netcontain.Config{Enforcer: o.enforcer, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Set(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	want := o.gw.Run(t, "nft list table bridge sekisho") + o.gw.Run(t, "nft list table inet sekisho")
	foreign := o.gw.Run(t, "nft list table ip office")
	for _, tampering := range []string{
		"flush ruleset", "delete table inet sekisho", "flush chain bridge sekisho forward", "flush set bridge sekisho isolate_mac",
		"flush set inet sekisho isolate_ip4", "insert rule bridge sekisho forward accept", "add rule bridge sekisho lockdown drop",
	} {
		o.gw.Run(t, "nft "+tampering)
		if d, err := r.Check(t.Context()); err != nil || d.Empty() {
			t.Errorf("%s: drift %s, error %v", tampering, d, err)
		}
		got := o.gw.Run(t, "nft list table bridge sekisho") + o.gw.Run(t, "nft list table inet sekisho")
		if got != want {
			t.Errorf("%s: not repaired:\n%s", tampering, got)
		}
		if d, err := r.Check(t.Context()); err != nil || !d.Empty() {
			t.Errorf("%s: after the repair: drift %s, error %v", tampering, d, err)
		}
		if tampering == "flush ruleset" { // took the office's own table too: not ours to bring back
			o.gw.Run(t, "nft add table ip office")
			o.gw.Run(t, "nft add chain ip office post { type nat hook postrouting priority 100 ; }")
			o.gw.Run(t, "nft add rule ip office post oifname wan0 masquerade")
		}
	}
	if got := o.gw.Run(t, "nft list table ip office"); got != foreign {
		t.Errorf("foreign table changed:\n%s", got)
	}
}

func TestPolicyOutlivesTheEnforcerAndASecondOneTakesOver(t *testing.T) {
	o := newOffice(t)
	server := serve(t, o.hosts[2], "192.0.2.12:7000")
	p := policyOf(held(1, netcontain.Isolate))
	o.apply(t, p)
	var next *Enforcer
	o.gw.Do(t, func() {
		var err error
		if next, err = New(o.enforcer.cfg); err != nil {
			t.Error(err)
		}
	})
	o.enforcer.Close()
	o.enforcer = next
	if dial(t, o.hosts[1], server.addr) != nil {
		t.Error("isolation ended with the enforcer")
	}
	got, err := next.Observed(t.Context())
	if d := netcontain.Diff(p, got); err != nil || !d.Empty() {
		t.Errorf("a new enforcer sees something else: %s, %v", d, err)
	}
	o.apply(t, p)
	o.apply(t, netcontain.Policy{})
	o.hosts[1].Run(t, "ip neigh flush dev eth0") // it may still be waiting after its failed ARP
	connected(t, o.hosts[1], server.addr)
}

// nft(8) has to show which port is held, and what it saves has to hold the same
// port when it is loaded again.
func TestHeldPortsAreShownByName(t *testing.T) {
	o := newOffice(t)
	h := held(1, netcontain.Isolate)
	h.Ports = []string{"p1"}
	o.apply(t, policyOf(h))
	for _, family := range []string{"bridge", "inet"} {
		if set := o.gw.Run(t, "nft list set "+family+" sekisho isolate_port"); !strings.Contains(set, `"p1"`) {
			t.Errorf("the held port is not named:\n%s", set)
		}
	}
}

func TestIsolatedHostsWebAndDNSLandInTheRefuge(t *testing.T) {
	o := newOffice(t)
	var s *refuge.Server
	o.gw.Do(t, func() {
		var err error
		s, err = refuge.Listen(t.Context(), refuge.Config{
			Interface: "br0", Addr4: netip.MustParseAddr("192.0.2.1"), Addr6: netip.MustParseAddr("2001:db8:1::1"), Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Error(err)
		}
		dns, page := s.Ports()
		cfg := o.enforcer.cfg
		cfg.Refuge = Refuge{DNS: dns, HTTP: page}
		o.enforcer.Close()
		if o.enforcer, err = New(cfg); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	panel := serve(t, o.gw, "192.0.2.1:443")
	open := connected(t, o.hosts[1], panel.addr)
	o.apply(t, policyOf(held(1, netcontain.Isolate)))
	if alive(open) {
		t.Error("what was open to the panel goes on")
	}
	for _, server := range []string{"198.51.100.1:53", "[2001:db8:2::1]:53"} { // a resolver on the internet, as many hosts have
		r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var c net.Conn
			var err error
			o.hosts[1].Do(t, func() { c, err = (&net.Dialer{Timeout: patience}).DialContext(ctx, "udp", server) })
			return c, err
		}}
		if got, err := r.LookupNetIP(ctx, "ip4", "update.example."); err != nil || got[0].Unmap() != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("DNS by %s: %v, %v", server, got, err)
		}
	}
	web := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, to string) (net.Conn, error) {
		var c net.Conn
		var err error
		o.hosts[1].Do(t, func() { c, err = (&net.Dialer{}).DialContext(ctx, "tcp", to) })
		return c, err
	}}}
	res, err := web.Get("http://203.0.113.9/generate_204")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.Request.URL.String() != "http://192.0.2.1/" || !strings.Contains(string(body), "isolated") {
		t.Errorf("landed at %s", res.Request.URL)
	}
	// HTTPS is refused at once, by everybody: also by the gateway, where our DNS
	// leads every name, though its panel listens there.
	for to, at := range map[string]*nstest.NS{"192.0.2.1:443": o.gw, "[2001:db8:1::1]:443": o.gw, "203.0.113.9:443": o.inet, "[2001:db8:2::1]:443": o.inet} {
		if to != panel.addr {
			serve(t, at, to)
		}
		var err error
		o.hosts[1].Do(t, func() { _, err = net.DialTimeout("tcp", to, 10*time.Second) })
		if !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("HTTPS to %s: %v", to, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestEnforcerNamesWhoIsNeverHeld(t *testing.T) {
	o := newOffice(t)
	macs, addrs, err := o.enforcer.Never()
	if err != nil || len(macs) == 0 || len(addrs) == 0 {
		t.Errorf("never: %v, %v, %v", macs, addrs, err)
	}
}
