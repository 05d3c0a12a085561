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

// pin keeps segments from being removed: by a hard link of each, so that
// nothing that tidies the ring can take them.
type pin struct {
	From     time.Time `json:"from"`
	Made     time.Time `json:"made"`
	segments map[uint64]bool
	late     []uint64 // of segments, those begun while the pin was being made
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
	if s.making != nil && s.making.segments[seq] {
		return true
	}
	for _, p := range s.pins {
		if p.segments[seq] {
			return true
		}
	}
	return false
}

func (s *store) pinPath(id string) string { return filepath.Join(s.dir, pinFolder, id) }

// halfPath is where a pin is made and taken apart: what is there counts for
// nothing, and the next start removes it.
func (s *store) halfPath(id string) string { return filepath.Join(s.dir, pinFolder, halfPin+id) }

func (s *store) link(dir string, seq uint64) error {
	err := s.disk.link(s.path(seq), filepath.Join(dir, fmt.Sprintf(segmentName, seq)))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// Pin freezes every segment with packets at or after from, the one that is
// being written, and those begun within PinFollow from now. It survives a
// restart and may be repeated. Packets still in memory reach a pinned segment.
// It waits for the disk, and so does another Pin or Unpin behind it; every
// other method goes on.
func (s *Spool) Pin(id string, from time.Time) error {
	if err := validID(id); err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	if err := s.store.pin(id, from); err != nil {
		return fmt.Errorf("pin %s: %w", id, err)
	}
	return nil
}

func (s *store) pin(id string, from time.Time) error {
	s.pinning.Lock()
	defer s.pinning.Unlock()
	p, again, want := s.reserve(id, from)
	if again {
		// After an error the reservation stays: rather too much is kept.
		if err := s.linkAll(s.pinPath(id), p, want); err != nil {
			return err
		}
		return durable.SyncDir(s.pinPath(id))
	}
	if err := s.makePin(id, p, want); err != nil {
		s.mu.Lock()
		s.making = nil
		s.mu.Unlock()
		return err
	}
	s.publishPin(id, p)
	return durable.SyncDir(filepath.Dir(s.pinPath(id)))
}

// reserve chooses the segments, which from then on stay, and the pin that holds
// them: the one of this id, or one that is only being made.
func (s *store) reserve(id string, from time.Time) (p *pin, again bool, want []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, again = s.pins[id]; !again {
		p = &pin{From: from.UTC(), Made: s.c.Now().UTC(), segments: map[uint64]bool{}}
		s.making = p
	}
	for _, g := range s.segments {
		if g.leaving || (!g.open && g.last != 0 && g.last < from.UnixNano()) {
			continue
		}
		p.segments[g.seq] = true
		want = append(want, g.seq)
	}
	return p, again, want
}

// makePin makes the folder and gives it its name in one step.
func (s *store) makePin(id string, p *pin, want []uint64) error {
	work := s.halfPath(id)
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(work, pinFile), data, 0o644); err != nil {
		return err
	}
	if err := s.linkAll(work, p, want); err != nil {
		return err
	}
	if err := durable.SyncDir(work); err != nil {
		return err
	}
	return os.Rename(work, s.pinPath(id))
}

// linkAll passes over a segment that has left the ring meanwhile, as one does
// that never got its header; a missing disk is an error.
func (s *store) linkAll(dir string, p *pin, want []uint64) error {
	for _, seq := range want {
		err := s.link(dir, seq)
		if errors.Is(err, fs.ErrNotExist) && s.release(p, seq) {
			s.log.Warn("segment left before it was pinned", "segment", seq)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// release gives up a reserved segment, unless it is in the ring.
func (s *store) release(p *pin, seq uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.segments, func(g *segment) bool { return g.seq == seq }) {
		return false
	}
	delete(p.segments, seq)
	return true
}

// publishPin links what began while the pin was made, until nothing is left,
// and then puts it among the others.
func (s *store) publishPin(id string, p *pin) {
	for {
		s.mu.Lock()
		late := p.late
		p.late = nil
		if len(late) == 0 {
			s.making, s.pins[id] = nil, p
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for _, seq := range late {
			s.linkNew(id, p, seq)
		}
	}
}

// follow gives a segment that has just begun to the pins that still want it.
func (s *store) follow(seq uint64) {
	now := s.c.Now()
	wants := func(p *pin) bool { return p != nil && now.Sub(p.Made) <= s.c.PinFollow }
	held := map[string]*pin{}
	s.mu.Lock()
	if p := s.making; wants(p) {
		p.segments[seq] = true
		p.late = append(p.late, seq)
	}
	for id, p := range s.pins {
		if wants(p) {
			p.segments[seq] = true
			held[id] = p
		}
	}
	s.mu.Unlock()
	for id, p := range held {
		s.linkNew(id, p, seq)
	}
}

// linkNew links one segment that p holds already. The packets matter more than
// their link: without it they stay in the ring until the next start.
func (s *store) linkNew(id string, p *pin, seq uint64) {
	err := s.link(s.pinPath(id), seq)
	if err == nil {
		return
	}
	s.mu.Lock()
	given := s.making != p && s.pins[id] != p // an Unpin came first
	s.mu.Unlock()
	if !given {
		s.log.Error("segment has no link in its pin", "pin", id, "segment", seq, "error", err)
	}
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
	s.pinning.Lock()
	defer s.pinning.Unlock()
	half := s.halfPath(id)
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	// From the new name it never comes back, however the removal ends.
	if err := os.Rename(s.pinPath(id), half); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.mu.Lock()
	delete(s.pins, id)
	s.mu.Unlock()
	if err := os.RemoveAll(half); err != nil {
		s.log.Warn("links of a pin are left until the next start", "pin", id, "error", err)
	}
	return nil
}

// loadPins reads the pins, drops the half-made ones (their Pin never returned)
// and brings back into the ring what somebody took out of it.
func (s *store) loadPins() (map[string]*pin, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, pinFolder))
	if err != nil {
		return nil, err
	}
	pins := map[string]*pin{}
	for _, e := range entries {
		dir := filepath.Join(s.dir, pinFolder, e.Name())
		if strings.HasPrefix(e.Name(), halfPin) {
			if err := os.RemoveAll(dir); err != nil {
				return nil, err
			}
			continue
		}
		if !e.IsDir() {
			continue
		}
		p := &pin{segments: map[uint64]bool{}}
		data, err := os.ReadFile(filepath.Join(dir, pinFile))
		if err == nil {
			err = json.Unmarshal(data, p)
		}
		if err != nil { // still pinned, only its times are lost
			s.log.Warn("pin has no description", "pin", e.Name(), "error", err)
		}
		if err := s.loadPinned(dir, p); err != nil {
			return nil, err
		}
		pins[e.Name()] = p
	}
	return pins, nil
}

func (s *store) loadPinned(dir string, p *pin) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		var seq uint64
		if _, err := fmt.Sscanf(f.Name(), segmentName, &seq); err != nil {
			continue
		}
		if err := os.Link(filepath.Join(dir, f.Name()), s.path(seq)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		p.segments[seq] = true
	}
	return nil
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
