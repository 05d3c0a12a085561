//go:build twin

package office

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// siege is a world with host 1 isolated, which sends everything it can, while
// host 2 works, and a witness at everybody else.
type siege struct {
	*world
	witnesses map[string]*witness
	neighbour *witness // at host 3, which hears host 2
	internet  *witness
}

func newSiege(t testing.TB) *siege {
	t.Helper()
	s := &siege{world: newWorld(t), witnesses: map[string]*witness{}}
	for i := range s.hosts {
		if i != 1 {
			s.witnesses[PortName(i)] = s.witness(t, i)
		}
	}
	s.neighbour, s.internet = s.witnesses[PortName(3)], s.witnesses[PortName(0)]
	s.flood(t, 2, 20*time.Millisecond, work(2))
	return s
}

// isolate lets host 1 attack, presses, and begins the siege.
func (s *siege) isolate(t testing.TB) {
	t.Helper()
	stop := s.suspect(t)
	s.press(t)
	s.awaitIncident(t, 1, "contained and proven", proven)
	stop()
	s.flood(t, 1, pace, everything)
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
	before, _, _ := s.neighbour.seen(2)
	await(t, "an office that works", func() bool { n, _, _ := s.neighbour.seen(2); return n >= before+frames })
}

// nothing checks that no frame of host 1 arrived anywhere.
func (s *siege) nothing(t testing.TB) {
	t.Helper()
	for at, x := range s.witnesses {
		if n, _, _ := x.seen(1); n != 0 {
			t.Errorf("%d frames of the isolated host arrived behind %s: kinds %q", n, at, x.kindsOfOne())
		}
	}
}

func mac(host int) string { return fmt.Sprintf("02:00:00:00:00:%02x", host) }

// What is heard of a free host, see everything: what it tags with another VLAN
// ends at the bridge in any case, as do frames under the gateway's own address.
const (
	heardByNeighbours = "016Rabgmnruvx"
	heardOutside      = "NOVo"
)

// pace is how often everything is sent.
const pace = 40 * time.Millisecond

// enough frames of the office at work: 2 s of them.
const enough = 100

// A hold has to be back within this time (issue 5), in the guest's own; of three
// attempts one has to show it, because the builder may be busy.
const (
	reconciled = time.Second
	attempts   = 3
)

func TestNothingOfAnIsolatedHostIsForwardedWhateverHappens(t *testing.T) {
	s := newSiege(t)
	t.Run("control: free, it is heard everywhere", func(t *testing.T) {
		s.save(t, "free")
		stop := s.flood(t, 1, pace, everything)
		await(t, "frames of every kind", func() bool {
			return has(s.neighbour.kindsOfOne(), heardByNeighbours) && has(s.internet.kindsOfOne(), heardOutside)
		})
		stop()
		s.back(t, "free")
	})
	s.isolate(t)
	s.save(t, "held")
	for _, c := range []struct {
		name   string
		before []Disturbance // done first
		what   Disturbance
	}{
		{"ruleset flushed", nil, Disturbance{What: Flush}},
		{"bridge rebuilt", nil, Disturbance{What: Rebuild}},
		{"its link down and up", []Disturbance{{What: Down, Port: "lan1"}}, Disturbance{What: Up, Port: "lan1"}},
		{"its port unplugged", nil, Disturbance{What: Unplug, Port: "lan1"}},
		{"its port unplugged and back", []Disturbance{{What: Unplug, Port: "lan1"}}, Disturbance{What: Plug, Port: "lan1"}},
		{"another port unplugged and back", []Disturbance{{What: Unplug, Port: "lan4"}}, Disturbance{What: Plug, Port: "lan4"}},
	} {
		t.Run(c.name, func(t *testing.T) { s.disturbed(t, append(c.before, c.what)) })
	}
	t.Run("it lies about a neighbour's address", func(t *testing.T) {
		s.back(t, "held")
		stop := s.flood(t, 1, pace, lies)
		defer stop()
		s.works(t, 10*enough) // longer than the gateway takes to look at addresses anew
		s.nothing(t)
	})
	t.Run("service killed", func(t *testing.T) {
		s.back(t, "held")
		s.reset()
		if err := s.call(OpGateway, "kill", nil); err != nil {
			t.Fatal(err)
		}
		s.works(t, enough) // without the service, and after
		s.ready(t)
		s.works(t, enough)
		s.nothing(t)
	})
	t.Run("service stopped and started", func(t *testing.T) {
		s.back(t, "held")
		s.reset()
		for _, what := range []string{"stop", "start"} {
			if err := s.call(OpGateway, what, nil); err != nil {
				t.Fatal(err)
			}
			s.works(t, enough)
		}
		s.ready(t)
		s.works(t, enough)
		s.nothing(t)
	})
	t.Run("power cut", func(t *testing.T) {
		s.back(t, "held")
		for range 2 {
			s.powerCut(t)
		}
	})
}

// has says whether every kind is among those that were heard.
func has(heard, kinds string) bool {
	for _, k := range kinds {
		if !strings.ContainsRune(heard, k) {
			return false
		}
	}
	return true
}

// disturbed does what somebody else might, and measures until the host is held
// as before.
func (s *siege) disturbed(t *testing.T, deeds []Disturbance) {
	t.Helper()
	var took time.Duration
	for range attempts {
		s.back(t, "held")
		s.works(t, 1)
		s.reset()
		for _, d := range deeds {
			var r Recovery
			d.MAC = mac(1)
			if err := s.call(OpDisturb, d, &r); err != nil {
				t.Fatal(err)
			}
			t.Logf("%s %s: seen broken %t, held again after %v", d.What, d.Port, r.Broken, r.Took)
			took = r.Took
		}
		if last := deeds[len(deeds)-1]; last.What == Flush {
			// The sets were gone for a moment; what counts is what comes after.
			s.works(t, 5)
			t.Logf("%d frames got to a neighbour in the gap", s.neighbour.total(1))
			s.reset()
		}
		s.works(t, enough)
		s.nothing(t)
		if took < reconciled || t.Failed() {
			break
		}
	}
	if took >= reconciled {
		t.Errorf("held again after %v", took)
	}
}

// powerCut takes the power away while host 1 goes on, and boots again.
func (s *siege) powerCut(t *testing.T) {
	t.Helper()
	s.reset()
	if err := s.Cut(); err != nil {
		t.Fatal(err)
	}
	on := time.Now()
	s.boot(t)
	s.works(t, 1)
	_, first, _ := s.neighbour.seen(2)
	s.ready(t)
	s.works(t, enough)
	s.nothing(t)
	s.awaitIncident(t, 1, "held, and proven again", proven)
	s.nothing(t)
	t.Logf("ports forward %.1f s after power-on", first.Sub(on).Seconds())
}
