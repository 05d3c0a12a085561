package evidence

import (
	"os"
	"syscall"
	"testing"
	"time"
)

func TestWhatASyncLosesIsCountedAndNotedAgain(t *testing.T) {
	c, d, now := smallSpool(), &faultyDisk{}, base
	c.Now = func() time.Time { return now }
	s := mustSpool(t, t.TempDir(), c, d)
	feed(t, s, 0, 20)
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	synced, err := os.Stat(s.store.path(1))
	if err != nil {
		t.Fatal(err)
	}
	s.Missed(base.UnixNano(), base.UnixNano(), 7)
	for i := 20; i < 30; i++ {
		s.Write(at(time.Duration(i) * time.Millisecond))
	}
	d.setLate(syscall.EIO)
	if err := s.Flush(); err == nil {
		t.Error("nothing was said")
	}
	if err := os.Truncate(s.store.path(1), synced.Size()); err != nil { // what the drive did not keep
		t.Fatal(err)
	}
	now = now.Add(2 * time.Hour)
	feed(t, s, 30, 20)
	x, _ := extract(t, s, "A", wanted)
	missing := map[string]uint64{}
	for _, g := range x.Gaps {
		missing[g.Where] += g.Frames
	}
	if st := s.Stats(); st.Drops != 10 || missing[GapSpool] != 10 || missing[GapKernel] != 7 || x.Packets != 20 {
		t.Errorf("drops %d, gaps %v, extracted %+v", st.Drops, missing, x)
	}
}

func TestWhatASegmentLosesWhenItIsClosedIsCounted(t *testing.T) {
	for name, more := range map[string]int{"full": 1500, "at the end": 0} {
		c, d := smallSpool(), &faultyDisk{}
		c.Buffers = 64 // nothing is dropped for want of one
		s := mustSpool(t, t.TempDir(), c, d)
		feed(t, s, 0, 20)
		for i := 20; i < 30+more; i++ { // no sync among these
			if i == 30 {
				d.setLate(syscall.EIO)
			}
			s.Write(at(time.Duration(i) * time.Millisecond))
		}
		if more == 0 {
			d.setLate(syscall.EIO)
		}
		_ = s.Close()
		if drops := s.Stats().Drops; drops < 10 || more == 0 && drops != 10 || drops > 10+uint64(more)/2 {
			t.Errorf("%s: %d drops", name, drops)
		}
	}
}
