package evidence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"sekisho/firmware/durable"
	"sekisho/firmware/ledger"
)

const unfinished = ".sealing-" // folder names of what was never acknowledged

// VaultConfig says where bundles go and who signs them.
type VaultConfig struct {
	Dir      string
	Ledger   *ledger.Ledger // its key signs the bundles
	Software string         // "sekisho 1.2", into bag-info.txt
	Now      func() time.Time
	Logger   *slog.Logger

	// Medium says what speaks against writing to Dir now, as OwnMedium does;
	// nil: nothing ever does.
	Medium func() error
	// Recipients can read the packages; without any, packages are not encrypted.
	Recipients []age.Recipient
	// TimestampURL names a time-stamping authority (RFC 3161); "" is none.
	TimestampURL    string
	TimestampClient *http.Client // nil: http.DefaultClient
}

// Vault keeps sealed bundles, each a read-only folder. One process has it open.
type Vault struct {
	dir string
	c   VaultConfig

	mu    sync.Mutex // one seal or deletion at a time: the disk belongs to the capture
	ready bool       // what a crash left was removed
	step  func(string) error

	// holds keeps lifting a hold and deleting apart. It is not mu, so that a
	// person who lifts one does not wait behind a seal; where both are needed, mu
	// comes first.
	holds sync.Mutex

	packing sync.Mutex // one package at a time
}

// OpenVault opens the vault and removes what a crash left half-made. Only an
// impossible configuration is an error: while the folder cannot be used, Seal,
// Get and List say so, each time they are called. It waits openWait at most.
func OpenVault(c VaultConfig) (*Vault, error) {
	if c.Ledger == nil {
		return nil, errors.New("open vault: no ledger")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.TimestampClient == nil {
		c.TimestampClient = http.DefaultClient
	}
	if c.Software == "" {
		c.Software = "sekisho"
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	v := &Vault{dir: dir, c: c, step: func(string) error { return nil }}
	ready := make(chan struct{})
	v.mu.Lock()
	go func() {
		defer close(ready)
		defer v.mu.Unlock()
		if err := v.prepare(); err != nil {
			c.Logger.Error("no evidence can be sealed until its folder is back", "error", err)
		}
	}()
	select {
	case <-ready:
	case <-time.After(openWait):
		c.Logger.Error("the evidence folder does not answer")
	}
	return v, nil
}

// prepare makes the folder and, once, removes what was never acknowledged. It
// wants mu held.
func (v *Vault) prepare() error {
	if v.c.Medium != nil {
		if err := v.c.Medium(); err != nil {
			v.ready = false // the disk that comes back may be another
			return named(err)
		}
	}
	if err := os.MkdirAll(v.dir, 0o755); err != nil {
		return named(err)
	}
	if v.ready {
		return nil
	}
	entries, err := os.ReadDir(v.dir)
	if err != nil {
		return named(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), unfinished) {
			v.c.Logger.Info("unfinished bundle is removed", "folder", e.Name())
			if err := removeSealed(filepath.Join(v.dir, e.Name())); err != nil {
				return named(err)
			}
		}
	}
	v.finishDeletions()
	if err := v.tidyPackages(); err != nil {
		return named(err)
	}
	v.ready = true
	return nil
}

// removeSealed removes a folder that may be read-only already.
func removeSealed(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o755)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}

