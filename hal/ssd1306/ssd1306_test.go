package ssd1306_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sekisho/hal/ssd1306"
	"sekisho/hal/ssd1306/ssd1306test"
)

var update = flag.Bool("update", false, "write the golden files")

// modules are the screens that can be bought: each controller and height, each
// way round.
func modules() []ssd1306.Config {
	var all []ssd1306.Config
	for _, c := range []ssd1306.Controller{ssd1306.SSD1306, ssd1306.SH1106} {
		for _, h := range []int{64, 32} {
			for _, down := range []bool{false, true} {
				all = append(all, ssd1306.Config{Controller: c, Height: h, UpsideDown: down})
			}
		}
	}
	return all
}

func name(c ssd1306.Config) string {
	n := fmt.Sprintf("%v_%d", c.Controller, c.Height)
	if c.UpsideDown {
		n += "_upside_down"
	}
	return strings.ToLower(n)
}

// clock is a time that stands until the test moves it.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// plugged returns a driver and the screen that it drives, on a clock of the test.
func plugged(t rapid.TB, c ssd1306.Config) (*ssd1306.Display, *ssd1306test.Model, *clock) {
	t.Helper()
	clk := &clock{at: time.Date(2026, 4, 24, 14, 5, 0, 0, time.UTC)}
	c.Now = clk.now
	m := ssd1306test.New(c)
	d, err := ssd1306.New(m, c)
	if err != nil {
		t.Fatal(err)
	}
	return d, m, clk
}

func draw(t rapid.TB, d *ssd1306.Display, pix []byte) {
	t.Helper()
	if err := d.Draw(pix); err != nil {
		t.Fatal(err)
	}
}

// shows fails unless a person sees pix, without anything that the datasheet does
// not allow.
func shows(t rapid.TB, m *ssd1306test.Model, pix []byte) {
	t.Helper()
	m.Check(t)
	seen(t, m, pix)
}

// seen fails unless a person sees pix.
func seen(t rapid.TB, m *ssd1306test.Model, pix []byte) {
	t.Helper()
	if got := m.Picture(); !bytes.Equal(got, pix) {
		t.Fatalf("the screen shows\n%s\nwant\n%s", text(got), text(pix))
	}
}

// text is a picture in letters, two rows a line.
func text(pix []byte) string {
	var b strings.Builder
	for y := 0; y < len(pix)/ssd1306.Width*8; y += 2 {
		for x := range ssd1306.Width {
			pair := pix[y/8*ssd1306.Width+x] >> (y % 8) & 3
			b.WriteRune([]rune(" ▀▄█")[pair])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func size(c ssd1306.Config) int { return ssd1306.Width * c.Height / 8 }

// noise is a picture without any order, in which nothing can be left out.
func noise(c ssd1306.Config, seed byte) []byte {
	pix := make([]byte, size(c))
	for i := range pix {
		pix[i] = byte(i*i>>4) ^ byte(i)*31 ^ seed
	}
	return pix
}

func TestDrawShowsAnyPictureAfterAnyOtherWithTheFewestBytes(t *testing.T) {
	for _, c := range modules() {
		t.Run(name(c), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				a := rapid.SliceOfN(rapid.Byte(), size(c), size(c)).Draw(t, "a")
				b := slices.Clone(a)
				for range rapid.IntRange(0, 12).Draw(t, "changes") {
					from := rapid.IntRange(0, len(b)-1).Draw(t, "from")
					for i := from; i < min(from+rapid.IntRange(1, 40).Draw(t, "length"), len(b)); i++ {
						b[i] ^= rapid.Byte().Draw(t, "xor")
					}
				}
				d, m, _ := plugged(t, c)
				draw(t, d, a)
				shows(t, m, a)
				before := m.Stats()
				draw(t, d, b)
				shows(t, m, b)
				if sent, need := m.Stats().Bytes-before.Bytes, fewest(a, b); sent != need {
					t.Fatalf("%d bytes for what %d would do", sent, need)
				}
				if l := m.Stats().Longest; l > ssd1306.MaxTx {
					t.Fatalf("a transaction of %d bytes", l)
				}
			})
		})
	}
}

