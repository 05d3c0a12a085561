package flow

// fragmentSlots is how many fragmented packets are remembered at a time. More
// in flight at once are counted to no connection, which is all that is lost.
const fragmentSlots = 256

// fragment remembers which connection the first fragment of a packet belonged
// to. Fragments are not put together (the ports stand in the first one, and
// nobody reads deeper into it): a later one has no ports to be read, and its
// first bytes are never taken for any.
type fragment struct {
	src, dst Addr
	id       uint32
	proto    uint8
	dir      uint8
	slot     uint32
	conn     uint64 // id, since the slot may hold another connection by then
}

func (h *Header) fragmentSlot() uint32 {
	x := h.FragID ^ uint32(h.Src[15])<<24 ^ uint32(h.Dst[15])<<16 ^ h.FragID>>16
	return (x ^ x>>8) % fragmentSlots
}

func (t *Tracker) firstFragment(i uint32, c *conn, dir int) {
	h := &t.hdr
	t.fragments[h.fragmentSlot()] = fragment{
		src: h.Src, dst: h.Dst, id: h.FragID, proto: h.Proto, dir: uint8(dir), slot: i, conn: c.id,
	}
}

// laterFragment counts a fragment to the connection of its first one.
func (t *Tracker) laterFragment() {
	h := &t.hdr
	f := &t.fragments[h.fragmentSlot()]
	if f.conn != 0 && f.id == h.FragID && f.proto == h.Proto && f.src == h.Src && f.dst == h.Dst {
		if c := t.table.at(f.slot); c.live && c.id == f.conn && c.state != ConnClosed {
			t.count(f.slot, c, int(f.dir))
			return
		}
	}
	t.stats.Fragments++
}
