package nft

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sekisho/netcontain"
)

// reopen replaces the enforcer by one with other settings.
func (o *office) reopen(t testing.TB, change func(*Config)) {
	t.Helper()
	cfg := o.enforcer.cfg
	change(&cfg)
	if err := o.enforcer.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	o.gw.Do(t, func() { o.enforcer, err = New(cfg) })
	if err != nil {
		t.Fatal(err)
	}
}

// TestANewLeaseInTheQuarantineReachesTheHelpPageAndNothingElse gives a held host
// an address of the quarantine that nobody has told the enforcer of. Here the
// quarantine is on the bridge itself; with VLANs it is in the twin.
func TestANewLeaseInTheQuarantineReachesTheHelpPageAndNothingElse(t *testing.T) {
	o := newOffice(t)
	o.gw.Run(t, "ip addr add 172.30.66.1/24 dev br0")
	dns := serve(t, o.gw, "172.30.66.1:53")
	page := serve(t, o.gw, "172.30.66.1:80")
	panel := serve(t, o.gw, "172.30.66.1:443")
	world := serve(t, o.inet, "203.0.113.9:7000")
	peer := serve(t, o.hosts[2], "192.0.2.12:7000")
	other := serve(t, o.hosts[4], "0.0.0.0:7000")
	o.hosts[4].Run(t, "ip addr add 172.30.66.52/24 dev eth0")
	move := func() {
		o.hosts[1].Run(t, "ip addr flush dev eth0")
		o.hosts[1].Run(t, "ip addr add 172.30.66.51/24 dev eth0")
		o.hosts[1].Run(t, "ip route replace default via 172.30.66.1")
	}
	isolated := policyOf(held(1, netcontain.Isolate), held(4, netcontain.Isolate))

	o.apply(t, isolated)
	move()
	if dial(t, o.hosts[1], dns.addr) != nil {
		t.Error("without a quarantine, an address that is not its own reaches the gateway")
	}
	o.reopen(t, func(c *Config) { c.Quarantine = netip.MustParsePrefix("172.30.66.1/24") })
	o.apply(t, isolated)
	o.hosts[1].Run(t, "ip neigh flush dev eth0")
	for _, to := range []string{dns.addr, page.addr} {
		connected(t, o.hosts[1], to)
	}
	for _, to := range []string{panel.addr, world.addr, peer.addr, strings.Replace(other.addr, "[::]", "172.30.66.52", 1)} {
		if dial(t, o.hosts[1], to) != nil {
			t.Errorf("reaches %s", to)
		}
	}
	// A free host does not reach through the gateway into the quarantine, nor
	// out of it when it takes an address there.
	o.hosts[3].Run(t, "ip addr flush dev eth0")
	o.hosts[3].Run(t, "ip addr add 172.30.66.53/24 dev eth0")
	o.hosts[3].Run(t, "ip route replace default via 172.30.66.1")
	if dial(t, o.hosts[3], world.addr) != nil {
		t.Error("an address of the quarantine is routed")
	}
	// The office is not: the setting names the bridge's own device by mistake.
	connected(t, o.hosts[2], world.addr)
	err := o.enforcer.Apply(t.Context(), policyOf(netcontain.Host{ID: "x", Addrs: []netip.Addr{netip.MustParseAddr("172.30.66.1")}, Level: netcontain.Isolate}))
	if !errors.Is(err, netcontain.ErrNever) {
		t.Errorf("the quarantine's gateway: %v", err)
	}
}

