package evidence

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sekisho/firmware/ledger"
)

// reopen is what a restart does; the ledger stays open.
func reopen(t testing.TB, v *Vault) *Vault {
	t.Helper()
	again, err := OpenVault(v.c)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// writePackage leaves the files that packing leaves.
func writePackage(t *testing.T, v *Vault, id string) {
	t.Helper()
	for _, path := range v.packageFiles(id) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("packed"), 0o444)); err != nil {
			t.Fatal(err)
		}
	}
}

// leftOf lists every file in the vault that has id in its name or path.
func leftOf(t *testing.T, v *Vault, id string) (left []string) {
	t.Helper()
	err := filepath.WalkDir(v.dir, func(path string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(v.dir, path); err == nil && !d.IsDir() && strings.Contains(rel, id) {
			left = append(left, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func TestADeletedBundleLeavesATombstoneAndNothingElse(t *testing.T) {
	v, b := lifted(t)
	neighbour, err := v.Seal(t.Context(), testInput(b.ID+".tar"))
	if err != nil {
		t.Fatal(err)
	}
	writePackage(t, v, neighbour.ID)
	before := len(leftOf(t, v, neighbour.ID))
	writePackage(t, v, b.ID)
	manifest, err := os.ReadFile(filepath.Join(b.Path, tagManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	tomb, err := v.Delete(b.ID, "web:owner", "400 days are over")
	if err != nil {
		t.Fatal(err)
	}
	if e := lastEntry(t, v); e.Action != "bundle.delete" || e.Subject != b.ID || e.Actor != "web:owner" || tomb.Entry != v.c.Ledger.Size()-1 ||
		e.Detail["tagmanifest_sha256"] != hexSum(manifest) {
		t.Errorf("entry %+v", e)
	}
	key := v.c.Ledger.Key().Public()
	got, err := OpenTombstone([]byte(tomb.Note), key)
	if err != nil || got != tomb || got.TagManifest != hexSum(manifest) || got.Packets != 3 || !got.Sealed.Equal(b.Sealed) || got.Incident != "INC-1" {
		t.Errorf("tombstone %+v, %v", got, err)
	}
	for i := range tomb.Note {
		bad := []byte(tomb.Note)
		bad[i] ^= 1
		if _, err := OpenTombstone(bad, key); err == nil {
			t.Fatalf("byte %d was changed", i)
		}
	}
	left := leftOf(t, v, b.ID)
	if len(left) != before+1 || len(leftOf(t, v, neighbour.ID)) != before {
		t.Errorf("left %v", left)
	}
	if _, err := Verify(neighbour.Path, VerifyOptions{}); err != nil {
		t.Error(err)
	}
	all, err := reopen(t, v).Tombstones()
	if err != nil || len(all) != 1 || all[0] != tomb {
		t.Errorf("tombstones %+v, %v", all, err)
	}
	size := v.c.Ledger.Size()
	if again, err := v.Delete(b.ID, "web:owner", "again"); err != nil || again != tomb || v.c.Ledger.Size() != size {
		t.Errorf("again: %+v, %v", again, err)
	}
	if _, err := v.Delete("none", "web:owner", "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such bundle: %v", err)
	}
}

func TestADeletedBundleIsNotPackedAgainByWhoWaitedForIt(t *testing.T) {
	v, b := lifted(t)
	opened, err := openTarball(b)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if _, err := v.Delete(b.ID, "web:owner", "old"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.packed(t.Context(), b, opened); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("packed: %v", err)
	}
	if left := leftOf(t, v, b.ID); len(left) != 1 {
		t.Errorf("left %v", left)
	}
}

func TestAPowerCutWhileDeletingIsMadeUpFor(t *testing.T) {
	for _, at := range []string{"entry", "tombstone", "hidden", "removed", "cleared"} {
		for _, restart := range []bool{true, false} {
			v, b := lifted(t)
			writePackage(t, v, b.ID)
			v.step = func(s string) error {
				if s == at {
					return errors.New("power")
				}
				return nil
			}
			if _, err := v.Delete(b.ID, "web:owner", "old"); err == nil {
				t.Fatalf("%s: acknowledged", at)
			}
			v.step = func(string) error { return nil }
			if restart {
				v = reopen(t, v)
				_, err := os.Lstat(b.Path)
				if gone := errors.Is(err, fs.ErrNotExist); gone == (at == "entry") {
					t.Errorf("%s: gone %v", at, gone)
				}
			}
			if at == "entry" {
				if _, err := Verify(b.Path, VerifyOptions{}); err != nil {
					t.Error(err)
				}
			}
			if _, err := v.Delete(b.ID, "web:owner", "old"); err != nil {
				t.Errorf("%s: again: %v", at, err)
			}
			if left := leftOf(t, v, b.ID); len(left) != 1 || !strings.HasSuffix(left[0], tombstoneSuffix) {
				t.Errorf("%s, restart %v: left %v", at, restart, left)
			}
		}
	}
}

func TestAStartNeverDeletesWhatIsHeldAgainOrCameBack(t *testing.T) {
	v, b := lifted(t)
	kept := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(kept, os.DirFS(b.Path)); err != nil {
		t.Fatal(err)
	}
	v.step = func(s string) error {
		if s == "tombstone" {
			return errors.New("power")
		}
		return nil
	}
	if _, err := v.Delete(b.ID, "web:owner", "old"); err == nil {
		t.Fatal("acknowledged")
	}
	if err := v.SetHold(b.ID, true, "web:owner", "wait"); err != nil {
		t.Fatal(err)
	}
	v = reopen(t, v)
	if _, err := Verify(b.Path, VerifyOptions{}); err != nil {
		t.Fatalf("held again: %v", err)
	}
	if all, err := v.Tombstones(); err != nil || len(all) != 0 {
		t.Errorf("tombstones of what is there: %v, %v", all, err)
	}
	if err := v.SetHold(b.ID, false, "web:owner", "now"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Delete(b.ID, "web:owner", "old"); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(b.Path, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	v = reopen(t, v)
	if _, err := Verify(b.Path, VerifyOptions{}); err != nil || !v.Held(b.ID) {
		t.Errorf("a copy that was put back: held %v, %v", v.Held(b.ID), err)
	}
}

func TestAFolderThatOnlyLooksDeletedIsLeftAlone(t *testing.T) {
	v, b := sealed(t)
	hidden := filepath.Join(v.dir, deleting+b.ID)
	if err := os.Rename(b.Path, hidden); err != nil {
		t.Fatal(err)
	}
	reopen(t, v)
	if _, err := Verify(hidden, VerifyOptions{}); err != nil {
		t.Error(err)
	}
}

func TestWhatIsKeptSaysSizeAgeAndHold(t *testing.T) {
	v, b := lifted(t)
	in := testInput("B-2")
	in.Completeness.ClockSynced = true
	if _, err := v.Seal(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if err := v.removePackage(b.ID); err != nil { // sealing has made one
		t.Fatal(err)
	}
	alone, err := v.Kept()
	if err != nil {
		t.Fatal(err)
	}
	writePackage(t, v, b.ID)
	kept, err := v.Kept()
	if err != nil || len(kept) != 2 {
		t.Fatalf("kept %+v, %v", kept, err)
	}
	want := KeptBundle{ID: "B-1", Incident: "INC-1", Sealed: b.Sealed, Size: kept[0].Size}
	if kept[0] != want || kept[1].ID != "B-2" || !kept[1].Timed || !kept[1].Held {
		t.Errorf("kept %+v", kept)
	}
	r, err := Verify(b.Path, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var files int64
	for _, f := range r.Files {
		files += f.Size
	}
	packed := int64(len(v.packageFiles(b.ID)) * len("packed"))
	if alone[0].Size <= files || kept[0].Size != alone[0].Size+packed {
		t.Errorf("%d bytes, with package %d; files alone %d", alone[0].Size, kept[0].Size, files)
	}
}

// Whatever is done, in any order and with the power cut anywhere: a bundle that
// a person has under hold is there and verifies.
func TestABundleUnderHoldIsNeverDeleted(t *testing.T) {
	first, b := sealed(t)
	home := t.TempDir()
	t.Cleanup(func() { _ = removeSealed(home) })
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, home, first.c.Ledger.Key(), b)
		defer w.v.c.Ledger.Close()
		for range rapid.IntRange(1, 10).Draw(t, "deeds") {
			w.deed(t)
			if !w.held {
				continue
			}
			if _, err := Verify(filepath.Join(w.v.dir, b.ID), VerifyOptions{Key: first.c.Ledger.Key().Public()}); err != nil {
				t.Fatalf("under hold, but: %v", err)
			}
		}
	})
}

// world is a vault with one bundle, and what a person believes of it.
type world struct {
	v    *Vault
	id   string
	held bool
	note string // where somebody keeps a copy of the lift
}

func newWorld(t *rapid.T, home string, key *ledger.Key, b Bundle) *world {
	dir, err := os.MkdirTemp(home, "run")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "bundles", b.ID), os.DirFS(b.Path)); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Config{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	v, err := OpenVault(VaultConfig{Dir: filepath.Join(dir, "bundles"), Ledger: l})
	if err != nil {
		t.Fatal(err)
	}
	return &world{v: v, id: b.ID, held: true, note: filepath.Join(dir, "lift")}
}

func (w *world) deed(t *rapid.T) {
	lift := w.v.retentionPath(w.id + liftSuffix)
	switch deed := rapid.SampledFrom([]string{"lift", "delete", "hold", "restart", "seal", "keep note", "put note back", "lose note", "damage note"}).Draw(t, "deed"); deed {
	case "lift":
		if w.v.SetHold(w.id, false, "p", "w") == nil {
			w.held = false
		}
	case "hold":
		if w.v.SetHold(w.id, true, "p", "w") == nil {
			w.held = true
		}
	case "seal": // again, after it was deleted
		if _, err := w.v.Seal(t.Context(), testInput(w.id)); err == nil {
			w.held = true
		} else if !errors.Is(err, ErrSealed) {
			t.Fatal(err)
		}
	case "delete":
		cut := rapid.SampledFrom([]string{"", "entry", "tombstone", "hidden", "removed", "cleared"}).Draw(t, "cut")
		w.v.step = func(s string) error {
			if s == cut {
				return errors.New("power")
			}
			return nil
		}
		_, _ = w.v.Delete(w.id, "p", "w")
		w.v.step = func(string) error { return nil }
	case "restart":
		v, err := OpenVault(w.v.c)
		if err != nil {
			t.Fatal(err)
		}
		w.v = v
	case "keep note":
		if data, err := os.ReadFile(lift); err == nil {
			_ = os.WriteFile(w.note, data, 0o644)
		}
	case "put note back":
		if data, err := os.ReadFile(w.note); err == nil {
			_ = os.WriteFile(lift, data, 0o644)
		}
	case "lose note":
		_ = os.Remove(lift)
	case "damage note":
		_ = os.Truncate(lift, 50)
	}
}

func FuzzNotesAreTotal(f *testing.F) {
	key, err := ledger.LoadOrCreateKey(filepath.Join(f.TempDir(), "key"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"id":"B-1","tagmanifest_sha256":"` + strings.Repeat("0", 64) + `","ledger_entry":-1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		signed, err := key.Sign(tombstoneHeader + "\n" + string(text) + "\n")
		if err != nil {
			return
		}
		if tomb, err := OpenTombstone(signed, key.Public()); err == nil {
			_ = tomb.file()
		}
	})
}
