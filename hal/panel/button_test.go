package panel

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sekisho/hal"
)

const ms = time.Millisecond

// script presses and releases at times since now and returns what came out.
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
	}
	take(b.Advance(now.Add(edges[len(edges)-1] + Debounce)))
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
	type show struct {
		at     time.Duration
		target string
	}
	tap := []time.Duration{0, 100 * ms}
	for _, c := range []struct {
		name  string
		shows []show
		edges []time.Duration
		want  string
	}{
		{"shown long ago", []show{{-5000 * ms, "a"}}, tap, "a"},
		{"appeared under the finger", []show{{-5000 * ms, ""}, {-200 * ms, "b"}}, tap, ""},
		{"changed under the finger", []show{{-5000 * ms, "a"}, {-299 * ms, "b"}}, tap, "a"},
		{"just old enough", []show{{-5000 * ms, "a"}, {-300 * ms, "b"}}, tap, "b"},
		{"changed while held", []show{{-5000 * ms, "a"}, {50 * ms, "b"}}, tap, "a"},
		{"nothing was ever shown", nil, tap, ""},
		{"changed while the contact bounced", []show{{-5000 * ms, "a"}, {100 * ms, "b"}},
			[]time.Duration{0, 15 * ms, 30 * ms, 45 * ms, 60 * ms, 75 * ms, 90 * ms, 105 * ms, 120 * ms, 135 * ms, 150 * ms, 165 * ms, 180 * ms, 195 * ms,
				210 * ms, 225 * ms, 240 * ms, 255 * ms, 270 * ms, 285 * ms, 300 * ms, 315 * ms, 330 * ms, 345 * ms, 360 * ms, 375 * ms, 390 * ms, 405 * ms, 420 * ms, 600 * ms}, "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b Button
			for _, s := range c.shows {
				b.Show(now.Add(s.at), Shown{Target: s.target})
			}
			got := script(&b, c.edges...)
			if len(got) != 1 || got[0].Target != c.want {
				t.Errorf("got %v, want one press for %q", got, c.want)
			}
		})
	}
}

