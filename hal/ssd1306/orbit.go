package ssd1306

import "time"

// DefaultOrbit is a good value of Config.Orbit.
const DefaultOrbit = 5 * time.Minute

// How far the picture orbits from its place, in pixels.
const (
	orbitX = 2
	orbitY = 1
)

// Orbit says where the picture stands at a moment: how many pixels right and
// down of its place, at most 2 and 1. It goes through all 15 places and back, one
// pixel a period (counted in whole seconds), so nobody sees it move.
//
// A pixel of an OLED loses half its light in 8,000 to 10,000 hours of being lit
// (RiTdisplay, "FAQ"), little more than a year. Of the means against it: less
// light helps most (SetBrightness). Moving lets neighbours share the strokes of
// letters and blurs the edges of bars; the inside of a bar gains nothing. Not
// done: inverting now and then would wear all pixels alike, but a person must
// not wonder why the screen has turned white; turning off after a while would hide
// what the screen is for; start line and offset registers would move the picture
// without sending it, but only up and down, and what leaves above comes in below.
func Orbit(t time.Time, period time.Duration) (dx, dy int) {
	const columns, rows = 2*orbitX + 1, 2*orbitY + 1
	const last = columns*rows - 1
	i := int(t.Unix() / max(1, int64(period/time.Second)) % (2 * last))
	if i < 0 { // before 1970
		i += 2 * last
	}
	if i > last {
		i = 2*last - i
	}
	row, column := i/columns, i%columns
	if row%2 == 1 {
		column = columns - 1 - column
	}
	return column - orbitX, row - orbitY
}

// Moved returns a picture, in the layout of Draw, moved right by dx and down by dy
// pixels, or by fewer where it would lose something: a row or column leaves only
// when it is dark or the next one inside is its equal. So no line of a letter is
// lost (one that is two pixels wide, at the very edge, may become one wide), and a
// bar that touches an edge still does afterwards.
func Moved(pix []byte, dx, dy int) []byte {
	p := picture(pix)
	h := p.height()
	dx, left, right := room(dx, Width, p.columnDark, p.columnsEqual)
	dy, top, bottom := room(dy, h, p.rowDark, p.rowsEqual)
	m := make(picture, len(p))
	for y := range h {
		for x := range Width {
			sx, sy := x-dx, y-dy
			outside := sx < 0 && !left || sx >= Width && !right || sy < 0 && !top || sy >= h && !bottom
			if !outside && p.lit(min(max(sx, 0), Width-1), min(max(sy, 0), h-1)) {
				m[y/pageRows*Width+x] |= 1 << (y % pageRows)
			}
		}
	}
	return m
}

// room returns how far a picture of n lines may move along one axis, up to want,
// and whether its first and last line are surfaces that go on beyond the edge.
func room(want, n int, dark func(i int) bool, equal func(i, j int) bool) (d int, first, last bool) {
	first, last = equal(0, 1), equal(n-1, n-2)
	for d < want && (dark(n-1-d) || equal(n-1-d, n-2-d)) {
		d++
	}
	for d > want && (dark(-d) || equal(-d, 1-d)) {
		d--
	}
	return d, first, last
}

// picture is in the layout of Draw.
type picture []byte

func (p picture) height() int { return len(p) / Width * pageRows }

func (p picture) lit(x, y int) bool { return p[y/pageRows*Width+x]>>(y%pageRows)&1 == 1 }

func (p picture) columnDark(x int) bool {
	for ; x < len(p); x += Width {
		if p[x] != 0 {
			return false
		}
	}
	return true
}

func (p picture) columnsEqual(a, b int) bool {
	for i := 0; i < len(p); i += Width {
		if p[i+a] != p[i+b] {
			return false
		}
	}
	return true
}

func (p picture) rowDark(y int) bool {
	for x := range Width {
		if p.lit(x, y) {
			return false
		}
	}
	return true
}

func (p picture) rowsEqual(a, b int) bool {
	for x := range Width {
		if p.lit(x, a) != p.lit(x, b) {
			return false
		}
	}
	return true
}
