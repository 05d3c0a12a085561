package incident

import (
	"strings"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
)

var backAt = noon.Add(time.Hour)

// returned has one device held by a person for what a detector said, and back.
func returned(t *testing.T, p Policy, a asset.Asset, level Level) (*Desk, Incident) {
	t.Helper()
	d := NewDesk(p)
	i := last(d.Observe(noon, found(noon, "worm", detect.Medium), a, 50))
	for range 2 { // a guarded one is asked for twice
		d.Apply(i.ID, Input{Kind: InRequest, At: noon, By: "web:sato", Level: level})
	}
	d.Apply(i.ID, Input{Kind: InApplied, At: noon, Level: level})
	d.Apply(i.ID, Input{Kind: InProven, At: noon})
	if i = letGo(d, i.ID, backAt); i.State != Probation {
		t.Fatalf("it is %s", i.State)
	}
	return d, i
}

func TestProbationEndsWhenThePageSaysSo(t *testing.T) {
	d, i := returned(t, Policy{Probation: 5 * time.Hour}, device(1), Isolate)
	if !i.Until.Equal(backAt.Add(5 * time.Hour)) {
		t.Fatalf("until %s", i.Until)
	}
	if c := d.Advance(i.Until); len(c) != 0 {
		t.Error("ended early")
	}
	if c := d.Advance(i.Until.Add(time.Second)); len(c) != 1 || c[0].Incident.State != Closed {
		t.Errorf("%+v", c)
	}
	if i.Level != Watch || i.DesiredLevel() != Watch {
		t.Error("something is blocked in probation")
	}
}

func TestWhatBeginsAgainInProbationIsHeldAtOnce(t *testing.T) {
	guarded := device(1)
	guarded.Protected = true
	moved := device(1)
	moved.Port, moved.MovedFrom, moved.Moved = "lan2", "lan1", backAt
	business, _ := ParseHours("09:00-18:00", time.UTC)
	auto := DefaultPolicy()
	office := auto
	office.Business = business
	manual := Policy{}
	for name, c := range map[string]struct {
		p        Policy
		a        asset.Asset
		was      Level
		detector string
		band     detect.Confidence
		want     Level
	}{
		"the same at medium":             {auto, device(1), Isolate, "worm", detect.Medium, Isolate},
		"its family at medium":           {auto, device(1), Isolate, "host_scan", detect.Medium, Isolate},
		"in business hours":              {office, device(1), Isolate, "worm", detect.Medium, Isolate},
		"in business hours, was limited": {office, device(1), Limit, "worm", detect.Medium, Limit},
		"the same at low asks":           {auto, device(1), Isolate, "worm", detect.Low, Watch},
		"another family at medium asks":  {auto, device(1), Isolate, "ioc_match", detect.Medium, Watch},
		"another family at high":         {auto, device(1), Isolate, "ioc_match", detect.High, Isolate},
		"a protected device asks":        {auto, guarded, Isolate, "worm", detect.High, Watch},
		"seen on two ports asks":         {auto, moved, Isolate, "worm", detect.High, Watch},
		"automatic isolation is off":     {manual, device(1), Isolate, "worm", detect.High, Watch},
		"in business hours, low asks":    {office, device(1), Isolate, "worm", detect.Low, Watch},
	} {
		d, old := returned(t, c.p, c.a, c.was)
		at := backAt.Add(5 * time.Minute)
		got := d.Observe(at, found(at, c.detector, c.band), c.a, 50)
		i := last(got)
		if i.Level != c.want || i.Previous != old.ID || got[0].Incident.State != Closed || (c.want == Watch) != i.Waiting() {
			t.Errorf("%s: %s at %s, %d changes (%s)", name, i.State, i.Level, len(got), i.Why.EN)
		}
	}
}

func TestARelapseNeedsNoPlaceWithTheBreakerButTakesOne(t *testing.T) {
	d, _ := returned(t, DefaultPolicy(), device(1), Isolate)
	at := backAt.Add(time.Minute)
	for n := byte(2); n <= 3; n++ {
		d.Observe(at, found(at, "worm", detect.High), device(n), 50)
	}
	i := last(d.Observe(at, found(at, "worm", detect.Medium), device(1), 50))
	if i.State != Containing || !strings.Contains(i.Automatic.Allowed.EN, "needs no free place") || !strings.Contains(i.Why.EN, "began again") {
		t.Fatalf("%s: %q %q", i.State, i.Why.EN, i.Automatic.Allowed.EN)
	}
	if l := d.Limits(at, 50); l.Used != 3 {
		t.Errorf("%d used", l.Used)
	}
}

