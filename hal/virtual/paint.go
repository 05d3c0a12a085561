package virtual

import (
	"strings"

	"sekisho/hal"
	"sekisho/hal/panel"
)

// scene is all that stands on the terminal.
type scene struct {
	frame panel.Frame
	page  string // address of the web page; may be empty
	note  string // what became of the last press; may be empty
	watch bool   // of a panel elsewhere, which q does not end
	lang  string // of our own texts
}

// The screen's own colours, as an OLED has them.
var screenPen = pen{front: inked(panel.Color{R: 225, G: 240, B: 255}), back: inked(panel.Color{R: 8, G: 12, B: 18})}

// Space around the picture: two cells on the left, and rows for the address, the
// lamp, the words, the note and the keys, with a blank one on both sides.
const (
	left   = 2
	around = 7
)

// paint fills a sheet that has been cleared. The picture is drawn as large as it
// fits; where it does not, its words are there.
func (sc scene) paint(s *sheet, l look) {
	lines := words(sc.frame, l)
	y := 0
	put := func(p pen, text string) {
		s.put(left, y, p, text)
		y++
	}
	draw, height := pictureFor(s, l)
	if draw == nil {
		sc.lamp(s, y, l)
		y++
		for _, text := range lines {
			if y < s.rows-1 { // the last row is the keys'
				put(pen{}, text)
			}
		}
	} else {
		if left+cellsOf(sc.page) <= s.cols {
			put(pen{}, sc.page)
		} else {
			y++ // half an address is none
		}
		sc.lamp(s, y, l)
		y++
		for _, text := range joined(lines, s.cols-left, 1+s.rows-height-around) {
			put(pen{}, text)
		}
		y++
		for row := range height {
			draw(s, y+row, row, &sc.frame.Image)
		}
		y += height + 1
	}
	if sc.note != "" && y < s.rows-1 {
		put(pen{}, readable(sc.note, l))
	}
	s.put(left, y, pen{}, keysFor(sc, l, s.cols-left))
}

// joined puts lines side by side in no more rows than there are, each at most so
// many cells long.
func joined(lines []string, cells, rows int) []string {
	const between = " | "
	var out []string
	for _, text := range lines {
		last := len(out) - 1
		if last >= 0 && (len(out) == rows || cellsOf(out[last]+between+text) <= cells) {
			out[last] += between + text
		} else {
			out = append(out, text)
		}
	}
	return out
}

// lamp draws the lamp at this moment, and says which one it is.
func (sc scene) lamp(s *sheet, y int, l look) {
	light, body := pen{}, "      "
	switch {
	case !sc.frame.Lamp.Lit():
	case l.depth == mono:
		body = "######"
	default:
		light.back = inked(sc.frame.Lamp)
	}
	x := s.put(left, y, pen{}, "(")
	x = s.put(x, y, light, body)
	x = s.put(x, y, pen{}, ")  ")
	s.put(x, y, pen{}, lampLine(sc, l))
}

func lampLine(sc scene, l look) string {
	f := sc.frame
	if japanese(sc.lang, l) {
		return "ランプ: " + f.LampWords
	}
	if text := f.LampWords; readable(text, l) == text {
		return "Lamp: " + text
	}
	return "Lamp: " + panel.LampWords(f.Status, "en")
}

// japanese says whether the terminal's own texts are Japanese.
func japanese(lang string, l look) bool { return lang == "ja" && l.utf8 }

// words are the lines of the page. A terminal without Japanese gets the title in
// English, and those lines that it can show.
func words(f panel.Frame, l look) []string {
	if l.utf8 || f.Status.Lang != "ja" {
		out := make([]string, len(f.Lines))
		for i, text := range f.Lines {
			out[i] = readable(text, l)
		}
		return out
	}
	title := panel.Lines(hal.Status{State: f.Status.State, Lang: "en", Drill: f.Status.Drill, Lockdown: f.Status.Lockdown}, 0, f.Hold)[0]
	out := []string{title}
	for _, text := range f.Lines {
		if text != "" && readable(text, l) == text {
			out = append(out, text)
		}
	}
	return append(out, "(for the rest: a UTF-8 terminal, LC_ALL=C.UTF-8)")
}

// readable leaves of a text what the terminal can show.
func readable(text string, l look) string {
	if l.utf8 {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, text)
}

// pictureFor is what draws one row of cells of the picture, and how many rows
// there are; nil where there is no room.
func pictureFor(s *sheet, l look) (draw func(s *sheet, y, row int, m *panel.Image), rows int) {
	fits := func(cols, rows int) bool { return s.cols >= cols+left && s.rows >= rows+around }
	switch {
	case fits(panel.Width, panel.Height/2) && l.utf8:
		return halves(" ▄▀█"), panel.Height / 2
	case fits(panel.Width, panel.Height/2):
		return halves(" .':"), panel.Height / 2
	case fits(panel.Width/2, panel.Height/4) && l.dots:
		return braille, panel.Height / 4
	}
	return nil, 0
}

// halves draws one by two pixels as one cell: none, the lower, the upper, both.
func halves(shapes string) func(*sheet, int, int, *panel.Image) {
	set := []rune(shapes)
	return func(s *sheet, y, row int, m *panel.Image) {
		var b strings.Builder
		for x := range panel.Width {
			b.WriteRune(set[bit(m, x, 2*row)<<1|bit(m, x, 2*row+1)])
		}
		s.put(left, y, screenPen, b.String())
	}
}

// braille draws two by four pixels as one cell (Unicode, block 2800).
func braille(s *sheet, y, row int, m *panel.Image) {
	var b strings.Builder
	for x := 0; x < panel.Width; x += 2 {
		r := rune(0x2800)
		for i, d := range [8][2]int{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}, {0, 3}, {1, 3}} {
			r |= rune(bit(m, x+d[0], 4*row+d[1])) << i
		}
		b.WriteRune(r)
	}
	s.put(left, y, screenPen, b.String())
}

func bit(m *panel.Image, x, y int) int {
	if m.Lit(x, y) {
		return 1
	}
	return 0
}

// keysFor are the keys, in the longest words that fit: a line that is cut off
// would hide how to leave.
func keysFor(sc scene, l look, cells int) string {
	quit := map[bool][2]string{false: {"quit", "終了"}, true: {"close", "閉じる"}}[sc.watch]
	all := []string{
		"Enter: press   3: hold 3 s   8: hold 8 s   Esc: let go   q: " + quit[0],
		"Enter press  3/8 hold  q " + quit[0],
		"Enter 3 8 q",
	}
	if japanese(sc.lang, l) {
		all = []string{
			"Enter: ボタンを押す   3: 3秒押す   8: 8秒押す   Esc: 離す   q: " + quit[1],
			"Enter 押す  3/8 長押し  q " + quit[1],
			"Enter 3 8 q",
		}
	}
	for _, text := range all {
		if cellsOf(text) <= cells {
			return text
		}
	}
	return ""
}
