package gateway

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/evidence"
	"sekisho/firmware/ledger"
)

func TestTheListForTheVendorNeitherReadsNorWaitsForTheDisk(t *testing.T) {
	dir := t.TempDir()
	key, err := ledger.LoadOrCreateKey(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Config{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	vault, err := evidence.OpenVault(evidence.VaultConfig{Dir: filepath.Join(dir, "bundles"), Ledger: l})
	if err != nil {
		t.Fatal(err)
	}
	empty := func(_ context.Context, w io.Writer) (evidence.Extraction, error) {
		b := capture.AppendIDB(capture.AppendSHB(nil, capture.Section{App: "test"}), capture.Interface{Name: "lan1", Link: capture.LinkEthernet})
		_, err := w.Write(b)
		return evidence.Extraction{}, err
	}
	span := evidence.Completeness{From: time.Now().Add(-time.Minute), To: time.Now()}
	if _, err := vault.Seal(t.Context(), evidence.BundleInput{ID: "i-1", Incident: "i-1", Packets: empty, Completeness: span}); err != nil {
		t.Fatal(err)
	}
	defer func() { // sealed folders are read-only, and could not be removed
		for _, folder := range []string{"i-1", "i-1/data"} {
			_ = os.Chmod(filepath.Join(dir, "bundles", folder), 0o700)
		}
	}()
	a := &archive{vault: vault, ledger: l, log: slog.New(slog.DiscardHandler), now: time.Now}
	o := offered{kept: a.bundles.Load, vault: vault}
	if _, err := o.Package("i-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before the first look: %v", err)
	}
	a.count()
	want, err := vault.Package("i-1")
	if err != nil {
		t.Fatal(err)
	}
	notes := filepath.Join(dir, "bundles", ".packages")
	if err := os.RemoveAll(notes); err != nil { // now every Package reads the whole bundle
		t.Fatal(err)
	}
	a.count()
	if got, err := o.Package("i-1"); err != nil || got != onWire(want) {
		t.Errorf("listed as %+v, %v", got, err)
	}
	if _, err := os.Stat(notes); err == nil {
		t.Error("the bundle was read through again")
	}
}
