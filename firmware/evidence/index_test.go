package evidence

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"sekisho/firmware/capture"
)

// device is a host that does not exist, one of 2^32.
func device(n uint32) (k keys) {
	k.nm, k.na, k.ported = 1, 1, true
	k.macs[0][0] = 2
	binary.BigEndian.PutUint32(k.macs[0][2:], n)
	binary.BigEndian.PutUint32(k.addrs[0][12:], n)
	k.ports = [2]uint16{uint16(n), 443}
	return k
}

// asked is a question for one of k's keys, and maybe its port.
func asked(k *keys, mac, port bool) *matcher {
	m := newMatcher(Match{})
	if mac {
		m.macs[k.macs[0]] = struct{}{}
	} else {
		m.addrs[k.addrs[0]] = struct{}{}
	}
	if port {
		m.ports = new(portSet)
		m.ports.add(k.ports[0])
	}
	return m
}

// grow ends the slice of an index that is fed without blocks.
func (x *index) grow() {
	x.size += x.width
	x.begin()
}

func decoded(t testing.TB, x *index) *sidecar {
	t.Helper()
	y, err := decodeIndex(x.encode())
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// More addresses than are remembered of late, mixed up, twice, and the zero
// ones, which look like an empty place; and more than there is place for.
func TestIndexForgetsNobody(t *testing.T) {
	for name, count := range map[string]uint32{"all have a place": 6 << lateBits, "strangers overflow": maxIndexed + 1000} {
		x := newIndex()
		x.begin()
		var all []keys
		for i := range count {
			all = append(all, device(i))
		}
		all[0].macs[0] = [6]byte{}
		for range 2 {
			for i := range all {
				x.add(int64(i), 60, &all[i])
				x.add(int64(i), 60, &all[i/2])
			}
			x.grow()
		}
		y := decoded(t, x)
		for i := range all {
			for _, mac := range []bool{true, false} {
				if got := y.hold(asked(&all[i], mac, true), 0, math.MaxInt64); got != 3 {
					t.Fatalf("%s: device %d, by MAC %t: slices %b, want both", name, i, mac, got)
				}
			}
		}
		if len(x.macs) > maxMACs || len(x.addrs) > maxAddrs {
			t.Errorf("%s: %d MACs and %d addresses have a place", name, len(x.macs), len(x.addrs))
		}
		if known := device(1 << 30); count < maxMACs && y.hold(asked(&known, true, false), 0, math.MaxInt64) != 0 {
			t.Errorf("%s: somebody is found who never was there", name)
		}
	}
}

func TestAStrangersFloodDoesNotBlurAKnownHost(t *testing.T) {
	x := newIndex()
	x.begin()
	host := device(7)
	x.add(1, 60, &host)
	x.grow()
	for i := range uint32(maxIndexed + 1) {
		k := device(1000 + i)
		x.add(2, 60, &k)
	}
	x.grow()
	x.add(3, 60, &host)
	late := device(8) // never seen before the flood
	x.add(3, 60, &late)
	y := decoded(t, x)
	for _, mac := range []bool{true, false} {
		if got := y.hold(asked(&host, mac, false), 0, 9); got != 0b101 {
			t.Errorf("by MAC %t: known host in slices %b", mac, got)
		}
		if got := y.hold(asked(&late, mac, false), 0, 9); got != 0b110 {
			t.Errorf("by MAC %t: late host in slices %b", mac, got)
		}
	}
}

func TestTimesAndPortsRuleSlicesOut(t *testing.T) {
	x := newIndex()
	x.begin()
	k := device(7)
	for i := range 2 * maxSlices { // more than there are bits: the last slice takes the rest
		x.add(int64(i), 60, &k)
		if i == 5 {
			hidden := keys{nm: 1, macs: k.macs, hidden: true}
			x.add(int64(i), 60, &hidden)
		}
		x.grow()
	}
	y := decoded(t, x)
	if len(y.slices) != maxSlices {
		t.Fatalf("%d slices", len(y.slices))
	}
	for _, tc := range []struct {
		from, to int64
		want     uint64
	}{{0, 999, math.MaxUint64}, {3, 4, 0b11000}, {-9, -1, 0}, {63, 63, 1 << 63}, {100, 999, 1 << 63}, {128, 999, 0}} {
		for _, mac := range []bool{true, false} {
			if got := y.hold(asked(&k, mac, true), tc.from, tc.to); got != tc.want {
				t.Errorf("from %d to %d, by MAC %t: slices %b, want %b", tc.from, tc.to, mac, got, tc.want)
			}
		}
	}
	m := asked(&k, true, false)
	m.ports = new(portSet)
	m.ports.add(99)
	if got := y.hold(m, 0, 999); got != 1<<5 { // where it cannot be known
		t.Errorf("another port: slices %b", got)
	}
}

func TestAPortSetIsKeptAsListOrAsSet(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for _, n := range []int{0, 1, 100, 4095, 4097, 20000} {
		var p portSet
		for range n {
			p.add(uint16(r.Uint32()))
		}
		x := sidecar{ports: p.encode()}
		if len(x.ports) > portBytes {
			t.Errorf("%d ports take %d bytes", n, len(x.ports))
		}
		var want portSet
		for port := range uint16(1 << 10) {
			port *= 61 // all over
			want.add(port)
			if x.anyPort(&want) != p.has(port) {
				t.Fatalf("%d ports: port %d is found: %t", n, port, !p.has(port))
			}
			want[port>>6] = 0
		}
	}
}

func TestASidecarOfAnotherVersionIsRebuilt(t *testing.T) {
	dir := t.TempDir()
	s := mustSpool(t, dir, smallSpool(), systemDisk{})
	feed(t, s, 0, 50)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := indexPath(s.store.path(1))
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := append([]byte("SKIX0001"), want[8:len(want)-4]...)
	other = binary.LittleEndian.AppendUint32(other, crc32.ChecksumIEEE(other))
	if err := os.WriteFile(path, other, 0o644); err != nil {
		t.Fatal(err)
	}
	mustSpool(t, dir, smallSpool(), systemDisk{})
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the sidecar is not what it was: %v", err)
	}
}

func FuzzDecodeIndex(f *testing.F) {
	x := indexFor(1 << 16)
	b := capture.AppendSHB(nil, capture.Section{})
	b = capture.AppendIDB(b, capture.Interface{Link: capture.LinkEthernet})
	for i := range 50 {
		b = capture.AppendEPB(b, frameAt(i, ipFrame(victim, other, "192.0.2.7", "192.0.2.9", 100)), 0)
	}
	x.written(b)
	f.Add(x.encode())
	m := newMatcher(Match{MACs: [][6]byte{victim}, Ports: []uint16{80}})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 12 { // otherwise nothing gets beyond the checksum
			binary.LittleEndian.PutUint32(b[len(b)-4:], crc32.ChecksumIEEE(b[:len(b)-4]))
		}
		x, err := decodeIndex(b)
		if err != nil {
			return
		}
		at := int64(0)
		for _, p := range x.parts(m, math.MinInt64, math.MaxInt64) {
			if p.from < at || p.to < p.from || p.to > x.size {
				t.Errorf("parts out of order or beyond %d bytes: %+v", x.size, p)
			}
			at = p.to
		}
	})
}
