package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"sekisho/firmware/detect"
	"sekisho/firmware/evidence"
	"sekisho/firmware/ledger"
	"sekisho/firmware/offsite"
	"sekisho/ui"
)

var _ ui.Evidence = web{}

// Kept puts the snapshots together; nothing in it waits for a disk.
func (w web) Kept() ui.Kept {
	s := w.parts.Spool.Stats()
	k := ui.Kept{
		Days: s.Days, Oldest: s.Oldest, Ring: s.DiskBytes, Pinned: s.PinnedBytes, Size: w.cfg.Ring,
		PerDay: int64(s.DayBytes), Written: int64(s.Written), Wear: ui.Wear{Used: -1}, Quota: w.cfg.Retention.Quota,
		Missing: diskMissing(w.parts.Spool.Health()),
	}
	if d := w.archive.wear.Load(); d != nil {
		k.Wear = ui.Wear{Device: d.Device, Model: d.Model, Used: d.PercentUsed, Failed: d.Critical || d.Passed != nil && !*d.Passed}
	}
	var undated []string
	if p := w.archive.plan.Load(); p != nil {
		undated = p.Undated
		k.OverBy, k.ClockAsked = p.Over, p.Wait == evidence.WaitJumped
	}
	var places []offsite.Status // in the order of the settings
	if w.parts.Copies != nil {
		places = w.parts.Copies.Status()
	}
	if b := w.archive.bundles.Load(); b != nil {
		k.Deleted, k.Missing = b.deleted, k.Missing || b.missing
		for _, one := range b.all {
			shown := w.bundle(one, places)
			shown.Undated = !one.held && slices.Contains(undated, one.ID)
			k.Bundles = append(k.Bundles, shown)
		}
	}
	k.Targets = w.targets(places)
	return k
}

func diskMissing(err error) bool {
	return errors.Is(err, evidence.ErrNotMounted) || errors.Is(err, evidence.ErrMissing)
}

func (w web) bundle(b bundleState, places []offsite.Status) ui.Bundle {
	out := ui.Bundle{
		ID: b.ID, Sealed: b.Sealed, Size: b.pack.Size, Packets: b.Packets, Held: b.held, Encrypted: b.pack.Encrypted,
		Unstamped: b.Timestamp == evidence.TimestampFailed, Copies: []string{},
		Drill: w.ofADrill(b.ID),
	}
	if len(places) == 0 {
		return out
	}
	copies := w.parts.Copies.Copies(b.ID)
	for _, s := range places {
		if len(copies[s.Name]) > 0 {
			out.Copies = append(out.Copies, s.Name)
		}
	}
	return out
}

func (w web) targets(places []offsite.Status) (out []ui.Target) {
	for _, s := range places {
		t := ui.Target{Name: s.Name, State: detect.Text(s.Text), Waiting: s.Waiting, Key: w.cfg.SFTPKey}
		if s.Kind != offsite.KindSFTP {
			t.Key = ""
		}
		if p := s.Problem; p != nil {
			t.Bad = true
			t.State = detect.Text{EN: p.What.EN + " " + p.Help.EN, JA: p.What.JA + p.Help.JA}
		}
		out = append(out, t)
	}
	return out
}

func (w web) SetHold(_ context.Context, id string, on bool, by, why string) error {
	err := w.parts.Vault.SetHold(id, on, by, why)
	w.archive.look()
	return known(err)
}

func (w web) Delete(_ context.Context, id, by, why string) error {
	_, err := w.parts.Vault.Delete(id, by, why)
	w.archive.look()
	return known(err)
}

func known(err error) error {
	switch {
	case diskMissing(err): // it wraps fs.ErrNotExist, too
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ui.ErrUnknown, err)
	case errors.Is(err, evidence.ErrHeld):
		return fmt.Errorf("%w: %w", ui.ErrRefused, err)
	}
	return err
}

func (w web) Open(_ context.Context, id string) (io.ReadSeekCloser, ui.Package, error) {
	f, p, err := w.parts.Vault.OpenPackage(id)
	if err != nil {
		return nil, ui.Package{}, known(err)
	}
	return f, ui.Package{Name: p.Name, SHA256: p.SHA256, Sealed: p.Sealed}, nil
}

func (w web) Taken(_ context.Context, id, by string, p ui.Package) error {
	_, err := w.parts.Ledger.Append(ledger.Entry{Time: w.now(), Actor: by, Action: "bundle.take", Subject: id, Detail: map[string]any{"sha256": p.SHA256}})
	return err
}

func (w web) ConfirmClock(ctx context.Context, by string) error {
	return w.archive.confirmClock(ctx, by)
}

func (w web) RetryCopies(target string) error {
	if w.parts.Copies == nil || !w.parts.Copies.Retry(target) {
		return fmt.Errorf("%w: target %s", ui.ErrUnknown, target)
	}
	return nil
}
