package panel

import (
	"image"
	"strings"
	"unicode"

	"github.com/hajimehoshi/bitmapfont/v3"
	"golang.org/x/image/math/fixed"
)

// The font's cell is 16 high; its ink stands in rows 1 to 13 (TestFontInk), so
// that a line of 13 holds every glyph with nothing cut.
const (
	inkTop   = 1
	lineH    = 13
	margin   = 2 // free columns at both sides, where there is room for them
	ellipsis = '…'
)

// top is the first row of ink that a line keeps. Few characters use row 1;
// without them a line needs 12 rows only, descenders included.
func top(text string) int {
	for _, r := range text {
		g := look(r)
		for x := range g.adv {
			if g.at(x, inkTop) {
				return inkTop
			}
		}
	}
	return inkTop + 1
}

// glyph is one character's ink within the font's cell.
type glyph struct {
	adv      int // cell width
	from, to int // columns with ink, to exclusive
	at       func(x, y int) bool
}

// look finds a character in the font. What the font cannot draw, and what has
// no picture, becomes a visible box: a name must not hide behind it.
func look(r rune) glyph {
	if r == '\t' || r == '\u00a0' {
		r = ' '
	}
	if !unicode.IsGraphic(r) {
		r = '□'
	}
	dr, mask, mp, adv, ok := bitmapfont.Face.Glyph(fixed.P(0, 12), r)
	if !ok || adv.Ceil() == 0 {
		dr, mask, mp, adv, _ = bitmapfont.Face.Glyph(fixed.P(0, 12), '□')
	}
	g := glyph{adv: adv.Ceil(), from: -1}
	g.at = func(x, y int) bool {
		p := image.Pt(x, y)
		if !p.In(dr) {
			return false
		}
		_, _, _, a := mask.At(mp.X+x-dr.Min.X, mp.Y+y-dr.Min.Y).RGBA()
		return a > 0x7fff
	}
	for x := range g.adv {
		for y := range 16 {
			if g.at(x, y) {
				if g.from < 0 {
					g.from = x
				}
				g.to = x + 1
				break
			}
		}
	}
	if g.from < 0 { // a space
		g.from, g.to = 0, g.adv/2
	}
	return g
}

// width is the text's width at scale 1, set normally or tightly.
func width(text string, tight bool) int {
	w := 0
	for _, r := range text {
		g := look(r)
		if tight {
			w += g.to - g.from + 1
		} else {
			w += g.adv
		}
	}
	return w
}

// put draws text with its ink inside lineH*scale rows from y.
func (m *Image) put(x, y int, text string, scale int, tight bool) {
	first := top(text)
	for _, r := range text {
		g := look(r)
		left, w := 0, g.adv
		if tight {
			left, w = g.from, g.to-g.from+1
		}
		for gy := range 16 {
			for gx := g.from; gx < g.to; gx++ {
				if !g.at(gx, gy) {
					continue
				}
				px, py := x+(gx-left)*scale, y+(gy-first)*scale
				m.fill(image.Rect(px, py, px+scale, py+scale), true)
			}
		}
		x += w * scale
	}
}

// fit cuts text with an ellipsis so that it is at most w wide, set tightly. It
// reads no more of a long text than fits.
func fit(text string, w int) string {
	dots := width(string(ellipsis), true)
	used, keep := 0, 0
	for i, r := range text {
		g := look(r)
		used += g.to - g.from + 1
		if used > w {
			return strings.TrimRight(text[:keep], " ") + string(ellipsis)
		}
		if used+dots <= w {
			keep = i + len(string(r))
			keep = min(keep, len(text))
		}
	}
	return text
}

// align places a line within the screen's width.
type align uint8

const (
	leftAlign align = iota
	centre
	rightAlign
)

// line draws one line between x0 and x1: normally set when it fits, else
// tightly, else cut. It returns the width used.
func (m *Image) line(x0, x1, y int, text string, a align) int {
	text = string(bounded(text))
	tight := width(text, false) > x1-x0
	if tight {
		text = fit(text, x1-x0)
	}
	w := width(text, tight)
	x := x0
	switch a {
	case centre:
		x += (x1 - x0 - w) / 2
	case rightAlign:
		x = x1 - w
	}
	m.put(x, y, text, 1, tight)
	return w
}

// text draws one left-aligned line, using the margins only when it must.
func (m *Image) text(y int, text string) {
	text = string(bounded(text))
	if width(text, true) <= Width-2*margin {
		m.line(margin, Width-margin, y, text, leftAlign)
		return
	}
	m.line(0, Width, y, text, leftAlign)
}

// big draws a name in the two lines from y: twice the size when it fits, else
// in one line, or two, the second one cut.
func (m *Image) big(y int, text string, a align) {
	text = string(bounded(text))
	for _, tight := range []bool{false, true} {
		if w := 2 * width(text, tight); w <= Width-margin {
			x := margin
			if a == centre {
				x = (Width - w) / 2
			}
			m.put(x, y, text, 2, tight)
			return
		}
	}
	if width(text, true) <= Width-2*margin {
		m.line(margin, Width-margin, y+lineH/2, text, a)
		return
	}
	for i, l := range wrap(text, Width, 2) {
		m.text(y+i*lineH, l)
	}
}

// wrap breaks text into at most n lines of width w: at spaces where there are
// any, never before Japanese punctuation, and cuts the last line.
func wrap(text string, w, n int) []string {
	var lines []string
	rest := bounded(text)
	for len(rest) > 0 && len(lines) < n {
		if len(lines) == n-1 || width(string(rest), true) <= w {
			lines = append(lines, fit(string(rest), w))
			break
		}
		end := 1
		for end < len(rest) && width(string(rest[:end+1]), true) <= w {
			end++
		}
		end = breakAt(rest, end)
		lines = append(lines, strings.TrimSpace(string(rest[:end])))
		rest = []rune(strings.TrimLeft(string(rest[end:]), " "))
	}
	return lines
}

// bounded is the text's beginning, more than any page can hold. Invalid UTF-8
// becomes a visible replacement character on the way.
func bounded(text string) []rune {
	var rs []rune
	for _, r := range strings.TrimSpace(text) {
		if len(rs) == 160 {
			break
		}
		rs = append(rs, r)
	}
	return rs
}

// breakAt moves a break back to a better place, if one is near.
func breakAt(rest []rune, end int) int {
	for i := end; i > end/2; i-- {
		if rest[i] == ' ' || rest[i-1] == ' ' || rest[i-1] == '-' || rest[i-1] == '、' || rest[i-1] == '。' {
			return i
		}
	}
	for end > 1 && strings.ContainsRune("、。，．・ー」）)!?！？ぁぃぅぇぉっゃゅょァィゥェォッャュョ", rest[end]) {
		end--
	}
	return end
}
