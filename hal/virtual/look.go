package virtual

import (
	"fmt"
	"strings"

	"sekisho/hal/panel"
)

// depth is how many colours a terminal shows.
type depth uint8

const (
	mono      depth = iota // none, or none wanted
	colors8                // ECMA-48, SGR 30 to 47
	colors256              // xterm's palette
	trueColor              // 24 bits
)

// look is how one terminal can be written to.
type look struct {
	depth depth
	// utf8 allows more than ASCII.
	utf8 bool
	// dots allows braille: a console's font has 512 glyphs, and not those.
	dots bool
	// lines says that the cursor cannot be moved: text is added, never replaced.
	lines bool
}

// lookOf reads what the environment says of the terminal. It asks for no
// terminfo: the sequences used are those that every terminal of the last thirty
// years knows, and what differs are colours and characters.
//
// NO_COLOR is no-color.org's; COLORTERM is what terminals with 24 bits set, and
// what SSH seldom hands on, so that a session over SSH mostly has 256 colours.
func lookOf(env func(string) string) look {
	term := env("TERM")
	l := look{utf8: utf8Locale(env)}
	l.dots = l.utf8 && term != "linux"
	switch color := env("COLORTERM"); {
	case term == "" || term == "dumb":
		l.lines = true
	case env("NO_COLOR") != "" || strings.HasPrefix(term, "vt") || strings.HasSuffix(term, "-m"):
	case color == "truecolor" || color == "24bit" || strings.HasSuffix(term, "-direct"):
		l.depth = trueColor
	case strings.Contains(term, "256color"):
		l.depth = colors256
	default:
		l.depth = colors8
	}
	return l
}

// utf8Locale follows the order of setlocale(3).
func utf8Locale(env func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := env(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

// ink is a colour, or none where the terminal's own is left.
type ink struct {
	panel.Color
	set bool
}

func inked(c panel.Color) ink { return ink{c, true} }

// pen is how a cell is written.
type pen struct{ front, back ink }

// sgr is the sequence that changes to a pen from any other (ECMA-48, 8.3.117).
func (d depth) sgr(p pen) string {
	s := "\x1b[0"
	if p.front.set {
		s += d.color(p.front.Color, 30)
	}
	if p.back.set {
		s += d.color(p.back.Color, 40)
	}
	return s + "m"
}

// color is a parameter of SGR; base is 30 in front, 40 behind.
func (d depth) color(c panel.Color, base int) string {
	switch d {
	case trueColor:
		return fmt.Sprintf(";%d;2;%d;%d;%d", base+8, c.R, c.G, c.B)
	case colors256:
		return fmt.Sprintf(";%d;5;%d", base+8, palette256(c))
	case colors8: // a shade is on or off, as on the box's own lines
		return fmt.Sprintf(";%d", base+int(c.R>>7|c.G>>7<<1|c.B>>7<<2))
	}
	return ""
}

// palette256 is the nearest colour of xterm's cube of 6 by 6 by 6 and of its 24
// greys (256colres.pl of the xterm source).
func palette256(c panel.Color) int {
	level := func(v uint8) (n int, is uint8) {
		switch {
		case v < 48:
			return 0, 0
		case v < 115:
			return 1, 95
		}
		n = (int(v) - 35) / 40
		return n, uint8(55 + 40*n)
	}
	r, cr := level(c.R)
	g, cg := level(c.G)
	b, cb := level(c.B)
	cube := panel.Color{R: cr, G: cg, B: cb}
	gray := min(max((int(c.R)+int(c.G)+int(c.B))/3-3, 0)/10, 23)
	shade := uint8(8 + 10*gray)
	if apart(c, panel.Color{R: shade, G: shade, B: shade}) < apart(c, cube) {
		return 232 + gray
	}
	return 16 + 36*r + 6*g + b
}

// apart is the square of how far two colours are from each other.
func apart(a, b panel.Color) int {
	r, g, l := int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B)
	return r*r + g*g + l*l
}
