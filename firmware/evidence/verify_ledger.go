package evidence

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sekisho/firmware/ledger"
)

// ledger checks every entry of the extract against the checkpoint, and that
// the last one is the seal of this very manifest.
func (v *verifier) ledger() error {
	signed, err := v.small(checkpointFile)
	if err != nil {
		return err
	}
	c, err := ledger.ParseCheckpoint(signed, v.key)
	if err != nil {
		return &FileError{checkpointFile, err}
	}
	if err := v.older(c); err != nil {
		return &FileError{checkpointFile, err}
	}
	v.report.LedgerSize = c.Size
	data, err := v.small(ledgerFile)
	if err != nil {
		return err
	}
	next := int64(-1)
	var records []ledger.Record
	for line := range bytes.Lines(data) {
		var p provenEntry
		if err := json.Unmarshal(line, &p); err != nil {
			return &FileError{ledgerFile, err}
		}
		if next >= 0 && p.Index != next {
			return broken(ledgerFile, "entry %d follows %d", p.Index, next-1)
		}
		next = p.Index + 1
		r, err := ledger.CheckRecord(p.Proof, c, p.Index, []byte(p.Record))
		if err != nil {
			return &FileError{ledgerFile, err}
		}
		records = append(records, r)
		v.report.Entries = append(v.report.Entries, r.Entry)
	}
	if err := ledger.CheckRedactions(records); err != nil {
		return &FileError{ledgerFile, err}
	}
	if len(records) == 0 || next != v.meta.Entry+1 {
		return broken(ledgerFile, "the entry of the seal is missing")
	}
	last := v.report.Entries[len(v.report.Entries)-1]
	manifest, err := v.small(manifestFile)
	if err != nil {
		return err
	}
	if last.Action != "bundle.seal" || last.Subject != v.meta.ID || last.Detail["manifest_sha256"] != hexSum(manifest) {
		return broken(ledgerFile, "entry %d is not the seal of this bundle", v.meta.Entry)
	}
	return nil
}

// older holds the checkpoint against one that was kept before. A proof that the
// ledger only grew in between needs the device; without it a shrunken ledger
// and a rewritten one of the same size are noticed.
func (v *verifier) older(c ledger.Checkpoint) error {
	if len(v.options.OldCheckpoint) == 0 {
		return nil
	}
	old, err := ledger.ParseCheckpoint(v.options.OldCheckpoint, v.key)
	if err != nil {
		return fmt.Errorf("the older one: %w", err)
	}
	if old.Size > c.Size {
		return fmt.Errorf("the ledger had %d entries before and %d now: %w", old.Size, c.Size, ledger.ErrTampered)
	}
	if old.Size == c.Size && old.Root != c.Root {
		return fmt.Errorf("another ledger of the same %d entries: %w", c.Size, ledger.ErrTampered)
	}
	return nil
}
