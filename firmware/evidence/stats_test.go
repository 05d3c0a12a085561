package evidence

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// seconds writes a frame for each second.
func seconds(t *testing.T, s *Spool, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		s.Write(at(time.Duration(i) * time.Second))
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDaysOfPacketsAreToldRightAfterAStart(t *testing.T) {
	dir, c := t.TempDir(), &twoClocks{wall: base}
	config := c.config()
	config.MaxBytes = 4 << 20
	s := mustSpool(t, dir, config, systemDisk{})
	seconds(t, s, 0, 30)
	if st := s.Stats(); st.Days != 0 || st.DayBytes != 0 {
		t.Errorf("told after half a minute: %+v", st)
	}
	seconds(t, s, 30, 300)
	before := s.Stats()
	day := float64(page) * 86400 // each flush fills a page up
	if math.Abs(before.DayBytes/day-1) > 0.5 || math.Abs(before.Days*before.DayBytes/float64(config.MaxBytes)-1) > 0.01 {
		t.Errorf("%+v, want about %.0f bytes a day", before, day)
	}
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustSpool(t, dir, config, systemDisk{})
	after := s.Stats()
	if after.DayBytes != before.DayBytes || after.Days >= before.Days { // the pin takes room
		t.Errorf("started again: %+v, before %+v", after, before)
	}
	// A clock that was set in the middle of a segment tells nothing of its length.
	c.wall = c.wall.Add(1000 * time.Hour)
	s.Write(at(1000 * time.Hour))
	s.Write(at(1001 * time.Hour))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.DayBytes != after.DayBytes {
		t.Errorf("after a jump %+v, before %+v", st, after)
	}
}

func TestWhatWasWrittenIsCountedOverRestartsAndEvictions(t *testing.T) {
	dir, c := t.TempDir(), &twoClocks{wall: base}
	s := mustSpool(t, dir, c.config(), systemDisk{})
	seconds(t, s, 0, 200) // the ring turns
	first := s.Stats()
	if first.Written <= uint64(first.DiskBytes) || !first.WrittenSince.Equal(base) {
		t.Errorf("%+v", first)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.pass(24 * time.Hour)
	s = mustSpool(t, dir, c.config(), systemDisk{})
	if st := s.Stats(); st.Written < first.Written || !st.WrittenSince.Equal(base) {
		t.Errorf("started again: %+v, before %+v", st, first)
	}
	path := filepath.Join(dir, totalFile)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	seconds(t, s, 200, 100)
	if now, err := os.Stat(path); err != nil || !os.SameFile(info, now) {
		t.Errorf("written again within an hour: %v", err)
	}
	c.pass(saveTotalEvery)
	seconds(t, s, 300, 100)
	if now, err := os.Stat(path); err != nil || os.SameFile(info, now) {
		t.Errorf("not written after an hour: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	s = mustSpool(t, dir, c.config(), systemDisk{})
	if st := s.Stats(); st.Written != 0 || !st.WrittenSince.Equal(c.wall) {
		t.Errorf("damaged: %+v", st)
	}
}
