package evidence

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"sekisho/firmware/capture"
)

// faultyDisk fails while its error is set.
type faultyDisk struct {
	systemDisk
	mu  sync.Mutex
	err error
	// late is for Sync and Close alone, as when a drive loses its cache.
	late error
	// hold stops writes until it is closed.
	hold chan struct{}
}

type faultyFile struct {
	segmentFile
	d *faultyDisk
}

func (d *faultyDisk) set(err error) {
	d.mu.Lock()
	d.err = err
	d.mu.Unlock()
}

func (d *faultyDisk) now() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

func (d *faultyDisk) create(path string, size int64) (segmentFile, error) {
	if err := d.now(); err != nil {
		return nil, err
	}
	f, err := systemDisk{}.create(path, size)
	return faultyFile{f, d}, err
}

func (f faultyFile) Write(p []byte) (int, error) {
	if f.d.hold != nil {
		<-f.d.hold
	}
	if err := f.d.now(); err != nil {
		return 0, err
	}
	return f.segmentFile.Write(p)
}

func (d *faultyDisk) setLate(err error) {
	d.mu.Lock()
	d.late = err
	d.mu.Unlock()
}

// forget tells an error once, as the kernel does: the next sync succeeds.
func (d *faultyDisk) forget() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.late
	d.late = nil
	return err
}

func (f faultyFile) Sync() error  { return errors.Join(f.d.forget(), f.segmentFile.Sync()) }
func (f faultyFile) Close() error { return errors.Join(f.d.forget(), f.segmentFile.Close()) }

func smallSpool() SpoolConfig {
	return SpoolConfig{BufferBytes: 8192, Buffers: 4, SegmentBytes: 64 << 10, MaxBytes: 256 << 10, SyncEvery: time.Hour,
		Now: func() time.Time { return base }}
}

