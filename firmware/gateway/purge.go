package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/durable"
	"sekisho/firmware/evidence"
	"sekisho/firmware/incident"
	"sekisho/firmware/store"
	"sekisho/ui"
)

// Purge removes what is known of one device: bundles that no hold protects, the
// ledger's words, the database's, the inventory's. Hashes, times and techniques
// stay, and a tombstone for each bundle. It may take as long as reading all
// evidence once.
func (w web) Purge(ctx context.Context, id asset.ID, by, why string) (ui.Purged, error) {
	inventory := w.parts.Pipeline.inventory
	a, known := inventory.Get(id)
	if !known || a.Gateway {
		return ui.Purged{}, fmt.Errorf("%w: device %s", ui.ErrUnknown, id)
	}
	who, err := subject(a)
	if err != nil {
		return ui.Purged{}, fmt.Errorf("%w: %w", ui.ErrRefused, err)
	}
	if who.Matches(why) {
		return ui.Purged{}, fmt.Errorf("%w: the reason names the device, and would stay on record", ui.ErrRefused)
	}
	plan, err := w.parts.Vault.PlanPurge(ctx, who)
	if err != nil {
		return ui.Purged{}, err
	}
	done := ui.Purged{Entries: len(plan.Entries)}
	for _, r := range plan.Rest {
		done.Rest = append(done.Rest, detect.Text(r))
	}
	for _, b := range plan.Bundles {
		if b.Held {
			done.Held = append(done.Held, b.ID)
		} else {
			done.Bundles = append(done.Bundles, b.ID)
		}
	}
	err = w.parts.Vault.Purge(who, plan, by, why)
	if err != nil && !errors.Is(err, evidence.ErrHeld) {
		return done, err
	}
	// Listed first: an incident that opens from now on keeps what was found.
	files, err := filepath.Glob(filepath.Join(w.cfg.StateDir, "findings", "*.jsonl"))
	if err != nil {
		return done, err
	}
	r, err := w.reword(ctx, who)
	done.Incidents = len(r.Changed)
	if err != nil {
		return done, err
	}
	if err := scrubFindings(files, r.Live, who); err != nil {
		return done, err
	}
	if len(r.Live) > 0 {
		done.Rest = append(done.Rest, stillOpen(r.Live))
	}
	inventory.Forget(id) // last: until then all this can be repeated
	w.archive.look()
	return done, nil
}

// subject is the device by everything that it is known by.
func subject(a asset.Asset) (evidence.Subject, error) {
	m := evidence.Match{Addrs: a.Addrs}
	if !a.MAC.IsZero() {
		m.MACs = [][6]byte{a.MAC}
	}
	var names []string
	if a.Name != "" {
		names = append(names, a.Name)
	}
	return evidence.NewSubject(m, names)
}

// reword redacts the database, and lets the desk read again what changed.
func (w web) reword(ctx context.Context, who evidence.Subject) (store.Redaction, error) {
	r, err := w.parts.Store.Redact(ctx, who.Replace, true)
	if err != nil {
		return r, err
	}
	all, err := w.parts.Store.Incidents(ctx)
	if err != nil {
		return r, err
	}
	all = slices.DeleteFunc(all, func(i incident.Incident) bool { return !slices.Contains(r.Changed, i.ID) })
	return r, w.do(ctx, func() { w.desk.Reword(all) })
}

func stillOpen(ids []string) detect.Text {
	list := strings.Join(ids, ", ")
	return detect.Text{
		EN: "Incidents that are still open keep what they know of the device: " + list + ". Do this again when they are closed.",
		JA: "対応中の出来事（" + list + "）の記録は残っています。対応を終えたあとで、もう一度行ってください。",
	}
}

// scrubFindings drops the lines that name the device from the findings files of
// incidents that are over. Those of live ones are evidence that is not sealed
// yet, and are being written.
func scrubFindings(files, live []string, who evidence.Subject) error {
	for _, path := range files {
		if slices.Contains(live, strings.TrimSuffix(filepath.Base(path), ".jsonl")) {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var kept []byte
		for line := range bytes.Lines(data) {
			if !who.Matches(string(line)) {
				kept = append(kept, line...)
			}
		}
		if len(kept) == len(data) {
			continue
		}
		if err := durable.WriteFile(path, kept, 0o600); err != nil {
			return err
		}
	}
	return nil
}
