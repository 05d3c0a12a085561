// Package ssd1306test is a screen without hardware: a model of the SSD1306 and
// SH1106 at the level of bytes on the I2C bus, written from their datasheets, and
// the glass that is wired to it.
//
// Tests give it to the driver as its bus, or feed it the transactions that were
// decoded from the wires of a real one, and look at what a person would see. What
// the datasheet does not allow is recorded (Errors) and makes Check fail. The model
// is stricter than most chips; it never helps the driver that it tests: memory is
// noise after power-on, and a command that was cut off waits for the rest.
//
// Sources: Solomon Systech SSD1306 rev 1.1 (sections by number) with the charge
// pump application note, Sino Wealth SH1106 V2.3 (commands by number).
package ssd1306test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync"

	"sekisho/hal/ssd1306"
)

const (
	pages   = 8
	columns = 132 // of the SH1106's memory; the SSD1306 has the first 128
)

// Registers are what commands set. The zero value is not a state of any chip.
type Registers struct {
	On, Inverse, AllOn, Scrolling bool
	Pump                          bool // the high voltage, without which no pixel is lit
	Contrast, Precharge, Vcomh    byte
	Clock                         byte
	Multiplex                     int  // rows that are scanned
	Offset, StartLine             int  // sections 10.1.15 and 10.1.6
	SegmentsDown, ComsDown        bool // A1h, C8h
	ComPins                       byte // argument of DAh
	Mode                          byte // of addressing, SSD1306: 0 horizontal, 1 vertical, 2 page
	Column, Page                  int  // where the next data byte goes
	FirstColumn, LastColumn       int  // window of modes 0 and 1
	FirstPage, LastPage           int
	modify                        bool // SH1106, between E0h and EEh
	modifyColumn                  int
}

// Fault is what happens to a byte on the bus.
type Fault uint8

// Faults.
const (
	None    Fault = iota
	NACK          // it is not acknowledged, and not taken
	Unplug        // the screen loses its power just before
	Swallow       // it is acknowledged, and lost
	Flip          // its lowest and highest bit arrive wrong
)

// Stats count what was on the bus, address bytes included.
type Stats struct {
	Transactions int
	Bytes        int
	Longest      int // bytes of a transaction without its address, as an adapter counts
}

// Model is a screen. Its methods may be called from any goroutine.
type Model struct {
	cfg   ssd1306.Config
	table []command

	mu      sync.Mutex
	powered bool
	starts  uint64
	ram     [pages][columns]byte
	reg     Registers
	pending []byte // a command that waits for its arguments
	errs    []string
	lost    int // errors beyond those
	stats   Stats
	fault   Fault
	at      int // the byte that it befalls, as Stats.Bytes counts
	trace   io.Writer
}

var _ ssd1306.Bus = (*Model)(nil)

// New returns a screen as Config describes it (Addr, Controller, Height,
// UpsideDown), with power on.
func New(c ssd1306.Config) *Model {
	if c.Addr == 0 {
		c.Addr = ssd1306.DefaultAddr
	}
	if c.Height != 32 {
		c.Height = 64
	}
	m := &Model{cfg: c, table: ssd1306Commands}
	if c.Controller == ssd1306.SH1106 {
		m.table = sh1106Commands
	}
	m.powerOn()
	return m
}

// powerOn is the state after a reset (section 8.9). The memory's content is
// undefined, so it is noise, another at each start.
func (m *Model) powerOn() {
	m.powered = true
	m.starts++
	noise := rand.New(rand.NewPCG(m.starts, uint64(m.cfg.Controller)))
	for p := range m.ram {
		for c := range m.ram[p] {
			m.ram[p][c] = byte(noise.Uint32())
		}
	}
	m.pending = nil
	m.reg = Registers{
		Contrast: 0x7F, Precharge: 0x22, Vcomh: 0x20, Clock: 0x80, Multiplex: 64,
		ComPins: 0x12, Mode: 2, LastColumn: 127, LastPage: 7,
	}
	if m.cfg.Controller == ssd1306.SH1106 {
		m.reg.Contrast, m.reg.Vcomh, m.reg.Clock = 0x80, 0x35, 0x50
		m.reg.Pump = true // command 10: on once the display is
	}
}

// Plug gives the screen its power, after Unplug or anew: it forgets everything.
func (m *Model) Plug() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.powerOn()
}

// Unplug takes the screen away.
func (m *Model) Unplug() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.powered = false
}

// FaultAt lets a fault befall the byte after the next n on the bus, once. It
// replaces one that has not happened yet.
func (m *Model) FaultAt(n int, f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault, m.at = f, m.stats.Bytes+n
}

// Trace writes every command and run of data to w, a line each.
func (m *Model) Trace(w io.Writer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trace = w
}

// Stats returns what was on the bus so far.
func (m *Model) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// Registers returns what commands have set.
func (m *Model) Registers() Registers {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reg
}

