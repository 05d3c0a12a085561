package evidence

import (
	"encoding/json"
	"reflect"
	"syscall"
	"testing"
	"time"

	"sekisho/firmware/capture"
)

// twoClocks is a wall clock that can be set, and the monotonic one.
type twoClocks struct {
	wall   time.Time
	steady time.Duration
}

func (c *twoClocks) pass(d time.Duration) { c.wall, c.steady = c.wall.Add(d), c.steady+d }

func (c *twoClocks) config() SpoolConfig {
	out := smallSpool()
	out.Now = func() time.Time { return c.wall }
	out.steady = func(time.Time) time.Duration { return c.steady }
	return out
}

func at(d time.Duration) *capture.Frame {
	f := frameAt(0, segmentFrame(1, 1000, 60))
	f.Time += int64(d)
	return f
}

// jumps are what the stream tells after everything was flushed.
func jumps(t *testing.T, s *Spool) []ClockJump {
	t.Helper()
	if err := s.Pin("J", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	x, err := s.Extract(t.Context(), "J", Match{}, time.Unix(0, 0), base.Add(1e6*time.Hour), discard{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return x.ClockJumps
}

func TestASetClockIsNotedAndASlewedOneIsNot(t *testing.T) {
	for name, tc := range map[string]struct {
		step time.Duration
		want []ClockJump
	}{
		"forward": {time.Hour, []ClockJump{{jumpClock, base.Add(time.Second), base.Add(time.Second + time.Hour), base.Add(time.Second + time.Hour)}}},
		"back":    {-time.Hour, []ClockJump{{jumpClock, base.Add(time.Second), base.Add(time.Second - time.Hour), base.Add(time.Second - time.Hour)}}},
		"slewed":  {clockStep, nil},
		"by less": {-clockStep, nil},
	} {
		c := &twoClocks{wall: base}
		s := mustSpool(t, t.TempDir(), c.config(), systemDisk{})
		s.Write(at(0))
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		c.pass(time.Second)
		c.wall = c.wall.Add(tc.step)
		for _, when := range []string{"before any packet", "after one"} {
			if got := jumps(t, s); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%s, %s: %+v, want %+v", name, when, got, tc.want)
			}
			s.Write(at(time.Second + tc.step)) // nothing more to notice
		}
	}
}

func TestPacketsFromThePastAreNotedWithTheirCause(t *testing.T) {
	c := &twoClocks{wall: base}
	s := mustSpool(t, t.TempDir(), c.config(), systemDisk{})
	s.Write(at(time.Second))
	s.Write(at(time.Second - clockStep)) // out of order only
	s.Write(at(-time.Hour))              // the clock says nothing
	s.Write(at(-time.Hour))
	c.wall = c.wall.Add(-2 * time.Hour)
	s.Write(at(-2 * time.Hour)) // it says why, before anybody else has looked
	want := []ClockJump{
		{jumpPackets, base.Add(time.Second), base.Add(-time.Hour), base},
		{jumpClock, base, base.Add(-2 * time.Hour), base.Add(-2 * time.Hour)},
	}
	if got := jumps(t, s); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestAClockThatNeverRestsCostsLittleAndItsLastStateIsKept(t *testing.T) {
	c := &twoClocks{wall: base}
	s := mustSpool(t, t.TempDir(), c.config(), systemDisk{})
	for i := range 60 { // in one buffer
		c.wall = base.Add(time.Duration(i) * time.Hour)
		s.Write(at(time.Duration(i%2) * time.Second))
	}
	got := jumps(t, s)
	if n := len(got); n == 0 || n > 2*maxJumps || !got[n-1].After.Equal(c.wall) {
		t.Errorf("%d jumps, the last %+v, the clock shows %v", n, got[n-1], c.wall)
	}
}

func TestALookBetweenTwoReadingsIsNoJump(t *testing.T) {
	readings := []time.Duration{0, time.Second, 0} // the second one was interrupted
	c := clock{read: func() (time.Time, time.Duration) {
		late := readings[0]
		readings = readings[1:]
		return base.Add(late), 0
	}}
	for range 2 {
		if j, ok := c.jump(); ok {
			t.Errorf("jump %+v", j)
		}
	}
}

func TestWhoDroppedFramesIsTold(t *testing.T) {
	d := &faultyDisk{}
	c := &twoClocks{wall: base}
	s := mustSpool(t, t.TempDir(), c.config(), d)
	s.Missed(base.UnixNano(), base.Add(time.Second).UnixNano(), 5) // before any interface is known
	s.Write(at(time.Second))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	d.set(syscall.ENOSPC) // what is noted must outlive a disk that takes nothing
	s.Missed(base.Add(2*time.Second).UnixNano(), base.Add(3*time.Second).UnixNano(), 7)
	s.Write(at(3 * time.Second))
	_ = s.Flush()
	s.Write(at(4 * time.Second))
	_ = s.Flush()
	d.set(nil)
	c.pass(2 * time.Hour)
	if err := s.Flush(); err != nil { // without another frame
		t.Fatal(err)
	}
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	x, _ := extract(t, s, "A", Match{})
	second := func(n int) time.Time { return base.Add(time.Duration(n) * time.Second) }
	want := []Gap{
		{second(0), second(1), 5, GapKernel},
		{second(3), second(4), 2, GapSpool},
		{second(2), second(3), 7, GapKernel},
	}
	if !reflect.DeepEqual(x.Gaps, want) {
		t.Errorf("gaps %+v, want %+v", x.Gaps, want)
	}
	if st := s.Stats(); st.Missed != 12 || st.Drops != 2 {
		t.Errorf("stats %+v", st)
	}
}

// A gap is asked for by its own time, not by that of the packets around it.
func TestAGapIsFoundInASegmentWhosePacketsAreOfAnotherTime(t *testing.T) {
	s := mustSpool(t, t.TempDir(), smallSpool(), systemDisk{})
	s.Missed(base.UnixNano(), base.Add(time.Second).UnixNano(), 5)
	s.Write(at(10 * time.Hour))
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	if x, _ := extract(t, s, "A", wanted); len(x.Gaps) != 1 {
		t.Errorf("extraction %+v", x)
	}
}

func TestPaddingIsNoNote(t *testing.T) {
	for n := page - 40; n < page+40; n += 4 {
		b := make([]byte, n, 3*page)
		padding := pad(b)[n:]
		if len(padding) == 0 {
			continue
		}
		if _, ok := noteIn(kindCustom, padding); ok || (n+len(padding))%page != 0 {
			t.Errorf("%d bytes: padded with %d, a note: %t", n, len(padding), ok)
		}
	}
}

func FuzzNotes(f *testing.F) {
	j := ClockJump{Kind: jumpClock, Before: base, After: base, At: base}
	n := notes{kernel: gap{span{1, 2}, 3}, spool: gap{span{4, 5}, 6}, jumps: []ClockJump{j, j, j, j}}
	if b := n.append(nil); len(b) > noteRoom {
		f.Fatalf("notes of %d bytes, there is room for %d", len(b), noteRoom)
	}
	text, err := json.Marshal(j)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(capture.AppendCustom(nil, padNumber, text))
	f.Add(n.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, kind := range []uint32{kindISB, kindCustom} {
			_, _ = noteIn(kind, b)
		}
	})
}
