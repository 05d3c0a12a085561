package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sekisho/firmware/incident"
)

// Redaction says which incidents spoke of a device.
type Redaction struct {
	Changed []string // their texts were replaced
	Live    []string // left alone, because they can still move: containment needs them
}

// Redact puts every text of finished incidents and of their journal through
// replace, which returns what it has no reason to change. A text that was an
// address or a MAC address and is changed becomes empty, because what reads the
// incident again takes nothing else there. Times, states and techniques stay.
// Without write nothing is changed, and the answer says what would be.
//
// The journal is append-only; this is the one exception, and it keeps every
// line. Devices are not touched: see DeleteAssets.
func (s *Store) Redact(ctx context.Context, replace func(string) string, write bool) (Redaction, error) {
	var out Redaction
	err := s.update(ctx, func(tx *sql.Tx) error {
		all, err := readRows(ctx, tx)
		if err != nil {
			return err
		}
		for _, row := range all {
			changed, err := row.redact(replace)
			if err != nil {
				return fmt.Errorf("%s: %w", row.id, err)
			}
			journal, err := redactJournal(ctx, tx, row.id, replace)
			if err != nil {
				return fmt.Errorf("%s: %w", row.id, err)
			}
			switch {
			case !changed && len(journal) == 0:
			case row.live:
				out.Live = append(out.Live, row.id)
			default:
				out.Changed = append(out.Changed, row.id)
				if write {
					err = row.save(ctx, tx, journal)
				}
			}
			if err != nil {
				return fmt.Errorf("%s: %w", row.id, err)
			}
		}
		return nil
	})
	if err == nil && write { // the old texts stand in the log until it is emptied
		_, err = s.db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	if err != nil {
		return Redaction{}, fmt.Errorf("redact incidents: %w", explain(err))
	}
	return out, nil
}

// incidentRow is what redaction has to know of an incident.
type incidentRow struct {
	id, asset, body string
	live            bool
}

func readRows(ctx context.Context, tx *sql.Tx) ([]incidentRow, error) {
	rows, err := tx.QueryContext(ctx, "SELECT id, asset_id, body, state NOT IN (?, ?) FROM incidents ORDER BY opened, id", ended...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []incidentRow
	for rows.Next() {
		var r incidentRow
		if err := rows.Scan(&r.id, &r.asset, &r.body, &r.live); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// redact works on the JSON, not on the fields of today: a text that a later
// version adds is not forgotten. What comes out must still be an incident.
func (r *incidentRow) redact(replace func(string) string) (changed bool, err error) {
	var body any
	dec := json.NewDecoder(strings.NewReader(r.body))
	dec.UseNumber() // large ones come back as they were
	if err := dec.Decode(&body); err != nil {
		return false, err
	}
	body, changed = redactValue(body, replace)
	if asset := replace(r.asset); asset != r.asset {
		r.asset, changed = asset, true
	}
	if !changed {
		return false, nil
	}
	text, err := json.Marshal(body)
	if err != nil {
		return false, err
	}
	var i incident.Incident
	if err := json.Unmarshal(text, &i); err != nil {
		return false, fmt.Errorf("what is left is not an incident: %w", err)
	}
	if i.ID != r.id {
		return false, fmt.Errorf("what is left is incident %q", i.ID)
	}
	r.body = string(text)
	return true, nil
}

// words are the keys whose values are words of ours: a device may be called
// "open", and its incident is closed all the same.
var words = []string{"state", "level", "from", "to", "input", "detector", "technique", "confidence", "action", "guard", "kind", "grade", "previous", "bundle", "key", "before", "known"}

// redactValue replaces every text of a JSON value.
func redactValue(v any, replace func(string) string) (out any, changed bool) {
	switch v := v.(type) {
	case string:
		if _, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return v, false
		}
		text := replace(v)
		if text != v && isAddress(v) {
			text = ""
		}
		return text, text != v
	case []any:
		kept := make([]any, 0, len(v))
		for _, e := range v {
			e2, c := redactValue(e, replace)
			changed = changed || c
			if text, ok := e2.(string); c && ok && text == "" {
				continue // an address in a list
			}
			kept = append(kept, e2)
		}
		return kept, changed
	case map[string]any:
		for k, e := range v {
			if slices.Contains(words, k) {
				continue
			}
			e2, c := redactValue(e, replace)
			v[k], changed = e2, changed || c
		}
	}
	return v, changed
}

func isAddress(text string) bool {
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	_, err := net.ParseMAC(text)
	return err == nil
}

// journalLine is a line whose texts have changed.
type journalLine struct {
	seq      int
	by, note string
}

func redactJournal(ctx context.Context, tx *sql.Tx, id string, replace func(string) string) ([]journalLine, error) {
	rows, err := tx.QueryContext(ctx, "SELECT seq, by_whom, note FROM transitions WHERE incident_id = ? ORDER BY seq", id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []journalLine
	for rows.Next() {
		var l journalLine
		if err := rows.Scan(&l.seq, &l.by, &l.note); err != nil {
			return nil, err
		}
		by, note := replace(l.by), replace(l.note)
		if by != l.by || note != l.note {
			out = append(out, journalLine{l.seq, by, note})
		}
	}
	return out, rows.Err()
}

// save writes the row and the lines of its journal. The lines are replaced, not
// updated: a trigger guards the journal against everything else.
func (r *incidentRow) save(ctx context.Context, tx *sql.Tx, journal []journalLine) error {
	if _, err := tx.ExecContext(ctx, "UPDATE incidents SET asset_id = ?, body = ? WHERE id = ?", r.asset, r.body, r.id); err != nil {
		return err
	}
	for _, l := range journal {
		if _, err := tx.ExecContext(ctx, `
			REPLACE INTO transitions (incident_id, seq, at, from_state, to_state, input, by_whom, note, refused)
			SELECT incident_id, seq, at, from_state, to_state, input, ?, ?, refused FROM transitions WHERE incident_id = ? AND seq = ?`,
			l.by, l.note, r.id, l.seq); err != nil {
			return err
		}
	}
	return nil
}
