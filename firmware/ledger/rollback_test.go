package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAnOlderCopyOfTheWholeFolderIsNoticedByItsSize(t *testing.T) {
	dir := filled(t, 3)
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(dir, "ledger"))); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, dir)
	if _, err := l.Append(entry(3)); err != nil {
		t.Fatal(err)
	}
	known, _ := l.Size(), l.Close()
	config := Config{Key: l.Key(), AtLeast: known, Now: func() time.Time { return when }}
	now, err := Open(filepath.Join(dir, "ledger"), config)
	if err != nil {
		t.Fatalf("the ledger itself: %v", err)
	}
	_ = now.Close()
	if _, err := Open(copied, config); !errors.Is(err, ErrTampered) {
		t.Errorf("an older copy: %v", err)
	}
	gone := filepath.Join(t.TempDir(), "gone")
	if _, err := Open(gone, config); !errors.Is(err, ErrTampered) {
		t.Errorf("no ledger at all: %v", err)
	}
	for _, folder := range []string{copied, gone} {
		l, aside, err := OpenAside(folder, config)
		if err != nil || aside == "" || l.Size() != 1 {
			t.Fatalf("put aside: %q, %v", aside, err)
		}
		_ = l.Close()
	}
}

// What the vendor notices who kept a checkpoint, whatever key or folder the
// attacker has.
func TestTheVendorNoticesAnotherHistory(t *testing.T) {
	dir := filled(t, 5)
	l := mustOpen(t, dir)
	kept := checkpoint(t, l)
	if _, err := l.Append(entry(5)); err != nil {
		t.Fatal(err)
	}
	now := checkpoint(t, l)
	// The device's own key, and another history.
	forged, err := Open(filepath.Join(t.TempDir(), "ledger"), Config{Key: l.Key()})
	if err != nil {
		t.Fatal(err)
	}
	defer forged.Close()
	var short, same Checkpoint
	for i := range 6 {
		if _, err := forged.Append(entry(i + 100)); err != nil {
			t.Fatal(err)
		}
		switch i {
		case 3:
			short = checkpoint(t, forged)
		case 4:
			same = checkpoint(t, forged)
		}
	}
	for name, c := range map[string]Checkpoint{"truncated": short, "rewritten, as long": same, "rewritten, longer": checkpoint(t, forged)} {
		proof, err := forged.ProveConsistency(min(kept.Size, c.Size))
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckConsistency(proof, c, kept); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	other := now
	other.Origin = "sekisho-00000000"
	proof, err := l.ProveConsistency(kept.Size)
	if err != nil || CheckConsistency(proof, now, kept) != nil {
		t.Errorf("the true one: %v", err)
	}
	if err := CheckConsistency(proof, other, kept); err == nil {
		t.Error("another device's: accepted")
	}
}
