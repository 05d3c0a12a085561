package rpi_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/hal"
	"sekisho/hal/panel"
	"sekisho/hal/rpi"
	"sekisho/hal/rpi/rpitest"
	"sekisho/hal/ssd1306"
	"sekisho/hal/ssd1306/ssd1306test"
)

// office is a panel with everything on it.
type office struct {
	*rpi.Panel
	board *rpitest.Board
	end   func()
}

func config() rpi.Config {
	c := rpi.Wiring()
	c.Buzzer = "GPIO27"
	return c
}

// run brings a panel to life inside a synctest bubble, on a board that change has
// prepared.
func run(t *testing.T, c rpi.Config, change func(*rpitest.Board)) *office {
	b := &rpitest.Board{}
	if change != nil {
		change(b)
	}
	p := rpi.New(c, b)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	synctest.Wait()
	return &office{p, b, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("end: %v", err)
		}
		if n := b.Open(); n != 0 {
			t.Errorf("%d parts left open", n)
		}
	}}
}

func suspect(id string) hal.Status {
	return hal.Status{State: hal.Attention, Lang: "en", Suspect: hal.Device{Name: "PC-7"}, Target: id}
}

// press holds the button for so long, bouncing at both ends as contacts do.
func (o *office) press(held time.Duration) {
	for _, to := range []bool{true, false} {
		for range 3 {
			o.board.Push(to)
			time.Sleep(time.Millisecond)
			o.board.Push(!to)
			time.Sleep(time.Millisecond)
		}
		o.board.Push(to)
		time.Sleep(held)
	}
}

func (o *office) pressed() []hal.Press {
	var out []hal.Press
	for {
		select {
		case p := <-o.Presses():
			out = append(out, p)
		default:
			return out
		}
	}
}

func (o *office) part(t *testing.T, name string) error {
	t.Helper()
	i := slices.IndexFunc(o.Parts(), func(p hal.Part) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("no part %q in %v", name, o.Parts())
	}
	return o.Parts()[i].Err
}

func (o *office) lamp() [3]bool {
	return [3]bool{o.board.Lit("GPIO23"), o.board.Lit("GPIO24"), o.board.Lit("GPIO25")}
}

func TestOneBouncingPressIsOnePressOfWhatIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := run(t, config(), nil)
		defer o.end()
		o.Show(suspect("a"))
		time.Sleep(time.Second)
		o.press(100 * time.Millisecond)
		got := o.pressed()
		if len(got) != 1 || got[0].Gesture != hal.Short || got[0].Target != "a" {
			t.Errorf("presses %+v", got)
		}
	})
}

func TestAPressCountsOneDebounceAfterTheRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := run(t, config(), nil)
		defer o.end()
		o.Show(suspect("a"))
		time.Sleep(time.Second)
		o.board.Push(true)
		time.Sleep(100 * time.Millisecond)
		o.board.Push(false)
		released := time.Now()
		<-o.Presses()
		if took := time.Since(released); took != panel.Debounce {
			t.Errorf("taken %v after the release", took)
		}
	})
}

// The edges carry the kernel's times: a press that came and went while nobody read
// is still one, and means what was shown then.
func TestAPressDuringAStandstillIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := run(t, config(), nil)
		defer o.end()
		o.Show(suspect("a"))
		time.Sleep(time.Second)
		o.board.Slow("GPIO23", 2*time.Second)
		o.Show(hal.Status{State: hal.Isolated, Lang: "en"}) // drives the line that hangs
		time.Sleep(50 * time.Millisecond)
		at := time.Now()
		o.board.Push(true)
		time.Sleep(100 * time.Millisecond)
		o.board.Push(false)
		time.Sleep(4 * time.Second)
		got := o.pressed()
		if len(got) != 1 || got[0].Target != "a" || !got[0].At.Equal(at) {
			t.Errorf("presses %+v; the edge was at %v", got, at)
		}
	})
}

func TestAPressMeansWhatStoodOnTheScreen(t *testing.T) {
	for kind, want := range map[string]string{"ssd1306": "a", "none": "b"} {
		synctest.Test(t, func(t *testing.T) {
			c := config()
			c.Screen.Kind = kind
			o := run(t, c, func(b *rpitest.Board) { b.Attach(glass(c)) })
			defer o.end()
			o.Show(suspect("a"))
			time.Sleep(time.Second)
			o.Show(suspect("b"))
			time.Sleep(panel.Reaction + 150*time.Millisecond) // a lamp tells at once, a page is still on its way
			o.press(50 * time.Millisecond)
			if got := o.pressed(); len(got) != 1 || got[0].Target != want {
				t.Errorf("screen %s: presses %+v, want one of %q", kind, got, want)
			}
		})
	}
}

