package panel

import (
	"time"

	"sekisho/hal"
)

// Times of the button. How long it is held counts from when the contact stands
// still to when it first opens again: never longer than the finger was there.
const (
	Debounce  = 20 * time.Millisecond // a level counts once it stood this long
	Reaction  = 300 * time.Millisecond
	HoldShow  = 700 * time.Millisecond  // from here the screen shows where holding on leads
	HoldShort = 3 * time.Second         // from here a release approves, if an approval is shown
	HoldCount = 4500 * time.Millisecond // from here the countdown runs; a release cancels
	HoldLong  = 8 * time.Second         // from here a release means lockdown
	StuckAt   = 20 * time.Second        // from here it is a fault and nothing else
	Storm     = 3 * time.Second         // a line that does not stand still for so long is a fault
)

// shownMax bounds the memory of what the screen named.
const shownMax = 32

// Deed is what a short press does.
type Deed uint8

// Deeds of a short press.
const (
	DeedNone Deed = iota
	DeedPage
	DeedIsolate
	DeedEndVendor
)

// Shown is what a press would act on at one moment, and the words for it.
type Shown struct {
	Target  string // hal.Status.Target, empty when a press turns the page
	Approve string // the request that the page asks to approve by a hold of 3 s; empty: none
	Deed    Deed
	Again   bool   // it asks a second time
	Name    string // of the device or the vendor whom the press concerns
}

// HoldPhase says how far a press in progress has come.
type HoldPhase uint8

// Phases of a press in progress.
const (
	HoldNone      HoldPhase = iota // not pressed, or not long enough to matter
	HoldLeads                      // nothing to approve: a release is a short press, holding on leads to the lockdown
	HoldAsking                     // on the way to approval
	HoldApprove                    // a release approves
	HoldCountdown                  // a release cancels
	HoldArmed                      // a release locks the office down
	HoldStuck                      // fault: the line does not come back
)

// Hold is what the screen shows over the page while the button is down.
type Hold struct {
	Phase HoldPhase
	Held  time.Duration // in steps of HoldStep
	Left  time.Duration // countdown: until a release means lockdown
	On    Shown         // what the press acts on, whatever the status says by now
}

// HoldStep is how finely a hold is told: what draws it need not follow faster.
const HoldStep = 100 * time.Millisecond

// Button turns raw edges into gestures. It is a pure state machine: time comes
// in with every call. Edges are told in their order; an edge that seems to be
// earlier than the one before counts as simultaneous. It is not safe for
// concurrent use.
//
// A gesture completes on release, so that one press can only ever be one
// gesture. A line that never comes back is a fault, and can neither isolate
// nor lock down. What a press acts on is what was on the screen Reaction
// before the first contact: nobody can have meant what appeared later, however
// long the contact bounced. How often Advance is called changes when a gesture
// is told, never which.
type Button struct {
	known  bool
	raw    bool      // last level of the line
	rawAt  time.Time // its last edge
	burst  time.Time // first edge since the line last stood still
	coming Shown     // what the screen named Reaction before the burst

	down   bool      // level that stood still
	downAt time.Time // first contact of the press in progress
	heldAt time.Time // since when its contact stands still
	live   bool      // it may still become a gesture
	on     Shown     // what it acts on

	shown  [shownMax]shownAt
	shownN int // how many of shown are used, oldest first
}

type shownAt struct {
	at time.Time
	s  Shown
}

// Show records that the screen names s from a time on, which may lie ahead.
func (b *Button) Show(at time.Time, s Shown) {
	if b.shownN > 0 {
		last := b.shown[b.shownN-1]
		if last.s == s {
			return
		}
		if at.Before(last.at) {
			at = last.at
		}
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
// earlier gesture, as Advance does. The first level only says how the line
// stands: down is a finger that was there before, or a fault, never a press.
func (b *Button) Edge(at time.Time, down bool) (hal.Press, bool) {
	if !b.known {
		b.known, b.raw, b.down = true, down, down
		b.rawAt, b.burst, b.heldAt = at.Add(-Debounce), at.Add(-Debounce), at
		return hal.Press{}, false
	}
	if at.Before(b.rawAt) {
		at = b.rawAt
	}
	p, ok := b.Advance(at)
	if down == b.raw {
		return p, ok
	}
	if b.still(at) {
		b.burst, b.coming = at, b.before(at.Add(-Reaction))
	}
	b.raw, b.rawAt = down, at
	if b.rawAt.Sub(b.burst) >= Storm {
		b.live = false // whatever this line says is not a person
	}
	return p, ok
}

// still says whether the line has stood long enough to be believed.
func (b *Button) still(at time.Time) bool { return at.Sub(b.rawAt) >= Debounce }

// Advance lets time pass. It returns a gesture when one is complete.
func (b *Button) Advance(at time.Time) (hal.Press, bool) {
	if !b.known || !b.still(at) || b.raw == b.down {
		return hal.Press{}, false
	}
	b.down = b.raw
	if b.down {
		b.downAt, b.heldAt, b.on = b.burst, b.rawAt, b.coming
		b.live = b.rawAt.Sub(b.burst) < Storm
		return hal.Press{}, false
	}
	return b.release()
}

// release ends the press in progress at the first edge that opened it.
func (b *Button) release() (hal.Press, bool) {
	held := b.burst.Sub(b.heldAt)
	if !b.live || held >= StuckAt {
		return hal.Press{}, false
	}
	p := hal.Press{Target: b.on.Target, At: b.downAt, Again: b.on.Again}
	switch {
	case held >= HoldLong:
		p.Gesture, p.Again = hal.Hold8, false
	case held >= HoldCount:
		return hal.Press{}, false // cancelled
	case held >= HoldShort && b.on.Approve != "":
		p.Gesture, p.Target, p.Again = hal.Hold3, b.on.Approve, false
	default:
		p.Gesture = hal.Short
	}
	return p, true
}

// Stuck says that at a time the line has been down, or has not stood still,
// for longer than a person would keep it so. It ends when the line is steadily
// up.
func (b *Button) Stuck(at time.Time) bool {
	return b.known && (b.down && b.held(at) >= StuckAt || !b.still(at) && at.Sub(b.burst) >= Storm)
}

// held is how long the contact of the press in progress has stood.
func (b *Button) held(at time.Time) time.Duration {
	if !b.still(at) { // it may be opening
		at = b.burst
	}
	return at.Sub(b.heldAt)
}

// Hold says what to show over the page at a time.
func (b *Button) Hold(at time.Time) Hold {
	if b.Stuck(at) {
		return Hold{Phase: HoldStuck}
	}
	if !b.down || !b.live {
		return Hold{}
	}
	held, asked := b.held(at), b.on.Approve != ""
	h := Hold{Held: held.Truncate(HoldStep), On: b.on}
	switch {
	case held < HoldShow:
		return Hold{}
	case held >= HoldLong:
		h.Phase = HoldArmed
	case held >= HoldCount:
		h.Phase, h.Left = HoldCountdown, HoldLong-h.Held
	case !asked:
		h.Phase = HoldLeads
	case held >= HoldShort:
		h.Phase = HoldApprove
	default:
		h.Phase = HoldAsking
	}
	return h
}
