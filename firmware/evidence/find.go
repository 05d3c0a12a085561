package evidence

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"time"
)

// part is a stretch of a segment to read: for packets and what is noted, or for
// what is noted and the interfaces alone.
type part struct {
	from, to int64
	packets  bool
}

// parts are what has to be read for the packets of m between from and to, and
// for what is noted about that time. Neighbours are one part.
func (x *sidecar) parts(m *matcher, from, to int64) []part {
	hold := x.hold(m, from, to)
	if hold == 0 && !x.noted.overlaps(from, to) {
		return nil
	}
	var out []part
	for i, s := range x.slices {
		bit := uint64(1) << i
		if (hold|x.control)&bit == 0 {
			continue
		}
		p := part{s.offset, x.end(i), hold&bit != 0}
		if n := len(out) - 1; n >= 0 && out[n].to == p.from && out[n].packets == p.packets {
			out[n].to = p.to
			continue
		}
		out = append(out, p)
	}
	return out
}

// end of slice i in the file.
func (x *sidecar) end(i int) int64 {
	if i+1 < len(x.slices) {
		return x.slices[i+1].offset
	}
	return x.size
}

// Found says where in the spool packets of a host can be. It comes from the
// index alone: there may be fewer, never more.
type Found struct {
	Searched   int   `json:"searched"`    // segments that overlap the time span
	IndexBytes int64 `json:"index_bytes"` // of sidecars that were read
	Segments   int   `json:"segments"`    // that may hold packets of the host
	Slices     int   `json:"slices"`      // of these segments; an unindexed one counts as one
	Bytes      int64 `json:"bytes"`       // of these slices: what Extract would have to read
	// First and Last are the ends of these slices in time: every packet of the
	// host lies between them, and other packets do, too.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
}

// Find looks a host up in the whole spool, pinned or not, between from and to.
// It reads the segments' sidecars only. A span that ends before it begins is
// ErrSpan.
func (s *Spool) Find(ctx context.Context, m Match, from, to time.Time) (Found, error) {
	if err := checkSpan(from, to); err != nil {
		return Found{}, fmt.Errorf("find: %w", err)
	}
	x := finder{m: newMatcher(m), from: from.UnixNano(), to: to.UnixNano(), times: noTime()}
	for _, g := range s.store.overlapping(x.from, x.to) {
		if err := ctx.Err(); err != nil {
			return Found{}, fmt.Errorf("find: %w", err)
		}
		x.segment(s.store.path(g.seq), g)
	}
	if x.times != noTime() {
		x.out.First, x.out.Last = time.Unix(0, x.times.first).UTC(), time.Unix(0, x.times.last).UTC()
	}
	return x.out, nil
}

func (s *store) overlapping(from, to int64) []segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []segment
	for _, g := range s.segments {
		if g.concerns(from, to) {
			out = append(out, *g)
		}
	}
	return out
}

type finder struct {
	m        *matcher
	from, to int64
	out      Found
	times    span
}

func (x *finder) segment(path string, g segment) {
	x.out.Searched++
	index := (*sidecar)(nil)
	if !g.open {
		var err error
		if index, err = loadIndex(path); errors.Is(err, fs.ErrNotExist) {
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				return // it left the ring meanwhile
			}
		}
	}
	if index == nil {
		times := span{g.first, g.last}
		if g.packets == 0 {
			times = noTime()
		}
		x.add(1, g.size, times)
		return
	}
	x.out.IndexBytes += index.length
	hold := index.hold(x.m, x.from, x.to)
	if hold == 0 {
		return
	}
	times, bytes := noTime(), int64(0)
	for i, s := range index.slices {
		if hold&(1<<i) != 0 {
			times.join(s.times)
			bytes += index.end(i) - s.offset
		}
	}
	x.add(bits.OnesCount64(hold), bytes, times)
}

func (x *finder) add(slices int, bytes int64, times span) {
	x.out.Segments++
	x.out.Slices += slices
	x.out.Bytes += bytes
	x.times.join(times)
}
