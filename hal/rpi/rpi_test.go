package rpi

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/gpio"

	"sekisho/hal"
	"sekisho/hal/panel"
)

// button is a line with a finger on it.
type button struct {
	gpio.PinIn
	mu     sync.Mutex
	level  gpio.Level
	edges  chan struct{}
	broken bool
	waits  int
}

func (b *button) Read() gpio.Level {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.level
}

func (b *button) WaitForEdge(timeout time.Duration) bool {
	b.mu.Lock()
	b.waits++
	broken := b.broken
	b.mu.Unlock()
	if broken {
		return false
	}
	select {
	case <-b.edges:
		return true
	case <-time.After(timeout):
		return false
	}
}

// breakOff has every call fail, which reads as low, or mends the line.
func (b *button) breakOff(broken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken, b.level = broken, gpio.Level(!broken)
}

func (b *button) waited() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waits
}

func (b *button) set(l gpio.Level) {
	b.mu.Lock()
	b.level = l
	b.mu.Unlock()
	select {
	case b.edges <- struct{}{}:
	default:
	}
}

// light is a line that drives one colour of the lamp.
type light struct {
	gpio.PinOut
	mu     sync.Mutex
	level  gpio.Level
	writes int
	fail   error
}

func (l *light) Out(level gpio.Level) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.level, l.writes = level, l.writes+1
	return l.fail
}

func (l *light) lit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bool(l.level)
}

func (l *light) written() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writes
}

func (l *light) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = nil
}

type board struct {
	*Panel
	button           *button
	red, green, blue *light
	end              func()
}

// run brings a panel to life inside a synctest bubble.
func run(t *testing.T, change func(*Lines)) *board {
	b := &board{button: &button{edges: make(chan struct{}, 64)}, red: &light{}, green: &light{}, blue: &light{}}
	l := Lines{Button: b.button, Red: b.red, Green: b.green, Blue: b.blue}
	if change != nil {
		change(&l)
	}
	b.Panel = New(Config{}, l)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	b.end = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("end: %v", err)
		}
	}
	synctest.Wait()
	return b
}

func suspect(id string) hal.Status {
	return hal.Status{State: hal.Attention, Lang: "en", Suspect: hal.Device{Name: "PC-7"}, Target: id}
}

// press holds the line for so long, bouncing at both ends as contacts do.
func (b *board) press(held time.Duration) {
	for _, to := range []gpio.Level{true, false} {
		for range 3 {
			b.button.set(to)
			time.Sleep(time.Millisecond)
			b.button.set(!to)
			time.Sleep(time.Millisecond)
		}
		b.button.set(to)
		time.Sleep(held)
	}
}

func (b *board) pressed() []hal.Press {
	var out []hal.Press
	for {
		select {
		case p := <-b.Presses():
			out = append(out, p)
		default:
			return out
		}
	}
}

func TestOneBouncingPressIsOnePressOfWhatIsShown(t *testing.T) {
	for name, activeLow := range map[string]bool{"active high": false, "switch to ground": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := run(t, func(l *Lines) { l.ActiveLow = activeLow; l.Button.(*button).level = gpio.Level(activeLow) })
				b.Show(suspect("a"))
				time.Sleep(time.Second)
				if activeLow {
					b.button.set(false)
					time.Sleep(100 * time.Millisecond)
					b.button.set(true)
					time.Sleep(100 * time.Millisecond)
				} else {
					b.press(100 * time.Millisecond)
				}
				got := b.pressed()
				if len(got) != 1 || got[0].Gesture != hal.Short || got[0].Target != "a" {
					t.Errorf("presses %+v", got)
				}
				b.end()
			})
		})
	}
}

func TestAPressCountsOneDebounceAfterTheRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, nil)
		b.Show(suspect("a"))
		time.Sleep(time.Second)
		b.button.set(true)
		time.Sleep(100 * time.Millisecond)
		b.button.set(false)
		released := time.Now()
		<-b.Presses()
		if took := time.Since(released); took != panel.Debounce {
			t.Errorf("taken %v after the release", took)
		}
		b.end()
	})
}

func TestALongHoldCutsTheWholeOfficeOffAndCountsDownFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, nil)
		b.Show(hal.Status{State: hal.Normal, Lang: "en"})
		b.button.set(true)
		time.Sleep(panel.HoldCount + time.Second)
		if h := b.Frame().Hold; h.Phase != panel.HoldCountdown {
			t.Errorf("hold %+v", h)
		}
		time.Sleep(panel.HoldLong - panel.HoldCount)
		b.button.set(false)
		time.Sleep(time.Second)
		if got := b.pressed(); len(got) != 1 || got[0].Gesture != hal.Hold8 {
			t.Errorf("presses %+v", got)
		}
		b.end()
	})
}

func TestALineThatIsDownFromTheStartIsNoPress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, func(l *Lines) { l.Button.(*button).level = true })
		b.Show(suspect("a"))
		time.Sleep(panel.StuckAt + time.Second)
		if h := b.Frame().Hold; h.Phase != panel.HoldStuck {
			t.Errorf("hold %+v", h)
		}
		b.button.set(false)
		time.Sleep(time.Second)
		if got := b.pressed(); len(got) != 0 {
			t.Errorf("presses %+v", got)
		}
		b.end()
	})
}

func TestTheLampFollowsTheStateAndEndsDark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, nil)
		lamp := func() [3]bool { return [3]bool{b.red.lit(), b.green.lit(), b.blue.lit()} }
		for state, want := range map[hal.State][3]bool{
			hal.Normal: {false, true, false}, hal.Attention: {true, true, false}, hal.Isolated: {true, false, false}, hal.VendorConnected: {false, false, true},
		} {
			b.Show(hal.Status{State: state, Lang: "en"})
			time.Sleep(10 * time.Millisecond)
			if got := lamp(); got != want {
				t.Errorf("state %d: red, green, blue %v", state, got)
			}
			time.Sleep(panel.Rest)
		}
		b.Show(hal.Status{State: hal.Isolating, Lang: "en"}) // 170 ms on, 170 ms off
		time.Sleep(panel.Rest)
		before := b.red.written()
		time.Sleep(10 * 340 * time.Millisecond)
		if n := b.red.written() - before; n < 19 || n > 21 {
			t.Errorf("ten cycles took %d changes of the red line", n)
		}
		b.end()
		if got := lamp(); got != [3]bool{} {
			t.Errorf("left lit: %v", got)
		}
	})
}

func TestABrokenLineIsNoFingerThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, func(l *Lines) { l.ActiveLow, l.Button.(*button).level = true, true })
		b.Show(suspect("a"))
		time.Sleep(time.Second)
		b.button.breakOff(true)
		time.Sleep(panel.HoldLong + time.Second) // low all the time, as far as can be read
		b.button.breakOff(false)
		time.Sleep(time.Second)
		if got := b.pressed(); len(got) != 0 {
			t.Errorf("presses %+v", got)
		}
		b.end()
	})
}

func TestBrokenLinesNeitherSpinNorEndThePanel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, func(l *Lines) {
			l.Button.(*button).broken, l.Red.(*light).fail = true, errors.New("gone")
			l.Blue = nil
		})
		b.Show(hal.Status{State: hal.Isolating, Lang: "en"})
		time.Sleep(10 * time.Second)
		if n := b.button.waited(); n > 30 {
			t.Errorf("%d waits in 10 s", n)
		}
		if err := b.Press(hal.Hold8, ""); err != nil { // from the web page
			t.Error(err)
		}
		b.red.mend()
		b.end()
	})
}
