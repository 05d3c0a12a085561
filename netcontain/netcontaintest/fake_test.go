package netcontaintest

import (
	"net/netip"
	"testing"
)

func TestFakeConforms(t *testing.T) {
	never := netip.MustParseAddr("192.0.2.1")
	Conform(t, &Fake{NeverAddrs: []netip.Addr{never}}, never)
}
