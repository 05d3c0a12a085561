package panel

import (
	"time"

	"sekisho/hal"
)

// content is a page before it becomes pixels: a bright title bar and up to
// three more rows that together are 50 pixels high.
type content struct {
	drill string // marking in front of the title, empty when none
	title string
	right string // at the end of the title bar, as far as there is room
	on    string // whom a press concerns: a screen that shows one row at a time keeps it in sight
	still bool   // a press is in progress: everything stands, nothing takes turns
	low   string // title where there is less room; empty: the same
	body  []row
}

type rowKind uint8

const (
	textRow rowKind = iota // 12 high, left
	softRow                // 12 high, centred
	deedRow                // 12 high, bright: what to do
	bigRow                 // 26 high, left: a name
	midRow                 // 26 high, centred: one word or number
	paraRow                // 37 high: three lines of text
	hugeRow                // 37 high, centred, three times the size
	pairRow                // 37 high: two labelled numbers
	barRow                 // 12 high: a bar
)

func (k rowKind) height() int {
	switch k {
	case bigRow, midRow:
		return 26
	case pairRow, hugeRow, paraRow:
		return 37
	}
	return 12
}

// row is one row of a page. What does not fit takes turns.
type row struct {
	kind    rowKind
	texts   []string  // shown in turn
	tells   string    // takes turns with a name that cannot be shown whole, or as it is: the address
	figures [2]figure // pair
	bar     gauge     // bar
}

// figure is a number with what it counts.
type figure struct{ label, number, unit string }

func (f figure) String() string { return f.label + " " + f.number + f.unit }

// gauge is the lit part of a bar, in thousandths of its length.
type gauge struct{ from, to int }

func say(kind rowKind, texts ...string) row { return row{kind: kind, texts: texts} }

// turn is how long each of several texts stays: Japanese film subtitles count
// four characters a second, and a line has about ten.
const turn = 3 * time.Second

// turnAt counts the turns, from 0 and never below. While the clock is not known
// everything stands.
func turnAt(t time.Time) int {
	if t.IsZero() {
		return 0
	}
	return int(t.UnixMilli() / turn.Milliseconds() & 0xffffff)
}

// compose decides what a page says.
func compose(s hal.Status, at int, h Hold) content {
	w := lang(s)
	c := content{title: w.title[known(s.State)]}
	if s.Drill {
		c.drill = w.drill
	}
	if h.Phase != HoldNone {
		c.hold(w, s, h)
		return c
	}
	pages := pagesOf(s)
	pages[((at%len(pages))+len(pages))%len(pages)](&c, w, s)
	return c
}

// plate is what a row shows at one time.
type plate struct {
	lines []line
	size  size
}

// plates is everything that a row shows in turn, in w columns. It is never
// empty.
func (r row) plates(w int) []plate {
	var out []plate
	for _, text := range r.texts {
		out = append(out, r.cut(text, w)...)
	}
	if len(out) == 0 {
		return []plate{{}}
	}
	if r.tells != "" && r.tells != r.texts[0] && (len(out) > 1 || set(r.texts[0]).boxed()) {
		out = append(out, r.cut(r.tells, w)...)
	}
	return out
}

// cut cuts one text into what the row can show at a time.
func (r row) cut(text string, w int) []plate {
	if r.kind == bigRow || r.kind == midRow {
		return name(text, w)
	}
	n := 1
	if r.kind == paraRow {
		n = 3
	}
	var out []plate
	for lines := set(text).even(w); len(lines) > 0; {
		k := min(n, len(lines))
		out, lines = append(out, plate{lines: lines[:k]}), lines[k:]
	}
	return out
}
