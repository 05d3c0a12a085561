// Package rpi is the front panel on GPIO lines: a button, and a lamp of three
// colours. What it shows on a screen is package ssd1306's.
//
// The gateway opens it where the settings name lines. It alone uses periph.io's
// registry of devices. It never decides anything, and a line that fails never
// holds up whoever shows a status.
package rpi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"periph.io/x/conn/v3/driver/driverreg"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/host/v3/gpioioctl"

	"sekisho/hal"
	"sekisho/hal/face"
	"sekisho/hal/panel"
)

// Config names the lines, each by the name that the kernel gives it
// ("GPIO17", see gpioinfo(1)) or by its number on the chip.
type Config struct {
	Chip             string // name or label, "" for the first
	Button           string // required
	Red, Green, Blue string // of the lamp; "" for a light that is not there
	ActiveLow        bool   // the button pulls its line down, as a switch to ground does

	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // nil: time.Now
}

// Panel implements hal.Panel. Run it only once.
type Panel struct {
	*face.Face
	lines  Lines
	log    *slog.Logger
	broken atomic.Bool // the button's line; its level then says nothing
}

var _ hal.Panel = (*Panel)(nil)

// Lines are what a Panel drives. A nil light is one that is not there.
type Lines struct {
	Button           gpio.PinIn // set up for both edges
	ActiveLow        bool
	Red, Green, Blue gpio.PinOut
}

// Open finds and claims the lines. Its errors name the setting to mend.
func Open(cfg Config) (*Panel, error) {
	if _, err := driverreg.Init(); err != nil {
		return nil, fmt.Errorf("panel: look for GPIO chips: %w", err)
	}
	chip, err := chipOf(cfg.Chip, gpioioctl.Chips)
	if err != nil {
		return nil, err
	}
	l := Lines{ActiveLow: cfg.ActiveLow}
	button, err := lineOf(chip, "button", cfg.Button)
	if err != nil {
		return nil, err
	}
	pull := gpio.PullDown
	if cfg.ActiveLow {
		pull = gpio.PullUp
	}
	// Not every controller has pull resistors: then the board has them.
	if err := button.In(pull, gpio.BothEdges); err != nil {
		if err := button.In(gpio.PullNoChange, gpio.BothEdges); err != nil {
			return nil, fmt.Errorf("panel.button: line %q does not tell of edges: %w", cfg.Button, err)
		}
	}
	l.Button = button
	for _, light := range []struct {
		key, name string
		to        *gpio.PinOut
	}{{"red", cfg.Red, &l.Red}, {"green", cfg.Green, &l.Green}, {"blue", cfg.Blue, &l.Blue}} {
		if light.name == "" {
			continue
		}
		pin, err := lineOf(chip, light.key, light.name)
		if err != nil {
			return nil, err
		}
		if err := pin.Out(gpio.Low); err != nil {
			return nil, fmt.Errorf("panel.%s: line %q cannot be driven: %w", light.key, light.name, err)
		}
		*light.to = pin
	}
	return New(cfg, l), nil
}

func chipOf(name string, chips []*gpioioctl.GPIOChip) (*gpioioctl.GPIOChip, error) {
	var have []string
	for _, c := range chips {
		if name == "" || c.Name() == name || c.Label() == name {
			return c, nil
		}
		have = append(have, c.Name()+" ("+c.Label()+")")
	}
	if len(have) == 0 {
		return nil, errors.New("panel.chip: this machine has no GPIO chip; set panel.kind = \"headless\" to do without a panel")
	}
	return nil, fmt.Errorf("panel.chip: there is no %q; this machine has %v", name, have)
}

func lineOf(chip *gpioioctl.GPIOChip, key, name string) (*gpioioctl.GPIOLine, error) {
	for _, l := range chip.Lines() {
		if l.Name() == name && name != "" || strconv.Itoa(l.Number()) == name {
			return l, nil
		}
	}
	return nil, fmt.Errorf("panel.%s: chip %s has no line %q", key, chip.Name(), name)
}

