package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sekisho/hal/rpi"
)

// Verdicts of a step.
const (
	fine   = "ok"
	bad    = "failed"
	absent = "absent" // the part is not named, so not there
	unseen = "unseen" // the part answered, nobody was asked what is to be seen
)

// result is what became of a step.
type result struct {
	Step    string `json:"step"`
	Verdict string `json:"verdict"`
	Detail  string `json:"detail,omitempty"`
	Advice  string `json:"advice,omitempty"` // when it failed
}

// smoke tries one board.
type smoke struct {
	cfg     rpi.Config
	board   rpi.Board
	chips   func() ([]string, error)
	words   text
	now     func() time.Time
	say     io.Writer
	answers *bufio.Scanner
	unasked bool
	advised string            // what was advised last: not to be said for every part again
	mark    func(step string) // in the recording
}

// step tries one part. It returns what it found, for people, or a fault.
type step struct {
	name  string
	there func(rpi.Config) bool
	try   func(*smoke) (string, error)
}

// steps are all of them, in order.
func steps() []step {
	always := func(rpi.Config) bool { return true }
	light := func(name string, line func(rpi.Config) string) step {
		return step{name, func(c rpi.Config) bool { return line(c) != "" }, func(m *smoke) (string, error) {
			return "", m.light(m.words.lit[name], line(m.cfg))
		}}
	}
	all := []step{
		{"kernel", always, (*smoke).kernel},
		{"button", func(c rpi.Config) bool { return c.Button != "" }, (*smoke).button},
		light("red", func(c rpi.Config) string { return c.Red }),
		light("green", func(c rpi.Config) string { return c.Green }),
		light("blue", func(c rpi.Config) string { return c.Blue }),
		{"amber", func(c rpi.Config) bool { return c.Red != "" && c.Green != "" }, func(m *smoke) (string, error) {
			return "", m.light(m.words.lit["amber"], m.cfg.Red, m.cfg.Green)
		}},
		{"buzzer", func(c rpi.Config) bool { return c.Buzzer != "" }, (*smoke).buzzer},
	}
	for _, p := range patterns() {
		all = append(all, step{"screen-" + p.name, func(c rpi.Config) bool { return c.Screen.Kind != "none" }, func(m *smoke) (string, error) {
			return "", m.screen(p)
		}})
	}
	return all
}

func stepNames() (names []string) {
	for _, s := range steps() {
		names = append(names, s.name)
	}
	return names
}

// known says which of the names are no steps. "screen" means all of the screen's.
func known(only []string) error {
	for _, name := range only {
		if !slices.ContainsFunc(steps(), func(s step) bool { return s.is(name) }) {
			return fmt.Errorf("%q is not a step; there are %s", name, strings.Join(stepNames(), ", "))
		}
	}
	return nil
}

func (s step) is(name string) bool {
	return s.name == name || name == "screen" && strings.HasPrefix(s.name, "screen-")
}

// errStopped is the person's wish to go no further.
var errStopped = errors.New("stopped")

// errNotSeen is the person's no.
var errNotSeen = errors.New("not seen")

// run tries the steps, or only some of them, and tells of each as it goes. It says
// whether the person stopped it.
func (m *smoke) run(only []string) (results []result, stopped bool) {
	for _, s := range steps() {
		if len(only) > 0 && !slices.ContainsFunc(only, s.is) {
			continue
		}
		r := result{Step: s.name, Verdict: absent}
		if s.there(m.cfg) {
			m.mark(s.name)
			var err error
			r.Detail, err = s.try(m)
			switch {
			case errors.Is(err, errStopped):
				return results, true
			case err != nil:
				r.Verdict, r.Advice = bad, m.words.advice(s.name, err)
				if !errors.Is(err, errNotSeen) {
					r.Detail = err.Error()
				}
			case m.unasked && s.name != "kernel":
				r.Verdict = unseen
			default:
				r.Verdict = fine
			}
		}
		results = append(results, r)
		m.tell(r)
	}
	return results, false
}

