package gateway

import (
	"cmp"
	"context"
	"slices"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/drill"
	"sekisho/firmware/flow"
	"sekisho/firmware/health"
	"sekisho/firmware/incident"
	"sekisho/firmware/ledger"
	"sekisho/hal"
)

// Dummies makes the devices of drills.
type Dummies interface {
	// New draws a device's address. Nothing is sent before it is plugged in.
	New() (Dummy, error)
}

// Dummy is the device of one drill. Close may be called at any time, and again; it
// waits for Plug.
type Dummy interface {
	MAC() [6]byte
	// Port is the gateway's own port that it will be behind.
	Port() string
	// Plug puts it on the network; when it returns, what it sends is watched.
	Plug(ctx context.Context) (drill.Device, error)
	// Run misbehaves until ctx ends; began is called once, with the first bad frame.
	Run(ctx context.Context, began func(time.Time)) error
	Close() error
}

// exercise is the drill that runs, and what is left of those before it. The core
// owns it.
type exercise struct {
	now    drill.Drill   // zero: none runs
	began  time.Time     // when now was started; see clock
	past   []drill.Drill // that have ended, oldest first
	device Dummy
	mac    flow.MAC  // of device
	cancel func()    // ends what device does
	edge   time.Time // of the last press on the drill's incident
	gone   []echo
	list   []drill.Drill // what drills hands out, until the next step
}

// clock is when something happened, as a clock that was right at the start of the
// drill and that nobody sets says. The gateway may learn the time in the middle of a
// drill: that must not make a reaction an hour, nor keep a drill from ending.
func (x *exercise) clock(at time.Time) time.Time {
	return x.now.Started.Add(at.Sub(x.began)).Round(0) // monotonic, both
}

// echo is a device that is gone, of which detectors may still speak: a call that
// nobody answers is judged when its time is over.
type echo struct {
	mac   flow.MAC
	port  string
	ended time.Time
}

const (
	// echoFor is longer than anything that the tracker or a detector waits for.
	echoFor = 10 * time.Minute
	// forgetAfter is longer than a frame stays in the capture ring.
	forgetAfter = 3 * time.Second
	// maxPast bounds the drills at hand; the store keeps more.
	maxPast = 100
)

func macID(mac flow.MAC) asset.ID { return asset.ID("mac:" + mac.String()) }

// startDrill begins a drill, or says why it does not. Either is on record.
func (g *Gateway) startDrill(ctx context.Context, by string) (drill.Drill, error) {
	began, device := g.now(), Dummy(nil)
	d := drill.New(began, by, g.cfg.DrillLimit)
	why := g.drillRefused()
	if why == "" {
		var err error
		if device, err = g.parts.Dummies.New(); err != nil {
			g.log.Error("device of a drill", "err", err)
			why = drill.RefusedUnable
		}
	}
	if why == "" { // on record before its first frame: whatever becomes of the gateway, it can be told from the office's
		d.Device = drill.Device{MAC: flow.MAC(device.MAC()).String(), Port: device.Port()}
		if err := g.parts.Store.SaveDrill(context.WithoutCancel(ctx), d); err != nil {
			g.settle("store", err)
			why = drill.RefusedRecords
		}
	}
	if why != "" {
		g.record(ledger.Entry{Actor: by, Action: "drill.refused", Subject: g.cfg.Office, Detail: map[string]any{"why": string(why)}})
		return drill.Drill{}, why
	}
	within, cancel := context.WithCancel(ctx)
	x := &g.drill
	x.now, x.began, x.device, x.mac, x.cancel, x.edge = d, began, device, flow.MAC(device.MAC()), cancel, time.Time{}
	g.desk.Rehearse(macID(x.mac))
	g.drill.list = nil
	g.hideDummies()
	g.recordDrill(d, by)
	g.work.Go(func() {
		in := drill.Input{Kind: drill.InReady}
		var err error
		if in.Device, err = device.Plug(within); err != nil {
			in = drill.Input{Kind: drill.InBroken, Note: err.Error()}
		}
		g.tellDrill(ctx, d.ID, in)
	})
	return d, nil
}

// drillRefused says what stands against a drill now.
func (g *Gateway) drillRefused() drill.Refusal {
	failed := func(names ...string) bool {
		return slices.ContainsFunc(g.Health().Warnings(), func(w health.Result) bool { return slices.Contains(names, w.Name) })
	}
	switch {
	case g.parts.Dummies == nil:
		return drill.RefusedUnable
	case g.drill.now.Running():
		return drill.RefusedRunning
	case g.lockdown:
		return drill.RefusedLockdown
	case g.realOne() != "":
		return drill.RefusedIncident
	case failed("records"):
		return drill.RefusedRecords
	case failed("evidence", "bundles"):
		return drill.RefusedEvidence
	case failed("capture", "containment", "mechanism", "proof"):
		return drill.RefusedContainment
	}
	return ""
}

