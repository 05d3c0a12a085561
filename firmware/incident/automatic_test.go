package incident

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/detect"
)

// heldByPolicy has one device isolated by policy and proven.
func heldByPolicy(t *testing.T, p Policy) (*Desk, Incident) {
	t.Helper()
	d := NewDesk(p)
	i := last(d.Observe(noon, found(noon, "worm", detect.High), device(1), 50))
	if i.Automatic.Kind != InAuto {
		t.Fatalf("policy did not act: %s", i.Why.EN)
	}
	for _, k := range []Kind{InApplied, InProven} {
		in := sample(k)
		in.Level = i.Level
		c, _ := d.Apply(i.ID, in)
		i = c.Incident
	}
	return d, i
}

func undo(t *testing.T, d *Desk, id string, at time.Time) Change {
	t.Helper()
	c, err := d.Apply(id, Input{Kind: InUndo, At: at, By: "web:sato"})
	if err != nil {
		t.Fatal(err)
	}
	if last := c.Incident.History[len(c.Incident.History)-1]; last.Refused {
		t.Fatalf("undo refused: %s", last.Note)
	}
	return c
}

func TestAnAutomaticIsolationSaysWhatAllowedItAndHowToUndoIt(t *testing.T) {
	_, i := heldByPolicy(t, DefaultPolicy())
	for _, c := range []struct{ text, has string }{
		{i.Automatic.Allowed.EN, "device 1 of at most 2 in 10 minutes"}, {i.Automatic.Allowed.EN, "1 of at most 10 "}, {i.Automatic.Allowed.EN, "20 % of 50"}, {i.Automatic.Allowed.EN, "undo it"},
		{i.Automatic.Allowed.JA, "10分間に2台までのうち1台目"}, {i.Automatic.Allowed.JA, "取り消せます"}, {i.Automatic.Why.EN, "It did things"},
	} {
		if !strings.Contains(c.text, c.has) {
			t.Errorf("%q lacks %q", c.text, c.has)
		}
	}
	if !i.Undoable() {
		t.Error("it cannot be undone")
	}
	if n := slices.IndexFunc(i.History, func(t Transition) bool { return t.Input == InAuto }); i.History[n].Note != i.Automatic.Allowed.EN {
		t.Errorf("the record does not say what allowed it: %+v", i.History[n])
	}
}

func TestAnUndoPutsTheDeviceBackAndAsksAPerson(t *testing.T) {
	d, i := heldByPolicy(t, DefaultPolicy())
	c := undo(t, d, i.ID, noon.Add(time.Minute))
	if !c.Incident.Waiting() || c.Incident.Level != Watch || c.Incident.DesiredLevel() != Watch || c.Commands[0] != (Release{}) {
		t.Fatalf("%s at %s, %v", c.Incident.State, c.Incident.Level, c.Commands)
	}
	if c.Incident.Lesson.Holds() || c.Incident.Automatic.UndoneBy != "web:sato" || c.Incident.Undoable() {
		t.Errorf("%+v, %+v", c.Incident.Lesson, c.Incident.Automatic)
	}
	// The kernel's late answers are no news, and change nothing.
	after, _ := d.Apply(i.ID, Input{Kind: InApplied, At: noon.Add(time.Minute), Level: Watch})
	if n := len(c.Incident.History); len(after.Incident.History) != n || after.Incident.State != Open {
		t.Errorf("the release's own answer: %+v", after.Incident.History[n:])
	}
	// A power cut before the release was carried out does not leave it held.
	if got := Resume(c.Incident); !slices.Contains(got, Command(Release{})) {
		t.Errorf("at boot: %v", got)
	}
	// A press isolates it after all, and then it is a person's isolation, from now on.
	press := sample(InPress)
	press.At = noon.Add(time.Hour)
	p, _ := d.Apply(i.ID, press)
	if p.Incident.State != Containing || p.Incident.Undoable() || !p.Incident.HeldFrom().Equal(press.At) {
		t.Errorf("a press led to %s, held from %s", p.Incident.State, p.Incident.HeldFrom())
	}
}

