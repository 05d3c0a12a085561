package flow

// tcp takes one segment to its connection.
func (t *Tracker) tcp(emit func(Event)) {
	h := &t.hdr
	if h.HeaderCut { // ports alone say nothing about a state
		return
	}
	k, srcIsA := h.key()
	i, c := t.table.find(&k)
	if c == nil {
		t.tcpOpen(&k, srcIsA, emit)
		return
	}
	dir := 0
	if srcIsA == c.clientIsB {
		dir = 1
	}
	if h.Fragment {
		t.firstFragment(i, c, dir)
	}
	if h.TCPFlags&(FlagSYN|FlagACK|FlagRST) == FlagSYN && t.newSYN(c, dir) {
		t.forget(i, c, t.now, emit)
		t.tcpOpen(&k, srcIsA, emit)
		return
	}
	if c.state == ConnClosed {
		return // late segments of what is over
	}
	t.count(i, c, dir)
	t.tcpState(i, c, dir, emit)
	if h.PayloadLen > 0 && c.state != ConnClosed && !keepAlive(h) {
		t.speak(c, dir, emit)
	}
	if len(h.Payload) > 0 && c.state == ConnEstablished && !h.Fragment {
		t.tcpPayload(c, dir, emit)
	}
}

// keepAlive recognises the probe with one octet of garbage (RFC 1122 section
// 4.2.3.6), which nobody has said: no application writes a byte without PSH.
func keepAlive(h *Header) bool { return h.PayloadLen == 1 && h.TCPFlags&FlagPSH == 0 }

// maxSYNData bounds what a server may have accepted with the SYN (RFC 7413). It
// goes unread, since nobody has proved his address yet; the stream is read
// behind it.
const maxSYNData = 1 << 16

// newSYN says whether a SYN starts another connection on the ports of a known
// one, instead of being a retransmission or one half of a simultaneous open.
func (t *Tracker) newSYN(c *conn, dir int) bool {
	seq := t.hdr.Seq
	same := seq == c.isn[dir]
	switch c.state {
	case ConnAttempt: // from the server: RFC 9293 section 3.5, figure 7
		c.isn[dir] = seq
		return false
	case ConnRefused, ConnUnanswered:
		return dir == 1 || !same
	}
	return !same
}

// tcpState moves the connection as RFC 9293 has it, seen from the path.
// Only a packet of the other side proves an answer: a scanner that sends an ACK
// after its SYN has still not been answered.
func (t *Tracker) tcpState(i uint32, c *conn, dir int, emit func(Event)) {
	flags := t.hdr.TCPFlags
	switch {
	case flags&FlagRST != 0:
		switch {
		case c.state == ConnAttempt && dir == 1:
			t.become(i, c, ConnRefused, emit)
		case c.state == ConnAttempt: // the client gave up before an answer
			t.become(i, c, ConnUnanswered, emit)
		case c.state == ConnEstablished:
			t.become(i, c, ConnClosed, emit)
		}
		return
	case flags&(FlagSYN|FlagACK) == FlagSYN:
		return
	case flags&FlagSYN != 0:
		c.isn[dir] = t.hdr.Seq
		if n := t.hdr.Ack - c.isn[0] - 1; dir == 1 && n > 0 && n < maxSYNData && c.shift[0] == 0 {
			c.shift[0] = n
			t.stats.DeepSkipped++
		}
		if dir == 1 && c.state < ConnEstablished {
			t.become(i, c, ConnEstablished, emit)
		}
	case dir == 1 && c.state != ConnRefused && c.state < ConnEstablished:
		c.isn[1] = t.hdr.Seq - 1
		t.become(i, c, ConnEstablished, emit) // the SYN-ACK was not captured
	}
	if flags&FlagFIN != 0 && c.state == ConnEstablished {
		c.fin[dir] = true
		if c.fin[1-dir] {
			t.become(i, c, ConnClosed, emit)
		} else {
			t.schedule(i, c, t.due(c)) // half closed: a shorter wait
		}
	}
}

// tcpOpen judges a segment that belongs to no known connection.
func (t *Tracker) tcpOpen(k *key, srcIsA bool, emit func(Event)) {
	h := &t.hdr
	var i uint32
	var c *conn
	dir := 0
	switch flags := h.TCPFlags & (FlagSYN | FlagACK | FlagRST); {
	case flags&FlagRST != 0:
		return // the end of something that was never seen
	case flags&FlagACK == 0:
		// A SYN; or no flag that a real segment lacks, as FIN, NULL and Xmas
		// scans send (every segment after the SYN has ACK): a first contact
		// that waits for a RST.
		i, c = t.open(k, srcIsA, true, ConnAttempt, emit)
		c.isn[0] = h.Seq
	case flags&FlagSYN != 0:
		i, c = t.open(k, srcIsA, false, ConnEstablished, emit)
		c.isn[0], c.isn[1] = h.Ack-1, h.Seq
		dir = 1
	default:
		client := senderIsClient(h.SrcPort, h.DstPort, h.Payload)
		i, c = t.open(k, srcIsA, client, ConnEstablished, emit)
		if !client {
			dir = 1
		}
		c.isn[dir], c.isn[1-dir] = h.Seq-1, h.Ack-1
		c.fin[dir] = h.TCPFlags&FlagFIN != 0
	}
	if h.Fragment {
		t.firstFragment(i, c, dir)
	} else if len(h.Payload) > 0 && c.state == ConnEstablished {
		t.tcpPayload(c, dir, emit)
	}
}

// senderIsClient guesses who opened a connection whose opening was not seen: by
// what is said when that tells, else the lower port serves. Equal ports say
// nothing; then the sender is.
func senderIsClient(src, dst uint16, b []byte) bool {
	switch {
	case len(b) < 6:
	case b[0] == 0x16 && b[1] == 3 && b[5] <= 2: // a TLS hello, of the client or the server
		return b[5] == 1
	case b[0] >= 'A' && b[0] <= 'Z' && sniffHTTP(b) == appHTTP:
		return true
	case string(b[:5]) == "HTTP/":
		return false
	}
	return src >= dst
}
