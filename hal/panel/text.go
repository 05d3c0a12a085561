package panel

import (
	"image"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hajimehoshi/bitmapfont/v3"
	"golang.org/x/image/math/fixed"
	"golang.org/x/text/unicode/norm"
)

// The font's cell is 16 high; its ink stands in rows 1 to 13 (TestFontInk), so
// that a line of 13 holds every glyph with nothing cut.
const (
	cellH    = 16 // and at most as wide
	inkTop   = 1
	lineH    = 13
	margin   = 2 // free columns at both sides, where there is room for them
	ellipsis = '…'
	box      = '□' // for what cannot be drawn: a name must not hide behind it
)

// glyph is one character's ink within the font's cell.
type glyph struct {
	r        rune
	adv      int           // cell width
	from, to int           // columns with ink, to exclusive
	rows     [cellH]uint16 // bit x of row y
	boxed    bool          // drawn as a box, because the font does not know it
}

// glyphOf finds a character in the font. What the font does not know, or has
// no ink for, becomes a box.
func glyphOf(r rune) glyph {
	if unicode.IsSpace(r) {
		r = ' '
	}
	g := ink(r)
	if r == ' ' {
		g.from, g.to = 0, g.adv/2
	} else if !unicode.IsGraphic(r) || g.to == 0 {
		g = ink(box)
		g.r, g.boxed = r, true
	}
	return g
}

// ink is a character as the font has it; to is 0 when it has no ink.
func ink(r rune) glyph {
	g := glyph{r: r, from: cellH}
	dr, mask, mp, adv, ok := bitmapfont.Face.Glyph(fixed.P(0, 12), r)
	if !ok {
		return g
	}
	g.adv = min(adv.Ceil(), cellH)
	for x := range g.adv {
		for y := range cellH {
			if p := image.Pt(x, y); !p.In(dr) {
				continue
			}
			if _, _, _, a := mask.At(mp.X+x-dr.Min.X, mp.Y+y-dr.Min.Y).RGBA(); a > 0x7fff {
				g.rows[y] |= 1 << x
				g.from, g.to = min(g.from, x), x+1
			}
		}
	}
	return g
}

// line is text as it is drawn.
type line []glyph

// The text's beginning and end that are drawn, in characters: together more
// than any name in use (a DNS name has at most 253).
const headMax, tailMax = 200, 100

// set makes a text ready to be drawn. Letters and their marks are put together
// (Unicode NFC: some systems send names taken apart), invalid UTF-8 becomes
// visible. Of a longer text than anybody reads the middle is left out; no more
// of it than that is looked at.
func set(text string) line {
	text = norm.NFC.String(clip(text))
	text = strings.TrimFunc(text, unicode.IsSpace)
	l := make(line, 0, len(text))
	for _, r := range text {
		l = append(l, glyphOf(r))
	}
	return l
}

// clip leaves out the middle of a text that is too long.
func clip(text string) string {
	head := 0
	for range headMax + tailMax + 1 {
		_, n := utf8.DecodeRuneInString(text[head:])
		head += n
		if n == 0 {
			return text
		}
	}
	head = 0
	for range headMax {
		_, n := utf8.DecodeRuneInString(text[head:])
		head += n
	}
	tail := len(text)
	for range tailMax {
		_, n := utf8.DecodeLastRuneInString(text[:tail])
		tail -= n
	}
	return text[:head] + string(ellipsis) + text[tail:]
}

// String is the text of the line.
func (l line) String() string {
	var b strings.Builder
	for _, g := range l {
		b.WriteRune(g.r)
	}
	return b.String()
}

// width is the line's width, set normally or tightly.
func (l line) width(tight bool) int {
	w := 0
	for _, g := range l {
		if tight {
			w += g.to - g.from + 1
		} else {
			w += g.adv
		}
	}
	return w
}

// boxed says whether a part of the line is drawn as boxes only.
func (l line) boxed() bool {
	for _, g := range l {
		if g.boxed {
			return true
		}
	}
	return false
}

// trim leaves out spaces at both ends.
func (l line) trim() line {
	for len(l) > 0 && l[0].r == ' ' {
		l = l[1:]
	}
	for len(l) > 0 && l[len(l)-1].r == ' ' {
		l = l[:len(l)-1]
	}
	return l
}

// fits is how many characters of the line's beginning are at most w wide, set
// tightly.
func (l line) fits(w int) int {
	for i, g := range l {
		if w -= g.to - g.from + 1; w < 0 {
			return i
		}
	}
	return len(l)
}

// cut leaves out the line's end, with an ellipsis, so that it is at most w wide.
func (l line) cut(w int) line {
	if l.fits(w) == len(l) {
		return l
	}
	dots := set(string(ellipsis))
	head := l[:l.fits(max(0, w-dots.width(true)))].trim()
	return append(head[:len(head):len(head)], dots...)
}

// end is the longest end of the line that is at most w wide, with an ellipsis
// before it.
func (l line) end(w int) line {
	if l.fits(w) == len(l) {
		return l
	}
	dots := set(string(ellipsis))
	w -= dots.width(true)
	i := len(l)
	for i > 0 {
		g := l[i-1]
		if w -= g.to - g.from + 1; w < 0 {
			break
		}
		i--
	}
	return append(dots, l[i:]...)
}

// wrap breaks a line into lines of at most width w, set tightly: at spaces
// where there are any, never before Japanese punctuation.
func (l line) wrap(w int) []line {
	var lines []line
	for l = l.trim(); len(l) > 0; l = l.trim() {
		n := max(1, l.fits(w))
		if n < len(l) {
			n = l.breakAt(n)
		}
		lines = append(lines, l[:n].trim())
		l = l[n:]
	}
	return lines
}

// even wraps a line into as many lines as it needs, none much shorter than the
// others: one that holds a single word would be there for as long as the rest.
func (l line) even(w int) []line {
	lines := l.wrap(w)
	for n := len(lines); n > 1 && w > cellH; {
		w -= lineH / 2
		narrow := l.wrap(w)
		if len(narrow) > n {
			break
		}
		lines = narrow
	}
	return lines
}

// Where a line may be broken gladly, and what must not begin one.
const (
	breakAfter = " -.、。"
	notFirst   = "、。，．・ー」）)!?！？ぁぃぅぇぉっゃゅょァィゥェォッャュョ"
)

// breakAt moves a break back to a better place, if one is near.
func (l line) breakAt(n int) int {
	for i := n; i > n/2; i-- {
		if l[i].r == ' ' || strings.ContainsRune(breakAfter, l[i-1].r) {
			return i
		}
	}
	for i := n; i > max(1, n-3); i-- {
		if !strings.ContainsRune(notFirst, l[i].r) {
			return i
		}
	}
	return n
}

// size is how large a name is drawn.
type size uint8

const (
	plain size = iota // in one line, or two
	tall              // twice as high, no wider
	twice             // twice as high and as wide
)

// name is a name in two lines of w columns, as large as it fits. One that needs
// more takes turns, with its end always in sight: that is where names with the
// same beginning differ.
func name(text string, w int) []plate {
	l := set(text)
	switch {
	case 2*l.width(true) <= w-margin:
		return []plate{{[]line{l}, twice}}
	case l.width(true) <= w:
		return []plate{{[]line{l}, tall}}
	}
	if lines := l.wrap(w); len(lines) <= 2 {
		return []plate{{lines, plain}}
	}
	var out []plate
	tail := l.end(w)
	for _, head := range l[:len(l)-len(tail)+1].wrap(w) { // one of tail is the ellipsis
		out = append(out, plate{[]line{head, tail}, plain})
	}
	return out
}
