// Package virtual is the front panel without hardware: it draws the same
// picture, lamp and gestures in a terminal, and hands frames to the web page.
//
// The gateway uses it where there is no real panel, in the demo and in tests;
// sekisho panel shows the panel of a gateway that runs elsewhere with it. It
// never decides anything, and a slow or vanished terminal never holds up
// whoever shows a status.
package virtual

import (
	"context"
	"errors"
	"log/slog"
	"os"
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
	In, Out *os.File            // a terminal; when either is nil or no terminal, headless
	Logger  *slog.Logger        // nil: discard
	Now     func() time.Time    // nil: time.Now
	Env     func(string) string // tells of the terminal: TERM, COLORTERM, NO_COLOR, the locale; nil: os.Getenv
	Page    string              // address of the web page, shown above the lamp; may be empty
	Lang    string              // of what stands around the picture; empty: that of the status
	Note    func() string       // one line more, such as what became of a press; may be nil
	Watch   bool                // q only closes the terminal's panel, and the keys say so
	Quit    func()              // called when the person types q; may be nil
}

// Frame is what the panel shows at one moment.
type Frame = panel.Frame

// Panel implements hal.Panel. All its methods may be called from any
// goroutine; Run only once.
type Panel struct {
	*face.Face
	cfg Config
}

var (
	_ hal.Panel = (*Panel)(nil)
	_ Source    = (*Panel)(nil)
)

// New makes a panel; Run brings it to life.
func New(cfg Config) *Panel {
	cfg = cfg.filled()
	return &Panel{Face: face.New(face.Config{Logger: cfg.Logger, Now: cfg.Now}), cfg: cfg}
}

// Run implements hal.Panel: it draws until ctx ends and restores the terminal.
// A terminal that goes away is no reason to end.
func (p *Panel) Run(ctx context.Context) error {
	defer p.Close()
	if err := Operate(ctx, p.cfg, p); err != nil && !errors.Is(err, ErrNoTerminal) {
		p.cfg.Logger.Warn("terminal gone, panel goes on without it", "err", err)
	}
	<-ctx.Done()
	return nil
}
