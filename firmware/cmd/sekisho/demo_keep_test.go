package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"sekisho/firmware/capture"
	"sekisho/firmware/evidence"
	"sekisho/firmware/ledger"
)

// What a drill sealed outlives the office; the attack's own bundle is kept elsewhere.
func TestTheBundlesOfDrillsAreKept(t *testing.T) {
	office, keep := t.TempDir(), t.TempDir()
	t.Cleanup(func() { removeSealed(office); removeSealed(keep) })
	if err := keepDrills(filepath.Join(office, "never"), keep); err != nil {
		t.Errorf("an office without evidence: %v", err)
	}
	key, err := ledger.LoadOrCreateKey(filepath.Join(office, "key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(filepath.Join(office, "ledger"), ledger.Config{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	bundles := filepath.Join(office, "evidence", "bundles")
	v, err := evidence.OpenVault(evidence.VaultConfig{Dir: bundles, Ledger: l})
	if err != nil {
		t.Fatal(err)
	}
	for id, drill := range map[string]bool{"practised": true, "real": false} {
		_, err := v.Seal(t.Context(), evidence.BundleInput{ID: id, Incident: id, Drill: drill,
			Packets: func(_ context.Context, w io.Writer) (evidence.Extraction, error) {
				_, err := w.Write(capture.AppendIDB(capture.AppendSHB(nil, capture.Section{}), capture.Interface{Link: capture.LinkEthernet}))
				return evidence.Extraction{}, err
			}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(bundles, "half-sealed"), 0o755); err != nil {
		t.Fatal(err)
	}

	if err := keepDrills(office, keep); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadDir(keep)
	if err != nil || len(kept) != 1 || kept[0].Name() != "practised" {
		t.Fatalf("kept %v, %v; want the drill alone", kept, err)
	}
	if r, err := evidence.Verify(filepath.Join(keep, "practised"), evidence.VerifyOptions{}); err != nil || !r.Drill {
		t.Errorf("the copy: %v, drill %v", err, r.Drill)
	}
}
