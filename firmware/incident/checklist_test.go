package incident

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/firmware/detect"
)

func keys(list []Item) (out []string) {
	for _, it := range list {
		out = append(out, it.Key)
	}
	return out
}

func TestTheChecklistFitsWhatWasSeen(t *testing.T) {
	for detector, want := range map[string][]string{
		"":           {"cause", "cleaned", "scanned", "agreed"},
		"worm":       {"cause", "cleaned", "updated", "scanned", "others", "agreed"},
		"rogue_dhcp": {"cause", "settings", "agreed"},
		"smb_ransom": {"cause", "cleaned", "updated", "passwords", "backup", "scanned", "others", "agreed"},
		"beacon":     {"cause", "cleaned", "passwords", "scanned", "agreed"},
		"ioc_match":  {"cause", "cleaned", "scanned", "agreed"},
	} {
		i := Incident{State: Open, Action: Suggest, Asset: device(1)}
		if detector != "" {
			i.Findings = []Observation{{Detector: detector}}
		}
		i, _ = Step(i, sample(InPress))
		if diff := cmp.Diff(want, keys(i.Checklist)); diff != "" {
			t.Errorf("%q: %s", detector, diff)
		}
		for _, it := range i.Checklist {
			if it.Text.EN == "" || it.Text.JA == "" || it.Done() {
				t.Errorf("%q: %+v", detector, it)
			}
		}
	}
}

func TestNewEvidenceAddsToTheChecklistAndLeavesTicksAlone(t *testing.T) {
	i, _ := Step(in(t, Contained), sample(InTick))
	f := sample(InFinding)
	f.Finding.Detector = "smb_ransom"
	i, _ = Step(i, f)
	if !slices.Contains(keys(i.Checklist), "backup") || !i.Checklist[0].Done() {
		t.Errorf("%+v", i.Checklist)
	}
}

func TestAReleaseNamesWhatIsMissing(t *testing.T) {
	i := in(t, Contained)
	for _, it := range i.Missing() {
		refused, c := Step(i, sample(InRelease))
		if last := refused.History[len(refused.History)-1]; refused.State == Probation || len(c) != 0 || !strings.Contains(last.Note, it.Key) {
			t.Fatalf("before %s: %s, %+v", it.Key, refused.State, last)
		}
		tick := sample(InTick)
		tick.Item = it.Key
		i, _ = Step(i, tick)
	}
	if i, _ = Step(i, sample(InRelease)); i.State != Probation {
		t.Errorf("all is done, and yet it is %s", i.State)
	}
}

func TestATickHasANameATimeAndANoteAndCanBeTakenBack(t *testing.T) {
	i, _ := Step(in(t, Contained), sample(InTick))
	want := Item{Key: "cause", Text: items[0].Text, Required: true, At: noon.Add(time.Minute), By: "web:sato", Note: "note"}
	if diff := cmp.Diff(want, i.Checklist[0]); diff != "" {
		t.Error(diff)
	}
	other := sample(InTick)
	other.By, other.Note = "web:suzuki", ""
	if i, _ = Step(i, other); i.Checklist[0].By != "web:sato" {
		t.Errorf("a second tick took the first one's name: %+v", i.Checklist[0])
	}
	lines := len(i.History)
	i, _ = Step(i, sample(InUntick))
	if i.Checklist[0].Done() || len(i.History) != lines+1 || i.History[lines].Input != InUntick || i.History[lines].Note != "cause: note" {
		t.Errorf("%+v, %+v", i.Checklist[0], i.History[lines])
	}
	nonsense := sample(InTick)
	nonsense.Item = "nonsense"
	if i, _ = Step(i, nonsense); !i.History[len(i.History)-1].Refused {
		t.Error("an item that is not there was ticked")
	}
}

func TestADeviceThatIsHeldAnewIsCheckedAnew(t *testing.T) {
	again, _ := Step(in(t, Probation), sample(InRequest))
	if again.State != Containing || len(again.Checklist) == 0 || slices.ContainsFunc(again.Checklist, Item.Done) {
		t.Errorf("%s with the ticks of the time before: %+v", again.State, again.Checklist)
	}
	if next, _ := Step(again, sample(InRelease)); next.State == Probation {
		t.Error("released by what was said before")
	}
	undone, _ := Step(automatic(t, Contained), sample(InTick))
	undone, _ = Step(undone, sample(InUndo))
	if undone.State != Open || !slices.ContainsFunc(undone.Checklist, Item.Done) {
		t.Fatalf("%s: %+v", undone.State, undone.Checklist)
	}
	if again, _ = Step(undone, sample(InPress)); slices.ContainsFunc(again.Checklist, Item.Done) {
		t.Errorf("held after an undo with the ticks of the time before: %+v", again.Checklist)
	}
	raised, _ := Step(in(t, Eradicating), sample(InLower))
	if !slices.ContainsFunc(raised.Checklist, Item.Done) {
		t.Error("another level of the same holding took the ticks")
	}
}

