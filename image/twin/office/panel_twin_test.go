//go:build twin

package office

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"sekisho/firmware/incident"
	"sekisho/hal/panel"
	"sekisho/image/twin"
)

// shortPress is shorter than the 3 s of another gesture, and longer than a guest
// on a busy builder may stand still: whoever reads the line has to find it down.
const shortPress = 600 * time.Millisecond

// press reads the screen and pushes the button as a person does, and returns
// when it was let go: only then it is known what was meant (DESIGN section 6).
func (w *world) press(t testing.TB) time.Time {
	t.Helper()
	time.Sleep(2 * panel.Reaction) // nobody can have meant what appeared later
	w.push(t, true)
	time.Sleep(shortPress)
	return w.push(t, false)
}

// push puts the finger on the button, or lifts it, and returns when.
func (w *world) push(t testing.TB, down bool) time.Time {
	t.Helper()
	at, err := w.gpio.Set(t.Context(), Button, down)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

type panelView struct {
	State    string   `json:"state"`
	Target   string   `json:"target"`
	Lockdown bool     `json:"lockdown"`
	Lines    []string `json:"lines"`
	Image    []byte   `json:"image"` // PNG
}

// asks waits until the panel asks about host 1.
func (w *world) asks(t testing.TB) incident.Incident {
	t.Helper()
	i := w.awaitIncident(t, 1, "put to a person", incident.Incident.Waiting)
	await(t, "the panel to name the host", func() bool {
		var p panelView
		return w.get("/api/panel", &p) == nil && p.State == "attention" && p.Target == i.ID
	})
	return i
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

// confirmations are the pictures that say that the host which the panel asks
// about is being isolated.
func (w *world) confirmations(t testing.TB) []picture {
	t.Helper()
	var p panelView
	if err := w.get("/api/panel", &p); err != nil || len(p.Lines) < 2 {
		t.Fatal(p.Lines, err)
	}
	return anywhere(isolating(p.Lines[1])...)
}

// answered waits until the lamp is red alone and the screen says why, and returns
// since when each does.
func (w *world) answered(t testing.TB, says []picture) (lamp, screen time.Time) {
	t.Helper()
	var colour redAlone
	await(t, "a lamp and a screen that answer", func() bool {
		for more := true; more; {
			select {
			case e := <-w.gpio.Edges():
				colour.take(e)
			default:
				more = false
			}
		}
		lamp, screen = colour.since, w.glass.when(says)
		return !screen.IsZero() && !lamp.IsZero() && time.Since(lamp) > panel.Reaction
	})
	return lamp, screen
}

// redAlone knows since when the lamp is red and never amber. Amber is red with
// green, one line after the other: that is red alone, too, for a moment.
type redAlone struct {
	red, green bool
	since      time.Time
}

func (l *redAlone) take(e twin.Edge) {
	switch e.Line {
	case Red:
		l.red = e.High
	case Green:
		l.green = e.High
	}
	switch {
	case l.green:
		l.since = time.Time{}
	case l.red && l.since.IsZero():
		l.since = e.At
	}
}

// release is what people do at the page: whatever the gateway says is still to
// be done, and then the release.
func (w *world) release(t testing.TB, id string) {
	t.Helper()
	deed := func(what string, more map[string]string) (HTTPAnswer, error) {
		body := map[string]string{"by": "Sato", "note": "done"}
		maps.Copy(body, more)
		return w.post("/api/incidents/"+id+"/"+what, body)
	}
	a, err := deed("release", nil)
	var refused struct{ Error struct{ Missing []string } }
	if err == nil && a.Status/100 != 2 && json.Unmarshal([]byte(a.Body), &refused) == nil {
		for _, item := range refused.Error.Missing {
			if _, err := deed("tick", map[string]string{"item": item}); err != nil {
				t.Fatal(err)
			}
		}
		a, err = deed("release", nil)
	}
	if err != nil || a.Status/100 != 2 {
		t.Fatalf("release: %v, %d %s", err, a.Status, a.Body)
	}
}
