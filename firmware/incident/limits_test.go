package incident

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/firmware/detect"
)

func TestLimitsShowHowFarPolicyMayGo(t *testing.T) {
	p := DefaultPolicy()
	p.Business, _ = ParseHours("09:00-18:00", time.UTC)
	d := NewDesk(p)
	want := Limits{AutoIsolate: true, Max: 2, Window: 10 * time.Minute, MostHeld: 2, Active: 14, MaxPercent: 20, Business: true, Probation: 72 * time.Hour}
	if diff := cmp.Diff(want, d.Limits(noon, 14)); diff != "" {
		t.Error(diff)
	}
	d.Observe(noon, found(noon, "worm", detect.High), device(1), 14)
	at := noon.Add(4 * time.Minute)
	d.Observe(at, found(at, "worm", detect.High), device(2), 14)
	want.Used, want.Held, want.FreeAt = 2, 2, noon.Add(10*time.Minute)
	got := d.Limits(at, 14)
	if diff := cmp.Diff(want, got); diff != "" || !got.Full() {
		t.Errorf("full: %v %s", got.Full(), diff)
	}
	// At the end of the window the first place is free, and the held ones still
	// count as held.
	if got := d.Limits(noon.Add(10*time.Minute), 14); got.Used != 2 {
		t.Errorf("%d used at the very end of the window", got.Used)
	}
	if got := d.Limits(noon.Add(10*time.Minute+1), 14); got.Used != 1 || got.Held != 2 || !got.Full() {
		t.Errorf("just after: %+v", got)
	}
}

func TestAClockThatIsSetBackClosesTheBreakerForOneWindowAndNotForEver(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	for n := byte(1); n <= 2; n++ {
		d.Observe(noon, found(noon, "worm", detect.High), device(n), 50)
	}
	past := noon.AddDate(-10, 0, 0)
	if i := last(d.Observe(past, found(past, "worm", detect.High), device(3), 50)); i.State != Open {
		t.Fatalf("the clock was set back and the breaker forgot: %s", i.State)
	}
	at := past.Add(11 * time.Minute)
	if i := last(d.Observe(at, found(at, "worm", detect.High), device(3), 50)); i.State != Containing {
		t.Errorf("a window later: %s (%s)", i.State, i.Why.EN)
	}
}

func TestBusinessHoursAtTheirEdges(t *testing.T) {
	day, _ := ParseHours("09:00-18:00", time.UTC)
	night, _ := ParseHours("22:00-06:00", time.UTC)
	at := func(clock string) time.Time {
		c, err := time.Parse("15:04:05", clock)
		if err != nil {
			t.Fatal(err)
		}
		return time.Date(2026, 11, 23, c.Hour(), c.Minute(), c.Second(), 0, time.UTC)
	}
	for clock, want := range map[string][2]bool{
		"08:59:59": {false, false}, "09:00:00": {true, false}, "17:59:59": {true, false}, "18:00:00": {false, false},
		"21:59:59": {false, false}, "22:00:00": {false, true}, "00:00:00": {false, true}, "05:59:59": {false, true}, "06:00:00": {false, false},
	} {
		if got := [2]bool{day.Contain(at(clock)), night.Contain(at(clock))}; got != want {
			t.Errorf("%s: %v, want %v", clock, got, want)
		}
	}
}