func TestAQuarantinedHostCannotTakeTheGatewaysAddressThere(t *testing.T) {
	o := newOffice(t)
	q := netip.MustParsePrefix("172.30.66.1/24")
	o.gw.Run(t, "ip addr add 172.30.66.1/24 dev br0")
	o.reopen(t, func(c *Config) { c.Quarantine = q })
	o.apply(t, policyOf(held(1, netcontain.Isolate)))
	count := tap(t, o.gw)
	o.gw.Run(t, "ip neigh flush all")
	inject(t, o, 1, arp(mac(1), q.Addr(), netip.MustParseAddr("192.0.2.1")))
	inject(t, o, 1, arp(mac(1), netip.MustParseAddr("172.30.66.9"), q.Addr()))
	inject(t, o, 3, frame(netcontain.MAC{2, 0, 0, 0, 0, 0xfe}, mac(3), 0x88, 0xb6, 9)) // the fence
	count(func([]byte) bool { return true })
	got := o.gw.Run(t, "ip neigh show dev br0")
	if strings.Contains(got, "172.30.66.1 ") {
		t.Errorf("the gateway learnt its own address from a held host:\n%s", got)
	}
	if !strings.Contains(got, "172.30.66.9") {
		t.Errorf("the gateway does not know the lease:\n%s", got)
	}
}

func TestAnAddressOfTheIPv6QuarantineReachesTheHelpPageAndNothingElse(t *testing.T) {
	o := newOffice(t)
	q := netip.MustParsePrefix("fd00:66::1/64")
	o.gw.Run(t, "ip addr add fd00:66::1/64 dev br0 nodad")
	page := serve(t, o.gw, "[fd00:66::1]:80")
	panel := serve(t, o.gw, "[fd00:66::1]:443")
	world := serve(t, o.inet, "[2001:db8:2::1]:7000")
	o.inet.Run(t, "ip route add fd00:66::/64 via 2001:db8:2::2")
	o.hosts[1].Run(t, "ip addr flush dev eth0")
	o.hosts[1].Run(t, "ip addr add fd00:66::9/64 dev eth0 nodad")
	o.hosts[1].Run(t, "ip route replace default via fd00:66::1")
	o.apply(t, policyOf(held(1, netcontain.Isolate)))
	if dial(t, o.hosts[1], page.addr) != nil {
		t.Error("without a quarantine, an address that is not its own reaches the gateway")
	}
	o.reopen(t, func(c *Config) { c.Quarantine6 = q })
	o.apply(t, policyOf(held(1, netcontain.Isolate)))
	o.hosts[1].Run(t, "ip neigh flush dev eth0")
	connected(t, o.hosts[1], page.addr)
	for _, to := range []string{panel.addr, world.addr} {
		if dial(t, o.hosts[1], to) != nil {
			t.Errorf("reaches %s", to)
		}
	}
	o.hosts[3].Run(t, "ip addr add fd00:66::33/64 dev eth0 nodad")
	o.hosts[3].Run(t, "ip route replace default via fd00:66::1 src fd00:66::33")
	if dial(t, o.hosts[3], world.addr) != nil {
		t.Error("an address of the quarantine is routed")
	}
}

// TestNothingIsRoutedFromTheQuarantinesDevice covers what has no address of the
// quarantine: IPv6, and sources made up.
func TestNothingIsRoutedFromTheQuarantinesDevice(t *testing.T) {
	o := newOffice(t)
	o.gw.Run(t, "ip link set p4 nomaster") // stands for br0.666
	o.gw.Run(t, "ip addr add 172.30.66.1/24 dev p4")
	o.gw.Run(t, "ip addr add 2001:db8:66::1/64 dev p4 nodad")
	o.inet.Run(t, "ip route add 2001:db8:66::/64 via 2001:db8:2::2")
	o.hosts[4].Run(t, "ip addr flush dev eth0")
	o.hosts[4].Run(t, "ip addr add 2001:db8:66::9/64 dev eth0 nodad")
	o.hosts[4].Run(t, "ip route replace default via 2001:db8:66::1")
	world := serve(t, o.inet, "[2001:db8:2::1]:7000")
	inside := serve(t, o.hosts[4], "[2001:db8:66::9]:7000")
	connected(t, o.hosts[4], world.addr)
	connected(t, o.inet, inside.addr)
	o.reopen(t, func(c *Config) { c.Quarantine = netip.MustParsePrefix("172.30.66.1/24") })
	o.apply(t, netcontain.Policy{})
	if dial(t, o.hosts[4], world.addr) != nil || dial(t, o.inet, inside.addr) != nil {
		t.Error("routed")
	}
	o.gw.Run(t, "ip addr del 172.30.66.1/24 dev p4") // the device is another one now
	var outdated *netcontain.OutdatedError
	if _, err := o.enforcer.Observed(context.Background()); !errors.As(err, &outdated) {
		t.Errorf("error %v", err)
	}
}

