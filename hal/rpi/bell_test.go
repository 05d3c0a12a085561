package rpi

import (
	"testing"
	"time"

	"sekisho/hal"
	"sekisho/hal/face"
	"sekisho/hal/panel"
)

// heard plays a scene in steps of 10 ms and returns how long the buzzer sounds and
// how often, up to an end.
func heard(b *bell, from, to time.Duration, scene func(t time.Duration) (face.Look, bool)) (total time.Duration, beeps int) {
	const step = 10 * time.Millisecond
	was := false
	for t := from; t < to; t += step {
		look, night := scene(t)
		on, left := b.at(time.Unix(1000, 0).Add(t), look, night)
		if left <= 0 {
			panic("no time left")
		}
		if on {
			total += step
			if !was {
				beeps++
			}
		}
		was = on
	}
	return total, beeps
}

func asks(target string) face.Look {
	return face.Look{Status: hal.Status{State: hal.Attention, Target: target}}
}

func always(l face.Look, night bool) func(time.Duration) (face.Look, bool) {
	return func(time.Duration) (face.Look, bool) { return l, night }
}

func TestACallIsHeardOnceAndThenRarely(t *testing.T) {
	b := &bell{}
	if total, beeps := heard(b, 0, callAgain, always(asks("a"), false)); beeps != 2 || total > time.Second {
		t.Errorf("first: %d beeps, %v", beeps, total)
	}
	if _, beeps := heard(b, callAgain, 2*callAgain, always(asks("a"), false)); beeps != 2 {
		t.Errorf("again: %d beeps", beeps)
	}
}

func TestManySuspectsDoNotMakeTheBuzzerCallAllTheTime(t *testing.T) {
	b := &bell{}
	_, beeps := heard(b, 0, 5*time.Minute, func(t time.Duration) (face.Look, bool) {
		return asks(time.Duration(t / time.Second).String()), false // another one each second
	})
	if beeps != 2*5 {
		t.Errorf("%d beeps in five minutes", beeps)
	}
}

func TestACallThatFellIntoTheNightIsMadeInTheMorning(t *testing.T) {
	b := &bell{}
	if total, _ := heard(b, 0, time.Hour, always(asks("a"), true)); total != 0 {
		t.Errorf("%v at night", total)
	}
	if _, beeps := heard(b, time.Hour, time.Hour+time.Minute, always(asks("a"), false)); beeps != 2 {
		t.Errorf("%d beeps in the morning", beeps)
	}
}

func TestWhatNobodyHasToActOnIsSilent(t *testing.T) {
	for s := hal.Normal; s <= hal.VendorConnected; s++ {
		_, beeps := heard(&bell{}, 0, time.Minute, always(face.Look{Status: hal.Status{State: s}}, false))
		if want := map[hal.State]int{hal.Attention: 2, hal.NotIsolated: 3}[s]; beeps != want {
			t.Errorf("state %d: %d beeps, want %d", s, beeps, want)
		}
	}
	best := face.Look{Status: hal.Status{State: hal.NotIsolated, BestEffort: true}}
	if _, beeps := heard(&bell{}, 0, time.Minute, always(best, false)); beeps != 0 {
		t.Errorf("in force, only not proven: %d beeps", beeps)
	}
}

func TestAFingerIsAnsweredAtNightToo(t *testing.T) {
	b := &bell{}
	look := face.Look{}
	heard(b, 0, time.Second, always(look, true))
	look.Taken = 1
	if total, beeps := heard(b, time.Second, 2*time.Second, always(look, true)); beeps != 1 || total != clicked[0] {
		t.Errorf("a press: %d beeps, %v", beeps, total)
	}
}

func TestAHoldIsCountedDownAloud(t *testing.T) {
	_, beeps := heard(&bell{}, 0, panel.HoldLong+time.Second, func(t time.Duration) (face.Look, bool) {
		switch {
		case t >= panel.HoldLong:
			return face.Look{Hold: panel.Hold{Phase: panel.HoldArmed}}, false
		case t >= panel.HoldCount:
			return face.Look{Hold: panel.Hold{Phase: panel.HoldCountdown, Left: panel.HoldLong - t}}, false
		}
		return face.Look{}, false
	})
	if beeps != 5 { // 3.5 s left, then 2, 1 and 0 whole ones, then armed
		t.Errorf("%d beeps", beeps)
	}
}

func TestAMutedBuzzerIsSilent(t *testing.T) {
	b := &bell{mute: true}
	look := asks("a")
	look.Taken = 1
	if total, _ := heard(b, 0, time.Minute, always(look, false)); total != 0 {
		t.Errorf("%v of sound", total)
	}
}
