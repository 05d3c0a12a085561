package gateway

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"sekisho/firmware/evidence"
	"sekisho/firmware/ledger"
	"sekisho/firmware/smart"
	"sekisho/firmware/store"
)

// How often the archive looks: at what is kept, at the disk's wear, and at what
// may go. All are much shorter than what they watch over.
const (
	keptEvery = 10 * time.Second
	wearEvery = time.Hour
	tidyEvery = time.Hour
)

// clockKey is where the database keeps when the clock was last believed, for
// retention: "2026-04-01T09:00:00Z".
const clockKey = "clock_believed"

// archive looks after what is kept: it counts the bundles for the page, asks
// the disk how worn it is, and deletes what nobody needs any more. Its own
// goroutine waits for the disk, so that nobody else has to.
type archive struct {
	vault  *evidence.Vault
	ledger *ledger.Ledger
	store  *store.Store
	policy evidence.RetentionPolicy
	disk   string // the evidence folder
	log    *slog.Logger
	now    func() time.Time
	synced func() bool

	// gone is told of incidents whose time was over, after the store has
	// deleted them.
	gone func(ctx context.Context, ids []string) error
	// sweep makes up for a gone that a crash prevented.
	sweep  func(ctx context.Context) error
	report func(error) // a fault, or nil: none
	noted  func(error) // the same, of the ledger's size
	poke   chan struct{}

	savedSize int64 // of the ledger, as the store has it; of Run alone

	smart smart.Reader // of Run alone

	packedAt time.Time // when packages that are missing were last asked for; of Run alone

	bundles atomic.Pointer[bundles]
	wear    atomic.Pointer[smart.Wear]
	plan    atomic.Pointer[evidence.RetentionPlan]
	hurry   atomic.Bool // retention runs at the next look
}

// bundles is a snapshot of the vault.
type bundles struct {
	all     []bundleState // newest first
	deleted int
	missing bool // the disk is not there
}

// of is what is known of one bundle; a nil snapshot knows nothing.
func (s *bundles) of(id string) (bundleState, bool) {
	if s != nil {
		for _, b := range s.all {
			if b.ID == id {
				return b, true
			}
		}
	}
	return bundleState{}, false
}

type bundleState struct {
	evidence.Bundle
	pack evidence.Package
	held bool
}

// look asks for a new snapshot soon. It never waits.
func (a *archive) look() {
	select {
	case a.poke <- struct{}{}:
	default:
	}
}

func (a *archive) Run(ctx context.Context) error {
	var wearAt, tidyAt time.Time
	tick := time.NewTicker(keptEvery)
	defer tick.Stop()
	for {
		a.saveLedgerSize(ctx)
		a.count()
		if now := a.now(); !now.Before(wearAt) {
			wearAt = now.Add(wearEvery)
			w := a.smart.Read(ctx, a.disk)
			a.wear.Store(&w)
		}
		if now := a.now(); a.hurry.Swap(false) || !now.Before(tidyAt) {
			tidyAt = now.Add(tidyEvery)
			a.report(a.tidy(ctx))
			a.count()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-a.poke:
		}
	}
}

// count makes the snapshot. Packages were made when the bundles were sealed;
// one that was not costs reading its bundle, so it is asked for once an hour.
func (a *archive) count() {
	listed, err := a.vault.List()
	again := a.now().Sub(a.packedAt) >= tidyEvery
	if again {
		a.packedAt = a.now()
	}
	before := a.bundles.Load()
	s := &bundles{missing: errors.Is(err, evidence.ErrMissing) || errors.Is(err, evidence.ErrNotMounted)}
	for _, b := range listed {
		state, known := before.of(b.ID)
		state.Bundle, state.held = b, a.vault.Held(b.ID)
		if !known || state.pack.Name == "" && again {
			if state.pack, err = a.vault.Package(b.ID); err != nil {
				a.log.Warn("bundle has no package", "bundle", b.ID, "err", err)
			}
		}
		s.all = append(s.all, state)
	}
	slices.SortFunc(s.all, func(x, y bundleState) int { return y.Sealed.Compare(x.Sealed) })
	if stones, err := a.vault.Tombstones(); err == nil {
		s.deleted = len(stones)
	}
	a.bundles.Store(s)
}

// tidy deletes what the owner's settings let go. While the time is not certain
// nothing goes.
func (a *archive) tidy(ctx context.Context) error {
	state, err := a.retentionState(ctx)
	if diskMissing(err) {
		return nil // the check of the evidence disk tells that
	}
	if err != nil {
		return err
	}
	now := a.now()
	plan, err := evidence.PlanRetention(state, a.policy, now)
	if err != nil {
		return err
	}
	a.plan.Store(&plan)
	if plan.Wait != evidence.WaitNot {
		a.log.Info("nothing is deleted now", "why", string(plan.Wait))
		return nil
	}
	var failed error
	for _, d := range plan.Delete {
		_, err := a.vault.Delete(d.ID, "gateway", "retention: "+string(d.Reason))
		failed = errors.Join(failed, err)
	}
	if len(plan.Incidents) > 0 {
		failed = errors.Join(failed, a.dropIncidents(ctx, plan.Incidents))
	}
	failed = errors.Join(failed, a.sweep(ctx))
	return errors.Join(failed, a.store.SetMeta(ctx, clockKey, now.UTC().Format(time.RFC3339)))
}

