package evidence

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
)

// evict removes the oldest segments that nobody pinned until need bytes fit.
func (s *store) evict(need int64) error {
	for {
		s.mu.Lock()
		var total int64
		for _, g := range s.segments {
			total += g.size
		}
		s.mu.Unlock()
		if total+need <= s.c.MaxBytes {
			return nil
		}
		if !s.evictOldest() {
			return ErrPinsFill
		}
	}
}

func (s *store) evictOldest() bool {
	for after := uint64(0); ; {
		g := s.choose(after)
		if g == nil {
			return false
		}
		path := s.path(g.seq)
		err := s.disk.remove(path)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		s.left(g, err == nil)
		if err == nil {
			_ = s.disk.remove(indexPath(path))
			return true
		}
		s.log.Warn("segment cannot be removed", "segment", filepath.Base(path), "error", err)
		after = g.seq
	}
}

// choose marks the oldest segment beyond after that may go.
func (s *store) choose(after uint64) *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segments {
		if g.seq > after && !g.open && !s.pinned(g.seq) {
			g.leaving = true
			return g
		}
	}
	return nil
}

// left takes a chosen segment out of the ring, or back into it.
func (s *store) left(g *segment, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.leaving = false
	if i := slices.Index(s.segments, g); gone && i >= 0 {
		s.segments = slices.Delete(s.segments, i, i+1)
	}
}
