package incident

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/detect"
)

// lesson tests use medium findings: a high one would be ordered at once.
func suspicion(at time.Time, detector string, c detect.Confidence) detect.Finding {
	score := map[detect.Confidence]float64{detect.Low: 0.6, detect.Medium: 0.85, detect.High: 0.99}[c]
	return detect.Finding{Time: at, First: at, Last: at, Detector: detector, Score: score, Confidence: c, Host: detect.Host{MAC: device(1).MAC}}
}

func say(t *testing.T, d *Desk, at time.Time, detector string, c detect.Confidence) Incident {
	t.Helper()
	return d.Observe(at, suspicion(at, detector, c), device(1), 50)[0].Incident
}

func deed(t *testing.T, d *Desk, id string, k Kind, at time.Time) Incident {
	t.Helper()
	c, err := d.Apply(id, Input{Kind: k, At: at, By: "web:sato", Note: "checked", Level: Isolate, Proof: Proof{Grade: Proven}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Incident.History); c.Incident.History[n-1].Refused {
		t.Fatalf("%s refused: %s", k, c.Incident.History[n-1].Note)
	}
	return c.Incident
}

func TestADismissedPatternStaysQuietOnThatDeviceAlone(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	i := say(t, d, noon, "host_scan", detect.Medium)
	if !i.Waiting() {
		t.Fatalf("action %s", i.Action)
	}
	deed(t, d, i.ID, InDismiss, noon.Add(time.Minute))
	later := noon.Add(30 * 24 * time.Hour)
	d.Advance(later)
	again := say(t, d, later, "host_scan", detect.Medium)
	if again.Waiting() || !strings.Contains(again.Why.EN, "sato called this harmless on 2026-") {
		t.Errorf("a month later: action %s, %q", again.Action, again.Why.EN)
	}
	if other := say(t, d, later, "port_scan", detect.Medium); !other.Waiting() {
		t.Error("another pattern on the device is quiet too")
	}
	f := suspicion(later, "host_scan", detect.Medium)
	f.Host.MAC = device(2).MAC
	if c := d.Observe(later, f, device(2), 50); !c[0].Incident.Waiting() {
		t.Error("the same pattern on another device is quiet too")
	}
}

func TestWhatIsMuchWorseThanWhatWasDismissedIsAskedAboutAndNeverActedOn(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	i := say(t, d, noon, "worm", detect.Medium)
	deed(t, d, i.ID, InDismiss, noon)
	if i = say(t, d, noon.Add(time.Hour), "worm", detect.High); i.State != Containing {
		t.Errorf("dismissed at medium, now high: %s %s", i.State, i.Action)
	}
	d = NewDesk(DefaultPolicy())
	p := d.policy
	p.AutoIsolate = false
	d.policy = p
	i = say(t, d, noon, "worm", detect.High)
	deed(t, d, i.ID, InDismiss, noon)
	d.policy.AutoIsolate = true
	if i = say(t, d, noon.Add(time.Hour), "worm", detect.High); i.State != Open || !i.Waiting() {
		t.Errorf("dismissed at high, and again: %s %s; a person has to be asked", i.State, i.Action)
	}
}

func TestALessonIsTakenBackInOneStep(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	first := say(t, d, noon, "host_scan", detect.Medium)
	deed(t, d, first.ID, InDismiss, noon)
	got := deed(t, d, first.ID, InUnteach, noon.Add(time.Hour))
	if got.State != Dismissed || got.Lesson.Holds() || got.Lesson.UndoneBy != "web:sato" {
		t.Errorf("%s, lesson %+v", got.State, got.Lesson)
	}
	if i := say(t, d, noon.Add(2*time.Hour), "host_scan", detect.Medium); !i.Waiting() {
		t.Error("still quiet")
	}
}

func TestLessonsOutliveARestartAndEndWhenTheyAreOld(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	i := say(t, d, noon, "host_scan", detect.Medium)
	kept := deed(t, d, i.ID, InDismiss, noon)
	d = NewDesk(DefaultPolicy())
	d.Restore(noon.Add(time.Hour), []Incident{kept})
	if i := say(t, d, noon.Add(2*time.Hour), "host_scan", detect.Medium); i.Waiting() {
		t.Error("forgotten by the restart")
	}
	old := noon.Add(91 * 24 * time.Hour)
	d.Advance(old)
	d = NewDesk(DefaultPolicy())
	d.Restore(old, []Incident{kept})
	d.Advance(old)
	if i := say(t, d, old, "host_scan", detect.Medium); !i.Waiting() {
		t.Error("quiet for ever")
	}
}

func TestAConfirmedPatternWeighsMoreTheNextTime(t *testing.T) {
	d := NewDesk(Policy{})
	i := say(t, d, noon, "beacon", detect.Medium)
	plain := i.Score
	for _, k := range []Kind{InRequest, InApplied, InProven} {
		i = deed(t, d, i.ID, k, noon.Add(time.Minute))
	}
	i = letGo(d, i.ID, noon.Add(2*time.Minute))
	if i.Lesson.Kind != Confirmed {
		t.Fatalf("lesson %+v", i.Lesson)
	}
	deed(t, d, i.ID, InExpired, noon.Add(80*time.Hour))
	i = say(t, d, noon.Add(100*time.Hour), "beacon", detect.Medium)
	if i.Score <= plain || i.Confidence != detect.Medium || !strings.Contains(i.Why.EN, "was confirmed on this device") {
		t.Errorf("score %.3f after %.3f, %s, %q", i.Score, plain, i.Confidence, i.Why.EN)
	}
}

func TestWhatPolicyEndsTeachesNothing(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	i := say(t, d, noon, "host_scan", detect.Medium)
	next, _ := Step(i, Input{Kind: InDeadline, At: noon, By: ByPolicy, crowded: true})
	if next.State != Dismissed || next.Lesson.Holds() {
		t.Errorf("%s, lesson %+v", next.State, next.Lesson)
	}
	if refused, _ := Step(next, Input{Kind: InUnteach, At: noon, By: "web:sato"}); !refused.History[len(refused.History)-1].Refused {
		t.Error("there was nothing to take back")
	}
}

// falseAlarm has device 1 held for a scan, by policy or by a person, and let go as
// harmless an hour later.
func falseAlarm(t *testing.T, by Kind) (*Desk, Incident) {
	t.Helper()
	d := NewDesk(Policy{AutoIsolate: by == InAuto})
	band := map[bool]detect.Confidence{true: detect.High, false: detect.Medium}[by == InAuto]
	i := say(t, d, noon, "host_scan", band)
	if by == InRequest {
		i = deed(t, d, i.ID, InRequest, noon)
	}
	for _, k := range []Kind{InApplied, InProven} {
		i = deed(t, d, i.ID, k, noon.Add(time.Second))
	}
	at := noon.Add(time.Hour)
	if by == InRequest {
		if _, err := d.Apply(i.ID, Input{Kind: InTick, At: at, By: "web:boss", Item: agreed}); err != nil {
			t.Fatal(err)
		}
	}
	return d, deed(t, d, i.ID, InDismiss, at)
}

func TestWhatAPersonStoppedIsNotLetGoAsHarmlessUnasked(t *testing.T) {
	d := NewDesk(Policy{})
	i := say(t, d, noon, "host_scan", detect.Medium)
	for _, k := range []Kind{InRequest, InApplied, InProven} {
		i = deed(t, d, i.ID, k, noon)
	}
	c, _ := d.Apply(i.ID, sample(InDismiss))
	if last := c.Incident.History[len(c.Incident.History)-1]; c.Incident.State != Contained || !last.Refused || !strings.Contains(last.Note, agreed) {
		t.Errorf("%s, %+v", c.Incident.State, last)
	}
	if got := keys(i.Unasked()); len(got) != 1 || got[0] != agreed {
		t.Errorf("asks for %v", got)
	}
}

func TestAHeldDeviceThatWasHarmlessIsWatchedBeforeItIsOver(t *testing.T) {
	for _, by := range []Kind{InAuto, InRequest} {
		d, i := falseAlarm(t, by)
		if i.State != Probation || i.Lesson.Kind != Harmless || i.Lesson.By != "web:sato" || i.Until.IsZero() {
			t.Errorf("held by %s: %s until %s, %+v", by, i.State, i.Until, i.Lesson)
		}
		if i = last(d.Advance(i.Until.Add(time.Second))); i.State != Closed || i.Lesson.Kind != Harmless {
			t.Errorf("held by %s: %s, %+v", by, i.State, i.Lesson)
		}
	}
}

func TestTheSameIsQuietWhileAFalseAlarmIsWatchedAndAnythingElseIsNot(t *testing.T) {
	d, i := falseAlarm(t, InAuto)
	at := noon.Add(2 * time.Hour)
	if got := say(t, d, at, "host_scan", detect.Medium); got.ID != i.ID || got.State != Probation {
		t.Errorf("what was called harmless: %s", got.State)
	}
	// A detector that a watched device sets off for the first time is no part of
	// what the person spoke about, neither now nor the next time.
	say(t, d, at, "arp_scan", detect.Low)
	if got, _ := d.Get(i.ID); got.State != Probation || len(got.Findings) != 2 || got.Lesson.About("arp_scan") {
		t.Fatalf("%s, %d findings, %+v", got.State, len(got.Findings), got.Lesson)
	}
	next := last(d.Observe(at.Add(time.Minute), suspicion(at.Add(time.Minute), "arp_scan", detect.Medium), device(1), 50))
	if !next.Waiting() || next.Previous != i.ID {
		t.Errorf("what nobody has spoken about: %s %s", next.State, next.Action)
	}
}

func TestAFalseAlarmHasNoRelapse(t *testing.T) {
	d, i := falseAlarm(t, InAuto)
	at := noon.Add(2 * time.Hour)
	next := last(d.Observe(at, suspicion(at, "host_scan", detect.High), device(1), 50))
	if next.State != Open || !next.Waiting() || next.Previous != i.ID {
		t.Errorf("%s %s: %s", next.State, next.Action, next.Why.EN)
	}
	taken, err := d.Apply(i.ID, Input{Kind: InUnteach, At: at, By: "web:sato", Note: "it was one after all"})
	if err != nil || taken.Incident.Lesson.Holds() {
		t.Fatalf("%+v, %v", taken.Incident.Lesson, err)
	}
}

func TestASecondThoughtInProbationDoesNotEndTheWatch(t *testing.T) {
	i := in(t, Probation)
	got, _ := Step(i, sample(InDismiss))
	if got.State != Probation || got.Lesson.Kind != Harmless || !got.Until.Equal(i.Until) || !got.Since.Equal(i.Since) {
		t.Errorf("%s until %s since %s, %+v", got.State, got.Until, got.Since, got.Lesson)
	}
}

func TestARecordOfAFormerVersionIsAboutAllThatItHas(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	old := Incident{ID: "old", State: Dismissed, Asset: device(1), Confidence: detect.Medium, Updated: noon,
		Findings: []Observation{{Detector: "host_scan"}}, Lesson: Lesson{Kind: Harmless, At: noon, By: "web:sato"}}
	d.Restore(noon, []Incident{old})
	if i := say(t, d, noon.Add(time.Hour), "host_scan", detect.Medium); i.Waiting() {
		t.Error("forgotten by the update")
	}
}

func TestLessonsAreBounded(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	for n := range maxLessons + 50 {
		d.learn(Incident{ID: fmt.Sprintf("%04d", n), Asset: device(byte(n)), Lesson: Lesson{Kind: Harmless, At: noon.Add(time.Duration(n) * time.Second)}})
	}
	if _, there := d.lessons["0000"]; there || len(d.lessons) != maxLessons {
		t.Errorf("%d lessons, the oldest there: %t", len(d.lessons), there)
	}
}