func TestAPressAnswersTheSecondQuestionOnlyWhenItWasSeen(t *testing.T) {
	for _, c := range []struct {
		ago, held time.Duration
		want      bool
	}{{299 * ms, 60 * ms, false}, {300 * ms, 60 * ms, true}, {5 * time.Second, HoldLong, false}} {
		var b Button
		s := status(hal.Attention, "en")
		b.Show(now.Add(-time.Minute), Shows(s))
		s.AskedUntil = now.Add(time.Minute)
		b.Show(now.Add(-c.ago), Shows(s))
		if got := script(&b, 0, c.held); len(got) != 1 || got[0].Again != c.want {
			t.Errorf("asked %v before: %+v", c.ago, got)
		}
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
	if b.Stuck(now.Add(StuckAt - 1)) {
		t.Error("a finger that is still there is reported as stuck")
	}
	if !b.Stuck(now.Add(StuckAt)) || b.Hold(now.Add(StuckAt)).Phase != HoldStuck {
		t.Error("not reported as stuck")
	}
	b.Edge(now.Add(StuckAt+time.Second), false)
	if p, ok := b.Advance(now.Add(StuckAt + 2*time.Second)); ok {
		t.Errorf("a stuck line pressed: %v", p)
	}
	if b.Stuck(now.Add(StuckAt + 2*time.Second)) {
		t.Error("still stuck after the line came back")
	}
}

func TestTheFirstLookAtALineIsNoFault(t *testing.T) {
	for _, down := range []bool{false, true} {
		var b Button
		b.Edge(now, down)
		b.Advance(now.Add(Debounce / 2))
		if b.Stuck(now.Add(Debounce / 2)) {
			t.Errorf("down %v: a fault before anything could have chattered", down)
		}
	}
}

func TestChatteringLineIsAFaultAndNoPress(t *testing.T) {
	var b Button
	b.Edge(now, false)
	at := now.Add(time.Second)
	for i := range 2001 { // ends down
		if p, ok := b.Edge(at, i%2 == 0); ok {
			t.Fatalf("chatter pressed: %v", p)
		}
		if storm := at.Sub(now.Add(time.Second)) >= Storm; b.Stuck(at) != storm {
			t.Fatalf("after %v: stuck %v", at.Sub(now), b.Stuck(at))
		}
		at = at.Add(5 * ms)
	}
	b.Advance(at.Add(time.Second))
	if b.Stuck(at.Add(time.Second)) {
		t.Error("still a fault after the line stood still")
	}
	b.Edge(at.Add(2*time.Second), false)
	if p, ok := b.Advance(at.Add(3 * time.Second)); ok {
		t.Errorf("what the storm left behind pressed: %v", p)
	}
}

func TestHoldSaysWhereHoldingOnLeads(t *testing.T) {
	for _, c := range []struct {
		approve string
		want    map[time.Duration]HoldPhase
	}{
		{"g", map[time.Duration]HoldPhase{699 * ms: HoldNone, 700 * ms: HoldAsking, 3 * time.Second: HoldApprove,
			4500 * ms: HoldCountdown, 8 * time.Second: HoldArmed, 20 * time.Second: HoldStuck}},
		{"", map[time.Duration]HoldPhase{699 * ms: HoldNone, 700 * ms: HoldLeads, 3 * time.Second: HoldLeads,
			4500 * ms: HoldCountdown, 8 * time.Second: HoldArmed, 20 * time.Second: HoldStuck}},
	} {
		var b Button
		on := Shown{Approve: c.approve, Name: "Aoba IT"}
		b.Show(now.Add(-time.Minute), on)
		b.Edge(now.Add(-time.Second), false)
		b.Edge(now, true)
		b.Show(now.Add(500*ms), Shown{Target: "appeared meanwhile"})
		b.Advance(now.Add(Debounce))
		for at, phase := range c.want {
			want := Hold{Phase: phase, Held: at, On: on}
			if phase == HoldNone || phase == HoldStuck {
				want = Hold{Phase: phase}
			}
			if phase == HoldCountdown {
				want.Left = HoldLong - at
			}
			if got := b.Hold(now.Add(at)); got != want {
				t.Errorf("approve %q, after %v: %+v, want %+v", c.approve, at, got, want)
			}
		}
	}
}

// event is what happens to a button: an edge, or a change of the screen.
type event struct {
	at   time.Time
	down bool
	show *Shown
}

// meant is the specification, written as one look back at the whole story:
// which presses the edges make, when they are known up to end. The first level is
// how the line stands; edges less than Debounce apart are one burst, and only
// where the line stands after it counts.
func meant(events []event, end time.Time) []hal.Press {
	type burst struct {
		first, last time.Time
		down        bool
		seen        Shown
	}
	var bursts []burst
	level := false
	seen := func(at time.Time) (s Shown) {
		for _, e := range events {
			if e.show != nil && !e.at.After(at) {
				s = *e.show
			}
		}
		return s
	}
	for i, e := range events {
		if e.show != nil || i > 0 && len(bursts) > 0 && e.down == level {
			continue
		}
		level = e.down
		if n := len(bursts); n > 1 && e.at.Sub(bursts[n-1].last) < Debounce {
			bursts[n-1].last, bursts[n-1].down = e.at, e.down
			continue
		}
		bursts = append(bursts, burst{e.at, e.at, e.down, seen(e.at.Add(-Reaction))})
	}
	var out []hal.Press
	var press *burst
	dead := false
	for i, b := range bursts {
		if end.Sub(b.last) < Debounce {
			break
		}
		storm := b.last.Sub(b.first) >= Storm
		switch {
		case press == nil && b.down:
			press, dead = &b, storm || i == 0
		case press != nil && b.down:
			dead = dead || storm
		case press != nil:
			held := b.first.Sub(press.last)
			p := hal.Press{Target: press.seen.Target, At: press.first}
			switch {
			case dead || storm || held >= StuckAt, held >= HoldCount && held < HoldLong:
			case held >= HoldLong:
				p.Gesture = hal.Hold8
				out = append(out, p)
			case held >= HoldShort && press.seen.Approve != "":
				p.Gesture, p.Target = hal.Hold3, press.seen.Approve
				out = append(out, p)
			default:
				out = append(out, p)
			}
			press = nil
		}
	}
	return out
}

// stories draws what may happen to a button: taps, holds, bounces, storms and
// lines that seem to stand on the wrong side, while the screen changes.
func stories(t *rapid.T) (events []event, end time.Time) {
	at := now
	pause := rapid.OneOf(
		rapid.Int64Range(0, 25), rapid.Int64Range(0, 400), rapid.Int64Range(0, 25000),
		rapid.SampledFrom([]int64{19, 20, 21, 299, 300, 301, 2999, 3000, 3001, 4499, 4500, 7999, 8000, 8001, 19999, 20000}),
	)
	step := func() { at = at.Add(time.Duration(pause.Draw(t, "pause")) * ms) }
	level := rapid.Bool().Draw(t, "down at first")
	events = append(events, event{at: at, down: level})
	for range rapid.IntRange(1, 25).Draw(t, "steps") {
		step()
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0, 1:
			level = !level
			events = append(events, event{at: at, down: level})
		case 2: // the same level is told twice
			events = append(events, event{at: at, down: level})
		case 3: // a storm
			gap := time.Duration(rapid.Int64Range(1, 30).Draw(t, "gap")) * ms
			for range rapid.IntRange(1, 400).Draw(t, "bounces") {
				level = !level
				events = append(events, event{at: at, down: level})
				at = at.Add(gap)
			}
		default:
			s := Shown{Target: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "target")}
			if s.Target == "" {
				s.Approve = rapid.SampledFrom([]string{"", "g", "h"}).Draw(t, "approve")
			}
			events = append(events, event{at: at, show: &s})
		}
	}
	step()
	return events, at
}

