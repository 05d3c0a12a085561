package flow

// warmUp is how long after the first packet a datagram from a well-known to a
// dynamic port is taken for the answer to something sent before the capture
// began. Later on it is a first contact: whoever scans from port 53 must not
// pass for a name server.
const warmUp = 30 * second

// udp takes one datagram to its pair.
func (t *Tracker) udp(emit func(Event)) {
	h := &t.hdr
	if h.HeaderCut {
		return
	}
	k, srcIsA := h.key()
	i, c := t.table.find(&k)
	dir := 0
	if c == nil {
		if t.now-t.firstTime < warmUp && h.SrcPort < 1024 && h.DstPort >= 1024 && !h.DstMAC.IsGroup() && !h.Dst.isGroup() {
			dir = 1
			i, c = t.open(&k, srcIsA, false, ConnEstablished, emit)
		} else {
			i, c = t.open(&k, srcIsA, true, ConnAttempt, emit)
		}
	} else {
		if srcIsA == c.clientIsB {
			dir = 1
		}
		t.count(i, c, dir)
		if dir == 1 && c.state < ConnEstablished {
			t.become(i, c, ConnEstablished, emit)
		}
		if h.PayloadLen > 0 {
			t.speak(c, dir, emit)
		}
	}
	if h.Fragment {
		t.firstFragment(i, c, dir)
	} else if len(h.Payload) > 0 && h.PayloadLen == len(h.Payload) {
		t.udpPayload(c, dir, emit)
	}
}
