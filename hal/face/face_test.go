package face

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/hal"
	"sekisho/hal/panel"
)

var now = time.Date(2026, 4, 24, 14, 5, 0, 0, time.UTC)

const ms = time.Millisecond

func suspect(target string) hal.Status {
	return hal.Status{State: hal.Attention, Lang: "en", Now: now, Suspect: hal.Device{Name: "PC of " + target}, Target: target}
}

// clock is a time that stands until it is moved.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func with(cfg Config) (*Face, *clock) {
	c := &clock{now}
	cfg.Now = c.now
	f := New(cfg)
	f.Edge(false)
	return f, c
}

// tap presses for a while, and returns the press that came of it.
func tap(t *testing.T, f *Face, c *clock, held time.Duration) hal.Press {
	t.Helper()
	f.Edge(true)
	for end := c.at.Add(held); c.at.Before(end); c.at = c.at.Add(10 * ms) {
		f.Tick()
	}
	f.Edge(false)
	c.at = c.at.Add(panel.Debounce)
	f.Tick()
	select {
	case p := <-f.Presses():
		return p
	default:
		t.Fatal("no press came out")
		return hal.Press{}
	}
}

func TestAPressIsForWhatStoodOnTheScreen(t *testing.T) {
	for _, c := range []struct {
		name  string
		lag   time.Duration
		after time.Duration
		want  string
	}{
		{"seen", 0, panel.Reaction, "b"},
		{"just appeared", 0, panel.Reaction - ms, "a"},
		{"still on its way to a slow screen", 250 * ms, panel.Reaction + 249*ms, "a"},
		{"seen on a slow screen", 250 * ms, panel.Reaction + 250*ms, "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, at := with(Config{Lag: c.lag})
			f.Show(suspect("a"))
			at.at = at.at.Add(time.Minute)
			f.Show(suspect("b"))
			at.at = at.at.Add(c.after)
			pressed := at.at
			if p := tap(t, f, at, 50*ms); p.Gesture != hal.Short || p.Target != c.want || !p.At.Equal(pressed) {
				t.Errorf("%+v, want %s", p, c.want)
			}
		})
	}
}

func TestAPressWithoutTargetTurnsThePageUntilSomethingElseIsShown(t *testing.T) {
	f, c := with(Config{})
	calm := hal.Status{State: hal.Normal, Lang: "en", Now: now}
	f.Show(calm)
	c.at = c.at.Add(time.Second)
	for _, want := range []int{1, 2, 0, 1} {
		tap(t, f, c, 50*ms)
		if got := f.Frame().Page; got != want {
			t.Errorf("page %d, want %d", got, want)
		}
	}
	calm.Devices++
	f.Show(calm)
	if f.Frame().Page != 1 {
		t.Error("a new figure turned the page back")
	}
	f.Show(suspect("a"))
	f.Show(calm)
	if f.Frame().Page != 0 {
		t.Error("after a suspect the page is not the first one")
	}
}

func TestAHoldIsToldStepByStep(t *testing.T) {
	f, c := with(Config{})
	f.Show(suspect("a"))
	c.at = c.at.Add(time.Second)
	changed, stop := f.Subscribe()
	defer stop()
	f.Edge(true)
	told, phases := 0, map[panel.HoldPhase]bool{}
	for end := c.at.Add(panel.HoldLong + time.Second); c.at.Before(end); c.at = c.at.Add(10 * ms) {
		f.Tick()
		phases[f.Frame().Hold.Phase] = true
		select {
		case <-changed:
			told++
		default:
		}
	}
	if want := int((panel.HoldLong + time.Second - panel.HoldShow) / panel.HoldStep); told != want {
		t.Errorf("told %d times, want %d", told, want)
	}
	if len(phases) != 4 || !phases[panel.HoldLeads] || !phases[panel.HoldCountdown] || !phases[panel.HoldArmed] {
		t.Errorf("phases %v", phases)
	}
	f.Show(suspect("b"))
	if got := f.Frame(); got.Hold.On.Name != "PC of a" || got.Status.Target != "b" {
		t.Errorf("the hold is on %q", got.Hold.On.Name)
	}
	f.Edge(false)
	c.at = c.at.Add(panel.Debounce)
	f.Tick()
	if p := <-f.Presses(); p.Gesture != hal.Hold8 || f.Frame().Hold != (panel.Hold{}) || f.Look().Taken != 1 {
		t.Errorf("%+v, then %+v", p, f.Frame().Hold)
	}
}

