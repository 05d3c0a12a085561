package offsite

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
)

func japanese(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.In(r, unicode.Hiragana, unicode.Katakana) })
}

func TestEveryKnownErrorSaysWhatToDoInBothLanguages(t *testing.T) {
	seen := map[string]bool{}
	for _, err := range []error{ErrRemoved, ErrReadOnly, ErrFull, ErrTooLarge, ErrConflict, ErrSource, ErrDamaged, ErrNoLock, ErrDenied,
		ErrIdentity, ErrName, ErrNoAddress, errDown} {
		p := explain(fmt.Errorf("copy x: %w", err))
		for _, text := range []Text{p.What, p.Help} {
			if text.EN == "" || !japanese(text.JA) || japanese(text.EN) {
				t.Errorf("%v: %+v", err, text)
			}
		}
		if seen[p.What.EN] || !strings.Contains(p.Detail, err.Error()) {
			t.Errorf("%v is told as something else: %+v", err, p)
		}
		seen[p.What.EN] = true
	}
}

func TestTheStateIsSaidInWords(t *testing.T) {
	for want, s := range map[string]Status{
		"Do not pull it out":             {Kind: KindUSB, State: Copying, Current: &Progress{Done: 1, Total: 2}},
		"50 %":                           {Kind: KindS3, State: Copying, Current: &Progress{Done: 1, Total: 2}},
		"are on no stick yet: 3":         {Kind: KindUSB, State: Away, Waiting: 3},
		"none is needed":                 {Kind: KindUSB, State: Away},
		"You can pull it out now":        {Kind: KindUSB, State: Idle, Unplug: true},
		"may be pulled out":              {Kind: KindUSB, State: Idle, Unplug: true, Waiting: 1},
		"wait to be copied: 3":           {Kind: KindSFTP, State: Waiting, Waiting: 3},
		"Everything is copied":           {Kind: KindSFTP, State: Idle},
		"Not reached yet":                {Kind: KindSFTP, State: Away},
		"The stick could not be written": {Kind: KindUSB, State: Waiting, Unplug: true},
	} {
		if got := s.words(); !strings.Contains(got.EN, want) || !japanese(got.JA) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAStickMayBePulledOutOnlyWhenNothingIsOnItsWay(t *testing.T) {
	b, f := newBox(map[string]int{"inc-1": 100}), newFake("stick a")
	m := fakeMover(t, t.TempDir(), b, f, newClock())
	var during []Status
	f.failWith(func(string) error { during = append(during, m.Status()[0]); return nil })
	if s := drain(t, m); !s.Unplug {
		t.Errorf("at the end: %+v", s)
	}
	if len(during) != 3 {
		t.Fatalf("%d files were copied", len(during))
	}
	for _, s := range during {
		if s.Unplug || s.State != Copying || s.Current == nil {
			t.Errorf("while copying: %+v", s)
		}
	}
}