// fewest is what the change from a to b costs at least, by trying every way to cut
// a page into runs: address, control byte and three commands to set the place, and
// address, control byte and the pixels.
func fewest(a, b []byte) int {
	const place, run = 5, 2
	total := 0
	for page := 0; page < len(a); page += ssd1306.Width {
		if bytes.Equal(a[page:page+ssd1306.Width], b[page:page+ssd1306.Width]) {
			continue
		}
		best := make([]int, ssd1306.Width+1) // for the columns from x on
		for x := ssd1306.Width - 1; x >= 0; x-- {
			best[x] = 1 << 30
			if a[page+x] == b[page+x] {
				best[x] = best[x+1]
			}
			for end := x + 1; end <= ssd1306.Width; end++ {
				best[x] = min(best[x], place+run+end-x+best[end])
			}
		}
		total += best[0]
	}
	return total
}

// office is a picture like the panel's calm page: a lit title bar with the time,
// two large figures, a line of text. Its glyphs are blocks that no two characters
// share.
func office(c ssd1306.Config, at string) []byte {
	pix := make([]byte, size(c))
	set := func(x, y int, on bool) {
		if y >= c.Height {
			return
		}
		pix[y/8*ssd1306.Width+x] &^= 1 << (y % 8)
		if on {
			pix[y/8*ssd1306.Width+x] |= 1 << (y % 8)
		}
	}
	write := func(s string, x0, y0, zoom int, lit bool) {
		for i, r := range s {
			for y := range 9 * zoom {
				for x := range 5 * zoom {
					if on := uint32(r)*2654435761>>((y/zoom*5+x/zoom)%31)&1 == 1; on {
						set(x0+i*6*zoom+x, y0+y, lit)
					}
				}
			}
		}
	}
	for y := range 13 {
		for x := range ssd1306.Width {
			set(x, y, true)
		}
	}
	write("all is well", 3, 2, 1, false)
	write(at, 95, 2, 1, false)
	write("23", 12, 20, 2, true)
	write("12", 76, 20, 2, true)
	write("last drill 3/2", 12, 50, 1, true)
	return pix
}

func TestAMinuteOfTheClockIsAFractionOfAPicture(t *testing.T) {
	for _, c := range modules() {
		d, m, _ := plugged(t, c)
		draw(t, d, office(c, "14:05"))
		full := m.Stats().Bytes
		draw(t, d, office(c, "14:06"))
		shows(t, m, office(c, "14:06"))
		minute := m.Stats().Bytes - full
		t.Logf("%s: whole picture %d bytes, a minute %d", name(c), full, minute)
		if minute == 0 || minute*20 > full {
			t.Errorf("%s: a minute takes %d bytes, a whole picture %d", name(c), minute, full)
		}
	}
}

func TestTheSamePictureSendsNothing(t *testing.T) {
	for _, c := range modules() {
		d, m, clk := plugged(t, c)
		pix := office(c, "14:05")
		draw(t, d, pix)
		before := m.Stats()
		clk.at = clk.at.Add(ssd1306.DefaultRefresh - 1)
		draw(t, d, pix)
		if m.Stats() != before {
			t.Errorf("%s: sent %+v after %+v", name(c), m.Stats(), before)
		}
	}
}

func TestDrawDoesNotKeepThePicture(t *testing.T) {
	c := ssd1306.Config{Height: 64}
	d, m, _ := plugged(t, c)
	pix := noise(c, 0)
	draw(t, d, pix)
	pix[0] ^= 0xFF // the caller's again
	draw(t, d, pix)
	shows(t, m, pix)
}

func TestUpsideDownTurnsThePicture(t *testing.T) {
	for _, c := range modules() {
		mounted := c
		mounted.UpsideDown = !c.UpsideDown
		m := ssd1306test.New(mounted)
		d, err := ssd1306.New(m, c)
		if err != nil {
			t.Fatal(err)
		}
		pix := noise(c, 7)
		draw(t, d, pix)
		turned := make([]byte, len(pix))
		for i, b := range pix {
			for bit := range 8 {
				turned[len(pix)-1-i] |= b >> bit & 1 << (7 - bit)
			}
		}
		shows(t, m, turned)
	}
}