func TestALongHoldCutsTheWholeOfficeOffAndCountsDownFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := run(t, config(), nil)
		defer o.end()
		o.Show(hal.Status{State: hal.Normal, Lang: "en"})
		o.board.Push(true)
		time.Sleep(panel.HoldCount + time.Second)
		if h := o.Frame().Hold; h.Phase != panel.HoldCountdown {
			t.Errorf("hold %+v", h)
		}
		time.Sleep(panel.HoldLong - panel.HoldCount)
		o.board.Push(false)
		time.Sleep(time.Second)
		if got := o.pressed(); len(got) != 1 || got[0].Gesture != hal.Hold8 {
			t.Errorf("presses %+v", got)
		}
	})
}

func TestAButtonThatIsDownFromTheStartIsAFaultAndNoPress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := run(t, config(), func(b *rpitest.Board) { b.Push(true) })
		defer o.end()
		o.Show(suspect("a"))
		time.Sleep(panel.StuckAt + time.Second)
		if err := o.part(t, "button"); !errors.Is(err, rpi.ErrHeld) {
			t.Errorf("the button: %v", err)
		}
		o.board.Push(false)
		time.Sleep(time.Second)
		if got, err := o.pressed(), o.part(t, "button"); len(got) != 0 || err != nil {
			t.Errorf("let go: presses %+v, the button: %v", got, err)
		}
	})
}

func TestALineThatBreaksUnderTheFingerIsNoGesture(t *testing.T) {
	for name, held := range map[string]time.Duration{"short": time.Second, "for a lockdown": panel.HoldLong + time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := run(t, config(), nil)
				defer o.end()
				o.Show(suspect("a"))
				time.Sleep(time.Second)
				o.board.Push(true)
				time.Sleep(500 * time.Millisecond)
				o.board.Lose("GPIO17", errors.New("gone"))
				time.Sleep(held)
				if err := o.part(t, "button"); err == nil || !strings.Contains(err.Error(), "gone") {
					t.Errorf("a button that is gone: %v", err)
				}
				o.board.Push(false)
				o.board.Lose("GPIO17", nil)
				time.Sleep(10 * time.Second)
				if got, err := o.pressed(), o.part(t, "button"); len(got) != 0 || err != nil {
					t.Errorf("presses %+v, the button: %v", got, err)
				}
				o.press(100 * time.Millisecond)
				if got := o.pressed(); len(got) != 1 {
					t.Errorf("mended: presses %+v", got)
				}
			})
		})
	}
}

func TestTheLampFollowsTheStateAndEndsDark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := run(t, config(), nil)
		for state, want := range map[hal.State][3]bool{
			hal.Normal: {false, true, false}, hal.Attention: {true, true, false}, hal.Isolated: {true, false, false}, hal.VendorConnected: {false, false, true},
		} {
			o.Show(hal.Status{State: state, Lang: "en"})
			time.Sleep(10 * time.Millisecond)
			if got := o.lamp(); got != want {
				t.Errorf("state %d: red, green, blue %v", state, got)
			}
			time.Sleep(panel.Rest)
		}
		o.Show(hal.Status{State: hal.Isolating, Lang: "en"})
		cycle := panel.Lamp(hal.Status{State: hal.Isolating}).Cycle()
		time.Sleep(panel.Rest)
		before := o.board.Sets("GPIO23")
		time.Sleep(10 * cycle)
		if n := o.board.Sets("GPIO23") - before; n < 19 || n > 21 {
			t.Errorf("ten cycles took %d changes of the red line", n)
		}
		o.end()
		if got := o.lamp(); got != [3]bool{} {
			t.Errorf("left lit: %v", got)
		}
	})
}

// Every part in turn: missing at the start, there, gone, and there again. It is told
// by name, and the others work all the while.
func TestAPartThatIsMissingIsToldAndComesBack(t *testing.T) {
	gone := errors.New("gone")
	for name, line := range map[string]string{"button": "GPIO17", "red": "GPIO23", "buzzer": "GPIO27", "screen": "", "screen, and its bus": ""} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := config()
				part, _, _ := strings.Cut(name, ",")
				model := ssd1306test.New(ssd1306.Config{})
				there := func(b *rpitest.Board, there bool) {
					switch {
					case name != part && there:
						b.Attach(model)
					case name != part:
						b.Attach(nil)
					case name == "screen" && there:
						model.Plug()
					case name == "screen":
						model.Unplug()
					case there:
						b.Lose(line, nil)
					default:
						b.Lose(line, gone)
					}
				}
				o := run(t, c, func(b *rpitest.Board) {
					b.Attach(model)
					there(b, false)
				})
				defer o.end()
				for _, step := range []struct {
					what  string
					there bool
				}{{"missing at the start", false}, {"there", true}, {"gone", false}, {"back", true}} {
					there(o.board, step.there)
					o.Show(suspect(step.what))
					o.press(50 * time.Millisecond) // which the buzzer answers
					time.Sleep(16 * time.Second)   // a screen is written anew every 10 s, what is missing is tried after 5
					for _, p := range o.Parts() {
						if want := step.there || p.Name != part; (p.Err == nil) != want {
							t.Errorf("%s: %s: %v", step.what, p.Name, p.Err)
						}
					}
				}
				model.Check(t)
			})
		})
	}
}

