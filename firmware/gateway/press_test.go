package gateway

import (
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/incident"
	"sekisho/hal"
)

// Somebody who presses twice in a hurry has answered the first question twice:
// the second one was not on the screen yet.
func TestASecondPressCountsOnlyWhenItsQuestionWasSeen(t *testing.T) {
	now := time.Date(2026, 4, 24, 14, 5, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		asked  time.Time
		again  bool
		unseen bool
	}{
		{"the first press", time.Time{}, false, false},
		{"the second in a hurry", now.Add(-100 * time.Millisecond), false, true},
		{"the second after the question", now.Add(-time.Second), true, false},
		{"long after the question", now.Add(-time.Hour), false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &Gateway{desk: incident.NewDesk(incident.Policy{}), now: func() time.Time { return now }}
			g.desk.Restore(now, []incident.Incident{{
				ID: "i", State: incident.Open, Guard: incident.GuardTwice, Asked: c.asked, Opened: now.Add(-time.Hour), Updated: now,
				Asset: asset.Asset{ID: "02:00:00:00:00:01"},
			}})
			if _, ok := g.desk.Get("i"); !ok {
				t.Fatal("the desk does not know the incident")
			}
			if got := g.unseen(hal.Press{Target: "i", Again: c.again}); got != c.unseen {
				t.Errorf("unseen: %v", got)
			}
		})
	}
	g := &Gateway{desk: incident.NewDesk(incident.Policy{}), now: time.Now}
	if g.unseen(hal.Press{Target: "no such incident"}) {
		t.Error("a press for an incident that is over is held back here")
	}
}
