package evidence

import "time"

// clock compares the wall clock with the monotonic one.
type clock struct {
	read   func() (wall time.Time, steady time.Duration)
	wall   time.Time // at the last look
	steady time.Duration
}

// reading takes both clocks from one look at them.
func (c *SpoolConfig) reading() (time.Time, time.Duration) {
	now := c.Now()
	return now.Round(0), c.steady(now)
}

// jump tells whether the wall clock was set since the last look, and from what
// to what. It looks twice: between the two readings of one look the system may
// let somebody else run for longer than a clock step.
func (c *clock) jump() (ClockJump, bool) {
	var wall, expected time.Time
	var steady time.Duration
	for range 2 {
		wall, steady = c.read()
		expected = c.wall.Add(steady - c.steady)
		if c.wall.IsZero() || wall.Sub(expected).Abs() <= clockStep {
			c.wall, c.steady = wall, steady
			return ClockJump{}, false
		}
	}
	c.wall, c.steady = wall, steady
	return ClockJump{Kind: jumpClock, Before: expected.UTC(), After: wall.UTC(), At: wall.UTC()}, true
}

// lookAtClock notes a jump; from then on packet times begin anew. It wants fill
// held, as the others do.
func (s *Spool) lookAtClock() {
	if j, ok := s.clock.jump(); ok {
		s.pending.jump(j)
		s.newest = 0
		s.note()
	}
}

// wentBack notes why a frame is older than those before it.
func (s *Spool) wentBack(ns int64) {
	newest := s.newest
	s.lookAtClock()
	if s.newest == newest { // the clock was not set
		wall, _ := s.clock.read()
		s.pending.jump(ClockJump{Kind: jumpPackets, Before: time.Unix(0, newest).UTC(), After: time.Unix(0, ns).UTC(), At: wall.UTC()})
		s.newest = 0
		s.note()
	}
}

// Missed records that frames passed between from and to, ns, which never came
// here, because the kernel had no room for them. Extract tells it as a gap.
func (s *Spool) Missed(from, to int64, frames uint64) {
	s.fill.Lock()
	defer s.fill.Unlock()
	s.written.Missed += frames
	s.pending.kernel.add(from, to, frames)
	s.note()
}

// noteworthy tells whether anything can be noted: a block in the stream needs
// an interface that it is about.
func (s *Spool) noteworthy() bool { return len(s.ifaces) > 0 && !s.pending.empty() }

// note puts what is pending into the buffer that is being filled, if it has
// room; otherwise the next one begins with it.
func (s *Spool) note() {
	c := s.current
	if c == nil || !s.noteworthy() || len(c.buf)+noteRoom > cap(c.buf)-padBlock || len(c.notes.jumps)+len(s.pending.jumps) > maxJumps {
		return
	}
	c.buf = s.pending.append(c.buf)
	c.notes.add(&s.pending)
	s.pending = notes{}
}
