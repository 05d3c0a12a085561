package evidence

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"time"

	"sekisho/firmware/capture"
)

// What is noted in the stream besides packets: frames that are missing from
// it, as statistics blocks, and jumps of the clock, as custom blocks.
const (
	// padNumber is the enterprise number for documentation (RFC 5612). Custom
	// blocks with it that fill pages up hold zeros or nothing, those that say
	// something hold a JSON object.
	padNumber = 32473
	padBlock  = 16 // shortest custom block

	maxJumps = 4    // in one buffer
	noteRoom = 1024 // more than 2 statistics blocks and maxJumps jumps
)

// clockStep is how far a clock may be off before it has jumped: the step
// threshold of NTP (RFC 5905, appendix A.1.1, STEPT), below which a clock is
// slewed. Slewing moves the monotonic clock, too, so that the two compared here
// part by steps alone, however long the time between two looks; and no frame
// stays in the capture ring for so long, so that frames further back than
// this were not merely read out of order.
const clockStep = 128 * time.Millisecond

// Kinds of ClockJump.
const (
	jumpClock   = "clock"   // the wall clock left the monotonic one
	jumpPackets = "packets" // the time of packets went back, the wall clock's did not
)

// ClockJump is a place in the stream beyond which times are not comparable
// with those before it.
type ClockJump struct {
	Kind   string    `json:"kind"`   // "clock": the system's clock was set; "packets": packet times went back
	Before time.Time `json:"before"` // clock: what it would have shown; packets: the newest packet so far
	After  time.Time `json:"after"`  // clock: what it showed; packets: the one that came next
	At     time.Time `json:"at"`     // by the system's clock, when it was noticed
}

func (j ClockJump) span() span {
	s := noTime()
	for _, t := range []time.Time{j.Before, j.After, j.At} {
		s.include(t.UnixNano())
	}
	return s
}

// gap is a number of frames missing between two times, ns.
type gap struct {
	times  span
	frames uint64
}

func (g *gap) add(from, to int64, frames uint64) {
	if frames == 0 {
		return
	}
	if g.frames == 0 {
		g.times = noTime()
	}
	g.times.join(span{min(from, to), max(from, to)})
	g.frames += frames
}

// notes are what is to be noted at the next place in the stream.
type notes struct {
	spool, kernel gap // by whom frames were dropped
	jumps         []ClockJump
}

func (n *notes) empty() bool { return n.spool.frames == 0 && n.kernel.frames == 0 && len(n.jumps) == 0 }

// jump remembers j. When there are too many, the last one leads on to where j
// leads.
func (n *notes) jump(j ClockJump) {
	if len(n.jumps) < maxJumps {
		n.jumps = append(n.jumps, j)
		return
	}
	last := &n.jumps[maxJumps-1]
	last.After, last.At = j.After, j.At
}

// add takes over what other has.
func (n *notes) add(other *notes) {
	n.spool.add(other.spool.times.first, other.spool.times.last, other.spool.frames)
	n.kernel.add(other.kernel.times.first, other.kernel.times.last, other.kernel.frames)
	for _, j := range other.jumps {
		n.jump(j)
	}
}

// append encodes the notes as blocks of interface 0.
func (n *notes) append(b []byte) []byte {
	if g := n.spool; g.frames > 0 {
		b = capture.AppendISB(b, 0, g.times.last, capture.Counters{Start: g.times.first, End: g.times.last, Dropped: g.frames})
	}
	if g := n.kernel; g.frames > 0 {
		b = capture.AppendISB(b, 0, g.times.last, capture.Counters{Start: g.times.first, End: g.times.last, OSDropped: g.frames})
	}
	for _, j := range n.jumps {
		text, err := json.Marshal(j)
		if err != nil { // a year beyond 9999: no clock shows one
			continue
		}
		b = capture.AppendCustom(b, padNumber, text)
	}
	return b
}

// noteIn tells whether a block is a note, and of which span of time.
func noteIn(kind uint32, block []byte) (span, bool) {
	if kind == kindISB {
		g, _, ok := gapIn(block)
		return g.times, ok
	}
	j, ok := jumpIn(block)
	return j.span(), ok
}

// jumpIn reads a custom block that records a jump of the clock.
func jumpIn(block []byte) (ClockJump, bool) {
	if len(block) < padBlock || binary.LittleEndian.Uint32(block[8:]) != padNumber {
		return ClockJump{}, false
	}
	text := bytes.TrimRight(block[12:len(block)-4], "\x00")
	if len(text) == 0 || text[0] != '{' {
		return ClockJump{}, false
	}
	var j ClockJump
	err := json.Unmarshal(text, &j)
	return j, err == nil && (j.Kind == jumpClock || j.Kind == jumpPackets)
}

// gapIn reads a statistics block that records missing frames, and by whom they
// were dropped.
func gapIn(block []byte) (g gap, where string, ok bool) {
	le := binary.LittleEndian
	if len(block) < 24 {
		return gap{}, "", false
	}
	time := func(b []byte) int64 { return int64(uint64(le.Uint32(b))<<32 | uint64(le.Uint32(b[4:]))) }
	opts := block[20 : len(block)-4]
	var spool, kernel uint64
	for len(opts) >= 4 {
		code, n := le.Uint16(opts), int(le.Uint16(opts[2:]))
		opts = opts[4:]
		if n > len(opts) {
			break
		}
		if n == 8 {
			switch code {
			case 2:
				g.times.first = time(opts)
			case 3:
				g.times.last = time(opts)
			case 5: // isb_ifdrop
				spool = le.Uint64(opts)
			case 7: // isb_osdrop
				kernel = le.Uint64(opts)
			}
		}
		opts = opts[min((n+3)&^3, len(opts)):]
	}
	if g.frames, where = spool, GapSpool; kernel > 0 {
		g.frames, where = kernel, GapKernel
	}
	return g, where, g.frames > 0
}
