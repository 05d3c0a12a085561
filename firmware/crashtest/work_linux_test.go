package crashtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/capture"
	"sekisho/firmware/durable"
	"sekisho/firmware/evidence"
	"sekisho/firmware/incident"
	"sekisho/firmware/ledger"
	"sekisho/firmware/store"
)

const (
	workDir = "SEKISHO_TEST_CRASH_DIR" // the work's files
	binDir  = "SEKISHO_TEST_CRASH_BIN" // the work's program
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(workDir); dir != "" {
		runtime.LockOSThread() // strace counts by thread: the journal's writes are all on this one
		if err := work(dir, says); err != nil {
			fmt.Println("stopped:", err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(run(m))
}

// run gives the tests a folder for the program that they kill.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "crashtest")
	if err == nil {
		err = os.Setenv(binDir, dir)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	return m.Run()
}

// says tells the parent what was acknowledged, each in one write.
func says(kind, id string) { os.Stdout.WriteString("ack " + kind + " " + id + "\n") }

var (
	victim = [6]byte{2, 0, 0, 0, 0, 7}
	other  = [6]byte{2, 0, 0, 0, 0, 8}
	base   = time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC)
)

// parts are what the gateway keeps evidence with.
type parts struct {
	ledger *ledger.Ledger
	vault  *evidence.Vault
	spool  *evidence.Spool
	store  *store.Store
}

// open starts everything as the gateway does after a crash.
func open(dir string) (p parts, err error) {
	key, err := ledger.LoadOrCreateKey(filepath.Join(dir, "device.key"))
	if err != nil {
		return p, err
	}
	if p.ledger, err = ledger.Open(filepath.Join(dir, "ledger"), ledger.Config{Key: key}); err != nil {
		return p, err
	}
	if p.vault, err = evidence.OpenVault(evidence.VaultConfig{Dir: filepath.Join(dir, "bundles"), Ledger: p.ledger}); err != nil {
		return p, err
	}
	if p.store, err = store.Open(filepath.Join(dir, "sekisho.db")); err != nil {
		return p, err
	}
	p.spool, err = evidence.OpenSpool(filepath.Join(dir, "spool"), evidence.SpoolConfig{
		BufferBytes: 8192, Buffers: 4, SegmentBytes: 64 << 10, MaxBytes: 1 << 20, SyncEvery: time.Hour, Now: func() time.Time { return base },
	})
	return p, err
}

func (p parts) close() error {
	var errs []error
	if p.spool != nil {
		errs = append(errs, p.spool.Close())
	}
	if p.store != nil {
		errs = append(errs, p.store.Close())
	}
	if p.ledger != nil {
		errs = append(errs, p.ledger.Close())
	}
	return errors.Join(errs...)
}

// step is what is acknowledged when do has returned.
type step struct {
	kind, id string
	do       func() error
}

// work is one incident from its first packet to its sealed bundle, whose hold is
// lifted, and the end of those of earlier rounds: the bundle is deleted, the
// entry redacted.
func work(dir string, ack func(kind, id string)) error {
	p, err := open(dir)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	round := p.ledger.Size()
	id := fmt.Sprintf("I%04d", round)
	steps := []step{
		{"incident", id, func() error { return p.store.SaveIncident(context.Background(), newIncident(id)) }},
		{"policy", id, func() error { return durable.WriteFile(filepath.Join(dir, "policy.json"), []byte(id), 0o600) }},
		{"entry", id, func() error {
			at, err := p.ledger.Append(ledger.Entry{Time: base, Action: "incident.open", Subject: id})
			if err == nil && at != round {
				err = fmt.Errorf("entry %d came at %d", round, at)
			}
			return err
		}},
		{"frame", id, func() error { p.spool.Write(frame(round)); return p.spool.Flush() }},
		{"pin", id, func() error { return p.spool.Pin(id, base.Add(-time.Hour)) }},
		{"bundle", id, func() error { return p.seal(id) }},
		{"lift", id, func() error { return p.vault.SetHold(id, false, "crash", "handed over") }},
	}
	kept, err := p.vault.Kept()
	if err != nil {
		return fmt.Errorf("kept bundles: %w", err)
	}
	for _, b := range kept {
		if !b.Held {
			steps = append(steps, p.end(b.ID)...)
		}
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s %s: %w", s.kind, s.id, err)
		}
		ack(s.kind, s.id)
	}
	return p.close()
}

// end takes away what stands of a round whose hold was lifted.
func (p parts) end(id string) []step {
	return []step{
		{"delete", id, func() error { _, err := p.vault.Delete(id, "crash", "old"); return err }},
		{"redact", id, func() error {
			n, err := number(id)
			if err == nil {
				err = p.ledger.Redact([]int64{n}, "crash", "old")
			}
			return err
		}},
	}
}

// number is the round of an id: the size that the ledger had.
func number(id string) (int64, error) { return strconv.ParseInt(strings.TrimPrefix(id, "I"), 10, 64) }

func (p parts) seal(id string) error {
	packets := func(ctx context.Context, w io.Writer) (evidence.Extraction, error) {
		return p.spool.Extract(ctx, id, evidence.Match{MACs: [][6]byte{victim}}, base.Add(-time.Hour), base.Add(time.Hour), w, nil)
	}
	_, err := p.vault.Seal(context.Background(), evidence.BundleInput{ID: id, Incident: id, Packets: packets})
	return err
}

func newIncident(id string) incident.Incident {
	return incident.Incident{
		ID: id, State: incident.Open, Opened: base, Updated: base, Since: base, Asset: asset.Asset{ID: "mac:02:00:00:00:00:07"},
		History: []incident.Transition{{At: base, To: incident.Open, Input: incident.InFinding}},
	}
}

// frame carries its number where a checker finds it: in the IPv4 source address.
func frame(n int64) *capture.Frame {
	b := append(append(append([]byte{}, other[:]...), victim[:]...), 8, 0, 0x45)
	b = append(b, make([]byte, 11)...)
	from := netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}).As4()
	b = append(append(b, from[:]...), 192, 0, 2, 9)
	b = append(b, make([]byte, 200)...)
	return &capture.Frame{Time: base.Add(time.Duration(n) * time.Millisecond).UnixNano(), Data: b, OrigLen: len(b), Link: capture.LinkEthernet, Iface: 3}
}