// realOne is an incident that goes before any drill, or "": somebody is asked about
// it, or its device is held.
func (g *Gateway) realOne() string {
	for _, i := range g.desk.Incidents() {
		if !i.Drill && (i.Waiting() || i.State.Held()) {
			return i.ID
		}
	}
	return ""
}

// stopDrill ends the drill because a person says so.
func (g *Gateway) stopDrill(ctx context.Context, by string) (drill.Drill, error) {
	if !g.drill.now.Running() {
		return drill.Drill{}, drill.RefusedIdle
	}
	g.stepDrill(ctx, drill.Input{Kind: drill.InStop, At: g.now(), By: by})
	return g.drill.past[len(g.drill.past)-1], nil
}

// tellDrill brings an input to the core, for the drill that it is about.
func (g *Gateway) tellDrill(ctx context.Context, id string, in drill.Input) {
	if in.At.IsZero() {
		in.At = g.now()
	}
	select {
	case g.requests <- func() {
		if g.drill.now.ID == id {
			g.stepDrill(ctx, in)
		}
	}:
	case <-ctx.Done():
	}
}

// stepDrill takes the drill one input further: written down first, then done. When
// the disk does not take it, the drill goes on all the same, and ends.
func (g *Gateway) stepDrill(ctx context.Context, in drill.Input) {
	in.At = g.drill.clock(in.At)
	next, commands := drill.Step(g.drill.now, in)
	if next == g.drill.now {
		return
	}
	moved := next.State != g.drill.now.State
	g.drill.now, g.drill.list = next, nil
	if err := g.parts.Store.SaveDrill(context.WithoutCancel(ctx), next); err != nil {
		g.settle("store", err)
	}
	if moved {
		g.recordDrill(next, cmp.Or(in.By, "gateway"))
	}
	for _, c := range commands {
		switch c {
		case drill.Misbehave:
			g.misbehave(ctx)
		case drill.CleanUp:
			g.cleanUp(ctx)
		}
	}
}

func (g *Gateway) recordDrill(d drill.Drill, by string) {
	g.log.Info("drill", "drill", d.ID, "state", d.State, "outcome", d.Outcome, "note", d.Note)
	g.record(ledger.Entry{Actor: by, Action: "drill." + string(d.State), Subject: d.ID, Detail: map[string]any{
		"drill": true, "outcome": string(d.Outcome), "incident": d.Incident, "host": d.Device.MAC, "note": d.Note,
	}})
}

func (g *Gateway) misbehave(ctx context.Context) {
	within, cancel := context.WithCancel(ctx)
	id, device, plugged := g.drill.now.ID, g.drill.device, g.drill.cancel
	g.drill.cancel = func() { cancel(); plugged() }
	g.work.Go(func() {
		err := device.Run(within, func(at time.Time) { g.tellDrill(ctx, id, drill.Input{Kind: drill.InBad, At: at}) })
		if err != nil {
			g.tellDrill(ctx, id, drill.Input{Kind: drill.InBroken, Note: err.Error()})
		}
	})
}

// cleanUp undoes what the drill did, the newest first: the device falls silent, is
// let go, and is unplugged.
func (g *Gateway) cleanUp(ctx context.Context) {
	d, device := g.drill.now, g.drill.device
	g.drill.cancel()
	g.endDrilled(ctx)
	g.desk.Rehearse("")
	g.drill.past = append(g.drill.past, d)
	g.drill.past = g.drill.past[max(0, len(g.drill.past)-maxPast):]
	if d.Outcome != drill.Copied { // else somebody is behind the address
		g.drill.gone = append(g.drill.gone, echo{g.drill.mac, d.Device.Port, g.now()})
	}
	g.drill.now, g.drill.device, g.drill.list = drill.Drill{}, nil, nil
	g.hideDummies()
	g.work.Go(func() {
		if err := device.Close(); err != nil { // the next one sweeps
			g.log.Error("device of a drill", "err", err)
		}
	})
}

// endDrilled ends every incident of a drill that is not over.
func (g *Gateway) endDrilled(ctx context.Context) {
	for _, i := range g.desk.Incidents() {
		if i.Drill && i.State.Live() {
			g.apply(ctx, i.ID, incident.Input{Kind: incident.InDrillOver, At: g.now()}) //nolint:errcheck // it is on the desk
		}
	}
}

