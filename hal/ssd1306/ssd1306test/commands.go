package ssd1306test

import (
	"fmt"
	"slices"
)

// command is a row of a datasheet's table of commands. Its code may span a range,
// whose low bits are its argument.
type command struct {
	first, last byte
	args        int
	name        string
	valid       func(args []byte) bool              // nil: any arguments
	do          func(m *Model, code byte, a []byte) // nil: nothing that can be seen
}

// sharedCommands are in both tables: SSD1306 table 9-1, SH1106 commands 4 to 18.
var sharedCommands = []command{
	{0x40, 0x7F, 0, "start line", nil, func(m *Model, c byte, _ []byte) { m.reg.StartLine = int(c & 0x3F) }},
	{0x81, 0x81, 1, "contrast", nil, func(m *Model, _ byte, a []byte) { m.reg.Contrast = a[0] }},
	{0xA0, 0xA1, 0, "segment remap", nil, func(m *Model, c byte, _ []byte) { m.reg.SegmentsDown = c&1 == 1 }},
	{0xA4, 0xA5, 0, "entire display on", nil, func(m *Model, c byte, _ []byte) { m.reg.AllOn = c&1 == 1 }},
	{0xA6, 0xA7, 0, "inverse", nil, func(m *Model, c byte, _ []byte) { m.reg.Inverse = c&1 == 1 }},
	{0xAE, 0xAF, 0, "display on", nil, func(m *Model, c byte, _ []byte) { m.reg.On = c&1 == 1 }},
	{0xC0, 0xC7, 0, "com scan up", nil, func(m *Model, _ byte, _ []byte) { m.reg.ComsDown = false }},
	{0xC8, 0xCF, 0, "com scan down", nil, func(m *Model, _ byte, _ []byte) { m.reg.ComsDown = true }},
	{0xD3, 0xD3, 1, "offset", below(64), func(m *Model, _ byte, a []byte) { m.reg.Offset = int(a[0] & 0x3F) }},
	{0xD5, 0xD5, 1, "clock", nil, func(m *Model, _ byte, a []byte) { m.reg.Clock = a[0] }},
	{0xD9, 0xD9, 1, "pre-charge", func(a []byte) bool { return a[0]&0x0F != 0 && a[0]&0xF0 != 0 },
		func(m *Model, _ byte, a []byte) { m.reg.Precharge = a[0] }},
	{0xE3, 0xE3, 0, "nop", nil, nil},
}

var ssd1306Commands = slices.Concat(sharedCommands, []command{
	{0x00, 0x0F, 0, "column low", nil, func(m *Model, c byte, _ []byte) {
		m.onlyInPageMode(c)
		m.reg.Column = m.reg.Column&0x70 | int(c&0x0F)
	}},
	{0x10, 0x1F, 0, "column high", nil, func(m *Model, c byte, _ []byte) {
		m.onlyInPageMode(c)
		m.reg.Column = m.reg.Column&0x0F | int(c&0x07)<<4
	}},
	{0x20, 0x20, 1, "addressing mode", below(3), func(m *Model, _ byte, a []byte) { m.reg.Mode = min(a[0]&3, 2) }},
	{0x21, 0x21, 2, "columns", window(128), func(m *Model, c byte, a []byte) {
		m.notInPageMode(c)
		m.reg.FirstColumn, m.reg.LastColumn = int(a[0]&0x7F), int(a[1]&0x7F)
		m.reg.Column = m.reg.FirstColumn
	}},
	{0x22, 0x22, 2, "pages", window(pages), func(m *Model, c byte, a []byte) {
		m.notInPageMode(c)
		m.reg.FirstPage, m.reg.LastPage = int(a[0]&7), int(a[1]&7)
		m.reg.Page = m.reg.FirstPage
	}},
	{0x26, 0x27, 6, "scroll sideways", func(a []byte) bool {
		return a[0] == 0 && a[1] < pages && a[2] < 8 && a[3] < pages && a[1] <= a[3] && a[4] == 0 && a[5] == 0xFF
	}, nil},
	{0x29, 0x2A, 5, "scroll aslant", func(a []byte) bool {
		return a[0] == 0 && a[1] < pages && a[2] < 8 && a[3] < pages && a[1] <= a[3] && a[4] < 64
	}, nil},
	{0x2E, 0x2E, 0, "stop scroll", nil, func(m *Model, _ byte, _ []byte) { m.reg.Scrolling = false }},
	{0x2F, 0x2F, 0, "start scroll", nil, func(m *Model, _ byte, _ []byte) {
		m.err("scrolling is not modelled: it moves what is in memory")
		m.reg.Scrolling = true
	}},
	{0x8D, 0x8D, 1, "charge pump", func(a []byte) bool { return a[0]&0x3F == 0x10 || a[0]&0x3F == 0x14 },
		func(m *Model, _ byte, a []byte) { m.reg.Pump = a[0]&4 != 0 }},
	{0xA3, 0xA3, 2, "scroll area", func(a []byte) bool { return a[0] < 64 && a[1] < 128 }, nil},
	{0xA8, 0xA8, 1, "multiplex", func(a []byte) bool { return a[0] >= 15 && a[0] < 64 },
		func(m *Model, _ byte, a []byte) { m.reg.Multiplex = int(a[0]&0x3F) + 1 }},
	{0xB0, 0xB7, 0, "page", nil, func(m *Model, c byte, _ []byte) {
		m.onlyInPageMode(c)
		m.reg.Page = int(c & 7)
	}},
	{0xDA, 0xDA, 1, "com pins", func(a []byte) bool { return a[0]&^0x30 == 0x02 },
		func(m *Model, _ byte, a []byte) { m.reg.ComPins = a[0] }},
	{0xDB, 0xDB, 1, "vcomh", func(a []byte) bool { return a[0] == 0x00 || a[0] == 0x20 || a[0] == 0x30 },
		func(m *Model, _ byte, a []byte) { m.reg.Vcomh = a[0] }},
})

