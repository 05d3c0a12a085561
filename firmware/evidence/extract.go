package evidence

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sekisho/firmware/capture"
)

// ErrSpan says that no packet can be in the time span asked for: a clock was set
// back, or the two ends were exchanged.
var ErrSpan = errors.New("the time span ends before it begins")

func checkSpan(from, to time.Time) error {
	if to.Before(from) {
		return fmt.Errorf("%w: from %s to %s", ErrSpan, stamp(from), stamp(to))
	}
	return nil
}

// Extract writes the packets of a host between from and to as pcapng: from the
// segments pinned under id, and from later ones as far as they reach. Call it
// after to has passed; what is in memory is flushed first. Only the slices are
// read that may hold the host or say something about that time. Packets come in
// the order in which they were captured, and between them the gaps and clock
// jumps that are noted there. A damaged segment is read as far as it goes and
// named. A span that ends before it begins is ErrSpan.
func (s *Spool) Extract(ctx context.Context, id string, m Match, from, to time.Time, w io.Writer, progress Progress) (Extraction, error) {
	if err := checkSpan(from, to); err != nil {
		return Extraction{}, fmt.Errorf("extract %s: %w", id, err)
	}
	if err := s.Flush(); errors.Is(err, errSpoolClosed) {
		return Extraction{}, fmt.Errorf("extract %s: %w", id, err)
	}
	jobs, gone, err := s.store.candidates(id, from.UnixNano(), to.UnixNano())
	if err != nil {
		return Extraction{}, fmt.Errorf("extract %s: %w", id, err)
	}
	x := extractor{m: newMatcher(m), from: from.UnixNano(), to: to.UnixNano(), w: bufio.NewWriterSize(w, 256<<10), walk: newWalker(nil)}
	x.out.Damaged = gone
	x.header()
	var done, total int64
	for _, j := range jobs {
		total += j.size
	}
	for _, j := range jobs {
		if err := ctx.Err(); err != nil {
			return x.out, fmt.Errorf("extract %s: %w", id, err)
		}
		if err := x.segment(ctx, s.store.path(j.seq), j); err != nil {
			return x.out, fmt.Errorf("extract %s: %w", id, err)
		}
		if done += j.size; progress != nil {
			progress(done, total)
		}
	}
	if err := x.w.Flush(); err != nil {
		return x.out, fmt.Errorf("extract %s: %w", id, err)
	}
	return x.out, nil
}

// candidates are the segments that overlap the time span: pinned or later. Gone
// are those that were pinned and are not there: of any time, for all we know.
func (s *store) candidates(id string, from, to int64) (out []segment, gone []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pins[id]
	if p == nil {
		return nil, nil, ErrNoPin
	}
	for _, g := range s.segments {
		if (p.segments.has(g.seq) || g.seq > p.segments.last()) && g.concerns(from, to) {
			out = append(out, *g)
		}
	}
	return out, p.segments.without(s.segments).names(), nil
}

// concerns tells whether a segment may say anything about a time span. One that
// could not be read may say anything.
func (g *segment) concerns(from, to int64) bool {
	times := span{g.first, g.last}
	return !g.leaving && g.size > 0 && (g.packets == 0 || times.overlaps(from, to) || g.noted.overlaps(from, to))
}

type ifaceKey struct {
	name string
	link capture.LinkType
}

type extractor struct {
	m        *matcher
	from, to int64
	w        *bufio.Writer
	out      Extraction
	walk     *walker
	known    []ifaceKey // interfaces of the output
	ifaces   []uint32   // number in the segment -> number in the output
	k        keys
	scratch  []byte
}

func (x *extractor) header() {
	x.scratch = capture.AppendSHB(x.scratch[:0], capture.Section{App: "sekisho", Hardware: "Sekisho gateway"})
	_, _ = x.w.Write(x.scratch) // bufio keeps the first error for Flush
}

