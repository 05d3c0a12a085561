package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/incident"
	"sekisho/firmware/ledger"
	"sekisho/netcontain"
	"sekisho/ui"
)

// What the inventory learns of a held device has to be in force within a second:
// a new Ethernet address of it is free until then. But a held device decides what
// there is to learn, and each change costs a transaction of the kernel and a
// write to the disk. So it is looked at with every beat that found something new,
// followAtOnce times; once that is used up, as often as refreshEvery gives one
// back. New IP addresses of an Ethernet address that is held need none of this:
// the kernel's sets hold whatever it sends.
const followAtOnce = 60

// A look among thousands of invented addresses takes tens of milliseconds of a
// processor, and keeps the pipeline waiting again and again: afterwards it has
// lookRest times as long for itself, but no longer than the second within which a
// new address has to be held.
const (
	lookRest    = 20
	longestRest = time.Second
)

// chase counts how often the policy may still follow at once.
type chase struct {
	epoch uint64 // of the inventory, as of the last look
	spent int
	since time.Time // spent was last counted down
	rest  time.Time // no look before

	pinned []asset.ID // devices that the inventory keeps
}

// due says whether there is anything to look at, and time for it.
func (p *chase) due(now time.Time, epoch uint64) bool {
	if back := int(now.Sub(p.since) / refreshEvery); back > 0 {
		p.spent, p.since = max(0, p.spent-back), now
	} else if now.Before(p.since) { // the clock was set back
		p.since = now
	}
	if wait := p.rest.Sub(now); wait > 0 && wait <= longestRest { // longer: the clock was set back
		return false
	}
	if epoch == p.epoch || p.spent >= followAtOnce {
		return false
	}
	p.epoch = epoch
	return true
}

// looked says how long a look took.
func (p *chase) looked(began, ended time.Time) {
	p.rest = ended.Add(min(lookRest*max(0, ended.Sub(began)), longestRest))
}

// follow makes the policy agree with what the inventory has learnt of devices
// that are held, or that a person is asked about.
func (g *Gateway) follow(ctx context.Context) {
	g.pin()
	began := g.now()
	if !g.chase.due(began, g.parts.Pipeline.inventory.Epoch()) {
		return
	}
	changes, held := g.look()
	g.chase.looked(began, g.now())
	g.relateTo(ctx, changes, held)
}

// pin keeps the inventory from forgetting devices that are held.
func (g *Gateway) pin() {
	var held []asset.ID
	for _, i := range g.desk.Incidents() {
		if i.State.Held() {
			held = append(held, i.Asset.ID)
			for _, k := range i.Asset.Kin {
				if k.Follows {
					held = append(held, k.ID)
				}
			}
		}
	}
	if !slices.Equal(held, g.chase.pinned) {
		g.parts.Pipeline.inventory.Pin(held)
		g.chase.pinned = held
	}
}

// relate looks at once, whatever it costs.
func (g *Gateway) relate(ctx context.Context) {
	changes, held := g.look()
	g.relateTo(ctx, changes, held)
}

// look asks the inventory about every device that is held or asked about.
func (g *Gateway) look() (changes []incident.Change, held bool) {
	for _, i := range g.desk.Incidents() {
		if !i.State.Held() && !i.Waiting() {
			continue
		}
		held = held || i.State.Held()
		if c, changed := g.kinOf(i); changed {
			changes = append(changes, c)
		}
	}
	return changes, held
}

// relateTo puts what was found in force, and counts that.
func (g *Gateway) relateTo(ctx context.Context, changes []incident.Change, held bool) {
	moved := held && !netcontain.Diff(g.policy(), g.parts.Contain.Desired()).Empty()
	if moved { // isolation never waits for what is written down about it
		g.settle("drift", g.enforce(ctx))
	}
	for _, c := range changes {
		g.noteKin(ctx, c)
	}
	if moved || len(changes) > 0 {
		g.chase.spent++
	}
}

// kinOf asks the inventory for the other addresses of the incident's device, and
// gives them to the desk where that is news. The device of a drill has none: what
// looks like one is somebody's of the office.
func (g *Gateway) kinOf(i incident.Incident) (incident.Change, bool) {
	if i.Drill || !i.State.Held() && !i.Waiting() {
		return incident.Change{}, false // on release all go together, and those who were held stay on record
	}
	q := asset.Query{ID: i.Asset.ID, FirstSign: i.FirstSign(), Held: i.HeldSince(), Known: i.Asset.Kin, Never: g.cfg.Policy.NeverAlong}
	kin := g.parts.Pipeline.inventory.Kin(q)
	if slices.EqualFunc(kin, i.Asset.Kin, func(a, b asset.Kin) bool { return a.ID == b.ID && a.Follows == b.Follows && a.Why == b.Why }) {
		return incident.Change{}, false
	}
	return g.desk.Relate(g.now(), i.ID, kin)
}

// noteKin writes down which addresses an incident's device has now.
func (g *Gateway) noteKin(ctx context.Context, c incident.Change) {
	now, ok := g.desk.Get(c.Incident.ID) // it may have moved on since
	if !ok {
		return
	}
	g.carry(ctx, incident.Change{Incident: now})
	detail := map[string]any{"held": now.State.Held()}
	var follow, suggest []string
	for _, k := range now.Asset.Kin {
		line := fmt.Sprintf("%s: %s", k.ID, k.Why.EN)
		if k.Follows {
			follow = append(follow, line)
		} else {
			suggest = append(suggest, line)
		}
	}
	detail["same"], detail["perhaps"] = follow, suggest
	g.record(ledger.Entry{Action: "incident.kin", Subject: now.ID, Detail: detail})
	g.log.Info("other addresses of the device", "incident", now.ID, "same", follow, "perhaps", suggest)
	g.watchers.tell()
}

// judge keeps a person's word on whether two addresses are one device, and acts
// on it at once.
func (w web) judge(ctx context.Context, id asset.ID, k ui.KinChange, by string) error {
	if by == "web" { // it may let a device go: somebody has to answer for it
		return fmt.Errorf("%w: say who decides it", ui.ErrRefused)
	}
	if !w.parts.Pipeline.inventory.Judge(id, k.With, k.Same, by, w.now()) {
		return fmt.Errorf("%w: devices %s and %s", ui.ErrUnknown, id, k.With)
	}
	return w.do(ctx, func() {
		w.record(ledger.Entry{Actor: by, Action: "device.kin", Subject: string(id), Detail: map[string]any{"with": string(k.With), "same": k.Same}})
		w.part(w.ctx)
		w.relate(w.ctx)
		w.saveAssets(w.ctx)
	})
}

// part makes incidents in probation agree with what people said. Of those that are
// held or asked about, relate does.
func (g *Gateway) part(ctx context.Context) {
	for _, i := range g.desk.Incidents() {
		if i.State != incident.Probation {
			continue
		}
		other := func(id asset.ID) bool { return g.parts.Pipeline.inventory.Judged(i.Asset.ID, id) < 0 }
		if c, changed := g.desk.Part(g.now(), i.ID, other); changed {
			g.noteKin(ctx, c)
		}
	}
}