// New makes a panel of lines that are set up already. Of cfg only Logger and
// Now are read.
func New(cfg Config, l Lines) *Panel {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Panel{Face: face.New(face.Config{Logger: cfg.Logger, Now: cfg.Now}), lines: l, log: cfg.Logger}
}

// Run implements hal.Panel: it reads the button and drives the lamp until ctx
// ends, and leaves the lamp dark.
func (p *Panel) Run(ctx context.Context) error {
	defer p.Close()
	edges := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.listen(ctx, edges)
	}()
	p.attend(ctx, edges)
	<-done
	return p.light(panel.Color{}, nil)
}

// patience is how long one wait for an edge may take, and so how long Run may
// need to end: a wait cannot be interrupted without a race (gpioioctl v3.8.5).
const patience = 500 * time.Millisecond

// listen puts a token into edges for every edge, and now and then without one.
func (p *Panel) listen(ctx context.Context, edges chan<- struct{}) {
	for ctx.Err() == nil {
		began := time.Now()
		broken := !p.lines.Button.WaitForEdge(patience) && time.Since(began) < patience/2
		if p.broken.Swap(broken) != broken {
			p.log.Error("the button's line", "broken", broken)
		}
		if broken { // not a wait that ran out: it would spin
			select {
			case <-ctx.Done():
			case <-time.After(patience):
			}
		}
		select {
		case edges <- struct{}{}:
		default: // whoever reads looks at the level, not at the edge
		}
	}
}

// beat is how often the button's time passes while nothing changes: the
// countdown of a long press shows whole seconds.
const beat = 50 * time.Millisecond

// attend hands levels to the face, and lets its time pass at the moment at
// which a level has stood long enough to count.
func (p *Panel) attend(ctx context.Context, edges <-chan struct{}) {
	changed, stop := p.Subscribe()
	defer stop()
	var shown *panel.Color
	timer := time.NewTimer(0)
	defer timer.Stop()
	p.look()
	for {
		color, left := p.Lamp()
		if shown == nil || *shown != color {
			if err := p.light(color, shown); err != nil {
				p.log.Error("drive lamp", "err", err)
			}
			shown = &color
		}
		timer.Reset(min(left, beat))
		select {
		case <-ctx.Done():
			return
		case <-edges:
			p.look()
			timer.Reset(panel.Debounce)
			p.settle(ctx, edges, timer)
		case <-changed:
		case <-timer.C:
		}
		p.Tick()
	}
}

// settle waits until the line has stood still for the debounce time. It is
// bounded: a line that chatters must not darken the lamp.
func (p *Panel) settle(ctx context.Context, edges <-chan struct{}, timer *time.Timer) {
	for range 8 {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-edges:
			p.look()
			timer.Reset(panel.Debounce)
		}
	}
}

// look hands the level to the face. A line that cannot be read seems low, which
// of an active-low button would be a finger that stays.
func (p *Panel) look() {
	if !p.broken.Load() {
		p.Edge(bool(p.lines.Button.Read()) != p.lines.ActiveLow)
	}
}

// light drives the lines that differ from what they showed last; nil: all.
func (p *Panel) light(to panel.Color, from *panel.Color) error {
	var errs []error
	set := func(pin gpio.PinOut, now uint8, before func(panel.Color) uint8) {
		if pin != nil && (from == nil || lit(before(*from)) != lit(now)) {
			errs = append(errs, pin.Out(gpio.Level(lit(now))))
		}
	}
	set(p.lines.Red, to.R, func(c panel.Color) uint8 { return c.R })
	set(p.lines.Green, to.G, func(c panel.Color) uint8 { return c.G })
	set(p.lines.Blue, to.B, func(c panel.Color) uint8 { return c.B })
	return errors.Join(errs...)
}

// lit turns a shade into on or off: a line knows no other. Amber is red with
// green, and the green in the panel's blue too little to be seen.
func lit(shade uint8) bool { return shade >= 128 }
