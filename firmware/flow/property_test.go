package flow

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

// auditor checks what holds for the events of any frame sequence.
type auditor struct {
	fail   func(format string, args ...any)
	states map[uint64]ConnState
	closed map[uint64]bool
	last   int64
}

func newAuditor(fail func(string, ...any)) *auditor {
	return &auditor{fail: fail, states: map[uint64]ConnState{}, closed: map[uint64]bool{}}
}

func (a *auditor) emit(ev Event) {
	ns := ev.Head().Time.UnixNano()
	if ns < a.last {
		a.fail("%T at %d after one at %d", ev, ns, a.last)
	}
	a.last = ns
	e, ok := ev.(*Conn)
	if !ok {
		return
	}
	prev, known := a.states[e.ID]
	switch {
	case !known && e.State != ConnAttempt && !(e.MidStream && e.State == ConnEstablished):
		a.fail("connection %d begins with %v", e.ID, e.State)
	case !known && e.Prev != e.State:
		a.fail("connection %d begins with a state before: %v", e.ID, e.Prev)
	case known && (e.State <= prev || e.Prev != prev):
		a.fail("connection %d goes from %v (said %v) to %v", e.ID, prev, e.Prev, e.State)
	case a.closed[e.ID]:
		a.fail("connection %d goes on after its end", e.ID)
	}
	if !e.Client.IsValid() || !e.Server.IsValid() {
		a.fail("connection %d without addresses", e.ID)
	}
	a.states[e.ID] = e.State
	a.closed[e.ID] = e.State == ConnClosed
}

// check looks at the table's own bookkeeping.
func (a *auditor) check(t *Tracker) {
	tab := &t.table
	if tab.live > t.cfg.MaxConns || tab.index.used != tab.live {
		a.fail("%d connections live, %d in the index, limit %d", tab.live, tab.index.used, t.cfg.MaxConns)
	}
	halfOpen, most := 0, 0
	for _, s := range tab.sources {
		halfOpen += int(tab.source[s].count)
		most = max(most, int(tab.source[s].count))
	}
	if most != tab.most {
		a.fail("the most of a source is %d, kept as %d", most, tab.most)
	}
	onWheel, listed := 0, 0
	for i := uint32(1); i <= tab.used; i++ {
		if c := tab.at(i); c.live {
			if c.wheelSlot != 0 {
				onWheel++
			}
			if c.source != 0 {
				listed++
			}
		}
	}
	if onWheel != tab.live || listed != halfOpen {
		a.fail("%d of %d on the wheel; %d half-open, %d listed", onWheel, tab.live, halfOpen, listed)
	}
}

func TestAnyFrameSequenceKeepsTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 12).Draw(t, "limit")
		track := New(Config{MaxConns: limit})
		a := newAuditor(t.Errorf)
		now := int64(1e9)
		for range rapid.IntRange(1, 300).Draw(t, "frames") {
			now += rapid.SampledFrom([]int64{0, 1e6, 9e8, 4e9, 2e11}).Draw(t, "step")
			host := func(l string) netip.Addr {
				return netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 4).Draw(t, l))})
			}
			ip := flowtest.IP{Src: host("src"), Dst: host("dst"), Proto: rapid.SampledFrom([]uint8{6, 6, 6, 17}).Draw(t, "proto")}
			sp, dp := uint16(rapid.IntRange(1, 3).Draw(t, "sp")), uint16(rapid.IntRange(1, 3).Draw(t, "dp"))
			body := flowtest.UDP(sp, dp, nil)
			if ip.Proto == 6 {
				body = flowtest.Segment{
					SrcPort: sp, DstPort: dp, Flags: rapid.SampledFrom([]uint8{2, 18, 16, 17, 4, 20, 1, 0}).Draw(t, "flags"),
					Seq: uint32(rapid.IntRange(0, 3).Draw(t, "seq")),
				}.Bytes(nil)
			}
			b := ether.Frame(0x0800, ip.Packet(body))
			track.Frame(&capture.Frame{Time: now, Data: b, OrigLen: len(b), Link: capture.LinkEthernet}, a.emit)
			a.check(track)
		}
		track.Flush(a.emit)
		a.check(track)
		if track.table.live != 0 {
			t.Errorf("%d connections after Flush", track.table.live)
		}
	})
}

// flood sends one SYN from src, port by port.
func flood(track *Tracker, src netip.Addr, n int, now *int64, emit func(Event)) {
	for i := range n {
		*now += 1000
		ip := flowtest.IP{Src: src, Dst: netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), Proto: 6}
		b := ether.Frame(0x0800, ip.Packet(flowtest.Segment{SrcPort: 1, DstPort: 445, Flags: FlagSYN}.Bytes(nil)))
		track.Frame(&capture.Frame{Time: *now, Data: b, OrigLen: len(b), Link: capture.LinkEthernet}, emit)
	}
}

