package flow

const (
	// dialogueSlots bounds the connections that are read past their first
	// bytes at one time. Log-ins and plain HTTP are a small part of what an
	// office has open; when all slots are taken, the next one goes to the cost
	// of one that is silent, and that is counted.
	dialogueSlots = 4096

	// dialogueSegments is how many payload segments of a direction are read:
	// a log-in is over after fewer, also by Telnet, which sends a segment for
	// each key, and a guesser does not get 256 lines through before he is
	// thrown out.
	dialogueSegments = 256
)

// dialogue is what is kept of a connection that is read past its head. Its
// reader gets each payload segment in the order of the stream, once. Nothing
// is put together: what comes too early is read at once, with lost set, and
// what fills the gap later is not read any more.
type dialogue struct {
	next   [2]uint32 // sequence number that comes next
	synced [2]bool   // next is known
	left   [2]uint16 // segments that may still be read
	skip   [2]int64  // set by a reader: bytes behind the present segment that it does not want
	lost   [2]bool   // bytes are missing before the present segment
	behind [2]behind
	state  any    // the reader's own, bounded by it; nil at first
	free   uint32 // free list
	owner  *conn  // table slots never move
}

// behind counts the segments in a row that lie before what is expected next.
// Who sends a segment that its receiver drops, far ahead of the stream, would
// otherwise hide all that he says from then on (Ptacek and Newsham 1998,
// section 5): each would pass for one that is sent again. But what is sent
// again ends where the stream stood, and goes on behind that.
type behind struct {
	at  uint32 // where the next one would begin
	run uint8
}

// maxBehind is how many are taken for sent again: the initial window (RFC
// 6928), to which a sender falls back when all of a flight was lost.
const maxBehind = 10

// again says whether a segment is one that is sent again.
func (b *behind) again(seq uint32, n int) bool {
	if b.run > 0 && seq != b.at {
		b.run = 0
	}
	b.run = min(b.run, maxBehind) + 1
	b.at = seq + uint32(n)
	return b.run <= maxBehind
}

// dialogues is a pool; slots keep their place, so that a pointer stays good
// until the connection ends. When it is used up, a connection that has been
// silent gives way, as in streams.
type dialogues struct {
	slot []*dialogue // index 0 is never used
	free uint32
	hand int
}

func (s *dialogues) victim() (oldest *conn) {
	for range victimsSeen {
		s.hand = s.hand%(len(s.slot)-1) + 1
		if v := s.slot[s.hand].owner; oldest == nil || v.last < oldest.last {
			oldest = v
		}
	}
	return oldest
}

func (s *dialogues) take() uint32 {
	i := s.free
	switch {
	case i != 0:
		s.free = s.slot[i].free
		*s.slot[i] = dialogue{}
	case len(s.slot) <= dialogueSlots:
		if len(s.slot) == 0 {
			s.slot = append(s.slot, nil)
		}
		i = uint32(len(s.slot))
		s.slot = append(s.slot, &dialogue{})
	default:
		return 0
	}
	return i
}

func (s *dialogues) release(c *conn) {
	if i := c.dialogue; i != 0 {
		if p, ok := s.slot[i].state.(*pduConn); ok {
			p.forget()
		}
		s.slot[i].state = nil
		s.slot[i].free = s.free
		s.free = i
		c.dialogue = 0
	}
}

// dialogueOf returns the connection's dialogue, a new one if it has none.
func (t *Tracker) dialogueOf(c *conn) *dialogue {
	if c.dialogue == 0 {
		if c.dialogue = t.dialogues.take(); c.dialogue == 0 {
			t.stats.DeepSkipped++
			t.dropSilent(t.dialogues.victim())
			c.dialogue = t.dialogues.take()
		}
		d := t.dialogues.slot[c.dialogue]
		d.owner, d.left = c, [2]uint16{dialogueSegments, dialogueSegments}
	}
	return t.dialogues.slot[c.dialogue]
}

// dropSilent takes a slot back. Protocols whose messages can be found again
// are read on when the connection speaks next: a share stays mounted all day.
func (t *Tracker) dropSilent(c *conn) {
	if c.app[0] >= appSMB && c.app[0] <= appKerberos {
		t.dialogues.release(c)
		return
	}
	t.hangUp(c)
}

