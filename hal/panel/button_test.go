package panel

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"sekisho/hal"
)

const ms = time.Millisecond

// script presses and releases at times since t0 and returns what came out.
func script(b *Button, edges ...time.Duration) []hal.Press {
	var out []hal.Press
	take := func(p hal.Press, ok bool) {
		if ok {
			out = append(out, p)
		}
	}
	take(b.Edge(now.Add(-time.Second), false))
	for i, e := range edges {
		take(b.Edge(now.Add(e), i%2 == 0))
		if i+1 == len(edges) || edges[i+1] >= e+Debounce {
			take(b.Advance(now.Add(e + Debounce)))
		}
	}
	return out
}

func TestGesturesByLengthOfHold(t *testing.T) {
	for _, c := range []struct {
		name    string
		held    time.Duration
		approve string
		want    []hal.Gesture
	}{
		{"a bounce is nothing", 10 * ms, "g", nil},
		{"a tap", 60 * ms, "", []hal.Gesture{hal.Short}},
		{"a firm press", 2900 * ms, "g", []hal.Gesture{hal.Short}},
		{"3 s approve what waits", 3100 * ms, "g", []hal.Gesture{hal.Hold3}},
		{"3 s with nothing to approve is a firm press", 3100 * ms, "", []hal.Gesture{hal.Short}},
		{"release in the countdown cancels", 6 * time.Second, "g", nil},
		{"8 s lock down", 8100 * ms, "", []hal.Gesture{hal.Hold8}},
		{"a stuck line is no press", 21 * time.Second, "g", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b Button
			b.Show(now.Add(-time.Minute), Shown{Target: "pc", Approve: c.approve})
			got := script(&b, 0, c.held)
			if len(got) != len(c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			for i, p := range got {
				target := "pc"
				if p.Gesture == hal.Hold3 {
					target = c.approve
				}
				if p.Gesture != c.want[i] || p.Target != target || !p.At.Equal(now) {
					t.Errorf("got %+v", p)
				}
			}
		})
	}
}

func TestPressCountsForWhatWasShownBeforeIt(t *testing.T) {
	for _, c := range []struct {
		name  string
		shows map[time.Duration]string
		want  string
	}{
		{"shown long ago", map[time.Duration]string{-5000 * ms: "a"}, "a"},
		{"appeared under the finger", map[time.Duration]string{-5000 * ms: "", -200 * ms: "b"}, ""},
		{"changed under the finger", map[time.Duration]string{-5000 * ms: "a", -299 * ms: "b"}, "a"},
		{"just old enough", map[time.Duration]string{-5000 * ms: "a", -300 * ms: "b"}, "b"},
		{"changed while held", map[time.Duration]string{-5000 * ms: "a", 50 * ms: "b"}, "a"},
		{"nothing was ever shown", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b Button
			for at := -5000 * ms; at <= 50*ms; at += ms {
				if target, ok := c.shows[at]; ok {
					b.Show(now.Add(at), Shown{Target: target})
				}
			}
			got := script(&b, 0, 100*ms)
			if len(got) != 1 || got[0].Target != c.want {
				t.Errorf("got %v, want one press for %q", got, c.want)
			}
		})
	}
}

func TestFlickeringScreenNeverGivesATarget(t *testing.T) {
	var b Button
	for i := range 10 * shownMax {
		b.Show(now.Add(-250*ms+time.Duration(i)*100*time.Microsecond), Shown{Target: string(rune('a' + i%26))})
	}
	if got := script(&b, 0, 100*ms); len(got) != 1 || got[0].Target != "" {
		t.Errorf("got %v, want a press without target", got)
	}
}

func TestLineDownAtTheStartIsAFaultAndNoPress(t *testing.T) {
	var b Button
	b.Show(now, Shown{Target: "pc"})
	b.Edge(now, true)
	b.Advance(now.Add(StuckAt))
	if !b.Stuck() || b.Hold(now.Add(StuckAt)).Phase != HoldStuck {
		t.Error("not reported as stuck")
	}
	b.Edge(now.Add(StuckAt+time.Second), false)
	if p, ok := b.Advance(now.Add(StuckAt + 2*time.Second)); ok {
		t.Errorf("a stuck line pressed: %v", p)
	}
	if b.Stuck() {
		t.Error("still stuck after the line came back")
	}
}

