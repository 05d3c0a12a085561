// Package rpi is the front panel on the header of a Raspberry Pi, or of a board
// like it: a button and a lamp on GPIO lines, a small screen on I2C, and a buzzer
// if there is one.
//
// The gateway opens it where the settings say so, hal/cmd/halsmoke tries its parts
// one by one. It alone uses periph.io's host drivers. It never decides anything,
// and a part that is missing, breaks or hangs never holds up another part, nor
// whoever shows a status: it is tried again, and Parts says how it does.
package rpi

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"sekisho/hal"
	"sekisho/hal/face"
	"sekisho/hal/panel"
)

// Config names the parts; one without a name is not there. Wiring has the names
// that README.md draws.
//
// A line is named as the kernel does ("GPIO17", see gpioinfo(1)) or by its number
// on the chip. A light may also be "pwm:CHIP.CHANNEL" of /sys/class/pwm: then it
// has shades, and dims at night.
type Config struct {
	Chip             string // of the lines, by name or label; "" for the first that has the line
	Button           string
	ActiveLow        bool // the button pulls its line down, as a switch to ground does
	Red, Green, Blue string
	LampActiveLow    bool   // a light is on while its line is low, as with a common anode
	Buzzer           string // one that sounds by itself while its line is high
	Mute             bool   // the buzzer stays silent
	Screen           ScreenConfig
	Night            Night // lamp and screen dim, the buzzer does not call

	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // nil: time.Now
}

// Wiring is the panel of README.md: what is meant when nothing is named.
func Wiring() Config {
	return Config{
		Button: "GPIO17", ActiveLow: true, Red: "GPIO23", Green: "GPIO24", Blue: "GPIO25",
		Screen: ScreenConfig{Kind: "ssd1306", Bus: 1, Addr: 0x3C, Height: 64},
	}
}

// Board opens the parts. It is asked again while one is missing, from several
// goroutines.
type Board interface {
	OpenButton(line string, activeLow bool) (Button, error)
	OpenLight(line string, activeLow bool) (Light, error) // of the lamp, or the buzzer
	OpenBus(number int) (Bus, error)
}

// Button is a line that tells of its edges. Wait and Edges are called from two
// goroutines.
type Button interface {
	// Down is the level now.
	Down() (bool, error)
	// Wait returns when there are edges to take; with an error when the line is
	// gone, or was closed meanwhile.
	Wait() error
	// Edges are those since the last call, oldest first. It never waits.
	Edges() ([]Edge, error)
	Close() error
}

// Edge is a change of the button's level.
type Edge struct {
	Ago  time.Duration // how long before it was asked for
	Down bool
}

// Light is one colour of the lamp, or the buzzer.
type Light interface {
	Set(Shade) error
	Close() error
}

// Shade is how bright a light is.
type Shade struct {
	Level uint8 // as in panel.Color: 0 is off
	Dim   bool  // at night, where it can
}

// ErrHeld is how a button does whose line has been down, or has not stood still,
// for longer than a person keeps it so.
var ErrHeld = errors.New("the button does not come back: it is jammed, something leans on it, or its wire touches another")

// Panel implements hal.Panel. Run it only once.
type Panel struct {
	*face.Face
	cfg    Config
	board  Board
	button part
	lamp   [3]output // red, green, blue
	buzzer output
	bell   bell
	screen part

	mu   sync.Mutex
	line Button // nil while the button is missing
	why  error  // what made pass give it up
	held bool
}

var _ hal.Panel = (*Panel)(nil)

// New returns a panel of the parts that board opens. Nothing is opened before Run.
func New(cfg Config, board Board) *Panel {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	f := face.Config{Logger: cfg.Logger, Now: cfg.Now}
	if cfg.Screen.there() {
		f.Lag = lag
	}
	p := &Panel{Face: face.New(f), cfg: cfg, board: board}
	p.button = part{name: "button", log: cfg.Logger}
	p.screen = part{name: "screen", log: cfg.Logger}
	light := func(name, line string, activeLow bool) output {
		return output{
			part: part{name: name, log: cfg.Logger}, there: line != "",
			open: func() (Light, error) { return board.OpenLight(line, activeLow) },
		}
	}
	p.lamp = [3]output{
		light("red", cfg.Red, cfg.LampActiveLow), light("green", cfg.Green, cfg.LampActiveLow), light("blue", cfg.Blue, cfg.LampActiveLow),
	}
	p.buzzer = light("buzzer", cfg.Buzzer, false)
	p.bell = bell{mute: cfg.Mute}
	return p
}

