package ledger

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

func mustOpen(t *testing.T, dir string) *Ledger {
	t.Helper()
	l, err := open(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// redacted is a closed ledger of n entries of which some are redacted.
func redacted(t *testing.T, n int, which ...int64) string {
	t.Helper()
	dir := filled(t, n)
	l := mustOpen(t, dir)
	if err := l.Redact(which, "web:owner", "asked for"); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func entriesOf(t *testing.T, dir string) (path string, data []byte) {
	t.Helper()
	path = filepath.Join(dir, "ledger", entriesFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, data
}

func checkpoint(t *testing.T, l *Ledger) Checkpoint {
	t.Helper()
	signed, err := l.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCheckpoint(signed, l.Key().Verifier())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestARedactedTextIsGoneAndEveryProofHolds(t *testing.T) {
	dir := filled(t, 7)
	l := mustOpen(t, dir)
	old := checkpoint(t, l)
	if err := l.Redact([]int64{5, 2, 5}, "web:owner", "asked for"); err != nil {
		t.Fatal(err)
	}
	if at, err := l.Append(entry(8)); err != nil || at != 8 { // the order is 7
		t.Fatalf("append: %d, %v", at, err)
	}
	for range 2 { // as it is, and opened again
		if _, data := entriesOf(t, dir); bytes.Contains(data, []byte("host 2")) || bytes.Contains(data, []byte("host 5")) {
			t.Fatal("the text is still there")
		}
		now := checkpoint(t, l)
		lines, err := l.Lines(0, l.Size())
		if err != nil {
			t.Fatal(err)
		}
		var records []Record
		for i, line := range lines {
			p, err := l.Prove(int64(i), now.Size)
			if err != nil {
				t.Fatal(err)
			}
			r, err := CheckRecord(p, now, int64(i), line)
			if err != nil || r.Redacted != (i == 2 || i == 5) {
				t.Errorf("record %d: %+v, %v", i, r, err)
			}
			records = append(records, r)
		}
		if err := CheckRedactions(records); err != nil {
			t.Error(err)
		}
		if err := CheckRedactions(records[:7]); !errors.Is(err, ErrTampered) {
			t.Errorf("without the order: %v", err)
		}
		proof, err := l.ProveConsistency(old.Size)
		if err != nil || CheckConsistency(proof, now, old) != nil {
			t.Errorf("the checkpoint from before: %v", err)
		}
		es, err := l.Entries(1, 4)
		if err != nil || es[0].Subject != "host 1" || es[1].Action != ActionRedacted || es[1].Subject != "" || es[2].Subject != "host 3" {
			t.Errorf("entries %+v, %v", es, err)
		}
		_ = l.Close()
		l = mustOpen(t, dir)
	}
	if err := l.Redact([]int64{2, 5}, "web:owner", "again"); err != nil || l.Size() != 9 {
		t.Errorf("again: %v, %d entries", err, l.Size())
	}
}

func TestOnlyEntriesThatAreThereCanBeRedactedAndNoOrders(t *testing.T) {
	l := mustOpen(t, redacted(t, 3, 1))
	for _, i := range []int64{-1, 3, 4} {
		if err := l.Redact([]int64{0, i}, "web:owner", ""); err == nil || l.Size() != 4 {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	if err := l.Redact([]int64{0}, "", "nobody"); err == nil {
		t.Error("nobody ordered it")
	}
	for _, action := range []string{ActionRedact, ActionRedacted} {
		if _, err := l.Append(Entry{Time: when, Action: action, Detail: map[string]any{"entries": []int64{0}}}); err == nil {
			t.Errorf("%s was appended", action)
		}
	}
}

func TestTheLongestOrderFitsIntoALine(t *testing.T) {
	e := Entry{Action: ActionRedact, Detail: map[string]any{
		"entries": slices.Repeat([]int64{1 << 62}, orderEntries), "reason": strings.Repeat("\x01", maxReason)}}
	if _, err := e.Line(); err != nil {
		t.Error(err)
	}
}

// The attacker may write the folder and has no key.
func TestARedactionThatNobodyOrderedIsNoticed(t *testing.T) {
	dir := redacted(t, 4, 1) // the order is entry 4
	path, good := entriesOf(t, dir)
	lines := bytes.SplitAfter(good, []byte("\n"))
	for name, forged := range map[string]struct {
		at   int
		hash tlog.Hash
		by   int64
	}{
		"by the order for another":   {2, tlog.RecordHash(lines[2]), 4},
		"by no order":                {2, tlog.RecordHash(lines[2]), 3},
		"by itself":                  {2, tlog.RecordHash(lines[2]), 2},
		"by an entry to come":        {2, tlog.RecordHash(lines[2]), 9},
		"ordered, with another hash": {1, tlog.RecordHash(lines[2]), 4},
		"of the order itself":        {4, tlog.RecordHash(lines[4]), 4},
	} {
		bad := slices.Clone(lines)
		bad[forged.at], _ = redaction{forged.hash, forged.by}.line()
		if err := os.WriteFile(path, bytes.Join(bad, nil), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, dir); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		_ = os.WriteFile(path, bad, 0o644)
		if _, err := open(t, dir); !errors.Is(err, ErrTampered) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	_ = os.WriteFile(path, good, 0o644)
	mustOpen(t, dir)
}

func TestARedactionForgedWhileTheLedgerIsOpenIsNoticed(t *testing.T) {
	dir := filled(t, 3)
	l := mustOpen(t, dir)
	path, good := entriesOf(t, dir)
	lines := bytes.SplitAfter(good, []byte("\n"))
	forged, _ := redaction{tlog.RecordHash(lines[2]), 1}.line()
	if err := os.WriteFile(path, append(bytes.Join(lines[:2], nil), append(forged, make([]byte, len(lines[2])-len(forged))...)...), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Lines(2, 3); !errors.Is(err, ErrTampered) {
		t.Errorf("lines: %v", err)
	}
	if err := l.Redact([]int64{0}, "web:owner", ""); !errors.Is(err, ErrTampered) {
		t.Errorf("redact copied what was changed: %v", err)
	}
}

func TestAPowerCutWhileRedactingLeavesAllOrNothing(t *testing.T) {
	for _, step := range []string{"write", "sync", "checkpoint", "acknowledge", "redact", "publish", "published"} {
		dir := filled(t, 3)
		l := mustOpen(t, dir)
		l.failing = func(s string) error {
			if s == step {
				return errors.New("power")
			}
			return nil
		}
		if err := l.Redact([]int64{1}, "web:owner", "asked for"); err == nil {
			t.Fatalf("%s: acknowledged", step)
		}
		_ = l.Close()
		l = mustOpen(t, dir)
		_, data := entriesOf(t, dir)
		ordered, gone := l.Size() == 4, !bytes.Contains(data, []byte("host 1"))
		if ordered != gone {
			t.Errorf("%s: ordered %v, gone %v", step, ordered, gone)
		}
		if err := l.Redact([]int64{1}, "web:owner", "asked for"); err != nil || l.Size() != 4 {
			t.Errorf("%s: repeated: %v, %d entries", step, err, l.Size())
		}
		if _, err := l.Append(entry(9)); err != nil {
			t.Errorf("%s: append: %v", step, err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "ledger", "*"+halfSuffix)); len(left) > 0 {
			t.Errorf("%s: left %v", step, left)
		}
		_ = l.Close()
		if l := mustOpen(t, dir); l.Size() != 5 {
			t.Errorf("%s: %d entries", step, l.Size())
		}
	}
}

func TestARedactionThatTheDiskDidNotTakeIsRepeatedAndAppendingGoesOn(t *testing.T) {
	dir := filled(t, 2)
	l := mustOpen(t, dir)
	obstacle := filepath.Join(dir, "ledger", entriesFile+halfSuffix, "in the way")
	if err := os.MkdirAll(obstacle, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := l.Redact([]int64{0}, "web:owner", ""); err == nil {
		t.Fatal("acknowledged")
	}
	if _, err := l.Append(entry(3)); err != nil {
		t.Errorf("append: %v", err)
	}
	_ = l.Close()
	l = mustOpen(t, dir) // still in the way
	if _, data := entriesOf(t, dir); !bytes.Contains(data, []byte("host 0")) {
		t.Fatal("the test shows nothing")
	}
	if err := os.RemoveAll(filepath.Dir(obstacle)); err != nil {
		t.Fatal(err)
	}
	if err := l.Redact([]int64{0}, "web:owner", ""); err != nil || l.Size() != 4 {
		t.Errorf("repeated: %v, %d entries", err, l.Size())
	}
	if _, data := entriesOf(t, dir); bytes.Contains(data, []byte("host 0")) {
		t.Error("the text is still there")
	}
}

func TestReadersAndWritersGoOnWhileEntriesAreRedacted(t *testing.T) {
	l := mustOpen(t, filled(t, 8))
	var work sync.WaitGroup
	for i := range int64(8) {
		work.Go(func() {
			if err := l.Redact([]int64{i}, "web:owner", ""); err != nil {
				t.Error(err)
			}
		})
		work.Go(func() {
			if _, err := l.Lines(0, 8); err != nil {
				t.Error(err)
			}
		})
		work.Go(func() {
			if _, err := l.Append(entry(int(i))); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if l.Size() != 24 {
		t.Errorf("%d entries", l.Size())
	}
}

func FuzzRecordsHaveOneSpelling(f *testing.F) {
	plain, _ := entry(1).Line()
	stand, _ := redaction{tlog.RecordHash(plain), 7}.line()
	f.Add(plain)
	f.Add(stand)
	f.Add([]byte(`{"redacted":"","by":-1}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRecord(0, data)
		if err != nil {
			return
		}
		again, err := r.Entry.Line()
		if r.Redacted {
			again, err = redaction{r.hash, r.By}.line()
		} else if r.hash != tlog.RecordHash(data) {
			t.Fatalf("%q has another hash", data)
		}
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%q became %q, %v", data, again, err)
		}
	})
}