func TestTheUndoOfAReleaseByTimeKeepsTheTicks(t *testing.T) {
	i, _ := Step(automatic(t, Contained), sample(InTick))
	by := sample(InDeadline)
	by.By = ByPolicy
	i, _ = Step(i, by)
	if i, _ = Step(i, sample(InUndo)); i.State != Containing || !slices.ContainsFunc(i.Checklist, Item.Done) {
		t.Errorf("%s: %+v", i.State, i.Checklist)
	}
}

func TestATickDoesNotHideThatTheIsolationFailed(t *testing.T) {
	if i, _ := Step(in(t, ContainFailed), sample(InTick)); i.State != ContainFailed || !i.Checklist[0].Done() {
		t.Errorf("%s, %+v", i.State, i.Checklist[0])
	}
}

func TestFormerIncidentsKeepTheirStepsAndGetAChecklist(t *testing.T) {
	const former = `{"id":"x","state":"eradicating","level":"isolate","asset":{"id":"mac:02:00:00:00:ab:01"},"findings":[{"detector":"worm"}],
		"decision":{"at":"2026-11-23T12:00:00Z","by":"web:sato"},"updated":"2026-11-23T13:00:00Z","steps":["scanned with X","seen by nobody"],
		"history":[{"at":"2026-11-23T12:30:00Z","from":"contained","to":"eradicating","input":"eradicated","by":"web:suzuki","note":"scanned with X"}]}`
	restored := func(text string) Incident {
		var i Incident
		if err := json.Unmarshal([]byte(text), &i); err != nil {
			t.Fatal(err)
		}
		if next, _ := Step(i, sample(InRelease)); next.State == Probation {
			t.Error("without a list there is no gate")
		}
		d := NewDesk(DefaultPolicy())
		d.Restore(noon, []Incident{i})
		i, _ = d.Get(i.ID)
		return i
	}
	i := restored(former)
	if diff := cmp.Diff([]string{"cause", "cleaned", "updated", "scanned", "others", "agreed", "note_1", "note_2"}, keys(i.Checklist)); diff != "" {
		t.Fatal(diff)
	}
	want := Item{Key: "note_1", Text: detect.Text{EN: "scanned with X", JA: "scanned with X"}, At: noon.Add(30 * time.Minute), By: "web:suzuki"}
	if diff := cmp.Diff(want, i.Checklist[6]); diff != "" {
		t.Error(diff)
	}
	if len(i.Missing()) != 5 {
		t.Errorf("missing: %v", keys(i.Missing()))
	}
	if i.Undoable() {
		t.Error("a person's isolation can be undone")
	}
	if auto := restored(strings.Replace(former, "web:sato", ByAuto, 1)); !auto.Undoable() {
		t.Errorf("what policy held before the update cannot be undone: %+v", auto.Automatic)
	}
	again, err := json.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	var back Incident
	if err := json.Unmarshal(again, &back); err != nil || cmp.Diff(i.Checklist, back.Checklist) != "" {
		t.Errorf("%v: the list changes when it is read again: %v", err, keys(back.Checklist))
	}
}

// The store may hold what a former version, a damaged disk or a restored backup
// left there. Whatever it is, it can be stepped on and written again.
func FuzzAStoredIncidentIsReadAndSteppedWithoutPanic(f *testing.F) {
	for _, s := range States() {
		f.Add([]byte(`{"id":"x","state":"` + string(s) + `","level":"isolate","steps":["a","a",""],"history":[{"input":"eradicated","note":"a"}],"decision":{"by":"auto"},"automatic":{"kind":"deadline","known":{"search":"high"}}}`))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var i Incident
		if json.Unmarshal(text, &i) != nil {
			return
		}
		d := NewDesk(DefaultPolicy())
		d.Restore(noon, []Incident{i})
		for _, k := range Kinds() {
			d.Apply(i.ID, sample(k)) //nolint:errcheck // an empty desk is fine
			if _, err := json.Marshal(d.Incidents()); err != nil && !strings.Contains(err.Error(), "Time.MarshalJSON") {
				t.Fatal(err)
			}
		}
		at := noon.Add(time.Hour)
		d.Observe(at, found(at, "worm", detect.High), device(1), 50)
		d.Advance(at.AddDate(1, 0, 0))
	})
}
