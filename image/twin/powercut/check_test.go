package powercut

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sekisho/firmware/capture"
	"sekisho/firmware/evidence"
)

// promised is what counts at one moment.
type promised struct {
	key       string
	frames    int64
	policy    int64
	pins      map[string]Promise
	entries   []Promise
	bundles   []Promise
	incidents map[string]int64 // transitions
}

func sum(given []Promise) promised {
	p := promised{pins: map[string]Promise{}, incidents: map[string]int64{}}
	for _, g := range given {
		switch g.Kind {
		case Key:
			p.key = g.ID
		case Frames:
			p.frames = max(p.frames, g.To)
		case Policy:
			p.policy = max(p.policy, g.To)
		case Pin:
			p.pins[g.ID] = g
		case Unpin:
			delete(p.pins, g.ID)
		case Entry:
			p.entries = append(p.entries, g)
		case Bundle:
			p.bundles = append(p.bundles, g)
		case Incident:
			p.incidents[g.ID] = max(p.incidents[g.ID], g.To)
		}
	}
	return p
}

// check starts the appliance's packages on what a power cut has left in dir
// and returns every promise that is broken.
func check(ctx context.Context, dir string, given []Promise) error {
	p := sum(given)
	end := frameTime(1 << 30) // later than any frame
	d, err := open(dir, end.UTC)
	if err != nil {
		return fmt.Errorf("does not start: %w", err)
	}
	return errors.Join(p.checkKey(d), p.checkLedger(d), p.checkBundles(d, dir), p.checkSpool(ctx, d),
		p.checkStore(ctx, d), p.checkPolicy(dir), d.close())
}

func (p promised) checkKey(d *device) error {
	if p.key != "" && d.key.Public() != p.key {
		return errors.New("key: the device has another one")
	}
	return nil
}

func (p promised) checkLedger(d *device) error {
	var errs []error
	for _, want := range p.entries {
		got, err := d.ledger.Entries(want.To, want.To+1)
		if err != nil {
			errs = append(errs, fmt.Errorf("ledger: promised entry %d: %w", want.To, err))
		} else if got[0].Subject != want.ID {
			errs = append(errs, fmt.Errorf("ledger: entry %d is of %q, promised %q", want.To, got[0].Subject, want.ID))
		}
	}
	return errors.Join(errs...)
}

// checkBundles verifies what is offered, promised or not: nothing half-made may
// be among it.
func (p promised) checkBundles(d *device, dir string) error {
	offered, err := os.ReadDir(bundleFolder(dir))
	if err != nil {
		return fmt.Errorf("bundles: %w", err)
	}
	packets := map[string]int64{}
	var errs []error
	for _, e := range offered {
		if strings.HasPrefix(e.Name(), ".") { // the vault's own
			continue
		}
		r, err := evidence.Verify(filepath.Join(bundleFolder(dir), e.Name()), evidence.VerifyOptions{Key: d.key.Public()})
		if err != nil {
			errs = append(errs, fmt.Errorf("bundles: offered, but: %w", err))
			continue
		}
		packets[r.ID] = int64(r.Packets)
	}
	listed, err := d.vault.List()
	errs = append(errs, err)
	if len(listed) != len(packets) {
		errs = append(errs, fmt.Errorf("bundles: %d are listed, %d verify", len(listed), len(packets)))
	}
	for _, want := range p.bundles {
		if got, ok := packets[want.ID]; !ok || got != want.To {
			errs = append(errs, fmt.Errorf("bundles: promised %s of %d packets, has %d", want.ID, want.To, got))
		}
	}
	return errors.Join(errs...)
}

func (p promised) checkSpool(ctx context.Context, d *device) error {
	if err := d.spool.Health(); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	var errs []error
	for id, want := range p.pins {
		if !slices.Contains(d.spool.Pins(), id) {
			errs = append(errs, fmt.Errorf("spool: promised pin %s is gone", id))
			continue
		}
		errs = append(errs, holds(ctx, d.spool, id, want.From, want.To))
	}
	const all = "check" // pins everything, so that all of it can be read
	if err := d.spool.Pin(all, start); err != nil {
		return errors.Join(append(errs, fmt.Errorf("spool: %w", err))...)
	}
	return errors.Join(append(errs, holds(ctx, d.spool, all, max(1, p.frames-ringKeeps), p.frames))...)
}

// holds reads everything under the pin and wants it undamaged, each frame as
// it was written, and all of from to to.
func holds(ctx context.Context, s *evidence.Spool, id string, from, to int64) error {
	var out bytes.Buffer
	ex, err := s.Extract(ctx, id, suspect, start, frameTime(1<<30), &out, nil)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if len(ex.Damaged)+len(ex.Gaps) > 0 {
		return fmt.Errorf("spool: %s: damaged %v, gaps %v", id, ex.Damaged, ex.Gaps)
	}
	have, err := frameNumbers(&out)
	if err != nil {
		return fmt.Errorf("spool: %s: %w", id, err)
	}
	for n := from; n <= to; n++ {
		if n > 0 && !have[n] {
			return fmt.Errorf("spool: %s: promised frames %d to %d, %d is lost", id, from, to, n)
		}
	}
	return nil
}

func frameNumbers(r io.Reader) (map[int64]bool, error) {
	c, err := capture.OpenReader("extract", r)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	have := map[int64]bool{}
	for {
		var f capture.Frame
		switch err := c.Next(&f); {
		case err == io.EOF:
			return have, nil
		case err != nil:
			return nil, err
		}
		n := (f.Time - start.UnixNano()) / interval.Nanoseconds()
		if want := frame(n); !bytes.Equal(want.Data, f.Data) {
			return nil, fmt.Errorf("frame %d is not as it was written", n)
		}
		have[n] = true
	}
}

// checkStore relies on Open, which runs SQLite's integrity_check and moves a
// damaged database aside.
func (p promised) checkStore(ctx context.Context, d *device) error {
	if at := d.store.Damaged(); at != "" {
		return fmt.Errorf("database: damaged, moved to %s", filepath.Base(at))
	}
	var errs []error
	for id, lines := range p.incidents {
		journal, err := d.store.Journal(ctx, id)
		errs = append(errs, err)
		if int64(len(journal)) < lines {
			errs = append(errs, fmt.Errorf("database: promised %d transitions of %s, has %d", lines, id, len(journal)))
		}
	}
	all, err := d.store.Incidents(ctx)
	errs = append(errs, err)
	for _, i := range all {
		journal, err := d.store.Journal(ctx, i.ID)
		errs = append(errs, err)
		if len(journal) != len(i.History) {
			errs = append(errs, fmt.Errorf("database: %s: %d lines in the journal, %d in the snapshot", i.ID, len(journal), len(i.History)))
		}
	}
	return errors.Join(errs...)
}

func (p promised) checkPolicy(dir string) error {
	text, err := os.ReadFile(policyFile(dir))
	if errors.Is(err, fs.ErrNotExist) && p.policy == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	var v int64
	first, _, _ := strings.Cut(string(text), "\n")
	if _, err := fmt.Sscanf(first, "policy %d", &v); err != nil || !bytes.Equal(text, policyText(v)) {
		return errors.New("policy: the file is not whole")
	}
	if v < p.policy {
		return fmt.Errorf("policy: promised version %d, has %d", p.policy, v)
	}
	return nil
}
