package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"sekisho/firmware/incident"
)

// Finished is an incident that is closed or dismissed.
type Finished struct {
	ID    string
	Since time.Time // UTC: last touched, and known to be finished
}

// ended is the condition for incidents that cannot move any more.
var ended = []any{string(incident.Closed), string(incident.Dismissed)}

// Finished returns the incidents that retention may count the age of, by id. It
// is called with a synchronised clock only: an incident that was written while
// the clock was years behind counts from the first call that sees it.
func (s *Store) Finished(ctx context.Context, now time.Time) ([]Finished, error) {
	var out []Finished
	err := s.update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE incidents SET finished = ? WHERE finished IS NULL AND state IN (?, ?)",
			append([]any{now.UnixNano()}, ended...)...); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, "SELECT id, max(updated, finished) FROM incidents WHERE state IN (?, ?) ORDER BY id", ended...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var f Finished
			var since int64
			if err := rows.Scan(&f.ID, &since); err != nil {
				return err
			}
			f.Since = time.Unix(0, since).UTC()
			out = append(out, f)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read finished incidents: %w", err)
	}
	return out, nil
}

// DeleteIncidents removes incidents and their journal, in one transaction. One
// that can still move makes it fail as a whole; one that is not there is no error.
func (s *Store) DeleteIncidents(ctx context.Context, ids []string) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		for _, id := range ids {
			var live int
			if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM incidents WHERE id = ? AND state NOT IN (?, ?)",
				append([]any{id}, ended...)...).Scan(&live); err != nil {
				return err
			}
			if live > 0 {
				return fmt.Errorf("%s is not finished", id)
			}
			for _, query := range []string{"DELETE FROM transitions WHERE incident_id = ?", "DELETE FROM incidents WHERE id = ?"} {
				if _, err := tx.ExecContext(ctx, query, id); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete incidents: %w", err)
	}
	return nil
}