func TestAFloodEvictsItselfAndHidesNothing(t *testing.T) {
	track := New(Config{MaxConns: 100})
	now := int64(1e9)
	outcome := map[netip.Addr]int{}
	emit := func(ev Event) {
		if c, ok := ev.(*Conn); ok && c.State == ConnUnanswered {
			outcome[c.Client.Addr()]++
		}
	}
	quiet, loud := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	flood(track, quiet, 20, &now, emit)
	flood(track, loud, 1000, &now, emit)
	if outcome[quiet] != 0 {
		t.Errorf("the flood pushed out %d attempts of a quiet host", outcome[quiet])
	}
	if outcome[loud] != 920 {
		t.Errorf("%d outcomes of the flood were reported, want 920", outcome[loud])
	}
	if s := track.Stats(); s.Evicted != 920 || s.Live != 100 {
		t.Errorf("evicted %d, live %d", s.Evicted, s.Live)
	}
	track.Advance(now+4*second, emit)
	if outcome[quiet] != 20 || outcome[loud] != 1000 {
		t.Errorf("outcomes at last %v, want 20 and 1000", outcome)
	}
}

func TestAFloodLeavesEstablishedConnectionsAlone(t *testing.T) {
	k := newTalker(22)
	k.track.cfg.MaxConns, k.track.table.limit = 50, 50
	now := k.now
	closed := 0
	flood(k.track, hostA, 5000, &now, func(ev Event) {
		if c, ok := ev.(*Conn); ok && c.State == ConnClosed {
			closed++
		}
	})
	if c := k.track.table.at(1); closed != 0 || !c.live || c.state != ConnEstablished {
		t.Errorf("closed %d; the connection is live %v, %v", closed, c.live, c.state)
	}
}

func TestATableFullOfEstablishedConnectionsStaysBounded(t *testing.T) {
	track := New(Config{MaxConns: 64})
	a := newAuditor(t.Errorf)
	for port := range uint16(1000) {
		for dir, flags := range []uint8{FlagSYN, FlagSYN | FlagACK} {
			ip := flowtest.IP{Src: hostA, Dst: hostB, Proto: 6}
			s := flowtest.Segment{SrcPort: 2000 + port, DstPort: 22, Flags: flags}
			if dir == 1 {
				ip.Src, ip.Dst, s.SrcPort, s.DstPort = hostB, hostA, 22, 2000+port
			}
			b := ether.Frame(0x0800, ip.Packet(s.Bytes(nil)))
			track.Frame(&capture.Frame{Time: int64(port), Data: b, OrigLen: len(b), Link: capture.LinkEthernet}, a.emit)
		}
		a.check(track)
	}
	if s := track.Stats(); s.Live != 64 || s.Evicted != 1000-64 {
		t.Errorf("live %d, evicted %d", s.Live, s.Evicted)
	}
}

func TestTwoReplaysGiveTheSameEvents(t *testing.T) {
	run := func() (seen []string) {
		k := &talker{track: New(Config{MaxConns: 300})}
		for _, f := range flowtest.Mix(20_000, 5) {
			k.track.Frame(&f, func(ev Event) {
				if c, ok := ev.(*Conn); ok {
					seen = append(seen, c.State.String()+c.Client.String()+c.Server.String())
				}
			})
		}
		return seen
	}
	x, y := run(), run()
	if len(x) < 1000 || len(x) != len(y) {
		t.Fatalf("%d and %d events", len(x), len(y))
	}
	for i := range x {
		if x[i] != y[i] {
			t.Fatalf("event %d: %s, then %s", i, x[i], y[i])
		}
	}
}

func TestTheClockMayBeSetBack(t *testing.T) {
	k := newTalker(22)
	frame := func(ns int64) {
		k.now = ns - 1e6
		k.udp(9, 9, nil)
	}
	frame(1000 * second)
	frame(500 * second) // one frame from long ago is disorder
	if k.track.now != 1000*second {
		t.Fatalf("now is %d", k.track.now)
	}
	for range stepAfter {
		frame(500 * second)
	}
	if k.track.now != 500*second {
		t.Fatalf("after %d frames of the past, now is still %d", stepAfter, k.track.now)
	}
	ticks := 0
	k.track.Advance(505*second, func(ev Event) {
		if _, ok := ev.(*Tick); ok {
			ticks++
		}
	})
	if ticks != 5 {
		t.Errorf("%d ticks in the five seconds after, want 5", ticks)
	}
}

func TestALargeJumpIsOneTick(t *testing.T) {
	k := newTalker(22)
	var ticks []int64
	k.track.Advance(1e6*second, func(ev Event) {
		if _, ok := ev.(*Tick); ok {
			ticks = append(ticks, ev.Head().Time.Unix())
		}
	})
	if len(ticks) != 1 || ticks[0] != 1e6 || k.track.Stats().Live != 0 {
		t.Errorf("ticks at %v, %d connections left", ticks, k.track.Stats().Live)
	}
}
