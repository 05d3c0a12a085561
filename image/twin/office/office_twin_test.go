//go:build twin

package office

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/firmware/incident"
	"sekisho/image/twin"
)

// press pushes the button as a finger does, and returns when it was let go:
// only then it is known what was meant (DESIGN section 6).
func (w *world) press(t testing.TB) time.Time {
	t.Helper()
	for _, down := range []bool{true, false} {
		at, err := w.gpio.Set(t.Context(), Button, down)
		if err != nil {
			t.Fatal(err)
		}
		if !down {
			return at
		}
		time.Sleep(150 * time.Millisecond) // a short press
	}
	return time.Time{}
}

type panelView struct {
	State  string `json:"state"`
	Target string `json:"target"`
}

// suspect lets host 1 behave like a worm until the panel asks about it.
func (w *world) suspect(t testing.TB) (stop func()) {
	t.Helper()
	stop = w.flood(t, 1, 20*time.Millisecond, scan(1))
	i := w.awaitIncident(t, 1, "put to a person", incident.Incident.Waiting)
	w.awaitAsked(t, i.ID)
	return stop
}

func (w *world) awaitAsked(t testing.TB, id string) {
	t.Helper()
	await(t, "the panel to name the host", func() bool {
		var p panelView
		return w.get("/api/panel", &p) == nil && p.State == "attention" && p.Target == id
	})
}

// lamp watches the lamp for a while, and says how long each light was on, as a
// part of that time.
func (w *world) lamp(t testing.TB, during time.Duration) (share [twin.Lines]float64) {
	t.Helper()
	end, last := time.Now().Add(during), time.Now()
	var on [twin.Lines]bool
	for line := range on {
		on[line] = w.gpio.High(line)
	}
	add := func(to time.Time) {
		for line := range on {
			if on[line] && to.After(last) {
				share[line] += to.Sub(last).Seconds() / during.Seconds()
			}
		}
		if to.After(last) {
			last = to
		}
	}
	for {
		select {
		case e := <-w.gpio.Edges():
			add(e.At)
			on[e.Line] = e.High
		case <-time.After(time.Until(end)):
			add(end)
			return share
		}
	}
}

func TestOnePressOnTheButtonIsolatesTheNamedHost(t *testing.T) {
	w := newWorld(t)
	neighbour, internet := w.witness(t, 3), w.witness(t, 0)
	w.flood(t, 2, 50*time.Millisecond, work(2))
	stop := w.suspect(t)
	if n, _, _ := neighbour.seen(1); n == 0 {
		t.Error("the attack was not seen by a neighbour: nothing is proven")
	}
	if n, _, _ := internet.seen(1); n == 0 {
		t.Error("the attack was not seen on the internet: nothing is proven")
	}
	released := w.press(t)
	w.awaitIncident(t, 1, "contained and proven", proven)
	_, _, last := neighbour.seen(1)
	t.Logf("last frame of the isolated host at a neighbour %.0f ms after the button was let go", last.Sub(released).Seconds()*1e3)
	stop()
	neighbour.reset()
	internet.reset()
	stop = w.flood(t, 1, 20*time.Millisecond, everything)
	share := w.lamp(t, 5*time.Second)
	stop()
	if share[Red] < 0.8 || share[Green] > 0.05 || share[Blue] > 0.05 {
		t.Errorf("the lamp is not red: lights were on for %v of the time", share)
	}
	for name, x := range map[string]*witness{"a neighbour": neighbour, "the internet": internet} {
		if n, _, _ := x.seen(1); n != 0 {
			t.Errorf("%d frames of the isolated host arrived at %s: kinds %v", n, name, x.kinds)
		}
	}
	if n, _, _ := neighbour.seen(2); n == 0 {
		t.Error("the office does not work on")
	}
}

// release is the deed of a person at the page.
func (w *world) release(t testing.TB, id string) {
	t.Helper()
	if err := w.post("/api/incidents/"+id+"/release", map[string]string{"by": "Sato", "note": "cleaned"}); err != nil {
		t.Fatal(err)
	}
}

func TestAReleaseGivesTheHostItsNetworkBackAndTakesNothingElseAway(t *testing.T) {
	s := newSiege(t)
	var before, after map[string]PortVLANs
	if err := s.call(OpVLANs, nil, &before); err != nil {
		t.Fatal(err)
	}
	stop := s.suspect(t)
	s.press(t)
	i := s.awaitIncident(t, 1, "contained and proven", proven)
	stop()
	s.release(t, i.ID)
	s.awaitIncident(t, 1, "on probation", func(i incident.Incident) bool { return i.State == incident.Probation })
	s.flood(t, 1, pace, work(1))
	s.heard(t, time.Now())
	var h Held
	await(t, "a kernel that holds nobody", func() bool {
		return s.call(OpHeld, mac(1), &h) == nil && !h.InSet && len(h.Ports)+len(h.Addrs) == 0
	})
	if err := s.call(OpVLANs, nil, &after); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("the bridge's VLANs before and after:\n%s", d)
	}
}
