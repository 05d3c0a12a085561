package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/incident"
)

// SaveIncident writes the snapshot and appends its new transitions in one
// transaction. When it returns nil both survive a power cut, and the commands
// of the step may run.
func (s *Store) SaveIncident(ctx context.Context, i incident.Incident) error {
	body, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("encode incident %s: %w", i.ID, err)
	}
	err = s.update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `
			INSERT INTO incidents (id, asset_id, state, level, opened, updated, body) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET asset_id = excluded.asset_id, state = excluded.state,
				level = excluded.level, updated = excluded.updated, body = excluded.body`,
			i.ID, string(i.Asset.ID), string(i.State), string(i.DesiredLevel()), i.Opened.UnixNano(), i.Updated.UnixNano(), string(body)); err != nil {
			return err
		}
		return appendJournal(ctx, tx, i)
	})
	if err != nil {
		return fmt.Errorf("save incident %s: %w", i.ID, err)
	}
	return nil
}

// appendJournal numbers transitions through the incident's life. The snapshot
// drops lines from its middle, always before the newest ones, so a line's
// number is counted from the end.
func appendJournal(ctx context.Context, tx *sql.Tx, i incident.Incident) error {
	var have int
	if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(seq) + 1, 0) FROM transitions WHERE incident_id = ?", i.ID).Scan(&have); err != nil {
		return err
	}
	total := len(i.History) + i.HistoryDropped
	for n := max(0, len(i.History)-(total-have)); n < len(i.History); n++ {
		t := i.History[n]
		if _, err := tx.ExecContext(ctx, `
			INSERT INTO transitions (incident_id, seq, at, from_state, to_state, input, by_whom, note, refused)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			i.ID, total-len(i.History)+n, t.At.UnixNano(), string(t.From), string(t.To), string(t.Input), t.By, t.Note, t.Refused); err != nil {
			return err
		}
	}
	return nil
}

// update runs fn in a transaction; nil means that it is on the disk.
func (s *Store) update(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return explain(err)
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return explain(err)
	}
	return explain(tx.Commit())
}

// Incidents returns every incident, oldest first. One that cannot be decoded
// is named in the error; the others are returned all the same.
func (s *Store) Incidents(ctx context.Context) ([]incident.Incident, error) {
	return s.incidents(ctx, "SELECT id, body FROM incidents ORDER BY opened, id")
}

// OpenIncidents returns those that can still move, oldest first.
func (s *Store) OpenIncidents(ctx context.Context) ([]incident.Incident, error) {
	return s.incidents(ctx, "SELECT id, body FROM incidents WHERE state NOT IN (?, ?) ORDER BY opened, id",
		string(incident.Closed), string(incident.Dismissed))
}

func (s *Store) incidents(ctx context.Context, query string, args ...any) ([]incident.Incident, error) {
	var out []incident.Incident
	err := s.bodies(ctx, query, args, func(body []byte) error {
		var i incident.Incident
		if err := json.Unmarshal(body, &i); err != nil {
			return err
		}
		out = append(out, i)
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("read incidents: %w", err)
	}
	return out, nil
}

func (s *Store) bodies(ctx context.Context, query string, args []any, add func([]byte) error) error {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return explain(err)
	}
	defer rows.Close()
	var broken error
	for rows.Next() {
		var id string
		var body []byte
		if err := rows.Scan(&id, &body); err != nil {
			return explain(err)
		}
		if err := add(body); err != nil {
			broken = errors.Join(broken, fmt.Errorf("%s: %w", id, err))
		}
	}
	return errors.Join(broken, explain(rows.Err()))
}

// Journal returns every transition of one incident, also those that its
// snapshot has dropped.
func (s *Store) Journal(ctx context.Context, id string) ([]incident.Transition, error) {
	rows, err := s.db.QueryContext(ctx, `
		SELECT at, from_state, to_state, input, by_whom, note, refused FROM transitions WHERE incident_id = ? ORDER BY seq`, id)
	if err != nil {
		return nil, fmt.Errorf("read journal of %s: %w", id, explain(err))
	}
	defer rows.Close()
	var out []incident.Transition
	for rows.Next() {
		var t incident.Transition
		var at int64
		if err := rows.Scan(&at, &t.From, &t.To, &t.Input, &t.By, &t.Note, &t.Refused); err != nil {
			return nil, fmt.Errorf("read journal of %s: %w", id, err)
		}
		t.At = time.Unix(0, at).UTC()
		out = append(out, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read journal of %s: %w", id, explain(err))
	}
	return out, nil
}

// Hold is one device that has to be kept at a level.
type Hold struct {
	Incident string
	Asset    asset.Asset
	Level    incident.Level
}

// Holds is the containment that has to be in force before any port forwards:
// the strictest level per device, oldest incident first. On an error the holds
// that could be read are returned with it, and are to be enforced.
func (s *Store) Holds(ctx context.Context) ([]Hold, error) {
	kept, err := s.OpenIncidents(ctx)
	var out []Hold
	at := map[asset.ID]int{}
	for _, i := range kept {
		level := i.DesiredLevel()
		if level == incident.Watch {
			continue
		}
		if n, ok := at[i.Asset.ID]; ok {
			if level == incident.Isolate {
				out[n].Level, out[n].Incident = level, i.ID
			}
			continue
		}
		at[i.Asset.ID] = len(out)
		out = append(out, Hold{i.ID, i.Asset, level})
	}
	return out, err
}

// SaveAssets writes a batch in one transaction.
func (s *Store) SaveAssets(ctx context.Context, batch []asset.Asset) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		for _, a := range batch {
			body, err := json.Marshal(a)
			if err != nil {
				return fmt.Errorf("%s: %w", a.ID, err)
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO assets (id, last_seen, body) VALUES (?, ?, ?)
				ON CONFLICT (id) DO UPDATE SET last_seen = excluded.last_seen, body = excluded.body`,
				string(a.ID), a.LastSeen.UnixNano(), string(body)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("save assets: %w", err)
	}
	return nil
}

