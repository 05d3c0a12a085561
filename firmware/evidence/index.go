package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"sekisho/firmware/capture"
	"sekisho/firmware/durable"
)

// How many addresses of one segment are told apart. A stranger can make up
// more: those are taken together, and nothing is missed (see index.other).
const (
	maxMACs    = 4096
	maxIndexed = 16384 // MACs and addresses
	maxAddrs   = maxIndexed - maxMACs
)

// maxSlices of a segment can be told apart in a bitmap of one word.
const maxSlices = 64

// index tells whom a segment holds packets of, and when. It is built while the
// segment is written, in one pass over each buffer. A segment is divided into
// slices; a bitmap has the bit of a slice when the slice holds a thing.
type index struct {
	facts
	overflow bool // addresses are not looked at: anybody may be in it

	slices  []slice
	bit     uint64 // of the slice that is being filled
	until   int64  // size at which the next slice begins
	control uint64 // slices with interfaces, gaps or clock jumps
	hidden  uint64 // slices with frames whose ports cannot be read
	macs    map[[6]byte]uint64
	addrs   map[[16]byte]uint64
	ports   portSet
	// Slices with addresses that came when the maps were full.
	otherMACs, otherAddrs uint64

	links []capture.LinkType // of the interfaces described so far
	width int64              // bytes of a slice
	k     keys

	// What add has put in the maps for this slice of late, one place for each
	// hash: frames come in flows, and a map costs more than all else that is
	// done to one.
	lateMACs  [1 << lateBits][6]byte
	lateAddrs [1 << lateBits][16]byte
}

const lateBits = 9

// facts are what an index says of the whole segment.
type facts struct {
	first, last    int64 // ns; 0 without packets
	packets, bytes uint64
	size           int64  // of the file, so far
	noted          span   // of time, that gaps and clock jumps recorded in it cover
	jumps          uint64 // of the clock
}

// slice is a part of a segment that begins and ends with whole blocks.
type slice struct {
	offset int64
	times  span // of its packets
}

// span is a span of time in ns, ends included; first > last: empty.
type span struct{ first, last int64 }

func noTime() span { return span{math.MaxInt64, math.MinInt64} }

func (s *span) include(ns int64)            { s.first, s.last = min(s.first, ns), max(s.last, ns) }
func (s *span) join(o span)                 { s.first, s.last = min(s.first, o.first), max(s.last, o.last) }
func (s span) overlaps(from, to int64) bool { return s.first <= to && s.last >= from }

func newIndex() *index {
	return &index{macs: map[[6]byte]uint64{}, addrs: map[[16]byte]uint64{}, facts: facts{noted: noTime()}, width: 1 << 20}
}

// indexFor divides a segment of so many bytes.
func indexFor(segment int64) *index {
	x := newIndex()
	x.width = (segment + maxSlices - 1) / maxSlices
	return x
}

// block adds the next block of the segment.
func (x *index) block(kind uint32, b []byte) error {
	if x.size >= x.until {
		x.begin()
	}
	x.size += int64(len(b))
	switch kind {
	case kindEPB:
		iface, ns, data, err := packet(b)
		if err != nil || int(iface) >= len(x.links) {
			return errTorn
		}
		if !x.overflow {
			x.k.read(x.links[iface], data)
		}
		x.add(ns, len(data), &x.k)
	case kindIDB:
		x.control |= x.bit
		if len(b) >= 20 {
			x.links = append(x.links, capture.LinkType(binary.LittleEndian.Uint16(b[8:])))
		}
	case kindISB, kindCustom:
		if times, ok := noteIn(kind, b); ok {
			x.control |= x.bit
			x.noted.join(times)
			if kind == kindCustom {
				x.jumps++
			}
		}
	}
	return nil
}

// begin ends a slice and starts the next one; the last one takes what is left.
func (x *index) begin() {
	if len(x.slices) == maxSlices {
		return
	}
	x.until = (x.size/x.width + 1) * x.width
	x.bit = 1 << len(x.slices)
	x.slices = append(x.slices, slice{x.size, noTime()})
	clear(x.lateMACs[:])
	clear(x.lateAddrs[:])
}

func (x *index) add(ns int64, size int, k *keys) {
	if x.packets == 0 || ns < x.first {
		x.first = ns
	}
	x.last = max(x.last, ns)
	x.packets++
	x.bytes += uint64(size)
	x.slices[len(x.slices)-1].times.include(ns)
	for i := range k.nm {
		x.addMAC(&k.macs[i])
	}
	for i := range k.na {
		x.addAddr(&k.addrs[i])
	}
	if k.ported {
		x.ports.add(k.ports[0])
		x.ports.add(k.ports[1])
	}
	if k.hidden {
		x.hidden |= x.bit
	}
}

// addMAC and addAddr do not trust an empty place, which looks like a zero key.
func (x *index) addMAC(m *[6]byte) {
	le := binary.LittleEndian
	late := &x.lateMACs[place(uint64(le.Uint32(m[2:]))<<16|uint64(le.Uint16(m[:])))]
	if *late == *m && *m != [6]byte{} {
		return
	}
	*late = *m
	if len(x.macs) >= maxMACs {
		if _, known := x.macs[*m]; !known {
			x.otherMACs |= x.bit
			return
		}
	}
	x.macs[*m] |= x.bit
}

func (x *index) addAddr(a *[16]byte) {
	le := binary.LittleEndian
	late := &x.lateAddrs[place(le.Uint64(a[:])^le.Uint64(a[8:]))]
	if *late == *a && *a != [16]byte{} {
		return
	}
	*late = *a
	if len(x.addrs) >= maxAddrs {
		if _, known := x.addrs[*a]; !known {
			x.otherAddrs |= x.bit
			return
		}
	}
	x.addrs[*a] |= x.bit
}

// place is multiplicative hashing (Knuth, The Art of Computer Programming 3,
// section 6.4).
func place(v uint64) uint64 { return v * 0x9e3779b97f4a7c15 >> (64 - lateBits) }

// written adds the whole blocks of b, which this process has just made.
func (x *index) written(b []byte) {
	w := newBlockSlice(b)
	for {
		kind, block := w.next()
		if block == nil {
			return
		}
		_ = x.block(kind, block) // our own packets are whole
	}
}

// blocks adds every packet of w to the index and returns the length of its
// whole blocks, and what stopped it (io.EOF: nothing did).
func (x *index) blocks(w *walker) (int64, error) {
	for {
		kind, block, err := w.next()
		if err != nil {
			return w.offset, err
		}
		if err := x.block(kind, block); err != nil {
			return w.offset, fmt.Errorf("packet at byte %d: %w", w.offset, err)
		}
	}
}

// rebuild reads a segment that was not closed, cuts it after its last whole
// block and writes the sidecar.
func rebuild(path string, segment int64) (*sidecar, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	x := indexFor(segment)
	size, err := x.blocks(newWalker(f))
	if err != io.EOF && !errors.Is(err, errTorn) {
		return nil, fmt.Errorf("scan segment: %w", err)
	}
	x.size = size
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	data := x.encode()
	if err := durable.WriteFile(indexPath(path), data, 0o644); err != nil {
		return nil, err
	}
	return decodeIndex(data)
}