func TestTheFirstLookAtALineIsNoFault(t *testing.T) {
	for _, down := range []bool{false, true} {
		var b Button
		b.Edge(now, down)
		b.Advance(now.Add(Debounce / 2))
		if b.Stuck() {
			t.Errorf("down %v: a fault before anything could have chattered", down)
		}
	}
}

func TestChatteringLineIsAFaultAndNoPress(t *testing.T) {
	var b Button
	b.Edge(now, false)
	at := now.Add(time.Second)
	for i := range 2000 {
		if p, ok := b.Edge(at, i%2 == 0); ok {
			t.Fatalf("chatter pressed: %v", p)
		}
		at = at.Add(5 * ms)
	}
	if !b.Stuck() {
		t.Error("ten seconds of chatter are not reported")
	}
	b.Advance(at.Add(time.Second))
	if b.Stuck() {
		t.Error("still a fault after the line stood still")
	}
}

func TestHoldPhases(t *testing.T) {
	var b Button
	b.Show(now.Add(-time.Minute), Shown{Approve: "g"})
	b.Edge(now.Add(-time.Second), false)
	b.Edge(now, true)
	for _, c := range []struct {
		at   time.Duration
		want HoldPhase
	}{
		{time.Second, HoldNone}, {3 * time.Second, HoldApprove}, {5 * time.Second, HoldCountdown},
		{8 * time.Second, HoldArmed}, {20 * time.Second, HoldStuck},
	} {
		b.Advance(now.Add(c.at))
		if got := b.Hold(now.Add(c.at)); got.Phase != c.want || (c.want == HoldCountdown && got.Left != 3*time.Second) {
			t.Errorf("after %v: %+v, want phase %v", c.at, got, c.want)
		}
	}
}

// Any sequence of edges, pictures and pauses: one press is at most one
// gesture, no gesture without a press, and its target stood on the screen
// Reaction before the press.
func TestAnyEdges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Button
		at := now
		b.Edge(at, false)
		level, released := false, at
		var rises []time.Time
		var lastAt time.Time
		type show struct {
			at time.Time
			s  Shown
		}
		var shows []show
		check := func(p hal.Press, ok bool) {
			if !ok {
				return
			}
			if !p.At.After(lastAt) {
				t.Fatalf("two gestures for the press at %v", p.At)
			}
			lastAt = p.At
			found := false
			for _, r := range rises {
				found = found || r.Equal(p.At)
			}
			if !found {
				t.Fatalf("gesture without a press edge: %+v", p)
			}
			if held := released.Sub(p.At); held < Debounce || held >= StuckAt || (p.Gesture == hal.Hold8) != (held >= HoldLong) {
				t.Fatalf("gesture %v from a press of %v", p.Gesture, held)
			}
			seen := Shown{}
			for _, s := range shows {
				if !s.at.After(p.At.Add(-Reaction)) {
					seen = s.s
				}
			}
			named := seen.Target
			if p.Gesture == hal.Hold3 {
				named = seen.Approve
			}
			if p.Target != "" && p.Target != named || p.Gesture == hal.Hold3 && p.Target == "" {
				t.Fatalf("%v for %q, the screen named %q", p.Gesture, p.Target, named)
			}
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			gap := rapid.OneOf(rapid.Int64Range(0, 25), rapid.Int64Range(0, 400), rapid.Int64Range(0, 25000)).Draw(t, "gap")
			at = at.Add(time.Duration(gap) * ms)
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				// The reference sees a gesture complete before the next edge.
				check(b.Advance(at))
				level = !level
				check(b.Edge(at, level))
				if level {
					rises = append(rises, at)
				} else {
					released = at
				}
			case 2:
				s := Shown{rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "target"), rapid.SampledFrom([]string{"", "g", "h"}).Draw(t, "ask")}
				b.Show(at, s)
				shows = append(shows, show{at, s})
			default:
				check(b.Advance(at))
			}
		}
	})
}
