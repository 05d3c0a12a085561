package ssd1306test_test

import (
	"bytes"
	"fmt"
	"image/png"
	"slices"
	"strings"
	"testing"

	"sekisho/hal/ssd1306"
	"sekisho/hal/ssd1306/ssd1306test"
)

const addr = ssd1306.DefaultAddr

func commands(t *testing.T, m *ssd1306test.Model, c ...byte) {
	t.Helper()
	if !m.Transaction(addr, append([]byte{0x00}, c...)) {
		t.Fatalf("% x was not acknowledged", c)
	}
}

func data(t *testing.T, m *ssd1306test.Model, b ...byte) {
	t.Helper()
	if !m.Transaction(addr, append([]byte{0x40}, b...)) {
		t.Fatal("data was not acknowledged")
	}
}

// lit returns a screen that is on, the right way round, with dark memory.
func lit(t *testing.T, c ssd1306.Config) *ssd1306test.Model {
	t.Helper()
	m := ssd1306test.New(c)
	commands(t, m, 0xA1, 0xC8)
	for page := range byte(8) {
		n := 128
		if c.Controller == ssd1306.SH1106 {
			n = 132
		}
		commands(t, m, 0xB0|page, 0x00, 0x10)
		data(t, m, make([]byte, n)...)
	}
	if c.Height == 32 {
		commands(t, m, 0xA8, 31, 0xDA, 0x02)
	}
	if c.Controller == ssd1306.SSD1306 {
		commands(t, m, 0x8D, 0x14)
	}
	commands(t, m, 0xB0, 0x00, 0x10, 0xAF)
	m.Check(t)
	return m
}

// seen lists the lit bytes of the picture as page:column=value.
func seen(m *ssd1306test.Model) string {
	var all []string
	for i, b := range m.Picture() {
		if b != 0 {
			all = append(all, fmt.Sprintf("%d:%d=%02x", i/128, i%128, b))
		}
	}
	return strings.Join(all, " ")
}

func TestAddressingModes(t *testing.T) {
	for _, test := range []struct {
		what string
		c    []byte
		want string
	}{
		{"page mode, from a column on, wraps in its page", []byte{0xB3, 0x0D, 0x17}, "3:0=04 3:1=05 3:125=01 3:126=02 3:127=03"},
		{"horizontal mode fills its window by rows", []byte{0x20, 0, 0x21, 5, 6, 0x22, 2, 3}, "2:5=05 2:6=02 3:5=03 3:6=04"},
		{"vertical mode fills its window by columns", []byte{0x20, 1, 0x21, 5, 6, 0x22, 2, 3}, "2:5=05 2:6=03 3:5=02 3:6=04"},
		{"horizontal mode goes to the next page at the right edge", []byte{0x20, 0, 0x21, 126, 127, 0x22, 7, 7}, "7:126=05 7:127=04"},
		{"the pages stay when the columns are set", []byte{0x20, 0, 0x22, 4, 5, 0x21, 9, 127}, "4:9=01 4:10=02 4:11=03 4:12=04 4:13=05"},
	} {
		m := lit(t, ssd1306.Config{})
		commands(t, m, test.c...)
		data(t, m, 1, 2, 3, 4, 5)
		m.Check(t)
		if got := seen(m); got != test.want {
			t.Errorf("%s: %s, want %s", test.what, got, test.want)
		}
	}
}