var sh1106Commands = slices.Concat(sharedCommands, []command{
	{0x00, 0x0F, 0, "column low", nil, func(m *Model, c byte, _ []byte) { m.reg.Column = m.reg.Column&0xF0 | int(c&0x0F) }},
	{0x10, 0x1F, 0, "column high", nil, func(m *Model, c byte, _ []byte) { m.reg.Column = m.reg.Column&0x0F | int(c&0x0F)<<4 }},
	{0x30, 0x33, 0, "pump voltage", nil, nil},
	{0xA8, 0xA8, 1, "multiplex", below(64), func(m *Model, _ byte, a []byte) { m.reg.Multiplex = int(a[0]&0x3F) + 1 }},
	{0xAD, 0xAD, 1, "dc-dc", func(a []byte) bool { return a[0] == 0x8A || a[0] == 0x8B }, func(m *Model, _ byte, a []byte) {
		if m.reg.On {
			m.err("dc-dc: the display must be off (command 10)")
		}
		m.reg.Pump = a[0]&1 == 1
	}},
	{0xB0, 0xB7, 0, "page", nil, func(m *Model, c byte, _ []byte) { m.reg.Page = int(c & 7) }},
	{0xDA, 0xDA, 1, "com pins", func(a []byte) bool { return a[0]&^0x10 == 0x02 },
		func(m *Model, _ byte, a []byte) { m.reg.ComPins = a[0] &^ 0x20 }},
	{0xDB, 0xDB, 1, "vcomh", nil, func(m *Model, _ byte, a []byte) { m.reg.Vcomh = a[0] }},
	{0xE0, 0xE0, 0, "read-modify-write", nil, func(m *Model, _ byte, _ []byte) { m.reg.modify, m.reg.modifyColumn = true, m.reg.Column }},
	{0xEE, 0xEE, 0, "end", nil, func(m *Model, _ byte, _ []byte) {
		if !m.reg.modify {
			m.err("end without read-modify-write")
			return
		}
		m.reg.modify, m.reg.Column = false, m.reg.modifyColumn
	}},
})

func below(n byte) func([]byte) bool { return func(a []byte) bool { return a[0] < n } }

func window(n byte) func([]byte) bool {
	return func(a []byte) bool { return a[0] <= a[1] && a[1] < n }
}

// onlyInPageMode and notInPageMode are from the remarks of table 9-1, number 3.
func (m *Model) onlyInPageMode(code byte) {
	if m.reg.Mode != 2 {
		m.err("command %02x is for page addressing mode only", code)
	}
}

func (m *Model) notInPageMode(code byte) {
	if m.reg.Mode == 2 {
		m.err("command %02x is not for page addressing mode", code)
	}
}

// command takes a byte of a command, in whichever transaction it comes. A byte
// that is no command is recorded and has no effect; arguments out of range are
// recorded, and take effect by the bits that count.
func (m *Model) command(b byte) {
	m.pending = append(m.pending, b)
	code := m.pending[0]
	i := slices.IndexFunc(m.table, func(c command) bool { return c.first <= code && code <= c.last })
	if i < 0 {
		m.err("%v has no command %02x", m.cfg.Controller, code)
		m.pending = nil
		return
	}
	c := m.table[i]
	if len(m.pending) <= c.args {
		return
	}
	args := m.pending[1:]
	m.pending = nil
	if m.trace != nil {
		fmt.Fprintf(m.trace, "command %02x % -4x %s\n", code, args, c.name)
	}
	if c.valid != nil && !c.valid(args) {
		m.err("%s (%02x): arguments % x are not allowed", c.name, code, args)
	}
	if c.do != nil {
		c.do(m, code, args)
	}
}
