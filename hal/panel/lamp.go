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
	p := lookOf(s.State).lamp
	if s.Lockdown && !urgent(s.State) {
		p = lockdownLamp
	}
	if s.VendorOnline && s.State != hal.VendorConnected {
		p = after(p, vendorMark)
	}
	if s.Drill {
		p = after(p, drillMark)
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

// Cycle is the time after which the pattern repeats.
func (p Pattern) Cycle() time.Duration {
	total := 0
	for _, s := range p {
		total += s.Ms
	}
	return time.Duration(total) * time.Millisecond
}

// at is the stretch at a time since the pattern began, and how much of it is
// left, positive. A pattern without length is dark.
func (p Pattern) at(t time.Duration) (Color, time.Duration) {
	cycle := p.Cycle()
	if cycle <= 0 {
		return off, time.Second
	}
	t %= cycle
	if t < 0 {
		t += cycle
	}
	for _, s := range p {
		d := time.Duration(s.Ms) * time.Millisecond
		if t < d {
			return s.Color, d - t
		}
		t -= d
	}
	return off, time.Second
}

// Left is how long the light stays as it is at a time since the pattern began;
// positive.
func (p Pattern) Left(t time.Duration) time.Duration {
	_, left := p.at(t)
	return left
}

// LampAt is the light at a time since the pattern began.
func LampAt(p Pattern, t time.Duration) Color {
	c, _ := p.at(t)
	return c
}

// Rest is how long the lamp keeps the first light of a rhythm before it begins
// to blink, and so the least that any light stays after a change of rhythm: two
// rhythms, each slow enough, would together flash too often where they meet,
// and states that change to and fro would be a rhythm of their own.
const Rest = 500 * time.Millisecond

// Light plays rhythms one after another. It is a pure state machine: what it
// shows depends on when it was asked to play, not on how often it was looked
// at. The zero Light is dark. It is not safe for concurrent use.
type Light struct {
	now, next     Pattern
	since, nextAt time.Time // next is nil when nothing waits
}

// Play asks for a rhythm. It begins at once, or when the one before has stood
// for Rest; of several that wait the last one counts.
func (l *Light) Play(at time.Time, p Pattern) {
	l.turn(at)
	if slices.Equal(p, l.now) {
		l.next = nil
		return
	}
	l.next, l.nextAt = p, at
	if free := l.since.Add(Rest); len(l.now) > 0 && at.Before(free) {
		l.nextAt = free
	}
	l.turn(at)
}

// turn begins what waits when its time has come.
func (l *Light) turn(at time.Time) {
	if l.next != nil && !at.Before(l.nextAt) {
		l.now, l.since, l.next = l.next, l.nextAt, nil
	}
}

// At is the light at a time, and how long it stays so; positive.
func (l *Light) At(at time.Time) (Color, time.Duration) {
	l.turn(at)
	t := at.Sub(l.since)
	if len(l.now) == 0 {
		return off, time.Second
	}
	first := time.Duration(l.now[0].Ms) * time.Millisecond
	lead := max(Rest, first)
	c, left := l.now[0].Color, lead-t
	if t >= lead {
		c, left = l.now.at(t - lead + first)
	}
	if l.next != nil {
		left = min(left, l.nextAt.Sub(at))
	}
	return c, left
}
