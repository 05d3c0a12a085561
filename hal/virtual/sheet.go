package virtual

import (
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// A terminal that claims to be larger is filled this far.
const (
	maxCols = 512
	maxRows = 256
)

// cell is one place of a terminal. The right half of a wide character is a cell
// without one.
type cell struct {
	char rune
	pen  pen
}

// sheet is what stands, or is to stand, on a terminal.
type sheet struct {
	cols, rows int
	cells      []cell
}

// clear makes the sheet blank and gives it a size.
func (s *sheet) clear(cols, rows int) {
	s.cols, s.rows = min(max(cols, 0), maxCols), min(max(rows, 0), maxRows)
	if n := s.cols * s.rows; cap(s.cells) < n {
		s.cells = make([]cell, n)
	} else {
		s.cells = s.cells[:n]
	}
	for i := range s.cells {
		s.cells[i] = cell{char: ' '}
	}
}

// put writes text from a cell on, as far as the line goes, and returns where it
// ends. Nothing of the text can steer the terminal.
func (s *sheet) put(x, y int, p pen, text string) int {
	for _, r := range text {
		r, w := drawn(r)
		if w == 0 {
			continue
		}
		if y < 0 || y >= s.rows || x < 0 || x+w > s.cols {
			break
		}
		row := s.cells[y*s.cols : (y+1)*s.cols]
		if row[x].char == 0 { // of a wide character, no half stays
			row[x-1].char = ' '
		}
		if x+w < s.cols && row[x+w].char == 0 {
			row[x+w].char = ' '
		}
		row[x] = cell{r, p}
		if w == 2 {
			row[x+1] = cell{0, p}
		}
		x += w
	}
	return x
}

// drawn is what is written for a character, and how many cells it takes (UAX
// 11). Controls are replaced; what has no place of its own, such as marks that
// combine or turn the direction of writing, is left out.
func drawn(r rune) (rune, int) {
	switch {
	case unicode.IsControl(r) || r == unicode.ReplacementChar:
		return '?', 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Zl, unicode.Zp):
		return 0, 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return r, 2
	}
	return r, 1
}

// cellsOf is how many cells a text takes.
func cellsOf(text string) int {
	n := 0
	for _, r := range text {
		_, w := drawn(r)
		n += w
	}
	return n
}

// bridge is how many cells that stay are written again rather than jumped over:
// a jump is at least as long.
const bridge = 6

// update is what has to be written on a terminal that shows old. A terminal of
// another size is cleared first: nobody knows what it made of the lines.
func (s *sheet) update(old *sheet, d depth) []byte {
	var w writer
	w.depth = d
	whole := old.cols != s.cols || old.rows != s.rows
	if whole {
		w.WriteString("\x1b[0m\x1b[2J")
	}
	same := func(i int) bool {
		if whole {
			return s.cells[i] == cell{char: ' '}
		}
		return s.cells[i] == old.cells[i]
	}
	for y := range s.rows {
		end := 0 // of what is written in this row
		for x := range s.cols {
			at := y*s.cols + x
			if same(at) {
				continue
			}
			from := x
			for from > end && s.cells[y*s.cols+from].char == 0 {
				from-- // never the right half alone
			}
			if end == 0 || x-end > bridge {
				w.move(from, y)
				end = from
			}
			for ; end <= x; end++ {
				w.put(s.cells[y*s.cols+end])
			}
		}
	}
	return []byte(w.String())
}

// writer remembers the pen: a change of it is longer than most texts. Every
// update begins without one, since nobody knows who wrote in between.
type writer struct {
	strings.Builder
	depth depth
	pen   pen
	has   bool
}

func (w *writer) move(x, y int) {
	w.WriteString("\x1b[" + strconv.Itoa(y+1) + ";" + strconv.Itoa(x+1) + "H")
}

func (w *writer) put(c cell) {
	if !w.has || w.pen != c.pen {
		w.WriteString(w.depth.sgr(c.pen))
		w.pen, w.has = c.pen, true
	}
	if c.char != 0 {
		w.WriteRune(c.char)
	}
}
