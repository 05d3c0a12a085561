package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/durable"
)

const (
	segmentFolder = "segments"
	pinFolder     = "pins"
	segmentName   = "%016d.pcapng"
)

// store is what lies on disk: segments in order, and pins. write, sync and
// closeSegment are called by the writer's goroutine alone; mu guards what
// others read. Nobody holds it across I/O: a disk that hangs must not hold up
// who asks for Stats or Health.
type store struct {
	dir  string
	c    *SpoolConfig
	disk disk
	log  *slog.Logger

	// Of the writer alone.
	file    segmentFile
	index   *index // of the segment being written
	ifaces  int    // described in it
	links   []capture.LinkType
	head    []byte
	dirty   bool
	ready   bool // the folder was read
	retryAt time.Time
	started time.Time

	pinning sync.Mutex // one Pin or Unpin at a time; taken before mu, held across I/O

	mu       sync.Mutex
	segments []*segment // ascending; the last may be open
	pins     map[string]*pin
	making   *pin // the Pin under way; its segments stay, too
	next     uint64
	err      error
	wrote    uint64 // bytes since started
}

type segment struct {
	seq         uint64
	first, last int64 // ns, 0 without packets
	size        int64 // bytes written
	open        bool
	leaving     bool // chosen for removal: nobody may begin to use it
}

func (s *store) init(spool *Spool) {
	s.dir, s.c, s.disk, s.log = spool.dir, &spool.c, spool.disk, spool.log
	s.head = alignedBuffer(page * 16)
	s.pins = map[string]*pin{}
	s.next = 1
	s.started = s.c.Now()
}

func (s *store) path(seq uint64) string {
	return filepath.Join(s.dir, segmentFolder, fmt.Sprintf(segmentName, seq))
}

func (s *store) health() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// diskError is which of the named errors err is.
func diskError(err error) error {
	switch {
	case errors.Is(err, ErrPinsFill):
		return ErrPinsFill
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrDiskFull
	case errors.Is(err, syscall.EROFS):
		return ErrReadOnly
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return ErrMissing
	}
	return ErrDisk
}

func named(err error) error { return fmt.Errorf("%w: %w", diskError(err), err) }

// fail names what happened, once per change, and returns it.
func (s *store) fail(op string, err error) error {
	kind := diskError(err)
	told := fmt.Errorf("%s: %w", op, named(err))
	s.mu.Lock()
	changed := !errors.Is(s.err, kind)
	s.err = told
	s.mu.Unlock()
	s.retryAt = s.c.Now().Add(s.c.SyncEvery)
	if changed {
		s.log.Error("packets are not being kept", "error", told)
	}
	return told
}

func (s *store) healthy() {
	s.mu.Lock()
	was := s.err
	s.err = nil
	s.mu.Unlock()
	if was != nil {
		s.log.Info("packets are being kept again", "after", was)
	}
}