func TestAfterAnUndoThePacketsAreKeptAlthoughABundleIsSealed(t *testing.T) {
	d, i := heldByPolicy(t, DefaultPolicy())
	d.Apply(i.ID, sample(InFrozen))
	d.Apply(i.ID, sample(InSealed)) // unpins
	c := undo(t, d, i.ID, noon.Add(time.Minute))
	if !slices.Contains(c.Commands, Command(FreezeEvidence{i.firstPacket()})) || c.Incident.Bundle == "" {
		t.Errorf("bundle %q, %v", c.Incident.Bundle, c.Commands)
	}
}

func TestWhatAPersonUndidIsNotDoneAnewOnTheSameEvidence(t *testing.T) {
	for name, c := range map[string]struct {
		detector string
		band     detect.Confidence
		want     State
	}{
		"the same again":         {"worm", detect.High, Open},
		"the same family":        {"host_scan", detect.High, Open},
		"another family, medium": {"ioc_match", detect.Medium, Open},
		"another family, high":   {"smb_ransom", detect.High, Containing},
	} {
		d, i := heldByPolicy(t, DefaultPolicy())
		undo(t, d, i.ID, noon.Add(time.Minute))
		// Neither a restart nor time makes policy forget.
		text, err := json.Marshal(d.Incidents())
		if err != nil {
			t.Fatal(err)
		}
		var kept []Incident
		if err := json.Unmarshal(text, &kept); err != nil {
			t.Fatal(err)
		}
		d = NewDesk(DefaultPolicy())
		d.Restore(noon.Add(2*time.Minute), kept)
		at := noon.Add(time.Hour)
		got := last(d.Observe(at, found(at, c.detector, c.band), device(1), 50))
		if got.State != c.want || got.ID != i.ID {
			t.Errorf("%s: %s (%s)", name, got.State, got.Why.EN)
		}
		if c.want == Open && c.band == detect.High && (!strings.Contains(got.Why.EN, "sato undid") || !strings.Contains(got.Why.JA, "satoが")) {
			t.Errorf("%s: nobody is told why not: %q", name, got.Why)
		}
	}
}

func TestStrongerEvidenceThanWhatWasUndoneActsAgain(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	var i Incident
	for _, detector := range []string{"lateral_movement", "c2_channel", "host_scan"} { // high together
		i = last(d.Observe(noon, found(noon, detector, detect.Medium), device(1), 50))
	}
	undo(t, d, i.ID, noon.Add(time.Minute))
	at := noon.Add(2 * time.Minute)
	if i = last(d.Observe(at, found(at, "c2_channel", detect.Medium), device(1), 50)); i.State != Open {
		t.Fatalf("the same: %s", i.State)
	}
	if i = last(d.Observe(at, found(at, "c2_channel", detect.High), device(1), 50)); i.State != Containing || !i.Undoable() {
		t.Errorf("what was medium is high now: %s", i.State)
	}
}

func TestWhatWasUndoneStillCountsWithTheBreaker(t *testing.T) {
	d, i := heldByPolicy(t, DefaultPolicy())
	undo(t, d, i.ID, noon.Add(time.Minute))
	d.Apply(i.ID, sample(InPress)) // a person took it over: the decision is hers
	again := NewDesk(DefaultPolicy())
	again.Restore(noon.Add(2*time.Minute), d.Incidents())
	if l := again.Limits(noon.Add(2*time.Minute), 50); l.Used != 1 {
		t.Errorf("%d used after a restart", l.Used)
	}
}

func TestRoomIsNotMadeAtTheCostOfWhatAPersonUndid(t *testing.T) {
	d, i := heldByPolicy(t, DefaultPolicy())
	undo(t, d, i.ID, noon.Add(time.Minute))
	for n := range 2 * maxWaiting { // strangers, and stronger
		a := device(byte(n + 2))
		a.Protected = true
		at := noon.Add(10 * time.Hour)
		for _, detector := range []string{"worm", "smb_ransom"} {
			d.Observe(at, found(at, detector, detect.High), a, 50)
		}
	}
	if got, _ := d.Get(i.ID); !got.Waiting() {
		t.Errorf("it is %s", got.State)
	}
}