// Tx implements ssd1306.Bus. A read returns the status byte: bit 6 is set while
// the display is off (table 9-2).
func (m *Model) Tx(addr uint16, w, r []byte) error {
	if !m.Transaction(addr, w) {
		return fmt.Errorf("ssd1306test: %#x does not acknowledge", addr)
	}
	status := byte(1 << 6)
	if m.Registers().On {
		status = 0
	}
	for i := range r {
		r[i] = status
	}
	return nil
}

// Transaction takes the bytes that were written to an address between a start
// and a stop of the bus, and says whether all were acknowledged.
func (m *Model) Transaction(addr uint16, w []byte) (ack bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Transactions++
	m.stats.Longest = max(m.stats.Longest, len(w))
	f := m.byte()
	if addr != m.cfg.Addr || !m.powered || f == NACK || f == Flip { // flipped: an address that nobody has
		return false
	}
	if f == Swallow {
		m.stats.Bytes += len(w)
		return true
	}
	bytes := transaction{m: m}
	defer bytes.end()
	for _, b := range w {
		switch f := m.byte(); {
		case !m.powered || f == NACK:
			return false
		case f == Swallow:
			continue
		case f == Flip:
			b ^= 0x81
		}
		bytes.take(b)
	}
	return true
}

// byte counts a byte on the bus and returns what befalls it.
func (m *Model) byte() Fault {
	n := m.stats.Bytes
	m.stats.Bytes++
	if m.fault == None || n != m.at {
		return None
	}
	f := m.fault
	m.fault = None
	if f == Unplug {
		m.powered = false
	}
	return f
}

// transaction reads control bytes (section 8.1.5.2): D/C# says what follows, Co
// whether it is one byte and another control byte, or all the rest.
type transaction struct {
	m       *Model
	inside  bool // control has been read, and its byte or bytes have not
	control byte
	data    int // length of a run of data that has not been traced
}

func (t *transaction) take(b byte) {
	switch {
	case !t.inside:
		if b&0x3F != 0 {
			t.m.err("control byte %02x: its low six bits must be 0", b)
		}
		t.control, t.inside = b, true
		return
	case t.control&0x40 == 0:
		t.flush()
		t.m.command(b)
	default:
		if t.data == 0 && t.m.trace != nil {
			fmt.Fprintf(t.m.trace, "data        page %d column %d: ", t.m.reg.Page, t.m.reg.Column)
		}
		t.data++
		t.m.data(b)
	}
	t.inside = t.control&0x80 == 0
}

func (t *transaction) flush() {
	if t.data > 0 && t.m.trace != nil {
		fmt.Fprintf(t.m.trace, "%d bytes\n", t.data)
	}
	t.data = 0
}

func (t *transaction) end() {
	t.flush()
	if t.inside && t.control&0x80 != 0 {
		t.m.err("control byte %02x with nothing after it", t.control)
	}
}

// data writes a byte to where the pointer stands, and moves the pointer.
func (m *Model) data(b byte) {
	r := &m.reg
	if len(m.pending) > 0 {
		m.err("data while command %02x waits for an argument", m.pending[0])
	}
	if m.cfg.Controller == ssd1306.SH1106 {
		if r.Column >= columns { // the pointer stops behind the last column (command 1)
			m.err("data beyond column %d", columns-1)
			return
		}
		m.ram[r.Page][r.Column] = b
		r.Column++
		return
	}
	column := r.Column
	if r.SegmentsDown { // works on what is written, not on what is shown (section 10.1.8)
		column = 127 - column
	}
	m.ram[r.Page][column] = b
	switch r.Mode {
	case 0: // figure 10-3
		if next(&r.Column, r.FirstColumn, r.LastColumn, 128) {
			next(&r.Page, r.FirstPage, r.LastPage, pages)
		}
	case 1: // figure 10-4
		if next(&r.Page, r.FirstPage, r.LastPage, pages) {
			next(&r.Column, r.FirstColumn, r.LastColumn, 128)
		}
	default: // figure 10-1: the page stays
		r.Column = (r.Column + 1) % 128
	}
}

// next moves a pointer on within its window and says whether it began anew. One
// that stands outside runs to the end of memory first.
func next(at *int, first, last, size int) bool {
	if *at == last || *at == size-1 {
		*at = first
		return true
	}
	*at++
	return false
}

const maxErrs = 64

func (m *Model) err(format string, args ...any) {
	if len(m.errs) == maxErrs {
		m.lost++
		return
	}
	m.errs = append(m.errs, fmt.Sprintf(format, args...))
}

// Errors returns what was sent and the datasheet does not allow, oldest first,
// and forgets it.
func (m *Model) Errors() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	errs := m.errs
	if m.lost > 0 {
		errs = append(errs, fmt.Sprintf("and %d more", m.lost))
	}
	m.errs, m.lost = nil, 0
	return errs
}

// Check fails the test with what Errors returns. *testing.T and *rapid.T are TB.
func (m *Model) Check(t TB) {
	t.Helper()
	for _, e := range m.Errors() {
		t.Errorf("the screen: %s", e)
	}
}

// TB is what Check needs of a test.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
}