func TestWhatIsPressedForFromAfarMustStillBeShown(t *testing.T) {
	f, _ := with(Config{})
	ask := hal.Status{State: hal.Normal, Lang: "en", Approval: "IT", ApprovalID: "g"}
	again := suspect("a")
	again.AskedUntil = now.Add(time.Minute)
	for _, c := range []struct {
		name    string
		s       hal.Status
		gesture hal.Gesture
		target  string
		want    error
		again   bool
	}{
		{"the suspect", suspect("a"), hal.Short, "a", nil, false},
		{"asked twice", again, hal.Short, "a", nil, true},
		{"another suspect", suspect("b"), hal.Short, "a", panel.ErrTargetChanged, false},
		{"nothing any more", hal.Status{}, hal.Short, "a", panel.ErrTargetChanged, false},
		{"the request", ask, hal.Hold3, "g", nil, false},
		{"another request", ask, hal.Hold3, "h", panel.ErrTargetChanged, false},
		{"no request", suspect("a"), hal.Hold3, "g", panel.ErrNotAsked, false},
		{"lockdown, whatever is shown", suspect("a"), hal.Hold8, "", nil, false},
	} {
		f.Show(c.s)
		if err := f.Press(c.gesture, c.target); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		select {
		case p := <-f.Presses():
			if c.want != nil || p.Gesture != c.gesture || p.Target != c.target || p.Again != c.again {
				t.Errorf("%s: %+v", c.name, p)
			}
		default:
			if c.want == nil {
				t.Errorf("%s: no press came out", c.name)
			}
		}
	}
}

func TestALineThatIsLostEndsThePressAsNone(t *testing.T) {
	f, c := with(Config{})
	f.Show(suspect("a"))
	c.at = c.at.Add(time.Second)
	f.Edge(true)
	c.at = c.at.Add(5 * time.Second)
	f.Tick()
	if f.Frame().Hold.Phase != panel.HoldCountdown {
		t.Fatal("no countdown")
	}
	f.Lost()
	if f.Frame().Hold != (panel.Hold{}) {
		t.Error("the countdown stays on the screen")
	}
	f.Edge(true) // the line is back, and so is the finger
	c.at = c.at.Add(time.Second)
	f.Edge(false)
	c.at = c.at.Add(time.Second)
	f.Tick()
	if len(f.Presses()) != 0 {
		t.Errorf("pressed: %+v", <-f.Presses())
	}
	if p := tap(t, f, c, 50*ms); p.Target != "a" {
		t.Errorf("afterwards: %+v", p)
	}
}

func TestAPressMeansWhomAFrozenScreenNames(t *testing.T) {
	f, c := with(Config{})
	f.Show(suspect("a"))
	f.Frozen(panel.Shows(suspect("a")))
	f.Show(suspect("b"))
	c.at = c.at.Add(time.Minute)
	if p := tap(t, f, c, 50*ms); p.Target != "a" {
		t.Errorf("%+v, and the screen names a", p)
	}
	f.Thawed(panel.Shows(suspect("b")))
	if p := tap(t, f, c, 50*ms); p.Target != "a" {
		t.Errorf("%+v, and b has just appeared", p)
	}
	c.at = c.at.Add(time.Second)
	if p := tap(t, f, c, 50*ms); p.Target != "b" {
		t.Errorf("%+v, and the screen names b", p)
	}
}

