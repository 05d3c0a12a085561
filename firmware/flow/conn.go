package flow

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// open makes a connection for the packet at hand and emits its first event.
// client says whether the sender is the client.
func (t *Tracker) open(k *key, srcIsA, senderIsClient bool, state ConnState, emit func(Event)) (uint32, *conn) {
	if t.table.live >= t.table.limit {
		t.evict(emit)
	}
	i, c := t.table.add(k)
	h := &t.hdr
	t.lastID++
	t.stats.Conns++
	c.id, c.start, c.last, c.state = t.lastID, t.now, t.now, state
	c.spoke, c.activity = t.now, t.now+int64(ActivityEvery)
	c.clientIsB = srcIsA != senderIsClient
	c.midStream = state != ConnAttempt
	c.probe = state == ConnAttempt && h.Proto == ProtoTCP && h.TCPFlags&FlagSYN == 0
	c.seqIsServer = state == ConnAttempt && h.Proto == ProtoTCP && h.TCPFlags&FlagSYN != 0 && h.Dst.Is4() &&
		h.Seq == binary.BigEndian.Uint32(h.Dst[12:])
	c.iface, c.vlan, c.out = t.frame.Iface, h.VLAN, t.frame.Out
	c.clientMAC, c.serverMAC = h.SrcMAC, h.DstMAC
	if !senderIsClient {
		c.clientMAC, c.serverMAC = h.DstMAC, h.SrcMAC
	} else if h.Dst.isGroup() || h.DstMAC.IsGroup() || t.isBroadcast(&h.Dst) {
		c.multicast = true
	}
	if c.clientMAC.IsGroup() {
		c.clientMAC = MAC{}
	}
	if c.serverMAC.IsGroup() {
		c.serverMAC = MAC{}
	}
	t.table.list(i, c, &h.Src)
	t.schedule(i, c, t.due(c))
	dir := 0
	if !senderIsClient {
		dir = 1
	}
	t.count(i, c, dir)
	t.ev.conn.Meta = t.here()
	t.report(c, c.state, emit)
	return i, c
}

func (t *Tracker) isBroadcast(a *Addr) bool {
	for i := range t.broadcasts {
		if t.broadcasts[i] == *a {
			return true
		}
	}
	return false
}

// count adds the packet at hand. The first packet back takes the connection
// off its source's half-open list once it is established.
func (t *Tracker) count(i uint32, c *conn, dir int) {
	c.last = t.now
	c.packets[dir]++
	c.bytes[dir] += uint64(t.hdr.PayloadLen)
	if c.packets[dir] == 1 {
		t.firstOf(i, c, dir)
	}
}

func (t *Tracker) firstOf(i uint32, c *conn, dir int) {
	mac := t.hdr.SrcMAC
	if dir == 1 && !mac.IsZero() && !mac.IsGroup() {
		c.serverMAC = mac
	}
	t.bothWays(i, c)
}

// bothWays takes a connection that was established and heard both ways out of
// the half-open ones, which go first when the table is full.
func (t *Tracker) bothWays(i uint32, c *conn) {
	if c.state == ConnEstablished && c.source != 0 && c.packets[0] > 0 && c.packets[1] > 0 {
		t.table.unlist(i, c)
	}
}

// speak takes note of payload, once the state is as the packet at hand made it.
func (t *Tracker) speak(c *conn, dir int, emit func(Event)) {
	if t.now >= c.activity {
		t.active(c, dir, emit)
	}
	c.spoke = t.now
}

func (t *Tracker) active(c *conn, dir int, emit func(Event)) {
	c.activity = t.now + int64(ActivityEvery)
	e := &t.ev.activity
	*e = Activity{
		Meta: t.here(), ID: c.id, Proto: c.key.proto, ClientMAC: c.clientMAC, ServerMAC: c.serverMAC,
		FromServer: dir == 1, Idle: time.Duration(t.now - c.spoke), Start: utc(c.start),
		Sent: c.bytes[0], Received: c.bytes[1], SentPackets: c.packets[0], RecvPackets: c.packets[1],
		Multicast: c.multicast,
	}
	e.Client, e.Server = c.addrPorts()
	emit(e)
}

// become moves the connection forward because of the packet at hand.
func (t *Tracker) become(i uint32, c *conn, state ConnState, emit func(Event)) {
	t.ev.conn.Meta = t.here()
	t.change(c, state, emit)
	switch state {
	case ConnEstablished:
		t.bothWays(i, c)
	case ConnClosed:
		t.streams.release(c)
		t.dialogues.release(c)
		t.table.finish(i, c)
		t.schedule(i, c, t.due(c))
	}
}

// change sets the state and reports it under the Meta that is already there.
func (t *Tracker) change(c *conn, state ConnState, emit func(Event)) {
	prev := c.state
	c.state = state
	t.report(c, prev, emit)
}

// late fills the Meta of an event that no frame causes.
func (t *Tracker) late(c *conn, ns int64) {
	t.ev.conn.Meta = Meta{
		Time: utc(ns), SrcMAC: c.clientMAC, DstMAC: c.serverMAC, VLAN: c.vlan, Iface: c.iface, Out: c.out,
	}
}

func (t *Tracker) report(c *conn, prev ConnState, emit func(Event)) {
	c.reported = c.packets[0] + c.packets[1]
	e := &t.ev.conn
	e.ID, e.State, e.Prev, e.Proto = c.id, c.state, prev, c.key.proto
	e.Client, e.Server = c.addrPorts()
	e.ClientMAC, e.ServerMAC = c.clientMAC, c.serverMAC
	e.Start = utc(c.start)
	e.Sent, e.Received = c.bytes[0], c.bytes[1]
	e.SentPackets, e.RecvPackets = c.packets[0], c.packets[1]
	e.MidStream, e.Multicast, e.Probe = c.midStream, c.multicast, c.probe
	e.SeqIsServer = c.seqIsServer
	emit(e)
}

func (c *conn) addrPorts() (client, server netip.AddrPort) {
	ca, sa, cp, sp := c.ends()
	return netip.AddrPortFrom(ca.Netip(), cp), netip.AddrPortFrom(sa.Netip(), sp)
}

// forget removes a connection. What is still open is closed; a failed attempt
// is closed only when packets came after it was reported, so that the totals
// reach whoever adds them up.
func (t *Tracker) forget(i uint32, c *conn, ns int64, emit func(Event)) {
	switch c.state {
	case ConnAttempt, ConnEstablished:
		t.late(c, ns)
		t.change(c, ConnClosed, emit)
	case ConnRefused, ConnUnanswered:
		if c.packets[0]+c.packets[1] > c.reported {
			t.late(c, ns)
			t.change(c, ConnClosed, emit)
		}
	}
	t.streams.release(c)
	t.dialogues.release(c)
	t.unschedule(c)
	t.table.remove(i)
}

// evict makes room for one connection. A pending attempt is reported as
// unanswered first: a flood must not keep its own failures from being seen.
func (t *Tracker) evict(emit func(Event)) {
	t.stats.Evicted++
	i := t.table.victim()
	c := t.table.at(i)
	if c.state == ConnAttempt && !c.multicast {
		t.late(c, t.now)
		t.change(c, ConnUnanswered, emit)
	}
	t.forget(i, c, t.now, emit)
}
