package evidence

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"
	"unsafe"

	"sekisho/firmware/capture"
)

const (
	page          = 4096 // what direct writes are aligned to
	maxInterfaces = 256
	// openWait is for a disk that hangs while the gateway starts: detection and
	// isolation must not wait for it.
	openWait = 15 * time.Second
)

// Spool is the rolling ring of packets on disk. Write is for one goroutine at a
// time; every other method may be called from anywhere.
type Spool struct {
	dir  string
	c    SpoolConfig
	disk disk
	log  *slog.Logger

	// fill guards what Write touches. Nobody holds it across I/O.
	fill     sync.Mutex
	closed   bool
	current  *chunk
	ifaces   []spoolIface
	lastHit  int
	newest   int64 // time of the newest frame since the clock was set
	pending  notes
	clock    clock
	written  SpoolStats // Packets, Bytes, Drops, DropBytes, Missed
	tooSlow  bool       // the last drop came from a full queue
	free     chan *chunk
	full     chan *chunk
	flushes  chan chan struct{}
	stop     chan struct{}
	done     chan struct{}
	stopOnce sync.Once

	store store
}

type spoolIface struct {
	iface uint32
	link  capture.LinkType
}

// chunk is one buffer of whole blocks on its way to the disk.
type chunk struct {
	buf            []byte // page-aligned
	first, last    int64
	packets, bytes uint64
	ifaces         []spoolIface // that frames in it may refer to
	notes          notes        // that are recorded in it
}

// OpenSpool starts the spool in dir. Only an impossible configuration is an
// error: with a disk that is missing, full or read-only the spool starts
// degraded, says so in Health, counts what it cannot keep, and recovers when
// the disk does. One that does not answer is not waited for longer than openWait;
// what needs it then waits by itself: Pin, Flush, Extract.
func OpenSpool(dir string, c SpoolConfig) (*Spool, error) { return openSpool(dir, c, systemDisk{}) }

func openSpool(dir string, c SpoolConfig, d disk) (*Spool, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	c.defaults()
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s := &Spool{
		dir: abs, c: c, disk: d, log: c.Logger,
		free: make(chan *chunk, c.Buffers), full: make(chan *chunk, c.Buffers),
		flushes: make(chan chan struct{}), stop: make(chan struct{}), done: make(chan struct{}),
	}
	for range c.Buffers {
		s.free <- &chunk{buf: alignedBuffer(c.BufferBytes)}
	}
	s.store.init(s)
	s.clock = clock{read: s.c.reading}
	_, _ = s.clock.jump() // the first look
	read := make(chan struct{})
	go func() {
		s.store.recover()
		close(read)
		s.run()
	}()
	select {
	case <-read:
	case <-time.After(openWait):
		s.store.unanswered()
	}
	go s.store.linkPins(s.done)
	return s, nil
}