// The bytes of the registers, in the order in which they go out.
func TestInitSequence(t *testing.T) {
	for _, c := range modules() {
		t.Run(name(c), func(t *testing.T) {
			d, m, clk := plugged(t, c)
			var got bytes.Buffer
			m.Trace(&got)
			got.WriteString("# the first picture\n")
			draw(t, d, office(c, "14:05"))
			got.WriteString("# a minute later\n")
			clk.at = clk.at.Add(time.Second)
			draw(t, d, office(c, "14:06"))
			got.WriteString("# everything again\n")
			clk.at = clk.at.Add(time.Minute)
			draw(t, d, office(c, "14:06"))
			got.WriteString("# halt\n")
			if err := d.Halt(); err != nil {
				t.Fatal(err)
			}
			m.Check(t)
			golden(t, "init_"+name(c)+".txt", got.Bytes())
		})
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got\n%s", path, got)
	}
}

func TestBrightness(t *testing.T) {
	for _, c := range modules() {
		d, m, _ := plugged(t, c)
		if err := d.SetBrightness(ssd1306.Night); err != nil || m.Stats().Bytes != 0 {
			t.Fatalf("%s: before the first picture: %v, %d bytes", name(c), err, m.Stats().Bytes)
		}
		draw(t, d, noise(c, 0))
		night := m.Registers()
		last := night
		for level := range 256 {
			if err := d.SetBrightness(uint8(level)); err != nil {
				t.Fatal(err)
			}
			now := m.Registers()
			if level == 0 && now != night {
				t.Errorf("%s: the level from before the first picture was not set", name(c))
			}
			if now.Contrast < last.Contrast || now.Precharge>>4 < last.Precharge>>4 || now.Vcomh < last.Vcomh {
				t.Errorf("%s: level %d is darker than the one before: %+v after %+v", name(c), level, now, last)
			}
			if phases := now.Precharge>>4 + now.Precharge&0xF; phases != 16 {
				t.Errorf("%s: level %d: a row takes %d clocks before it is lit; a picture's frequency changes", name(c), level, phases)
			}
			last = now
		}
		shows(t, m, noise(c, 0))
		if last.Contrast != 255 || night.Contrast == 0 || last.Precharge == night.Precharge {
			t.Errorf("%s: night %+v, brightest %+v", name(c), night, last)
		}
		if sh := c.Controller == ssd1306.SH1106; sh != (last.Vcomh == night.Vcomh) {
			t.Errorf("%s: VCOMH %#x at night, %#x by day", name(c), night.Vcomh, last.Vcomh)
		}
	}
}

func TestHaltIsDarkAndAPictureEndsIt(t *testing.T) {
	for _, c := range modules() {
		d, m, _ := plugged(t, c)
		draw(t, d, noise(c, 0))
		if err := d.Halt(); err != nil {
			t.Fatal(err)
		}
		shows(t, m, make([]byte, size(c)))
		if r := m.Registers(); r.On || r.Pump {
			t.Errorf("%s: halted with %+v", name(c), r)
		}
		draw(t, d, noise(c, 0))
		shows(t, m, noise(c, 0))
	}
}

func TestSettingsThatCannotBeAreRefused(t *testing.T) {
	for want, c := range map[string]ssd1306.Config{
		"0x7: a dev": {Addr: 0x07},
		"0x78: a de": {Addr: 0x78},
		"not known":  {Controller: 2},
		"64 or 32":   {Height: 48},
		"negative":   {Refresh: -1},
		"be negativ": {Orbit: -1},
	} {
		if _, err := ssd1306.New(ssd1306test.New(c), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error with %q", c, err, want)
		}
	}
	if _, err := ssd1306.New(nil, ssd1306.Config{}); err == nil {
		t.Error("no bus was accepted")
	}
	m := ssd1306test.New(ssd1306.Config{})
	d, err := ssd1306.New(m, ssd1306.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 512, 1023, 1025} {
		if d.Draw(make([]byte, n)) == nil {
			t.Errorf("a picture of %d bytes was taken", n)
		}
	}
	if m.Stats().Bytes != 0 {
		t.Error("something was sent")
	}
	if got, want := d.String(), "SSD1306 128x64 at 0x3c"; got != want {
		t.Errorf("String: %q, want %q", got, want)
	}
}
