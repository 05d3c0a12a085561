package panel

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sekisho/hal"
)

// lamps is every rhythm that the lamp can have, by what it tells.
func lamps() map[string]Pattern {
	out := map[string]Pattern{}
	for _, st := range append(states, hal.State(99)) {
		for i := range 8 {
			s := hal.Status{State: st, Drill: i&1 > 0, VendorOnline: i&2 > 0, Lockdown: i&4 > 0}
			what := stateNames[known(st)]
			if s.Lockdown && !urgent(st) {
				what = "lockdown"
			}
			if s.VendorOnline && st != hal.VendorConnected {
				what += " vendor"
			}
			if s.Drill {
				what += " drill"
			}
			out[what] = Lamp(s)
		}
	}
	return out
}

// eye is what somebody, or something, sees of a colour, in three numbers of
// which a difference of 1 is plain.
type eye func(Color) [3]float64

// linear is a colour without the gamma of sRGB (IEC 61966-2-1), 0 to 1 each.
func linear(c Color) (rgb [3]float64) {
	for i, v := range [3]uint8{c.R, c.G, c.B} {
		f := float64(v) / 255
		if f <= 0.04045 {
			rgb[i] = f / 12.92
		} else {
			rgb[i] = math.Pow((f+0.055)/1.055, 2.4)
		}
	}
	return rgb
}

// luminance is the relative luminance of WCAG 2.2.
func luminance(rgb [3]float64) float64 { return 0.2126*rgb[0] + 0.7152*rgb[1] + 0.0722*rgb[2] }

// grey sees lightness only (CIE L*), and calls 10 of 100 steps plain.
func grey(c Color) [3]float64 {
	y := max(0, luminance(linear(c)))
	l := 903.3 * y
	if y > 0.008856 {
		l = 116*math.Cbrt(y) - 16
	}
	return [3]float64{l / 10}
}

// onOff sees whether the lamp is lit at all.
func onOff(c Color) [3]float64 {
	if c.Lit() {
		return [3]float64{1}
	}
	return [3]float64{}
}

// lines is a lamp on three lines that know on and off: amber is red with green.
func lines(c Color) (seen [3]float64) {
	for i, v := range [3]uint8{c.R, c.G, c.B} {
		if v >= 128 {
			seen[i] = 1
		}
	}
	return seen
}

// lack simulates an eye that lacks one kind of cone, in lightness: Machado,
// Oliveira and Fernandes, "A Physiologically-based Model for Simulation of
// Color Vision Deficiency", IEEE TVCG 15(6), 2009, severity 1.0.
func lack(m [3][3]float64) eye {
	return func(c Color) (seen [3]float64) {
		rgb := linear(c)
		var to [3]float64
		for i, row := range m {
			for j, v := range row {
				to[i] += v * rgb[j]
			}
			to[i] = min(max(to[i], 0), 1)
		}
		for i, v := range to { // its three channels, each as light as the eye takes it
			seen[i] = math.Cbrt(v) * 5
		}
		return seen
	}
}

var eyes = map[string]eye{
	"grey": grey, "on and off": onOff, "lines": lines,
	"protanopia":   lack([3][3]float64{{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}}),
	"deuteranopia": lack([3][3]float64{{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}}),
	"tritanopia":   lack([3][3]float64{{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}}),
}

const (
	sample = 20 * time.Millisecond
	watch  = 12 * time.Second // as long as somebody looks at a lamp
)

// seen is what an eye sees of a pattern, sample by sample.
func seen(p Pattern, e eye, length time.Duration) [][3]float64 {
	out := make([][3]float64, 0, length/sample)
	for t := time.Duration(0); t < length; t += sample {
		out = append(out, e(LampAt(p, t)))
	}
	return out
}

// differ is the least share of the time that two lamps have to differ for. A
// dip of a tenth of the time tells steady green from "steady" red; half of that
// is the least that may be.
const differ = 0.05

// alike says whether two series agree for longer than that, at whatever moment
// one begins to look.
func alike(a, b [][3]float64, shifts int) bool {
	n := int(watch / sample)
	for shift := range shifts {
		apart := 0
		for i := 0; i < n && apart < int(differ*float64(n)); i++ {
			x, y := a[i], b[i+shift]
			if math.Abs(x[0]-y[0]) >= 1 || math.Abs(x[1]-y[1]) >= 1 || math.Abs(x[2]-y[2]) >= 1 {
				apart++
			}
		}
		if apart < int(differ*float64(n)) {
			return true
		}
	}
	return false
}

func TestEveryLampIsToldByEveryEye(t *testing.T) {
	all := lamps()
	for name, e := range eyes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			series := map[string][][3]float64{}
			for what, p := range all {
				series[what] = seen(p, e, watch+p.Cycle()+sample)
			}
			for a := range all {
				for b, p := range all {
					if a >= b {
						continue
					}
					if alike(series[a], series[b], int(p.Cycle()/sample)) {
						t.Errorf("%s and %s look alike", a, b)
					}
				}
			}
		})
	}
}

