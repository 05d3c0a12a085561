package rpi

import (
	"context"
	"fmt"
	"time"

	"sekisho/hal"
	"sekisho/hal/panel"
	"sekisho/hal/ssd1306"
)

// ScreenConfig says which screen hangs on which bus.
type ScreenConfig struct {
	Kind       string // "ssd1306", "sh1106", or "none"
	Bus        int    // number of the I2C bus: 1 is /dev/i2c-1
	Addr       uint16 // 0: 0x3C
	Height     int    // rows: 64 or 32; 0: 64
	UpsideDown bool
}

func (c ScreenConfig) there() bool { return c.Kind != "" && c.Kind != "none" }

// Driver returns the driver of the screen on a bus, whose picture moves by a pixel
// every orbit; 0: never. It sends nothing yet.
func (c ScreenConfig) Driver(bus ssd1306.Bus, orbit time.Duration, now func() time.Time) (*ssd1306.Display, error) {
	cfg := ssd1306.Config{Addr: c.Addr, Height: c.Height, UpsideDown: c.UpsideDown, Orbit: orbit, Now: now}
	switch c.Kind {
	case "ssd1306":
	case "sh1106":
		cfg.Controller = ssd1306.SH1106
	default:
		return nil, fmt.Errorf("panel.screen: %q is not a screen; write ssd1306, sh1106 or none", c.Kind)
	}
	return ssd1306.New(bus, cfg)
}

// Bus is an I2C bus. A transaction may take as long as the kernel waits for a bus
// that hangs, about a second.
type Bus interface {
	Tx(addr uint16, w, r []byte) error
	Close() error
}

// refresh is the time between two pictures. Five a second move a bar smoothly
// enough; a whole picture takes a bus of 100 kHz 100 ms.
const refresh = 200 * time.Millisecond

// lag is how long a page may be on its way to the screen: until the next picture, and
// over the bus.
const lag = refresh + 100*time.Millisecond

// orbit is how often the picture moves by a pixel: the title stands for months.
const orbit = 10 * time.Minute

// draw keeps the screen showing what the face shows. It has a goroutine of its own:
// a bus may hang in the kernel. Pictures that came meanwhile are not caught up.
func (p *Panel) draw(ctx context.Context) {
	var shown panel.Shown // what the last picture named
	for {
		err := p.paint(ctx, &shown)
		if ctx.Err() != nil {
			return
		}
		p.Frozen(shown)
		select {
		case <-ctx.Done():
			return
		case <-time.After(p.screen.report(err)):
		}
	}
}

// paint opens the bus and draws until something fails, or ctx ends: then the
// screen is dark.
func (p *Panel) paint(ctx context.Context, shown *panel.Shown) error {
	bus, err := p.board.OpenBus(p.cfg.Screen.Bus)
	if err != nil {
		return err
	}
	defer bus.Close()
	screen, err := p.cfg.Screen.Driver(bus, orbit, p.cfg.Now)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(refresh)
	defer ticker.Stop()
	level := ssd1306.Day
	for {
		f, last := p.Frame(), *shown
		late := time.AfterFunc(lag-refresh, func() { p.Frozen(last) }) // a bus that hangs has not failed yet
		if now := p.brightness(f.Status); now != level {
			err, level = screen.SetBrightness(now), now
		}
		if err == nil {
			err = screen.Draw(p.picture(f)) // sends what changed
		}
		late.Stop()
		if err != nil {
			return err
		}
		*shown = panel.Shows(f.Status)
		p.Thawed(*shown)
		p.screen.report(nil)
		select {
		case <-ctx.Done():
			return screen.Halt()
		case <-ticker.C:
		}
	}
}

// picture is the frame on the screen that there is.
func (p *Panel) picture(f panel.Frame) []byte {
	if p.cfg.Screen.Height == panel.Low.Rows() {
		return panel.RenderOn(panel.Low, f.Status, f.Page, f.Hold).Data()
	}
	return f.Image.Data()
}

func (p *Panel) brightness(s hal.Status) uint8 {
	if calm(s) && p.cfg.Night.Has(p.cfg.Now()) {
		return ssd1306.Night
	}
	return ssd1306.Day
}
