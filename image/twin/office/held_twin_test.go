//go:build twin

package office

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/firmware/incident"
)

// What is heard of a free host, see everything: what it tags with another VLAN
// ends at the bridge in any case, as do frames under the gateway's own address.
const (
	heardByNeighbours = "016abgmnruvxR"
	heardOutside      = "NOVo"
)

// TestTheGatewayInTheTwin boots once; each part goes back to a saved moment. The
// part "short" is what make test-twin runs.
func TestTheGatewayInTheTwin(t *testing.T) {
	s := newSiege(t)
	t.Run("control: a free host is heard everywhere", func(t *testing.T) {
		s.at(t, free)
		s.flood(t, 1, pace, everything)
		await(t, "frames of every kind", func() bool {
			return has(s.neighbour.kindsOfOne(), heardByNeighbours) && has(s.internet.kindsOfOne(), heardOutside)
		})
	})
	t.Run("short", func(t *testing.T) {
		t.Run("one press on the button isolates the named host", s.onePress)
		t.Run("its port is in the quarantine VLAN, where it is helped", s.inQuarantine)
		t.Run("a release gives back what was taken, and nothing else", s.released)
	})
	t.Run("reconciled within a second", s.reconciled)
	t.Run("it lies about a neighbour's address", func(t *testing.T) {
		s.besieged(t)
		s.flood(t, 1, pace, lies)
		s.works(t, 10*enough) // longer than the gateway takes to look at addresses anew
		s.nothing(t)
	})
	t.Run("the service is killed", func(t *testing.T) {
		s.besieged(t)
		s.told(t, "kill")
		s.works(t, enough) // without the service, and after
		s.ready(t)
		s.works(t, enough)
		s.nothing(t)
	})
	t.Run("the service is stopped and started", func(t *testing.T) {
		s.besieged(t)
		for _, what := range []string{"stop", "start"} {
			s.told(t, what)
			s.works(t, enough)
		}
		s.ready(t)
		s.works(t, enough)
		s.nothing(t)
	})
	t.Run("from power-on to shutdown", s.powerCuts)
}

func has(heard, kinds string) bool {
	for _, k := range kinds {
		if !strings.ContainsRune(heard, k) {
			return false
		}
	}
	return true
}

func (s *siege) told(t *testing.T, what string) {
	t.Helper()
	if err := s.call(OpGateway, what, nil); err != nil {
		t.Fatal(err)
	}
}

// onePress begins at the question, because the lamp is watched from then on.
func (s *siege) onePress(t *testing.T) {
	s.at(t, asked)
	stop := s.flood(t, 1, 20*time.Millisecond, scan(1))
	await(t, "an attack that others see", func() bool { return s.neighbour.total(1) > 0 && s.internet.total(1) > 0 })
	let := s.press(t)
	if i := s.awaitIncident(t, 1, "contained and proven", proven); i.Decision.By != incident.ByButton {
		t.Errorf("the record says that it was %q", i.Decision.By)
	}
	_, _, last := s.neighbour.seen(1)
	t.Logf("last frame at a neighbour %.0f ms after the button was let go", last.Sub(let).Seconds()*1e3)
	stop()
	s.works(t, 1)
	s.reset()
	s.flood(t, 1, pace, everything)
	if share := s.lamp(t, 5*time.Second); share[Red] < 0.8 || share[Green] > 0.05 || share[Blue] > 0.05 {
		t.Errorf("the lamp is not red: lights were on for %v of the time", share)
	}
	s.works(t, enough)
	s.nothing(t)
}

func (s *siege) released(t *testing.T) {
	var before, after map[string]PortVLANs
	s.at(t, free)
	if err := s.call(OpVLANs, nil, &before); err != nil {
		t.Fatal(err)
	}
	s.at(t, held)
	i, _ := s.incidentOf(1)
	s.release(t, i.ID)
	s.awaitIncident(t, 1, "on probation", func(i incident.Incident) bool { return i.State == incident.Probation })
	s.flood(t, 1, pace, work(1))
	s.heard(t, time.Now())
	var h Held
	await(t, "a kernel that holds nobody", func() bool {
		return s.call(OpHeld, mac(1), &h) == nil && !h.InSet && len(h.Ports)+len(h.Addrs) == 0
	})
	await(t, "VLANs as before", func() bool { return s.call(OpVLANs, nil, &after) == nil && cmp.Equal(before, after) })
}

// A hold has to be back within this time (issue 5), in the guest's own; of five
// attempts one has to show it, because the builder may be busy.
const (
	reconciledWithin = time.Second
	attempts         = 5
)

func (s *siege) reconciled(t *testing.T) {
	for _, c := range []struct {
		name  string
		deeds []Disturbance
	}{
		{"ruleset flushed", []Disturbance{{What: Flush}}},
		{"bridge rebuilt", []Disturbance{{What: Rebuild}}},
		{"its link down and up", []Disturbance{{What: Down, Port: "lan1"}, {What: Up, Port: "lan1"}}},
		{"its port unplugged and back", []Disturbance{{What: Unplug, Port: "lan1"}, {What: Plug, Port: "lan1"}}},
		{"another port unplugged and back", []Disturbance{{What: Unplug, Port: "lan4"}, {What: Plug, Port: "lan4"}}},
		{"its port unplugged, and a rebuild", []Disturbance{{What: Unplug, Port: "lan1"}, {What: Rebuild}, {What: Plug, Port: "lan1"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var took time.Duration
			for range attempts {
				if took = s.disturbed(t, c.deeds); took < reconciledWithin || t.Failed() {
					return
				}
			}
			t.Errorf("held again after %v", took)
		})
	}
}

// disturbed does what somebody else might while host 1 sends, and returns how
// long it took at worst until the host was held as before.
func (s *siege) disturbed(t *testing.T, deeds []Disturbance) (worst time.Duration) {
	t.Helper()
	s.at(t, held)
	stop := s.flood(t, 1, pace, everything)
	defer stop()
	for _, d := range deeds {
		var r Recovery
		d.MAC = mac(1)
		if err := s.call(OpDisturb, d, &r); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s %s: seen broken %t, held again after %v", d.What, d.Port, r.Broken, r.Took)
		worst = max(worst, r.Took)
	}
	s.works(t, enough)
	s.nothing(t)
	defer s.flood(t, 4, pace, work(4))() // no port is left behind
	await(t, "host 4 to be heard", func() bool { return s.neighbour.total(4) > 0 })
	return worst
}

// powerCuts takes the power away while host 1 goes on, and boots again. The
// first frame of host 2 tells when ports forward: until then, and from then on,
// nothing of host 1 is seen.
func (s *siege) powerCuts(t *testing.T) {
	s.besieged(t)
	for range 2 {
		if err := s.Cut(); err != nil {
			t.Fatal(err)
		}
		s.reset()
		on := time.Now()
		s.boot(t)
		s.works(t, 1)
		_, first, _ := s.neighbour.seen(2)
		s.ready(t)
		s.works(t, enough)
		s.awaitIncident(t, 1, "held, and proven again", proven)
		s.nothing(t)
		t.Logf("ports forward %.1f s after power-on", first.Sub(on).Seconds())
	}
	s.told(t, "stop") // and a shutdown
	s.works(t, enough)
	if err := s.Cut(); err != nil {
		t.Fatal(err)
	}
	s.nothing(t)
}
