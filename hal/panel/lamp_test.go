package panel

import (
	"fmt"
	"testing"
	"time"

	"sekisho/hal"
)

// onOff samples whether the lamp is lit, colour aside, every 10 ms.
func onOff(p Pattern, from, length time.Duration) []bool {
	var out []bool
	for t := from; t < from+length; t += 10 * time.Millisecond {
		out = append(out, LampAt(p, t).Lit())
	}
	return out
}

// alike is the largest share of 12 s in which two rhythms agree, whatever the
// moment at which one begins to look.
func alike(a, b Pattern) float64 {
	const span = 12 * time.Second
	x, best := onOff(a, 0, span), 0.0
	for shift := time.Duration(0); shift < b.Cycle(); shift += 30 * time.Millisecond {
		same := 0
		for i, lit := range onOff(b, shift, span) {
			if lit == x[i] {
				same++
			}
		}
		best = max(best, float64(same)/float64(len(x)))
	}
	return best
}

func TestEveryStateIsToldByRhythmAlone(t *testing.T) {
	pats := map[string]Pattern{}
	for _, st := range states {
		for _, drill := range []bool{false, true} {
			pats[fmt.Sprint(stateNames[st], " drill=", drill)] = Lamp(hal.Status{State: st, Drill: drill})
		}
	}
	for _, st := range []hal.State{hal.Attention, hal.Isolating, hal.NotIsolated, hal.Fault} {
		pats[stateNames[st]+" vendor"] = Lamp(hal.Status{State: st, VendorOnline: true})
	}
	pats["lockdown"] = Lamp(hal.Status{State: hal.Normal, Lockdown: true})
	pats["lockdown drill"] = Lamp(hal.Status{State: hal.Normal, Lockdown: true, Drill: true})
	for a, pa := range pats {
		for b, pb := range pats {
			if a < b && alike(pa, pb) > 0.95 {
				t.Errorf("%s and %s agree for %.0f %% of the time without colour", a, b, 100*alike(pa, pb))
			}
		}
	}
}

func TestLampNeverFlashesMoreThanThreeTimesASecond(t *testing.T) {
	for _, st := range states {
		for _, vendor := range []bool{false, true} {
			p := Lamp(hal.Status{State: st, VendorOnline: vendor})
			lit := onOff(p, 0, 4*p.Cycle()+time.Second)
			for i := 0; i+100 < len(lit); i++ {
				rises := 0
				for j := i + 1; j < i+100; j++ {
					if lit[j] && !lit[j-1] {
						rises++
					}
				}
				if rises > 3 {
					t.Fatalf("%s (vendor %v) flashes %d times within one second", stateNames[st], vendor, rises)
				}
			}
		}
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
			for _, seg := range Lamp(hal.Status{State: st, Drill: drill}) {
				if seg.Color.Lit() {
					seen[seg.Color] = true
				}
				if seg.Ms <= 0 {
					t.Errorf("%v: segment without length", st)
				}
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
	}
	if LampAt(nil, time.Second).Lit() {
		t.Error("no pattern must be dark")
	}
}
