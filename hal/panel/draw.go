package panel

import "image"

// page draws a page on a screen of 64 rows.
func (m *Image) page(c content, now int) {
	m.header(c)
	y := titleH
	for _, r := range c.body {
		p := r.plates(Width)
		m.row(y, r, p[now%len(p)], Width)
		y += r.kind.height()
	}
}

const titleH = 14

// header draws the bright bar. A drill shows its marking in a dark box.
func (m *Image) header(c content) {
	x := 2
	if c.drill != "" {
		drill := set(c.drill)
		m.put(x+2, 0, drill, 1, true)
		x += drill.width(true) + 6
	}
	end, title := Width-2, set(c.title)
	if title.width(true) > end-x && c.low != "" {
		title = set(c.low)
	}
	if right := set(c.right); len(right) > 0 {
		room := min(right.width(true), end-x-title.width(true)-6)
		if room >= 24 || room == right.width(true) { // less would be an ellipsis and nothing else
			m.line(end-room, end, 0, right, rightAlign)
			end -= room + 4
		}
	}
	m.line(x, end, 0, title, leftAlign)
	m.invert(image.Rect(0, 0, Width, titleH))
	if c.drill != "" {
		m.invert(image.Rect(1, 1, x-2, titleH-1))
	}
}

// row draws what a row shows now, from y and as far as column x1.
func (m *Image) row(y int, r row, p plate, x1 int) {
	var first line
	if len(p.lines) > 0 {
		first = p.lines[0]
	}
	switch r.kind {
	case textRow:
		m.text(y, first)
	case softRow:
		m.line(0, x1, y, first, centre)
	case deedRow:
		m.line(1, x1-1, y, first, centre)
		m.invert(image.Rect(0, y, x1, y+12))
	case bigRow:
		m.big(y, p, leftAlign, x1)
	case midRow:
		m.big(y, p, centre, x1)
	case paraRow:
		for i, l := range p.lines {
			m.text(y+i*12, l)
		}
	case hugeRow:
		m.put((x1-3*first.width(false))/2, y-1, first, 3, false)
	case pairRow:
		m.pair(y, r.figures)
	case barRow:
		m.bar(y, r.bar)
	}
}

// bar draws a frame, with the lit part of it.
func (m *Image) bar(y int, g gauge) {
	m.fill(image.Rect(0, y+2, Width, y+10), true)
	m.fill(image.Rect(1, y+3, Width-1, y+9), false)
	const x0, long = 3, Width - 6
	m.fill(image.Rect(x0+g.from*long/1000, y+5, x0+g.to*long/1000, y+7), true)
}

// pair draws two numbers side by side, labels above and units after.
func (m *Image) pair(y int, f [2]figure) {
	m.cell(0, 60, y, f[0])
	m.cell(62, Width, y, f[1])
	for yy := y + 1; yy < y+36; yy += 2 {
		m.Set(60, yy, true)
	}
}

func (m *Image) cell(x0, x1, y int, f figure) {
	m.line(x0, x1, y, set(f.label), centre)
	number, unit := set(f.number), set(f.unit)
	w := 2*number.width(false) + unit.width(true)
	x := x0 + max(0, (x1-x0-w)/2)
	m.put(x, y+11, number, 2, false)
	m.put(x+2*number.width(false)+1, y+22, unit, 1, true)
}

// align places a line within the screen's width.
type align uint8

const (
	leftAlign align = iota
	centre
	rightAlign
)

// line draws one line between x0 and x1: normally set when it fits, else
// tightly, else cut.
func (m *Image) line(x0, x1, y int, l line, a align) {
	tight := l.width(false) > x1-x0
	if tight {
		l = l.cut(x1 - x0)
	}
	w := l.width(tight)
	x := x0
	switch a {
	case centre:
		x += (x1 - x0 - w) / 2
	case rightAlign:
		x = x1 - w
	}
	m.put(x, y, l, 1, tight)
}

// text draws one left-aligned line, using the margins only when it must.
func (m *Image) text(y int, l line) {
	if l.width(true) <= Width-2*margin {
		m.line(margin, Width-margin, y, l, leftAlign)
		return
	}
	m.line(0, Width, y, l, leftAlign)
}

// big draws a name in the two lines from y.
func (m *Image) big(y int, p plate, a align, x1 int) {
	if p.size == tall {
		m.tall(y, p.lines[0], a, x1)
		return
	}
	if p.size == plain {
		for i, l := range p.lines {
			m.text(y+i*lineH, l)
		}
		return
	}
	l := p.lines[0]
	tight := 2*l.width(false) > x1-margin
	x := margin
	if a == centre {
		x = (x1 - 2*l.width(tight)) / 2
	}
	m.put(x, y, l, 2, tight)
}

// tall draws a name twice as high and no wider. It is bold where there is room:
// a stroke of one column beside strokes of two rows is hard to see.
func (m *Image) tall(y int, l line, a align, x1 int) {
	bold := 1
	tight := l.width(false)+len(l) > x1
	w := l.width(tight) + len(l)
	if w > x1 {
		bold, w = 0, w-len(l)
	}
	x := max(0, min(margin, x1-w))
	if a == centre {
		x = (x1 - w) / 2
	}
	top := l.top()
	for i := range l {
		g := l[i : i+1]
		for b := range bold + 1 {
			m.scaled(x+b, y, g, top, 1, 2, tight)
		}
		x += g.width(tight) + bold
	}
}

// put draws a line with its ink from y.
func (m *Image) put(x, y int, l line, scale int, tight bool) {
	m.scaled(x, y, l, l.top(), scale, scale, tight)
}

// scaled draws a line from its row top on, each dot sx wide and sy high.
func (m *Image) scaled(x, y int, l line, top, sx, sy int, tight bool) {
	for _, g := range l {
		left, w := 0, g.adv
		if tight {
			left, w = g.from, g.to-g.from+1
		}
		for gy, row := range g.rows {
			for gx := g.from; gx < g.to; gx++ {
				if row>>gx&1 == 1 {
					px, py := x+(gx-left)*sx, y+(gy-top)*sy
					m.fill(image.Rect(px, py, px+sx, py+sy), true)
				}
			}
		}
		x += w * sx
	}
}

// top is the first row of ink that a line keeps. Few characters use row 1;
// without them a line needs 12 rows only, descenders included.
func (l line) top() int {
	for _, g := range l {
		if g.rows[inkTop] != 0 {
			return inkTop
		}
	}
	return inkTop + 1
}
