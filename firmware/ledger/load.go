package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/mod/sumdb/tlog"

	"sekisho/firmware/durable"
)

// load builds the tree from the entries and holds it against the checkpoint.
func (l *Ledger) load(atLeast int64) error {
	path := filepath.Join(l.dir, checkpointFile)
	signed, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if atLeast > 0 {
			return fmt.Errorf("%w: it is gone, and had %d entries", ErrTampered, atLeast)
		}
		return l.create()
	}
	if errors.Is(err, syscall.EIO) { // the medium has lost it
		return fmt.Errorf("%w: %w", ErrTampered, err)
	}
	if err != nil {
		return err
	}
	c, err := ParseCheckpoint(signed, l.key.Verifier())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTampered, err)
	}
	if c.Size < atLeast {
		return fmt.Errorf("%w: it has %d entries, and had %d: an older copy was put back", ErrTampered, c.Size, atLeast)
	}
	l.file, err = os.OpenFile(filepath.Join(l.dir, entriesFile), os.O_RDWR|os.O_APPEND, 0o644)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EISDIR) {
		return fmt.Errorf("%w: %w", ErrTampered, err)
	}
	if err != nil { // no permission, a read-only disk: not the ledger's fault
		return err
	}
	rest, err := l.readEntries(c.Size)
	if err != nil {
		return err
	}
	root, err := tlog.TreeHash(c.Size, l.reader())
	if err != nil {
		return err
	}
	if root != c.Root {
		return fmt.Errorf("%w: an entry was rewritten", ErrTampered)
	}
	if err := l.redactions.check(); err != nil {
		return err
	}
	l.signed = signed
	if err := l.repair(rest); err != nil {
		return err
	}
	return l.finishRedaction()
}

// finishRedaction carries out what was ordered before the power went. While the
// disk does not take it the ledger works all the same.
func (l *Ledger) finishRedaction() error {
	err := errors.Join(removeHalf(filepath.Join(l.dir, entriesFile)), l.rewrite())
	if err != nil && l.broken == nil {
		l.log.Error("a redaction is not finished", "error", err)
	}
	return l.broken
}

// create starts an empty ledger. The checkpoint of zero entries comes last, so
// that entries without a checkpoint are always a sign of tampering.
func (l *Ledger) create() error {
	path := filepath.Join(l.dir, entriesFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	l.file = f
	if info, err := f.Stat(); err != nil {
		return err
	} else if info.Size() > 0 {
		return fmt.Errorf("%w: there are entries, but the checkpoint is missing", ErrTampered)
	}
	if l.signed, err = l.sign(); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(l.dir, checkpointFile), l.signed, 0o644)
}

// readEntries hashes exactly size lines and returns what stands after them.
func (l *Ledger) readEntries(size int64) (rest []byte, err error) {
	r := newLineReader(l.file)
	for i := int64(0); i < size; i++ {
		line, err := r.next()
		if err != nil {
			return nil, fmt.Errorf("%w: entry %d of %d: %w", ErrTampered, i, size, err)
		}
		if err := l.take(i, line); err != nil {
			return nil, err
		}
	}
	rest, err = io.ReadAll(io.LimitReader(r.r, 2*maxLine))
	return rest, err
}

// take adds a line that was read. Only orders are parsed: the others are fixed
// by their hash.
func (l *Ledger) take(i int64, line []byte) error {
	h, by, err := leaf(line)
	if err != nil {
		return fmt.Errorf("%w: entry %d: %w", ErrTampered, i, err)
	}
	if by >= 0 {
		l.redactions.see(Record{Index: i, Redacted: true, By: by})
	} else if bytes.Contains(line, []byte(`"action":"`+ActionRedact+`"`)) {
		r, err := parseRecord(i, line)
		if err != nil {
			return fmt.Errorf("%w: entry %d: %w", ErrTampered, i, err)
		}
		l.redactions.see(r)
	}
	return l.grow(h, len(line))
}

// repair cuts off the one record that was being written when the power went.
// Appending is one record at a time, so more than one line is not ours.
func (l *Ledger) repair(rest []byte) error {
	if len(rest) == 0 {
		return nil
	}
	if i := bytes.IndexByte(rest, '\n'); len(rest) > maxLine || (i >= 0 && i != len(rest)-1) {
		return fmt.Errorf("%w: there are entries after the last signed one", ErrTampered)
	}
	var end int64
	if n := len(l.ends); n > 0 {
		end = l.ends[n-1]
	}
	l.log.Warn("ledger record was torn by a power cut and is cut off", "offset", end, "bytes", len(rest))
	if err := l.file.Truncate(end); err != nil {
		return err
	}
	l.repaired = int64(len(rest))
	return l.file.Sync()
}
