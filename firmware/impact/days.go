package impact

import "time"

// stamps is when something happened: the latest time, and on which of the seven
// days up to that one.
type stamps struct {
	last int64 // ns
	day  int32 // number of the day of last
	mask uint8 // bit n: also n days before day
}

// add notes one time. It makes no difference in which order two of one week
// come. A time more than clockWrong before the latest one says that the clock
// was ahead: what it wrote is forgotten, or a date in the future would stay
// "just used" for years.
func (s *stamps) add(ns int64, day int32) {
	switch {
	case s.mask == 0 || s.last-ns > int64(clockWrong):
		*s = stamps{ns, day, 1}
	case day > s.day:
		if ahead := day - s.day; ahead < days {
			s.mask = s.mask<<ahead | 1
		} else {
			s.mask = 1
		}
		s.day, s.last = day, max(s.last, ns)
	default:
		if back := s.day - day; back < days {
			s.mask |= 1 << back
		}
		s.last = max(s.last, ns)
	}
	s.mask &= 1<<days - 1
}

// on says whether it happened n days before today.
func (s *stamps) on(today int32, n int) bool {
	back := int(s.day) - int(today) + n
	return back >= 0 && back < days && s.mask&(1<<back) != 0
}

// oneDay says that it happened on a single day.
func (s *stamps) oneDay() bool { return s.mask&(s.mask-1) == 0 }

// within says whether it happened in the week up to now.
func (s *stamps) within(now int64) bool {
	return s.mask != 0 && now-s.last < int64(Week)
}

// day numbers the day of a time in the office's zone. The answer is kept for as
// long as the day lasts: it is asked for every connection.
func (u *Usage) day(ns int64) int32 {
	if ns >= u.dayFrom && ns < u.dayTo {
		return u.dayNum
	}
	y, m, d := time.Unix(0, ns).In(u.cfg.Zone).Date()
	u.dayFrom = time.Date(y, m, d, 0, 0, 0, 0, u.cfg.Zone).UnixNano()
	u.dayTo = time.Date(y, m, d+1, 0, 0, 0, 0, u.cfg.Zone).UnixNano()
	u.dayNum = int32(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / (24 * 3600))
	return u.dayNum
}
