package flow

const (
	second = int64(1e9)

	// wheelSlots seconds fit on the wheel; a later deadline is looked at again
	// when the wheel has turned once.
	wheelSlots = 4096

	// A frame's time that lies this far behind the clock is taken for a step
	// of the clock when it happens stepAfter times in a row.
	stepBack  = 60 * second
	stepAfter = 16
)

// wheel is a hashed timing wheel (Varghese and Lauck 1987, scheme 6) with
// slots of one second. A packet moves nothing on it: it only changes the
// connection's last time, and the slot is corrected when it comes round.
type wheel struct {
	heads [wheelSlots]uint32
	sec   int64 // the last second that was swept
}

func floorSecond(ns int64) int64 {
	s := ns / second
	if ns%second < 0 {
		s--
	}
	return s
}

// schedule puts a connection where it will be looked at no later than one
// second after due.
func (t *Tracker) schedule(i uint32, c *conn, due int64) {
	t.unschedule(c)
	sec := min(max(floorSecond(due-1)+1, t.wheel.sec+1), t.wheel.sec+wheelSlots-1)
	slot := uint32(uint64(sec) % wheelSlots)
	c.wheelSlot = slot + 1
	c.wheelPrev, c.wheelNext = 0, t.wheel.heads[slot]
	if c.wheelNext != 0 {
		t.table.at(c.wheelNext).wheelPrev = i
	}
	t.wheel.heads[slot] = i
}

func (t *Tracker) unschedule(c *conn) {
	if c.wheelSlot == 0 {
		return
	}
	if c.wheelPrev != 0 {
		t.table.at(c.wheelPrev).wheelNext = c.wheelNext
	} else {
		t.wheel.heads[c.wheelSlot-1] = c.wheelNext
	}
	if c.wheelNext != 0 {
		t.table.at(c.wheelNext).wheelPrev = c.wheelPrev
	}
	c.wheelSlot = 0
}

// observe moves packet time to ns, sweeping and ticking on the way.
func (t *Tracker) observe(ns int64, emit func(Event)) {
	if !t.started {
		t.begin(ns)
		return
	}
	if ns >= t.now {
		t.now, t.behind = ns, 0
		if ns >= t.nextTick {
			t.pass(emit)
		}
		return
	}
	t.stats.Backwards++
	if t.now-ns < stepBack {
		t.behind = 0
		return
	}
	if t.behind++; t.behind >= stepAfter {
		t.stepTo(ns)
	}
}

func (t *Tracker) begin(ns int64) {
	t.started, t.now, t.firstTime = true, ns, ns
	t.setSecond(floorSecond(ns))
}

func (t *Tracker) setSecond(sec int64) {
	t.wheel.sec = sec
	t.nextTick = (sec + 1) * second
}

// pass sweeps every second up to now, each followed by its tick. A jump beyond
// the bound sweeps each slot once and ticks once.
func (t *Tracker) pass(emit func(Event)) {
	target := floorSecond(t.now)
	if target-t.wheel.sec > int64(t.cfg.MaxTicks) {
		from := t.wheel.sec
		t.wheel.sec = target
		for s := from + 1; s <= from+wheelSlots && s <= target; s++ {
			t.sweep(s, target*second, emit)
		}
		t.tick(target*second, emit)
	} else {
		for t.wheel.sec < target {
			t.wheel.sec++
			t.sweep(t.wheel.sec, t.wheel.sec*second, emit)
			t.tick(t.wheel.sec*second, emit)
		}
	}
	t.setSecond(target)
}

// sweep looks at the connections of one slot: those that are due at ns expire,
// the others are put where they belong by now.
func (t *Tracker) sweep(sec, ns int64, emit func(Event)) {
	slot := uint64(sec) % wheelSlots
	i := t.wheel.heads[slot]
	t.wheel.heads[slot] = 0
	for i != 0 {
		c := t.table.at(i)
		next := c.wheelNext
		c.wheelSlot = 0
		if due := t.due(c); due > ns {
			t.schedule(i, c, due)
		} else {
			t.expire(i, c, ns, emit)
		}
		i = next
	}
}

func (t *Tracker) tick(ns int64, emit func(Event)) {
	t.ev.tick.Meta = Meta{Time: utc(ns)}
	emit(&t.ev.tick)
}

// stepTo follows a clock that was set back. Every connection is as old as
// before at most.
func (t *Tracker) stepTo(ns int64) {
	t.now, t.behind, t.firstTime = ns, 0, min(t.firstTime, ns)
	t.setSecond(floorSecond(ns))
	clear(t.wheel.heads[:])
	for i := uint32(1); i <= t.table.used; i++ {
		c := t.table.at(i)
		if !c.live {
			continue
		}
		c.start, c.last = min(c.start, ns), min(c.last, ns)
		c.spoke, c.activity = min(c.spoke, ns), min(c.activity, ns+int64(ActivityEvery))
		c.wheelSlot = 0
		t.schedule(i, c, t.due(c))
	}
}

// due is when the connection's present state runs out.
func (t *Tracker) due(c *conn) int64 {
	switch c.state {
	case ConnAttempt:
		if !c.multicast { // nobody has to answer a multicast
			return c.start + int64(t.cfg.UnansweredAfter)
		}
	case ConnClosed:
		return c.last + int64(t.cfg.Linger)
	case ConnRefused, ConnUnanswered:
		if c.key.proto == ProtoTCP {
			return c.last + int64(retrySYN)
		}
	case ConnEstablished:
		if c.key.proto == ProtoTCP && !c.fin[0] && !c.fin[1] {
			return c.last + int64(t.cfg.TCPIdle)
		}
	}
	return c.last + int64(t.cfg.UDPIdle)
}

// expire ends what is due. Connections that failed were reported already and
// go in silence, unless packets came after that report.
func (t *Tracker) expire(i uint32, c *conn, ns int64, emit func(Event)) {
	if c.state == ConnAttempt && !c.multicast {
		t.late(c, ns)
		t.change(c, ConnUnanswered, emit)
		t.schedule(i, c, max(t.due(c), ns+1))
		return
	}
	t.forget(i, c, ns, emit)
}
