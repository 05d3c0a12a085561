package virtual

import (
	"testing"

	"sekisho/hal/panel"
)

func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestTheTerminalIsTakenAsTheEnvironmentSays(t *testing.T) {
	const utf8 = "ja_JP.UTF-8"
	for name, c := range map[string]struct {
		env  map[string]string
		want look
	}{
		"modern terminal":          {map[string]string{"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": utf8}, look{trueColor, true, true, false}},
		"24 bits by another word":  {map[string]string{"TERM": "xterm", "COLORTERM": "24bit", "LANG": utf8}, look{trueColor, true, true, false}},
		"direct colour":            {map[string]string{"TERM": "xterm-direct", "LANG": utf8}, look{trueColor, true, true, false}},
		"over SSH":                 {map[string]string{"TERM": "xterm-256color", "LANG": "C.UTF-8"}, look{colors256, true, true, false}},
		"inside tmux":              {map[string]string{"TERM": "tmux-256color", "LC_CTYPE": "C.utf8"}, look{colors256, true, true, false}},
		"old terminal":             {map[string]string{"TERM": "xterm", "LANG": utf8}, look{colors8, true, true, false}},
		"the machine's console":    {map[string]string{"TERM": "linux", "LANG": utf8}, look{colors8, true, false, false}},
		"no colour wanted":         {map[string]string{"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1", "LANG": utf8}, look{mono, true, true, false}},
		"NO_COLOR that is empty":   {map[string]string{"TERM": "xterm-256color", "NO_COLOR": "", "LANG": utf8}, look{colors256, true, true, false}},
		"serial line":              {map[string]string{"TERM": "vt220", "LANG": "C"}, look{mono, false, false, false}},
		"dumb":                     {map[string]string{"TERM": "dumb", "COLORTERM": "truecolor", "LANG": utf8}, look{mono, true, true, true}},
		"nothing known":            {nil, look{mono, false, false, true}},
		"LC_ALL rules":             {map[string]string{"TERM": "xterm", "LC_ALL": "C", "LANG": utf8}, look{colors8, false, false, false}},
		"an empty LC_ALL does not": {map[string]string{"TERM": "xterm", "LC_ALL": "", "LC_CTYPE": utf8, "LANG": "C"}, look{colors8, true, true, false}},
	} {
		if got := lookOf(env(c.env)); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestAPenIsWrittenInTheColoursThatAreThere(t *testing.T) {
	amber, blue := panel.Color{R: 255, G: 150}, panel.Color{G: 60, B: 255}
	for _, c := range []struct {
		depth depth
		pen   pen
		want  string
	}{
		{trueColor, pen{back: inked(amber)}, "\x1b[0;48;2;255;150;0m"},
		{colors256, pen{back: inked(amber)}, "\x1b[0;48;5;208m"},
		{colors8, pen{back: inked(amber)}, "\x1b[0;43m"},
		{mono, pen{back: inked(amber)}, "\x1b[0m"},
		{trueColor, pen{front: inked(blue), back: inked(amber)}, "\x1b[0;38;2;0;60;255;48;2;255;150;0m"},
		{colors8, pen{front: inked(blue)}, "\x1b[0;34m"},
		{trueColor, pen{}, "\x1b[0m"},
	} {
		if got := c.depth.sgr(c.pen); got != c.want {
			t.Errorf("depth %d: %q, want %q", c.depth, got, c.want)
		}
	}
}

// The nearest of all 240 colours is found, against a search through them.
func TestTheNearestOfThePaletteIsTaken(t *testing.T) {
	var all [256]panel.Color
	for i := 16; i < 232; i++ {
		steps := [6]uint8{0, 95, 135, 175, 215, 255}
		n := i - 16
		all[i] = panel.Color{R: steps[n/36], G: steps[n/6%6], B: steps[n%6]}
	}
	for i := 232; i < 256; i++ {
		v := uint8(8 + 10*(i-232))
		all[i] = panel.Color{R: v, G: v, B: v}
	}
	for r := 0; r < 256; r += 5 {
		for g := 0; g < 256; g += 15 {
			for b := 0; b < 256; b += 17 {
				c := panel.Color{R: uint8(r), G: uint8(g), B: uint8(b)}
				best := 16
				for i := 16; i < 256; i++ {
					if apart(c, all[i]) < apart(c, all[best]) {
						best = i
					}
				}
				if got := palette256(c); apart(c, all[got]) != apart(c, all[best]) {
					t.Fatalf("%v: colour %d %v, nearer is %d %v", c, got, all[got], best, all[best])
				}
			}
		}
	}
}
