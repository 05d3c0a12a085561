package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sekisho/firmware/durable"
	"sekisho/firmware/remote/wire"
)

// ChangeKind is what has happened since the last look.
type ChangeKind string

// The kinds of changes.
const (
	ChangeNew    ChangeKind = "incident" // was not there
	ChangeState  ChangeKind = "state"
	ChangeSealed ChangeKind = "sealed" // a package, or another one
	ChangeGrant  ChangeKind = "grant"  // was answered, or ended
	ChangeGone   ChangeKind = "gone"   // is no longer listed
)

// Change is one difference between two looks at the incidents.
type Change struct {
	Kind     ChangeKind
	Incident wire.Incident // as it is now; before it went, for ChangeGone
	Was      string        // the state before, for ChangeState
}

// Changes compares now with what Remember kept, in the order of now.
func (p *Profile) Changes(now []wire.Incident) ([]Change, error) {
	data, err := os.ReadFile(filepath.Join(p.Dir, seenFile))
	var before []wire.Incident
	if err == nil {
		err = json.Unmarshal(data, &before)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the last look: %w", err)
	}
	return compare(before, now), nil
}

// Remember keeps now for the next Changes. Whoever calls it has told them: told
// twice after a power cut is better than never.
func (p *Profile) Remember(now []wire.Incident) error {
	data, err := json.Marshal(now)
	if err == nil {
		err = durable.WriteFile(filepath.Join(p.Dir, seenFile), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep the last look: %w", err)
	}
	return nil
}

func compare(before, now []wire.Incident) []Change {
	old := make(map[string]wire.Incident, len(before))
	for _, i := range before {
		old[i.ID] = i
	}
	var out []Change
	for _, i := range now {
		was, known := old[i.ID]
		delete(old, i.ID)
		if !known {
			out = append(out, Change{Kind: ChangeNew, Incident: i})
		} else if was.State != i.State {
			out = append(out, Change{Kind: ChangeState, Incident: i, Was: was.State})
		}
		if i.Bundle != nil && (was.Bundle == nil || was.Bundle.SHA256 != i.Bundle.SHA256) {
			out = append(out, Change{Kind: ChangeSealed, Incident: i})
		}
		if i.Grant != nil && (was.Grant == nil || was.Grant.ID != i.Grant.ID || was.Grant.State != i.Grant.State) {
			out = append(out, Change{Kind: ChangeGrant, Incident: i})
		}
	}
	for _, i := range before {
		if _, left := old[i.ID]; left {
			out = append(out, Change{Kind: ChangeGone, Incident: i})
		}
	}
	return out
}
