//go:build twin

package office

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho/hal"
	"sekisho/hal/panel"
	"sekisho/hal/ssd1306"
	"sekisho/hal/ssd1306/ssd1306test"
	"sekisho/image/twin"
	"sekisho/image/twin/i2cwave"
)

// picture is in the layout of panel.Image.
type picture [panel.Width * panel.Height / 8]byte

// glass is the screen on the gateway's bus: the model of its controller, given
// what was read off the bus' lines, and what a person could have seen on it.
type glass struct {
	machine *twin.Machine
	bus     *twin.Bus

	mu      sync.Mutex
	model   *ssd1306test.Model
	said    [][]byte              // to the model, since it has power
	seen    map[picture]time.Time // since forget, and when first
	refused int                   // messages that nobody took
	strange []string              // what no screen should be told
	kept    map[string]keptGlass
}

// keptGlass is what belongs to a saved moment of the machine.
type keptGlass struct {
	bus  twin.Moment
	said [][]byte
}

func newGlass(t testing.TB) *glass {
	g := &glass{kept: map[string]keptGlass{}, seen: map[picture]time.Time{}}
	t.Cleanup(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.model == nil {
			return
		}
		last := g.picture()
		g.power(nil)
		for _, s := range g.strange {
			t.Errorf("on the screen's bus: %s", s)
		}
		if t.Failed() {
			t.Logf("the screen last showed\n%s", last)
		}
	})
	return g
}

// connect puts the screen on the bus of a machine that has just been switched on.
func (g *glass) connect(t testing.TB, m *twin.Machine, lines *twin.GPIO) {
	t.Helper()
	g.mu.Lock()
	g.power(nil)
	g.mu.Unlock()
	g.machine = m
	var err error
	if g.bus, err = m.Bus(t.Context(), lines, g.hear); err != nil {
		t.Fatal(err)
	}
}

// power replaces the controller by one that was told so much since its power
// came on. The lock is held.
func (g *glass) power(said [][]byte) {
	if g.model != nil {
		g.strange = append(g.strange, g.model.Errors()...)
	}
	g.model, g.said = ssd1306test.New(ssd1306.Config{}), slices.Clone(said)
	for _, data := range said {
		g.model.Transaction(ssd1306.DefaultAddr, data)
	}
}

// hear takes a message off the bus.
func (g *glass) hear(m i2cwave.Message, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case m.Refused:
		g.refused++
	case m.Read || m.More > 0 || !g.model.Transaction(uint16(m.Addr), m.Data):
		g.strange = append(g.strange, fmt.Sprintf("%+v", m))
	default:
		g.said = append(g.said, m.Data)
		if p := g.picture(); g.seen[p].IsZero() {
			g.seen[p] = at
		}
	}
}

// picture is what a person sees. The lock is held.
func (g *glass) picture() (p picture) {
	copy(p[:], g.model.Picture())
	return p
}

// shows says whether the screen shows one of these now.
func (g *glass) shows(wanted []picture) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(wanted, g.picture())
}

// when says when the screen first showed one of these since forget; zero when it
// did not.
func (g *glass) when(wanted []picture) (first time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range wanted {
		if at := g.seen[p]; !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

func (g *glass) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen, g.refused = map[picture]time.Time{}, 0
}

// unheard is how many messages nobody took since forget.
func (g *glass) unheard() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused
}

