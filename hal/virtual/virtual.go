// Package virtual is the front panel without hardware: it draws the same
// picture, lamp and gestures in a terminal, and hands frames to the web page.
//
// The gateway uses it where there is no real panel, in the demo and in tests.
// It never decides anything, and a slow or vanished terminal never holds up
// whoever shows a status.
package virtual

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"sekisho/hal"
	"sekisho/hal/panel"
)

// Errors of Press, those of package panel.
var (
	ErrTargetChanged = panel.ErrTargetChanged
	ErrBusy          = panel.ErrBusy
	ErrNotAsked      = panel.ErrNotAsked
)

// Config of a Panel. The zero Config is headless.
type Config struct {
	In, Out *os.File         // a terminal; when either is nil or no terminal, headless
	Logger  *slog.Logger     // nil: discard
	Now     func() time.Time // nil: time.Now
	Quit    func()           // called once when the person types q; may be nil
}

// Frame is what the panel shows at one moment.
type Frame = panel.Frame

// Panel implements hal.Panel. All its methods may be called from any
// goroutine; Run only once.
type Panel struct {
	cfg     Config
	presses chan hal.Press

	mu      sync.Mutex
	closed  bool // presses is closed
	status  hal.Status
	shownAt time.Time // when status was given
	since   time.Time // the lamp's rhythm began
	page    int
	seq     uint64
	button  panel.Button
	hold    panel.Hold
	key     keyPress
	subs    map[chan struct{}]struct{}
}

var _ hal.Panel = (*Panel)(nil)

// New makes a panel; Run brings it to life.
func New(cfg Config) *Panel {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Panel{cfg: cfg, presses: make(chan hal.Press, 16), subs: map[chan struct{}]struct{}{}, since: cfg.Now()}
	p.button.Edge(p.since, false)
	return p
}

// Show implements hal.Panel. It never blocks.
func (p *Panel) Show(s hal.Status) {
	now := p.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.State != p.status.State || s.Target != p.status.Target || s.ApprovalID != p.status.ApprovalID || s.Lockdown != p.status.Lockdown {
		p.page = 0
	}
	if s.State != p.status.State || s.Drill != p.status.Drill || s.Lockdown != p.status.Lockdown {
		p.since = now
	}
	p.status, p.shownAt = s, now
	p.button.Show(now, panel.Shows(s))
	p.changed()
}

// changed wakes the subscribers. The lock is held.
func (p *Panel) changed() {
	p.seq++
	for c := range p.subs {
		select {
		case c <- struct{}{}:
		default: // it has a token already
		}
	}
}

// Presses implements hal.Panel.
func (p *Panel) Presses() <-chan hal.Press { return p.presses }

// Frame returns what is shown now.
func (p *Panel) Frame() Frame {
	now := p.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	rhythm := panel.Lamp(p.status)
	s := p.status
	if !s.Now.IsZero() { // the clock goes on between two calls of Show
		s.Now = s.Now.Add(now.Sub(p.shownAt))
	}
	return Frame{
		Seq: p.seq, Image: *panel.RenderHold(s, p.page, p.hold),
		Lamp: panel.LampAt(rhythm, now.Sub(p.since)), Rhythm: rhythm,
		Lines: panel.Lines(s, p.page, p.hold), Status: s, Hold: p.hold, Page: p.page,
	}
}

// Subscribe returns a channel that holds a token after every change of what
// is shown (not of the lamp's blinking), and a function that ends it.
func (p *Panel) Subscribe() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	p.mu.Lock()
	p.subs[c] = struct{}{}
	p.mu.Unlock()
	return c, func() {
		p.mu.Lock()
		delete(p.subs, c)
		p.mu.Unlock()
	}
}

// Press is a gesture from the web page or the command line, with the target
// that the person saw. It returns ErrTargetChanged when the screen names
// something else by now, so nothing is ever done to a device that appeared
// while the press was on its way.
func (p *Panel) Press(g hal.Gesture, target string) error {
	now := p.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	shown := panel.Shows(p.status)
	switch {
	case g == hal.Hold8: // a lockdown concerns the whole office, whatever the screen names
	case g == hal.Hold3 && shown.Approve == "":
		return ErrNotAsked
	case g == hal.Hold3 && shown.Approve != target, g == hal.Short && shown.Target != target:
		return ErrTargetChanged
	}
	return p.emit(hal.Press{Gesture: g, Target: target, At: now})
}

// emit hands a press on, or turns the page. The lock is held.
func (p *Panel) emit(pr hal.Press) error {
	if p.closed {
		return ErrBusy
	}
	select {
	case p.presses <- pr:
	default:
		p.cfg.Logger.Error("press not taken", "gesture", int(pr.Gesture), "target", pr.Target)
		return ErrBusy
	}
	if pr.Gesture == hal.Short && pr.Target == "" && p.status.Target == "" {
		p.page = (p.page + 1) % panel.Pages(p.status)
		p.changed()
	}
	return nil
}

// Run implements hal.Panel: it draws until ctx ends and restores the terminal.
func (p *Panel) Run(ctx context.Context) error {
	defer func() {
		p.mu.Lock()
		p.closed = true
		close(p.presses)
		p.mu.Unlock()
	}()
	t := openTerminal(p.cfg)
	if t == nil {
		<-ctx.Done()
		return nil
	}
	return t.run(ctx, p)
}

// keyPress is a press simulated by a key: a terminal tells of no release.
type keyPress struct {
	down bool
	up   time.Time
}

// keyDown begins a press that ends by itself after held. Any key during a
// press lets go at once.
func (p *Panel) keyDown(held time.Duration) {
	now := p.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.key.down {
		p.key.up = now
		return
	}
	p.key = keyPress{down: true, up: now.Add(held)}
	p.take(p.button.Edge(now, true))
}

// tick lets the button's time pass.
func (p *Panel) tick() {
	now := p.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.key.down && !now.Before(p.key.up) {
		p.key.down = false
		p.take(p.button.Edge(now, false))
	}
	p.take(p.button.Advance(now))
	h := p.button.Hold(now)
	if h.Phase != p.hold.Phase || h.Left/time.Second != p.hold.Left/time.Second {
		p.changed()
	}
	p.hold = h
}

func (p *Panel) take(pr hal.Press, ok bool) {
	if !ok {
		return
	}
	if err := p.emit(pr); err != nil {
		p.cfg.Logger.Error("press lost", "err", err)
	}
}
