package virtual

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// vt is a terminal as far as the panel uses one. What it does not know, and
// whatever would scroll or wrap the picture away, fails the test.
type vt struct {
	t          *testing.T
	cols, rows int
	main, alt  [][]vtCell
	other      bool // the other screen is shown
	hidden     bool // the cursor
	marked     bool // a paste
	x, y       int
	saved      [2]int // cursor of the first screen
	pen        string
	late       bool   // what was written for a larger size may still come; terminals keep it inside
	rest       []byte // of a sequence or a character that has not come whole
}

type vtCell struct {
	char rune // 0: right half of the one before
	pen  string
}

func newVT(t *testing.T, cols, rows int) *vt {
	v := &vt{t: t}
	v.resize(cols, rows)
	return v
}

// resize keeps what stands in the upper left corner, and fills the rest with what
// a terminal may leave there.
func (v *vt) resize(cols, rows int) {
	for _, page := range []*[][]vtCell{&v.main, &v.alt} {
		old := *page
		*page = make([][]vtCell, rows)
		for y := range *page {
			(*page)[y] = make([]vtCell, cols)
			for x := range (*page)[y] {
				(*page)[y][x] = vtCell{char: '#'}
				if y < len(old) && x < len(old[y]) {
					(*page)[y][x] = old[y][x]
				}
			}
		}
	}
	v.cols, v.rows = cols, rows
	v.x, v.y = min(v.x, cols-1), min(v.y, rows-1)
}

func (v *vt) screen() [][]vtCell {
	if v.other {
		return v.alt
	}
	return v.main
}

func (v *vt) Write(p []byte) (int, error) {
	in := append(v.rest, p...)
	for len(in) > 0 {
		n := v.step(in)
		if n == 0 {
			break
		}
		in = in[n:]
	}
	v.rest = append([]byte(nil), in...)
	return len(p), nil
}

// step takes one character or sequence; 0: it is not whole.
func (v *vt) step(in []byte) int {
	switch c := in[0]; {
	case c == '\r':
		v.x = 0
	case c == '\n':
		if v.y++; v.y >= v.rows {
			v.t.Error("the terminal scrolls")
			v.y = v.rows - 1
		}
	case c == 0x1b:
		return v.sequence(in)
	case c < ' ' || c == 0x7f:
		v.t.Errorf("control %#x", c)
	default:
		if !utf8.FullRune(in) {
			return 0
		}
		r, n := utf8.DecodeRune(in)
		v.print(r)
		return n
	}
	return 1
}

func (v *vt) print(r rune) {
	_, w := drawn(r)
	if w == 0 {
		v.t.Errorf("%U has no place", r)
		return
	}
	if v.x+w > v.cols && v.late {
		return
	}
	if v.x+w > v.cols {
		v.t.Errorf("%q wraps at %d,%d of %dx%d", r, v.x, v.y, v.cols, v.rows)
		return
	}
	row := v.screen()[v.y]
	if row[v.x].char == 0 && v.x > 0 { // the half that is left of a wide one goes
		row[v.x-1].char = ' '
	}
	if after := v.x + w; after < v.cols && row[after].char == 0 {
		row[after].char = ' '
	}
	row[v.x] = vtCell{r, v.pen}
	if w == 2 {
		row[v.x+1] = vtCell{0, v.pen}
	}
	v.x += w
}

func (v *vt) sequence(in []byte) int {
	if len(in) < 2 {
		return 0
	}
	if in[1] != '[' {
		v.t.Errorf("ESC %q", in[1])
		return 2
	}
	end := 2
	for end < len(in) && (in[end] < 0x40 || in[end] > 0x7e) {
		end++
	}
	if end == len(in) {
		return 0
	}
	v.control(string(in[2:end]), in[end])
	return end + 1
}

func (v *vt) control(params string, final byte) {
	switch {
	case final == 'H':
		row, col, _ := strings.Cut(params, ";")
		y, err := strconv.Atoi(row)
		x, err2 := strconv.Atoi(col)
		if v.late {
			x, y = min(x, v.cols), min(y, v.rows)
		}
		if err != nil || err2 != nil || y < 1 || x < 1 || y > v.rows || x > v.cols {
			v.t.Errorf("moves to %q of %dx%d", params, v.cols, v.rows)
			return
		}
		v.x, v.y = x-1, y-1
	case final == 'm':
		v.pen = strings.TrimPrefix(strings.TrimPrefix(params, "0"), ";")
	case final == 'J' && params == "2":
		v.late = false
		for _, row := range v.screen() {
			for x := range row {
				row[x] = vtCell{char: ' ', pen: v.pen}
			}
		}
	case params == "?1049" && (final == 'h' || final == 'l'):
		if v.other = final == 'h'; v.other {
			v.saved = [2]int{v.x, v.y}
		} else {
			v.x, v.y = min(v.saved[0], v.cols-1), min(v.saved[1], v.rows-1)
		}
	case params == "?25" && (final == 'h' || final == 'l'):
		v.hidden = final == 'l'
	case params == "?2004" && (final == 'h' || final == 'l'):
		v.marked = final == 'h'
	default:
		v.t.Errorf("sequence %q%c", params, final)
	}
}

// text is the screen without its colours.
func (v *vt) text() string {
	var b strings.Builder
	for _, row := range v.screen() {
		var line strings.Builder
		for _, c := range row {
			if c.char != 0 {
				line.WriteRune(c.char)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// penAt is the pen of a cell, as SGR wrote it.
func (v *vt) penAt(x, y int) string { return v.screen()[y][x].pen }

// differs says where two terminals show something else.
func (v *vt) differs(w *vt) string {
	if v.cols != w.cols || v.rows != w.rows {
		return fmt.Sprintf("%dx%d and %dx%d", v.cols, v.rows, w.cols, w.rows)
	}
	for y := range v.rows {
		for x := range v.cols {
			if a, b := v.screen()[y][x], w.screen()[y][x]; a != b {
				return fmt.Sprintf("at %d,%d %q and %q", x, y, a, b)
			}
		}
	}
	return ""
}
