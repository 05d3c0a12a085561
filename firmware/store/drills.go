package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"sekisho/firmware/drill"
)

// maxDrills is how many drills are kept: a drill a week for about ten years.
const maxDrills = 500

// SaveDrill writes the snapshot, and lets the oldest drills beyond maxDrills go.
// When it returns nil the drill survives a power cut.
func (s *Store) SaveDrill(ctx context.Context, d drill.Drill) error {
	body, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode %s: %w", d.ID, err)
	}
	err = s.update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO drills (id, state, started, body) VALUES (?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET state = excluded.state, body = excluded.body`,
			d.ID, string(d.State), d.Started.UnixNano(), string(body)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM drills WHERE state = ? AND id NOT IN
			(SELECT id FROM drills ORDER BY started DESC, id DESC LIMIT ?)`, string(drill.Ended), maxDrills)
		return err
	})
	if err != nil {
		return fmt.Errorf("save %s: %w", d.ID, err)
	}
	return nil
}

// Drills returns every drill that is kept, oldest first. One that cannot be decoded
// is named in the error; the others are returned all the same.
func (s *Store) Drills(ctx context.Context) ([]drill.Drill, error) {
	var out []drill.Drill
	err := s.bodies(ctx, "SELECT id, body FROM drills ORDER BY started, id", nil, func(body []byte) error {
		var d drill.Drill
		if err := json.Unmarshal(body, &d); err != nil {
			return err
		}
		out = append(out, d)
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("read drills: %w", err)
	}
	return out, nil
}