// dropIncidents records the deletion before it happens.
func (a *archive) dropIncidents(ctx context.Context, ids []string) error {
	_, err := a.ledger.Append(ledger.Entry{Time: a.now().UTC(), Actor: "gateway", Action: "incident.delete", Subject: "retention",
		Detail: map[string]any{"incidents": ids}})
	if err != nil {
		return err
	}
	if err := a.store.DeleteIncidents(ctx, ids); err != nil {
		return err
	}
	return a.gone(ctx, ids)
}

func (a *archive) retentionState(ctx context.Context) (evidence.RetentionState, error) {
	s := evidence.RetentionState{Trusted: a.synced()}
	var err error
	if s.Bundles, err = a.vault.Kept(); err != nil {
		return s, err
	}
	if s.LastKnown, err = a.believed(ctx); err != nil || !s.Trusted {
		return s, err
	}
	finished, err := a.store.Finished(ctx, a.now())
	for _, f := range finished {
		s.Incidents = append(s.Incidents, evidence.KeptIncident{ID: f.ID, Since: f.Since})
	}
	return s, err
}

// believed is when the time was last certain, at the last run. The ledger's
// newest entry is no measure: the start of this very run wrote it, with the
// clock that is in question. Before the first run there is nothing to lose.
func (a *archive) believed(ctx context.Context) (time.Time, error) {
	text, known, err := a.store.GetMeta(ctx, clockKey)
	if err != nil || !known {
		return a.now(), err
	}
	return time.Parse(time.RFC3339, text)
}

// confirmClock is a person's word that the date is right after a jump.
func (a *archive) confirmClock(ctx context.Context, by string) error {
	now := a.now().UTC()
	_, err := a.ledger.Append(ledger.Entry{Time: now, Actor: by, Action: "clock.confirm", Subject: now.Format(time.DateOnly)})
	if err == nil {
		err = a.store.SetMeta(ctx, clockKey, now.Format(time.RFC3339))
	}
	if err == nil {
		a.hurry.Store(true)
		a.look()
	}
	return err
}

// forget drops incidents that retention deleted from desk and disk.
func (g *Gateway) forget(ctx context.Context, ids []string) error {
	return errors.Join(web{g, ctx}.do(ctx, func() { g.desk.Forget(ids) }), forgetFindings(g.cfg.StateDir, ids))
}

// orphanAge is how long a findings file may be without an incident: one that the
// database did not take yet needs it.
const orphanAge = 24 * time.Hour

// sweepFindings removes the findings of incidents that neither desk nor disk
// knows: the power may go between the deletion of an incident and that of its
// file.
func (g *Gateway) sweepFindings(ctx context.Context) error {
	old, err := olderFindings(g.cfg.StateDir, g.now().Add(-orphanAge))
	if err != nil || len(old) == 0 {
		return err
	}
	kept, err := g.parts.Store.Incidents(ctx)
	if err != nil {
		return err // one that cannot be read has findings all the same
	}
	for _, i := range append(kept, g.View().Incidents...) {
		delete(old, i.ID)
	}
	return forgetFindings(g.cfg.StateDir, slices.Collect(maps.Keys(old)))
}

// olderFindings are the incidents whose findings file was written last before at.
func olderFindings(stateDir string, at time.Time) (map[string]bool, error) {
	entries, err := os.ReadDir(filepath.Join(stateDir, "findings"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ids := map[string]bool{}
	for _, e := range entries {
		id, ours := strings.CutSuffix(e.Name(), ".jsonl")
		if info, err := e.Info(); err == nil && ours && info.ModTime().Before(at) {
			ids[id] = true
		}
	}
	return ids, nil
}

// forgetFindings removes the findings files of incidents.
func forgetFindings(stateDir string, ids []string) error {
	var failed error
	for _, id := range ids {
		if err := os.Remove(filepath.Join(stateDir, "findings", id+".jsonl")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// sizeKey is where the database keeps how many entries the ledger had, for the
// next start: an older copy of the ledger's folder is then noticed.
const sizeKey = "ledger_size"

// saveLedgerSize is a little behind: what it names was acknowledged for sure.
// It may wait until a purge has rewritten the ledger; the core must not.
func (a *archive) saveLedgerSize(ctx context.Context) {
	size := a.ledger.Size()
	if size == a.savedSize {
		return
	}
	err := a.store.SetMeta(ctx, sizeKey, strconv.FormatInt(size, 10))
	a.noted(err)
	if err == nil {
		a.savedSize = size
	}
}
