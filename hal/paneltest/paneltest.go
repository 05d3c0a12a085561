// Package paneltest is what every front panel does, whatever it is made of: one
// suite of tests that runs over the panel in a terminal and over the one on lines.
//
// A new panel passes it before the gateway may use it. All times are those of a
// testing/synctest bubble, so that a panel has to wait on timers and channels
// alone, and leaves no goroutine behind.
package paneltest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/hal"
	"sekisho/hal/panel"
)

// Control is the world around a panel. Hold must be there; what a panel does not
// have is nil, and what would need it is not asked of it.
type Control struct {
	// Hold keeps a finger on the button for about so long: Tap, and a little more
	// than panel.HoldShort or panel.HoldLong. It returns when the finger is off.
	Hold func(time.Duration)
	// Level moves the raw line of the button, true when pressed.
	Level func(down bool)
	// Hang has a part that shows something take nothing until free is called.
	Hang func() (free func())
}

// Tap is how long a press takes that is meant as one.
const Tap = 100 * time.Millisecond

// A little more than a hold has to be.
const (
	hold3 = panel.HoldShort + 300*time.Millisecond
	hold8 = panel.HoldLong + 300*time.Millisecond
)

// Run tests panels that open makes, each inside a bubble and not running yet.
func Run(t *testing.T, open func(t *testing.T) (hal.Panel, Control)) {
	for name, test := range map[string]func(*bench){
		"one press is one gesture, of what is shown":        onePress,
		"a press counts for what was shown before it":       reaction,
		"a press where nothing is named names nothing":      nothingNamed,
		"a hold of 3 s allows what is asked, and only that": allows,
		"a hold of 8 s is a lockdown, of whatever is shown": lockdown,
		"a line that is down from the start is no press":    downAtStart,
		"contacts that bounce press once":                   bounces,
		"a stuck line does nothing, and works again later":  stuck,
		"a hold let go in the countdown is nothing":         countdown,
		"Show never waits":                             showNeverWaits,
		"a part that hangs holds up nothing else":      hangs,
		"presses that nobody takes hold up nothing":    untaken,
		"every status can be shown":                    everyStatus,
		"Run ends with its context and closes Presses": ends,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, c := open(t)
				test(&bench{T: t, Panel: p, Control: c})
			})
		})
	}
}

// bench is one panel under test.
type bench struct {
	*testing.T
	hal.Panel
	Control
	cancel context.CancelFunc
	done   chan error
}

// start brings the panel to life, with a status that has been seen.
func (b *bench) start(s hal.Status) {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel, b.done = cancel, make(chan error, 1)
	go func() { b.done <- b.Panel.Run(ctx) }()
	time.Sleep(time.Second)
	b.see(s)
}

func (b *bench) see(s hal.Status) {
	b.Show(s)
	time.Sleep(time.Second)
}

// patience is how long a panel may take to end: a wait of a kernel, and a bus that
// hangs.
const patience = 5 * time.Second

// end ends the panel and returns the presses that nobody has taken.
func (b *bench) end() (left []hal.Press) {
	b.Helper()
	began := time.Now()
	b.cancel()
	select {
	case err := <-b.done:
		if err != nil {
			b.Errorf("the end: %v", err)
		}
	case <-time.After(patience):
		b.Errorf("Run has not ended after %v", time.Since(began))
		<-b.done
	}
	for p := range b.Presses() { // ends where Presses is closed
		left = append(left, p)
	}
	return left
}

// taken is what has been pressed so far, but for the time.
func (b *bench) taken() (out []hal.Press) {
	time.Sleep(time.Second)
	for {
		select {
		case p := <-b.Presses():
			p.At = time.Time{}
			out = append(out, p)
		default:
			return out
		}
	}
}

// wants ends the panel and checks all that has been pressed.
func (b *bench) wants(want ...hal.Press) {
	b.Helper()
	if got := b.taken(); !slices.Equal(got, want) {
		b.Errorf("pressed %+v, want %+v", got, want)
	}
	if left := b.end(); len(left) > 0 {
		b.Errorf("later came %+v", left)
	}
}

func suspect(target string) hal.Status {
	return hal.Status{State: hal.Attention, Lang: "ja", Suspect: hal.Device{Name: "経理PC-" + target, Place: "ポート3"}, What: "23台を調べています", Target: target}
}

func short(target string) hal.Press { return hal.Press{Gesture: hal.Short, Target: target} }

func onePress(b *bench) {
	b.start(suspect("a"))
	pressed := time.Now()
	b.Hold(Tap)
	time.Sleep(2 * panel.Debounce)
	p := <-b.Presses()
	if late := p.At.Sub(pressed); late < 0 || late > 50*time.Millisecond {
		b.Errorf("the press is told as of %v after the finger came down", late)
	}
	if p.At = (time.Time{}); p != short("a") {
		b.Errorf("pressed %+v", p)
	}
	b.Hold(Tap)
	b.wants(short("a"))
}

