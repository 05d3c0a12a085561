package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"sekisho/firmware/capture"
	"sekisho/firmware/durable"
)

// maxIndexed bounds the addresses of one segment; a stranger who makes up more
// turns the index off for that segment, and nothing is missed.
const maxIndexed = 16384

const indexMagic = "SKIX0001"

// index is what a segment's sidecar says: whom it holds packets of, and when.
type index struct {
	first, last    int64 // ns; 0 without packets
	packets, bytes uint64
	size           int64 // of the segment file
	overflow       bool  // too many addresses: anybody may be in it
	gaps           bool  // it records frames that were not kept
	macs           map[[6]byte]struct{}
	addrs          map[[16]byte]struct{}

	// What add has put in the maps of late, one place for each hash: frames
	// come in flows, and a map costs more than all else that is done to one.
	lateMACs  [1 << lateBits][6]byte
	lateAddrs [1 << lateBits][16]byte
}

const lateBits = 9

func newIndex() *index {
	return &index{macs: map[[6]byte]struct{}{}, addrs: map[[16]byte]struct{}{}}
}

func (x *index) add(ns int64, size int, k *keys) {
	if x.packets == 0 || ns < x.first {
		x.first = ns
	}
	x.last = max(x.last, ns)
	x.packets++
	x.bytes += uint64(size)
	if x.overflow {
		return
	}
	for i := range k.nm {
		x.addMAC(&k.macs[i])
	}
	for i := range k.na {
		x.addAddr(&k.addrs[i])
	}
	if len(x.macs)+len(x.addrs) > maxIndexed {
		x.overflow = true
		clear(x.macs)
		clear(x.addrs)
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
	x.macs[*m] = struct{}{}
}

func (x *index) addAddr(a *[16]byte) {
	le := binary.LittleEndian
	late := &x.lateAddrs[place(le.Uint64(a[:])^le.Uint64(a[8:]))]
	if *late == *a && *a != [16]byte{} {
		return
	}
	*late = *a
	x.addrs[*a] = struct{}{}
}

// place is multiplicative hashing (Knuth, The Art of Computer Programming 3,
// section 6.4).
func place(v uint64) uint64 { return v * 0x9e3779b97f4a7c15 >> (64 - lateBits) }

func (x *index) mayHold(m *matcher) bool {
	if x.overflow {
		return true
	}
	for mac := range m.macs {
		if _, ok := x.macs[mac]; ok {
			return true
		}
	}
	for a := range m.addrs {
		if _, ok := x.addrs[a]; ok {
			return true
		}
	}
	return false
}

// encode writes the sidecar: magic, fixed fields, addresses, CRC-32.
func (x *index) encode() []byte {
	le := binary.LittleEndian
	b := []byte(indexMagic)
	for _, v := range []uint64{uint64(x.first), uint64(x.last), x.packets, x.bytes, uint64(x.size)} {
		b = le.AppendUint64(b, v)
	}
	var flags uint32
	if x.overflow {
		flags |= 1
	}
	if x.gaps {
		flags |= 2
	}
	b = le.AppendUint32(b, flags)
	b = le.AppendUint32(b, uint32(len(x.macs)))
	b = le.AppendUint32(b, uint32(len(x.addrs)))
	for m := range x.macs {
		b = append(b, m[:]...)
	}
	for a := range x.addrs {
		b = append(b, a[:]...)
	}
	return le.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func decodeIndex(b []byte) (*index, error) {
	const fixed = 8 + 5*8 + 3*4
	le := binary.LittleEndian
	if len(b) < fixed+4 || string(b[:8]) != indexMagic || crc32.ChecksumIEEE(b[:len(b)-4]) != le.Uint32(b[len(b)-4:]) {
		return nil, errors.New("damaged segment index")
	}
	x := newIndex()
	x.first, x.last = int64(le.Uint64(b[8:])), int64(le.Uint64(b[16:]))
	x.packets, x.bytes, x.size = le.Uint64(b[24:]), le.Uint64(b[32:]), int64(le.Uint64(b[40:]))
	x.overflow, x.gaps = le.Uint32(b[48:])&1 != 0, le.Uint32(b[48:])&2 != 0
	nm, na := int(le.Uint32(b[52:])), int(le.Uint32(b[56:]))
	if nm > 2*maxIndexed || na > 2*maxIndexed || len(b) != fixed+4+6*nm+16*na {
		return nil, errors.New("damaged segment index")
	}
	b = b[fixed:]
	for ; nm > 0; nm-- {
		x.macs[[6]byte(b)] = struct{}{}
		b = b[6:]
	}
	for ; na > 0; na-- {
		x.addrs[[16]byte(b)] = struct{}{}
		b = b[16:]
	}
	return x, nil
}

// blocks adds every packet of w to the index and returns the length of its
// whole blocks, and what stopped it (io.EOF: nothing did).
func (x *index) blocks(w *walker) (int64, error) {
	var links []capture.LinkType
	var k keys
	for {
		kind, block, err := w.next()
		if err != nil {
			return w.offset, err
		}
		switch kind {
		case kindIDB:
			if len(block) >= 20 {
				links = append(links, capture.LinkType(binary.LittleEndian.Uint16(block[8:])))
			}
		case kindISB:
			_, _, _, gap := gapIn(block)
			x.gaps = x.gaps || gap
		case kindEPB:
			iface, ns, data, err := packet(block)
			if err != nil || int(iface) >= len(links) {
				return w.offset, fmt.Errorf("packet at byte %d: %w", w.offset, errTorn)
			}
			k.read(links[iface], data)
			x.add(ns, len(data), &k)
		}
	}
}

// rebuild reads a segment that was not closed, cuts it after its last whole
// block and writes the sidecar.
func rebuild(path string) (*index, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	x := newIndex()
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
	return x, durable.WriteFile(indexPath(path), x.encode(), 0o644)
}

func indexPath(segment string) string { return segment + ".idx" }

// loadIndex reads the sidecar of segment and checks that it still fits.
func loadIndex(segment string) (*index, error) {
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