func TestAWrongQuarantineIsRefused(t *testing.T) {
	for _, q := range []string{"172.30.66.0/24", "2001:db8::1/64", "172.30.66.1/0"} {
		if err := (Config{Bridge: "br0", WAN: "wan0", Quarantine: netip.MustParsePrefix(q)}).validate(); err == nil {
			t.Errorf("%s was taken", q)
		}
	}
	if err := (Config{Bridge: "br0", WAN: "wan0", Quarantine6: netip.MustParsePrefix("172.30.66.1/24")}).validate(); err == nil {
		t.Error("an IPv4 network was taken for the IPv6 quarantine")
	}
}

func TestWithoutItsBridgeTheSetsHoldAndTheGatewayIsStillNeverHeld(t *testing.T) {
	o := newOffice(t)
	p := policyOf(held(1, netcontain.Isolate))
	o.apply(t, p)
	o.gw.Run(t, "ip link del br0")
	p.Hosts = append(p.Hosts, held(2, netcontain.Isolate))
	o.apply(t, p) // no error: it will be back
	for _, entry := range []netcontain.Host{
		{ID: "x", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Level: netcontain.Isolate},
		{ID: "x", MACs: []netcontain.MAC{{2, 0, 0, 0, 0, 0xfe}}, Level: netcontain.Isolate},
	} {
		if err := o.enforcer.Apply(t.Context(), policyOf(entry)); !errors.Is(err, netcontain.ErrNever) {
			t.Errorf("%v: error %v", entry, err)
		}
	}
	o.gw.Run(t, "ip link add other type bridge forward_delay 0") // whoever made it
	o.gw.Run(t, "ip link set other up")
	for _, port := range []string{"p1", "p2", "p3"} {
		o.gw.Run(t, "ip link set "+port+" master other")
	}
	count := tap(t, o.hosts[3])
	inject(t, o, 1, frame(mac(3), mac(1), 0x88, 0xb5))
	inject(t, o, 2, frame(mac(3), mac(2), 0x88, 0xb5))
	if n := count(func(b []byte) bool { return b[12] == 0x88 }); n != 0 {
		t.Errorf("%d frames leaked over a bridge that is not br0", n)
	}
	inject(t, o, 4, frame(mac(3), mac(4), 0x88, 0xb5))
	o.gw.Run(t, "ip link set p4 master other")
	inject(t, o, 4, frame(mac(3), mac(4), 0x88, 0xb5))
	if n := count(func(b []byte) bool { return b[12] == 0x88 }); n != 1 {
		t.Errorf("%d frames of a free host arrived", n)
	}
}

func TestABridgeThatNeverWasIsReportedButHeldAnyway(t *testing.T) {
	o := newOffice(t)
	o.reopen(t, func(c *Config) { c.Bridge = "br7" })
	p := policyOf(held(1, netcontain.Isolate))
	if err := o.enforcer.Apply(t.Context(), p); err == nil || !strings.Contains(err.Error(), "bridge br7") {
		t.Errorf("error %v", err)
	}
	got, err := o.enforcer.Observed(t.Context())
	var altered *netcontain.AlteredError
	if d := netcontain.Diff(p, got); !d.Empty() || !errors.As(err, &altered) {
		t.Errorf("drift %s, error %v", d, err)
	}
	o.gw.Run(t, "ip link add br7 type bridge")
	if _, err := o.enforcer.Observed(t.Context()); err != nil {
		t.Errorf("the bridge is there now: %v", err)
	}
}

func TestErrnoOfAShortMessageIsAnError(t *testing.T) {
	if got := errnoOf([]byte{1, 2, 3}); got != unix.EBADMSG {
		t.Error(got)
	}
}
