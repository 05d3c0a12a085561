package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func probe(err *error) func(context.Context) error {
	return func(context.Context) error { return *err }
}

func mustNew(t *testing.T, now func() time.Time, checks ...Check) *Tree {
	t.Helper()
	tree, err := New(now, 20*time.Millisecond, checks...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func clock() time.Time { return noon }

func TestAChildNamesTheDependencyAndIsNotRun(t *testing.T) {
	var disk, fine error = errors.New("no space"), nil
	ran := false
	tree := mustNew(t, clock,
		Check{Name: "bundle", Needs: []string{"spool"}, Probe: func(context.Context) error { ran = true; return nil }},
		Check{Name: "spool", Needs: []string{"disk"}, Probe: probe(&fine)},
		Check{Name: "disk", Probe: probe(&disk), Help: Text{"Call.", "連絡してください。"}})
	r := tree.Run(context.Background())
	var got []string
	for _, res := range r.Results {
		got = append(got, res.Name+" "+string(res.Status)+" "+res.Cause+": "+cmp.Or(res.Detail, res.Text.EN))
	}
	want := "disk failed : no space|spool blocked disk: dependency disk failed|bundle blocked disk: dependency spool failed"
	if strings.Join(got, "|") != want || ran {
		t.Errorf("got %q, ran %v", got, ran)
	}
	if w := r.Warnings(); len(w) != 1 || w[0].Name != "disk" || w[0].Help.JA == "" || w[0].Text.JA == "" {
		t.Errorf("the cause is not named once: %+v", w)
	}
}

func TestReadyWaitsForVitalChecksAlone(t *testing.T) {
	var vital, other error
	tree := mustNew(t, clock, Check{Name: "capture", Vital: true, Probe: probe(&vital)}, Check{Name: "mail", Probe: probe(&other)})
	if (Report{}).Ready() {
		t.Error("ready before anything was looked at")
	}
	other = errors.New("down")
	if !tree.Run(context.Background()).Ready() {
		t.Error("mail held the watchdog back")
	}
	vital = errors.New("down")
	if tree.Run(context.Background()).Ready() {
		t.Error("ready without capture")
	}
}

func TestAVitalCheckThatIsBlockedIsNotReady(t *testing.T) {
	fail, fine := errors.New("down"), error(nil)
	tree := mustNew(t, clock, Check{Name: "a", Probe: probe(&fail)}, Check{Name: "b", Needs: []string{"a"}, Vital: true, Probe: probe(&fine)})
	if tree.Run(context.Background()).Ready() {
		t.Error("ready although a vital check could not be made")
	}
}

func TestSinceIsTheTimeOfTheChange(t *testing.T) {
	now, err := noon, error(nil)
	tree := mustNew(t, func() time.Time { return now }, Check{Name: "a", Probe: probe(&err)})
	since := func() time.Time { return tree.Run(context.Background()).Results[0].Since }
	since()
	now = noon.Add(time.Minute)
	if !since().Equal(noon) {
		t.Error("nothing changed, yet since moved")
	}
	err = errors.New("down")
	if !since().Equal(now) {
		t.Error("it changed, yet since stayed")
	}
}

func TestAProbeThatHangsOrPanicsFails(t *testing.T) {
	var started atomic.Int32
	release := make(chan struct{})
	defer close(release)
	tree := mustNew(t, clock,
		Check{Name: "stuck", Probe: func(context.Context) error { started.Add(1); <-release; return nil }},
		Check{Name: "panics", Probe: func(context.Context) error { panic("oh") }})
	for range 2 {
		for _, res := range tree.Run(context.Background()).Results {
			if res.Status != Failed {
				t.Errorf("%s is %s", res.Name, res.Status)
			}
		}
	}
	if n := started.Load(); n != 1 {
		t.Errorf("a stuck probe was started %d times", n)
	}
}

func TestWhatTheSystemSaysIsNoSentenceForPeople(t *testing.T) {
	system := errors.New("open /mnt: no such file or directory")
	gone := &Problem{Text{"The disk is not there.", "ディスクが見つかりません。"}, system}
	full := &Problem{Text: Text{"It is full.", "空きがありません。"}}
	for name, c := range map[string]struct {
		err        error
		en, detail string
	}{
		"a system's error":         {system, "It does not work at the moment.", system.Error()},
		"a problem":                {gone, "The disk is not there.", system.Error()},
		"a problem of words alone": {full, "It is full.", ""},
		"a part's problem":         {fmt.Errorf("spool: %w", gone), "The disk is not there.", "spool: " + system.Error()},
		"several": {
			errors.Join(fmt.Errorf("a: %w", gone), errors.New("b: EIO"), fmt.Errorf("c: %w", full)),
			"The disk is not there. It is full.", "a: " + system.Error() + "\nb: EIO\nc: It is full.",
		},
	} {
		res := mustNew(t, clock, Check{Name: "a", Probe: probe(&c.err)}).Run(context.Background()).Results[0]
		if res.Text.EN != c.en || res.Detail != c.detail {
			t.Errorf("%s: %q, detail %q", name, res.Text.EN, res.Detail)
		}
		if res.Text.JA == "" || strings.ContainsAny(res.Text.JA, "abcdefghijklmnopqrstuvwxyz") {
			t.Errorf("%s: in Japanese %q", name, res.Text.JA)
		}
		if !errors.Is(gone, system) {
			t.Error("what is behind it is lost")
		}
	}
}

func TestABrokenTreeIsAnError(t *testing.T) {
	ok := func(context.Context) error { return nil }
	for name, checks := range map[string][]Check{
		"circle":  {{Name: "a", Needs: []string{"b"}, Probe: ok}, {Name: "b", Needs: []string{"a"}, Probe: ok}},
		"unknown": {{Name: "a", Needs: []string{"b"}, Probe: ok}},
		"twice":   {{Name: "a", Probe: ok}, {Name: "a", Probe: ok}},
		"nil":     {{Name: "a"}},
	} {
		if _, err := New(clock, 0, checks...); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := New(nil, 0); err == nil {
		t.Error("no clock was accepted")
	}
}
