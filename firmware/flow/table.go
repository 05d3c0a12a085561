package flow

import (
	"encoding/binary"
	"math/bits"
)

// key names a connection whichever way a packet goes: a is the lower address,
// or port when the addresses are equal. It has no padding, so that the runtime
// hashes it as plain memory.
type key struct {
	a, b         Addr
	aPort, bPort uint16
	proto        uint8
	_            [3]uint8
}

// key returns the connection's key and whether the sender is side a.
func (h *Header) key() (k key, srcIsA bool) {
	k.proto = h.Proto
	if srcIsA = lower(&h.Src, &h.Dst, h.SrcPort, h.DstPort); srcIsA {
		k.a, k.b, k.aPort, k.bPort = h.Src, h.Dst, h.SrcPort, h.DstPort
	} else {
		k.a, k.b, k.aPort, k.bPort = h.Dst, h.Src, h.DstPort, h.SrcPort
	}
	return k, srcIsA
}

// lower orders two ends: any order serves that is total and the same both ways.
func lower(x, y *Addr, xp, yp uint16) bool {
	xl, yl := binary.BigEndian.Uint64(x[8:16]), binary.BigEndian.Uint64(y[8:16])
	if xl != yl {
		return xl < yl
	}
	xh, yh := binary.BigEndian.Uint64(x[0:8]), binary.BigEndian.Uint64(y[0:8])
	if xh != yh {
		return xh < yh
	}
	return xp <= yp
}

// conn is one tracked connection. It holds indices instead of pointers, so
// that the garbage collector has nothing to follow in a table of 65,536. What
// every packet reads or writes stands first, in two lines of 64 bytes; chunks
// begin on a line and a conn is whole lines long, so that it stays so.
type conn struct {
	key         key
	last        int64 // last packet, or the moment of closing
	state       ConnState
	clientIsB   bool
	midStream   bool
	probe       bool
	seqIsServer bool // see Conn
	multicast   bool
	finished    bool // in the list of closed connections
	out         bool
	live        bool
	fin         [2]bool
	app         [2]app
	tries       [2]uint8 // payload segments that the deep part looked at
	known       bool     // a direction was found to carry something that is read

	bytes    [2]uint64 // payload: client to server, server to client
	packets  [2]uint64
	spoke    int64     // last payload
	activity int64     // when the next payload is worth an Activity
	isn      [2]uint32 // initial sequence numbers, TCP
	stream   [2]uint32 // reassembly slot of each direction, 0: none

	id       uint64
	start    int64
	reported uint64    // packets when the last event was emitted
	shift    [2]uint32 // where the head begins, bytes behind the direction's first one
	dialogue uint32    // slot of what is read past the head, 0: none

	wheelNext, wheelPrev, wheelSlot uint32
	listNext, listPrev              uint32
	source                          uint32 // half-open: in this source's list

	iface                uint32
	vlan                 uint16
	clientMAC, serverMAC MAC
	part                 [2]uint8 // messages of a direction's head that were emitted already

	_ [44]byte // whole lines
}

func (c *conn) ends() (client, server *Addr, clientPort, serverPort uint16) {
	if c.clientIsB {
		return &c.key.b, &c.key.a, c.key.bPort, c.key.aPort
	}
	return &c.key.a, &c.key.b, c.key.aPort, c.key.bPort
}

const (
	chunkBits = 9
	chunkSize = 1 << chunkBits
)

// source counts the half-open connections of one address, oldest first.
type source struct {
	addr       Addr
	count      uint32
	head, tail uint32 // connections
	next, prev uint32 // sources with the same count
}

// table holds the connections: an index from key to slot, slots in chunks that
// never move, and the orders that eviction needs. Index 0 means none.
type table struct {
	limit  int
	index  index
	chunks []*[chunkSize]conn
	used   uint32 // slots ever handed out
	free   uint32 // list through listNext
	live   int

	sources    map[Addr]uint32
	source     []source
	freeSource uint32
	byCount    []uint32 // first source that has so many half-open connections
	most       int      // the highest count in use

	doneHead, doneTail uint32 // closed connections, oldest first
	random             uint64
}

func newTable(limit int) table {
	return table{
		limit:   limit,
		index:   newIndex(),
		sources: make(map[Addr]uint32),
		source:  make([]source, 1),
		byCount: make([]uint32, 2),
		random:  0x9e3779b97f4a7c15, // any odd start; the same each time, so that replays agree
	}
}

func (t *table) at(i uint32) *conn { return &t.chunks[i>>chunkBits][i&(chunkSize-1)] }

// find returns the connection of k and its slot; nil when there is none.
func (t *table) find(k *key) (uint32, *conn) {
	hash, places := t.index.hash(k), t.index.places
	mask := uint32(len(places) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		p := places[i]
		if p.slot == 0 {
			return 0, nil
		}
		if p.hash != hash {
			continue
		}
		if c := t.at(p.slot); c.key == *k {
			return p.slot, c
		}
	}
}

