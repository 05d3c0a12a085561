package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sekisho/firmware/durable"
)

const pinFile = "pin.json"

// pin keeps segments from being removed: by a hard link of each, so that
// nothing that tidies the ring can take them.
type pin struct {
	From     time.Time `json:"from"`
	Made     time.Time `json:"made"`
	segments map[uint64]bool
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
	for _, p := range s.pins {
		if p.segments[seq] {
			return true
		}
	}
	return false
}

func (s *store) pinPath(id string) string { return filepath.Join(s.dir, pinFolder, id) }

func (s *store) link(dir string, seq uint64) error {
	err := os.Link(s.path(seq), filepath.Join(dir, fmt.Sprintf(segmentName, seq)))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// Pin freezes every segment with packets at or after from, the one that is
// being written, and those begun within PinFollow from now. It survives a
// restart and may be repeated. Packets still in memory reach a pinned segment.
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
	s.mu.Lock()
	defer s.mu.Unlock()
	p, again := s.pins[id]
	dir := s.pinPath(id)
	work := dir
	if !again {
		p = &pin{From: from.UTC(), Made: s.c.Now().UTC(), segments: map[uint64]bool{}}
		work = filepath.Join(s.dir, pinFolder, ".new-"+id)
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
	}
	held := map[uint64]bool{}
	for _, g := range s.segments {
		if !g.open && g.last != 0 && g.last < from.UnixNano() {
			continue
		}
		if err := s.link(work, g.seq); err != nil {
			return err
		}
		held[g.seq] = true
	}
	if err := durable.SyncDir(work); err != nil {
		return err
	}
	if !again {
		if err := os.Rename(work, dir); err != nil {
			return err
		}
		if err := durable.SyncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	for seq := range held {
		p.segments[seq] = true
	}
	s.pins[id] = p
	return nil
}

// follow links a segment that has just begun into the pins that still want it.
func (s *store) follow(seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.c.Now()
	for id, p := range s.pins {
		if now.Sub(p.Made) > s.c.PinFollow {
			continue
		}
		if err := s.link(s.pinPath(id), seq); err != nil {
			// The packets matter more than their link: they stay in the ring.
			s.log.Error("segment was not pinned", "pin", id, "segment", seq, "error", err)
			continue
		}
		p.segments[seq] = true
	}
	return nil
}

// Unpin lets the ring have the segments back. Nothing pinned is no error.
func (s *Spool) Unpin(id string) error {
	if err := validID(id); err != nil {
		return fmt.Errorf("unpin: %w", err)
	}
	st := &s.store
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := os.RemoveAll(st.pinPath(id)); err != nil {
		return fmt.Errorf("unpin %s: %w", id, err)
	}
	delete(st.pins, id)
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
		if strings.HasPrefix(e.Name(), ".new-") {
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
