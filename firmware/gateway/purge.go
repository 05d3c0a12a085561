package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/evidence"
	"sekisho/firmware/incident"
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
	changed, err := w.reword(ctx, who)
	done.Incidents = len(changed)
	if err != nil {
		return done, err
	}
	inventory.Forget(id)
	w.archive.look()
	return done, forgetFindings(w.cfg.StateDir, changed)
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
func (w web) reword(ctx context.Context, who evidence.Subject) ([]string, error) {
	r, err := w.parts.Store.Redact(ctx, who.Replace, true)
	if err != nil {
		return nil, err
	}
	all, err := w.parts.Store.Incidents(ctx)
	if err != nil {
		return r.Changed, err
	}
	all = slices.DeleteFunc(all, func(i incident.Incident) bool { return !slices.Contains(r.Changed, i.ID) })
	return r.Changed, w.do(ctx, func() { w.desk.Reword(all) })
}
