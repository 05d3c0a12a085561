package flow

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

// holds walks as table.find does.
func (x *index) holds(hash, slot uint32) bool {
	mask := uint32(len(x.places) - 1)
	for i := hash & mask; x.places[i].slot != 0; i = (i + 1) & mask {
		if x.places[i] == (place{hash, slot}) {
			return true
		}
	}
	return false
}

// Few hashes make long runs, and some of them go over the end of the table.
func TestTheIndexFindsWhatWasPutAndNotDropped(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	x, live := newIndex(), map[uint32]uint32{}
	for step := range 20_000 {
		slot := uint32(1 + r.IntN(2000))
		if hash, there := live[slot]; there {
			x.drop(hash, slot)
			delete(live, slot)
		} else {
			live[slot] = uint32(r.IntN(40))*97 - 300
			x.put(live[slot], slot)
		}
		if x.used != len(live) || 2*x.used > len(x.places) {
			t.Fatalf("step %d: %d of %d places are in use for %d slots", step, x.used, len(x.places), len(live))
		}
		if step%100 != 0 {
			continue
		}
		for slot, hash := range live {
			if !x.holds(hash, slot) {
				t.Fatalf("step %d: slot %d is not found", step, slot)
			}
		}
		full := 0
		for _, p := range x.places {
			if p.slot != 0 {
				full++
			}
		}
		if full != len(live) {
			t.Fatalf("step %d: %d places are full, %d slots were put", step, full, len(live))
		}
	}
}

// Two connections with one hash: the other one stands first.
func TestConnectionsThatCollideAreToldApart(t *testing.T) {
	tab := newTable(16)
	mine, other := key{proto: ProtoTCP}, key{proto: ProtoUDP}
	i, _ := tab.add(&mine)
	j, _ := tab.add(&other)
	hash := tab.index.hash(&mine)
	tab.index.drop(hash, i)
	tab.index.drop(tab.index.hash(&other), j)
	tab.index.put(hash, j)
	if at, c := tab.find(&mine); c != nil {
		t.Errorf("found %d, which is the other one", at)
	}
	tab.index.put(hash, i)
	if at, c := tab.find(&mine); at != i || c == nil || c.key != mine {
		t.Errorf("found %d instead of %d", at, i)
	}
}

// What conn promises of its layout.
func TestAPacketTouchesTwoLinesOfItsConnection(t *testing.T) {
	const line = 64
	var c conn
	if size := unsafe.Sizeof(c); size%line != 0 {
		t.Errorf("a connection is %d bytes", size)
	}
	if first, cold := unsafe.Offsetof(c.bytes), unsafe.Offsetof(c.id); first != line || cold != 2*line {
		t.Errorf("counts begin at byte %d, what is seldom needed at %d", first, cold)
	}
	if at := uintptr(unsafe.Pointer(new([chunkSize]conn))); at%line != 0 {
		t.Errorf("a chunk begins %d bytes into a line", at%line)
	}
}
