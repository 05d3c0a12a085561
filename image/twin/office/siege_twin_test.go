//go:build twin

package office

import (
	"fmt"
	"testing"
	"time"
)

// siege is a world where host 2 works all the time, and a witness at everybody
// but host 1 counts what of host 1 arrives.
type siege struct {
	*world
	witnesses map[string]*witness // by port
	neighbour *witness            // at host 3, which hears host 2
	internet  *witness
	saved     map[moment]bool
}

// moment is a state of the machine to which a test goes back. Each is made of
// the one before, once.
type moment string

const (
	free  moment = "free"  // booted, all well
	asked moment = "asked" // host 1 was seen scanning, the panel asks about it
	held  moment = "held"  // the button was pressed, the isolation is proven
)

func newSiege(t testing.TB, extras ...extra) *siege {
	t.Helper()
	s := &siege{world: newWorld(t, extras...), witnesses: map[string]*witness{}, saved: map[moment]bool{}}
	for i := range s.hosts {
		if i != 1 {
			s.witnesses[PortName(i)] = s.witness(t, i)
		}
	}
	s.neighbour, s.internet = s.witnesses[PortName(3)], s.witnesses[PortName(0)]
	s.flood(t, 2, 20*time.Millisecond, work(2))
	s.works(t, 1)
	s.save(t, string(free))
	s.saved[free] = true
	return s
}

// at goes to a moment, and counts anew from there.
func (s *siege) at(t testing.TB, m moment) {
	t.Helper()
	if s.saved[m] {
		s.back(t, string(m))
		s.works(t, 1)
		s.reset()
		return
	}
	switch m {
	case asked:
		s.at(t, free)
		stop := s.flood(t, 1, 20*time.Millisecond, scan(1))
		s.asks(t)
		stop()
	case held:
		s.at(t, asked)
		s.asks(t)
		s.press(t)
		s.awaitIncident(t, 1, "contained and proven", proven)
	}
	s.save(t, string(m))
	s.saved[m] = true
	s.reset()
}

func (s *siege) reset() {
	for _, x := range s.witnesses {
		x.reset()
	}
}

// works waits until host 3 has heard host 2 that often again: forwarding works,
// and meanwhile host 1 had its chance as often.
func (s *siege) works(t testing.TB, frames int) {
	t.Helper()
	before := s.neighbour.total(2)
	await(t, "an office that works", func() bool { return s.neighbour.total(2) >= before+frames })
}

// nothing checks that no frame of host 1 arrived anywhere.
func (s *siege) nothing(t testing.TB) {
	t.Helper()
	for at, x := range s.witnesses {
		if n := x.total(1); n != 0 {
			t.Errorf("%d frames of the isolated host arrived behind %s: kinds %q", n, at, x.kindsOfOne())
		}
	}
}

// besieged goes to where host 1 is held, and lets it send everything.
func (s *siege) besieged(t testing.TB) {
	t.Helper()
	s.at(t, held)
	s.flood(t, 1, pace, everything)
}

func mac(host int) string { return fmt.Sprintf("02:00:00:00:00:%02x", host) }

// pace is how often everything is sent; enough frames of the office at work take
// 2 s.
const (
	pace   = 40 * time.Millisecond
	enough = 100
)
