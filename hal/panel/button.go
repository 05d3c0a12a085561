package panel

import (
	"time"

	"sekisho/hal"
)

// Times of the button, all measured from the edge that began the press.
const (
	Debounce  = 20 * time.Millisecond // a level counts once it stood this long
	Reaction  = 300 * time.Millisecond
	HoldShort = 3 * time.Second         // from here a release approves, if an approval is shown
	HoldCount = 4500 * time.Millisecond // from here the countdown runs; a release cancels
	HoldLong  = 8 * time.Second         // from here a release means lockdown
	StuckAt   = 20 * time.Second        // from here it is a fault and nothing else
)

// shownMax bounds the memory of what the screen named.
const shownMax = 32

// Shown is what a press would act on at one moment.
type Shown struct {
	Target  string // hal.Status.Target, empty when a press turns the page
	Approve string // the request that the page asks to approve by a hold of 3 s; empty: none
}

// HoldPhase says how far a press in progress has come.
type HoldPhase uint8

// Phases of a press in progress.
const (
	HoldNone      HoldPhase = iota // not pressed, or not long enough to matter
	HoldApprove                    // a release approves
	HoldCountdown                  // a release cancels
	HoldArmed                      // a release locks the office down
	HoldStuck                      // fault: the line does not come back
)

// Hold is what the screen shows over the page while the button is down.
type Hold struct {
	Phase HoldPhase
	Left  time.Duration // countdown: until armed
}

// Button turns raw edges into gestures. It is a pure state machine: time comes
// in with every call and must not run backwards. It is not safe for concurrent
// use.
//
// A gesture completes on release, so that one press can only ever be one
// gesture. A line that never comes back is a fault, and can neither isolate
// nor lock down. What a press acts on is what was on the screen Reaction
// before the press edge: nobody can have meant what appeared later.
type Button struct {
	raw     bool      // last raw level
	rawAt   time.Time // since when
	rawSet  bool
	down    bool      // debounced level
	downAt  time.Time // press edge of the press in progress
	live    bool      // the press in progress may still become a gesture
	chatter time.Time // since when the raw line has not stood still
	noisy   bool
	stuck   bool
	on      Shown // what the press in progress acts on
	shown   [shownMax]shownAt
	shownN  int // how many of shown are used, oldest first
}

type shownAt struct {
	at time.Time
	s  Shown
}

// Show records that the screen now names s.
func (b *Button) Show(at time.Time, s Shown) {
	if b.shownN > 0 && b.shown[b.shownN-1].s == s {
		return
	}
	if b.shownN == shownMax {
		copy(b.shown[:], b.shown[1:])
		b.shownN--
	}
	b.shown[b.shownN] = shownAt{at, s}
	b.shownN++
}

// before is what the screen named at a time; nothing when that is not known.
func (b *Button) before(at time.Time) Shown {
	for i := b.shownN - 1; i >= 0; i-- {
		if !b.shown[i].at.After(at) {
			return b.shown[i].s
		}
	}
	return Shown{}
}

// Edge takes a raw level of the line, true when pressed. It may complete an
// earlier gesture, as Advance does.
func (b *Button) Edge(at time.Time, down bool) (hal.Press, bool) {
	p, ok := b.Advance(at)
	if !b.rawSet {
		// Down at the first look: a stuck or held line, never a press.
		b.rawSet, b.raw, b.rawAt, b.chatter = true, down, at, at
		if down {
			b.down, b.downAt, b.live = true, at, false
		}
		return p, ok
	}
	if down == b.raw {
		return p, ok
	}
	if at.Sub(b.rawAt) >= Debounce {
		b.chatter = at
	}
	b.raw, b.rawAt = down, at
	return p, ok
}

// Advance lets time pass. It returns a gesture when one is complete.
func (b *Button) Advance(at time.Time) (hal.Press, bool) {
	if !b.rawSet {
		return hal.Press{}, false
	}
	steady := at.Sub(b.rawAt) >= Debounce
	b.noisy = !steady && at.Sub(b.chatter) >= HoldShort
	if b.noisy {
		b.live = false // whatever this line says is not a person
	}
	var p hal.Press
	var ok bool
	if steady && b.raw != b.down {
		if b.raw {
			b.down, b.downAt, b.live = true, b.rawAt, true
			b.on = b.before(b.rawAt.Add(-Reaction))
		} else {
			p, ok = b.release()
		}
	}
	if b.down && at.Sub(b.downAt) >= StuckAt {
		b.live, b.stuck = false, true
	}
	return p, ok
}

// release ends the press in progress at the last raw edge.
func (b *Button) release() (hal.Press, bool) {
	held := b.rawAt.Sub(b.downAt)
	live := b.live && held < StuckAt
	b.down, b.live, b.stuck = false, false, false
	if !live {
		return hal.Press{}, false
	}
	p := hal.Press{Target: b.on.Target, At: b.downAt}
	switch {
	case held >= HoldLong:
		p.Gesture = hal.Hold8
	case held >= HoldCount:
		return hal.Press{}, false // cancelled
	case held >= HoldShort && b.on.Approve != "":
		p.Gesture, p.Target = hal.Hold3, b.on.Approve
	default:
		p.Gesture = hal.Short
	}
	return p, true
}

// Stuck says that the line has been down, or has not stood still, for longer
// than a person would keep it so. It ends when the line is steadily up.
func (b *Button) Stuck() bool { return b.stuck || b.noisy }

// Hold says what to show over the page at a time.
func (b *Button) Hold(at time.Time) Hold {
	if b.Stuck() {
		return Hold{Phase: HoldStuck}
	}
	if !b.down || !b.live {
		return Hold{}
	}
	held := at.Sub(b.downAt)
	switch {
	case held >= HoldLong:
		return Hold{Phase: HoldArmed}
	case held >= HoldCount:
		return Hold{Phase: HoldCountdown, Left: HoldLong - held}
	case held >= HoldShort && b.on.Approve != "":
		return Hold{Phase: HoldApprove}
	}
	return Hold{}
}
