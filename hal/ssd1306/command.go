package ssd1306

import "slices"

// Control bytes (section 8.1.5.2): Co is bit 7, D/C# bit 6.
const (
	controlCommand = 0x00
	controlData    = 0x40
)

// Commands of both controllers (SSD1306 table 9-1, SH1106 "Commands").
const (
	setColumnLow  = 0x00 // | low four bits
	setColumnHigh = 0x10 // | high four bits
	setStartLine  = 0x40 // | row of memory on top
	setContrast   = 0x81
	segmentsUp    = 0xA0 // column 0 is SEG0
	segmentsDown  = 0xA1
	showMemory    = 0xA4 // not every pixel lit
	showPlain     = 0xA6 // not inverted
	setMultiplex  = 0xA8 // rows - 1
	displayOff    = 0xAE
	displayOn     = 0xAF
	setPage       = 0xB0 // | page
	comsUp        = 0xC0 // row 0 is COM0
	comsDown      = 0xC8
	setOffset     = 0xD3
	setClock      = 0xD5
	setPrecharge  = 0xD9 // high four bits: phase 2, low: phase 1, in clocks
	setComPins    = 0xDA
	setVcomh      = 0xDB
	nop           = 0xE3
)

// Commands of the SSD1306 alone.
const (
	setMode    = 0x20
	pageMode   = 0x02
	stopScroll = 0x2E
	setPump    = 0x8D // application note, section 2
	pumpOn     = 0x14
	pumpOff    = 0x10
)

// Commands of the SH1106 alone.
const (
	setPump8V = 0x32 // 8.0 V, as after power-on
	setDCDC   = 0xAD // only while the display is off (command 10)
	dcdcOn    = 0x8B
	dcdcOff   = 0x8A
)

// sh1106Offset is the first column of memory that is wired to the glass: 128
// columns in the middle of 132.
const sh1106Offset = 2

// setup returns the commands that bring the registers from any state into ours.
// Cold, they turn the display off first.
//
// A transaction that broke off, or that a disturbed bus made nonsense of, may
// have left a command waiting for arguments. The longest has six, and takes the
// NOPs for them.
func (d *Display) setup(cold bool) []byte {
	sh := d.cfg.Controller == SH1106
	c := slices.Repeat([]byte{nop}, 6)
	if cold {
		c = append(c, displayOff)
		if sh {
			c = append(c, setDCDC, dcdcOn)
		}
	}
	segments, coms := byte(segmentsDown), byte(comsDown)
	if d.cfg.UpsideDown {
		segments, coms = segmentsUp, comsUp
	}
	pins := byte(0x12) // 64 rows: every other one on the other side of the chip (table 10-3)
	if d.cfg.Height == 32 {
		pins = 0x02
	}
	clock := byte(0x80) // as after reset, each
	if sh {
		clock = 0x50
	}
	c = append(c,
		setMultiplex, byte(d.cfg.Height-1), setOffset, 0, setStartLine,
		segments, coms, setComPins, pins, setClock, clock)
	if sh {
		c = append(c, setPump8V)
	} else {
		c = append(c, setMode, pageMode, stopScroll, setPump, pumpOn)
	}
	c = append(c, d.drive()...)
	return append(c, showMemory, showPlain)
}

// off returns the commands of Halt.
func (d *Display) off() []byte {
	if d.cfg.Controller == SH1106 {
		return []byte{nop, displayOff, setDCDC, dcdcOff}
	}
	return []byte{nop, displayOff, setPump, pumpOff}
}

// Levels of SetBrightness.
const (
	// Day is the level of a new Display, half of what the screen can do and about
	// what it does after a reset: the less light, the longer an OLED lasts.
	Day uint8 = 127
	// Night is for a dark room.
	Night uint8 = 0
)

// drive returns the commands for the level of brightness.
//
// The contrast register alone changes little: what the pre-charge leaves on a
// pixel lights it too. So the lowest levels also make its second phase as short
// as the datasheet allows, and lower the voltage at which rows are switched off.
// The phases add up to the same number of clocks, so the picture's frequency
// stays (section 8.3). Widely used drivers dim so, to a contrast of 10 at least
// (ThingPulse/esp8266-oled-ssd1306, OLEDDisplay.h). The SH1106 keeps its VCOMH: modules are known that turn
// black with any other (olikraus/u8g2, issue 1833).
func (d *Display) drive() []byte {
	const (
		least = 0x0A // of the contrast
		dim   = 0x20 // levels below it
	)
	contrast := least + uint16(d.level)*(0xFF-least)/0xFF
	precharge, vcomh := byte(0xF1), byte(0x20) // VCOMH: 0.77 VCC, as after reset
	if d.level < dim {
		precharge, vcomh = 0x1F, 0x00 // 0.65 VCC
	}
	if d.cfg.Controller == SH1106 {
		vcomh = 0x35 // 0.77, as after power-on
	}
	return []byte{setContrast, byte(contrast), setPrecharge, precharge, setVcomh, vcomh}
}
