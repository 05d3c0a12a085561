package ssd1306_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sekisho/hal/ssd1306"
	"sekisho/hal/ssd1306/ssd1306test"
)

// upright are the modules one way round; the other way differs in two bytes.
func upright() []ssd1306.Config {
	return slices.DeleteFunc(modules(), func(c ssd1306.Config) bool { return c.UpsideDown })
}

// places are the bytes at which a test lets something go wrong: all of the
// registers and the first page, and such of the rest that each place in a page's
// transactions has its turn on some page.
func places(total int) []int {
	var all []int
	for k, step := 0, 1; k < total; k += step {
		if k == 180 {
			step = 11
		}
		all = append(all, k)
	}
	return all
}

// fully returns how many bytes a first picture and then a second one take.
func fully(t *testing.T, c ssd1306.Config) (first, second int) {
	d, m, _ := plugged(t, c)
	draw(t, d, noise(c, 0))
	first = m.Stats().Bytes
	draw(t, d, office(c, "14:05"))
	return first, m.Stats().Bytes - first
}

func TestAScreenThatWasUnpluggedAtAnyByteShowsTheNextPicture(t *testing.T) {
	for _, c := range upright() {
		t.Run(name(c), func(t *testing.T) {
			first, second := fully(t, c)
			for _, f := range []ssd1306test.Fault{ssd1306test.Unplug, ssd1306test.NACK} {
				for _, k := range places(first + second) {
					d, m, _ := plugged(t, c)
					m.FaultAt(k, f)
					if err := d.Draw(noise(c, 0)); (err != nil) != (k < first) {
						t.Fatalf("fault %d at byte %d: first picture: %v", f, k, err)
					}
					err := d.Draw(office(c, "14:05"))
					if f == ssd1306test.Unplug {
						if err == nil {
							t.Fatalf("unplugged at byte %d, and the second picture was drawn", k)
						}
						m.Plug()
					} else if (err != nil) != (k >= first) {
						t.Fatalf("not acknowledged at byte %d: second picture: %v", k, err)
					}
					draw(t, d, office(c, "14:06"))
					seen(t, m, office(c, "14:06"))
				}
			}
		})
	}
}

func TestAScreenThatIsNotThereIsAnErrorEachTime(t *testing.T) {
	c := ssd1306.Config{Height: 64}
	d, m, _ := plugged(t, c)
	m.Unplug()
	for range 3 {
		before := m.Stats().Bytes
		if d.Draw(noise(c, 0)) == nil {
			t.Fatal("drew on nothing")
		}
		if n := m.Stats().Bytes - before; n != 1 {
			t.Errorf("asked with %d bytes, not with its address alone", n)
		}
	}
	if d.Halt() == nil {
		t.Error("halted nothing")
	}
}

func TestAfterAnErrorTheNextPictureSetsTheBrightness(t *testing.T) {
	c := ssd1306.Config{Height: 64}
	d, m, _ := plugged(t, c)
	draw(t, d, noise(c, 0))
	m.FaultAt(2, ssd1306test.NACK)
	if d.SetBrightness(ssd1306.Night) == nil {
		t.Fatal("no error")
	}
	draw(t, d, noise(c, 0))
	shows(t, m, noise(c, 0))
	set := m.Registers()
	if err := d.SetBrightness(ssd1306.Night); err != nil || m.Registers() != set {
		t.Errorf("%v: %+v, want %+v", err, m.Registers(), set)
	}
}

// A screen that was off between two pictures acknowledges the second as if
// nothing had been.
func TestAScreenThatLostItsPowerUnseenIsRefreshed(t *testing.T) {
	for _, c := range modules() {
		d, m, clk := plugged(t, c)
		draw(t, d, office(c, "14:05"))
		m.Plug()
		draw(t, d, office(c, "14:06"))
		clk.at = clk.at.Add(ssd1306.DefaultRefresh)
		draw(t, d, office(c, "14:06"))
		shows(t, m, office(c, "14:06"))
	}
}