func mustSpool(t testing.TB, dir string, c SpoolConfig, d disk) *Spool {
	t.Helper()
	s, err := openSpool(dir, c, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// feed writes n frames, from..from+n-1, every second one of the victim.
func feed(t testing.TB, s *Spool, from, n int) {
	t.Helper()
	mine := ipFrame(victim, other, "192.0.2.7", "192.0.2.9", 200)
	theirs := ipFrame(other, [6]byte{2, 0, 0, 0, 0, 9}, "192.0.2.8", "192.0.2.9", 200)
	for i := from; i < from+n; i++ {
		data := mine
		if i%2 == 1 {
			data = theirs
		}
		s.Write(frameAt(i, data))
		if i%20 == 0 { // keep up: nothing may be dropped in these tests
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
}

var wanted = Match{MACs: [][6]byte{victim}}

func extract(t testing.TB, s *Spool, id string, m Match) (Extraction, []byte) {
	t.Helper()
	var b bytes.Buffer
	x, err := s.Extract(t.Context(), id, m, base, base.Add(time.Hour), &b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return x, b.Bytes()
}

func TestAPinKeepsTheHostsPacketsThroughRollOverAndRestart(t *testing.T) {
	dir := t.TempDir()
	c := smallSpool()
	c.PinFollow = 1 // nothing later is pinned: the ring must be able to turn
	now := base
	c.Now = func() time.Time { return now }
	s := mustSpool(t, dir, c, systemDisk{})
	feed(t, s, 0, 100)
	if err := s.Pin("INC-1", base.Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	now = base.Add(time.Second)
	feed(t, s, 100, 3000)
	if st := s.Stats(); st.DiskBytes > c.MaxBytes || st.Drops != 0 || st.PinnedBytes == 0 {
		t.Errorf("stats %+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustSpool(t, dir, c, systemDisk{})
	x, data := extract(t, s, "INC-1", wanted)
	if x.Packets < 50 || !x.First.Equal(base) || len(x.Damaged) != 0 {
		t.Errorf("extracted %+v", x)
	}
	path := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	facts, err := readPcapFile(path)
	if err != nil || facts.Packets != x.Packets || !facts.First.Equal(x.First) {
		t.Errorf("file %+v, %v", facts, err)
	}
	if err := s.Unpin("INC-1"); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.PinnedBytes != 0 || st.Pins != 0 {
		t.Errorf("after unpin %+v", st)
	}
	if _, err := s.Extract(t.Context(), "INC-1", wanted, base, base, &bytes.Buffer{}, nil); !errors.Is(err, ErrNoPin) {
		t.Errorf("extract without a pin: %v", err)
	}
}

func TestOnlyTheHostsPacketsAreExtractedAndOtherSegmentsSkipped(t *testing.T) {
	s := mustSpool(t, t.TempDir(), smallSpool(), systemDisk{})
	feed(t, s, 0, 400)
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	for _, m := range []Match{wanted, {Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.7")}}} {
		if x, _ := extract(t, s, "A", m); x.Packets != 200 {
			t.Errorf("%v: %d packets", m, x.Packets)
		}
	}
	x, _ := extract(t, s, "A", Match{Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1")}})
	if x.Packets != 0 || x.Skipped == 0 {
		t.Errorf("a stranger: %+v", x)
	}
}

func TestAPowerCutLosesNoWholeBlockThatReachedTheDisk(t *testing.T) {
	dir := t.TempDir()
	s := mustSpool(t, dir, smallSpool(), systemDisk{})
	feed(t, s, 0, 50)
	open := s.store.path(1)
	data, err := os.ReadFile(open)
	if err != nil {
		t.Fatal(err)
	}
	after := t.TempDir() // what the disk holds without Close, and half a block more
	if err := os.MkdirAll(filepath.Join(after, segmentFolder), 0o755); err != nil {
		t.Fatal(err)
	}
	torn := append(data, 6, 0, 0, 0, 200, 0, 0, 0, 1, 2, 3)
	if err := os.WriteFile(filepath.Join(after, segmentFolder, filepath.Base(open)), torn, 0o644); err != nil {
		t.Fatal(err)
	}
	again := mustSpool(t, after, smallSpool(), systemDisk{})
	if err := again.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	if x, _ := extract(t, again, "A", wanted); x.Packets != 25 || len(x.Damaged) != 0 {
		t.Errorf("after the cut: %+v", x)
	}
	if info, _ := os.Stat(again.store.path(1)); info.Size() != int64(len(data)) {
		t.Errorf("segment has %d bytes, %d were whole", info.Size(), len(data))
	}
}

func TestABrokenDiskIsNamedCountedAndRecoveredFrom(t *testing.T) {
	for _, tc := range []struct{ err, want error }{
		{syscall.ENOSPC, ErrDiskFull}, {syscall.EROFS, ErrReadOnly}, {syscall.ENOENT, ErrMissing}, {syscall.EIO, ErrDisk},
	} {
		now := base
		c := smallSpool()
		c.Now = func() time.Time { return now }
		d := &faultyDisk{}
		s := mustSpool(t, t.TempDir(), c, d)
		feed(t, s, 0, 20)
		if err := s.Pin("A", base); err != nil {
			t.Fatal(err)
		}
		d.set(tc.err)
		for i := 20; i < 30; i++ {
			s.Write(frameAt(i, ipFrame(victim, other, "192.0.2.7", "192.0.2.9", 10)))
		}
		if err := s.Flush(); !errors.Is(err, tc.want) || !errors.Is(s.Health(), tc.want) {
			t.Errorf("%v: flush %v, health %v", tc.err, err, s.Health())
		}
		if st := s.Stats(); st.Drops != 10 {
			t.Errorf("%v: %d drops", tc.err, st.Drops)
		}
		d.set(nil)
		now = now.Add(2 * time.Hour)
		c.PinFollow = 24 * time.Hour
		feed(t, s, 30, 20)
		if err := s.Health(); err != nil {
			t.Errorf("%v: after recovery %v", tc.err, err)
		}
		x, _ := extract(t, s, "A", wanted)
		if len(x.Gaps) != 1 || x.Gaps[0].Frames != 10 || !x.Gaps[0].From.Equal(base.Add(20*time.Millisecond)) || x.Packets != 20 {
			t.Errorf("%v: extraction %+v", tc.err, x)
		}
	}
}

func TestAMissingFolderStartsDegradedAndHeals(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(parent, nil, 0o644); err != nil { // a file where the mount should be
		t.Fatal(err)
	}
	c := smallSpool()
	now := base
	c.Now = func() time.Time { return now }
	s := mustSpool(t, filepath.Join(parent, "spool"), c, systemDisk{})
	if !errors.Is(s.Health(), ErrMissing) {
		t.Errorf("health %v", s.Health())
	}
	if err := os.Remove(parent); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Hour)
	feed(t, s, 0, 10)
	if st := s.Stats(); s.Health() != nil || st.Segments != 1 || st.Drops != 0 {
		t.Errorf("healed: %v, %+v", s.Health(), st)
	}
}

func TestASlowDiskNeverHoldsUpTheCapture(t *testing.T) {
	d := &faultyDisk{hold: make(chan struct{})}
	s := mustSpool(t, t.TempDir(), smallSpool(), d)
	data := ipFrame(victim, other, "192.0.2.7", "192.0.2.9", 1000)
	for i := range 200 { // six times what the buffers hold; would hang if Write waited
		s.Write(frameAt(i, data))
	}
	st := s.Stats()
	if st.Packets != 200 || st.Drops == 0 || !errors.Is(s.Health(), ErrTooSlow) {
		t.Errorf("stats %+v, health %v", st, s.Health())
	}
	close(d.hold)
	feed(t, s, 200, 2)
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	x, _ := extract(t, s, "A", wanted)
	var lost uint64
	for _, g := range x.Gaps {
		lost += g.Frames
	}
	if drops := s.Stats().Drops; lost != drops || x.Packets+lost != 201 {
		t.Errorf("%d packets, %d in gaps, %d drops", x.Packets, lost, drops)
	}
}

func TestPinnedEvidenceIsNeverRemovedForNewPackets(t *testing.T) {
	s := mustSpool(t, t.TempDir(), smallSpool(), systemDisk{})
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 5000 && s.Health() == nil; i++ {
		s.Write(frameAt(i, ipFrame(victim, other, "192.0.2.7", "192.0.2.9", 1000)))
		if i%5 == 0 {
			_ = s.Flush()
		}
	}
	if !errors.Is(s.Health(), ErrPinsFill) {
		t.Errorf("health %v", s.Health())
	}
	if x, _ := extract(t, s, "A", wanted); !x.First.Equal(base) {
		t.Errorf("the first packets are gone: %+v", x)
	}
}

func TestWriteDoesNotAllocate(t *testing.T) {
	s := mustSpool(t, t.TempDir(), SpoolConfig{MaxBytes: 1 << 30, SyncEvery: time.Hour}, systemDisk{})
	f := frameAt(0, ipFrame(victim, other, "192.0.2.7", "192.0.2.9", 300))
	s.Write(f)
	if n := testing.AllocsPerRun(100, func() { s.Write(f) }); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// The files must make sense to a reader that did not write them.
func TestTheCaptureReaderReadsSegmentsAndExtracts(t *testing.T) {
	s := mustSpool(t, t.TempDir(), smallSpool(), systemDisk{})
	feed(t, s, 0, 50)
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	_, data := extract(t, s, "A", wanted)
	path := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]int{path: 25, s.store.path(1): 50} {
		src, err := capture.OpenFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var f capture.Frame
		n := 0
		for ; src.Next(&f) == nil; n++ {
		}
		if n != want {
			t.Errorf("%s: %d packets, want %d", file, n, want)
		}
		_ = src.Close()
	}
}
