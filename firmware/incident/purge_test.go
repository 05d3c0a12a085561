package incident

import (
	"testing"
	"time"
)

func TestOnlyFinishedIncidentsAreForgottenOrReworded(t *testing.T) {
	now := time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC)
	d := NewDesk(DefaultPolicy())
	done := Incident{ID: "done", State: Closed, Opened: now, Updated: now}
	held := Incident{ID: "held", State: Contained, Level: Isolate, Opened: now, Updated: now}
	d.Restore(now, []Incident{done, held})
	for _, i := range []*Incident{&done, &held} {
		i.Asset.Name = "purged"
	}
	d.Reword([]Incident{done, held, {ID: "stranger", State: Closed}})
	if i, _ := d.Get("done"); i.Asset.Name != "purged" {
		t.Errorf("the finished one is still called %q", i.Asset.Name)
	}
	if i, _ := d.Get("held"); i.Asset.Name != "" {
		t.Error("the live one was changed: containment needs what it knows")
	}
	if _, ok := d.Get("stranger"); ok {
		t.Error("an incident came in by a redaction")
	}
	d.Forget([]string{"done", "held", "stranger"})
	if _, ok := d.Get("done"); ok || len(d.Incidents()) != 1 {
		t.Error("the finished one is still there")
	}
	if i, ok := d.Get("held"); !ok || i.Level != Isolate {
		t.Error("an isolated device was forgotten")
	}
}
