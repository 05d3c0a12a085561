// Package ssd1306 drives a small one-bit OLED screen of 128x64 or 128x32 pixels
// with an SSD1306 or SH1106 controller on an I2C bus.
//
// hal/rpi opens the bus and gives it pictures. The driver never reads from the
// screen, never starts a goroutine and never retries: a Draw that fails says so,
// and the next one starts from nothing, so that a screen which was unplugged and
// comes back, without its memory, shows the picture again.
//
// Sources: Solomon Systech SSD1306 rev 1.1 with its charge pump application note,
// and Sino Wealth SH1106 V2.3.
package ssd1306

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/i2c"
)

// Width of every screen in pixels.
const Width = 128

const pageRows = 8 // rows of pixels in a page, one bit each (section 8.7)

// MaxTx is the length of the longest transaction in bytes, its control byte
// counted: one page of pixels. On a bus of 100 kHz that is 12 ms, during which
// other devices wait. The adapters of a Raspberry Pi and i2c-gpio take it in one
// message, and i2c-dev ends at 8192; adapters on USB that end at some 60 bytes
// are not served.
const MaxTx = 1 + Width

// Controller is the chip on the screen's glass.
type Controller uint8

// Controllers. Their commands are alike; the SH1106 has 132 columns of memory
// and page addressing only.
const (
	SSD1306 Controller = iota
	SH1106
)

func (c Controller) String() string {
	switch c {
	case SSD1306:
		return "SSD1306"
	case SH1106:
		return "SH1106"
	}
	return fmt.Sprintf("controller %d", uint8(c))
}

// Defaults of Config.
const (
	DefaultAddr    = 0x3C             // SA0 low; the other one is 0x3D (section 8.1.5)
	DefaultRefresh = 10 * time.Second // see Config.Refresh
)

// Config of a Display. The zero Config is a 128x64 SSD1306 at 0x3C.
type Config struct {
	Addr       uint16 // on the bus; 0: DefaultAddr
	Controller Controller
	Height     int  // rows: 64 or 32; 0: 64
	UpsideDown bool // the screen is mounted with its pins below

	// Refresh is how old the oldest byte in the screen's memory may grow: a Draw
	// that comes later sends every register and the whole picture again. A
	// disturbed bus can change either without anybody noticing, and a screen that
	// was unplugged between two pictures comes back dark. What is sent again is
	// what is there already, so nothing flickers; the one register of the SH1106
	// for which the display has to be off (its pump) is left out, and waits for the
	// next start. 0: DefaultRefresh.
	Refresh time.Duration
	// Orbit is how long the picture stands before it moves by a pixel, against
	// burn-in; see the function of that name. 0: it stays in its place.
	Orbit time.Duration

	Now func() time.Time // nil: time.Now
}

// Bus is what the driver needs of an I2C bus: one transaction with one device.
// How long a transaction may take is the bus's matter.
type Bus interface {
	Tx(addr uint16, w, r []byte) error
}

var (
	_ Bus           = i2c.Bus(nil)
	_ conn.Resource = (*Display)(nil)
)

// Display is one screen. It is not safe for concurrent use.
type Display struct {
	bus Bus
	cfg Config

	live      bool      // the screen is set up and holds shown, for all we know
	refreshed time.Time // when all of it was last sent
	shown     []byte    // what its memory holds, in the layout of Draw
	level     uint8
	tx        [MaxTx]byte
}

