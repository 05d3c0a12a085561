package incident

import (
	"cmp"
	"slices"
	"time"

	"sekisho/firmware/detect"
)

// Incidents returns all that the desk holds, oldest first. The slice is shared
// and never written to again; the caller must not write to it either.
func (d *Desk) Incidents() []Incident {
	if d.sorted == nil {
		d.sorted = values(d.order)
	}
	return d.sorted
}

// Waiting returns those that a person is asked about, the most urgent first:
// by confidence, then by score, then the one that has waited longest. The slice
// is shared like that of Incidents.
func (d *Desk) Waiting() []Incident {
	if d.waiting == nil {
		d.waiting = values(d.questions())
	}
	return d.waiting
}

func values(in []*Incident) []Incident {
	out := make([]Incident, 0, len(in))
	for _, i := range in {
		out = append(out, *i)
	}
	return out
}

func (d *Desk) questions() []*Incident {
	var out []*Incident
	for _, i := range d.order {
		if i.Waiting() {
			out = append(out, i)
		}
	}
	slices.SortStableFunc(out, func(a, b *Incident) int { return strength(b, a) })
	return out
}

// strength compares what speaks against two devices.
func strength(a, b *Incident) int {
	return cmp.Or(rank(a.Confidence)-rank(b.Confidence), cmp.Compare(a.Score, b.Score))
}

// makeRoom ends the weakest questions beyond maxWaiting, among equals the one
// that was heard of least recently, as dismissed: who invents a thousand devices
// must not bury the one that matters. The one that a press means stays, and so
// does a device that a person has asked for once or let go again: what that person
// undid would else be done anew.
func (d *Desk) makeRoom(now time.Time) []Change {
	asked := d.questions()
	over := len(asked) - maxWaiting
	if over <= 0 {
		return nil
	}
	weak := slices.DeleteFunc(asked[1:], func(i *Incident) bool { return !i.Asked.IsZero() || i.Automatic.Undone() })
	slices.SortStableFunc(weak, func(a, b *Incident) int {
		return cmp.Or(strength(a, b), a.Updated.Compare(b.Updated), cmp.Compare(a.ID, b.ID))
	})
	var out []Change
	for _, i := range weak[:min(over, len(weak))] {
		if c, err := d.Apply(i.ID, Input{Kind: InDeadline, At: now, By: ByPolicy, crowded: true}); err == nil {
			out = append(out, c)
			d.evicted++
		}
	}
	return out
}

// Suspect is the one that a press means: the first of Waiting, else the most
// urgent one that is only limited.
func (d *Desk) Suspect() (Incident, bool) {
	if w := d.Waiting(); len(w) > 0 {
		return w[0], true
	}
	var limited *Incident
	for _, i := range d.order {
		if i.Raisable() && (limited == nil || strength(i, limited) > 0) {
			limited = i
		}
	}
	if limited == nil {
		return Incident{}, false
	}
	return *limited, true
}

// Evicted counts incidents that went to make room, also those that went as
// dismissed.
func (d *Desk) Evicted() uint64 { return d.evicted }

func rank(c detect.Confidence) int {
	switch c {
	case detect.High:
		return 2
	case detect.Medium:
		return 1
	}
	return 0
}
