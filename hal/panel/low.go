package panel

import (
	"image"
	"slices"
)

// On a screen of 32 rows a page's rows come one after another: what is large
// alone on the screen, everything else under the title bar. Whom a press
// concerns stands in that bar, because nobody must press for a device that is
// not in sight. A line at the bottom tells which of how many it is.

// slide is one picture of a page on a low screen.
type slide struct {
	row   row
	plate plate
}

// Where things stand on a low screen.
const (
	lowRow   = titleH + 1 // under the title bar
	lowTrack = 30         // the line at the bottom
)

// slide draws what is due of a page.
func (m *Image) slide(c content, now int) {
	if c.low != "" {
		c.title = c.low
	}
	if c.still {
		m.held(c)
		return
	}
	all := c.slides()
	n := now % len(all)
	s := all[n]
	if s.row.large() {
		x1 := Width
		if c.drill != "" {
			x1 -= m.tag(c.drill)
		}
		m.row(0, s.row, s.plate, x1)
	} else {
		m.header(c.named())
		m.row(lowRow, s.row, s.plate, Width)
	}
	if len(all) > 1 {
		m.fill(image.Rect(Width*n/len(all), lowTrack, Width*(n+1)/len(all), lowTrack+2), true)
	}
}

// large says whether a row needs the screen for itself.
func (r row) large() bool { return r.kind == bigRow || r.kind == midRow }

// named is the page whose title bar names whom a press concerns.
func (c content) named() content {
	if c.on != "" {
		c.right = set(c.on).end(Width - 10 - set(c.title).width(true) - c.drillWidth()).String()
	}
	return c
}

// slides is everything that a page shows on a low screen, in order: the name,
// what to do, the rest.
func (c content) slides() []slide {
	var rows []row
	for _, r := range c.body {
		switch r.kind {
		case pairRow:
			rows = append(rows, say(softRow, r.figures[0].String()), say(softRow, r.figures[1].String()))
		case paraRow:
			rows = append(rows, say(textRow, r.texts...))
		case hugeRow:
			rows = append(rows, say(midRow, r.texts...))
		default:
			rows = append(rows, r)
		}
	}
	if i := slices.IndexFunc(rows, func(r row) bool { return r.kind == deedRow }); i > 1 && rows[0].kind == bigRow {
		deed := rows[i]
		rows = slices.Insert(slices.Delete(rows, i, i+1), 1, deed)
	}
	if c.on != "" && c.right != "" { // the bar has no room for it
		rows = append(rows, say(softRow, c.right))
	}
	var all []slide
	for _, r := range rows {
		w := Width
		if r.large() {
			w -= c.drillWidth()
		}
		for _, p := range r.plates(w) {
			if len(p.lines) > 0 || r.kind == barRow {
				all = append(all, slide{r, p})
			}
		}
	}
	if len(all) == 0 {
		all = []slide{{}}
	}
	return all
}

// held draws a press in progress: whom it concerns, what letting go does, and
// the bar.
func (m *Image) held(c content) {
	if c.on != "" {
		c.title = set(c.on).end(Width - 4 - c.drillWidth()).String()
	}
	c.right = ""
	m.header(c)
	for _, r := range c.body {
		switch r.kind {
		case deedRow:
			m.row(titleH, r, r.plates(Width)[0], Width)
		case barRow:
			m.bar(lowTrack-6, r.bar)
		}
	}
}

// tag marks a picture without a title bar as a drill, at its right end. It
// returns the columns that it takes.
func (m *Image) tag(drill string) int {
	l := set(drill)
	w := l.width(true) + 3
	m.put(Width-w+2, 0, l, 1, true)
	m.invert(image.Rect(Width-w, 0, Width, titleH))
	return w + 1
}

// drillWidth is how many columns the drill's mark takes.
func (c content) drillWidth() int {
	if c.drill == "" {
		return 0
	}
	return set(c.drill).width(true) + 6
}
