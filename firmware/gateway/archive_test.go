package gateway

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/evidence"
	"sekisho/firmware/incident"
	"sekisho/firmware/ledger"
	"sekisho/firmware/store"
)

// records is a gateway without network: its archive on a real vault, ledger and
// database, at a time that the test sets.
type records struct {
	*Gateway
	dir    string
	at     time.Time
	synced bool
}

func newRecords(t *testing.T) *records {
	t.Helper()
	r := &records{dir: t.TempDir(), at: start, synced: true}
	now := func() time.Time { return r.at }
	discard := slog.New(slog.DiscardHandler)
	key, err := ledger.LoadOrCreateKey(filepath.Join(r.dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(filepath.Join(r.dir, "ledger"), ledger.Config{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	vault, err := evidence.OpenVault(evidence.VaultConfig{Dir: filepath.Join(r.dir, "bundles"), Ledger: l, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(filepath.Join(r.dir, database))
	if err != nil {
		t.Fatal(err)
	}
	spool, err := evidence.OpenSpool(filepath.Join(r.dir, "spool"), evidence.SpoolConfig{MaxBytes: 16 << 20, SegmentBytes: 4 << 20, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	r.Gateway = &Gateway{
		cfg: Config{StateDir: r.dir}, parts: Parts{Vault: vault, Ledger: l, Store: db, Spool: spool},
		log: discard, now: now, desk: incident.NewDesk(incident.Policy{}), requests: make(chan func()), faults: newFaults(),
	}
	r.view.Store(&View{})
	r.archive = &archive{
		vault: vault, ledger: l, store: db, log: discard, now: now, synced: func() bool { return r.synced },
		gone: r.forget, sweep: r.sweepFindings, poke: make(chan struct{}, 1),
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() {
		stop()
		if err := errors.Join(spool.Close(), db.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		writable(r.dir)
	})
	go func() { // the core
		for {
			select {
			case deed := <-r.requests:
				deed()
			case <-ctx.Done():
				return
			}
		}
	}()
	return r
}

// writable lets sealed folders be removed.
func writable(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
}

func (r *records) seal(t *testing.T, id string) {
	t.Helper()
	r.sealWith(t, id, true)
}

func (r *records) sealWith(t *testing.T, id string, synced bool) {
	t.Helper()
	empty := func(_ context.Context, w io.Writer) (evidence.Extraction, error) {
		b := capture.AppendIDB(capture.AppendSHB(nil, capture.Section{App: "test"}), capture.Interface{Name: "lan1", Link: capture.LinkEthernet})
		_, err := w.Write(b)
		return evidence.Extraction{}, err
	}
	span := evidence.Completeness{From: r.at.Add(-time.Minute), To: r.at, ClockSynced: synced}
	if _, err := r.parts.Vault.Seal(t.Context(), evidence.BundleInput{ID: id, Incident: id, Packets: empty, Completeness: span}); err != nil {
		t.Fatal(err)
	}
}

// save writes an incident and its findings, which were found now.
func (r *records) save(t *testing.T, id string, state incident.State) {
	t.Helper()
	i := incident.Incident{ID: id, State: state, Opened: r.at, Updated: r.at, Since: r.at}
	if err := r.parts.Store.SaveIncident(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	r.found(t, id)
}

func (r *records) found(t *testing.T, id string) {
	t.Helper()
	path := filepath.Join(r.dir, "findings", id+".jsonl")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, r.at, r.at); err != nil {
		t.Fatal(err)
	}
}

func (r *records) tidy(t *testing.T) {
	t.Helper()
	if err := r.archive.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.archive.count()
}

// holds checks which bundles, incidents and findings files are there.
func (r *records) holds(t *testing.T, bundles, incidents, findings string) {
	t.Helper()
	var have [3][]string
	for _, b := range (web{Gateway: r.Gateway}).Kept().Bundles {
		have[0] = append(have[0], b.ID)
	}
	kept, err := r.parts.Store.Incidents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range kept {
		have[1] = append(have[1], i.ID)
	}
	files, err := filepath.Glob(filepath.Join(r.dir, "findings", "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		have[2] = append(have[2], strings.TrimSuffix(filepath.Base(f), ".jsonl"))
	}
	for n, want := range []string{bundles, incidents, findings} {
		slices.Sort(have[n])
		if got := strings.Join(have[n], " "); got != want {
			t.Errorf("%s: %q, want %q", [...]string{"bundles", "incidents", "findings"}[n], got, want)
		}
	}
}

// actions of the ledger, in order.
func (r *records) actions(t *testing.T) (out []string) {
	t.Helper()
	all, err := r.parts.Ledger.Entries(0, r.parts.Ledger.Size())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		out = append(out, e.Action+" "+e.Subject)
	}
	return out
}

const year = 365 * 24 * time.Hour

// aged has a lifted bundle, one under hold, incidents in every state that
// matters, and is two years later.
func aged(t *testing.T) *records {
	t.Helper()
	r := newRecords(t)
	for _, id := range []string{"held", "lifted"} {
		r.seal(t, id)
		r.save(t, id, incident.Closed)
	}
	r.save(t, "alone", incident.Dismissed)
	r.save(t, "open", incident.Contained)
	if err := r.parts.Vault.SetHold("lifted", false, "web:owner", "handed over"); err != nil {
		t.Fatal(err)
	}
	r.tidy(t)
	r.at = start.Add(2 * year)
	r.seal(t, "young")
	if err := r.parts.Vault.SetHold("young", false, "web:owner", "handed over"); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatIsOldGoesOnceAPersonBelievesTheClock(t *testing.T) {
	r := aged(t)
	const bundles, incidents = "held lifted young", "alone held lifted open"
	r.tidy(t)
	page := web{Gateway: r.Gateway}
	if r.holds(t, bundles, incidents, incidents); !page.Kept().ClockAsked {
		t.Error("nobody is asked about a clock that is two years ahead")
	}
	if err := page.ConfirmClock(t.Context(), "web:owner"); err != nil {
		t.Fatal(err)
	}
	if !r.archive.hurry.Load() {
		t.Error("it is not looked at again soon")
	}
	r.tidy(t)
	const left = "held lifted open" // an incident goes after its bundle
	r.holds(t, "held young", left, left)
	if k := page.Kept(); k.ClockAsked || k.Deleted != 1 {
		t.Errorf("the page says %+v", k)
	}
	if stones, err := r.parts.Vault.Tombstones(); err != nil || len(stones) != 1 || stones[0].ID != "lifted" || stones[0].Why != "retention: age" {
		t.Errorf("tombstones %+v, %v", stones, err)
	}
	r.tidy(t)
	r.holds(t, "held young", "held open", "held open")
	want := []string{"clock.confirm 2028-11-22", "bundle.delete lifted", "incident.delete retention", "incident.delete retention"}
	if got := r.actions(t); len(got) < len(want) || !slices.Equal(got[len(got)-len(want):], want) {
		t.Errorf("the ledger has %q", got)
	}
}

func TestABundleOfUnknownAgeIsShownAsSuchOnceItIsLifted(t *testing.T) {
	r := newRecords(t)
	r.sealWith(t, "undated", false)
	r.seal(t, "dated")
	undated := func() (out []string) {
		for _, b := range (web{Gateway: r.Gateway}).Kept().Bundles {
			if b.Undated {
				out = append(out, b.ID)
			}
		}
		return out
	}
	if r.tidy(t); len(undated()) > 0 {
		t.Errorf("under hold: %v", undated())
	}
	for _, id := range []string{"undated", "dated"} {
		if err := r.parts.Vault.SetHold(id, false, "web:owner", "handed over"); err != nil {
			t.Fatal(err)
		}
	}
	if r.tidy(t); !slices.Equal(undated(), []string{"undated"}) {
		t.Errorf("lifted: %v", undated())
	}
}

func TestNothingGoesWhileTheClockIsNotSynchronised(t *testing.T) {
	r := aged(t)
	if err := (web{Gateway: r.Gateway}).ConfirmClock(t.Context(), "web:owner"); err != nil {
		t.Fatal(err)
	}
	r.found(t, "nobody")
	r.at = r.at.Add(2 * orphanAge)
	r.synced = false
	r.tidy(t)
	r.holds(t, "held lifted young", "alone held lifted open", "alone held lifted nobody open")
	r.synced = true
	r.tidy(t)
	r.holds(t, "held young", "held lifted open", "held lifted open")
}

func TestFindingsThatACrashLeftBehindGoAtTheNextLook(t *testing.T) {
	r := newRecords(t)
	r.save(t, "closed", incident.Closed)
	r.found(t, "unsaved") // the database did not take it
	r.view.Store(&View{Incidents: []incident.Incident{{ID: "unsaved", State: incident.Contained}}})
	r.tidy(t)
	r.at = start.Add(2 * year)
	if err := (web{Gateway: r.Gateway}).ConfirmClock(t.Context(), "web:owner"); err != nil {
		t.Fatal(err)
	}
	power := errors.New("power")
	r.archive.gone = func(context.Context, []string) error { return power }
	r.archive.sweep = func(context.Context) error { return nil } // no second chance in this life
	if err := r.archive.tidy(t.Context()); !errors.Is(err, power) {
		t.Fatal(err)
	}
	r.holds(t, "", "", "closed unsaved")
	r.found(t, "fresh")
	r.archive.sweep = r.sweepFindings
	r.tidy(t)
	r.holds(t, "", "", "fresh unsaved")
}

func TestTheListForTheVendorNeitherReadsNorWaitsForTheDisk(t *testing.T) {
	r := newRecords(t)
	r.seal(t, "i-1")
	vault := r.parts.Vault
	o := offered{kept: r.archive.bundles.Load, vault: vault}
	if _, err := o.Package("i-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before the first look: %v", err)
	}
	r.archive.count()
	want, err := vault.Package("i-1")
	if err != nil {
		t.Fatal(err)
	}
	notes := filepath.Join(r.dir, "bundles", ".packages")
	if err := os.RemoveAll(notes); err != nil { // now every Package reads the whole bundle
		t.Fatal(err)
	}
	r.archive.count()
	if got, err := o.Package("i-1"); err != nil || got != onWire(want) {
		t.Errorf("listed as %+v, %v", got, err)
	}
	if _, err := os.Stat(notes); err == nil {
		t.Error("the bundle was read through again")
	}
}