func TestEveryLightIsSeenByEveryEye(t *testing.T) {
	for _, c := range []Color{green, amber, red, blue} {
		for name, e := range eyes {
			lit, dark := e(c), e(off)
			if d := math.Abs(lit[0]-dark[0]) + math.Abs(lit[1]-dark[1]) + math.Abs(lit[2]-dark[2]); d < 1 {
				t.Errorf("%s: %v is as good as dark (%.2f)", name, c, d)
			}
		}
	}
}

// flashes is the largest number of flashes within any one second: WCAG 2.2
// counts pairs of opposing changes of a tenth of the full luminance or more
// (general flash), and pairs of changes to and from a saturated red (red
// flash). Every change is taken for a large one here, whatever it measures.
func flashes(at func(time.Duration) (Color, time.Duration), from, to time.Duration) int {
	type change struct {
		at  time.Duration
		up  bool
		red bool
	}
	var changes []change
	last, left := at(from)
	for t := from + left; t < to; t += left {
		var c Color
		if c, left = at(t); c != last {
			changes = append(changes, change{t, luminance(linear(c)) > luminance(linear(last)), (c == red) != (last == red)})
			last = c
		}
	}
	most := 0
	for i := range changes {
		general, reds, up := 0, 0, !changes[i].up
		for _, c := range changes[i:] {
			if c.at-changes[i].at >= time.Second {
				break
			}
			if c.up != up {
				general, up = general+1, c.up
			}
			if c.red {
				reds++
			}
		}
		most = max(most, general/2, reds/2)
	}
	return most
}

func TestNoRhythmFlashesMoreThanThreeTimesASecond(t *testing.T) {
	for what, p := range lamps() {
		if n := flashes(p.at, 0, 4*p.Cycle()+time.Second); n > 3 {
			t.Errorf("%s flashes %d times within one second", what, n)
		}
	}
}

func TestNoChangeOfRhythmFlashesMoreThanThreeTimesASecond(t *testing.T) {
	var all []Pattern
	for _, p := range lamps() {
		all = append(all, p)
	}
	for _, a := range all {
		for _, b := range all {
			for moment := time.Duration(0); moment < a.Cycle(); moment += 70 * time.Millisecond {
				var l Light
				begin := now.Add(-Rest)
				l.Play(begin, a)
				change := now.Add(2 * time.Second).Add(moment)
				if n := flashes(func(d time.Duration) (Color, time.Duration) {
					at := now.Add(d)
					if !at.Before(change) {
						l.Play(change, b)
						return l.At(at)
					}
					c, left := l.At(at)
					return c, min(left, change.Sub(at))
				}, moment+900*time.Millisecond, moment+3500*time.Millisecond); n > 3 {
					t.Fatalf("%v, after %v %v: %d flashes within one second", a, moment, b, n)
				}
			}
		}
	}
}

func TestStatesThatChangeToAndFroDoNotFlashEither(t *testing.T) {
	all := lamps()
	var names []string
	for _, st := range states {
		names = append(names, stateNames[st], stateNames[st]+" drill")
	}
	rapid.Check(t, func(t *rapid.T) {
		var l Light
		type play struct {
			at time.Duration
			p  Pattern
		}
		var plays []play
		at := time.Duration(0)
		for range rapid.IntRange(2, 30).Draw(t, "changes") {
			plays = append(plays, play{at, all[rapid.SampledFrom(names).Draw(t, "rhythm")]})
			at += time.Duration(rapid.Int64Range(0, 900).Draw(t, "ms")) * time.Millisecond
		}
		i := 0
		if n := flashes(func(d time.Duration) (Color, time.Duration) {
			for i < len(plays) && plays[i].at <= d {
				l.Play(now.Add(plays[i].at), plays[i].p)
				i++
			}
			c, left := l.At(now.Add(d))
			if i < len(plays) {
				left = min(left, plays[i].at-d)
			}
			return c, left
		}, 0, at+3*time.Second); n > 3 {
			t.Fatalf("%d flashes within one second", n)
		}
	})
}