func TestTheSH1106HasFourMoreColumnsAndDoesNotWrap(t *testing.T) {
	m := lit(t, ssd1306.Config{Controller: ssd1306.SH1106})
	commands(t, m, 0xB2, 0x00, 0x10)
	data(t, m, 1, 2, 3) // the first two are not on the glass
	commands(t, m, 0xB2, 0x01, 0x18)
	data(t, m, 4, 5, 6) // 129, 130, 131: only the first is
	m.Check(t)
	if got, want := seen(m), "2:0=03 2:127=04"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	data(t, m, 7)
	if errs := m.Errors(); len(errs) != 1 || seen(m) != "2:0=03 2:127=04" {
		t.Errorf("behind the last column: %q, %s", errs, seen(m))
	}
	commands(t, m, 0x07, 0x10, 0xE0) // read-modify-write comes back to where it began
	data(t, m, 8)
	commands(t, m, 0xEE)
	data(t, m, 9)
	m.Check(t)
	if got, want := seen(m), "2:0=03 2:5=09 2:127=04"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// top puts a line of pixels into each row of memory, as long as the row's number,
// and returns how long they are from the top of the glass down; -1: none.
func top(t *testing.T, c ssd1306.Config, setup ...byte) []int {
	t.Helper()
	m := lit(t, c)
	for page := range 8 {
		row := make([]byte, 64)
		for x := range row {
			for bit := range 8 {
				if x <= page*8+bit {
					row[x] |= 1 << bit
				}
			}
		}
		commands(t, m, 0xB0|byte(page), 0x00, 0x10)
		data(t, m, row...)
	}
	commands(t, m, setup...)
	m.Check(t)
	pix := m.Picture()
	var rows []int
	for y := range c.Height {
		n := -1
		for x := range 128 {
			n += int(pix[y/8*128+x] >> (y % 8) & 1)
		}
		rows = append(rows, n)
	}
	return rows
}

// span is the numbers from a on, n of them.
func span(a, n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = a + i
	}
	return s
}

// Tables 10-1 and 10-2 of the datasheet, as seen from above: with C8h, COM63 is
// the upper line of 64.
func TestOffsetStartLineAndMultiplex(t *testing.T) {
	dark := func(n int) []int { return slices.Repeat([]int{-1}, n) }
	c64, c32 := ssd1306.Config{Height: 64}, ssd1306.Config{Height: 32}
	up := span(0, 64)
	slices.Reverse(up)
	var halves, pairs []int // table 10-3, on a glass that is wired for 12h
	for i := range 32 {
		halves = append(halves, i, 32+i)
		pairs = append(pairs, 2*i+1, 2*i)
	}
	for _, test := range []struct {
		what  string
		c     ssd1306.Config
		setup []byte
		want  []int
	}{
		{"as it is", c64, nil, span(0, 64)},
		{"offset 8", c64, []byte{0xD3, 8}, slices.Concat(span(8, 56), span(0, 8))},
		{"start line 8", c64, []byte{0x48}, slices.Concat(span(8, 56), span(0, 8))},
		{"48 rows", c64, []byte{0xA8, 47}, slices.Concat(dark(16), span(0, 48))},
		{"48 rows, offset 8", c64, []byte{0xA8, 47, 0xD3, 8}, slices.Concat(dark(8), span(0, 48), dark(8))},
		{"48 rows, start line 8", c64, []byte{0xA8, 47, 0x48}, slices.Concat(dark(16), span(8, 48))},
		{"scanned upwards", c64, []byte{0xC0}, up},
		{"pins in sequence", c64, []byte{0xDA, 0x02}, halves},
		{"pins left and right exchanged", c64, []byte{0xDA, 0x32}, pairs},
		{"32 rows", c32, nil, span(0, 32)},
		{"32 rows, start line 40", c32, []byte{0x68}, slices.Concat(span(40, 24), span(0, 8))},
	} {
		if got := top(t, test.c, test.setup...); !slices.Equal(got, test.want) {
			t.Errorf("%s:\n got %v\nwant %v", test.what, got, test.want)
		}
	}
}

