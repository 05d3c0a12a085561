package plan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sekisho/netcontain"
)

var (
	bad, neighbour = netcontain.MAC{2, 0, 0, 0, 0, 1}, netcontain.MAC{2, 0, 0, 0, 0, 2}
	addr           = netip.MustParseAddr("192.0.2.11")
)

func policy() netcontain.Policy {
	return netcontain.Policy{Hosts: []netcontain.Host{{ID: "bad", MACs: []netcontain.MAC{bad}, Addrs: []netip.Addr{addr}, Level: netcontain.Isolate}}}
}

func TestHostAloneOnItsPortGetsThePortHeld(t *testing.T) {
	p := Make(policy(), Network{Ports: map[netcontain.MAC]string{bad: "lan1", neighbour: "lan2"}}, Plan{})
	if got := p.Policy.Hosts[0].Ports; !slices.Equal(got, []string{"lan1"}) || p.Holds[0].BestEffort || !slices.Equal(p.Holds[0].Mechanisms, []netcontain.Mechanism{netcontain.BySets}) {
		t.Errorf("ports %v, hold %+v", got, p.Holds[0])
	}
}

func TestSharedPortIsToldHonestlyAndNotHeldWhole(t *testing.T) {
	p := Make(policy(), Network{Ports: map[netcontain.MAC]string{bad: "lan1", neighbour: "lan1"}}, Plan{})
	h := p.Holds[0]
	if len(p.Policy.Hosts[0].Ports) != 0 || !h.BestEffort || h.Neighbours != 1 {
		t.Fatalf("hold %+v", h)
	}
	if !strings.Contains(h.Limits[0].EN, "not protected: best effort") || !strings.Contains(h.Limits[0].JA, "保護できません") {
		t.Errorf("limits %+v", h.Limits)
	}
}

func TestTwoHeldHostsMayShareAHeldPort(t *testing.T) {
	p := policy()
	p.Hosts = append(p.Hosts, netcontain.Host{ID: "too", MACs: []netcontain.MAC{neighbour}, Level: netcontain.Isolate})
	if h := Make(p, Network{Ports: map[netcontain.MAC]string{bad: "lan1", neighbour: "lan1"}}, Plan{}).Holds[0]; h.Neighbours != 0 {
		t.Errorf("hold %+v", h)
	}
}

func TestPortOfAHostGoneSilentStaysHeldUntilItIsSeenElsewhere(t *testing.T) {
	first := Make(policy(), Network{Ports: map[netcontain.MAC]string{bad: "lan1"}}, Plan{})
	second := Make(policy(), Network{}, first)
	if got := second.Policy.Hosts[0].Ports; !slices.Equal(got, []string{"lan1"}) {
		t.Errorf("silent: ports %v", got)
	}
	third := Make(policy(), Network{Ports: map[netcontain.MAC]string{bad: "lan3"}}, second)
	if got := third.Policy.Hosts[0].Ports; !slices.Equal(got, []string{"lan3"}) {
		t.Errorf("moved: ports %v", got)
	}
}

func TestClaimOnTheGatewaysAddressDoesNotStopTheIsolation(t *testing.T) {
	gateway := netip.MustParseAddr("192.0.2.1")
	p := policy()
	p.Hosts[0].Addrs = append(p.Hosts[0].Addrs, gateway)
	got := Make(p, Network{NeverAddrs: []netip.Addr{gateway}}, Plan{})
	if h := got.Policy.Hosts[0]; !slices.Equal(h.Addrs, []netip.Addr{addr}) || len(got.Holds[0].Limits) == 0 {
		t.Errorf("host %+v", h)
	}
}

func TestAHostThatHidesBehindTheRoutersAddressesDoesNotFreeTheOthers(t *testing.T) {
	router, routerAddr := netcontain.MAC{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("192.0.2.254")
	p := policy()
	p.Hosts = append(p.Hosts, netcontain.Host{ID: "hides", MACs: []netcontain.MAC{router}, Addrs: []netip.Addr{routerAddr}, Level: netcontain.Isolate})
	n := Network{Ports: map[netcontain.MAC]string{bad: "lan1", router: "lan2"}, NeverMACs: []netcontain.MAC{router}, NeverAddrs: []netip.Addr{routerAddr}}
	got := Make(p, n, Plan{})
	if len(got.Policy.Hosts) != 1 || got.Policy.Hosts[0].ID != "bad" {
		t.Fatalf("the policy holds %+v", got.Policy.Hosts)
	}
	h := got.Holds[1]
	if h.ID != "hides" || !h.BestEffort || len(h.Limits) != 1 || !strings.Contains(h.Limits[0].EN, "it is not held") || !strings.Contains(h.Limits[0].JA, "遮断できていません") {
		t.Errorf("hold %+v", h)
	}

	// Alone on the router's port with a MAC of its own, it must not take the port along.
	p.Hosts[1].MACs = append(p.Hosts[1].MACs, neighbour)
	n.Ports[neighbour] = "lan2"
	got = Make(p, n, Plan{})
	if h := got.Policy.Hosts[1]; !slices.Equal(h.MACs, []netcontain.MAC{neighbour}) || len(h.Ports) != 0 {
		t.Errorf("host %+v", h)
	}
}

func TestAHostWithoutAnyAddressIsToldOfAndLeftOut(t *testing.T) {
	p := policy()
	p.Hosts = append(p.Hosts, netcontain.Host{ID: "a ghost", Level: netcontain.Isolate})
	got := Make(p, Network{}, Plan{})
	if len(got.Policy.Hosts) != 1 || got.Policy.Validate() != nil {
		t.Errorf("policy %+v", got.Policy)
	}
	if len(got.Holds) != 2 || got.Holds[0].ID != "a ghost" || !got.Holds[0].BestEffort || len(got.Holds[0].Limits) != 1 {
		t.Errorf("holds %+v", got.Holds)
	}
}

func TestWatchedHostHoldsNoPort(t *testing.T) {
	p := policy()
	p.Hosts[0].Level = netcontain.Watch
	got := Make(p, Network{Ports: map[netcontain.MAC]string{bad: "lan1"}}, Plan{})
	if len(got.Policy.Hosts[0].Ports) != 0 || len(got.Holds[0].Limits) != 0 {
		t.Errorf("%+v", got)
	}
}
