package ssd1306_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sekisho/hal/ssd1306"
)

func TestOrbitVisitsEveryPlaceOnePixelAtATime(t *testing.T) {
	const period = 5 * time.Minute
	for _, start := range []time.Time{time.Unix(0, 0), {}, time.Date(2026, 4, 24, 14, 5, 33, 0, time.UTC)} {
		visits := map[[2]int]int{}
		lastX, lastY := ssd1306.Orbit(start.Add(-period), period)
		for i := range 28 { // there and back
			at := start.Add(time.Duration(i) * period)
			x, y := ssd1306.Orbit(at, period)
			if steps := max(x-lastX, lastX-x) + max(y-lastY, lastY-y); steps != 1 {
				t.Fatalf("%v: from %d,%d to %d,%d", at, lastX, lastY, x, y)
			}
			if x < -2 || x > 2 || y < -1 || y > 1 {
				t.Fatalf("%v: at %d,%d", at, x, y)
			}
			visits[[2]int{x, y}]++
			lastX, lastY = x, y
		}
		if len(visits) != 15 {
			t.Errorf("from %v on it visits %d places of 15: %v", start, len(visits), visits)
		}
	}
}

func TestOrbitStandsForItsPeriod(t *testing.T) {
	const period = time.Minute
	start := time.Date(2026, 4, 24, 14, 5, 0, 0, time.UTC)
	x, y := ssd1306.Orbit(start, period)
	if x2, y2 := ssd1306.Orbit(start.Add(period-1), period); x2 != x || y2 != y {
		t.Errorf("moved from %d,%d to %d,%d within a period", x, y, x2, y2)
	}
}

// content is a picture as rows of its columns without what a move may change:
// neighbours that are equal count once, and dark edges not at all.
func content(pix []byte) [][]bool {
	var rows [][]bool
	for y := range len(pix) / ssd1306.Width * 8 {
		row := make([]bool, ssd1306.Width)
		for x := range row {
			row[x] = pix[y/8*ssd1306.Width+x]>>(y%8)&1 == 1
		}
		rows = append(rows, row)
	}
	return essence(turn(essence(rows)))
}

func essence(lines [][]bool) [][]bool {
	dark := func(l []bool) bool { return !slices.Contains(l, true) }
	lines = slices.CompactFunc(lines, slices.Equal)
	for len(lines) > 0 && dark(lines[0]) {
		lines = lines[1:]
	}
	for len(lines) > 0 && dark(lines[len(lines)-1]) {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func turn(lines [][]bool) [][]bool {
	if len(lines) == 0 {
		return nil
	}
	turned := make([][]bool, len(lines[0]))
	for x := range turned {
		for _, l := range lines {
			turned[x] = append(turned[x], l[x])
		}
	}
	return turned
}

// blocks is a picture of a few lit and dark rectangles, many at an edge.
func blocks(t *rapid.T, c ssd1306.Config) []byte {
	pix := make([]byte, size(c))
	edge := func(n int, label string) (int, int) {
		at := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(n-4, n-1), rapid.IntRange(0, n-1))
		a, b := at.Draw(t, label), at.Draw(t, label)
		return min(a, b), max(a, b)
	}
	for range rapid.IntRange(0, 8).Draw(t, "blocks") {
		x0, x1 := edge(ssd1306.Width, "x")
		y0, y1 := edge(c.Height, "y")
		lit := rapid.Bool().Draw(t, "lit")
		for y := y0; y <= y1; y++ {
			for x := x0; x <= x1; x++ {
				bit := byte(1) << (y % 8)
				pix[y/8*ssd1306.Width+x] &^= bit
				if lit {
					pix[y/8*ssd1306.Width+x] |= bit
				}
			}
		}
	}
	return pix
}

func TestAMovedPictureLosesNothing(t *testing.T) {
	for _, c := range []ssd1306.Config{{Height: 64}, {Height: 32}} {
		rapid.Check(t, func(t *rapid.T) {
			pix := blocks(t, c)
			dx, dy := rapid.IntRange(-2, 2).Draw(t, "dx"), rapid.IntRange(-1, 1).Draw(t, "dy")
			moved := ssd1306.Moved(pix, dx, dy)
			if a, b := content(pix), content(moved); !slices.EqualFunc(a, b, slices.Equal) {
				t.Fatalf("%d,%d turns\n%s\ninto\n%s", dx, dy, text(pix), text(moved))
			}
			if dx == 0 && dy == 0 && !bytes.Equal(moved, pix) {
				t.Fatal("moved by nothing, it changed")
			}
		})
	}
}

func TestAMoveGoesAsFarAsThePictureHasRoom(t *testing.T) {
	c := ssd1306.Config{Height: 64}
	dot := func(x, y int) []byte {
		pix := make([]byte, size(c))
		pix[y/8*ssd1306.Width+x] = 1 << (y % 8)
		return pix
	}
	for _, test := range []struct{ x, y, dx, dy, toX, toY int }{
		{64, 32, 2, 1, 66, 33},
		{64, 32, -2, -1, 62, 31},
		{126, 62, 2, 1, 127, 63}, // one column of room
		{127, 63, 2, 1, 127, 63}, // none
		{1, 1, -2, -1, 0, 0},
		{0, 0, -2, -1, 0, 0},
	} {
		if got := ssd1306.Moved(dot(test.x, test.y), test.dx, test.dy); !bytes.Equal(got, dot(test.toX, test.toY)) {
			t.Errorf("%+v: got\n%s", test, text(got))
		}
	}
}

func TestABarStillTouchesTheEdgesAfterAMove(t *testing.T) {
	c := ssd1306.Config{Height: 64}
	page := office(c, "14:05")
	for dx := -2; dx <= 2; dx++ {
		moved := ssd1306.Moved(page, dx, 0)
		if bytes.Equal(moved, page) != (dx == 0) {
			t.Errorf("moved by %d, it is the same: %v", dx, dx != 0)
		}
		for _, x := range []int{0, ssd1306.Width - 1} {
			if moved[x] != 0xFF {
				t.Errorf("moved by %d: the bar has a gap at column %d:\n%s", dx, x, text(moved))
			}
		}
	}
}

func TestTheScreenShowsThePictureInItsOrbit(t *testing.T) {
	for _, c := range modules() {
		c.Orbit = time.Minute
		d, m, clk := plugged(t, c)
		page := office(c, "14:05")
		seen := map[string]bool{}
		for range 15 {
			draw(t, d, page)
			dx, dy := ssd1306.Orbit(clk.at, c.Orbit)
			shows(t, m, ssd1306.Moved(page, dx, dy))
			seen[string(m.Picture())] = true
			clk.at = clk.at.Add(c.Orbit)
		}
		if len(seen) < 5 {
			t.Errorf("%s: the picture stood in %d places", name(c), len(seen))
		}
	}
}
