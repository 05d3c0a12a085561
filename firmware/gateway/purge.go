package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
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
// stay, and a tombstone for each bundle. While an incident that speaks of the
// device is open it is refused, and nothing is touched. It may take as long as
// reading all evidence once.
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
	if err := w.noneOpen(ctx, who); err != nil {
		return ui.Purged{}, err
	}
	if err := w.flush(ctx); err != nil {
		return ui.Purged{}, err
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
	r, err := w.reword(ctx, who)
	done.Incidents = len(r.Changed)
	if err == nil {
		err = w.noneOpen(ctx, who) // one may have opened meanwhile
	}
	if err == nil {
		err = w.scrub(ctx, who)
	}
	if err != nil {
		return done, err
	}
	w.parts.Pipeline.uses.Forget(a.MAC)
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

// noneOpen refuses while an incident that can still move speaks of the device,
// in the database or in what was found: containment needs that, and a bundle
// that is not sealed yet.
func (w web) noneOpen(ctx context.Context, who evidence.Subject) error {
	r, err := w.parts.Store.Redact(ctx, who.Replace, false)
	if err != nil {
		return err
	}
	open, err := w.open(ctx)
	if err != nil {
		return err
	}
	naming := r.Live
	for _, id := range open {
		found, err := os.ReadFile(w.custody.findingsPath(id))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if who.Matches(string(found)) && !slices.Contains(naming, id) {
			naming = append(naming, id)
		}
	}
	if len(naming) > 0 {
		return fmt.Errorf("%w: an incident of this device is still open; close it first: %s", ui.ErrRefused, strings.Join(naming, ", "))
	}
	return nil
}

// flush waits until the ledger has what the core has recorded up to now: what
// comes after the plan would keep its words.
func (w web) flush(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case w.flushes <- done:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-w.ctx.Done():
		return errors.New("the gateway is stopping")
	}
}

// open are the ids of the incidents that can still move.
func (w web) open(ctx context.Context) (ids []string, err error) {
	err = w.do(ctx, func() {
		for _, i := range w.desk.Incidents() {
			if i.State.Live() {
				ids = append(ids, i.ID)
			}
		}
	})
	return ids, err
}

// scrub lists the files first: an incident that opens from then on keeps what
// was found.
func (w web) scrub(ctx context.Context, who evidence.Subject) error {
	files, err := filepath.Glob(w.custody.findingsPath("*"))
	if err != nil {
		return err
	}
	open, err := w.open(ctx)
	if err != nil {
		return err
	}
	return scrubFindings(files, open, who)
}

// scrubFindings drops the lines that name the device from the findings files of
// incidents that are over. Those of open ones are being written.
func scrubFindings(files, open []string, who evidence.Subject) error {
	for _, path := range files {
		if slices.Contains(open, strings.TrimSuffix(filepath.Base(path), ".jsonl")) {
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
