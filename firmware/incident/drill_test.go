package incident

import (
	"strings"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
)

// drilled is the row of InDrillOver for the incident of a drill.
const drilled = "closed: unpin_evidence, notify closed | closed: release, unpin_evidence, notify closed | closed: release, unpin_evidence, notify closed | closed: release, unpin_evidence, notify closed | closed: unpin_evidence, notify closed | x | closed: release, unpin_evidence, notify closed | x"

func TestTheEndOfADrillEndsItsIncident(t *testing.T) {
	for n, s := range States() {
		i := in(t, s)
		i.Drill = true
		check(t, i, sample(InDrillOver), strings.Split(drilled, "|")[n])
	}
}

func TestADrillIsMarkedAndAsksAPersonAndCostsNothing(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	d.Rehearse(device(1).ID)
	high := func(n byte) Incident {
		f := found(noon, "worm", detect.High)
		f.Host.MAC = device(n).MAC
		return d.Observe(noon, f, device(n), 40)[0].Incident
	}
	i := high(1)
	if !i.Drill || !i.Waiting() || i.State != Open {
		t.Fatalf("the drill's incident: drill %v, %s, %s", i.Drill, i.State, i.Action)
	}
	if used := d.Limits(noon, 40); used.Used != 0 || used.Held != 0 {
		t.Errorf("the drill used up the breaker: %+v", used)
	}
	if real := high(2); real.Drill || real.State != Containing || real.Decision.By != ByAuto {
		t.Errorf("a real device beside the drill: drill %v, %s by %q", real.Drill, real.State, real.Decision.By)
	}
	c, err := d.Apply(i.ID, Input{Kind: InPress, At: noon, By: ByButton})
	if err != nil || c.Incident.State != Containing {
		t.Fatalf("the press: %v, %s", err, c.Incident.State)
	}
	if used := d.Limits(noon, 40); used.Used != 1 {
		t.Errorf("the press of the drill counts with the breaker: %+v", used)
	}
	c, err = d.Apply(i.ID, Input{Kind: InDrillOver, At: noon.Add(time.Minute)})
	if err != nil || c.Incident.State != Closed || c.Incident.Lesson.Kind != "" {
		t.Errorf("the end: %v, %s, %+v", err, c.Incident.State, c.Incident.Lesson)
	}
	if more := Resume(c.Incident); len(more) != 0 {
		t.Errorf("after a power cut there is still to do: %v", more)
	}
	d.Rehearse("")
	if again := high(1); again.Drill || again.ID == i.ID {
		t.Errorf("after the drill the same device is still one: %s", again.ID)
	}
}

func TestNobodyIsADrillWhenNoneRuns(t *testing.T) {
	d := NewDesk(Policy{})
	d.Rehearse("")
	f := found(noon, "worm", detect.High)
	if i := d.Observe(noon, f, asset.Asset{}, 1)[0].Incident; i.Drill {
		t.Error("a device without an identity counts as the drill's")
	}
}
