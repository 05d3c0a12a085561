package neigh

import (
	"net/netip"
	"testing"

	"sekisho/netcontain"
	"sekisho/netcontain/netcontaintest"
)

func TestSegmentConforms(t *testing.T) {
	o := newSegmentOffice(t, everybody()...)
	second := infected()
	second.ID, second.MACs, second.Addrs = "second", []netcontain.MAC{hostMAC(2)}, []netip.Addr{host4(2), host6(2)}
	netcontaintest.ConformLayer(t, netcontaintest.Layer{
		Enforcer: o.segment, By: netcontain.BySegment, Hosts: []netcontain.Host{infected(), second},
		Lose: func() {
			o.gw.Run(t, "ip link del p1")
			wire(t, o.gw, "p1", o.sw, "up1")
			o.gw.Run(t, "ip link set p1 master br0 up")
		},
	})
}