// converse begins to read a connection both ways with the protocol that data,
// the first bytes of direction dir, were found to be. It is right for
// protocols where either side may speak first.
func (t *Tracker) converse(c *conn, dir int, data []byte, emit func(Event)) {
	d := t.dialogueOf(c)
	d.next[dir], d.synced[dir] = t.headStart(c, dir)+uint32(len(data)), true
	t.streams.release(c)
	c.app[1-dir] = c.app[dir]
	t.hear(c, d, dir, data, emit)
}

// headStart is the sequence number of the first byte of a direction's head.
func (t *Tracker) headStart(c *conn, dir int) uint32 {
	if c.stream[dir] != 0 {
		return t.streams.slot[c.stream[dir]].base
	}
	return c.isn[dir] + 1 + c.shift[dir]
}

// listen takes the segment at hand to the dialogue's reader.
func (t *Tracker) listen(c *conn, dir int, emit func(Event)) {
	d := t.dialogues.slot[c.dialogue]
	h := &t.hdr
	data, n := h.Payload, int64(h.PayloadLen)
	if d.synced[dir] {
		seen := int64(int32(d.next[dir] - h.Seq))
		if seen >= n && d.behind[dir].again(h.Seq, h.PayloadLen) {
			return
		}
		d.behind[dir].run = 0
		if seen >= n {
			d.lost[dir], d.skip[dir] = true, 0
		} else if seen > 0 {
			data, n = data[min(seen, int64(len(data))):], n-seen
		} else if gap := -seen; gap > d.skip[dir] {
			d.lost[dir], d.skip[dir] = true, 0
		} else {
			d.skip[dir] -= gap
		}
	}
	d.next[dir], d.synced[dir] = h.Seq+uint32(h.PayloadLen), true
	if skip := d.skip[dir]; skip > 0 {
		d.skip[dir] = max(skip-n, 0)
		if skip >= int64(len(data)) {
			d.lost[dir] = skip < n
			return
		}
		data = data[skip:]
	}
	if d.left[dir] == 0 {
		if t.giveUp(c, dir, true); c.app[1-dir] == appDone {
			t.hangUp(c)
		}
		return
	}
	d.left[dir]--
	if len(data) > 0 {
		t.hear(c, d, dir, data, emit)
	}
	if cut := int64(h.PayloadLen - len(h.Payload)); cut > d.skip[dir] { // by the snap length
		d.lost[dir], d.skip[dir] = true, 0
	} else {
		d.lost[dir] = false
		d.skip[dir] -= cut
	}
}

// hear is where each protocol has its reader. It gets what direction dir sent,
// and whether bytes before it are missing (d.lost). It may stop a direction by
// giveUp, everything by hangUp, and let TLS follow by upgrade; after these
// three d is not its own any more.
func (t *Tracker) hear(c *conn, d *dialogue, dir int, data []byte, emit func(Event)) {
	switch c.app[dir] {
	case appHTTP:
		t.http(c, d, dir, data, emit)
	case appFTP, appSMTP, appPOP3, appIMAP, appIRC, appGreeting:
		t.text(c, d, dir, data, emit)
	case appTelnet:
		t.telnet(c, d, dir, data, emit)
	case appSSH:
		t.ssh(c, d, dir, data, emit)
	case appRDP, appVNC, appMySQL, appMSSQL, appPostgreSQL:
		t.talk(c, d, dir, data, emit)
	}
}

// hangUp stops reading a connection. Nothing was missed.
func (t *Tracker) hangUp(c *conn) {
	c.app = [2]app{appDone, appDone}
	t.streams.release(c)
	t.dialogues.release(c)
}

// upgrade ends a dialogue after which the connection begins anew, as after
// STARTTLS: what comes next from each side is sniffed like first bytes.
func (t *Tracker) upgrade(c *conn) {
	d := t.dialogues.slot[c.dialogue]
	for dir := range c.app {
		c.app[dir], c.tries[dir], c.part[dir] = appUnknown, 0, 0
		if d.synced[dir] {
			c.shift[dir] = d.next[dir] - c.isn[dir] - 1
		}
	}
	t.streams.release(c)
	t.dialogues.release(c)
}
