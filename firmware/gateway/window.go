package gateway

import (
	"context"
	"time"

	"sekisho/firmware/incident"
)

// step is how much of a difference between the two clocks is a set clock, and
// not the time between looking at one and at the other.
const step = time.Second

// drillAfter is what belongs to a drill's bundle from after the isolation: enough to
// show that it holds. Nobody should wait for minutes to learn how they did.
const drillAfter = 5 * time.Second

// window is the span of packet times that a bundle is about.
type window struct{ from, to time.Time }

// window waits until the time after the isolation has passed, and says what to
// ask for. Packets have the wall clock's time, which may be set at any moment,
// by hours where there is no battery; so After is waited for by the monotonic
// clock, and the window spans what either clock calls it: rather too many
// packets of the host than none. It never ends before it begins.
func (c *custody) window(ctx context.Context, i incident.Incident) (window, error) {
	if w, ok := c.windows.Load(i.ID); ok {
		return w.(window), nil
	}
	began, ordered := time.Now(), c.now().Round(0)
	held := i.HeldFrom()
	w := window{i.Opened, i.Opened}
	if !held.IsZero() {
		w.include(held)
	}
	if ordered.Before(w.from) { // set back since
		w.from = ordered
	}
	for _, f := range i.Findings {
		if f.First.Before(w.from) {
			w.from = f.First
		}
	}
	after := c.cfg.After
	if i.Drill {
		after = min(after, drillAfter)
	}
	w = window{w.from.Add(-c.cfg.Before), w.to.Add(after)}
	wait := held.Add(after).Sub(ordered)
	if err := sleep(ctx, min(wait, after)); err != nil { // after a restart with a wrong clock it may seem to be years
		return window{}, err
	}
	if set := c.now().Round(0).Sub(ordered) - time.Since(began); set.Abs() > step {
		asSet := window{w.from.Add(set), w.to.Add(set)}
		w.include(asSet.from)
		w.include(asSet.to)
	}
	c.windows.Store(i.ID, w)
	return w, nil
}

func (w *window) include(t time.Time) {
	if t.Before(w.from) {
		w.from = t
	}
	if t.After(w.to) {
		w.to = t
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
