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
