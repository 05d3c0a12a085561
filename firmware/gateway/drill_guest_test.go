//go:build guest

package gateway

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sekisho/firmware/drill"
	"sekisho/firmware/incident"
)

// The office is VLAN 10 of a bridge that filters; the drill's device is moved into the
// quarantine like any other, and comes back before its port goes.
func TestADrillOnABridgeThatFiltersVLANs(t *testing.T) {
	o := newOffice(t)
	o.gw.Run(t, "ip link set br0 type bridge vlan_filtering 1")
	o.gw.Run(t, "bridge vlan add dev br0 vid 10 self pvid untagged")
	for n := 1; n <= hosts; n++ {
		o.gw.Run(t, fmt.Sprintf("bridge vlan add dev lan%d vid 10 pvid untagged", n))
	}
	o.config.Network.QuarantineVLAN, o.config.Network.Quarantine = 666, netip.MustParsePrefix("172.30.66.1/24")
	o.start(t)
	neighbour := o.overhear(t, 2)
	o.startDrill(t)
	o.pressDrill(t)
	d, i := o.awaitDrill(t, drill.Isolating) // until the port has a link again, some seconds
	if out := o.gw.Run(t, "bridge vlan show dev "+d.Device.Port); !strings.Contains(out, "666 PVID") {
		t.Errorf("the device was isolated, and its port is in\n%s", out)
	}
	if d, i = o.awaitDrill(t, drill.Ended); d.Outcome != drill.Passed || i.Proof.Grade != incident.Proven {
		t.Errorf("the drill: %s, %s; %+v", d.Outcome, d.Note, i.Proof)
	}
	o.nothingLeft(t, d.Device.MAC)
	if len(neighbour()) == 0 {
		t.Error("nobody in VLAN 10 heard the drill ask for its address")
	}
	for _, f := range neighbour() {
		if f[0] != 0xff {
			t.Errorf("a neighbour was sent % x", f)
		}
	}
}