func TestWhatIsSeenOfAPixel(t *testing.T) {
	for _, controller := range []ssd1306.Controller{ssd1306.SSD1306, ssd1306.SH1106} {
		pumpOff, pumpOn := []byte{0x8D, 0x10}, []byte{0x8D, 0x14}
		if controller == ssd1306.SH1106 {
			pumpOff, pumpOn = []byte{0xAE, 0xAD, 0x8A, 0xAF}, []byte{0xAE, 0xAD, 0x8B, 0xAF}
		}
		m := lit(t, ssd1306.Config{Controller: controller})
		dark, all := make([]byte, 1024), bytes.Repeat([]byte{0xFF}, 1024)
		for _, step := range []struct {
			what string
			c    []byte
			want []byte
		}{
			{"dark memory", nil, dark},
			{"inverse", []byte{0xA7}, all},
			{"inverse, display off", []byte{0xAE}, dark},
			{"on again", []byte{0xAF}, all},
			{"no high voltage", pumpOff, dark},
			{"high voltage again", pumpOn, all},
			{"every pixel on, whatever inverse says", []byte{0xA5}, all},
			{"plain", []byte{0xA6}, all},
			{"memory again", []byte{0xA4}, dark},
		} {
			commands(t, m, step.c...)
			if !bytes.Equal(m.Picture(), step.want) {
				t.Errorf("%v: %s: %s", controller, step.what, seen(m))
			}
		}
		m.Check(t)
	}
}

// The SSD1306 turns columns when they are written (section 10.1.8), the SH1106
// when they are shown (command 6).
func TestSegmentRemap(t *testing.T) {
	for controller, want := range map[ssd1306.Controller]string{
		ssd1306.SSD1306: "0:10=01",
		ssd1306.SH1106:  "0:117=01",
	} {
		m := lit(t, ssd1306.Config{Controller: controller})
		commands(t, m, 0xB0, 0x0A, 0x10)
		if controller == ssd1306.SH1106 {
			commands(t, m, 0x0C)
		}
		data(t, m, 1)
		commands(t, m, 0xA0)
		if got := seen(m); got != want {
			t.Errorf("%v: %s, want %s", controller, got, want)
		}
	}
}

func TestControlBytes(t *testing.T) {
	m := lit(t, ssd1306.Config{})
	// one command each, then data to the end (figure 8-7)
	m.Transaction(addr, []byte{0x80, 0xB2, 0x80, 0x05, 0x80, 0x10, 0x40, 0x11, 0x22})
	// a data byte between commands
	m.Transaction(addr, []byte{0xC0, 0x33, 0x80, 0xB1, 0xC0, 0x44})
	m.Check(t)
	if got, want := seen(m), "1:8=44 2:5=11 2:6=22 2:7=33"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	m.Transaction(addr, []byte{0x80})
	m.Transaction(addr, []byte{0x01, 0xE3})
	if errs := m.Errors(); len(errs) != 2 {
		t.Errorf("a control byte alone and one with other bits: %q", errs)
	}
}

func TestACommandMayComeInSeveralTransactions(t *testing.T) {
	m := lit(t, ssd1306.Config{})
	commands(t, m, 0x81)
	commands(t, m, 0xAE) // its argument, not a command
	if r := m.Registers(); r.Contrast != 0xAE || !r.On {
		t.Errorf("%+v", r)
	}
	commands(t, m, 0xD3)
	data(t, m, 5)
	if errs := m.Errors(); len(errs) != 1 {
		t.Errorf("data between a command and its argument: %q", errs)
	}
}

