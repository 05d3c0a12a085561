package evidence

import (
	"errors"
	"path/filepath"
	"testing"

	"sekisho/firmware/ledger"
)

// What the vendor notices who kept a checkpoint and gets a bundle.
func TestABundleOfAShortenedOrRewrittenLedgerIsRefused(t *testing.T) {
	v, b := sealed(t)
	key := v.c.Ledger.Key()
	// checkpointOf signs a ledger of n entries with the device's own key.
	checkpointOf := func(key *ledger.Key, n int) []byte {
		l, err := ledger.Open(filepath.Join(t.TempDir(), "ledger"), ledger.Config{Key: key})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for range n {
			if _, err := l.Append(ledger.Entry{Time: base, Action: "test"}); err != nil {
				t.Fatal(err)
			}
		}
		signed, err := l.Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	own, err := v.c.Ledger.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	for name, kept := range map[string][]byte{"the same": own, "an older one": checkpointOf(key, 0)} {
		if _, err := Verify(b.Path, VerifyOptions{OldCheckpoint: kept}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	stranger := testVault(t, t.TempDir()).c.Ledger.Key()
	for name, c := range map[string]struct {
		kept     []byte
		tampered bool
	}{
		"the ledger was longer":      {checkpointOf(key, 2), true},
		"it was another of one size": {checkpointOf(key, 1), true},
		"it was another device's":    {checkpointOf(stranger, 1), false},
	} {
		_, err := Verify(b.Path, VerifyOptions{OldCheckpoint: c.kept})
		var f *FileError
		if !errors.As(err, &f) || f.File != checkpointFile || errors.Is(err, ledger.ErrTampered) != c.tampered {
			t.Errorf("%s: %v", name, err)
		}
	}
}