// DeleteAssets forgets devices, in one transaction: what the inventory has
// dropped must not come back at the next start. One that is not there is no
// error. Incidents keep their own copy of the device.
func (s *Store) DeleteAssets(ctx context.Context, ids []asset.ID) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		for _, id := range ids {
			if _, err := tx.ExecContext(ctx, "DELETE FROM assets WHERE id = ?", string(id)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete assets: %w", err)
	}
	return nil
}

// Assets returns the inventory as last saved, latest seen first.
func (s *Store) Assets(ctx context.Context) ([]asset.Asset, error) {
	var out []asset.Asset
	err := s.bodies(ctx, "SELECT id, body FROM assets ORDER BY last_seen DESC, id", nil, func(body []byte) error {
		var a asset.Asset
		if err := json.Unmarshal(body, &a); err != nil {
			return err
		}
		// The Ethernet address is in the ID; an asset's JSON leaves it out.
		if text, ok := strings.CutPrefix(string(a.ID), "mac:"); ok {
			if mac, err := net.ParseMAC(text); err == nil && len(mac) == len(a.MAC) {
				copy(a.MAC[:], mac)
			}
		}
		out = append(out, a)
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("read assets: %w", err)
	}
	return out, nil
}

// SetMeta keeps a small value under a key.
func (s *Store) SetMeta(ctx context.Context, key, value string) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)
		return err
	})
	if err != nil {
		return fmt.Errorf("save %s: %w", key, err)
	}
	return nil
}

// GetMeta returns the value, or "" and false when none was set.
func (s *Store) GetMeta(ctx context.Context, key string) (string, bool, error) {
	var value string
	err := s.db.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = ?", key).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read %s: %w", key, explain(err))
	}
	return value, true, nil
}