func TestWhatTheDatasheetDoesNotAllowIsRecorded(t *testing.T) {
	for _, test := range []struct {
		controller ssd1306.Controller
		c          []byte
	}{
		{ssd1306.SSD1306, []byte{0x23}},
		{ssd1306.SSD1306, []byte{0x2F}}, // scrolling
		{ssd1306.SSD1306, []byte{0x20, 3}},
		{ssd1306.SSD1306, []byte{0x21, 0, 127}}, // in page mode
		{ssd1306.SSD1306, []byte{0x20, 0, 0x21, 5, 4}},
		{ssd1306.SSD1306, []byte{0x20, 0, 0x22, 0, 8}},
		{ssd1306.SSD1306, []byte{0x20, 0, 0xB0}},
		{ssd1306.SSD1306, []byte{0x20, 1, 0x00}},
		{ssd1306.SSD1306, []byte{0xA8, 14}},
		{ssd1306.SSD1306, []byte{0xAD, 0x8B}},
		{ssd1306.SSD1306, []byte{0xD3, 64}},
		{ssd1306.SSD1306, []byte{0xD9, 0x0F}},
		{ssd1306.SSD1306, []byte{0xDA, 0x10}},
		{ssd1306.SSD1306, []byte{0xDB, 0x40}}, // widespread, and not in the table
		{ssd1306.SH1106, []byte{0x20}},
		{ssd1306.SH1106, []byte{0x21}},
		{ssd1306.SH1106, []byte{0x2E}},
		{ssd1306.SH1106, []byte{0x8D}},
		{ssd1306.SH1106, []byte{0xAD, 0x8B}}, // while the display is on
		{ssd1306.SH1106, []byte{0xDA, 0x22}},
		{ssd1306.SH1106, []byte{0xEE}},
	} {
		m := lit(t, ssd1306.Config{Controller: test.controller})
		commands(t, m, test.c...)
		if len(m.Errors()) == 0 {
			t.Errorf("%v: % x was accepted", test.controller, test.c)
		}
		if errs := m.Errors(); len(errs) != 0 {
			t.Errorf("%v: % x is told twice: %q", test.controller, test.c, errs)
		}
	}
}

func TestManyErrorsAreCountedAndNotKept(t *testing.T) {
	m := ssd1306test.New(ssd1306.Config{})
	commands(t, m, bytes.Repeat([]byte{0xFF}, 1000)...)
	errs := m.Errors()
	if len(errs) > 100 || errs[len(errs)-1] != "and 936 more" {
		t.Errorf("%d errors, the last: %s", len(errs), errs[len(errs)-1])
	}
}

type failures []string

func (f *failures) Helper() {}
func (f *failures) Errorf(format string, args ...any) {
	*f = append(*f, fmt.Sprintf(format, args...))
}

func TestCheckFailsTheTest(t *testing.T) {
	m := ssd1306test.New(ssd1306.Config{})
	commands(t, m, 0xFF)
	var f failures
	m.Check(&f)
	if len(f) != 1 || !strings.Contains(f[0], "ff") {
		t.Errorf("%q", f)
	}
}

func TestMemoryIsNoiseAfterPowerOnAndTheDisplayOff(t *testing.T) {
	m := ssd1306test.New(ssd1306.Config{})
	if !bytes.Equal(m.Picture(), make([]byte, 1024)) {
		t.Error("a screen without a command gives light")
	}
	commands(t, m, 0x8D, 0x14, 0xAF)
	first := m.Picture()
	if n := bytes.Count(first, []byte{0}); n > 100 {
		t.Errorf("%d of 1024 bytes of the memory are dark", n)
	}
	m.Plug()
	commands(t, m, 0x8D, 0x14, 0xAF)
	if bytes.Equal(first, m.Picture()) {
		t.Error("the memory survived")
	}
}

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		fault    ssd1306test.Fault
		ack      bool
		contrast byte
		after    bool // it answers afterwards
	}{
		{ssd1306test.None, true, 0x10, true},
		{ssd1306test.NACK, false, 0x7F, true},
		{ssd1306test.Unplug, false, 0x7F, false},
		{ssd1306test.Swallow, true, 0xE3, true}, // the next byte is taken for it
		{ssd1306test.Flip, true, 0x91, true},
	} {
		m := ssd1306test.New(ssd1306.Config{})
		m.FaultAt(3, test.fault) // address, control byte, 81, here
		ack := m.Transaction(addr, []byte{0x00, 0x81, 0x10, 0xE3})
		if got := m.Registers().Contrast; ack != test.ack || got != test.contrast {
			t.Errorf("fault %d: acknowledged %v, contrast %02x; want %v, %02x", test.fault, ack, got, test.ack, test.contrast)
		}
		if after := m.Transaction(addr, nil); after != test.after {
			t.Errorf("fault %d: it answers afterwards: %v", test.fault, after)
		}
		m.Plug()
		if !m.Transaction(addr, nil) {
			t.Errorf("fault %d: plugged in, it does not answer", test.fault)
		}
	}
}

