package evidence

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func lifted(t *testing.T) (*Vault, Bundle) {
	t.Helper()
	v, b := sealed(t)
	if err := v.SetHold(b.ID, false, "web:owner", "handed over"); err != nil {
		t.Fatal(err)
	}
	return v, b
}

func TestEveryBundleIsHeldUntilAPersonLiftsIt(t *testing.T) {
	v, b := sealed(t)
	if !v.Held(b.ID) || !v.Held("none") || !v.Held("../x") {
		t.Error("not held")
	}
	if _, err := v.Delete(b.ID, "web:owner", "old"); !errors.Is(err, ErrHeld) {
		t.Errorf("delete: %v", err)
	}
	for _, words := range [][2]string{{"", "why"}, {"who", " "}, {"who", string(make([]byte, maxWords+1))}} {
		if err := v.SetHold(b.ID, false, words[0], words[1]); err == nil || !v.Held(b.ID) {
			t.Errorf("lifted by %q because %q: %v", words[0], words[1], err)
		}
	}
	if err := v.SetHold("none", false, "web:owner", "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such bundle: %v", err)
	}
	if err := v.SetHold(b.ID, false, "web:owner", "handed over"); err != nil || v.Held(b.ID) {
		t.Fatalf("lift: %v", err)
	}
	if e := lastEntry(t, v); e.Action != "bundle.lift" || e.Subject != b.ID || e.Actor != "web:owner" || e.Detail["why"] != "handed over" {
		t.Errorf("entry %+v", e)
	}
	size := v.c.Ledger.Size()
	if err := v.SetHold(b.ID, false, "web:other", "again"); err != nil || v.c.Ledger.Size() != size {
		t.Errorf("lifted twice: %v", err)
	}
	holds, err := v.Holds()
	if want := (Hold{ID: b.ID, By: "web:owner", Why: "handed over", At: v.c.Now()}); err != nil || len(holds) != 1 || holds[0] != want {
		t.Errorf("holds %+v, %v", holds, err)
	}
	if err := v.SetHold(b.ID, true, "web:owner", "a lawyer asks"); err != nil || !v.Held(b.ID) {
		t.Errorf("put back: %v", err)
	}
	if e := lastEntry(t, v); e.Action != "bundle.hold" || e.Subject != b.ID {
		t.Errorf("entry %+v", e)
	}
	if holds, err := v.Holds(); err != nil || holds[0] != (Hold{ID: b.ID, Held: true}) {
		t.Errorf("holds %+v, %v", holds, err)
	}
}

func TestALiftThatWasChangedAnywhereCountsAsHeld(t *testing.T) {
	v, b := lifted(t)
	path := v.retentionPath(b.ID + liftSuffix)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if err := os.WriteFile(path, bad, 0o644); err != nil || !v.Held(b.ID) {
			t.Fatalf("byte %d: not held (%v)", i, err)
		}
		if err := os.WriteFile(path, good[:i], 0o644); err != nil || !v.Held(b.ID) {
			t.Fatalf("cut to %d: not held (%v)", i, err)
		}
	}
	if err := os.WriteFile(path, good, 0o644); err != nil || v.Held(b.ID) {
		t.Fatalf("the true one: held (%v)", err)
	}
}

