package capture

import (
	"encoding/binary"
	"io"
	"math"
	"math/bits"
)

// maxSeconds since the epoch still fit an int64 of nanoseconds.
const maxSeconds = math.MaxInt64 / 1_000_000_000

// pcapng reads a file of one or more sections.
type pcapng struct {
	order  byteOrder // nil before the first section header
	ifaces []ngIface // of the current section
	last   int64     // time of the previous frame, for simple packets
}

// ngIface is what frames of an interface need.
type ngIface struct {
	link    LinkType
	snap    uint32
	resol   uint8 // if_tsresol as it stands in the file
	mul     int64 // nanoseconds of a unit, 0: use resol
	offset  int64 // nanoseconds to add
	dropped uint64
}

// next reads blocks until one holds a frame.
func (p *pcapng) next(r *Reader, f *Frame) error {
	for {
		b, err := r.win.peek(minBlock)
		if err != nil {
			if len(b) == 0 && err == io.EOF {
				return io.EOF
			}
			return r.short("block header", b, minBlock, err)
		}
		if binary.LittleEndian.Uint32(b) == blockSHB {
			if err := p.section(r, b); err != nil {
				return err
			}
			continue
		}
		if p.order == nil {
			return r.damage("no section header before the first block")
		}
		kind, size := p.order.Uint32(b), p.order.Uint32(b[4:])
		if size < minBlock {
			return r.damage("block of type %#x claims a length of %d", kind, size)
		}
		framed, err := p.block(r, f, kind, size)
		if err != nil {
			return err
		}
		if framed {
			p.last = f.Time
			return nil
		}
	}
}

// block reads one block after the section header and reports whether it
// filled f.
func (p *pcapng) block(r *Reader, f *Frame, kind, size uint32) (bool, error) {
	switch kind {
	case blockEPB, blockPB, blockSPB, blockIDB, blockISB:
	default: // names, secrets, custom and future blocks: not read, any length
		return false, p.pass(r, size)
	}
	body, n, err := p.whole(r, size)
	if err != nil {
		return false, err
	}
	switch kind {
	case blockEPB, blockPB:
		err = p.packet(r, f, body, kind)
	case blockSPB:
		err = p.simple(r, f, body)
	case blockIDB:
		err = p.describe(r, body)
	case blockISB:
		p.statistics(r, body)
	}
	if err != nil {
		return false, err
	}
	r.win.consume(n)
	return kind != blockIDB && kind != blockISB, nil
}

// padded is the place that a block of size takes. Lengths are multiples of 4;
// some old writers left the padding out of the field, not out of the file.
func padded(size uint32) int64 { return (int64(size) + 3) &^ 3 }

// whole brings a block into memory and checks that both lengths agree. body
// is what lies between them, n the place that all of it takes.
func (p *pcapng) whole(r *Reader, size uint32) (body []byte, n int, err error) {
	if size > maxData {
		return nil, 0, r.damage("block claims %d bytes, more than any frame has", size)
	}
	n = int(padded(size))
	b, err := r.win.peek(n)
	if err != nil {
		return nil, 0, r.short("block", b, n, err)
	}
	if end := p.order.Uint32(b[n-4:]); end != size {
		return nil, 0, r.damage("block length is %d at its start and %d at its end", size, end)
	}
	return b[8 : n-4], n, nil
}

// pass skips a block without holding it.
func (p *pcapng) pass(r *Reader, size uint32) error {
	start, n := r.win.off, padded(size)
	done, err := r.win.skip(n - 4)
	var b []byte
	if err == nil {
		b, err = r.win.peek(4)
		done += int64(len(b))
	}
	if err != nil {
		err := r.short("block", nil, 0, err).(*DamageError)
		if err.Err == nil {
			err = r.damage("block is cut off: %d of %d bytes are there", done, n).(*DamageError)
			err.Offset = start
		}
		return err
	}
	if end := p.order.Uint32(b); end != size {
		err := r.damage("block length is %d at its start and %d at its end", size, end).(*DamageError)
		err.Offset = start
		return err
	}
	r.win.consume(4)
	return nil
}

// section starts anew: byte order and interfaces are the section's own.
func (p *pcapng) section(r *Reader, b []byte) error {
	var order byteOrder
	switch {
	case binary.LittleEndian.Uint32(b[8:]) == byteOrderMagic:
		order = binary.LittleEndian
	case binary.BigEndian.Uint32(b[8:]) == byteOrderMagic:
		order = binary.BigEndian
	default:
		return r.damage("section header has no byte-order magic")
	}
	next := pcapng{order: order, ifaces: p.ifaces[:0], last: p.last}
	size := order.Uint32(b[4:])
	if size < minBlock+16 {
		return r.damage("section header claims a length of %d", size)
	}
	body, n, err := next.whole(r, size)
	if err != nil {
		return err
	}
	if major := order.Uint16(body[4:]); major != 1 {
		return r.damage("pcapng version %d.%d is not known", major, order.Uint16(body[6:]))
	}
	*p = next
	r.win.consume(n)
	return nil
}

