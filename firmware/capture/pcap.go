package capture

import "io"

// Magic numbers of pcap files (draft-ietf-opsawg-pcap, and Alexey
// Kuznetzov's variant with a longer record header).
const (
	magicMicro    = 0xA1B2C3D4
	magicNano     = 0xA1B23C4D
	magicModified = 0xA1B2CD34

	pcapHeader = 24
)

// pcap reads the classic format.
type pcap struct {
	order   byteOrder
	unit    int64 // nanoseconds of one fraction
	head    int   // length of a record header
	started bool
	old     bool // version up to 2.3: the two lengths may be swapped
	link    LinkType
}

func (p *pcap) next(r *Reader, f *Frame) error {
	if !p.started {
		if err := p.start(r); err != nil {
			return err
		}
	}
	b, err := r.win.peek(p.head)
	if err != nil {
		if len(b) == 0 && err == io.EOF {
			return io.EOF
		}
		return r.short("record header", b, p.head, err)
	}
	sec, frac := int64(p.order.Uint32(b)), int64(p.order.Uint32(b[4:]))
	have, orig := p.order.Uint32(b[8:]), p.order.Uint32(b[12:])
	var iface uint32
	if p.head == 24 {
		iface = p.order.Uint32(b[16:])
	}
	if p.old && have > orig {
		have, orig = orig, have
	}
	if have > maxData {
		return r.damage("record claims %d bytes, more than any frame has", have)
	}
	n := p.head + int(have)
	if b, err = r.win.peek(n); err != nil {
		return r.short("record", b, n, err)
	}
	*f = Frame{
		Time:    sec*1e9 + frac*p.unit,
		Data:    b[p.head:n:n],
		OrigLen: int(max(orig, have)),
		Link:    p.link,
		Iface:   iface,
	}
	r.win.consume(n)
	return nil
}

func (p *pcap) start(r *Reader) error {
	b, err := r.win.peek(pcapHeader)
	if err != nil {
		return r.short("file header", b, pcapHeader, err)
	}
	major, minor := p.order.Uint16(b[4:]), p.order.Uint16(b[6:])
	if major != 2 {
		return r.damage("pcap version %d.%d is not known", major, minor)
	}
	p.old = minor <= 3
	p.link = LinkType(p.order.Uint32(b[20:])) // upper bits: FCS length
	p.started = true
	r.win.consume(pcapHeader)
	return nil
}
