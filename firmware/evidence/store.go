package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
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

// store is what lies on disk: segments in order, and pins. write, visit, sync
// and close are called by the writer's goroutine alone; mu guards what others
// read. Nobody holds it across I/O: a disk that hangs must not hold up who asks
// for Stats or Health.
type store struct {
	dir  string
	c    *SpoolConfig
	disk disk
	log  *slog.Logger

	// Of the writer alone.
	file    segmentFile
	index   *index // of the segment being written
	ifaces  int    // described in it
	head    []byte
	dirty   bool
	risk    unsynced // what was written since the last sync
	lost    func(*unsynced)
	retryAt time.Time
	reading time.Duration // what reading the folder took
	saved   time.Time     // when the total was last written

	// One Pin, Unpin, link or reading of the folder at a time; taken before
	// mu, held across I/O.
	pinning sync.Mutex
	wake    chan struct{} // a pin lacks links
	linked  chan struct{} // closed when nobody makes links any more

	mu       sync.Mutex
	here     fs.FileInfo // the folder that was read; nil: none yet, or it is lost
	segments []*segment  // ascending; the last may be open
	pins     map[string]*pin
	making   *pin // the Pin under way; its segments stay, too
	next     uint64
	crowded  bool // the disk is full before the ring is
	err      error
	total    total
}

type segment struct {
	facts
	seq     uint64
	open    bool
	leaving bool // chosen for removal: nobody may begin to use it
}

func (s *store) init(spool *Spool) {
	s.dir, s.c, s.disk, s.log, s.lost = spool.dir, &spool.c, spool.disk, spool.log, spool.lost
	s.head = alignedBuffer(page * 16)
	s.pins = map[string]*pin{}
	s.next = 1
	s.wake, s.linked = make(chan struct{}, 1), make(chan struct{})
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
	case errors.Is(err, ErrNotMounted):
		return ErrNotMounted
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrDiskFull
	case errors.Is(err, syscall.EROFS):
		return ErrReadOnly
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, ErrMissing):
		return ErrMissing
	}
	return ErrDisk
}

func named(err error) error {
	if kind := diskError(err); !errors.Is(err, kind) {
		return fmt.Errorf("%w: %w", kind, err)
	}
	return err
}

// fail names what happened, once per change, and returns it.
func (s *store) fail(op string, err error) error {
	kind := diskError(err)
	told := fmt.Errorf("%s: %w", op, named(err))
	s.mu.Lock()
	changed := !errors.Is(s.err, kind)
	s.err = told
	s.mu.Unlock()
	s.retryAt = s.c.Now().Add(s.c.SyncEvery + 20*s.reading) // a large folder is not read over and over
	if changed {
		s.log.Error("packets are not being kept", "error", told)
	}
	if kind != ErrDiskFull && kind != ErrReadOnly && kind != ErrPinsFill {
		s.lose() // the medium may be another one when it answers again
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

// write brings c to disk, in a new segment when the present one is full.
func (s *store) write(c *chunk) error {
	if err := s.health(); err != nil && s.c.Now().Before(s.retryAt) {
		return err
	}
	if !s.recover() {
		return s.health()
	}
	c.buf = pad(c.buf)
	if s.file != nil && s.index.size+int64(len(c.buf))+page > s.c.SegmentBytes {
		s.closeSegment()
	}
	if s.file == nil {
		if err := s.openSegment(); err != nil {
			return s.fail("new segment", err)
		}
	}
	if err := s.describe(c.ifaces); err != nil {
		return s.abandon(err)
	}
	if err := s.put(c.buf); err != nil {
		return s.abandon(err)
	}
	s.risk.add(c)
	s.healthy()
	return nil
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

// put writes whole blocks and then takes account of them: in the index, and for
// others to see.
func (s *store) put(b []byte) error {
	n, err := s.file.Write(b)
	s.dirty = true
	if err != nil {
		return err
	}
	s.index.written(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.segments[len(s.segments)-1]
	last.facts = s.index.facts
	s.total.Bytes += uint64(n)
	return nil
}

// openSegment makes room, then the file with its header.
func (s *store) openSegment() error {
	if err := s.usable(); err != nil {
		return err
	}
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
	s.file, s.index, s.ifaces = f, indexFor(s.c.SegmentBytes), 0
	head := capture.AppendSHB(s.head[:0], capture.Section{App: "sekisho", Hardware: "Sekisho gateway"})
	s.mu.Lock()
	s.next++
	s.segments = append(s.segments, &segment{seq: seq, facts: s.index.facts, open: true})
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
		s.giveUp() // now: after a failed fsync the next one may succeed without having written anything
		_ = s.abandon(err)
		return
	}
	s.dirty, s.risk = false, unsynced{}
}

// giveUp counts as lost what the disk did not say it has.
func (s *store) giveUp() {
	s.lost(&s.risk)
	s.risk = unsynced{}
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
		s.giveUp()
	}
	s.file, s.dirty, s.risk = nil, false, unsynced{}
	err := s.usable()
	if err == nil {
		data := s.index.encode()
		s.count(len(data))
		err = durable.WriteFile(indexPath(path), data, 0o644)
	}
	if err != nil {
		s.log.Warn("segment has no index", "segment", filepath.Base(path), "error", err)
	}
	if s.c.Now().Sub(s.saved) >= saveTotalEvery {
		s.saveTotal()
	}
}

// close ends the writer's work.
func (s *store) close() {
	s.closeSegment()
	s.saveTotal()
}