func TestAScreenThatIsBackNamesWhatWasDrawnAndNotWhatIsOnItsWay(t *testing.T) {
	f, c := with(Config{Lag: 300 * ms})
	f.Show(suspect("a"))
	c.at = c.at.Add(time.Second)
	f.Frozen(panel.Shows(suspect("a")))
	f.Show(suspect("b"))
	c.at = c.at.Add(time.Second)
	f.Show(suspect("c")) // while b is being drawn
	f.Thawed(panel.Shows(suspect("b")))
	c.at = c.at.Add(panel.Reaction + 50*ms)
	if p := tap(t, f, c, 50*ms); p.Target != "b" {
		t.Errorf("%+v, and the screen named b", p)
	}
	c.at = c.at.Add(time.Second)
	if p := tap(t, f, c, 50*ms); p.Target != "c" {
		t.Errorf("%+v, and the screen names c", p)
	}
}

func TestAPressThatNobodyTakesIsRefused(t *testing.T) {
	f, _ := with(Config{})
	f.Show(suspect("a"))
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = f.Press(hal.Short, "a")
	}
	if !errors.Is(err, panel.ErrBusy) || n != cap(f.presses)+1 {
		t.Errorf("after %d presses: %v", n, err)
	}
	f.Close()
	f.Close()
	if err := f.Press(hal.Short, "a"); !errors.Is(err, panel.ErrBusy) {
		t.Errorf("after the end: %v", err)
	}
	for range f.Presses() {
		n--
	}
	if n != 1 {
		t.Errorf("%d presses are lost", n-1)
	}
}

func TestTheLampRestsAndTheClockGoesOnBetweenTwoShows(t *testing.T) {
	f, c := with(Config{})
	if f.Frame().Lamp.Lit() {
		t.Error("lit before anything was shown")
	}
	f.Show(suspect("a"))
	look := f.Look()
	if !look.Lamp.Lit() || look.Left != panel.Rest || f.Frame().Lamp != look.Lamp {
		t.Errorf("%+v", look)
	}
	c.at = c.at.Add(look.Left)
	if f.Look().Lamp == look.Lamp {
		t.Error("the lamp does not change when it said")
	}
	c.at = c.at.Add(time.Minute)
	if got := f.Frame().Status.Now; !got.Equal(now.Add(time.Minute + look.Left)) {
		t.Errorf("the clock says %v", got)
	}
	f.Show(hal.Status{State: hal.Normal})
	c.at = c.at.Add(time.Minute)
	if got := f.Frame().Status.Now; !got.IsZero() {
		t.Errorf("a clock that is not known says %v", got)
	}
}

// Everything at once, for the race detector; and in the end nothing is lost but
// what was refused.
func TestAnyGoroutineMayCallAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(Config{})
		var all sync.WaitGroup
		const each = 200
		loop := func(do func(i int)) {
			all.Go(func() {
				for i := range each {
					do(i)
					time.Sleep(time.Duration(i%7) * 10 * ms)
				}
			})
		}
		loop(func(i int) { f.Show(suspect(string(rune('a' + i%3)))) })
		loop(func(i int) { f.Show(hal.Status{State: hal.State(i % 9), Lang: "ja", Now: now, Lockdown: i%5 == 0}) })
		loop(func(i int) { f.Edge(i%2 == 0) })
		loop(func(int) { f.Tick() })
		loop(func(int) { f.Frame() })
		loop(func(int) { f.Look() })
		loop(func(i int) {
			if i%50 == 0 {
				f.Lost()
			}
		})
		loop(func(int) {
			changed, stop := f.Subscribe()
			select {
			case <-changed:
			default:
			}
			stop()
		})
		accepted := 0
		loop(func(int) {
			if f.Press(hal.Hold8, "") == nil {
				accepted++
			}
		})
		got := make(chan int)
		go func() {
			n := 0
			for p := range f.Presses() {
				if p.Gesture == hal.Hold8 && p.Target == "" {
					n++
				}
			}
			got <- n
		}()
		all.Wait()
		f.Close()
		if n := <-got; n < accepted || accepted == 0 {
			t.Errorf("%d of %d presses came out", n, accepted)
		}
		if len(f.subs) != 0 {
			t.Errorf("%d subscribers are left", len(f.subs))
		}
	})
}