func TestAReleaseByTimeIsUndoneInOneStepAndNotRepeated(t *testing.T) {
	p := DefaultPolicy()
	p.ReleaseAfter = time.Hour
	d, i := heldByPolicy(t, p)
	tick(d, noon, noon.Add(2*time.Hour))
	i, _ = d.Get(i.ID)
	if i.State != Probation || !i.Undoable() || i.Automatic.Kind != InDeadline || !strings.Contains(i.Automatic.Allowed.JA, "取り消せます") {
		t.Fatalf("%s, %+v", i.State, i.Automatic)
	}
	c := undo(t, d, i.ID, noon.Add(2*time.Hour))
	if c.Incident.State != Containing || c.Incident.Level != Isolate || c.Commands[0] != (SetLevel{Isolate}) || c.Incident.Decision.By != "web:sato" {
		t.Fatalf("%s at %s by %s, %v", c.Incident.State, c.Incident.Level, c.Incident.Decision.By, c.Commands)
	}
	for _, k := range []Kind{InApplied, InProven} {
		d.Apply(i.ID, sample(k))
	}
	tick(d, noon.Add(2*time.Hour), noon.Add(48*time.Hour))
	if i, _ = d.Get(i.ID); i.State != Contained {
		t.Errorf("a person's isolation ended by time: %s", i.State)
	}
}

// tick lets time pass as the gateway does: it looks often.
func tick(d *Desk, from, to time.Time) {
	for at := from; !at.After(to); at = at.Add(longestBeat) {
		d.Advance(at)
	}
}

func TestAClockThatIsSetForwardReleasesNobody(t *testing.T) {
	p := DefaultPolicy()
	p.ReleaseAfter = 24 * time.Hour
	before, i := heldByPolicy(t, p)
	d := NewDesk(p) // over a restart, when times are wall times
	d.Restore(noon.Add(time.Minute), before.Incidents())
	tick(d, noon.Add(time.Minute), noon.Add(2*time.Hour))
	jumped := noon.AddDate(1, 0, 0)
	tick(d, jumped, jumped.Add(21*time.Hour))
	if got, _ := d.Get(i.ID); got.State != Contained {
		t.Fatalf("after 23 hours and a jump of a year: %s", got.State)
	}
	tick(d, jumped.Add(21*time.Hour), jumped.Add(23*time.Hour))
	if got, _ := d.Get(i.ID); got.State != Probation {
		t.Errorf("after 25 hours: %s", got.State)
	}
}

func TestLevelsGoOneStepAtATimeByAPersonsWord(t *testing.T) {
	d := NewDesk(Policy{})
	i := d.Request(noon, device(1), Limit, "web:sato", "").Incident
	if i.Level != Limit {
		t.Fatalf("at %s", i.Level)
	}
	d.Apply(i.ID, Input{Kind: InApplied, At: noon, Level: Limit})
	if i = d.Request(noon, device(1), Isolate, "web:sato", "").Incident; i.Level != Isolate || i.State != Containing {
		t.Fatalf("raised to %s, %s", i.Level, i.State)
	}
	for _, k := range []Kind{InApplied, InProven} {
		d.Apply(i.ID, sample(k))
	}
	silent := sample(InLower)
	silent.Note = ""
	if c, _ := d.Apply(i.ID, silent); c.Incident.Level != Isolate {
		t.Error("lowered without a reason")
	}
	c, _ := d.Apply(i.ID, sample(InLower))
	if i = c.Incident; i.Level != Limit || i.Decision.By != "web:sato" || i.Decision.Why.EN != "note" || c.Commands[0] != (SetLevel{Limit}) {
		t.Fatalf("%s, %+v, %v", i.Level, i.Decision, c.Commands)
	}
	c, _ = d.Apply(i.ID, Input{Kind: InApplied, At: noon, Level: Limit})
	if i = c.Incident; i.State != Contained || i.Proof.Grade != Limited {
		t.Errorf("%s, %+v", i.State, i.Proof)
	}
	c, _ = d.Apply(i.ID, sample(InRelease))
	if c.Incident.State != Contained {
		t.Error("from limit the return gate was passed by")
	}
}