// restoreDrills takes up what the store knows of drills. One that was running is
// over: its device went with the process, or the power.
func (g *Gateway) restoreDrills(ctx context.Context) {
	kept, err := g.parts.Store.Drills(ctx)
	if err != nil { // those that could be read came with it
		g.log.Error("restore drills", "err", err)
		g.faults.set("store", err)
	}
	for n, d := range kept {
		g.forgetLeftover(d)
		next, commands := drill.Step(d, drill.Input{Kind: drill.InRestart, At: g.now().UTC()})
		if len(commands) == 0 {
			continue
		}
		if err := g.parts.Store.SaveDrill(ctx, next); err != nil {
			g.settle("store", err)
		}
		g.recordDrill(next, "gateway")
		kept[n] = next
	}
	g.drill.past = kept[max(0, len(kept)-maxPast):]
	g.endDrilled(ctx)
}

// forgetLeftover lets the inventory forget the device of a drill: the process may
// have ended in the middle, or before it was seen that the device was gone.
func (g *Gateway) forgetLeftover(d drill.Drill) {
	inventory := g.parts.Pipeline.inventory
	if a, known := inventory.Get(asset.ID("mac:" + d.Device.MAC)); known && at(a, d.Device.Port) {
		inventory.Forget(a.ID)
	}
}

// unplug takes the device away when the gateway stops in the middle of a drill;
// the next start ends the rest.
func (g *Gateway) unplug() {
	if g.drill.device == nil {
		return
	}
	if err := g.drill.device.Close(); err != nil {
		g.log.Error("device of a drill", "err", err)
	}
}

// followDrill feeds the drill what has become of its device. The core calls it after
// everything that happened.
func (g *Gateway) followDrill(ctx context.Context) {
	g.forgetDummies()
	if !g.drill.now.Running() {
		return
	}
	now := g.now()
	if in := g.beforeDrill(); in.Kind != "" {
		in.At = now
		g.stepDrill(ctx, in)
		return
	}
	for _, i := range g.desk.Incidents() {
		if i.Drill && i.Asset.MAC == g.drill.mac {
			g.followDrilled(ctx, i, now)
		}
	}
	if g.drill.now.Running() {
		g.stepDrill(ctx, drill.Input{Kind: drill.InTick, At: now})
	}
}

// followDrilled says what an incident says of its drill. All of it may be said at
// once, and again: Step takes what is news.
func (g *Gateway) followDrilled(ctx context.Context, i incident.Incident, now time.Time) {
	tell := func(in drill.Input) {
		if in.At.IsZero() {
			in.At = now
		}
		if g.drill.now.Running() {
			g.stepDrill(ctx, in)
		}
	}
	if i.Waiting() || i.State.Held() {
		tell(drill.Input{Kind: drill.InDetected, Incident: i.ID})
	}
	if s := g.View().Status; s.State == hal.Attention && s.Target == i.ID {
		tell(drill.Input{Kind: drill.InShown, At: s.Now})
	}
	if i.State.Held() && i.Level == incident.Isolate {
		pressed := drill.Input{Kind: drill.InPressed, At: i.Decision.At, By: i.Decision.By}
		if (i.Decision.By == incident.ByButton || i.Decision.By == incident.ByPage) && !g.drill.edge.IsZero() {
			pressed.At = g.drill.edge
		}
		tell(pressed)
		switch {
		case i.State == incident.ContainFailed:
			tell(drill.Input{Kind: drill.InUnproven, Note: i.Proof.Text.EN})
		case i.Proof.Grade == incident.Proven:
			tell(drill.Input{Kind: drill.InProven, At: i.Proof.At})
			if i.Bundle != "" {
				tell(drill.Input{Kind: drill.InSealed, Bundle: i.Bundle})
			}
		}
	}
	if !i.State.Live() || i.State == incident.Probation { // a person ended it by another way
		tell(drill.Input{Kind: drill.InStop, By: i.History[len(i.History)-1].By})
	}
}

// beforeDrill is what goes before the drill, or nothing.
func (g *Gateway) beforeDrill() drill.Input {
	d, inventory := g.drill.now, g.parts.Pipeline.inventory
	if g.lockdown {
		return drill.Input{Kind: drill.InYield, Note: "lockdown"}
	}
	if id := g.realOne(); id != "" {
		return drill.Input{Kind: drill.InYield, Note: "incident " + id}
	}
	if a, ok := inventory.ByMAC(g.drill.mac); ok && g.copied(a) {
		return drill.Input{Kind: drill.InCopied, Note: "seen on port " + a.Port}
	}
	if owner, ok := inventory.ByAddr(d.Device.IP); ok && owner.MAC != g.drill.mac && !owner.MAC.IsZero() {
		return drill.Input{Kind: drill.InYield, Note: "its address is wanted by " + string(owner.ID)} // RFC 5227, section 2.4
	}
	return drill.Input{}
}

// copied says that somebody else sends with the address of the drill's device: it
// was seen on another port than the one that was made for it.
func (g *Gateway) copied(a asset.Asset) bool {
	made := g.drill.now.Device.Port
	return a.MAC == g.drill.mac && made != "" && (a.MovedFrom != "" || a.Port != "" && a.Port != made)
}

