package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"sekisho/firmware/ledger"
)

func TestBundlesFromBeforeAndAfterARedactionVerify(t *testing.T) {
	v := testVault(t, t.TempDir())
	l := v.c.Ledger
	for _, subject := range []string{"PC-07", "PC-08"} {
		if _, err := l.Append(ledger.Entry{Time: base, Action: "device.change", Subject: subject}); err != nil {
			t.Fatal(err)
		}
	}
	before, err := v.Seal(t.Context(), testInput("B-1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Redact([]int64{0}, "web:owner", "asked for"); err != nil {
		t.Fatal(err)
	}
	after, err := v.Seal(t.Context(), testInput("B-2"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		bundle Bundle
		first  string // action of the extract's first entry
	}{{before, "device.change"}, {after, ledger.ActionRedacted}} {
		r, err := Verify(c.bundle.Path, VerifyOptions{Key: l.Key().Public()})
		if err != nil {
			t.Fatal(err)
		}
		if r.Entries[0].Action != c.first || r.Entries[1].Subject != "PC-08" {
			t.Errorf("%s: extract %+v", c.bundle.ID, r.Entries)
		}
	}
}

// The hash and its proof are right; only the order is missing.
func TestAnExtractWithARedactionThatNobodyOrderedIsRefused(t *testing.T) {
	v := testVault(t, t.TempDir())
	if _, err := v.c.Ledger.Append(ledger.Entry{Time: base, Action: "isolate", Subject: "PC-07"}); err != nil {
		t.Fatal(err)
	}
	b, err := v.Seal(t.Context(), testInput("B-1"))
	if err != nil {
		t.Fatal(err)
	}
	bagFiles(t, b.Path)
	path := filepath.Join(b.Path, filepath.FromSlash(ledgerFile))
	extract, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first, rest, _ := bytes.Cut(extract, []byte("\n"))
	var p provenEntry
	if err := json.Unmarshal(first, &p); err != nil {
		t.Fatal(err)
	}
	p.Record = `{"redacted":"` + tlog.RecordHash([]byte(p.Record)).String() + `","by":1}` + "\n"
	forged, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := os.ReadFile(filepath.Join(b.Path, signatureFile))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := openSeal(signature, nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func() error {
		return (&verifier{src: &folder{dir: b.Path}, key: v.c.Ledger.Key().Verifier(), meta: meta}).ledger()
	}
	if err := check(); err != nil {
		t.Fatalf("the true one: %v", err)
	}
	if err := os.WriteFile(path, append(append(forged, '\n'), rest...), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := check(); !errors.Is(err, ledger.ErrTampered) {
		t.Errorf("the forged one: %v", err)
	}
}

// Whoever signs a bundle chooses the number of the seal's entry.
func TestAnExtractWithoutEntriesIsRefused(t *testing.T) {
	v, b := sealed(t)
	bagFiles(t, b.Path)
	if err := os.Truncate(filepath.Join(b.Path, filepath.FromSlash(ledgerFile)), 0); err != nil {
		t.Fatal(err)
	}
	for _, entry := range []int64{b.Entry, 0, -1, -2} {
		err := (&verifier{src: &folder{dir: b.Path}, key: v.c.Ledger.Key().Verifier(), meta: seal{Entry: entry}}).ledger()
		var f *FileError
		if !errors.As(err, &f) || f.File != ledgerFile {
			t.Errorf("seal at %d: %v", entry, err)
		}
	}
}

func TestAnExtractHasTheSealAndIsBounded(t *testing.T) {
	for _, c := range []struct{ from, to, want int64 }{
		{0, 0, 0}, {-1, 3, 0}, {2, 3, 2}, {9, 3, 3}, {0, maxExtract - 1, 0}, {0, maxExtract, 1}, {5, 1 << 40, 1<<40 - maxExtract + 1},
	} {
		if got := extractFrom(c.from, c.to); got != c.want {
			t.Errorf("from %d to %d: %d, want %d", c.from, c.to, got, c.want)
		}
	}
}
