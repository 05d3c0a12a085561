package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var when = time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC)

func entry(i int) Entry {
	return Entry{Time: when, Actor: "gateway", Action: "isolate", Subject: fmt.Sprint("host ", i), Detail: map[string]any{"b": "<&>", "a": "隔離"}}
}

func open(t *testing.T, dir string) (*Ledger, error) {
	t.Helper()
	k, err := LoadOrCreateKey(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(filepath.Join(dir, "ledger"), Config{Key: k})
	if err == nil {
		t.Cleanup(func() { _ = l.Close() })
	}
	return l, err
}

// filled is a closed ledger of n entries.
func filled(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	l, err := open(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if at, err := l.Append(entry(i)); err != nil || at != int64(i) {
			t.Fatalf("append %d: %d, %v", i, at, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestEveryEntryIsProvenAndTheLogOnlyGrows(t *testing.T) {
	dir := filled(t, 7)
	l, err := open(t, dir)
	if err != nil || l.Size() != 7 || l.Repaired() != 0 {
		t.Fatalf("reopen: %v", err)
	}
	v := l.Key().Verifier()
	signed, _ := l.Checkpoint()
	old, err := ParseCheckpoint(signed, v)
	if err != nil {
		t.Fatal(err)
	}
	for i := 7; i < 12; i++ {
		if _, err := l.Append(entry(i)); err != nil {
			t.Fatal(err)
		}
	}
	signed, _ = l.Checkpoint()
	now, _ := ParseCheckpoint(signed, v)
	lines, err := l.Lines(0, 12)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range lines {
		p, err := l.Prove(int64(i), now.Size)
		if err != nil || CheckInclusion(p, now, int64(i), line) != nil {
			t.Errorf("entry %d: %v", i, err)
		}
		if CheckInclusion(p, now, int64(i), append([]byte(" "), line...)) == nil {
			t.Errorf("entry %d: another line was accepted", i)
		}
	}
	proof, err := l.ProveConsistency(old.Size)
	if err != nil || CheckConsistency(proof, now, old) != nil {
		t.Errorf("consistency: %v", err)
	}
	old.Root[0] ^= 1
	if err := CheckConsistency(proof, now, old); !errors.Is(err, ErrTampered) {
		t.Errorf("rewritten history: %v", err)
	}
	es, err := l.Entries(3, 4)
	if err != nil || es[0].Subject != "host 3" || es[0].Detail["a"] != "隔離" {
		t.Errorf("entries %+v, %v", es, err)
	}
}

func TestEveryChangedByteIsNoticedAtOpenAndTheFileKept(t *testing.T) {
	dir := filled(t, 3)
	for _, name := range []string{entriesFile, checkpointFile} {
		path := filepath.Join(dir, "ledger", name)
		good, _ := os.ReadFile(path)
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 1
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := open(t, dir); !errors.Is(err, ErrTampered) {
				t.Fatalf("%s byte %d: %v", name, i, err)
			}
			if now, _ := os.ReadFile(path); !bytes.Equal(now, bad) {
				t.Fatalf("%s byte %d: the evidence was changed", name, i)
			}
		}
		for cut := range good {
			_ = os.WriteFile(path, good[:cut], 0o644)
			if _, err := open(t, dir); !errors.Is(err, ErrTampered) {
				t.Fatalf("%s cut to %d: %v", name, cut, err)
			}
		}
		_ = os.Remove(path)
		if _, err := open(t, dir); !errors.Is(err, ErrTampered) {
			t.Fatalf("%s removed: %v", name, err)
		}
		_ = os.WriteFile(path, good, 0o644)
	}
	if _, err := open(t, dir); err != nil {
		t.Fatalf("the restored ledger: %v", err)
	}
}

func TestAPowerCutKeepsEverythingAcknowledged(t *testing.T) {
	for _, step := range []string{"write", "sync", "checkpoint", "acknowledge"} {
		dir := filled(t, 2)
		l, err := open(t, dir)
		if err != nil {
			t.Fatal(err)
		}
		l.failing = func(s string) error {
			if s == step {
				return errors.New("power")
			}
			return nil
		}
		if _, err := l.Append(entry(2)); err == nil {
			t.Fatalf("%s: acknowledged", step)
		}
		if _, err := l.Append(entry(3)); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: append after a failure: %v", step, err)
		}
		if l.Size() != 2 {
			t.Errorf("%s: counts %d entries, 2 were acknowledged", step, l.Size())
		}
		_ = l.Close()
		again, err := open(t, dir)
		if err != nil || again.Size() < 2 {
			t.Fatalf("%s: reopen: %v", step, err)
		}
		if _, err := again.Append(entry(9)); err != nil {
			t.Errorf("%s: append: %v", step, err)
		}
	}
}

func TestATornRecordIsCutOffButMoreIsRefused(t *testing.T) {
	dir := filled(t, 2)
	path := filepath.Join(dir, "ledger", entriesFile)
	good, _ := os.ReadFile(path)
	line, _ := entry(2).Line()
	for cut := 1; cut <= len(line); cut++ {
		_ = os.WriteFile(path, append(bytes.Clone(good), line[:cut]...), 0o644)
		l, err := open(t, dir)
		if err != nil || l.Size() != 2 || l.Repaired() != int64(cut) {
			t.Fatalf("torn at %d: %v", cut, err)
		}
	}
	_ = os.WriteFile(path, append(append(bytes.Clone(good), line...), line...), 0o644)
	if _, err := open(t, dir); !errors.Is(err, ErrTampered) {
		t.Errorf("two unsigned entries: %v", err)
	}
}

func TestTheKeyIsPrivateAndStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "key")
	k, err := LoadOrCreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateKey(path)
	if err != nil || again.Public() != k.Public() || len(k.Fingerprint()) != 39 {
		t.Errorf("again %v, %v", again, err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	_ = os.Chmod(path, 0o644)
	if _, err := LoadOrCreateKey(path); err == nil {
		t.Error("a key that others may read was taken")
	}
	_ = os.Chmod(path, 0o600)
	_ = os.WriteFile(path, []byte("damaged"), 0o600)
	if _, err := LoadOrCreateKey(path); err == nil {
		t.Error("a damaged key was replaced")
	}
}

func FuzzEntriesHaveOneSpelling(f *testing.F) {
	line, _ := entry(1).Line()
	f.Add(line)
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := ParseEntry(data); err == nil {
			if again, _ := e.Line(); !bytes.Equal(again, data) {
				t.Fatalf("%q became %q", data, again)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	k, err := LoadOrCreateKey(filepath.Join(b.TempDir(), "key"))
	if err != nil {
		b.Fatal(err)
	}
	l, err := Open(b.TempDir(), Config{Key: k})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := l.Append(entry(1)); err != nil {
			b.Fatal(err)
		}
	}
}