// New checks the settings and returns a Display. It sends nothing.
func New(bus Bus, c Config) (*Display, error) {
	if bus == nil {
		return nil, errors.New("ssd1306: no bus")
	}
	if c.Addr == 0 {
		c.Addr = DefaultAddr
	}
	if c.Height == 0 {
		c.Height = 64
	}
	if c.Refresh == 0 {
		c.Refresh = DefaultRefresh
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	switch {
	case c.Addr < 0x08 || c.Addr > 0x77:
		return nil, fmt.Errorf("ssd1306: address %#x: a device has one from 0x08 to 0x77", c.Addr)
	case c.Controller > SH1106:
		return nil, fmt.Errorf("ssd1306: %v is not known", c.Controller)
	case c.Height != 64 && c.Height != 32:
		return nil, fmt.Errorf("ssd1306: height %d: a screen has 64 or 32 rows", c.Height)
	case c.Refresh < 0 || c.Orbit < 0:
		return nil, errors.New("ssd1306: refresh and orbit cannot be negative")
	}
	return &Display{bus: bus, cfg: c, level: Day, shown: make([]byte, Width*c.Height/pageRows)}, nil
}

// String implements conn.Resource.
func (d *Display) String() string {
	return fmt.Sprintf("%v %dx%d at %#x", d.cfg.Controller, Width, d.cfg.Height, d.cfg.Addr)
}

// Draw shows a picture: byte y/8*128+x holds the pixels (x, y&^7) to (x, y|7),
// least significant bit on top, 128*Height/8 bytes in all. It does not keep pix.
//
// Only what changed goes over the bus, except for the first picture, the first
// after an error, and what Config.Refresh asks for. So Draw is to be called with
// the same picture too, every few seconds: that is how a screen that is gone is
// noticed, and one that came back is lit. After an error the screen may show
// anything until a later Draw succeeds.
func (d *Display) Draw(pix []byte) error {
	if len(pix) != len(d.shown) {
		return fmt.Errorf("ssd1306: picture of %d bytes for a screen of %d", len(pix), len(d.shown))
	}
	now := d.cfg.Now()
	if d.cfg.Orbit > 0 {
		dx, dy := Orbit(now, d.cfg.Orbit)
		pix = Moved(pix, dx, dy)
	}
	cold, age := !d.live, now.Sub(d.refreshed)
	d.live = false
	var err error
	if cold || age < 0 || age >= d.cfg.Refresh { // a clock that was set back makes nothing younger
		err = d.all(pix, cold)
		d.refreshed = now
	} else {
		err = d.changes(pix)
	}
	if err != nil {
		return fmt.Errorf("ssd1306: draw: %w", err)
	}
	copy(d.shown, pix)
	d.live = true
	return nil
}

// all sends every register and every pixel. A cold screen stays dark until its
// memory, random after power-on, holds the picture.
func (d *Display) all(pix []byte, cold bool) error {
	if err := d.command(d.setup(cold)...); err != nil {
		return err
	}
	for page := range len(pix) / Width {
		if err := d.write(page, 0, pix[page*Width:(page+1)*Width]); err != nil {
			return err
		}
	}
	return d.command(displayOn)
}

// changes sends the columns of each page that differ from what is shown.
func (d *Display) changes(pix []byte) error {
	for page := range len(pix) / Width {
		was, is := d.shown[page*Width:(page+1)*Width], pix[page*Width:(page+1)*Width]
		if bytes.Equal(was, is) {
			continue
		}
		for from, to := run(was, is, 0); from < to; from, to = run(was, is, to) {
			if err := d.write(page, from, is[from:to]); err != nil {
				return err
			}
		}
	}
	return nil
}

// runCost is what a run of columns costs on the bus beyond its pixels, in bytes:
// two addresses, two control bytes, and the three commands of write.
const runCost = 7

// run returns the next columns that differ at or after start; from == to when
// there are none. Columns that did not change lie within where leaving them out
// would cost more than sending them.
func run(was, is []byte, start int) (from, to int) {
	for from = start; from < len(is) && was[from] == is[from]; {
		from++
	}
	to = from
	for x := from; x < len(is) && x-to <= runCost; x++ {
		if was[x] != is[x] {
			to = x + 1
		}
	}
	return from, to
}

// write sends pixels of one page, from column x on. Both controllers are used in
// page addressing mode: each write says where it goes, so a pixel that the bus
// loses shifts the rest of its page and no more, and a screen that was reset
// meanwhile still puts the pixels into place (it is the mode after a reset).
func (d *Display) write(page, x int, pix []byte) error {
	if d.cfg.Controller == SH1106 {
		x += sh1106Offset
	}
	if err := d.command(setPage|byte(page), setColumnLow|byte(x&0xF), setColumnHigh|byte(x>>4)); err != nil {
		return err
	}
	return d.send(controlData, pix)
}

func (d *Display) command(c ...byte) error { return d.send(controlCommand, c) }

// send is one transaction: a control byte, and what it says the rest is (section
// 8.1.5.2). The continuation bit stays 0: commands and pixels could share a
// transaction, but for one byte more and by a path that few drivers use.
func (d *Display) send(control byte, b []byte) error {
	d.tx[0] = control
	return d.bus.Tx(d.cfg.Addr, append(d.tx[:1], b...), nil)
}

// SetBrightness sets the light of the whole screen, from 0, the dimmest that can
// be read in the dark, to 255. Before the first Draw it is only noted. After an
// error the next Draw sets it.
func (d *Display) SetBrightness(level uint8) error {
	d.level = level
	if !d.live {
		return nil
	}
	if err := d.command(d.drive()...); err != nil {
		d.live = false
		return fmt.Errorf("ssd1306: set brightness: %w", err)
	}
	return nil
}

// Halt implements conn.Resource: it turns the screen dark and its high voltage
// off. A later Draw starts it again.
func (d *Display) Halt() error {
	d.live = false
	if err := d.command(d.off()...); err != nil {
		return fmt.Errorf("ssd1306: halt: %w", err)
	}
	return nil
}