// recover reads the folder: it restores pinned segments, closes what a power
// cut left open, and remembers the rest. It is tried again while it fails.
func (s *store) recover() {
	if s.ready {
		return
	}
	for _, sub := range []string{segmentFolder, pinFolder} {
		if err := os.MkdirAll(filepath.Join(s.dir, sub), 0o755); err != nil {
			_ = s.fail("open spool", err)
			return
		}
	}
	pins, err := s.loadPins()
	if err != nil {
		_ = s.fail("read pins", err)
		return
	}
	names, err := os.ReadDir(filepath.Join(s.dir, segmentFolder))
	if err != nil {
		_ = s.fail("read spool", err)
		return
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
	s.mu.Lock()
	s.segments, s.pins = found, pins
	if len(found) > 0 {
		s.next = found[len(found)-1].seq + 1
	}
	s.mu.Unlock()
	s.ready = true
}

// restore takes a segment up. One that cannot be read stays as it is.
func (s *store) restore(seq uint64) *segment {
	path := s.path(seq)
	x, err := loadIndex(path)
	if err != nil {
		if x, err = rebuild(path); err == nil {
			s.log.Info("segment was left open and is closed now", "segment", filepath.Base(path), "packets", x.packets)
		}
	}
	if err != nil {
		s.log.Warn("segment cannot be indexed", "segment", filepath.Base(path), "error", err)
		info, statErr := os.Stat(path)
		if statErr != nil {
			return &segment{seq: seq}
		}
		return &segment{seq: seq, size: info.Size()}
	}
	return &segment{seq: seq, first: x.first, last: x.last, size: x.size}
}

// write brings c to disk, in a new segment when the present one is full.
func (s *store) write(c *chunk) error {
	if err := s.health(); err != nil && s.c.Now().Before(s.retryAt) {
		return err
	}
	s.recover()
	if !s.ready {
		return s.health()
	}
	c.buf = pad(c.buf)
	if s.file != nil && s.index.size+int64(len(c.buf))+page > s.c.SegmentBytes {
		s.closeSegment()
	}
	if s.file == nil {
		if err := s.openSegment(c.ifaces); err != nil {
			return s.fail("new segment", err)
		}
	}
	if err := s.describe(c.ifaces); err != nil {
		return s.abandon(err)
	}
	if err := s.put(c.buf); err != nil {
		return s.abandon(err)
	}
	s.account(c)
	s.healthy()
	return nil
}

// account runs after the bytes are written: the index and what others see.
func (s *store) account(c *chunk) {
	w := newBlockSlice(c.buf)
	var k keys
	for {
		kind, block := w.next()
		if block == nil {
			break
		}
		if kind == kindISB {
			_, _, _, gap := gapIn(block)
			s.index.gaps = s.index.gaps || gap
		}
		if kind != kindEPB {
			continue
		}
		if iface, ns, data, err := packet(block); err == nil && int(iface) < len(s.links) {
			k.read(s.links[iface], data)
			s.index.add(ns, len(data), &k)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.segments[len(s.segments)-1]
	last.first, last.last, last.size = s.index.first, s.index.last, s.index.size
	s.wrote += uint64(len(c.buf))
}

// pad fills b to a whole page with a custom block; begin and Write left room.
func pad(b []byte) []byte {
	n := -len(b) & (page - 1)
	if n == 0 {
		return b
	}
	if n < padBlock {
		n += page
	}
	var zero [2 * page]byte
	return capture.AppendCustom(b, padNumber, zero[:n-padBlock])
}

func (s *store) put(b []byte) error {
	n, err := s.file.Write(b)
	if err != nil {
		return err
	}
	s.index.size += int64(n)
	s.dirty = true
	return nil
}

// openSegment makes room, then the file with its header.
func (s *store) openSegment(ifaces []spoolIface) error {
	if err := s.evict(s.c.SegmentBytes); err != nil {
		return err
	}
	s.mu.Lock()
	seq := s.next
	s.mu.Unlock()
	path := s.path(seq)
	f, err := s.disk.create(path, s.c.SegmentBytes)
	if errors.Is(err, syscall.ENOSPC) && s.evictOldest() {
		f, err = s.disk.create(path, s.c.SegmentBytes)
	}
	if err != nil {
		return err
	}
	s.file, s.index, s.ifaces, s.links = f, newIndex(), 0, nil
	head := capture.AppendSHB(s.head[:0], capture.Section{App: "sekisho", Hardware: "Sekisho gateway"})
	s.mu.Lock()
	s.next++
	s.segments = append(s.segments, &segment{seq: seq, open: true})
	s.mu.Unlock()
	if err := s.put(pad(head)); err != nil {
		return s.undo(seq, err)
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return s.undo(seq, err)
	}
	s.follow(seq)
	return nil
}

// undo takes back a segment that never got its header.
func (s *store) undo(seq uint64, err error) error {
	_ = s.file.Close()
	s.file = nil
	s.mu.Lock()
	s.segments = s.segments[:len(s.segments)-1]
	s.mu.Unlock()
	return errors.Join(err, os.Remove(s.path(seq)))
}

// describe writes the interfaces that the segment does not know yet.
func (s *store) describe(ifaces []spoolIface) error {
	if s.ifaces >= len(ifaces) {
		return nil
	}
	b := s.head[:0]
	for ; s.ifaces < len(ifaces); s.ifaces++ {
		i := ifaces[s.ifaces]
		b = capture.AppendIDB(b, capture.Interface{Name: s.c.InterfaceName(i.iface), Link: i.link})
		s.links = append(s.links, i.link)
		if len(b) > cap(s.head)/2 {
			if err := s.put(pad(b)); err != nil {
				return err
			}
			b = s.head[:0]
		}
	}
	if len(b) == 0 {
		return nil
	}
	return s.put(pad(b))
}

// abandon leaves the segment where the write failed; what is whole in it stays
// readable, the next write starts another.
func (s *store) abandon(err error) error {
	s.closeSegment()
	return s.fail("write segment", err)
}

func (s *store) sync() {
	if s.file == nil || !s.dirty {
		return
	}
	if err := s.file.Sync(); err != nil {
		_ = s.abandon(err)
		return
	}
	s.dirty = false
}

// closeSegment syncs the file and writes its sidecar. Without a sidecar the
// segment is scanned at the next start.
func (s *store) closeSegment() {
	if s.file == nil {
		return
	}
	s.mu.Lock()
	last := s.segments[len(s.segments)-1]
	last.open = false
	s.mu.Unlock()
	path := s.path(last.seq)
	if err := s.file.Close(); err != nil {
		s.log.Warn("segment was not closed cleanly", "segment", filepath.Base(path), "error", err)
	}
	s.file, s.dirty = nil, false
	if err := durable.WriteFile(indexPath(path), s.index.encode(), 0o644); err != nil {
		s.log.Warn("segment has no index", "segment", filepath.Base(path), "error", err)
	}
}

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

func (s *store) stats(out *SpoolStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Segments, out.Pins = len(s.segments), len(s.pins)
	for _, g := range s.segments {
		out.DiskBytes += g.size
		if s.pinned(g.seq) {
			out.PinnedBytes += g.size
		}
		if g.first > 0 && (out.Oldest.IsZero() || g.first < out.Oldest.UnixNano()) {
			out.Oldest = time.Unix(0, g.first).UTC()
		}
	}
	if age := s.c.Now().Sub(s.started); age > 0 && s.wrote > 0 {
		out.Days = float64(s.c.MaxBytes-out.PinnedBytes) / (float64(s.wrote) / age.Hours() * 24)
	}
}
