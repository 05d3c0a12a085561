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

	"sekisho/firmware/durable"
)

// links wakes linkPins up.
func (s *store) links() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// linkPins makes the links that pins lack until stop is closed. What it does
// not get done, the next start does.
func (s *store) linkPins(stop <-chan struct{}) {
	defer close(s.linked)
	for {
		select {
		case <-s.wake:
		case <-stop:
			return
		}
		for s.linkNext() {
			select {
			case <-stop:
				return
			default:
			}
		}
	}
}

// linkNext makes one link, or makes those of a pin last. It lets a Pin go first
// between one and the next.
func (s *store) linkNext() bool {
	s.pinning.Lock()
	defer s.pinning.Unlock()
	id, seq, left := s.nextLink()
	if id == "" {
		return false
	}
	err := s.disk.link(s.path(seq), filepath.Join(s.pinPath(id), fmt.Sprintf(segmentName, seq)))
	if err != nil && !errors.Is(err, fs.ErrExist) && s.inRing(seq) {
		s.log.Error("segment has no link in its pin until the next start", "pin", id, "segment", seq, "error", err)
	}
	if left == 0 {
		if err := durable.SyncDir(s.pinPath(id)); err != nil {
			s.log.Error("links of a pin may not outlive a power cut", "pin", id, "error", err)
		}
	}
	return true
}

// nextLink takes the next link from what is to be done, of how many.
func (s *store) nextLink() (id string, seq uint64, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.pins {
		if n := len(p.todo); n > 0 {
			seq, p.todo = p.todo[0], p.todo[1:]
			return id, seq, n - 1
		}
	}
	return "", 0, 0
}

// inRing: a segment that never got its header is not.
func (s *store) inRing(seq uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.segments, func(g *segment) bool { return g.seq == seq })
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
		p := &pin{}
		data, err := os.ReadFile(filepath.Join(dir, pinFile))
		if err == nil {
			err = json.Unmarshal(data, &p.pinRecord)
		}
		if err == nil && !p.Segments.valid() {
			err = errors.New("its segments are no ranges")
		}
		if err != nil { // what is linked is still pinned
			p.pinRecord = pinRecord{}
			s.log.Warn("pin has no description", "pin", e.Name(), "error", err)
		}
		if err := s.loadPinned(dir, p); err != nil {
			return nil, err
		}
		pins[e.Name()] = p
	}
	return pins, nil
}

// loadPinned takes up what has a link.
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
		p.segments.add(seq)
	}
	return nil
}

// settle takes up what was promised and has no link yet: what pin.json names,
// and what began afterwards, but in time. What is promised and gone stays
// promised, for Extract to tell.
func (p *pin) settle(ring []*segment) {
	newest := p.Segments.last()
	for _, g := range ring {
		followed := g.seq > newest && g.packets > 0 && g.first <= p.Until.UnixNano()
		if (p.Segments.has(g.seq) || (followed && !p.Until.IsZero())) && !p.segments.has(g.seq) {
			p.segments.add(g.seq)
			p.todo = append(p.todo, g.seq)
		}
	}
	for _, gone := range p.Segments.without(ring) {
		p.segments.join(gone)
	}
}
