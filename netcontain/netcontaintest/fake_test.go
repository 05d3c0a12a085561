package netcontaintest

import (
	"net/netip"
	"testing"

	"sekisho/netcontain"
)

func TestFakeConforms(t *testing.T) {
	never := netip.MustParseAddr("192.0.2.1")
	Conform(t, &Fake{NeverAddrs: []netip.Addr{never}}, never)
}

func TestFakeConformsAsALayer(t *testing.T) {
	f := &Fake{}
	hosts := []netcontain.Host{
		{ID: "a", Level: netcontain.Isolate, MACs: []netcontain.MAC{{2, 1}}, Shared: []string{"lan1"}},
		{ID: "b", Level: netcontain.Isolate, MACs: []netcontain.MAC{{2, 2}}, Shared: []string{"lan1"}},
	}
	ConformLayer(t, Layer{Enforcer: f, By: netcontain.BySegment, Hosts: hosts, Lose: func() { f.Tamper(netcontain.Policy{}) }})
}