func TestTheBus(t *testing.T) {
	m := ssd1306test.New(ssd1306.Config{Addr: 0x3D})
	status := []byte{0xFF}
	if err := m.Tx(0x3D, []byte{0x00, 0xE3}, status); err != nil || status[0]&0x40 == 0 {
		t.Errorf("display off: %v, status %02x", err, status)
	}
	if err := m.Tx(0x3D, []byte{0x00, 0xAF}, status); err != nil || status[0]&0x40 != 0 {
		t.Errorf("display on: %v, status %02x", err, status)
	}
	if m.Tx(0x3C, []byte{0x00, 0xAE}, nil) == nil || !m.Registers().On {
		t.Error("it took what was for another address")
	}
	if got, want := m.Stats(), (ssd1306test.Stats{Transactions: 3, Bytes: 7, Longest: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	m.Unplug()
	if m.Tx(0x3D, nil, nil) == nil {
		t.Error("it answers without power")
	}
}

func TestWritePNG(t *testing.T) {
	m := lit(t, ssd1306.Config{Height: 32})
	commands(t, m, 0xB1, 0x02, 0x10)
	data(t, m, 0x80)
	var b bytes.Buffer
	if err := m.WritePNG(&b, 4); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	if size := img.Bounds().Size(); size.X != 512 || size.Y != 128 {
		t.Fatalf("%v", size)
	}
	for y := range 128 {
		for x := range 512 {
			v, _, _, _ := img.At(x, y).RGBA()
			pixel := x/4 == 2 && y/4 == 15
			gap := x%4 == 0 || y%4 == 0
			if (v != 0) != (pixel && !gap) {
				t.Fatalf("%d,%d: %04x", x, y, v)
			}
		}
	}
}

// The model is total: any bytes in any transactions, and it still says what is seen.
func FuzzModel(f *testing.F) {
	f.Add(byte(0), []byte{5, 0x00, 0x8D, 0x14, 0xAF, 0xA5, 3, 0x40, 1, 2})
	f.Add(byte(1), []byte{4, 0x00, 0x20, 0x01, 0x22, 9, 0x80, 0xB0, 0xC0, 0xFF, 0x80})
	f.Add(byte(2), []byte{9, 0x00, 0xA8, 0x00, 0xD3, 0xFF, 0x7F, 0xDA, 0xFF, 0xC8})
	f.Add(byte(7), []byte{8, 0x00, 0xAD, 0x8A, 0x1F, 0x0F, 0xE0, 0xEE, 0x40, 1, 0x40})
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		c := ssd1306.Config{Controller: ssd1306.Controller(kind & 1), Height: 32 << (kind >> 1 & 1), UpsideDown: kind&4 != 0}
		m := ssd1306test.New(c)
		m.FaultAt(int(kind), ssd1306test.Fault(kind>>3%5))
		for len(b) > 0 {
			n := min(int(b[0])+1, len(b))
			m.Transaction(addr, b[1:n])
			b = b[n:]
		}
		if len(m.Picture()) != 16*c.Height {
			t.Fatal("no picture")
		}
		if len(m.Errors()) > 100 {
			t.Fatal("errors without bound")
		}
		d, err := ssd1306.New(m, c) // and a driver still masters it
		if err != nil {
			t.Fatal(err)
		}
		m.Plug()
		m.FaultAt(0, ssd1306test.None)
		pix := bytes.Repeat([]byte{0x5A, 0x01}, 8*c.Height)
		if err := d.Draw(pix); err != nil {
			t.Fatal(err)
		}
		m.Check(t)
		if !bytes.Equal(m.Picture(), pix) {
			t.Fatal("the picture is not shown")
		}
	})
}
