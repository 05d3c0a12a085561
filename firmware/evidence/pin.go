package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sekisho/firmware/durable"
)

const (
	pinFile = "pin.json"
	halfPin = ".new-" // folder names of what is not a pin yet, or no longer
)

// pin keeps segments from being removed. pin.json is the promise: it names them,
// and is made in a moment however many they are. A hard link of each follows in
// the background, so that nothing else that tidies the ring can take them.
type pin struct {
	pinRecord
	segments seqs
	todo     []uint64 // that lack a link
}

// pinRecord is pin.json. A pin from before there were Segments has links only.
type pinRecord struct {
	From     time.Time `json:"from"`
	Made     time.Time `json:"made"`
	Until    time.Time `json:"until"` // segments whose packets begin by then are pinned, too
	Segments seqs      `json:"segments"`
}

// validID keeps ids usable as the name of a folder on every system.
func validID(id string) error {
	if id == "" || len(id) > 64 || id[0] == '.' {
		return fmt.Errorf("id %q is empty, too long or hidden", id)
	}
	for _, c := range id {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", c) {
			return fmt.Errorf("id %q has a character that folder names may not have", id)
		}
	}
	return nil
}

// pinned wants mu held.
func (s *store) pinned(seq uint64) bool {
	if s.making != nil && s.making.segments.has(seq) {
		return true
	}
	for _, p := range s.pins {
		if p.segments.has(seq) {
			return true
		}
	}
	return false
}

func (s *store) pinPath(id string) string { return filepath.Join(s.dir, pinFolder, id) }

// halfPath is where a pin is made: what is there counts for nothing, and the
// next start removes it.
func (s *store) halfPath(id string) string { return filepath.Join(s.dir, pinFolder, halfPin+id) }

// Pin freezes every segment with packets at or after from, the one that is
// being written, and those begun within PinFollow from now. It survives a
// restart and may be repeated. Packets still in memory reach a pinned segment.
// It waits for the disk to take one small file, and so does another Pin or
// Unpin behind it; every other method goes on.
func (s *Spool) Pin(id string, from time.Time) error {
	if err := validID(id); err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	if s.store.usable() != nil {
		_ = s.Flush() // the medium may be back already
	}
	if err := s.store.pin(id, from); err != nil {
		return fmt.Errorf("pin %s: %w", id, err)
	}
	return nil
}

func (s *store) pin(id string, from time.Time) error {
	s.pinning.Lock()
	defer s.pinning.Unlock()
	if err := s.usable(); err != nil {
		return named(err)
	}
	p, record, again := s.reserve(id, from)
	data, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if again { // after an error the reservation stays: rather too much is kept
		s.links()
		return durable.WriteFile(filepath.Join(s.pinPath(id), pinFile), data, 0o644)
	}
	err = s.makePin(id, data)
	s.mu.Lock()
	s.making = nil
	if err == nil {
		s.pins[id] = p
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.links()
	return durable.SyncDir(filepath.Dir(s.pinPath(id)))
}

// reserve chooses the segments, which from then on stay, and the pin that holds
// them: the one of this id, or one that is only being made.
func (s *store) reserve(id string, from time.Time) (p *pin, record pinRecord, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, again = s.pins[id]; !again {
		now := s.c.Now().UTC()
		p = &pin{pinRecord: pinRecord{From: from.UTC(), Made: now, Until: now.Add(s.c.PinFollow)}}
		s.making = p
	}
	for _, g := range s.segments {
		if g.open && g.size == 0 {
			continue // follow takes it once it has its header: it may never get one
		}
		if g.leaving || (!g.open && g.last != 0 && g.last < from.UnixNano()) || p.segments.has(g.seq) {
			continue
		}
		p.segments.add(g.seq)
		p.todo = append(p.todo, g.seq)
	}
	record = p.pinRecord
	record.Segments = slices.Clone(p.segments)
	return p, record, again
}

// makePin makes the folder and gives it its name in one step.
func (s *store) makePin(id string, record []byte) error {
	work := s.halfPath(id)
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(work, pinFile), record, 0o644); err != nil {
		return err
	}
	return os.Rename(work, s.pinPath(id))
}

// follow gives a segment that has just begun to the pins that still want it.
func (s *store) follow(seq uint64) {
	now := s.c.Now()
	take := func(p *pin) {
		if p != nil && now.Sub(p.Made) <= s.c.PinFollow {
			p.segments.add(seq)
			p.todo = append(p.todo, seq)
		}
	}
	s.mu.Lock()
	take(s.making)
	for _, p := range s.pins {
		take(p)
	}
	s.mu.Unlock()
	s.links()
}

// Unpin lets the ring have the segments back, all or, after an error, none.
// Nothing pinned is no error. Like Pin it waits for the disk.
func (s *Spool) Unpin(id string) error {
	if err := validID(id); err != nil {
		return fmt.Errorf("unpin: %w", err)
	}
	if err := s.store.unpin(id); err != nil {
		return fmt.Errorf("unpin %s: %w", id, err)
	}
	return nil
}

func (s *store) unpin(id string) error {
	grave, err := s.bury(id)
	if grave != "" { // many links: not with others waiting
		if err := os.RemoveAll(grave); err != nil {
			s.log.Warn("links of a pin are left until the next start", "pin", id, "error", err)
		}
	}
	return err
}

// bury takes the pin's name away, in one step, and returns what is left of it.
func (s *store) bury(id string) (string, error) {
	s.pinning.Lock()
	defer s.pinning.Unlock()
	if err := s.usable(); err != nil {
		return "", named(err)
	}
	grave, err := os.MkdirTemp(filepath.Join(s.dir, pinFolder), halfPin+id+"-")
	if err != nil {
		return "", err
	}
	if err := os.Rename(s.pinPath(id), filepath.Join(grave, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return grave, err
	}
	s.mu.Lock()
	delete(s.pins, id)
	s.mu.Unlock()
	return grave, nil
}

// Pins lists the ids of the pins.
func (s *Spool) Pins() []string {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	var out []string
	for id := range s.store.pins {
		out = append(out, id)
	}
	return out
}
