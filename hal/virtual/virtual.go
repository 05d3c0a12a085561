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
	"sekisho/hal/face"
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
	Page    string           // address of the web page, shown above the lamp; may be empty
	Quit    func()           // called once when the person types q; may be nil
}

// Frame is what the panel shows at one moment.
type Frame = panel.Frame

// Panel implements hal.Panel. All its methods may be called from any
// goroutine; Run only once.
type Panel struct {
	*face.Face
	cfg Config

	mu  sync.Mutex
	key keyPress
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
	p := &Panel{Face: face.New(face.Config{Logger: cfg.Logger, Now: cfg.Now}), cfg: cfg}
	p.Edge(false)
	return p
}

// Run implements hal.Panel: it draws until ctx ends and restores the terminal.
func (p *Panel) Run(ctx context.Context) error {
	defer p.Close()
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
	p.Edge(true)
}

// tick lets the button's time pass.
func (p *Panel) tick() {
	now := p.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.key.down && !now.Before(p.key.up) {
		p.key.down = false
		p.Edge(false)
	}
	p.Tick()
}
