package evidence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/bits"
	"os"
	"slices"
	"sort"
)

const (
	indexMagic = "SKIX0002"

	sidecarHead = 8 + 12*8 + 4*4
	sliceBytes  = 3 * 8
	portBytes   = len(portSet{}) * 8
)

var errIndex = errors.New("damaged segment index")

// encode writes the sidecar: magic, fixed fields, slices, MACs, addresses,
// ports, CRC-32. Keys are sorted, all keys before all of their bitmaps, so that
// a reader searches them where they lie. Ports are a list while that is
// shorter than the set.
func (x *index) encode() []byte {
	le := binary.LittleEndian
	macs := sortedKeys(x.macs, func(a, b [6]byte) int { return bytes.Compare(a[:], b[:]) })
	addrs := sortedKeys(x.addrs, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	ports := x.ports.encode()
	otherMACs, otherAddrs := x.otherMACs, x.otherAddrs
	if x.overflow {
		otherMACs, otherAddrs = math.MaxUint64, math.MaxUint64
	}
	b := make([]byte, 0, sidecarHead+sliceBytes*len(x.slices)+14*len(macs)+24*len(addrs)+len(ports)+4)
	b = append(b, indexMagic...)
	for _, v := range []uint64{uint64(x.first), uint64(x.last), x.packets, x.bytes, uint64(x.size),
		uint64(x.noted.first), uint64(x.noted.last), x.jumps, x.control, x.hidden, otherMACs, otherAddrs} {
		b = le.AppendUint64(b, v)
	}
	for _, n := range []int{len(x.slices), len(macs), len(addrs), len(ports)} {
		b = le.AppendUint32(b, uint32(n))
	}
	for _, s := range x.slices {
		b = le.AppendUint64(b, uint64(s.offset))
		b = le.AppendUint64(b, uint64(s.times.first))
		b = le.AppendUint64(b, uint64(s.times.last))
	}
	for i := range macs {
		b = append(b, macs[i][:]...)
	}
	for _, m := range macs {
		b = le.AppendUint64(b, x.macs[m])
	}
	for i := range addrs {
		b = append(b, addrs[i][:]...)
	}
	for _, a := range addrs {
		b = le.AppendUint64(b, x.addrs[a])
	}
	b = append(b, ports...)
	return le.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func sortedKeys[K comparable](m map[K]uint64, compare func(a, b K) int) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, compare)
	return out
}

func (p *portSet) encode() []byte {
	n := 0
	for _, w := range p {
		n += bits.OnesCount64(w)
	}
	var b []byte
	if 2*n >= portBytes {
		for _, w := range p {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
		return b
	}
	for i, w := range p {
		for ; w != 0; w &= w - 1 {
			b = binary.LittleEndian.AppendUint16(b, uint16(i<<6+bits.TrailingZeros64(w)))
		}
	}
	return b
}

// sidecar is an index as it lies on disk.
type sidecar struct {
	facts
	control, hidden       uint64
	otherMACs, otherAddrs uint64
	slices                []slice
	macs, macBits         []byte
	addrs, addrBits       []byte
	ports                 []byte
	length                int64 // of the file
}

// decodeIndex reads a sidecar of this version; b stays in use.
func decodeIndex(b []byte) (*sidecar, error) {
	le := binary.LittleEndian
	if len(b) < 12 || crc32.ChecksumIEEE(b[:len(b)-4]) != le.Uint32(b[len(b)-4:]) {
		return nil, errIndex
	}
	length := int64(len(b))
	if b = b[:len(b)-4]; len(b) < sidecarHead || string(b[:8]) != indexMagic {
		return nil, errIndex
	}
	word := func(i int) uint64 { return le.Uint64(b[8+8*i:]) }
	count := func(i int) int { return int(le.Uint32(b[8+12*8+4*i:])) }
	x := &sidecar{
		facts: facts{
			first: int64(word(0)), last: int64(word(1)), packets: word(2), bytes: word(3), size: int64(word(4)),
			noted: span{int64(word(5)), int64(word(6))}, jumps: word(7),
		},
		control: word(8), hidden: word(9), otherMACs: word(10), otherAddrs: word(11), length: length,
	}
	ns, nm, na, np := count(0), count(1), count(2), count(3)
	if ns > maxSlices || nm > maxIndexed || na > maxIndexed || np > portBytes || np%2 != 0 ||
		len(b) != sidecarHead+sliceBytes*ns+14*nm+24*na+np {
		return nil, errIndex
	}
	b = b[sidecarHead:]
	take := func(n int) []byte {
		part := b[:n:n]
		b = b[n:]
		return part
	}
	for range ns {
		s := take(sliceBytes)
		x.slices = append(x.slices, slice{int64(le.Uint64(s)), span{int64(le.Uint64(s[8:])), int64(le.Uint64(s[16:]))}})
	}
	x.macs, x.macBits = take(6*nm), take(8*nm)
	x.addrs, x.addrBits = take(16*na), take(8*na)
	x.ports = take(np)
	return x, x.check()
}

// check that the slices are parts of the segment, one after the other.
func (x *sidecar) check() error {
	at := int64(0)
	for i, s := range x.slices {
		if s.offset < at || s.offset > x.size || (i == 0 && s.offset != 0) {
			return errIndex
		}
		at = s.offset
	}
	return nil
}

// hold are the slices that may hold a packet of m between from and to.
func (x *sidecar) hold(m *matcher, from, to int64) uint64 {
	var all uint64
	for mac := range m.macs {
		all |= bitmap(x.macs, x.macBits, mac[:], x.otherMACs)
	}
	for a := range m.addrs {
		all |= bitmap(x.addrs, x.addrBits, a[:], x.otherAddrs)
	}
	if all != 0 && m.ports != nil && !x.anyPort(m.ports) {
		all &= x.hidden
	}
	for i, s := range x.slices {
		if !s.times.overlaps(from, to) {
			all &^= 1 << i
		}
	}
	return all & (1<<len(x.slices) - 1)
}

// bitmap of key, or of the keys that had no place.
func bitmap(keys, bitmaps, key []byte, other uint64) uint64 {
	n, size := len(bitmaps)/8, len(key)
	i := sort.Search(n, func(i int) bool { return bytes.Compare(keys[i*size:(i+1)*size], key) >= 0 })
	if i < n && bytes.Equal(keys[i*size:(i+1)*size], key) {
		return binary.LittleEndian.Uint64(bitmaps[8*i:])
	}
	return other
}

func (x *sidecar) anyPort(want *portSet) bool {
	le := binary.LittleEndian
	if len(x.ports) == portBytes {
		for i, w := range want {
			if w&le.Uint64(x.ports[8*i:]) != 0 {
				return true
			}
		}
		return false
	}
	for b := x.ports; len(b) > 0; b = b[2:] {
		if want.has(le.Uint16(b)) {
			return true
		}
	}
	return false
}

func indexPath(segment string) string { return segment + ".idx" }

// loadIndex reads the sidecar of segment and checks that it still fits.
func loadIndex(segment string) (*sidecar, error) {
	data, err := os.ReadFile(indexPath(segment))
	if err != nil {
		return nil, err
	}
	x, err := decodeIndex(data)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(segment)
	if err != nil {
		return nil, err
	}
	if info.Size() != x.size {
		return nil, errors.New("segment index is of another length")
	}
	return x, nil
}