// The wire of the data came off: the screen stays lit, and names whom it named.
func TestAFrozenScreenMeansWhomItNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &frail{}
		o := run(t, config(), func(b *rpitest.Board) { b.Attach(bus) })
		defer o.end()
		press := func(what string, want hal.Press) {
			t.Helper()
			o.press(50 * time.Millisecond)
			got := o.pressed()
			if len(got) != 1 || got[0].Target != want.Target {
				t.Errorf("%s: presses %+v, want one of %q", what, got, want.Target)
			}
		}
		o.Show(suspect("a"))
		time.Sleep(time.Second)
		bus.broken.Store(true)
		time.Sleep(20 * time.Second) // it is found out
		o.Show(suspect("b"))
		time.Sleep(time.Second)
		press("frozen", hal.Press{Target: "a"})
		o.board.Lose("GPIO17", errors.New("gone"))
		time.Sleep(time.Second)
		o.board.Lose("GPIO17", nil)
		time.Sleep(10 * time.Second)
		press("frozen, and the button came back", hal.Press{Target: "a"})
		bus.broken.Store(false)
		time.Sleep(10 * time.Second)
		press("mended", hal.Press{Target: "b"})
		bus.broken.Store(true)
	})
}

// Without a name on it, a screen that broke does not take the button away.
func TestAScreenThatNamedNobodyLeavesTheButtonItsUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &frail{}
		o := run(t, config(), func(b *rpitest.Board) { b.Attach(bus) })
		defer o.end()
		o.Show(hal.Status{State: hal.Normal, Lang: "en"})
		time.Sleep(time.Second)
		bus.broken.Store(true)
		time.Sleep(20 * time.Second)
		o.Show(suspect("b"))
		time.Sleep(time.Second)
		o.press(50 * time.Millisecond)
		if got := o.pressed(); len(got) != 1 || got[0].Target != "b" {
			t.Errorf("presses %+v", got)
		}
	})
}

// frail is a bus that takes everything, until it breaks.
type frail struct{ broken atomic.Bool }

func (f *frail) Tx(uint16, []byte, []byte) error {
	if f.broken.Load() {
		return errors.New("remote I/O error")
	}
	return nil
}

func TestAPartThatStaysMissingIsNotTriedAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &counting{}
		o := run(t, config(), func(b *rpitest.Board) { b.Attach(bus) })
		defer o.end()
		time.Sleep(time.Minute)
		if n := bus.count(); n < 10 || n > 20 { // every 5 s, after a quicker start
			t.Errorf("%d tries in a minute", n)
		}
	})
}

// counting is a bus on which nobody answers.
type counting struct {
	mu sync.Mutex
	n  int
}

func (c *counting) Tx(uint16, []byte, []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return errors.New("remote I/O error")
}

func (c *counting) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// hung is a bus that holds its caller until somebody lets go.
type hung struct{ let chan struct{} }

func (h hung) Tx(uint16, []byte, []byte) error {
	<-h.let
	return errors.New("connection timed out")
}

func TestAHungBusDelaysNeitherButtonNorLampNorTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := hung{make(chan struct{})}
		b := &rpitest.Board{}
		b.Attach(bus)
		p := rpi.New(config(), b)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = p.Run(ctx)
		}()
		o := &office{Panel: p, board: b}
		o.Show(suspect("a"))
		time.Sleep(time.Second)
		o.press(100 * time.Millisecond)
		if got := o.pressed(); len(got) != 1 {
			t.Errorf("presses %+v", got)
		}
		o.Show(hal.Status{State: hal.Isolated, Lang: "en"})
		time.Sleep(time.Millisecond)
		if got := o.lamp(); got != [3]bool{true, false, false} {
			t.Errorf("red, green, blue %v", got)
		}
		cancel()
		began := time.Now()
		<-done
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the end took %v", took)
		}
		if got := o.lamp(); got != [3]bool{} {
			t.Errorf("left lit: %v", got)
		}
		close(bus.let)
		synctest.Wait()
	})
}

// slow is a bus that works, then hangs for as long as a kernel waits for it.
type slow struct{ hangs atomic.Bool }

func (s *slow) Tx(uint16, []byte, []byte) error {
	if s.hangs.Load() {
		time.Sleep(time.Second)
		return errors.New("connection timed out")
	}
	return nil
}