// play tells a button a story, and lets time pass between its events as often
// as looks says.
func play(events []event, end time.Time, looks func(from, to time.Time) []time.Time) []hal.Press {
	var b Button
	var out []hal.Press
	take := func(p hal.Press, ok bool) {
		if ok {
			out = append(out, p)
		}
	}
	for i, e := range events {
		if i > 0 {
			for _, at := range looks(events[i-1].at, e.at) {
				take(b.Advance(at))
				b.Hold(at)
			}
		}
		if e.show != nil {
			b.Show(e.at, *e.show)
		} else {
			take(b.Edge(e.at, e.down))
		}
	}
	take(b.Advance(end))
	return out
}

// Any story: the presses are those that the specification finds looking back.
// So one press is at most one gesture, none comes without a press, its target
// stood on the screen Reaction before the first contact, and a line that is
// stuck or never still does nothing. And how often time is let pass between
// changes nothing.
func TestAnyEdgesMakeThePressesThatWereMeant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events, end := stories(t)
		want := meant(events, end)
		if got := play(events, end, func(_, _ time.Time) []time.Time { return nil }); !slices.Equal(got, want) {
			t.Fatalf("never looked at between: %v, want %v", said(got), said(want))
		}
		often := func(from, to time.Time) (at []time.Time) {
			for range rapid.IntRange(0, 6).Draw(t, "looks") {
				at = append(at, from.Add(time.Duration(rapid.Int64Range(0, to.Sub(from).Nanoseconds()).Draw(t, "after"))))
			}
			slices.SortFunc(at, time.Time.Compare)
			return at
		}
		if got := play(events, end, often); !slices.Equal(got, want) {
			t.Fatalf("looked at in between: %v, want %v", said(got), said(want))
		}
	})
}

func said(ps []hal.Press) (out []string) {
	for _, p := range ps {
		out = append(out, fmt.Sprintf("%v of %q at %v", p.Gesture, p.Target, p.At.Sub(now)))
	}
	return out
}

// The specification itself, where its words can be checked without another one.
func TestNoStoryActsTwiceOrOnWhatNobodySaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events, end := stories(t)
		got := play(events, end, func(_, _ time.Time) []time.Time { return nil })
		for i, p := range got {
			if i > 0 && !p.At.After(got[i-1].At) {
				t.Fatalf("two gestures for the press at %v", p.At.Sub(now))
			}
			if !slices.ContainsFunc(events, func(e event) bool { return e.show == nil && e.down && e.at.Equal(p.At) }) {
				t.Fatalf("a gesture without a press edge: %v", said(got))
			}
			if p.Target != "" && !slices.ContainsFunc(events, func(e event) bool {
				return e.show != nil && !e.at.After(p.At.Add(-Reaction)) && (e.show.Target == p.Target || e.show.Approve == p.Target)
			}) {
				t.Fatalf("nobody can have seen the target: %v", said(got))
			}
		}
		downs, level := 0, events[0].down
		for _, e := range events {
			if e.show == nil && e.down != level {
				level = e.down
				if level {
					downs++
				}
			}
		}
		if len(got) > downs {
			t.Fatalf("%d gestures from %d presses", len(got), downs)
		}
	})
}

func TestAnEdgeThatSeemsEarlierThanTheOneBeforeIsNoPress(t *testing.T) {
	var b Button
	b.Edge(now, false)
	b.Edge(now.Add(time.Second), true)
	b.Edge(now.Add(-time.Hour), false)
	if p, ok := b.Advance(now.Add(2 * time.Second)); ok {
		t.Errorf("pressed: %v", p)
	}
}