// drillName is what the device is called on the screen. The inventory never learns
// it: whoever copies the device's address must not be called so.
var drillName = detect.Text{EN: "Drill device", JA: "訓練用の機器"}

// named gives a sighting of the drill's device its name.
func (g *Gateway) named(s sighting) sighting {
	if g.drill.now.Running() && s.finding.Host.MAC == g.drill.mac {
		s.host.Name = drillName.In(g.cfg.Lang)
	}
	return s
}

// ofDrill is asked before a finding goes to the desk. It ends a drill whose device's
// address is copied, so that the finding is judged like any other; and it says of
// what is left of drills that are over that it is an echo.
func (g *Gateway) ofDrill(ctx context.Context, s sighting) (over bool) {
	if g.drill.now.Running() && g.copied(s.host) {
		g.stepDrill(ctx, drill.Input{Kind: drill.InCopied, At: g.now(), Note: "seen on port " + s.host.Port})
	}
	return slices.ContainsFunc(g.drill.gone, func(e echo) bool {
		return s.finding.Host.MAC == e.mac && at(s.host, e.port) && s.finding.First.Before(e.ended.Add(forgetAfter))
	})
}

// at says that a device was never seen on another port than the one that was made
// for a drill; "" is one that is not known yet.
func at(a asset.Asset, port string) bool {
	return a.MovedFrom == "" && (port == "" || a.Port == "" || a.Port == port)
}

// hideDummies tells those who look at the inventory which devices are not the
// office's, and the detectors from whom there is nothing to learn.
func (g *Gateway) hideDummies() {
	hidden := map[flow.MAC]string{} // its port
	for _, e := range g.drill.gone {
		hidden[e.mac] = e.port
	}
	if g.drill.now.Running() {
		hidden[g.drill.mac] = g.drill.now.Device.Port
	}
	g.dummies.Store(&hidden)
	if g.parts.Suspects != nil {
		g.parts.Suspects.drilled.Store(&hidden)
	}
}

// forgetDummies lets the inventory forget devices that are gone: again and again,
// because the tracker speaks of their calls once more when it gives them up.
func (g *Gateway) forgetDummies() {
	if len(g.drill.gone) == 0 {
		return
	}
	now, inventory, before := g.now(), g.parts.Pipeline.inventory, len(g.drill.gone)
	for _, e := range g.drill.gone {
		if a, known := inventory.ByMAC(e.mac); known && at(a, e.port) && now.Sub(e.ended) >= forgetAfter {
			inventory.Forget(a.ID)
		}
	}
	g.drill.gone = slices.DeleteFunc(g.drill.gone, func(e echo) bool { return now.Sub(e.ended) > echoFor })
	if len(g.drill.gone) != before {
		g.hideDummies()
	}
}

// office leaves out the devices of drills. Any goroutine may call it.
func (g *Gateway) office(all []asset.Asset) []asset.Asset {
	hidden := g.dummies.Load()
	if hidden == nil || len(*hidden) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(a asset.Asset) bool {
		port, ok := (*hidden)[a.MAC]
		return ok && at(a, port)
	})
}

// active counts the office's devices that were seen lately.
func (g *Gateway) active(now time.Time) int {
	n := g.parts.Pipeline.active(now)
	if hidden := g.dummies.Load(); hidden != nil {
		for mac, port := range *hidden {
			if a, ok := g.parts.Pipeline.inventory.ByMAC(mac); ok && at(a, port) && now.Sub(a.LastSeen) <= activeWithin {
				n--
			}
		}
	}
	return n
}

// drills is every drill at hand, the newest first, the one that runs among them. The
// slice is shared and never written to again.
func (g *Gateway) drills() []drill.Drill {
	if g.drill.list == nil {
		all := append(make([]drill.Drill, 0, maxPast+1), g.drill.past...)
		if g.drill.now.Running() {
			all = append(all, g.drill.now)
		}
		slices.Reverse(all)
		g.drill.list = all
	}
	return g.drill.list
}

// ofADrill says that an incident is of a drill, as far back as is at hand. Any
// goroutine may call it.
func (g *Gateway) ofADrill(id string) bool {
	v := g.View()
	return slices.ContainsFunc(v.Drills, func(d drill.Drill) bool { return d.Incident == id }) ||
		slices.ContainsFunc(v.Incidents, func(i incident.Incident) bool { return i.ID == id && i.Drill })
}

// practised puts on the panel when people last showed that they can do it, and how
// long they took.
func (g *Gateway) practised(s *hal.Status) {
	for n := len(g.drill.past) - 1; n >= 0; n-- {
		if d := g.drill.past[n]; d.Outcome == drill.Passed {
			s.LastDrill = d.Ended.In(s.Now.Location())
			s.DrillTook, _ = d.Reaction()
			return
		}
	}
}
