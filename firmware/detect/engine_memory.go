package detect

import (
	"encoding/json"
	"errors"
	"fmt"
)

// remembering is a detector whose knowledge of the office has to outlive a
// restart. recall is total: data that it cannot read changes nothing.
type remembering interface {
	remember() ([]byte, error)
	recall([]byte) error
}

const memoryVersion = 1

type memoryFile struct {
	Version   int                        `json:"version"`
	Detectors map[string]json.RawMessage `json:"detectors"` // by name; encoding/json sorts
}

// Snapshot returns what the detectors learnt, for Restore after a restart. It
// must not run while Observe does.
func (e *Engine) Snapshot() ([]byte, error) {
	m := memoryFile{Version: memoryVersion, Detectors: map[string]json.RawMessage{}}
	for _, d := range e.list {
		r, ok := d.(remembering)
		if !ok {
			continue
		}
		data, err := r.remember()
		if err != nil {
			return nil, fmt.Errorf("remember %s: %w", d.Name(), err)
		}
		m.Detectors[d.Name()] = data
	}
	return json.Marshal(m)
}

// Restore takes back what Snapshot returned. A part that is damaged or of
// another version is left out, the others count; the error names each.
func (e *Engine) Restore(data []byte) error {
	var m memoryFile
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("restore detectors: %w", err)
	}
	if m.Version != memoryVersion {
		return fmt.Errorf("restore detectors: version %d is not known", m.Version)
	}
	var errs []error
	for _, d := range e.list {
		r, ok := d.(remembering)
		part, known := m.Detectors[d.Name()]
		if !ok || !known {
			continue
		}
		if err := r.recall(part); err != nil {
			errs = append(errs, fmt.Errorf("restore %s: %w", d.Name(), err))
		}
	}
	return errors.Join(errs...)
}
