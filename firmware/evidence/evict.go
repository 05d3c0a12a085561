package evidence

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
)

// reserve is the part of the disk that the ring leaves to bundles, however large
// its own limit is: what is pinned must find room to be sealed.
const reserve = 20

// evict removes the oldest segments that nobody pinned until need bytes fit.
// It makes room on the disk only while the ring has more than the reserve that
// is not pinned: when other files fill the disk, both share what is left.
func (s *store) evict(need int64) error {
	crowded := false
	for {
		s.mu.Lock()
		var total, loose int64
		for _, g := range s.segments {
			total += g.size
			if !s.pinned(g.seq) {
				loose += g.size
			}
		}
		s.mu.Unlock()
		fits := total+need <= s.c.MaxBytes
		free, size := s.disk.room(s.dir)
		short := free < need+size/reserve
		crowded = crowded || fits && short
		if fits && (!short || loose <= size/reserve) {
			s.mu.Lock()
			s.crowded = crowded
			s.mu.Unlock()
			return nil
		}
		if !s.evictOldest() {
			if fits {
				return nil // whether the disk has room, it says itself
			}
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