// Seal writes the bundle, records it in the ledger, signs it, reads it back and
// verifies it, and only then publishes it under its name, read-only. After a
// crash or an error nothing is offered; the ledger may then hold the entry of a
// seal that was never finished. A span in Completeness that ends before it
// begins is ErrSpan: an empty bundle would look like the absence of traffic.
func (v *Vault) Seal(ctx context.Context, in BundleInput) (Bundle, error) {
	if err := validID(in.ID); err != nil {
		return Bundle{}, fmt.Errorf("seal bundle: %w", err)
	}
	if err := checkSpan(in.Completeness.From, in.Completeness.To); err != nil {
		return Bundle{}, fmt.Errorf("seal bundle %s: %w", in.ID, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.prepare(); err != nil {
		return Bundle{}, fmt.Errorf("seal bundle %s: %w", in.ID, err)
	}
	final := filepath.Join(v.dir, in.ID)
	if _, err := os.Lstat(final); err == nil {
		return Bundle{}, fmt.Errorf("seal bundle %s: %w", in.ID, ErrSealed)
	}
	work := filepath.Join(v.dir, unfinished+in.ID)
	b, err := v.build(ctx, in, work)
	if err == nil {
		err = v.publish(work, final)
	}
	if err != nil {
		return Bundle{}, errors.Join(fmt.Errorf("seal bundle %s: %w", in.ID, err), removeSealed(work))
	}
	b.Path = final
	r, _, err := v.openPackage(ctx, b.ID)
	if err != nil { // the seal holds; it is made when it is asked for
		v.c.Logger.Warn("bundle is sealed but not packed", "error", err)
		return b, nil
	}
	_ = r.Close()
	return b, nil
}

func (v *Vault) build(ctx context.Context, in BundleInput, work string) (Bundle, error) {
	if err := removeSealed(work); err != nil {
		return Bundle{}, err
	}
	if err := os.MkdirAll(filepath.Join(work, "data"), 0o755); err != nil {
		return Bundle{}, err
	}
	bag := newBag(work)
	sealed := v.c.Now().UTC()
	facts, err := v.payload(ctx, bag, in, sealed)
	if err != nil {
		return Bundle{}, err
	}
	if err := v.step("payload"); err != nil {
		return Bundle{}, err
	}
	meta := seal{ID: in.ID, Incident: in.Incident, Key: v.c.Ledger.Key().Public(), Packets: facts.Packets,
		Bytes: facts.Bytes, First: facts.First, Last: facts.Last, Sealed: sealed}
	if err := v.tags(bag, &meta, in); err != nil {
		return Bundle{}, err
	}
	if err := v.sign(ctx, bag, &meta); err != nil {
		return Bundle{}, err
	}
	if err := v.step("signed"); err != nil {
		return Bundle{}, err
	}
	if err := freeze(work); err != nil {
		return Bundle{}, err
	}
	if _, err := Verify(work, VerifyOptions{Key: v.c.Ledger.Key().Public()}); err != nil {
		return Bundle{}, fmt.Errorf("read back: %w", err)
	}
	return meta.bundle(), v.step("verified")
}

// payload writes data/ and returns what the packets are.
func (v *Vault) payload(ctx context.Context, bag *bag, in BundleInput, sealed time.Time) (pcapFacts, error) {
	var facts pcapFacts
	var ex Extraction
	packets := filepath.Join(bag.dir, filepath.FromSlash(packetsFile))
	err := bag.add(packetsFile, func(w io.Writer) (err error) {
		if in.Packets == nil {
			return errors.New("no packets given")
		}
		ex, err = in.Packets(ctx, w)
		return err
	})
	if err != nil {
		return facts, err
	}
	if facts, err = readPcapFile(packets); err != nil {
		return facts, fmt.Errorf("%s: %w", packetsFile, err)
	}
	if facts.Packets != ex.Packets {
		return facts, fmt.Errorf("%s: %d packets extracted, %d in the file", packetsFile, ex.Packets, facts.Packets)
	}
	in.Completeness.take(ex)
	files := []struct {
		name  string
		write func(io.Writer) error
	}{
		{"data/findings.jsonl", orText(in.Findings, "")},
		{"data/flows.jsonl", orText(in.flowsOf(packets), "")},
		{"data/assets.json", orText(in.Assets, "[]\n")},
		{"data/incident.json", orText(in.IncidentJSON, "{}\n")},
		{"data/completeness.json", func(w io.Writer) error {
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			return enc.Encode(in.Completeness)
		}},
		{"data/report.html", func(w io.Writer) error { return writeReport(w, in, sealed) }},
	}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return facts, err
		}
		if err := bag.add(f.name, f.write); err != nil {
			return facts, err
		}
	}
	return facts, nil
}

// flowsOf has the flows derived from the packets as they were written.
func (in BundleInput) flowsOf(packets string) func(io.Writer) error {
	if in.Flows == nil {
		return nil
	}
	return func(w io.Writer) error {
		f, err := os.Open(packets)
		if err != nil {
			return err
		}
		defer f.Close()
		return in.Flows(w, f)
	}
}

// take adds what an extraction tells of the time that was asked for.
func (c *Completeness) take(ex Extraction) {
	c.Extraction, c.KernelDrops, c.SpoolDrops = ex, 0, 0
	for _, g := range ex.Gaps {
		if g.Where == GapKernel {
			c.KernelDrops += g.Frames
		} else {
			c.SpoolDrops += g.Frames
		}
	}
}

func orText(write func(io.Writer) error, text string) func(io.Writer) error {
	if write != nil {
		return write
	}
	return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
}

// publish gives the finished folder its name in one step.
func (v *Vault) publish(work, final string) error {
	if err := os.Rename(work, final); err != nil {
		return err
	}
	return durable.SyncDir(v.dir)
}

// Get returns the bundle of that id. It reads the signature only; Verify reads
// everything.
func (v *Vault) Get(id string) (Bundle, error) {
	if err := validID(id); err != nil {
		return Bundle{}, fmt.Errorf("bundle: %w", err)
	}
	path := filepath.Join(v.dir, id)
	data, err := os.ReadFile(filepath.Join(path, signatureFile))
	if _, away := os.Stat(v.dir); err != nil && away != nil {
		err = named(away) // not this bundle is missing, but all are
	}
	if err != nil {
		return Bundle{}, fmt.Errorf("bundle %s: %w", id, err)
	}
	meta, err := openSeal(data, v.c.Ledger.Key().Verifier())
	if err != nil {
		return Bundle{}, fmt.Errorf("bundle %s: %w", id, err)
	}
	b := meta.bundle()
	b.Path = path
	return b, nil
}

// List returns every sealed bundle, by id. One that cannot be read is logged.
func (v *Vault) List() ([]Bundle, error) {
	entries, err := os.ReadDir(v.dir)
	if err != nil {
		return nil, fmt.Errorf("list bundles: %w", named(err))
	}
	var out []Bundle
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		b, err := v.Get(e.Name())
		if err != nil {
			v.c.Logger.Warn("bundle cannot be read", "error", err)
			continue
		}
		out = append(out, b)
	}
	return out, nil
}