// unplug takes the screen off the bus, and off its power.
func (g *glass) unplug(t testing.TB) {
	t.Helper()
	if err := g.bus.Unplug(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.model.Unplug()
}

// plug connects a screen that remembers nothing.
func (g *glass) plug(t testing.TB) {
	t.Helper()
	g.mu.Lock()
	g.power(nil)
	g.mu.Unlock()
	if err := g.bus.Plug(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// save and load are those of the machine, with the screen as it is then.
func (g *glass) save(ctx context.Context, name string) error {
	return g.bus.Still(ctx, func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.kept[name] = keptGlass{g.bus.Moment(), slices.Clone(g.said)}
		return g.machine.Save(ctx, name)
	})
}

func (g *glass) load(ctx context.Context, name string) error {
	return g.bus.Still(ctx, func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		to := g.kept[name]
		g.bus.Return(to.bus)
		g.power(to.said)
		return g.machine.Load(ctx, name)
	})
}

// anywhere is the pictures in every place where they may stand: the driver moves
// them a little now and then, against burn-in.
func anywhere(pictures ...picture) (all []picture) {
	for _, p := range pictures {
		for dy := -1; dy <= 1; dy++ {
			for dx := -2; dx <= 2; dx++ {
				all = append(all, picture(ssd1306.Moved(p[:], dx, dy)))
			}
		}
	}
	return all
}

// String draws it, two pixels a character.
func (p picture) String() string {
	lit := func(x, y int) int { return int(p[y/8*panel.Width+x] >> (y % 8) & 1) }
	var b strings.Builder
	for y := 0; y < panel.Height; y += 2 {
		for x := range panel.Width {
			b.WriteRune([]rune(" ▀▄█")[lit(x, y)+2*lit(x, y+1)])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// pictureOf reads a PNG of the page or a golden file.
func pictureOf(encoded []byte) (p picture, err error) {
	m, err := png.Decode(bytes.NewReader(encoded))
	if err != nil {
		return p, err
	}
	var drawn panel.Image
	for y := range panel.Height {
		for x := range panel.Width {
			r, _, _, _ := m.At(x, y).RGBA()
			drawn.Set(x, y, r > 0)
		}
	}
	return picture(drawn.Pix), nil
}

// healthView is what the page says of the gateway itself.
type healthView struct {
	Results []struct{ Name, Status string }
}

func (h healthView) warns(of string) bool {
	for _, r := range h.Results {
		if r.Name == of {
			return r.Status != "ok"
		}
	}
	return false
}

// golden is a picture that package panel has to draw.
func golden(t testing.TB, name string) picture {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "hal", "panel", "testdata", name+".png"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := pictureOf(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// isolating is every picture of the bar that moves while a host is isolated.
func isolating(name string) (all []picture) {
	for tenth := range 32 {
		s := hal.Status{State: hal.Isolating, Lang: "en", Suspect: hal.Device{Name: name}, Now: time.UnixMilli(int64(tenth) * 100)}
		if p := picture(panel.Render(s, 0).Pix); !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// countdown is every picture of a long hold while it says so many seconds.
func countdown(seconds int) (all []picture) {
	for left := time.Duration(seconds) * time.Second; left > time.Duration(seconds-1)*time.Second; left -= panel.HoldStep {
		h := panel.Hold{Phase: panel.HoldCountdown, Held: panel.HoldLong - left, Left: left}
		all = append(all, picture(panel.RenderHold(hal.Status{Lang: "en"}, 0, h).Pix))
	}
	return all
}

// agrees waits until the page has a state, and the screen the page's picture.
func (w *world) agrees(t testing.TB, state string) (p panelView, shown picture) {
	t.Helper()
	await(t, "a screen that shows what the page does, "+state, func() bool {
		if w.get("/api/panel", &p) != nil || p.State != state {
			return false
		}
		var err error
		if shown, err = pictureOf(p.Image); err != nil {
			t.Fatal(err)
		}
		return w.glass.shows(anywhere(shown))
	})
	return p, shown
}

// TestTheScreenInTheTwin reads the picture off the bus' lines, and compares it
// with golden files and with the page. One boot, one story.
func TestTheScreenInTheTwin(t *testing.T) {
	s := newSiege(t, withScreen)
	s.agrees(t, "learning")
	stop := s.flood(t, 1, 20*time.Millisecond, scan(1))
	s.asks(t)
	stop()
	asking, _ := s.agrees(t, "attention")
	name := asking.Lines[1] // below the title
	t.Run("a press: isolating, and isolated", func(t *testing.T) {
		s.glass.forget()
		let := s.press(t)
		s.awaitIncident(t, 1, "contained and proven", proven)
		p, isolated := s.agrees(t, "isolated")
		if p.Lines[1] != name {
			t.Errorf("the screen asked about %q, and says that %q is isolated", name, p.Lines[1])
		}
		bar := s.glass.when(anywhere(isolating(name)...))
		if bar.IsZero() {
			t.Error("nobody saw that it was being isolated")
		}
		t.Logf("isolating %v, isolated %v after the button was let go", bar.Sub(let), s.glass.when(anywhere(isolated)).Sub(let))
	})
	t.Run("a long hold counts down, and letting go cancels it", func(t *testing.T) {
		s.glass.forget()
		s.push(t, true)
		three := anywhere(countdown(3)...)
		if !slices.Contains(three, golden(t, "hold_countdown_en")) {
			t.Error("what is looked for is not what package panel draws")
		}
		await(t, "a countdown", func() bool { return !s.glass.when(three).IsZero() })
		s.push(t, false)
		p, _ := s.agrees(t, "isolated")
		if p.Lockdown {
			t.Error("the office was cut off all the same")
		}
	})
	t.Run("it is unplugged, and comes back without its memory", func(t *testing.T) {
		s.glass.unplug(t)
		s.glass.forget()
		await(t, "a gateway that misses its screen", func() bool { return s.glass.unheard() > 0 })
		var h healthView
		await(t, "a warning about the screen", func() bool { return s.get("/api/health", &h) == nil && h.warns("panel:screen") })
		s.glass.plug(t)
		s.agrees(t, "isolated")
		await(t, "no warning any more", func() bool { return s.get("/api/health", &h) == nil && !h.warns("panel:screen") })
	})
}
