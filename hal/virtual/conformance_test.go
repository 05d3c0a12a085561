package virtual

import (
	"context"
	"testing"
	"time"

	"sekisho/hal"
	"sekisho/hal/panel"
	"sekisho/hal/paneltest"
)

// inTerminal is a Panel whose terminal is a fake.
type inTerminal struct {
	*Panel
	tty *fakeTTY
}

func (p inTerminal) Run(ctx context.Context) error {
	defer p.Close()
	return newTerminal(p.cfg, p, p.tty).run(ctx, nil)
}

// A keyboard has no line: its keys press, and hold for as long as they say.
func TestThePanelInATerminalIsAFrontPanel(t *testing.T) {
	paneltest.Run(t, func(t *testing.T) (hal.Panel, paneltest.Control) {
		d := newFakeTTY(t, 80, 24)
		p := inTerminal{New(Config{Env: env(modern)}), d}
		return p, paneltest.Control{
			Hold: func(held time.Duration) {
				key := " "
				switch {
				case held > panel.HoldLong:
					key = "8"
				case held > panel.HoldShort:
					key = "3"
				}
				d.typed <- []byte(key)
				time.Sleep(held + repeat) // the next is a stroke of its own
			},
			Hang: func() func() { d.stuck.Store(true); return func() { d.stuck.Store(false) } },
		}
	})
}