func (c *SpoolConfig) defaults() {
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.BufferBytes == 0 {
		c.BufferBytes = 1 << 20
	}
	if c.Buffers == 0 {
		c.Buffers = 32
	}
	if c.SyncEvery == 0 {
		c.SyncEvery = time.Second
	}
	if c.PinFollow == 0 {
		c.PinFollow = time.Hour
	}
	if c.InterfaceName == nil {
		c.InterfaceName = func(uint32) string { return "" }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.steady == nil {
		opened := c.Now()
		c.steady = func(now time.Time) time.Duration { return now.Sub(opened) }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

func (c *SpoolConfig) check() error {
	switch {
	case c.BufferBytes < page || c.BufferBytes%page != 0:
		return fmt.Errorf("buffer of %d bytes is not a multiple of %d", c.BufferBytes, page)
	case c.Buffers < 2:
		return errors.New("fewer than two buffers")
	case c.SegmentBytes < int64(c.BufferBytes)+4*page:
		return fmt.Errorf("segment of %d bytes is smaller than a buffer", c.SegmentBytes)
	case c.MaxBytes < 3*c.SegmentBytes:
		return fmt.Errorf("ring of %d bytes is smaller than three segments", c.MaxBytes)
	case c.SyncEvery < 0 || c.PinFollow < 0:
		return errors.New("negative duration")
	}
	return nil
}

func alignedBuffer(size int) []byte {
	raw := make([]byte, size+page)
	skip := -int(uintptr(unsafe.Pointer(&raw[0]))) & (page - 1)
	return raw[skip : skip : skip+size]
}

// Write keeps a copy of f, which stays the caller's. It never waits for the
// disk: when every buffer is under way, f is dropped and counted, and the gap
// is recorded in the stream.
func (s *Spool) Write(f *capture.Frame) {
	s.fill.Lock()
	defer s.fill.Unlock()
	if s.closed {
		return
	}
	s.written.Packets++
	s.written.Bytes += uint64(len(f.Data))
	if f.Time < s.newest-int64(clockStep) {
		s.wentBack(f.Time)
	}
	s.newest = max(s.newest, f.Time)
	n, ok := s.number(f)
	need := capture.EPBSize(f)
	if !ok || need > s.c.BufferBytes-noteRoom-padBlock {
		s.drop(f.Time, f.Time, 1, uint64(len(f.Data)))
		return
	}
	if c := s.current; c != nil && len(c.buf)+need > cap(c.buf)-padBlock {
		s.submit()
	}
	if s.current == nil && !s.begin() {
		s.tooSlow = true
		s.drop(f.Time, f.Time, 1, uint64(len(f.Data)))
		return
	}
	c := s.current
	if c.packets == 0 || f.Time < c.first {
		c.first = f.Time
	}
	c.last = max(c.last, f.Time)
	c.packets++
	c.bytes += uint64(len(f.Data))
	c.ifaces = s.ifaces
	c.buf = capture.AppendEPB(c.buf, f, n)
}

// number gives a pair of interface and link type its number, the same in every
// segment.
func (s *Spool) number(f *capture.Frame) (uint32, bool) {
	want := spoolIface{f.Iface, f.Link}
	if s.lastHit < len(s.ifaces) && s.ifaces[s.lastHit] == want {
		return uint32(s.lastHit), true
	}
	for i, have := range s.ifaces {
		if have == want {
			s.lastHit = i
			return uint32(i), true
		}
	}
	if len(s.ifaces) == maxInterfaces {
		return 0, false
	}
	s.ifaces = append(s.ifaces, want)
	s.lastHit = len(s.ifaces) - 1
	return uint32(s.lastHit), true
}

// begin takes a free buffer and first notes in it what is missing before it.
func (s *Spool) begin() bool {
	select {
	case c := <-s.free:
		*c = chunk{buf: c.buf[:0], ifaces: s.ifaces}
		s.current = c
	default:
		return false
	}
	s.tooSlow = false
	s.lookAtClock()
	s.note()
	return true
}

// submit never waits: there are no more buffers than places in the queue.
func (s *Spool) submit() {
	s.full <- s.current
	s.current = nil
}

func (s *Spool) drop(from, to int64, frames, bytes uint64) {
	s.written.Drops += frames
	s.written.DropBytes += bytes
	s.pending.spool.add(from, to, frames)
}

// run is the writer's goroutine, the only one that writes segments.
func (s *Spool) run() {
	defer close(s.done)
	tick := time.NewTicker(s.c.SyncEvery)
	defer tick.Stop()
	for {
		select {
		case c := <-s.full:
			s.keep(c)
		case <-tick.C:
			s.flushAll()
		case answer := <-s.flushes:
			s.flushAll()
			close(answer)
		case <-s.stop:
			s.flushAll()
			s.store.close()
			return
		}
	}
}

// flushAll writes everything that Write has taken so far, in order, and syncs.
func (s *Spool) flushAll() {
	s.store.visit()
	if !s.drain() {
		s.drain() // there are buffers for the notes now
	}
	s.store.sync()
}

// drain writes what is under way. False says that there was no buffer left for
// what is to be noted.
func (s *Spool) drain() bool {
	s.fill.Lock()
	s.lookAtClock()
	noted := true
	if s.noteworthy() {
		if s.current != nil { // it had no room for the notes
			s.submit()
		}
		noted = s.begin()
	}
	waiting := len(s.full)
	c := s.current
	s.current = nil
	s.fill.Unlock()
	for range waiting {
		s.keep(<-s.full)
	}
	if c != nil {
		s.keep(c)
	}
	return noted
}

func (s *Spool) keep(c *chunk) {
	if err := s.store.write(c); err != nil {
		var u unsynced
		u.add(c)
		s.lost(&u)
	}
	s.free <- c
}

// lost counts frames as dropped that Write had taken, and notes anew what was
// noted among them.
func (s *Spool) lost(u *unsynced) {
	s.fill.Lock()
	defer s.fill.Unlock()
	s.pending.add(&u.notes)
	s.drop(u.times.first, u.times.last, u.frames, u.bytes)
}

// Flush returns when everything written so far is synced, or counted as lost.
func (s *Spool) Flush() error {
	answer := make(chan struct{})
	select {
	case s.flushes <- answer:
		<-answer
		return s.store.health()
	case <-s.done:
		return errSpoolClosed
	}
}

// Close flushes, closes the segment and ends the writer. Write does nothing
// from then on.
func (s *Spool) Close() error {
	s.fill.Lock()
	s.closed = true
	s.fill.Unlock()
	s.stopOnce.Do(func() { close(s.stop) })
	<-s.done
	<-s.store.linked
	return s.store.health()
}

// Health is nil while packets reach the disk, and otherwise wraps one of the
// named errors.
func (s *Spool) Health() error {
	if err := s.store.health(); err != nil {
		return err
	}
	s.fill.Lock()
	defer s.fill.Unlock()
	if s.tooSlow {
		return ErrTooSlow
	}
	return nil
}

// Stats may be called as often as one likes.
func (s *Spool) Stats() SpoolStats {
	s.fill.Lock()
	out := s.written
	s.fill.Unlock()
	s.store.stats(&out)
	return out
}
