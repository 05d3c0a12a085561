package powercut

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sekisho/firmware/asset"
	"sekisho/firmware/durable"
	"sekisho/firmware/evidence"
	"sekisho/firmware/incident"
	"sekisho/firmware/ledger"
	"sekisho/firmware/store"
)

const (
	pinReach     = 50 // frames before the newest that a pin keeps
	pinsKept     = 2
	linesPerCase = 4 // transitions of an incident, each saved

	// ringKeeps is how many of the newest frames the ring holds, whatever is
	// pinned: of its sixteen segments the pins take three each at most.
	ringKeeps = 100
)

// spoolConfig is a ring so small that it turns within a run. Its clock is the
// frames', the disk is synced when Work says so.
func spoolConfig(now func() time.Time) evidence.SpoolConfig {
	return evidence.SpoolConfig{
		MaxBytes: 16 * 128 << 10, SegmentBytes: 128 << 10, BufferBytes: 16 << 10, Buffers: 32,
		SyncEvery: time.Hour, PinFollow: time.Second, Now: now,
	}
}

// device is the appliance's state in one folder, open.
type device struct {
	key    *ledger.Key
	ledger *ledger.Ledger
	vault  *evidence.Vault
	spool  *evidence.Spool
	store  *store.Store
}

// open opens everything as the gateway does at boot.
func open(dir string, now func() time.Time) (*device, error) {
	d := &device{}
	if err := d.open(dir, now); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *device) open(dir string, now func() time.Time) (err error) {
	if d.key, err = ledger.LoadOrCreateKey(filepath.Join(dir, "device.key")); err != nil {
		return err
	}
	if d.ledger, err = ledger.Open(filepath.Join(dir, "ledger"), ledger.Config{Key: d.key}); err != nil {
		return err
	}
	if d.vault, err = evidence.OpenVault(evidence.VaultConfig{Dir: bundleFolder(dir), Ledger: d.ledger, Now: now}); err != nil {
		return err
	}
	if d.spool, err = evidence.OpenSpool(filepath.Join(dir, "spool"), spoolConfig(now)); err != nil {
		return err
	}
	d.store, err = store.Open(filepath.Join(dir, "sekisho.db"))
	return err
}

// close closes what is open.
func (d *device) close() error {
	var errs []error
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	if d.spool != nil {
		errs = append(errs, d.spool.Close())
	}
	if d.ledger != nil {
		errs = append(errs, d.ledger.Close())
	}
	return errors.Join(errs...)
}

func bundleFolder(dir string) string { return filepath.Join(dir, "bundles") }
func policyFile(dir string) string   { return filepath.Join(dir, "policy.json") }

// policyText is the policy of version v: some kilobytes that say it everywhere.
func policyText(v int64) []byte {
	var text []byte
	for range 200 {
		text = fmt.Appendf(text, "policy %08d\n", v)
	}
	return text
}

// worker is what goes on across restarts.
type worker struct {
	dir   string
	give  func(Promise) error
	frame atomic.Int64 // the newest
	round int64
	pins  []string // oldest first
	cases int64
	lines int64 // entries and policies
}

func (w *worker) now() time.Time { return frameTime(w.frame.Load()) }

// Work writes below dir until ctx ends or something fails, restarts everything
// now and then, and gives a promise after each acknowledgement.
func Work(ctx context.Context, dir string, give func(Promise) error) error {
	w := &worker{dir: dir, give: give}
	for ctx.Err() == nil {
		if err := w.session(ctx); err != nil {
			return fmt.Errorf("work on %s: %w", dir, err)
		}
	}
	return nil
}

// session is the time between two starts.
func (w *worker) session(ctx context.Context) error {
	d, err := open(w.dir, w.now)
	if err != nil {
		return err
	}
	err = w.give(Promise{Kind: Key, ID: d.key.Public()})
	const rounds = 8
	for i := 0; i < rounds && err == nil && ctx.Err() == nil; i++ {
		err = w.turn(d)
	}
	return errors.Join(err, d.close())
}

