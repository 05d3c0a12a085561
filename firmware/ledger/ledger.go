// Package ledger is the append-only, signed log of custody and actions: a
// Merkle tree over canonical JSON lines (golang.org/x/mod/sumdb/tlog), with a
// checkpoint signed by the device's key after every entry.
//
// The gateway appends, evidence takes extracts with proofs into bundles,
// sekishoctl verifies. It must never acknowledge an entry that a power cut can
// take away, and never repair what it had acknowledged.
//
// What it can prove: that an entry is in the log which a checkpoint signed, and
// that a later log only adds to an earlier one. A thief who puts back an older
// copy of the whole folder is noticed only by somebody who kept a checkpoint, or
// at the next start by a caller who kept the size elsewhere (Config.AtLeast).
// The text of an entry can be taken out for good, by a signed order that stays
// (Redact); the log itself never becomes shorter.
package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"sekisho/firmware/durable"
)

const (
	entriesFile    = "entries.jsonl"
	checkpointFile = "checkpoint"
	maxLine        = 64 << 10 // longest entry, bytes with its newline
)

// ErrTampered says that the files on disk are not what was acknowledged. The
// files are left as they are: they are evidence themselves.
var ErrTampered = errors.New("ledger does not match its signed checkpoint")

// ErrBroken says that an earlier write failed, so that the state of the disk is
// unknown. Opening the ledger again tells.
var ErrBroken = errors.New("ledger stopped after a failed write")

// Config says what Open needs besides the folder. Key must not be nil.
type Config struct {
	Key    *Key
	Logger *slog.Logger     // nil: discarded
	Now    func() time.Time // nil: time.Now; OpenAside and Redact alone ask
	// AtLeast is a number of entries that was acknowledged before and that the
	// caller kept outside the folder: a shorter ledger is ErrTampered.
	AtLeast int64
}

func (c *Config) defaults() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// Ledger is an open log. Its methods may be called from several goroutines.
// Two processes must not open the same folder; gateway holds the lock for it.
type Ledger struct {
	dir      string
	key      *Key
	log      *slog.Logger
	repaired int64

	mu      sync.RWMutex
	file    *os.File
	hashes  []tlog.Hash // every stored hash, by tlog.StoredHashIndex
	ends    []int64     // byte offset after each entry
	signed  []byte      // checkpoint of len(ends) entries
	broken  error
	failing func(step string) error // tests only: a power cut at a step
	now     func() time.Time

	redactions redactions
}

// Open reads and verifies the whole ledger in dir, or makes an empty one. A
// torn or unsigned last record, which was never acknowledged, is cut off (see
// Repaired); a redaction that a power cut interrupted is carried out; anything
// else that does not fit its checkpoint is ErrTampered.
func Open(dir string, c Config) (*Ledger, error) {
	if c.Key == nil {
		return nil, errors.New("open ledger: no key")
	}
	c.defaults()
	l := &Ledger{dir: dir, key: c.Key, log: c.Logger, now: c.Now, redactions: newRedactions(), failing: func(string) error { return nil }}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if err := l.load(c.AtLeast); err != nil {
		if l.file != nil {
			_ = l.file.Close()
		}
		return nil, fmt.Errorf("open ledger %s: %w", dir, err)
	}
	return l, nil
}

// Close closes the file; everything acknowledged is on disk already.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	l.broken = os.ErrClosed
	return err
}

// Size is the number of acknowledged entries.
func (l *Ledger) Size() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return int64(len(l.ends))
}

// Repaired tells how many bytes of a never acknowledged record Open cut off.
func (l *Ledger) Repaired() int64 { return l.repaired }

// Key is the device's key that signs the checkpoints.
func (l *Ledger) Key() *Key { return l.key }

// Append writes e, syncs it, and signs a new checkpoint before it returns the
// entry's index. After an error the entry may or may not be there when the
// ledger is opened again, and this Ledger takes no more.
func (l *Ledger) Append(e Entry) (int64, error) {
	if e.Action == ActionRedact || e.Action == ActionRedacted {
		return 0, fmt.Errorf("append to ledger: %s is for Redact alone", e.Action)
	}
	line, err := e.Line()
	if err != nil {
		return 0, fmt.Errorf("append to ledger: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return 0, fmt.Errorf("append to ledger: %w: %w", ErrBroken, l.broken)
	}
	index := int64(len(l.ends))
	if err := l.add(line); err != nil {
		return 0, fmt.Errorf("append to ledger: %w", err)
	}
	return index, nil
}

// add commits line or breaks the ledger. An entry that was not acknowledged does
// not count: Size may be kept elsewhere, and be more than a power cut leaves.
func (l *Ledger) add(line []byte) error {
	n := len(l.ends)
	err := l.commit(line)
	if err != nil {
		l.ends, l.broken = l.ends[:n], err
	}
	return err
}

// commit makes line durable, then the checkpoint over it: an entry counts from
// the moment its checkpoint is on disk.
func (l *Ledger) commit(line []byte) error {
	if err := l.failing("write"); err != nil {
		return err
	}
	if _, err := l.file.Write(line); err != nil {
		return err
	}
	if err := l.failing("sync"); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	if err := l.grow(tlog.RecordHash(line), len(line)); err != nil {
		return err
	}
	signed, err := l.sign()
	if err != nil {
		return err
	}
	if err := l.failing("checkpoint"); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(l.dir, checkpointFile), signed, 0o644); err != nil {
		return err
	}
	l.signed = signed
	return l.failing("acknowledge")
}