// describe reads an interface description block.
func (p *pcapng) describe(r *Reader, body []byte) error {
	if len(body) < 8 {
		return r.damage("interface description of %d bytes", len(body))
	}
	if len(p.ifaces) == maxInterface {
		return r.damage("more than %d interfaces in a section", maxInterface)
	}
	i := ngIface{link: LinkType(p.order.Uint16(body)), snap: p.order.Uint32(body[4:]), resol: 6}
	p.options(body[8:], func(code uint16, v []byte) {
		switch {
		case code == idbTsResol && len(v) >= 1:
			i.resol = v[0]
		case code == idbTsOffset && len(v) >= 8:
			s := int64(p.order.Uint64(v))
			i.offset = max(min(s, maxSeconds), -maxSeconds) * 1e9
		}
	})
	if i.resol <= 9 {
		i.mul = pow10(9 - i.resol)
	}
	p.ifaces = append(p.ifaces, i)
	return nil
}

// options calls f for each option. It stops at the first that does not fit:
// no frame depends on one, so that is no reason to stop reading the file.
func (p *pcapng) options(b []byte, f func(code uint16, value []byte)) {
	for len(b) >= 4 {
		code, n := p.order.Uint16(b), int(p.order.Uint16(b[2:]))
		if code == optEnd || len(b)-4 < n {
			return
		}
		f(code, b[4:4+n])
		b = b[min(len(b), 4+(n+3)&^3):]
	}
}

// packet reads an enhanced packet block, or the obsolete packet block, which
// differs only in the first word: a 16-bit interface and a drop count.
func (p *pcapng) packet(r *Reader, f *Frame, body []byte, kind uint32) error {
	if len(body) < 20 {
		return r.damage("packet block of %d bytes", len(body))
	}
	iface := p.order.Uint32(body)
	if kind == blockPB {
		iface = uint32(p.order.Uint16(body))
	}
	if uint64(iface) >= uint64(len(p.ifaces)) {
		return r.damage("packet of interface %d, the section has %d", iface, len(p.ifaces))
	}
	i := &p.ifaces[iface]
	have, orig := p.order.Uint32(body[12:]), p.order.Uint32(body[16:])
	if uint64(have) > uint64(len(body)-20) {
		return r.damage("packet claims %d bytes, its block has room for %d", have, len(body)-20)
	}
	units := uint64(p.order.Uint32(body[4:]))<<32 | uint64(p.order.Uint32(body[8:]))
	end := 20 + int(have)
	*f = Frame{
		Time:    i.time(units),
		Data:    body[20:end:end],
		OrigLen: int(max(orig, have)),
		Link:    i.link,
		Iface:   iface,
	}
	return nil
}

// simple reads a simple packet block. It has no time: the frame gets that of
// the one before, so that order is kept.
func (p *pcapng) simple(r *Reader, f *Frame, body []byte) error {
	if len(p.ifaces) == 0 {
		return r.damage("simple packet before any interface description")
	}
	if len(body) < 4 {
		return r.damage("simple packet block of %d bytes", len(body))
	}
	i := &p.ifaces[0]
	orig := p.order.Uint32(body)
	have := orig
	if i.snap != 0 {
		have = min(have, i.snap)
	}
	if uint64(have) > uint64(len(body)-4) {
		return r.damage("simple packet claims %d bytes, its block has room for %d", have, len(body)-4)
	}
	end := 4 + int(have)
	*f = Frame{Time: p.last, Data: body[4:end:end], OrigLen: int(orig), Link: i.link}
	return nil
}

// statistics takes the drop counts; they are totals since the start.
func (p *pcapng) statistics(r *Reader, body []byte) {
	if len(body) < 12 {
		return
	}
	iface := p.order.Uint32(body)
	if uint64(iface) >= uint64(len(p.ifaces)) {
		return
	}
	i := &p.ifaces[iface]
	p.options(body[12:], func(code uint16, v []byte) {
		if code != isbDropped || len(v) < 8 {
			return
		}
		if n := p.order.Uint64(v); n > i.dropped && n != math.MaxUint64 {
			r.drops.Add(n - i.dropped)
			i.dropped = n
		}
	})
}

// time turns a count of units into nanoseconds since the epoch. Times outside
// what an int64 holds (1677 to 2262) become its ends.
func (i *ngIface) time(units uint64) int64 {
	var ns int64
	switch {
	case i.mul != 0:
		hi, lo := bits.Mul64(units, uint64(i.mul))
		ns = clamp(hi, lo)
	case i.resol&0x80 != 0: // 2^-n
		n := uint(i.resol & 0x7f)
		hi, lo := bits.Mul64(units, 1e9)
		if n >= 64 {
			hi, lo = 0, hi>>(n-64)
		} else if n > 0 {
			hi, lo = hi>>n, hi<<(64-n)|lo>>n
		}
		ns = clamp(hi, lo)
	default: // 10^-n, finer than a nanosecond
		if n := i.resol - 9; n <= 19 {
			ns = clamp(0, units/upow10(n))
		}
	}
	sum := ns + i.offset
	if i.offset > 0 && sum < ns {
		return math.MaxInt64
	}
	return sum
}

func clamp(hi, lo uint64) int64 {
	if hi != 0 || lo > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(lo)
}

func pow10(n uint8) int64 { return int64(upow10(n)) }

// upow10 is 10^n for n up to 19.
func upow10(n uint8) uint64 {
	v := uint64(1)
	for range n {
		v *= 10
	}
	return v
}
