package powercut

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// workFor works on dir until n promises were given, and returns them.
func workFor(t *testing.T, dir string, n int) []Promise {
	t.Helper()
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	t.Cleanup(func() { _ = removeAll(dir) })
	disk, err := os.Create(filepath.Join(t.TempDir(), "marks"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	var given []Promise
	marks := &Marks{Disk: disk, Buffer: make([]byte, MarkSize), Say: func(p Promise) {
		if given = append(given, p); len(given) == n {
			enough()
		}
	}}
	if err := Work(ctx, dir, marks.Give); err != nil {
		t.Fatal(err)
	}
	return given
}

// removeAll removes a folder that may hold read-only ones: bundles.
func removeAll(dir string) error {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

func TestTheWorkKeepsItsPromisesWhileThePowerIsOn(t *testing.T) {
	dir := t.TempDir()
	given := workFor(t, dir, 400)
	kinds := map[Kind]int{}
	for _, p := range given {
		kinds[p.Kind]++
	}
	for _, k := range []Kind{Key, Frames, Pin, Unpin, Entry, Bundle, Incident, Policy} {
		if kinds[k] < 2 {
			t.Errorf("%d promises of kind %s in %v", kinds[k], k, kinds)
		}
	}
	if err := check(t.Context(), dir, given); err != nil {
		t.Error(err)
	}
}

func TestTheCheckSeesEveryKindOfBrokenPromise(t *testing.T) {
	dir := t.TempDir()
	given := workFor(t, dir, 60)
	p := sum(given)
	for _, c := range []struct {
		broken Promise
		word   string
	}{
		{Promise{Kind: Key, ID: "sekisho-00000000+0+0"}, "key"},
		{Promise{Kind: Frames, To: p.frames + 1}, "spool"},
		{Promise{Kind: Pin, ID: "never"}, "pin never is gone"},
		{Promise{Kind: Pin, ID: p.bundles[0].ID[1:], From: p.frames, To: p.frames + 1}, "spool"},
		{Promise{Kind: Entry, ID: "never", To: p.entries[0].To}, "ledger"},
		{Promise{Kind: Entry, ID: "never", To: 1 << 40}, "ledger"},
		{Promise{Kind: Bundle, ID: "never", To: 1}, "bundles"},
		{Promise{Kind: Bundle, ID: p.bundles[0].ID, To: 1}, "bundles"},
		{Promise{Kind: Incident, ID: "never", To: 1}, "database"},
		{Promise{Kind: Policy, To: p.policy + 1}, "policy"},
	} {
		err := check(t.Context(), dir, append(given[:len(given):len(given)], c.broken))
		if err == nil || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%+v: %v", c.broken, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ledger", "checkpoint"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := check(t.Context(), dir, given); err == nil || !strings.Contains(err.Error(), "does not start") {
		t.Errorf("a checkpoint that is gone: %v", err)
	}
}

func TestTheCheckSeesFilesThatAreNotWhole(t *testing.T) {
	dir := t.TempDir()
	given := workFor(t, dir, 60)
	p := sum(given)
	packets := filepath.Join(bundleFolder(dir), p.bundles[0].ID, "data", "host.pcapng")
	for path, word := range map[string]string{packets: "offered", policyFile(dir): "not whole"} {
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 100); err != nil {
			t.Fatal(err)
		}
		if err := check(t.Context(), dir, given); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s cut short: %v", path, err)
		}
	}
}

func TestAMarkIsReadBackAndNothingElseIsOne(t *testing.T) {
	p := Promise{N: 3, Kind: Pin, ID: "P0001", From: 5, To: 9}
	sector, err := p.encode()
	if err != nil || len(sector) != MarkSize {
		t.Fatalf("%d bytes, %v", len(sector), err)
	}
	if got, ok := decodeMark(sector); !ok || got != p {
		t.Errorf("%+v, %v", got, ok)
	}
	for name, b := range map[string][]byte{"zeros": make([]byte, MarkSize), "nothing": nil, "torn": append(bytes.Clone(sector[:40]), make([]byte, 472)...)} {
		if got, ok := decodeMark(b); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := (Promise{ID: strings.Repeat("x", MarkSize)}).encode(); err == nil {
		t.Error("a promise longer than a sector")
	}
}

func TestMarksGoRoundTheirAreaOutsideTheFileSystem(t *testing.T) {
	var at []int64
	m := &Marks{Disk: writerAt(func(_ []byte, off int64) { at = append(at, off) }), Buffer: make([]byte, MarkSize), Say: func(Promise) {}}
	for range MarkBytes/MarkSize + 1 {
		if err := m.Give(Promise{Kind: Key}); err != nil {
			t.Fatal(err)
		}
	}
	for _, off := range at {
		if off < FilesystemBytes || off+MarkSize > FilesystemBytes+MarkBytes || off%MarkSize != 0 {
			t.Fatalf("mark at %d", off)
		}
	}
	if at[0] != at[len(at)-1] {
		t.Errorf("the area is not used in turn: %d, then %d", at[0], at[len(at)-1])
	}
}

type writerAt func(b []byte, off int64)

func (w writerAt) WriteAt(b []byte, off int64) (int, error) {
	w(b, off)
	return len(b), nil
}
