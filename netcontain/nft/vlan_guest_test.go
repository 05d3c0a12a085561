//go:build guest

package nft

import (
	"net/netip"
	"slices"
	"testing"

	"sekisho/netcontain"
)

// TestVLANQuarantineReachesTheHelpPageWhateverTheHostTags moves a held host's
// port to VLAN 666 of a filtering bridge, as netcontain/vlan does, and gives it a
// lease there that nobody has told the enforcer of.
func TestVLANQuarantineReachesTheHelpPageWhateverTheHostTags(t *testing.T) {
	o := newOffice(t)
	o.gw.Run(t, "ip link set br0 type bridge vlan_filtering 1")
	o.gw.Run(t, "bridge vlan add dev br0 vid 666 self")
	o.gw.Run(t, "ip link add link br0 name br0.666 type vlan id 666")
	o.gw.Run(t, "ip addr add 172.30.66.1/24 dev br0.666")
	o.gw.Run(t, "ip addr add fd00:66::1/64 dev br0.666 nodad")
	o.gw.Run(t, "ip link set br0.666 up")
	o.gw.Run(t, "bridge vlan del dev p1 vid 1")
	o.gw.Run(t, "bridge vlan add dev p1 vid 666 pvid untagged")
	o.reopen(t, func(c *Config) {
		c.Quarantine, c.Quarantine6 = netip.MustParsePrefix("172.30.66.1/24"), netip.MustParsePrefix("fd00:66::1/64")
	})
	h := held(1, netcontain.Isolate)
	h.Ports = []string{"p1"}
	o.apply(t, policyOf(h))
	o.hosts[1].Run(t, "ip addr flush dev eth0")
	o.hosts[1].Run(t, "ip addr add 172.30.66.51/24 dev eth0")
	o.hosts[1].Run(t, "ip addr add fd00:66::51/64 dev eth0 nodad")
	o.hosts[1].Run(t, "ip route replace default via 172.30.66.1")
	o.hosts[1].Run(t, "ip route replace default via fd00:66::1")
	for _, to := range []string{"172.30.66.1:53", "172.30.66.1:80", "[fd00:66::1]:53", "[fd00:66::1]:80"} {
		connected(t, o.hosts[1], serve(t, o.gw, to).addr)
	}
	for _, to := range []string{"172.30.66.1:443", "[fd00:66::1]:443"} {
		if dial(t, o.hosts[1], serve(t, o.gw, to).addr) != nil {
			t.Errorf("reaches %s", to)
		}
	}
	for _, to := range []string{"203.0.113.9:7000", "[2001:db8:2::1]:7000"} {
		if dial(t, o.hosts[1], serve(t, o.inet, to).addr) != nil {
			t.Errorf("reaches %s", to)
		}
	}
	payload := ipv4(mac(2), mac(1), ip4(1), ip4(2))[12:]
	count := tap(t, o.hosts[2])
	for _, tag := range [][]byte{{0x81, 0, 0, 1}, {0x81, 0, 2, 0x9a}, {0x81, 0, 0, 0}, {0x88, 0xa8, 0, 1, 0x81, 0, 0, 1}} {
		inject(t, o, 1, frame(mac(2), mac(1), slices.Concat(tag, payload)...))
		inject(t, o, 1, frame(broadcast, mac(1), slices.Concat(tag, payload)...))
	}
	inject(t, o, 3, frame(mac(2), mac(3), 0x88, 0xb6, 9)) // the fence
	from1, fence := 0, 0
	count(func(b []byte) bool {
		if m := mac(1); string(b[6:12]) == string(m[:]) {
			from1++
		}
		if b[12] == 0x88 && b[13] == 0xb6 {
			fence++
		}
		return true
	})
	if from1 != 0 || fence != 1 {
		t.Errorf("%d tagged frames leaked, fence seen %d times", from1, fence)
	}
}

// TestVLANTagsDoNotHideAHeldHost keeps the port in the office's VLAN, and tags
// on the wire: the sets alone have to hold.
func TestVLANTagsDoNotHideAHeldHost(t *testing.T) {
	o := newOffice(t)
	o.gw.Run(t, "ip link set br0 type bridge vlan_filtering 1")
	for _, port := range []string{"p1", "p2"} {
		o.gw.Run(t, "bridge vlan add dev "+port+" vid 10")
	}
	payload := ipv4(mac(2), mac(1), ip4(1), ip4(2))[12:]
	tagged := frame(mac(2), mac(1), slices.Concat([]byte{0x81, 0, 0, 10}, payload)...)
	other := frame(mac(2), netcontain.MAC{2, 7, 7, 7, 7, 7}, slices.Concat([]byte{0x81, 0, 0, 10}, payload)...)
	count := tap(t, o.hosts[2])
	arrived := func() int {
		inject(t, o, 1, tagged)
		inject(t, o, 1, other) // known by its address
		inject(t, o, 3, frame(mac(2), mac(3), 0x88, 0xb6, 9))
		return count(func(b []byte) bool { to := mac(2); return string(b[:6]) == string(to[:]) })
	}
	if n := arrived(); n != 3 {
		t.Fatalf("%d of 3 frames of free hosts arrived", n)
	}
	o.apply(t, policyOf(held(1, netcontain.Isolate)))
	if n := arrived(); n != 1 {
		t.Errorf("%d frames arrived, want the fence alone", n)
	}
	o.apply(t, netcontain.Policy{})
	connected(t, o.hosts[1], serve(t, o.hosts[2], "192.0.2.12:7000").addr)
}
