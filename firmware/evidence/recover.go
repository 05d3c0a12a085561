package evidence

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// usable tells what speaks against making anything in the folder: that its
// medium is not there, or that the path leads to another folder than the one
// that was read, as it does when a disk was pulled out and plugged in again.
func (s *store) usable() error {
	if err := s.medium(); err != nil {
		return err
	}
	s.mu.Lock()
	here := s.here
	s.mu.Unlock()
	if here == nil {
		return fmt.Errorf("%w: %s was not read yet", ErrMissing, s.dir)
	}
	now, err := os.Stat(s.dir)
	if err != nil {
		return err
	}
	if !os.SameFile(here, now) {
		return fmt.Errorf("%w: %s is another folder now", ErrMissing, s.dir)
	}
	return nil
}

func (s *store) medium() error {
	if s.c.Medium == nil {
		return nil
	}
	return s.c.Medium()
}

func (s *store) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.here != nil
}

// lose gives the folder up: what is open in it is closed, so that its medium
// can go, and the folder is read anew before anything is written.
func (s *store) lose() {
	s.closeSegment()
	s.mu.Lock()
	s.here = nil
	s.mu.Unlock()
}

// visit looks after the medium, whether frames come or not.
func (s *store) visit() {
	if s.ready() {
		err := s.usable()
		if err == nil {
			return
		}
		_ = s.fail("evidence folder", err)
		s.recover() // plugged in again between two visits
		return
	}
	if !s.c.Now().Before(s.retryAt) {
		s.recover()
	}
}

// recover reads the folder, unless it was read: it restores pinned segments,
// closes what a power cut left open, and remembers the rest. It makes nothing
// on a wrong medium. It is tried again while it returns false.
func (s *store) recover() bool {
	if s.ready() {
		return true
	}
	if err := s.medium(); err != nil {
		_ = s.fail("open spool", err)
		return false
	}
	if err := s.read(); err != nil {
		_ = s.fail("open spool", err)
		return false
	}
	if err := s.health(); errors.Is(err, ErrNotMounted) || errors.Is(err, ErrMissing) || errors.Is(err, ErrTooSlow) {
		s.healthy() // that much is known without a write
	}
	return true
}

// unanswered says that the folder is still being read.
func (s *store) unanswered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.here == nil && s.err == nil {
		s.err = fmt.Errorf("open spool: %w: it does not answer yet", ErrTooSlow)
		s.log.Error("packets are not being kept", "error", s.err)
	}
}

func (s *store) read() error {
	s.pinning.Lock()
	defer s.pinning.Unlock()
	began := s.c.Now()
	for _, sub := range []string{segmentFolder, pinFolder} {
		if err := os.MkdirAll(filepath.Join(s.dir, sub), 0o755); err != nil {
			return err
		}
	}
	here, err := os.Stat(s.dir)
	if err != nil {
		return err
	}
	pins, err := s.loadPins()
	if err != nil {
		return fmt.Errorf("read pins: %w", err)
	}
	segments, err := s.loadSegments()
	if err != nil {
		return fmt.Errorf("read segments: %w", err)
	}
	next := uint64(1)
	if len(segments) > 0 {
		next = segments[len(segments)-1].seq + 1
	}
	for id, p := range pins {
		p.settle(segments)
		next = max(next, p.segments.last()+1) // what is gone must not seem to be back
		if gone := p.segments.without(segments).names(); len(gone) > 0 {
			s.log.Error("segments of a pin are gone", "pin", id, "segments", gone)
		}
	}
	total := s.loadTotal()
	s.reading = s.c.Now().Sub(began)
	s.mu.Lock()
	s.here, s.segments, s.pins, s.total = here, segments, pins, total
	s.next = max(s.next, next)
	s.mu.Unlock()
	s.links()
	return nil
}

func (s *store) loadSegments() ([]*segment, error) {
	names, err := os.ReadDir(filepath.Join(s.dir, segmentFolder))
	if err != nil {
		return nil, err
	}
	var found []*segment
	for _, n := range names {
		var seq uint64
		if _, err := fmt.Sscanf(n.Name(), segmentName, &seq); err != nil || n.Name() != fmt.Sprintf(segmentName, seq) {
			continue
		}
		found = append(found, s.restore(seq))
	}
	slices.SortFunc(found, func(a, b *segment) int { return int(int64(a.seq) - int64(b.seq)) })
	return found, nil
}

// restore takes a segment up. One that cannot be read stays as it is.
func (s *store) restore(seq uint64) *segment {
	path := s.path(seq)
	x, err := loadIndex(path)
	if err != nil {
		if x, err = rebuild(path, s.c.SegmentBytes); err == nil {
			s.log.Info("segment was left open and is closed now", "segment", filepath.Base(path), "packets", x.packets)
		}
	}
	if err != nil {
		s.log.Warn("segment cannot be indexed", "segment", filepath.Base(path), "error", err)
		info, statErr := os.Stat(path)
		if statErr != nil {
			return &segment{seq: seq}
		}
		return &segment{seq: seq, facts: facts{size: info.Size()}}
	}
	return &segment{seq: seq, facts: x.facts}
}
