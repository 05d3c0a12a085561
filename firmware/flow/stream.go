package flow

const (
	streamBytes    = 8 << 10  // a ClientHello with post-quantum keys takes about 1.8 kB
	streamBytesTLS = 32 << 10 // a server's certificates take 3 to 10 kB
	streamSlots    = 256      // 2 MB when all are in use at once; 8 MB when all have been a TLS server's
	streamGaps     = 4        // pieces out of order that are kept apart
)

// span is a range of bytes that have arrived, relative to the stream's start.
type span struct{ from, to uint32 }

// stream puts the first bytes of one direction of a connection together.
type stream struct {
	base  uint32 // sequence number of buf[0]
	spans [streamGaps]span
	n     int
	limit int // bytes that may be kept
	buf   []byte
	next  uint32 // free list
	owner *conn  // table slots never move
	dir   int
}

// streams is a fixed pool. When it is used up, the head that has waited
// longest among some gives way: who opens connections only to fill the pool
// must not blind us to everybody else.
type streams struct {
	slot [streamSlots + 1]stream
	used uint32
	free uint32
	hand uint32
}

// victimsSeen is how many slots of a full pool are looked at for the one to
// take back, in turn.
const victimsSeen = 16

// takeStream gives a direction a reassembly slot.
func (t *Tracker) takeStream(c *conn, dir int, base uint32) *stream {
	i := t.streams.take(base)
	if i == 0 {
		v := t.streams.victim()
		t.giveUp(v.owner, v.dir, true)
		i = t.streams.take(base)
	}
	s := &t.streams.slot[i]
	s.owner, s.dir = c, dir
	c.stream[dir] = i
	return s
}

// victim is the slot, of those looked at, whose connection has been silent
// longest.
func (s *streams) victim() (oldest *stream) {
	for range victimsSeen {
		s.hand = s.hand%s.used + 1
		if v := &s.slot[s.hand]; oldest == nil || v.owner.last < oldest.owner.last {
			oldest = v
		}
	}
	return oldest
}

func (s *streams) take(base uint32) uint32 {
	i := s.free
	if i != 0 {
		s.free = s.slot[i].next
	} else if s.used < streamSlots {
		s.used++
		i = s.used
		s.slot[i].buf = make([]byte, streamBytes)
	} else {
		return 0
	}
	s.slot[i].base, s.slot[i].n, s.slot[i].limit = base, 0, streamBytes
	return i
}

func (s *streams) give(c *conn, dir int) {
	if i := c.stream[dir]; i != 0 {
		s.slot[i].next = s.free
		s.free = i
		c.stream[dir] = 0
	}
}

func (s *streams) release(c *conn) {
	s.give(c, 0)
	s.give(c, 1)
}

// add stores a segment. Bytes that arrived before are kept: what the receiver
// took first is what counts, and a second version must not change it.
func (s *stream) add(seq uint32, data []byte) {
	off := int64(int32(seq - s.base))
	if off < 0 {
		if -off >= int64(len(data)) {
			return
		}
		data, off = data[-off:], 0
	}
	if off >= int64(s.limit) {
		return
	}
	data = data[:min(len(data), s.limit-int(off))]
	if int(off)+len(data) > len(s.buf) {
		s.buf = append(s.buf, make([]byte, s.limit-len(s.buf))...)
	}
	in := span{uint32(off), uint32(off) + uint32(len(data))}
	for in.from < in.to && s.fill(&in, &data) {
	}
}

// fill stores the first piece of in that has not arrived yet and says whether
// anything may be left.
func (s *stream) fill(in *span, data *[]byte) bool {
	piece := *in
	at := 0
	for ; at < s.n; at++ {
		have := s.spans[at]
		if piece.from >= have.to {
			continue
		}
		if piece.from >= have.from { // begins inside: drop that much
			skip := min(have.to, in.to) - in.from
			in.from += skip
			*data = (*data)[skip:]
			return true
		}
		piece.to = min(piece.to, have.from)
		break
	}
	if !s.insert(at, piece) {
		return false
	}
	n := piece.to - piece.from
	copy(s.buf[piece.from:piece.to], *data)
	in.from += n
	*data = (*data)[n:]
	return true
}

// insert keeps the spans in order and joins neighbours.
func (s *stream) insert(at int, p span) bool {
	joinsLeft := at > 0 && s.spans[at-1].to == p.from
	joinsRight := at < s.n && s.spans[at].from == p.to
	switch {
	case joinsLeft && joinsRight:
		s.spans[at-1].to = s.spans[at].to
		copy(s.spans[at:], s.spans[at+1:s.n])
		s.n--
	case joinsLeft:
		s.spans[at-1].to = p.to
	case joinsRight:
		s.spans[at].from = p.from
	case s.n == streamGaps:
		return false
	default:
		copy(s.spans[at+1:], s.spans[at:s.n])
		s.spans[at] = p
		s.n++
	}
	return true
}

// head is what has arrived without a gap from the start on.
func (s *stream) head() []byte {
	if s.n == 0 || s.spans[0].from != 0 {
		return nil
	}
	return s.buf[:s.spans[0].to]
}