func TestAPressWhileTheBusHangsMeansWhomTheScreenStillNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &slow{}
		o := run(t, config(), func(b *rpitest.Board) { b.Attach(bus) })
		defer o.end()
		o.Show(suspect("a"))
		time.Sleep(time.Second)
		bus.hangs.Store(true)
		next := suspect("b")
		next.Suspect.Name = "NAS-2" // another picture
		o.Show(next)
		time.Sleep(700 * time.Millisecond)
		o.press(50 * time.Millisecond)
		if got := o.pressed(); len(got) != 1 || got[0].Target != "a" {
			t.Errorf("presses %+v, and the screen names a", got)
		}
		bus.hangs.Store(false)
		time.Sleep(10 * time.Second)
		o.press(50 * time.Millisecond)
		if got := o.pressed(); len(got) != 1 || got[0].Target != "b" {
			t.Errorf("presses %+v, and the screen names b", got)
		}
	})
}

// glass is the screen of the settings.
func glass(c rpi.Config) *ssd1306test.Model {
	cfg := ssd1306.Config{Addr: c.Screen.Addr, Height: c.Screen.Height, UpsideDown: c.Screen.UpsideDown}
	if c.Screen.Kind == "sh1106" {
		cfg.Controller = ssd1306.SH1106
	}
	return ssd1306test.New(cfg)
}

// seen is what the model shows when the driver draws these pixels now.
func seen(t *testing.T, c rpi.Config, pix []byte) []byte {
	t.Helper()
	m := glass(c)
	d, err := c.Screen.Driver(m, 10*time.Minute, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Draw(pix); err != nil {
		t.Fatal(err)
	}
	return m.Picture()
}

func TestTheScreenShowsThePageAndGoesDarkAtTheEnd(t *testing.T) {
	for name, screen := range map[string]rpi.ScreenConfig{
		"64 rows": {Kind: "ssd1306", Bus: 1, Addr: 0x3C, Height: 64}, "32 rows": {Kind: "ssd1306", Bus: 1, Addr: 0x3C, Height: 32}, "SH1106": {Kind: "sh1106", Bus: 1, Addr: 0x3D, Height: 64, UpsideDown: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := config()
				c.Screen = screen
				model := glass(c)
				o := run(t, c, func(b *rpitest.Board) { b.Attach(model) })
				o.Show(suspect("a"))
				time.Sleep(time.Second)
				f := o.Frame()
				size := panel.Tall
				if screen.Height == 32 {
					size = panel.Low
				}
				if !bytes.Equal(model.Picture(), seen(t, c, panel.RenderOn(size, f.Status, f.Page, f.Hold).Data())) {
					t.Error("the screen shows something else")
				}
				o.end()
				if bytes.ContainsFunc(model.Picture(), func(r rune) bool { return r != 0 }) || model.Registers().On {
					t.Error("left lit")
				}
				model.Check(t)
			})
		})
	}
}

func TestPicturesComeAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model := ssd1306test.New(ssd1306.Config{})
		o := run(t, config(), func(b *rpitest.Board) { b.Attach(model) })
		defer o.end()
		pages := []hal.Status{suspect("a"), {State: hal.Isolated, Lang: "en"}}
		for i := range 1000 { // a second
			o.Show(pages[i%2])
			time.Sleep(time.Millisecond)
		}
		// Five whole pictures: 8 pages, each a command and its data, and the registers.
		if n := model.Stats().Transactions; n > 6*(2*8*8) {
			t.Errorf("%d transactions in a second", n)
		}
	})
}

func TestAtNightWhatIsCalmIsDim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config() // the bubble's clock begins at midnight UTC
		h, m, s := time.Now().Clock()
		now := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second
		c.Night = rpi.Night{From: now, To: (now + time.Hour) % (24 * time.Hour)}
		model := ssd1306test.New(ssd1306.Config{})
		o := run(t, c, func(b *rpitest.Board) { b.Attach(model) })
		defer o.end()
		contrast := func(s hal.Status) (byte, bool) {
			o.Show(s)
			time.Sleep(time.Second)
			return model.Registers().Contrast, o.board.Light("GPIO24").Dim
		}
		calm, lampDim := contrast(hal.Status{State: hal.Normal, Lang: "en"})
		urgent, lampBright := contrast(suspect("a"))
		if calm >= urgent || !lampDim || lampBright {
			t.Errorf("contrast %d when calm, %d when somebody is needed; lamp dim %v, %v", calm, urgent, lampDim, lampBright)
		}
		time.Sleep(time.Hour)
		if day, dim := contrast(hal.Status{State: hal.Normal, Lang: "en"}); day != urgent || dim {
			t.Errorf("by day: contrast %d, lamp dim %v", day, dim)
		}
	})
}
