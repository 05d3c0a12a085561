package nft

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho/netcontain"
	"sekisho/netcontain/netcontaintest"
)

func TestIsolationCutsEverythingAndReleaseRestores(t *testing.T) {
	o := newOffice(t)
	bare := o.gw.Run(t, "nft list ruleset")
	o.apply(t, netcontain.Policy{})
	before := o.gw.Run(t, "nft list ruleset")
	peer4 := serve(t, o.hosts[2], "192.0.2.12:7000")
	peer6 := serve(t, o.hosts[2], "[2001:db8:1::12]:7000")
	world4 := serve(t, o.inet, "203.0.113.9:7000")
	world6 := serve(t, o.inet, "[2001:db8:2::1]:7000")
	targets := []string{peer4.addr, peer6.addr, world4.addr, world6.addr}
	var old, others []net.Conn
	for _, to := range targets {
		for _, who := range []int{1, 3} {
			c := connected(t, o.hosts[who], to)
			if who == 1 {
				old = append(old, c)
			} else {
				others = append(others, c)
			}
		}
	}
	o.apply(t, netcontain.Policy{Hosts: []netcontain.Host{held(1, netcontain.Isolate)}})
	if got := o.gw.Run(t, "conntrack -L -s 192.0.2.11"); strings.Contains(got, "192.0.2.11") {
		t.Errorf("conntrack entries of the isolated host are left:\n%s", got)
	}
	count2, countW := tap(t, o.hosts[2]), tap(t, o.inet)
	for i, to := range targets {
		if alive(old[i]) {
			t.Errorf("established connection to %s is alive", to)
		}
		if c := dial(t, o.hosts[1], to); c != nil {
			t.Errorf("new connection to %s", to)
		}
		if !answers(others[i], 10*time.Second) {
			t.Errorf("connection of another host to %s was cut", to)
		}
	}
	fromHost := func(b []byte) bool { m := mac(1); return string(b[6:12]) == string(m[:]) }
	if n := count2(fromHost) + countW(fromHost); n != 0 {
		t.Errorf("%d frames of the isolated host leaked", n)
	}
	o.apply(t, netcontain.Policy{})
	if after := o.gw.Run(t, "nft list ruleset"); after != before {
		t.Errorf("release left something:\n%s\nbefore:\n%s", after, before)
	}
	for _, to := range targets {
		connected(t, o.hosts[1], to)
	}
	if err := o.enforcer.Close(); err != nil {
		t.Error(err)
	}
	if after := o.gw.Run(t, "nft list ruleset"); after != bare {
		t.Errorf("closed with nobody held, it left something:\n%s\nthere was:\n%s", after, bare)
	}
}

func TestWhatIsHeldStaysAfterClose(t *testing.T) {
	o := newOffice(t)
	o.apply(t, netcontain.Policy{Hosts: []netcontain.Host{held(1, netcontain.Isolate)}})
	before := o.gw.Run(t, "nft list ruleset")
	if err := o.enforcer.Close(); err != nil {
		t.Error(err)
	}
	if after := o.gw.Run(t, "nft list ruleset"); after != before {
		t.Errorf("closing changed:\n%s\nto:\n%s", before, after)
	}
}

func TestApplyTwiceGivesTheSameRuleset(t *testing.T) {
	o := newOffice(t)
	p := netcontain.Policy{
		Hosts: []netcontain.Host{held(1, netcontain.Isolate), held(2, netcontain.Limit), held(3, netcontain.Watch)},
		Allow: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/25"), netip.MustParsePrefix("203.0.113.128/25"), netip.MustParsePrefix("2001:db8:2::/64"), netip.MustParsePrefix("240.0.0.0/4")},
	}
	o.apply(t, p)
	first := o.gw.Run(t, "nft list ruleset")
	o.apply(t, p)
	if second := o.gw.Run(t, "nft list ruleset"); second != first {
		t.Errorf("changed:\n%s\nto:\n%s", first, second)
	}
	p.Lockdown = true
	o.apply(t, p)
	p.Lockdown = false
	o.apply(t, p)
	if third := o.gw.Run(t, "nft list ruleset"); third != first {
		t.Errorf("lockdown and back changed:\n%s\nto:\n%s", first, third)
	}
}

func TestGatewayAndUplinkAreRefused(t *testing.T) {
	o := newOffice(t)
	good := netcontain.Policy{Hosts: []netcontain.Host{held(1, netcontain.Isolate)}}
	o.apply(t, good)
	before := o.gw.Run(t, "nft list ruleset")
	for name, h := range map[string]netcontain.Host{
		"02:00:00:00:00:fe": {MACs: []netcontain.MAC{{2, 0, 0, 0, 0, 0xfe}}},
		"192.0.2.1":         {Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		"2001:db8:1::1":     {Addrs: []netip.Addr{netip.MustParseAddr("2001:db8:1::1")}},
		"198.51.100.1":      {Addrs: []netip.Addr{netip.MustParseAddr("::ffff:198.51.100.1")}},
		"wan0":              {Ports: []string{"wan0"}},
	} {
		h.ID, h.Level = "victim", netcontain.Limit
		err := o.enforcer.Apply(t.Context(), netcontain.Policy{Hosts: []netcontain.Host{held(2, netcontain.Isolate), h}})
		var never *netcontain.NeverError
		if !errors.As(err, &never) || never.Entry != name || never.Host != "victim" {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if after := o.gw.Run(t, "nft list ruleset"); after != before {
		t.Errorf("a refused policy changed the kernel:\n%s", after)
	}
}

func TestEnforcerConforms(t *testing.T) {
	o := newOffice(t)
	netcontaintest.Conform(t, o.enforcer, netip.MustParseAddr("192.0.2.1"))
}

func TestWhatTheKernelLacksIsLookedForAndNothingIsLeft(t *testing.T) {
	o := newOffice(t)
	before := o.gw.Run(t, "nft list ruleset")
	cause := errors.New("some refusal")
	if err := o.enforcer.diagnose(cause); err != cause { // this kernel has it all
		t.Errorf("diagnosis: %v", err)
	}
	if after := o.gw.Run(t, "nft list ruleset"); after != before {
		t.Errorf("left:\n%s", after)
	}
}
