package evidence

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"sekisho/firmware/durable"
)

const (
	totalFile = "written.json"
	// saveTotalEvery keeps what counts the wear from adding to it.
	saveTotalEvery = time.Hour
	// leastSpan of packets in the ring from which a day's are estimated.
	leastSpan = time.Minute
)

// total is what was written to the medium since when.
type total struct {
	Bytes uint64    `json:"bytes"`
	Since time.Time `json:"since"`
}

func (s *store) count(n int) {
	s.mu.Lock()
	s.total.Bytes += uint64(n)
	s.mu.Unlock()
}

// loadTotal goes on from what the medium says was written to it.
func (s *store) loadTotal() total {
	s.saved = s.c.Now()
	t := total{Since: s.saved.UTC()}
	data, err := os.ReadFile(filepath.Join(s.dir, totalFile))
	if err != nil {
		return t
	}
	if err := json.Unmarshal(data, &t); err != nil {
		s.log.Warn("the total written begins anew", "error", err)
	}
	return t
}

func (s *store) saveTotal() {
	if s.usable() != nil {
		return
	}
	s.mu.Lock()
	t := s.total
	s.mu.Unlock()
	s.saved = s.c.Now()
	data, err := json.Marshal(t)
	if err == nil {
		err = durable.WriteFile(filepath.Join(s.dir, totalFile), data, 0o644)
	}
	if err != nil {
		s.log.Warn("the total written is not kept", "error", err)
	}
}

func (s *store) stats(out *SpoolStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Segments, out.Pins = len(s.segments), len(s.pins)
	out.Written, out.WrittenSince = s.total.Bytes, s.total.Since
	var covered float64 // days
	var bytes int64     // in that time
	for _, g := range s.segments {
		out.DiskBytes += g.size
		if s.pinned(g.seq) {
			out.PinnedBytes += g.size
		}
		if g.packets == 0 {
			continue
		}
		if out.Oldest.IsZero() || g.first < out.Oldest.UnixNano() {
			out.Oldest = time.Unix(0, g.first).UTC()
		}
		if g.jumps > 0 {
			continue // its ends do not tell how long it took
		}
		covered += time.Duration(g.last-g.first).Hours() / 24
		bytes += g.size
	}
	if covered >= leastSpan.Hours()/24 && bytes > 0 {
		out.DayBytes = float64(bytes) / covered
		limit := s.c.MaxBytes
		if s.crowded {
			limit = min(limit, out.DiskBytes)
		}
		out.Days = float64(limit-out.PinnedBytes) / out.DayBytes
	}
}
