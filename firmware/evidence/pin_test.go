package evidence

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// stuckDisk hangs in one operation on segments, as a failing USB disk does,
// until it is let go.
type stuckDisk struct {
	systemDisk
	op      string
	reached chan struct{} // closed when the operation is asked for
	letGo   chan struct{}
}

func newStuckDisk(op string) *stuckDisk {
	return &stuckDisk{op: op, reached: make(chan struct{}), letGo: make(chan struct{})}
}

func (d *stuckDisk) wait(op string) {
	if op != d.op {
		return
	}
	select {
	case <-d.reached:
	default:
		close(d.reached)
	}
	<-d.letGo
}

func (d *stuckDisk) link(from, to string) error {
	d.wait("link")
	return d.systemDisk.link(from, to)
}

func (d *stuckDisk) remove(path string) error {
	d.wait("remove")
	return d.systemDisk.remove(path)
}

// links counts the segments in the folder of a pin.
func links(t *testing.T, s *Spool, id string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.store.pinPath(id), "*.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// A blocked call would end this test at its time limit.
func TestADiskThatHangsWhilePinningHoldsUpNobodyAndNothingReservedIsRemoved(t *testing.T) {
	d, c, now := newStuckDisk("link"), smallSpool(), base
	c.Now = func() time.Time { return now }
	c.MaxBytes *= 2
	dir := t.TempDir()
	s := mustSpool(t, dir, c, d)
	feed(t, s, 0, 100)
	pinned := make(chan error)
	go func() { pinned <- s.Pin("A", base) }()
	<-d.reached
	if st := s.Stats(); st.Pins != 0 || st.Segments == 0 || len(s.Pins()) != 0 || s.Health() != nil {
		t.Errorf("while pinning: %+v, pins %v, %v", st, s.Pins(), s.Health())
	}
	feed(t, s, 100, 300) // into segments begun meanwhile, so followed
	want := s.Stats().Segments
	now = base.Add(24 * time.Hour)
	feed(t, s, 400, 6000) // the ring turns
	close(d.letGo)
	if err := <-pinned; err != nil {
		t.Fatal(err)
	}
	if got := links(t, s, "A"); got != want || want < 2 {
		t.Errorf("%d segments are linked, want %d", got, want)
	}
	if st := s.Stats(); st.Pins != 1 || st.DiskBytes > c.MaxBytes {
		t.Errorf("pinned: %+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	x, _ := extract(t, mustSpool(t, dir, c, systemDisk{}), "A", wanted)
	if x.Packets < 200 || !x.First.Equal(base) || len(x.Damaged) != 0 {
		t.Errorf("extracted %+v", x)
	}
}

func TestADiskThatHangsWhileRemovingHoldsUpNobody(t *testing.T) {
	d := newStuckDisk("remove")
	s := mustSpool(t, t.TempDir(), smallSpool(), d)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 {
			s.Write(frameAt(i, ipFrame(victim, other, "192.0.2.7", "192.0.2.9", 200)))
			if i%20 == 0 {
				_ = s.Flush()
			}
		}
	}()
	<-d.reached
	st := s.Stats()
	if err := s.Pin("A", base); err != nil { // what is being removed is passed over
		t.Error(err)
	}
	if got := links(t, s, "A"); got != st.Segments-1 {
		t.Errorf("%d segments pinned of %d, one of which is leaving", got, st.Segments)
	}
	if err := s.Unpin("A"); err != nil {
		t.Error(err)
	}
	close(d.letGo)
	<-done
	if st := s.Stats(); st.DiskBytes > smallSpool().MaxBytes || st.Drops != 0 {
		t.Errorf("afterwards %+v", st)
	}
}

func TestASegmentThatCannotBeRemovedIsKeptAndTheNextGoes(t *testing.T) {
	s := mustSpool(t, t.TempDir(), smallSpool(), systemDisk{})
	feed(t, s, 0, 600)
	s.store.mu.Lock()
	first, second, all := s.store.segments[0].seq, s.store.segments[1].seq, len(s.store.segments)
	s.store.mu.Unlock()
	path := s.store.path(first)
	for _, err := range []error{os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if !s.store.evictOldest() {
		t.Fatal("nothing was removed")
	}
	if _, err := os.Stat(s.store.path(second)); err == nil {
		t.Error("the second segment is still there")
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if g := s.store.segments[0]; g.seq != first || g.leaving || len(s.store.segments) != all-1 {
		t.Errorf("the ring has %d segments, the first is %+v", len(s.store.segments), g)
	}
}
