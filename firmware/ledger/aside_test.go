package ledger

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func openAside(t *testing.T, dir string) (*Ledger, string) {
	t.Helper()
	k, err := LoadOrCreateKey(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	l, aside, err := OpenAside(filepath.Join(dir, "ledger"), Config{Key: k, Now: func() time.Time { return when }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, aside
}

func TestASoundLedgerIsNotPutAside(t *testing.T) {
	dir := filled(t, 2)
	if l, aside := openAside(t, dir); aside != "" || l.Size() != 2 {
		t.Errorf("aside %q, %d entries", aside, l.Size())
	}
	if l, aside := openAside(t, t.TempDir()); aside != "" || l.Size() != 0 {
		t.Errorf("new: aside %q, %d entries", aside, l.Size())
	}
}

func TestADamagedLedgerIsKeptAsItIsAndAnotherTellsOfIt(t *testing.T) {
	dir := filled(t, 3)
	tamper := func() map[string][]byte {
		t.Helper()
		path := filepath.Join(dir, "ledger", entriesFile)
		b, _ := os.ReadFile(path)
		b[10] ^= 1
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		signed, _ := os.ReadFile(filepath.Join(dir, "ledger", checkpointFile))
		return map[string][]byte{entriesFile: b, checkpointFile: signed}
	}
	kept := map[string]map[string][]byte{}
	for _, want := range []string{".damaged-20260401-090000", ".damaged-20260401-090000-2"} {
		want = filepath.Join(dir, "ledger") + want
		kept[want] = tamper()
		l, aside := openAside(t, dir)
		if aside != want {
			t.Fatalf("aside is %q, want %q", aside, want)
		}
		first, err := l.Entries(0, 1)
		if err != nil {
			t.Fatal(err)
		}
		reason, _ := first[0].Detail["reason"].(string)
		if e := first[0]; e.Action != "ledger.begin" || e.Subject != filepath.Base(want) || e.Detail["folder"] != want ||
			!e.Time.Equal(when) || !strings.Contains(reason, ErrTampered.Error()) {
			t.Errorf("first entry %+v", e)
		}
		if _, err := l.Append(entry(1)); err != nil {
			t.Errorf("append: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l, aside := openAside(t, dir); aside != "" || l.Size() != 2 || l.Close() != nil {
			t.Errorf("opened again: aside %q, %d entries", aside, l.Size())
		}
	}
	for folder, files := range kept { // also after the second one
		for name, want := range files {
			if got, err := os.ReadFile(filepath.Join(folder, name)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s in %s was changed: %v", name, folder, err)
			}
		}
	}
}

func TestAPowerCutWhileALedgerIsPutAsideIsMadeUpFor(t *testing.T) {
	dir := filled(t, 1)
	ledger := filepath.Join(dir, "ledger")
	old, err := moveAside(ledger, Config{Now: func() time.Time { return when }})
	if err != nil {
		t.Fatal(err)
	}
	l, aside := openAside(t, dir)
	if first, err := l.Entries(0, 1); err != nil || aside != old || first[0].Subject != filepath.Base(old) {
		t.Errorf("aside %q, first entry %+v, %v", aside, first, err)
	}
}

func TestWhatIsNotTheLedgersFaultDoesNotPutItAside(t *testing.T) {
	dir := filled(t, 1)
	path := filepath.Join(dir, "ledger", entriesFile)
	if err := os.Rename(path, path+".real"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(entriesFile, path); err != nil { // ELOOP, for root too
		t.Fatal(err)
	}
	k, err := LoadOrCreateKey(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, aside, err := OpenAside(filepath.Join(dir, "ledger"), Config{Key: k}); err == nil || errors.Is(err, ErrTampered) || aside != "" {
		t.Errorf("aside %q, %v", aside, err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error("the ledger was moved")
	}
}