// turn is a while of traffic alone, when most of what is written is not synced
// yet, and then evidence and records side by side, so that what one syncs says
// nothing about the other.
func (w *worker) turn(d *device) error {
	w.round++
	for i := range int64(4) {
		if err := w.traffic(d, 40+(4*w.round+i)*37%400); err != nil {
			return err
		}
	}
	var g errgroup.Group
	g.Go(func() error { return w.secure(d) })
	g.Go(func() error {
		for range 3 {
			if err := w.record(d); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// traffic is n frames, and a promise for them.
func (w *worker) traffic(d *device, n int64) error {
	for range n {
		d.spool.Write(frame(w.frame.Add(1)))
	}
	if err := d.spool.Flush(); err != nil {
		return err
	}
	if lost := d.spool.Stats().Drops; lost > 0 { // Flush is content with losses that are counted
		return fmt.Errorf("the spool dropped %d frames", lost)
	}
	return w.give(Promise{Kind: Frames, To: w.frame.Load()})
}

// secure pins the newest frames, seals them, and lets the oldest pin go.
func (w *worker) secure(d *device) error {
	newest := w.frame.Load()
	pin := Promise{Kind: Pin, ID: fmt.Sprintf("P%04d", w.round), From: max(1, newest-pinReach), To: newest}
	if err := d.spool.Pin(pin.ID, frameTime(pin.From)); err != nil {
		return err
	}
	if err := w.give(pin); err != nil {
		return err
	}
	if err := w.seal(d, pin); err != nil {
		return err
	}
	if w.pins = append(w.pins, pin.ID); len(w.pins) <= pinsKept {
		return nil
	}
	oldest := w.pins[0]
	w.pins = w.pins[1:]
	if err := w.give(Promise{Kind: Unpin, ID: oldest}); err != nil {
		return err
	}
	return d.spool.Unpin(oldest)
}

func (w *worker) seal(d *device, pin Promise) error {
	from, to := frameTime(pin.From), frameTime(pin.To)
	b, err := d.vault.Seal(context.Background(), evidence.BundleInput{
		ID: "B" + pin.ID, Incident: pin.ID,
		Packets: func(ctx context.Context, out io.Writer) (evidence.Extraction, error) {
			return d.spool.Extract(ctx, pin.ID, suspect, from, to, out, nil)
		},
		Completeness: evidence.Completeness{From: from, To: to},
		LedgerFrom:   d.ledger.Size() - 3,
	})
	if err != nil {
		return err
	}
	return w.give(Promise{Kind: Bundle, ID: b.ID, To: int64(b.Packets)})
}

// record writes to ledger, database and policy file.
func (w *worker) record(d *device) error {
	w.lines++
	subject := fmt.Sprint("host-", w.lines)
	at, err := d.ledger.Append(ledger.Entry{Time: w.now(), Actor: "gateway", Action: "isolate", Subject: subject})
	if err != nil {
		return err
	}
	if err := w.give(Promise{Kind: Entry, ID: subject, To: at}); err != nil {
		return err
	}
	if err := w.incident(d); err != nil {
		return err
	}
	if err := durable.WriteFile(policyFile(w.dir), policyText(w.lines), 0o600); err != nil {
		return err
	}
	return w.give(Promise{Kind: Policy, To: w.lines})
}

// incident saves a new incident after each of its transitions.
func (w *worker) incident(d *device) error {
	w.cases++
	i := incident.Incident{
		ID: fmt.Sprintf("case-%04d", w.cases), State: incident.Open, Level: incident.Isolate,
		Asset:  asset.Asset{ID: "mac:02:00:00:00:00:07", MAC: host, Name: "経理PC", FirstSeen: start, LastSeen: start},
		Opened: w.now(), Updated: w.now(), Findings: []incident.Observation{}, History: []incident.Transition{},
	}
	for line := range linesPerCase {
		i, _ = incident.Step(i, incident.Input{Kind: incident.InPress, At: w.now(), By: fmt.Sprint("press ", line)})
		if err := d.store.SaveIncident(context.Background(), i); err != nil {
			return err
		}
		if err := w.give(Promise{Kind: Incident, ID: i.ID, To: int64(line + 1)}); err != nil {
			return err
		}
	}
	return nil
}