// grow adds a record of that hash, and of that many bytes in the file.
func (l *Ledger) grow(h tlog.Hash, size int) error {
	n := int64(len(l.ends))
	hashes, err := tlog.StoredHashesForRecordHash(n, h, l.reader())
	if err != nil {
		return err
	}
	var end int64
	if n > 0 {
		end = l.ends[n-1]
	}
	l.hashes = append(l.hashes, hashes...)
	l.ends = append(l.ends, end+int64(size))
	return nil
}

func (l *Ledger) reader() tlog.HashReaderFunc {
	return func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			if at < 0 || at >= int64(len(l.hashes)) {
				return nil, fmt.Errorf("hash %d is not stored", at)
			}
			out[i] = l.hashes[at]
		}
		return out, nil
	}
}

func (l *Ledger) sign() ([]byte, error) {
	n := int64(len(l.ends))
	root, err := tlog.TreeHash(n, l.reader())
	if err != nil {
		return nil, err
	}
	return signCheckpoint(l.key, n, root)
}

// Checkpoint returns the newest signed checkpoint, a C2SP tlog-checkpoint.
func (l *Ledger) Checkpoint() ([]byte, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.broken != nil {
		return nil, fmt.Errorf("ledger checkpoint: %w", l.broken)
	}
	return bytes.Clone(l.signed), nil
}

// Prove returns the proof that entry index is in the tree of the first size
// entries; CheckInclusion checks it.
func (l *Ledger) Prove(index, size int64) (tlog.RecordProof, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if index < 0 || index >= size || size > int64(len(l.ends)) {
		return nil, fmt.Errorf("prove ledger entry %d of %d: out of range", index, size)
	}
	return tlog.ProveRecord(size, index, l.reader())
}

// ProveConsistency returns the proof that the present tree only adds to the one
// that had old entries; CheckConsistency checks it.
func (l *Ledger) ProveConsistency(old int64) (tlog.TreeProof, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if old < 1 || old > int64(len(l.ends)) {
		return nil, fmt.Errorf("prove ledger consistency from %d: out of range", old)
	}
	return tlog.ProveTree(int64(len(l.ends)), old, l.reader())
}

// Lines returns the records from..to-1, each with its newline: as it was hashed,
// or the line that stands for a redacted one. CheckRecord reads both.
func (l *Ledger) Lines(from, to int64) ([][]byte, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if from < 0 || from > to || to > int64(len(l.ends)) {
		return nil, fmt.Errorf("read ledger %d to %d: out of range", from, to)
	}
	f, err := os.Open(filepath.Join(l.dir, entriesFile))
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	defer f.Close()
	out := make([][]byte, 0, to-from)
	for i := from; i < to; i++ {
		var start int64
		if i > 0 {
			start = l.ends[i-1]
		}
		line := make([]byte, l.ends[i]-start)
		if _, err := f.ReadAt(line, start); err != nil {
			return nil, fmt.Errorf("read ledger entry %d: %w", i, err)
		}
		if err := l.fits(i, line); err != nil {
			return nil, fmt.Errorf("read ledger: %w", err)
		}
		out = append(out, line)
	}
	return out, nil
}

// Entries returns the records from..to-1, parsed; of a redacted one nothing is
// known but its place, see ActionRedacted.
func (l *Ledger) Entries(from, to int64) ([]Entry, error) {
	lines, err := l.Lines(from, to)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, len(lines))
	for i, line := range lines {
		r, err := parseRecord(from+int64(i), line)
		if err != nil {
			return nil, fmt.Errorf("read ledger entry %d: %w", from+int64(i), err)
		}
		out[i] = r.Entry
	}
	return out, nil
}

// CheckConsistency verifies proof: that the tree of the newer checkpoint only
// adds to the older one. It needs nothing but what the vendor keeps.
func CheckConsistency(proof tlog.TreeProof, newer, older Checkpoint) error {
	if older.Origin != newer.Origin {
		return fmt.Errorf("compare checkpoints: %q and %q are different ledgers", older.Origin, newer.Origin)
	}
	if older.Size > newer.Size {
		return fmt.Errorf("compare checkpoints: the ledger has shrunk from %d to %d entries", older.Size, newer.Size)
	}
	if older.Size == newer.Size {
		if older.Root != newer.Root {
			return fmt.Errorf("compare checkpoints of %d entries: %w", older.Size, ErrTampered)
		}
		return nil
	}
	if older.Size == 0 {
		return nil
	}
	if err := tlog.CheckTree(proof, newer.Size, newer.Root, older.Size, older.Root); err != nil {
		return fmt.Errorf("compare checkpoints of %d and %d entries: %w: %w", older.Size, newer.Size, ErrTampered, err)
	}
	return nil
}

// CheckInclusion verifies that line (with its newline) is entry index of the
// tree that c signs.
func CheckInclusion(proof tlog.RecordProof, c Checkpoint, index int64, line []byte) error {
	if index < 0 || index >= c.Size {
		return fmt.Errorf("ledger entry %d: beyond the checkpoint of %d entries", index, c.Size)
	}
	if err := tlog.CheckRecord(proof, c.Size, c.Root, index, tlog.RecordHash(line)); err != nil {
		return fmt.Errorf("ledger entry %d: %w", index, err)
	}
	return nil
}
