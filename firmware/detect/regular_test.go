package detect

import (
	"math/rand/v2"
	"testing"
	"time"
)

// series plays n intervals drawn from next and returns what they say.
func series(n int, next func() float64) cadence {
	var r rhythm
	t := time.Unix(1e9, 0)
	r.note(t, 100)
	for range n {
		t = t.Add(time.Duration(next() * float64(time.Second)))
		r.note(t, 100)
	}
	return r.read()
}

func TestATimerDecidesInFewIntervals(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for _, c := range []struct {
		name   string
		jitter float64 // off the sleep, uniformly
		n      int
	}{{"bare sleep", 0.02, 6}, {"20 % jitter", 0.2, 12}, {"50 % jitter", 0.5, 24}} {
		hits := 0
		for range 500 {
			p := series(c.n, func() float64 { return 60 * (1 - c.jitter*r.Float64()) })
			if p.odds >= sureOdds {
				hits++
			}
		}
		if hits < 475 {
			t.Errorf("%s: %d of 500 found with %d intervals", c.name, hits, c.n)
		}
	}
}

func TestChanceDoesNotPassForATimer(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for _, mean := range []float64{0.2, 2, 5, 60, 3600} {
		for range 2000 {
			p := series(12+r.IntN(60), func() float64 { return r.ExpFloat64() * mean })
			if p.odds >= sureOdds {
				t.Fatalf("mean %v s: %d of %d intervals within %.2f of %v s decided", mean, p.within, p.gaps, p.width, p.period)
			}
		}
	}
}

func TestALostBeatDoesNotHideATimer(t *testing.T) {
	i := 0
	p := series(30, func() float64 {
		i++
		if i%10 == 0 {
			return 120
		}
		return 60
	})
	if p.odds < sureOdds || p.period != 60 {
		t.Errorf("odds %.1f, period %.1f", p.odds, p.period)
	}
}

func TestWhatComesTogetherIsOneExchange(t *testing.T) {
	var r rhythm
	t0 := time.Unix(1e9, 0)
	for i := range 5 {
		for j := range 4 {
			r.note(t0.Add(time.Duration(i)*time.Minute+time.Duration(j)*200*time.Millisecond), 25)
		}
	}
	if r.n != 5 || r.rings.gaps != 4 {
		t.Errorf("%d exchanges, %d intervals", r.n, r.rings.gaps)
	}
	if p := r.read(); p.size != 100 && p.size != 75 {
		t.Errorf("size %v: the bytes of an exchange do not add up", p.size)
	}
}

func TestSkewAndDispersionAreThoseOfTheirDefinitions(t *testing.T) {
	v := []float64{1, 2, 3, 4, 9}
	if b := bowley(v); b != 0 {
		t.Errorf("Bowley %v, want 0 for quartiles 2, 3, 4", b)
	}
	if d := deviation(v, 3); d != 1 {
		t.Errorf("MADM %v, want 1", d)
	}
	if b := bowley([]float64{1, 1, 2, 9, 10}); b < 0.7 {
		t.Errorf("Bowley %v, want a strong skew", b)
	}
}

func TestAClockSetBackBeginsAnew(t *testing.T) {
	var r rhythm
	t0 := time.Unix(1e9, 0)
	for i := range 40 {
		if i == 20 {
			t0 = t0.Add(-24 * time.Hour)
		}
		r.note(t0.Add(time.Duration(i)*time.Minute), 10)
	}
	if p := r.read(); r.n != 20 || p.period != 60 || p.odds < sureOdds {
		t.Errorf("%d exchanges, period %v, odds %v", r.n, p.period, p.odds)
	}
}
