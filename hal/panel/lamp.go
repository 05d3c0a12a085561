package panel

import (
	"slices"
	"time"

	"sekisho/hal"
)

// Color is the lamp's light, 0 to 255 each; the zero Color is off.
type Color struct{ R, G, B uint8 }

// Lit says whether any light is on.
func (c Color) Lit() bool { return c != Color{} }

// Segment is one stretch of a rhythm.
type Segment struct {
	Color Color
	Ms    int // how long, milliseconds, > 0
}

// Pattern is a rhythm that repeats for ever.
type Pattern []Segment

// The lamp's colours. Amber is far from red also for red-blind eyes, because
// its green part is bright.
var (
	off   = Color{}
	green = Color{G: 255}
	amber = Color{R: 255, G: 150}
	red   = Color{R: 255}
	blue  = Color{G: 60, B: 255}
)

// Lamp returns the rhythm of a status. No two states share one even when the
// colour cannot be seen, and none flashes more than three times in a second
// (WCAG 2.2, criterion 2.3.1).
func Lamp(s hal.Status) Pattern {
	p := rhythm(s.State)
	if s.Lockdown && !urgent(s.State) {
		p = Pattern{{red, 900}, {off, 200}, {red, 200}, {off, 700}} // long, short
	}
	if s.VendorOnline && s.State != hal.VendorConnected {
		p = after(p, Pattern{{blue, 150}, {off, 150}, {blue, 150}, {off, 150}, {blue, 150}, {off, 500}})
	}
	if s.Drill {
		p = after(p, Pattern{{blue, 900}, {off, 400}}) // one long blue blink
	}
	return p
}

// after is the mark, then a state's own rhythm for about two seconds.
func after(p, mark Pattern) Pattern {
	out := slices.Clone(mark)
	for total := 0; total < 2000; {
		for _, seg := range p {
			out = append(out, seg)
			total += seg.Ms
		}
		if len(p) == 1 {
			out[len(out)-1].Ms = 2000
			break
		}
	}
	return append(out, Segment{off, 400})
}

// rhythm is the one table of DESIGN section 6. "Steady" red has a short dip
// every three seconds, so that it cannot be taken for steady green.
func rhythm(s hal.State) Pattern {
	switch s {
	case hal.Normal:
		return Pattern{{green, 1000}}
	case hal.Learning:
		return Pattern{{green, 1500}, {off, 1500}}
	case hal.Attention:
		return Pattern{{amber, 150}, {off, 150}, {amber, 150}, {off, 850}}
	case hal.Isolating:
		return Pattern{{red, 170}, {off, 170}}
	case hal.Isolated:
		return Pattern{{red, 2700}, {off, 300}}
	case hal.NotIsolated:
		return Pattern{{red, 600}, {off, 120}, {amber, 240}, {off, 120}}
	case hal.VendorConnected:
		return Pattern{{blue, 150}, {off, 150}, {blue, 150}, {off, 150}, {blue, 150}, {off, 1250}}
	}
	// Fault, and whatever this table does not know: that is a fault too.
	return Pattern{{amber, 400}, {off, 2600}}
}

// Cycle is the time after which the pattern repeats.
func (p Pattern) Cycle() time.Duration {
	total := 0
	for _, s := range p {
		total += s.Ms
	}
	return time.Duration(total) * time.Millisecond
}

// Left is how long the light stays as it is at a time since the pattern began;
// positive.
func (p Pattern) Left(t time.Duration) time.Duration {
	cycle := p.Cycle()
	if cycle <= 0 {
		return time.Second // dark for ever
	}
	t %= cycle
	if t < 0 {
		t += cycle
	}
	for _, s := range p {
		d := time.Duration(s.Ms) * time.Millisecond
		if t < d {
			return d - t
		}
		t -= d
	}
	return time.Second
}

// LampAt is the light at a time since the pattern began.
func LampAt(p Pattern, t time.Duration) Color {
	cycle := p.Cycle()
	if cycle <= 0 {
		return off
	}
	t %= cycle
	if t < 0 {
		t += cycle
	}
	for _, s := range p {
		d := time.Duration(s.Ms) * time.Millisecond
		if t < d {
			return s.Color
		}
		t -= d
	}
	return off
}