func TestALiftIsForOneBundleOnly(t *testing.T) {
	v, b := lifted(t)
	if _, err := v.Seal(t.Context(), testInput("B-2")); err != nil {
		t.Fatal(err)
	}
	note, err := os.ReadFile(v.retentionPath(b.ID + liftSuffix))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(v.retentionPath("B-2"+liftSuffix), note, 0o644); err != nil || !v.Held("B-2") {
		t.Errorf("another bundle is lifted by it (%v)", err)
	}
	// The same id again, as after a deletion and a copy of the folder of notes.
	if err := removeSealed(b.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Seal(t.Context(), testInput(b.ID)); err != nil || !v.Held(b.ID) {
		t.Errorf("a later bundle of the same id is lifted by it (%v)", err)
	}
}

func TestAnOldLiftThatComesBackDeletesNothing(t *testing.T) {
	v, b := lifted(t)
	path := v.retentionPath(b.ID + liftSuffix)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.SetHold(b.ID, true, "web:owner", "a lawyer asks"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, old, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Delete(b.ID, "web:owner", "old"); !errors.Is(err, ErrHeld) {
		t.Errorf("delete: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := v.SetHold(b.ID, false, "web:owner", "now it may"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Delete(b.ID, "web:owner", "old"); err != nil {
		t.Errorf("lifted again: %v", err)
	}
}

func TestALiftThatTheLedgerDoesNotTakeHasNoEffect(t *testing.T) {
	v, b := sealed(t)
	v.step = func(s string) error {
		if s == "lift" {
			return errors.New("power")
		}
		return nil
	}
	if err := v.SetHold(b.ID, false, "web:owner", "x"); err == nil || !v.Held(b.ID) {
		t.Errorf("power cut after the entry: %v", err)
	}
	if err := v.c.Ledger.Close(); err != nil {
		t.Fatal(err)
	}
	if err := v.SetHold(b.ID, false, "web:owner", "x"); err == nil || !v.Held(b.ID) {
		t.Errorf("no ledger: %v", err)
	}
}

func TestAHoldIsPutBackEvenWithoutTheLedger(t *testing.T) {
	v, b := lifted(t)
	if err := v.c.Ledger.Close(); err != nil {
		t.Fatal(err)
	}
	if err := v.SetHold(b.ID, true, "web:owner", "x"); err == nil {
		t.Error("nobody is told that it is not recorded")
	}
	if !v.Held(b.ID) {
		t.Error("not held")
	}
}

func TestHoldsOfAnUnreadableBundleCountAsHeld(t *testing.T) {
	v, b := lifted(t)
	bagFiles(t, b.Path)
	if err := os.Remove(filepath.Join(b.Path, signatureFile)); err != nil {
		t.Fatal(err)
	}
	holds, err := v.Holds()
	if err != nil || len(holds) != 1 || !holds[0].Held {
		t.Errorf("holds %+v, %v", holds, err)
	}
	kept, err := v.Kept()
	if err != nil || len(kept) != 1 || !kept[0].Held || kept[0].Size == 0 {
		t.Errorf("kept %+v, %v", kept, err)
	}
}

func TestAHoldIsLiftedAndPutBackWhileAnotherBundleIsSealed(t *testing.T) {
	v, b := sealed(t)
	in := testInput("B-2")
	write := in.Packets
	in.Packets = func(ctx context.Context, w io.Writer) (Extraction, error) { // a lock of Seal's would hang here
		if err := v.SetHold(b.ID, false, "web:owner", "handed over"); err != nil || v.Held(b.ID) {
			t.Errorf("lift: %v", err)
		}
		if err := v.SetHold(b.ID, true, "web:owner", "a lawyer asks"); err != nil || !v.Held(b.ID) {
			t.Errorf("put back: %v", err)
		}
		return write(ctx, w)
	}
	if _, err := v.Seal(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

func TestALiftWhoseEntryWasRedactedCanBeRepeated(t *testing.T) {
	v, b := lifted(t)
	m, err := v.sealOf(b.ID)
	if err != nil {
		t.Fatal(err)
	}
	l, _ := v.lifted(m)
	if err := v.c.Ledger.Redact([]int64{l.Entry}, "web:owner", "asked to"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Delete(b.ID, "web:owner", "old"); err == nil {
		t.Fatal("deleted although nothing in the ledger lifts it")
	}
	if err := v.SetHold(b.ID, false, "web:owner", "still"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Delete(b.ID, "web:owner", "old"); err != nil {
		t.Errorf("lifted again: %v", err)
	}

}