// pumpLost says that nonsense happened to be the two bytes that turn the pump of
// an SH1106 off, which no refresh can turn on without turning the screen off.
func pumpLost(c ssd1306.Config, m *ssd1306test.Model) bool {
	return c.Controller == ssd1306.SH1106 && !m.Registers().Pump
}

// A byte that the bus loses makes the rest of its transaction mean something
// else: arguments become commands, pixels too. What the screen makes of that is
// not judged, only what it shows in the end.
func TestWhatTheBusLosesUnseenIsRefreshed(t *testing.T) {
	for _, c := range upright() {
		t.Run(name(c), func(t *testing.T) {
			first, second := fully(t, c)
			lost := 0
			for _, k := range places(first + second) {
				d, m, clk := plugged(t, c)
				m.FaultAt(k, ssd1306test.Swallow)
				draw(t, d, noise(c, 0))
				draw(t, d, office(c, "14:05"))
				if pumpLost(c, m) {
					lost++
					continue
				}
				clk.at = clk.at.Add(ssd1306.DefaultRefresh)
				draw(t, d, office(c, "14:05"))
				seen(t, m, office(c, "14:05"))
			}
			if lost > 10 {
				t.Errorf("%d of %d lost bytes cannot be mended", lost, len(places(first+second)))
			}
		})
	}
}

func TestADisturbedBusIsRefreshed(t *testing.T) {
	for _, c := range modules() {
		t.Run(name(c), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				d, m, clk := plugged(t, c)
				for range rapid.IntRange(1, 5).Draw(t, "faults") {
					f := rapid.SampledFrom([]ssd1306test.Fault{ssd1306test.Flip, ssd1306test.Swallow, ssd1306test.NACK}).Draw(t, "fault")
					m.FaultAt(rapid.IntRange(0, 1200).Draw(t, "at"), f)
					_ = d.Draw(noise(c, rapid.Byte().Draw(t, "seed"))) // may fail, or not notice
				}
				m.FaultAt(0, ssd1306test.None)
				if pumpLost(c, m) {
					t.Skip("only a cold start would help")
				}
				clk.at = clk.at.Add(ssd1306.DefaultRefresh)
				draw(t, d, office(c, "14:05"))
				seen(t, m, office(c, "14:05"))
			})
		})
	}
}

// dim records whether the display was ever off.
type dim struct {
	*ssd1306test.Model
	off bool
}

func (s *dim) Tx(addr uint16, w, r []byte) error {
	err := s.Model.Tx(addr, w, r)
	if !s.Registers().On || !s.Registers().Pump {
		s.off = true
	}
	return err
}

func TestARefreshSendsEverythingAndDoesNotFlicker(t *testing.T) {
	for _, c := range modules() {
		clk := &clock{at: time.Unix(0, 0)}
		c.Now = clk.now
		s := &dim{Model: ssd1306test.New(c)}
		d, err := ssd1306.New(s, c)
		if err != nil {
			t.Fatal(err)
		}
		draw(t, d, noise(c, 0))
		if !s.off {
			t.Fatal("a cold screen was lit before it held the picture")
		}
		s.off = false
		before, was := s.Stats().Bytes, s.Registers()
		clk.at = clk.at.Add(ssd1306.DefaultRefresh)
		draw(t, d, noise(c, 0))
		if s.off || s.Registers() != was {
			t.Errorf("%s: the refresh changed what is seen: %+v, was %+v", name(c), s.Registers(), was)
		}
		if n := s.Stats().Bytes - before; n < size(c) {
			t.Errorf("%s: the refresh sent %d bytes", name(c), n)
		}
	}
}

func TestAClockThatIsSetDoesNotStopTheRefresh(t *testing.T) {
	c := ssd1306.Config{Height: 64}
	d, m, clk := plugged(t, c)
	pix := office(c, "14:05")
	draw(t, d, pix)
	clk.at = clk.at.Add(-24 * time.Hour)
	m.Plug()
	draw(t, d, pix)
	shows(t, m, pix)
	m.Plug()
	clk.at = clk.at.Add(ssd1306.DefaultRefresh)
	draw(t, d, pix)
	shows(t, m, pix)
}
