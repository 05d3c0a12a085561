package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Actions that only the ledger itself gives.
const (
	// ActionRedact is the entry that orders the redaction of earlier ones.
	ActionRedact = "ledger.redact"
	// ActionRedacted is what stands in place of a redacted entry's action when
	// entries are read; it is never written.
	ActionRedacted = "ledger.redacted"
)

// Record is one line of the log: an entry, or what is left of a redacted one.
type Record struct {
	Index int64
	// Entry of a redacted record says nothing but ActionRedacted and, in its
	// detail, which entry ordered it.
	Entry Entry
	// Redacted records keep their hash, so that tree and proofs stay as they
	// are, and nothing else. By is the entry of action ActionRedact that
	// ordered it, -1 otherwise.
	Redacted bool
	By       int64

	hash tlog.Hash // in the tree
}

// redaction is the line that replaces a redacted record:
// {"redacted":"<record hash, base64>","by":<index of the order>}.
type redaction struct {
	Redacted tlog.Hash `json:"redacted"`
	By       int64     `json:"by"`
}

// Every line of an Entry begins with its time, so the two forms cannot be taken
// for each other.
var redactedPrefix = []byte(`{"redacted":`)

func (r redaction) line() ([]byte, error) {
	b, err := json.Marshal(r)
	return append(b, '\n'), err
}

// parseRedaction refuses every spelling but the one that line writes.
func parseRedaction(line []byte) (redaction, error) {
	var r redaction
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("parse redacted ledger record: %w", err)
	}
	if again, err := r.line(); err != nil || r.By < 0 || !bytes.Equal(again, line) {
		return r, errors.New("parse redacted ledger record: not in canonical form")
	}
	return r, nil
}

// leaf is the line's hash in the tree, and the order that it claims to be
// redacted by, or -1. An entry is not parsed.
func leaf(line []byte) (h tlog.Hash, by int64, err error) {
	if !bytes.HasPrefix(line, redactedPrefix) {
		return tlog.RecordHash(line), -1, nil
	}
	r, err := parseRedaction(line)
	return r.Redacted, r.By, err
}

// parseRecord reads a line of either form.
func parseRecord(index int64, line []byte) (Record, error) {
	h, by, err := leaf(line)
	if err != nil {
		return Record{}, err
	}
	if by >= 0 {
		e := Entry{Action: ActionRedacted, Detail: map[string]any{"by": by}}
		return Record{Index: index, Entry: e, Redacted: true, By: by, hash: h}, nil
	}
	e, err := ParseEntry(line)
	return Record{Index: index, Entry: e, By: -1, hash: h}, err
}

// CheckRecord reads line (with its newline) and verifies that it is entry index
// of the tree that c signs. Of a redacted record it proves only that there was
// one: whether the redaction was ordered, CheckRedactions tells.
func CheckRecord(proof tlog.RecordProof, c Checkpoint, index int64, line []byte) (Record, error) {
	if index < 0 || index >= c.Size {
		return Record{}, fmt.Errorf("ledger entry %d: beyond the checkpoint of %d entries", index, c.Size)
	}
	r, err := parseRecord(index, line)
	if err != nil {
		return Record{}, fmt.Errorf("ledger entry %d: %w", index, err)
	}
	if err := tlog.CheckRecord(proof, c.Size, c.Root, index, r.hash); err != nil {
		return Record{}, fmt.Errorf("ledger entry %d: %w", index, err)
	}
	return r, nil
}

// CheckRedactions verifies, of records that CheckRecord returned, that every
// redaction was ordered by a later one among them.
func CheckRedactions(records []Record) error {
	x := newRedactions()
	for _, r := range records {
		x.see(r)
	}
	return x.check()
}
