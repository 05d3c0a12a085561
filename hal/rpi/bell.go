package rpi

import (
	"time"

	"sekisho/hal"
	"sekisho/hal/face"
	"sekisho/hal/panel"
)

// chime is how long the buzzer sounds, is silent, sounds, and so on.
type chime []time.Duration

const ms = time.Millisecond

// What the buzzer says. Nothing is longer than it has to be to be noticed: people
// work beside it.
var (
	clicked = chime{20 * ms}                                          // the button's gesture was taken
	stepped = chime{40 * ms}                                          // a hold means something else from here on
	armed   = chime{400 * ms}                                         // letting go cuts the office off
	calls   = chime{120 * ms, 120 * ms, 120 * ms}                     // somebody is asked
	alarms  = chime{120 * ms, 120 * ms, 120 * ms, 120 * ms, 120 * ms} // somebody has to pull a cable
)

// Times between two calls: for the same thing, and for another one. A worm makes
// many suspects.
const (
	callAgain = 10 * time.Minute
	callNew   = time.Minute
)

// bell decides when the buzzer sounds. At night it calls nobody, and does so in the
// morning; to a finger it always answers.
type bell struct {
	mute    bool
	playing chime
	began   time.Time
	taken   uint64
	hold    panel.Hold
	about   matter
	called  time.Time // zero: not yet
	owed    bool      // a call for about has not been made
}

// matter is what a call is about.
type matter struct {
	state  hal.State
	target string
}

// at says whether the buzzer sounds at a moment, and how long it stays so.
func (b *bell) at(now time.Time, look face.Look, night bool) (bool, time.Duration) {
	if c := b.answer(look); c != nil {
		b.playing, b.began = c, now
	} else if c := b.call(now, look.Status, night); c != nil {
		b.playing, b.began = c, now
	}
	if b.mute {
		b.playing = nil
	}
	t := now.Sub(b.began)
	for i, d := range b.playing {
		if t < d {
			return i%2 == 0, d - t
		}
		t -= d
	}
	b.playing = nil
	return false, time.Hour
}

// answer is what a finger hears.
func (b *bell) answer(look face.Look) chime {
	taken, before := b.taken, b.hold
	b.taken, b.hold = look.Taken, look.Hold
	switch {
	case look.Taken != taken:
		return clicked
	case look.Hold.Phase == before.Phase && look.Hold.Left/time.Second == before.Left/time.Second:
	case look.Hold.Phase == panel.HoldArmed:
		return armed
	case look.Hold.Phase == panel.HoldApprove, look.Hold.Phase == panel.HoldCountdown:
		return stepped
	}
	return nil
}

// call is what everybody hears.
func (b *bell) call(now time.Time, s hal.Status, night bool) chime {
	c := calls
	switch {
	case s.State == hal.NotIsolated && !s.BestEffort:
		c = alarms
	case s.State != hal.Attention:
		b.about, b.owed = matter{}, false
		return nil
	}
	if about := (matter{s.State, s.Target}); about != b.about {
		b.about, b.owed = about, true
	}
	since := now.Sub(b.called)
	if night || !b.called.IsZero() && since < callAgain && (!b.owed || since < callNew) {
		return nil
	}
	b.called, b.owed = now, false
	return c
}