// segment reads what the index does not rule out. Damage ends it: interfaces
// may be missing that packets beyond it refer to.
func (x *extractor) segment(ctx context.Context, path string, g segment) error {
	parts := []part{{0, g.size, true}}
	if !g.open {
		if index, err := loadIndex(path); err == nil {
			parts = index.parts(x.m, x.from, x.to)
		}
	}
	if !slices.ContainsFunc(parts, func(p part) bool { return p.packets }) {
		x.out.Skipped++
	} else {
		x.out.Segments++
	}
	if len(parts) == 0 {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		x.out.Damaged = append(x.out.Damaged, filepath.Base(path))
		return nil
	}
	defer f.Close()
	x.ifaces = x.ifaces[:0]
	for _, p := range parts {
		if err := x.part(ctx, f, p); errors.Is(err, errTorn) {
			x.out.Damaged = append(x.out.Damaged, filepath.Base(path))
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (x *extractor) part(ctx context.Context, f *os.File, p part) error {
	x.out.Read += p.to - p.from
	x.walk.reset(io.NewSectionReader(f, p.from, p.to-p.from), p.from)
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		kind, block, err := x.walk.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errTorn, err) // also when the disk cannot read it
		}
		switch {
		case kind == kindIDB:
			x.ifaces = append(x.ifaces, x.describe(block))
		case kind == kindISB:
			x.gap(block)
		case kind == kindCustom:
			x.jump(block)
		case kind == kindEPB && p.packets:
			if err := x.packet(block); err != nil {
				return err
			}
		}
	}
}

// describe finds the interface in the output, or adds it.
func (x *extractor) describe(block []byte) uint32 {
	key := ifaceKey{name: string(block[8:])} // the whole description tells them apart
	key.link = capture.LinkType(binary.LittleEndian.Uint16(block[8:]))
	for i, have := range x.known {
		if have == key {
			return uint32(i)
		}
	}
	x.known = append(x.known, key)
	_, _ = x.w.Write(block)
	return uint32(len(x.known) - 1)
}

func (x *extractor) packet(block []byte) error {
	iface, ns, data, err := packet(block)
	if err != nil || int(iface) >= len(x.ifaces) {
		return errTorn
	}
	if ns < x.from || ns > x.to {
		return nil
	}
	out := x.ifaces[iface]
	x.k.read(x.known[out].link, data)
	if !x.m.host(&x.k) {
		return nil
	}
	if ok, hidden := x.m.port(&x.k); !ok {
		if hidden {
			x.out.HiddenPorts++
		}
		return nil
	}
	binary.LittleEndian.PutUint32(block[8:], out)
	if _, err := x.w.Write(block); err != nil {
		return err
	}
	t := time.Unix(0, ns).UTC()
	if x.out.Packets == 0 || t.Before(x.out.First) {
		x.out.First = t
	}
	if t.After(x.out.Last) {
		x.out.Last = t
	}
	x.out.Packets++
	x.out.Bytes += uint64(len(data))
	return nil
}

// gap tells what is noted, in the result and in the stream.
func (x *extractor) gap(block []byte) {
	g, where, ok := gapIn(block)
	if !ok || !g.times.overlaps(x.from, x.to) {
		return
	}
	x.out.Gaps = append(x.out.Gaps, Gap{time.Unix(0, g.times.first).UTC(), time.Unix(0, g.times.last).UTC(), g.frames, where})
	if n := binary.LittleEndian.Uint32(block[8:]); int(n) < len(x.ifaces) {
		binary.LittleEndian.PutUint32(block[8:], x.ifaces[n])
		_, _ = x.w.Write(block)
	}
}

// jump tells of a clock in the result alone: a program that meets a custom block
// may refuse to convert the whole file (editcap 4.0 does).
func (x *extractor) jump(block []byte) {
	j, ok := jumpIn(block)
	if !ok || !j.span().overlaps(x.from, x.to) {
		return
	}
	x.out.ClockJumps = append(x.out.ClockJumps, j)
}