func TestTheLastRhythmAskedForIsPlayedHoweverOftenItIsLookedAt(t *testing.T) {
	all := lamps()
	rapid.Check(t, func(t *rapid.T) {
		var seldom, often Light
		at := now
		var last Pattern
		for range rapid.IntRange(1, 10).Draw(t, "changes") {
			last = all[stateNames[rapid.SampledFrom(states).Draw(t, "state")]]
			seldom.Play(at, last)
			often.Play(at, last)
			gap := time.Duration(rapid.Int64Range(0, 2000).Draw(t, "ms")) * time.Millisecond
			for range rapid.IntRange(0, 5).Draw(t, "looks") {
				c, left := often.At(at.Add(time.Duration(rapid.Int64Range(0, int64(gap)).Draw(t, "look"))))
				if left <= 0 {
					t.Fatalf("%v stays for %v", c, left)
				}
			}
			at = at.Add(gap)
		}
		for range 50 {
			a, leftA := seldom.At(at)
			b, leftB := often.At(at)
			if a != b || leftA != leftB {
				t.Fatalf("%v for %v, when looked at before %v for %v", a, leftA, b, leftB)
			}
			if c, _ := seldom.At(at.Add(leftA - 1)); c != a {
				t.Fatalf("%v does not stay for %v", a, leftA)
			}
			at = at.Add(leftA)
		}
		lights := map[Color]bool{}
		for d := time.Duration(0); d < last.Cycle(); d += sample {
			c, _ := seldom.At(at.Add(d))
			lights[c] = true
		}
		for _, s := range last {
			if !lights[s.Color] {
				t.Fatalf("after everything the lamp lacks %v", s.Color)
			}
		}
	})
}

func TestANewRhythmIsSeenAtOnceAndRestsFirst(t *testing.T) {
	var l Light
	if c, left := l.At(now); c.Lit() || left <= 0 {
		t.Error("a lamp that nobody asked for is lit")
	}
	l.Play(now, Lamp(hal.Status{State: hal.Attention}))
	if c, left := l.At(now); c != amber || left != Rest {
		t.Errorf("%v for %v", c, left)
	}
	l.Play(now.Add(100*ms), Lamp(hal.Status{State: hal.Isolating}))
	if c, left := l.At(now.Add(Rest - ms)); c != amber || left != ms {
		t.Errorf("%v for %v: the light before had no rest", c, left)
	}
	if c, _ := l.At(now.Add(Rest)); c != red {
		t.Errorf("%v: the new rhythm is late", c)
	}
	l.Play(now.Add(10*time.Second), Lamp(hal.Status{State: hal.Isolated}))
	l.Play(now.Add(10*time.Second), Lamp(hal.Status{State: hal.Normal}))
	if c, _ := l.At(now.Add(10 * time.Second)); c != red {
		t.Errorf("%v", c)
	}
	if c, _ := l.At(now.Add(10*time.Second + Rest)); c != green {
		t.Errorf("%v", c)
	}
}

func TestLampColoursOfTheTable(t *testing.T) {
	want := map[hal.State][]Color{
		hal.Normal: {green}, hal.Learning: {green}, hal.Attention: {amber}, hal.Isolating: {red}, hal.Isolated: {red},
		hal.NotIsolated: {red, amber}, hal.Fault: {amber}, hal.VendorConnected: {blue}, hal.State(99): {amber},
	}
	for st, colours := range want {
		for _, drill := range []bool{false, true} {
			seen := map[Color]bool{}
			p := Lamp(hal.Status{State: st, Drill: drill})
			for _, seg := range p {
				if seg.Color.Lit() {
					seen[seg.Color] = true
				}
				if seg.Ms <= 0 {
					t.Errorf("%v: segment without length", st)
				}
			}
			if !p[0].Color.Lit() {
				t.Errorf("%v drill=%v begins dark: the change would be seen late", st, drill)
			}
			for _, c := range colours {
				if !seen[c] {
					t.Errorf("state %v drill=%v lacks colour %v", st, drill, c)
				}
			}
			if drill && !seen[blue] {
				t.Errorf("state %v: a drill without blue", st)
			}
		}
	}
}

func TestLampAtRepeatsAndIsTotal(t *testing.T) {
	p := Lamp(hal.Status{State: hal.Attention})
	for d := time.Duration(0); d < p.Cycle(); d += 7 * time.Millisecond {
		if LampAt(p, d) != LampAt(p, d+3*p.Cycle()) || LampAt(p, d) != LampAt(p, d-p.Cycle()) {
			t.Fatalf("not periodic at %v", d)
		}
		if left := p.Left(d); left <= 0 || LampAt(p, d+left-1) != LampAt(p, d) {
			t.Fatalf("at %v: %v left", d, left)
		}
	}
	if LampAt(nil, time.Second).Lit() || Pattern(nil).Left(0) <= 0 {
		t.Error("no pattern must be dark, for some time")
	}
}

func TestTheTableKnowsEveryStateInBothLanguages(t *testing.T) {
	if len(looks) != len(states) {
		t.Fatalf("%d rows for %d states", len(looks), len(states))
	}
	for st, l := range looks {
		name := fmt.Sprint(hal.State(st))
		if len(l.lamp) == 0 || len(l.pages) == 0 {
			t.Errorf("state %s: no lamp or no page", name)
		}
		for _, w := range []words{japanese, english} {
			if w.title[st] == "" {
				t.Errorf("state %s: no title", name)
			}
		}
	}
}