// add takes a free slot for k. The caller has made room.
func (t *table) add(k *key) (uint32, *conn) {
	i := t.free
	if i != 0 {
		t.free = t.at(i).listNext
	} else {
		t.used++
		i = t.used
		if int(i>>chunkBits) >= len(t.chunks) {
			t.chunks = append(t.chunks, new([chunkSize]conn))
		}
	}
	c := t.at(i)
	*c = conn{key: *k, live: true}
	t.index.put(t.index.hash(k), i)
	t.live++
	return i, c
}

// remove gives the slot back. The caller has taken it off the wheel.
func (t *table) remove(i uint32) {
	c := t.at(i)
	t.unlist(i, c)
	t.index.drop(t.index.hash(&c.key), i)
	c.live = false
	c.listNext = t.free
	t.free = i
	t.live--
}

// victim names the connection to forget when the table is full: the one that
// tells the least, and never at the choice of whoever fills the table.
//
//  1. A closed one that only lingers, oldest first.
//  2. The oldest half-open one of the source that has most of them. A flood
//     from one address therefore evicts itself and leaves everybody else's
//     connections alone; with forged sources every source has one, and the
//     oldest goes.
//  3. When every connection is established both ways: the one of sixteen,
//     picked at random, that has been silent longest.
func (t *table) victim() uint32 {
	if t.doneHead != 0 {
		return t.doneHead
	}
	if t.most > 0 {
		return t.source[t.byCount[t.most]].head
	}
	var best uint32
	for range 16 {
		t.random ^= t.random << 13
		t.random ^= t.random >> 7
		t.random ^= t.random << 17
		hi, _ := bits.Mul64(t.random, uint64(t.used))
		if i := uint32(hi) + 1; t.at(i).live && (best == 0 || t.at(i).last < t.at(best).last) {
			best = i
		}
	}
	if best == 0 { // not reachable while full means that every slot is live
		best = 1
	}
	return best
}

// list puts a half-open connection at the end of its source's list.
func (t *table) list(i uint32, c *conn, addr *Addr) {
	s, ok := t.sources[*addr]
	if !ok {
		if s = t.freeSource; s != 0 {
			t.freeSource = t.source[s].next
		} else {
			s = uint32(len(t.source))
			t.source = append(t.source, source{})
		}
		t.source[s] = source{addr: *addr}
		t.sources[*addr] = s
	} else {
		t.unbucket(s)
	}
	src := &t.source[s]
	c.source, c.listPrev, c.listNext = s, src.tail, 0
	if src.tail != 0 {
		t.at(src.tail).listNext = i
	} else {
		src.head = i
	}
	src.tail = i
	src.count++
	t.bucket(s)
}

// finish puts a closed connection at the end of the list of those.
func (t *table) finish(i uint32, c *conn) {
	t.unlist(i, c)
	c.finished, c.listPrev, c.listNext = true, t.doneTail, 0
	if t.doneTail != 0 {
		t.at(t.doneTail).listNext = i
	} else {
		t.doneHead = i
	}
	t.doneTail = i
}

// unlist takes a connection out of the list that it is in, if any.
func (t *table) unlist(i uint32, c *conn) {
	head, tail := &t.doneHead, &t.doneTail
	s := c.source
	switch {
	case s != 0:
		t.unbucket(s)
		head, tail = &t.source[s].head, &t.source[s].tail
	case !c.finished:
		return
	}
	if c.listPrev != 0 {
		t.at(c.listPrev).listNext = c.listNext
	} else {
		*head = c.listNext
	}
	if c.listNext != 0 {
		t.at(c.listNext).listPrev = c.listPrev
	} else {
		*tail = c.listPrev
	}
	c.source, c.finished, c.listNext, c.listPrev = 0, false, 0, 0
	if s == 0 {
		return
	}
	if t.source[s].count--; t.source[s].count > 0 {
		t.bucket(s)
		return
	}
	delete(t.sources, t.source[s].addr)
	t.source[s].next = t.freeSource
	t.freeSource = s
}

// bucket and unbucket keep the sources ordered by count in constant time: a
// count moves by one, so the highest one does too.
func (t *table) bucket(s uint32) {
	n := int(t.source[s].count)
	for n >= len(t.byCount) {
		t.byCount = append(t.byCount, 0)
	}
	first := t.byCount[n]
	t.source[s].next, t.source[s].prev = first, 0
	if first != 0 {
		t.source[first].prev = s
	}
	t.byCount[n] = s
	t.most = max(t.most, n)
}

func (t *table) unbucket(s uint32) {
	src := &t.source[s]
	if src.prev != 0 {
		t.source[src.prev].next = src.next
	} else {
		t.byCount[src.count] = src.next
	}
	if src.next != 0 {
		t.source[src.next].prev = src.prev
	}
	for t.most > 0 && t.byCount[t.most] == 0 {
		t.most--
	}
}