func reaction(b *bench) {
	b.start(suspect("a"))
	b.Show(suspect("b"))
	time.Sleep(panel.Reaction / 3)
	b.Hold(Tap)             // nobody has read b yet
	time.Sleep(time.Second) // the slowest screen shows it by now
	b.Hold(Tap)
	b.wants(short("a"), short("b"))
}

func nothingNamed(b *bench) {
	b.start(hal.Status{State: hal.Normal, Lang: "en"})
	b.Hold(Tap)
	b.see(suspect("a"))
	b.see(hal.Status{State: hal.Isolated, Lang: "en"})
	b.Hold(Tap)
	b.wants(short(""), short(""))
}

func allows(b *bench) {
	asks := func(id string) hal.Status {
		return hal.Status{State: hal.Normal, Lang: "en", Approval: "Aoba", ApprovalID: id}
	}
	b.start(asks("g1"))
	b.Hold(hold3)
	b.see(asks("g2"))
	b.Hold(hold3)
	b.see(suspect("a"))
	b.Hold(hold3) // nothing is asked
	b.wants(hal.Press{Gesture: hal.Hold3, Target: "g1"}, hal.Press{Gesture: hal.Hold3, Target: "g2"}, short("a"))
}

func lockdown(b *bench) {
	b.start(suspect("a"))
	b.Hold(hold8)
	b.see(hal.Status{State: hal.Normal, Lang: "en"})
	b.Hold(hold8)
	got := b.taken()
	if len(got) != 2 || got[0].Gesture != hal.Hold8 || got[1].Gesture != hal.Hold8 {
		b.Errorf("pressed %+v", got)
	}
	b.wants()
}

func downAtStart(b *bench) {
	if b.Level == nil {
		return
	}
	b.Level(true)
	b.start(suspect("a"))
	b.Level(false)
	time.Sleep(time.Second)
	b.Hold(Tap)
	b.wants(short("a"))
}

func bounces(b *bench) {
	if b.Level == nil {
		return
	}
	b.start(suspect("a"))
	for _, down := range []bool{true, false} {
		for range 5 {
			b.Level(down)
			time.Sleep(2 * time.Millisecond)
			b.Level(!down)
			time.Sleep(time.Millisecond)
		}
		b.Level(down)
		time.Sleep(Tap)
	}
	b.wants(short("a"))
}

func stuck(b *bench) {
	if b.Level == nil {
		return
	}
	b.start(suspect("a"))
	b.Level(true)
	time.Sleep(panel.StuckAt + time.Second)
	b.Level(false)
	time.Sleep(time.Second)
	b.Hold(Tap)
	b.wants(short("a"))
}

func countdown(b *bench) {
	if b.Level == nil {
		return
	}
	b.start(suspect("a"))
	b.Level(true)
	time.Sleep((panel.HoldCount + panel.HoldLong) / 2)
	b.Level(false)
	b.wants()
}

// shows calls Show many times, which must not take any time at all.
func (b *bench) shows() {
	b.Helper()
	began := time.Now()
	for i := range 1000 {
		b.Show(hal.Status{State: hal.State(i % 8), Lang: "ja"})
	}
	if took := time.Since(began); took != 0 {
		b.Errorf("Show waited, for %v", took)
	}
}

func showNeverWaits(b *bench) {
	b.shows() // nobody draws yet
	b.start(suspect("a"))
	b.shows()
	b.wants()
	b.shows() // nobody draws any more
}

func hangs(b *bench) {
	if b.Hang == nil {
		return
	}
	b.start(hal.Status{State: hal.Normal, Lang: "en"}) // a screen that named somebody would go on to
	free := b.Hang()
	b.shows()
	b.see(suspect("b"))
	b.Hold(Tap)
	b.wants(short("b")) // the end as well
	free()
	time.Sleep(time.Minute) // for whoever was held in the part
}

func untaken(b *bench) {
	b.start(suspect("a"))
	for range 60 {
		b.Hold(Tap)
		time.Sleep(time.Second)
	}
	b.shows()
	left := b.end()
	if len(left) == 0 || slices.ContainsFunc(left, func(p hal.Press) bool { return p.Gesture != hal.Short || p.Target != "a" }) {
		b.Errorf("kept %+v", left)
	}
}

func everyStatus(b *bench) {
	b.start(hal.Status{})
	long := strings.Repeat("ながい名前\x1b[2J\u202e", 60)
	for state := hal.Normal; state <= hal.VendorConnected+1; state++ {
		for _, s := range []hal.Status{{}, suspect("a"), {Suspect: hal.Device{Name: long, Addr: long, Place: long}, What: long, Impact: long, Vendor: long, VendorPhone: long, FaultText: long, Cable: long}} {
			for _, s.Lang = range []string{"ja", "en", ""} {
				s.State, s.Drill, s.Lockdown, s.VendorOnline = state, s.Lang == "", s.Lang == "en", s.Lang == "ja"
				b.Show(s)
				time.Sleep(100 * time.Millisecond)
			}
		}
	}
	b.see(suspect("z"))
	b.Hold(Tap)
	b.wants(short("z"))
}

func ends(b *bench) {
	b.start(suspect("a"))
	if left := b.end(); len(left) != 0 {
		b.Errorf("pressed by nobody: %+v", left)
	}
}
