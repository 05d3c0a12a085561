package ledger

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"sekisho/firmware/durable"
)

// orderEntries bounds how many indexes one order names: the longest ones fit
// into a line.
const orderEntries = 2048

// redactions remembers who was redacted by whom, while the log is read from its
// start to its end.
type redactions struct {
	done   map[int64]int64 // redacted record -> the order that its line claims
	due    map[int64]int64 // record -> the order that names it
	orders map[int64]bool  // records that are orders
}

func newRedactions() redactions {
	return redactions{done: map[int64]int64{}, due: map[int64]int64{}, orders: map[int64]bool{}}
}

// see takes the next record. An order counts for earlier records that no order
// has named yet and that are not orders themselves: one record has one order, so
// that a changed "by" is noticed, and an order can never be made to vanish.
func (x redactions) see(r Record) {
	if r.Redacted {
		x.done[r.Index] = r.By
		return
	}
	if r.Entry.Action != ActionRedact {
		return
	}
	x.orders[r.Index] = true
	named, _ := r.Entry.Detail["entries"].([]any)
	for _, n := range named {
		number, _ := n.(json.Number)
		index, err := number.Int64()
		if _, again := x.due[index]; err == nil && !again && index >= 0 && index < r.Index && !x.orders[index] {
			x.due[index] = r.Index
		}
	}
}

// check says whether every redacted record was ordered to be.
func (x redactions) check() error {
	for index, by := range x.done {
		if due, ok := x.due[index]; !ok || due != by {
			return fmt.Errorf("%w: entry %d is redacted, and entry %d does not order it", ErrTampered, index, by)
		}
	}
	return nil
}

// pending says that an order was not carried out to its end.
func (x redactions) pending() bool { return len(x.done) < len(x.due) }

// Redact removes the text of entries, for good: personal data that somebody
// asked to have deleted. What stays of each is its hash, so the tree, all proofs
// and all checkpoints hold as before, and the order: an entry of action
// ActionRedact with the indexes, who ordered it and why. It comes first; a power
// cut after it is made up for by Open. Orders themselves cannot be redacted, so
// by and reason must not name whom it is about. Calling it again for the same
// entries finishes what an error left undone, and orders nothing new.
//
// What it cannot do: the hash stays, so whoever knows everything else that stood
// in a record can test a guess of the rest; extracts in bundles and copies
// elsewhere are not reached; the disk overwrites the old file when it likes.
func (l *Ledger) Redact(indexes []int64, by, reason string) error {
	if by == "" {
		return errors.New("redact ledger: nobody ordered it")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return fmt.Errorf("redact ledger: %w: %w", ErrBroken, l.broken)
	}
	var fresh []int64
	for _, i := range indexes {
		if i < 0 || i >= int64(len(l.ends)) || l.redactions.orders[i] {
			return fmt.Errorf("redact ledger entry %d: there is none that can be redacted", i)
		}
		if _, known := l.redactions.due[i]; !known {
			fresh = append(fresh, i)
		}
	}
	slices.Sort(fresh)
	for part := range slices.Chunk(slices.Compact(fresh), orderEntries) {
		if err := l.order(part, by, reason); err != nil {
			return fmt.Errorf("redact ledger: %w", err)
		}
	}
	if err := l.rewrite(); err != nil {
		return fmt.Errorf("redact ledger: %w", err)
	}
	return nil
}

// order appends the entry that authorises the redaction. It wants mu held.
func (l *Ledger) order(indexes []int64, by, reason string) error {
	e := Entry{Time: l.now().UTC(), Actor: by, Action: ActionRedact, Subject: fmt.Sprint(len(indexes), " entries"),
		Detail: map[string]any{"entries": indexes, "reason": strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "?")}}
	line, err := e.Line()
	if err != nil {
		return err
	}
	at := int64(len(l.ends))
	if err := l.add(line); err != nil {
		return err
	}
	r, err := parseRecord(at, line)
	if err == nil {
		l.redactions.see(r)
	}
	return err
}

// rewrite replaces the file of entries by one in which every order is carried
// out, in one step. It wants mu held. Until the rename an error changes nothing;
// after it the Ledger is broken, because nobody knows which file a power cut
// would leave.
func (l *Ledger) rewrite() error {
	if !l.redactions.pending() {
		return nil
	}
	path := filepath.Join(l.dir, entriesFile)
	if err := l.failing("redact"); err != nil {
		return err
	}
	ends, err := l.writeRedacted(path + halfSuffix)
	if err == nil {
		err = l.failing("publish")
	}
	if err == nil {
		err = os.Rename(path+halfSuffix, path)
	}
	if err != nil {
		return errors.Join(err, removeHalf(path))
	}
	if err := l.reopen(path); err != nil {
		l.broken = err
		return err
	}
	l.ends = ends
	for index, by := range l.redactions.due {
		l.redactions.done[index] = by
	}
	return nil
}

// halfSuffix is of a file that was not published.
const halfSuffix = ".tmp"

func removeHalf(path string) error {
	if err := os.Remove(path + halfSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (l *Ledger) reopen(path string) error {
	if err := l.failing("published"); err != nil {
		return err
	}
	if err := durable.SyncDir(l.dir); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	err = l.file.Close()
	l.file = f
	return err
}

// writeRedacted writes the whole log, synced, and returns where its lines end.
func (l *Ledger) writeRedacted(path string) (ends []int64, err error) {
	from, err := os.Open(filepath.Join(l.dir, entriesFile))
	if err != nil {
		return nil, err
	}
	defer from.Close()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriter(f)
	ends, err = l.copyRedacted(w, from)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	return ends, errors.Join(err, f.Close())
}

// copyRedacted never copies a line that is not the tree's.
func (l *Ledger) copyRedacted(w io.Writer, from io.Reader) (ends []int64, err error) {
	r := newLineReader(from)
	var end int64
	for i := range int64(len(l.ends)) {
		line, err := r.next()
		if err != nil {
			return nil, fmt.Errorf("%w: entry %d: %w", ErrTampered, i, err)
		}
		if err := l.fits(i, line); err != nil {
			return nil, err
		}
		if by, due := l.redactions.due[i]; due {
			if line, err = (redaction{l.hashes[tlog.StoredHashIndex(0, i)], by}).line(); err != nil {
				return nil, err
			}
		}
		n, err := w.Write(line)
		if err != nil {
			return nil, err
		}
		end += int64(n)
		ends = append(ends, end)
	}
	return ends, nil
}

// fits says whether line is record i, also when the file was changed since the
// log was opened.
func (l *Ledger) fits(i int64, line []byte) error {
	h, by, err := leaf(line)
	if err != nil || h != l.hashes[tlog.StoredHashIndex(0, i)] {
		return fmt.Errorf("entry %d: %w", i, ErrTampered)
	}
	if due, ok := l.redactions.due[i]; by >= 0 && (!ok || due != by) {
		return fmt.Errorf("entry %d: %w", i, ErrTampered)
	}
	return nil
}