func TestWhatIsLeftOverFromBeforeTheReleaseIsNoRelapse(t *testing.T) {
	d, _ := returned(t, DefaultPolicy(), device(1), Isolate)
	late := found(backAt, "worm", detect.High) // it waited in a queue
	if got := d.Observe(backAt.Add(time.Second), late, device(1), 50); len(got) != 1 || got[0].Incident.State != Probation {
		t.Errorf("what was decided before the release ended the probation: %s", got[0].Incident.Why.EN)
	}
	at := backAt.Add(settle - time.Second)
	old := found(at, "worm", detect.High)
	old.First = noon
	if i := last(d.Observe(at, old, device(1), 50)); !i.Waiting() || !strings.Contains(i.Why.EN, "before it was let back") {
		t.Errorf("packets from before the release: %s (%s)", i.State, i.Why.EN)
	}
	// A detector's memory is long: what it decides on later is about the present.
	at = backAt.Add(settle)
	old.Time = at
	if i := last(d.Observe(at, old, device(1), 50)); i.State != Containing {
		t.Errorf("when it had settled: %s (%s)", i.State, i.Why.EN)
	}
}

func TestOldEvidenceDoesNotMakeANewLowOneARelapse(t *testing.T) {
	d, i := returned(t, DefaultPolicy(), device(1), Isolate)
	at := backAt.Add(time.Second)
	got := d.Observe(at, found(at, "new_service", detect.Low), device(1), 50)
	if len(got) != 1 || got[0].Incident.State != Probation || got[0].Incident.ID != i.ID {
		t.Errorf("%d changes, %s (%s)", len(got), got[0].Incident.State, got[0].Incident.Why.EN)
	}
}

func TestWhatAddsUpInProbationGoesAlongIntoTheNextIncident(t *testing.T) {
	d, _ := returned(t, DefaultPolicy(), device(1), Isolate)
	var got []Change
	for n, detector := range []string{"ioc_match", "smb_ransom", "dga"} {
		at := backAt.Add(time.Duration(n+1) * time.Minute)
		got = d.Observe(at, found(at, detector, detect.Low), device(1), 50)
		if i := last(got); i.Previous != "" {
			if !i.Waiting() || len(i.Findings) != n+1 {
				t.Errorf("%s, %d findings", i.State, len(i.Findings))
			}
			return
		}
	}
	t.Error("three signs asked nobody")
}

func TestAnUndoneRelapseIsNotRepeated(t *testing.T) {
	d, _ := returned(t, DefaultPolicy(), device(1), Isolate)
	at := backAt.Add(time.Minute)
	i := last(d.Observe(at, found(at, "worm", detect.Medium), device(1), 50))
	undo(t, d, i.ID, at)
	if got := last(d.Observe(at.Add(time.Minute), found(at.Add(time.Minute), "worm", detect.Medium), device(1), 50)); got.State != Open || got.ID != i.ID {
		t.Errorf("%s", got.State)
	}
}

func TestTheNewerWordOfAPersonHolds(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	i := last(d.Observe(noon, found(noon, "worm", detect.Medium), device(1), 50))
	d.Apply(i.ID, sample(InDismiss))
	at := noon.Add(time.Hour)
	i = last(d.Observe(at, found(at, "worm", detect.Medium), device(1), 50)) // quiet
	d.Apply(i.ID, Input{Kind: InPress, At: at, By: ByButton})
	d.Apply(i.ID, Input{Kind: InApplied, At: at, Level: Isolate})
	d.Apply(i.ID, Input{Kind: InProven, At: at})
	letGo(d, i.ID, at.Add(time.Hour))
	again := at.Add(2 * time.Hour)
	if i := last(d.Observe(again, found(again, "worm", detect.Medium), device(1), 50)); i.State != Containing {
		t.Errorf("what was harmless once and an infection later is %s (%s)", i.State, i.Why.EN)
	}
}
