package ledger

import (
	"math"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// A reason typed into a form may hold any bytes; struct fields have an order of
// their own. Either would make an entry that nobody can read back.
func TestWhateverIsWrittenIsReadBack(t *testing.T) {
	l, err := open(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	odd := entry(0)
	odd.Actor, odd.Subject = "person:\xff", "PC-\xe2\x82"
	odd.Detail = map[string]any{"why": "\xff\ufffd", "disk": struct{ B, A int }{2, 1}, "large": uint64(math.MaxUint64)}
	if _, err := l.Append(odd); err != nil {
		t.Fatal(err)
	}
	got, err := l.Entries(0, 1)
	if err != nil || got[0].Actor != "person:\ufffd" || got[0].Detail["why"] != "\ufffd\ufffd" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestACheckpointOfAnImpossibleSizeIsRefused(t *testing.T) {
	k, err := LoadOrCreateKey(t.TempDir() + "/key")
	if err != nil {
		t.Fatal(err)
	}
	for size, good := range map[int64]bool{0: true, maxSize: true, maxSize + 1: false, math.MaxInt64: false} {
		signed, err := signCheckpoint(k, size, tlog.Hash{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseCheckpoint(signed, k.Verifier()); (err == nil) != good {
			t.Errorf("%d entries: %v", size, err)
		}
	}
}