// Parts says how every part does that the settings name. It may be called from
// any goroutine. A light and a buzzer cannot be felt: they are well when their
// line takes a level.
func (p *Panel) Parts() []hal.Part {
	var parts []hal.Part
	if p.cfg.Button != "" {
		err := p.button.state()
		p.mu.Lock()
		if err == nil && p.held {
			err = ErrHeld
		}
		p.mu.Unlock()
		parts = append(parts, hal.Part{Name: p.button.name, Err: err})
	}
	for _, o := range p.outputs() {
		if o.there {
			parts = append(parts, hal.Part{Name: o.name, Err: o.state()})
		}
	}
	if p.cfg.Screen.there() {
		parts = append(parts, hal.Part{Name: p.screen.name, Err: p.screen.state()})
	}
	return parts
}

func (p *Panel) outputs() []*output {
	return []*output{&p.lamp[0], &p.lamp[1], &p.lamp[2], &p.buzzer}
}

// farewell is how long Run waits for the screen at its end. A hung bus holds its
// caller inside the kernel, where nothing reaches it; then it is left there.
const farewell = 2 * time.Second

// Run implements hal.Panel: it brings the parts to life until ctx ends, and
// leaves lamp, buzzer and screen off.
func (p *Panel) Run(ctx context.Context) error {
	defer p.Close()
	wake := make(chan struct{})
	var listening sync.WaitGroup
	if p.cfg.Button != "" {
		listening.Go(func() { p.listen(ctx, wake) })
	}
	drawn := make(chan struct{})
	go func() {
		defer close(drawn)
		if p.cfg.Screen.there() {
			p.draw(ctx)
		}
	}()
	p.attend(ctx, wake)
	listening.Wait()
	select {
	case <-drawn:
	case <-time.After(farewell):
		p.cfg.Logger.Error("the screen's bus hangs; it is left alone")
	}
	return nil
}

// beat is how often time passes while nothing changes: a hold shows how far it has
// come, and what is missing is tried again.
const beat = 50 * time.Millisecond

// attend hands edges to the face, and drives lamp and buzzer.
func (p *Panel) attend(ctx context.Context, wake <-chan struct{}) {
	changed, stop := p.Subscribe()
	defer stop()
	defer func() {
		for _, o := range p.outputs() {
			o.close()
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var edge time.Time // the last one
	for {
		if p.pass() {
			edge = time.Now()
		}
		next := min(p.drive(), beat)
		if rest := panel.Debounce - time.Since(edge); rest > 0 {
			next = min(next, rest) // a level counts as soon as it has stood so long
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-changed:
		case <-timer.C:
		}
	}
}

// drive brings lamp and buzzer to what they are now, and says how long that holds.
func (p *Panel) drive() time.Duration {
	now, look := p.cfg.Now(), p.Look()
	p.mu.Lock()
	p.held = look.Hold.Phase == panel.HoldStuck
	p.mu.Unlock()
	night := p.cfg.Night.Has(now)
	dim := night && calm(look.Status)
	for i, level := range []uint8{look.Lamp.R, look.Lamp.G, look.Lamp.B} {
		p.lamp[i].set(now, Shade{level, dim})
	}
	sounds, left := p.bell.at(now, look, night)
	var level uint8
	if sounds {
		level = 255
	}
	p.buzzer.set(now, Shade{Level: level})
	return min(look.Left, left)
}

// calm says that nobody has to come: only then the panel is dim at night.
func calm(s hal.Status) bool {
	return !s.Lockdown && (s.State == hal.Normal || s.State == hal.Learning)
}
