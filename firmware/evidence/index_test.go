package evidence

import (
	"encoding/binary"
	"testing"
)

// More addresses than are remembered of late, mixed up, twice, and the zero
// ones, which look like an empty place.
func TestIndexForgetsNobody(t *testing.T) {
	x := newIndex()
	var all []keys
	for i := range uint32(6 << lateBits) {
		k := keys{nm: 1, na: 1}
		binary.BigEndian.PutUint32(k.macs[0][2:], i)
		binary.BigEndian.PutUint32(k.addrs[0][12:], i)
		all = append(all, k)
	}
	x.begin()
	for range 2 {
		for i := range all {
			x.add(int64(i), 60, &all[i])
			x.add(int64(i), 60, &all[i/2])
		}
	}
	for i := range all {
		_, mac := x.macs[all[i].macs[0]]
		_, addr := x.addrs[all[i].addrs[0]]
		if !mac || !addr {
			t.Fatalf("device %d: MAC indexed %t, address indexed %t", i, mac, addr)
		}
	}
	if len(x.macs) != len(all) || len(x.addrs) != len(all) || x.overflow {
		t.Errorf("%d MACs and %d addresses of %d, overflow %t", len(x.macs), len(x.addrs), len(all), x.overflow)
	}
}