func (m *smoke) tell(r result) {
	fmt.Fprintf(m.say, "%-16s %s", r.Step, m.words.verdict[r.Verdict])
	if r.Detail != "" {
		fmt.Fprintf(m.say, "  %s", r.Detail)
	}
	fmt.Fprintln(m.say)
	if r.Advice != "" && r.Advice != m.advised {
		fmt.Fprintf(m.say, "    -> %s\n", r.Advice)
	}
	m.advised = r.Advice
}

// ask puts a question, and puts it again until there is an answer.
func (m *smoke) ask(question string) error {
	if m.unasked {
		return nil
	}
	for {
		fmt.Fprintf(m.say, "%s %s ", question, m.words.yesNo)
		if !m.answers.Scan() {
			fmt.Fprintln(m.say)
			return errStopped
		}
		switch strings.ToLower(strings.TrimSpace(m.answers.Text())) {
		case "y", "yes", "はい":
			return nil
		case "n", "no", "いいえ":
			return errNotSeen
		case "q", "quit":
			return errStopped
		}
	}
}

func (m *smoke) kernel() (string, error) {
	chips, err := m.chips()
	if err != nil {
		return "", err
	}
	if m.cfg.Screen.Kind != "none" {
		bus, err := m.board.OpenBus(m.cfg.Screen.Bus)
		if err != nil {
			return "", err
		}
		bus.Close()
	}
	return strings.Join(chips, ", "), nil
}

// light shines while the question stands.
func (m *smoke) light(question string, lines ...string) error {
	for _, line := range lines {
		l, err := m.board.OpenLight(line, m.cfg.LampActiveLow)
		if err != nil {
			return err
		}
		defer func() {
			_ = l.Set(rpi.Shade{}) // it has been asked about
			l.Close()
		}()
		if err := l.Set(rpi.Shade{Level: 255}); err != nil {
			return err
		}
	}
	return m.ask(question)
}

// Three beeps, long enough to be found in a noisy room.
const (
	beeps    = 3
	beepTime = 200 * time.Millisecond
)

func (m *smoke) buzzer() (string, error) {
	l, err := m.board.OpenLight(m.cfg.Buzzer, false)
	if err != nil {
		return "", err
	}
	defer l.Close()
	for range beeps {
		for _, level := range []uint8{255, 0} {
			if err := l.Set(rpi.Shade{Level: level}); err != nil {
				return "", err
			}
			time.Sleep(beepTime)
		}
	}
	return "", m.ask(m.words.beeped)
}

// screen draws a pattern with a driver of its own, so that what it sends does not
// depend on how long the person looked at the one before.
func (m *smoke) screen(p pattern) error {
	bus, err := m.board.OpenBus(m.cfg.Screen.Bus)
	if err != nil {
		return err
	}
	defer bus.Close()
	d, err := m.cfg.Screen.Driver(bus, 0, m.now)
	if err != nil {
		return err
	}
	if err := d.Draw(p.draw(m.cfg.Screen.Height, m.words.lang)); err != nil {
		return errors.Join(err, m.elsewhere(bus))
	}
	for _, level := range p.levels {
		if err := d.SetBrightness(level); err != nil {
			return err
		}
		if !m.unasked {
			time.Sleep(p.each)
		}
	}
	if err := m.ask(m.words.drawn[p.name]); err != nil {
		return err
	}
	return d.Halt()
}

// elsewhere looks whether a screen answers at the other address: 0xE3 does nothing
// (NOP, SSD1306 rev 1.1 table 9-1).
func (m *smoke) elsewhere(bus rpi.Bus) error {
	other := m.cfg.Screen.Addr ^ 1
	if other != 0x3C && other != 0x3D || bus.Tx(other, []byte{0x00, 0xE3}, nil) != nil {
		return nil
	}
	return fmt.Errorf("%w %#x", errElsewhere, other)
}

var errElsewhere = errors.New("a screen answers at address")
