package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
	"sekisho/firmware/ledger"
	"sekisho/hal"
	"sekisho/netcontain"
	"sekisho/ui"
)

// beat is how often deadlines are looked at and the panel is drawn anew.
const beat = 250 * time.Millisecond

// core is the one goroutine that owns the desk. Everything that happens comes
// to it through a channel; everything it decides is written down first.
func (g *Gateway) core(ctx context.Context) error {
	if err := g.takeUp(ctx); err != nil {
		return err
	}
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	save := time.NewTicker(saveAssetsEvery)
	defer save.Stop()
	presses := g.parts.Panel.Presses()
	for {
		select {
		case <-ctx.Done():
			g.saveAssets(context.WithoutCancel(ctx))
			return ctx.Err()
		case s := <-g.sightings:
			g.observe(ctx, s)
			g.observeWaiting(ctx)
		case p, open := <-presses:
			if !open {
				presses = nil // the panel is gone; attend has said so
				continue
			}
			g.press(ctx, p)
		case r := <-g.results:
			g.apply(ctx, r.id, r.in)
		case request := <-g.requests:
			request()
		case <-ticker.C:
			for _, c := range g.desk.Advance(g.now()) {
				g.carry(ctx, c)
			}
			g.reprove(ctx)
			g.follow(ctx)
			g.refresh(ctx)
		case <-save.C:
			g.saveAssets(ctx)
			continue
		}
		g.followDrill(ctx)
		g.show()
	}
}

// takeUp restores what the store kept, and runs unfinished commands again.
func (g *Gateway) takeUp(ctx context.Context) error {
	kept, err := g.parts.Store.Incidents(ctx)
	if err != nil { // those that could be read came with it
		g.log.Error("restore incidents", "err", err)
		g.faults.set("store", err)
	}
	g.lockdown = g.parts.Restored.Lockdown
	g.began = g.firstStart(ctx)
	// First the desk knows of everybody who is held, then the first command
	// runs: it applies the whole policy, and would let go whom it does not know.
	for _, i := range kept { // recorded before the restart
		g.recorded[i.ID] = len(i.History) + i.HistoryDropped
	}
	changes := append(g.desk.Restore(g.now(), kept), g.adopt()...)
	for _, c := range changes {
		if !c.Incident.Drill { // of a drill that is over
			g.carry(ctx, c)
		}
	}
	g.restoreDrills(ctx)
	g.unpinOver(ctx)
	g.record(ledger.Entry{Actor: "gateway", Action: "start", Subject: g.cfg.Office, Detail: map[string]any{"incidents": len(kept)}})
	g.show()
	return nil
}

// unpinOver gives the ring back what is pinned for incidents that keep nothing: the
// power may have gone between their end and the command. A pin of which the desk
// knows nothing stays: its record may have been lost.
func (g *Gateway) unpinOver(ctx context.Context) {
	for _, id := range g.parts.Spool.Pins() {
		if i, known := g.desk.Get(id); known && i.KeepsNothing() {
			g.execute(ctx, i, incident.UnpinEvidence{})
		}
	}
}

// beganKey is where the database keeps the time of the first start.
const beganKey = "began"

// firstStart is when the gateway began to know this office. Should the database
// not tell, nothing is shown.
func (g *Gateway) firstStart(ctx context.Context) time.Time {
	text, known, err := g.parts.Store.GetMeta(ctx, beganKey)
	if err == nil && !known {
		text = g.now().UTC().Format(time.RFC3339)
		err = g.parts.Store.SetMeta(ctx, beganKey, text)
	}
	at, parseErr := time.Parse(time.RFC3339, text)
	if err = errors.Join(err, parseErr); err != nil {
		g.log.Warn("time of the first start", "err", err)
		return time.Time{}
	}
	return at
}

// adopt opens an incident for every device that was held before the start and
// of which the database knows nothing: it was damaged and moved aside, say. The
// device stays held, and a person can see and release it.
func (g *Gateway) adopt() (changes []incident.Change) {
	for _, h := range g.parts.Restored.Hosts {
		if _, known := g.desk.Get(h.ID); known || len(h.MACs) == 0 || h.Level == netcontain.Watch {
			continue
		}
		a, ok := g.parts.Pipeline.inventory.ByMAC(flow.MAC(h.MACs[0]))
		if !ok {
			a = asset.Asset{ID: asset.ID("mac:" + h.MACs[0].String()), MAC: flow.MAC(h.MACs[0]), Addrs: h.Addrs, Kind: asset.KindUnknown}
		}
		for _, mac := range h.MACs[1:] { // all of them were held as one device
			id := asset.ID("mac:" + mac.String())
			other, known := g.parts.Pipeline.inventory.Get(id)
			if !known {
				other = asset.Asset{ID: id, MAC: flow.MAC(mac)}
			}
			a.Kin = append(a.Kin, asset.Together(other))
		}
		g.log.Warn("held device without a record", "host", a.ID, "was", h.ID)
		changes = append(changes, g.desk.Adopt(g.now(), a, incident.Level(h.Level.String())))
	}
	return changes
}

// observeWaiting takes what came in meanwhile, so that a flood of findings
// costs one new picture and not one each.
func (g *Gateway) observeWaiting(ctx context.Context) {
	for range cap(g.sightings) {
		select {
		case s := <-g.sightings:
			g.observe(ctx, s)
		default:
			return
		}
	}
}

func (g *Gateway) observe(ctx context.Context, s sighting) {
	now := g.now()
	if g.ofDrill(ctx, s) {
		g.log.Info("finding about a drill that is over", "detector", s.finding.Detector, "host", s.host.ID)
		return
	}
	s = g.named(s)
	g.log.Info("finding", "detector", s.finding.Detector, "host", s.host.ID, "confidence", s.finding.Confidence)
	for _, c := range g.desk.Observe(now, s.finding, s.host, g.active(now)) {
		g.carry(ctx, c) // first: isolation never waits for evidence
		if c.Incident.State == incident.Dismissed {
			continue // another device's, which made room
		}
		g.settle("findings", g.custody.keepFinding(c.Incident.ID, s.finding))
	}
}

// press does what the screen named when the finger came down.
func (g *Gateway) press(ctx context.Context, p hal.Press) {
	by := incident.ByButton
	if p.Page {
		by = incident.ByPage
	}
	switch p.Gesture {
	case hal.Short:
		switch {
		case p.Target == "" || g.pressedVendor(p.Target, by):
		case g.unseen(p):
			g.log.Info("a press before its question was seen", "incident", p.Target)
		default:
			if p.Target == g.drill.now.Incident {
				g.drill.edge = p.At
			}
			g.apply(ctx, p.Target, incident.Input{Kind: incident.InPress, At: g.now(), By: by})
		}
	case hal.Hold3:
		g.heldForVendor(p.Target, by)
	case hal.Hold8:
		g.setLockdown(ctx, true, by)
	}
}

// unseen says that a press would answer a question which was not on the screen
// yet when the finger came down: the second one about a protected device.
func (g *Gateway) unseen(p hal.Press) bool {
	i, ok := g.desk.Get(p.Target)
	return ok && !p.Again && !ui.AskedUntil(i, g.now()).IsZero()
}

// apply steps one incident. An id that the desk does not know comes from a page
// that was shown long ago: there is nothing to do.
func (g *Gateway) apply(ctx context.Context, id string, in incident.Input) (incident.Incident, error) {
	change, err := g.desk.Apply(id, in)
	if err != nil {
		g.log.Warn("input for an unknown incident", "incident", id, "input", in.Kind)
		return incident.Incident{}, err
	}
	g.carry(ctx, change)
	return change.Incident, nil
}

// carry writes the change down and then executes its commands. When the disk
// does not take it, the host is isolated all the same, and the fault shown: a
// full disk must not protect a worm.
func (g *Gateway) carry(ctx context.Context, c incident.Change) {
	if err := g.parts.Store.SaveIncident(context.WithoutCancel(ctx), c.Incident); err != nil {
		g.log.Error("journal", "incident", c.Incident.ID, "err", err)
		g.faults.set("store", err)
	} else {
		g.faults.clear("store")
	}
	g.recordChange(c.Incident)
	g.show() // before the commands, which take longer: whoever pressed sees that it was taken
	for _, cmd := range c.Commands {
		g.execute(ctx, c.Incident, cmd)
	}
}

func (g *Gateway) execute(ctx context.Context, i incident.Incident, cmd incident.Command) {
	g.log.Info("command", "incident", i.ID, "command", cmd.String())
	switch cmd := cmd.(type) {
	case incident.SetLevel:
		g.contain(ctx, i, cmd.Level)
	case incident.Release:
		g.contain(ctx, i, incident.Watch)
	case incident.ProveIsolation:
		g.prove(ctx, i.ID)
	case incident.FreezeEvidence:
		g.background(ctx, i.ID, func(context.Context) incident.Input {
			err := g.parts.Spool.Pin(i.ID, cmd.From.Add(-g.cfg.Before))
			g.settle("freeze", err)
			if err != nil {
				return incident.Input{Kind: incident.InFreezeFailed, Note: err.Error()}
			}
			return incident.Input{Kind: incident.InFrozen}
		})
	case incident.UnpinEvidence:
		g.work.Go(func() { // the disk may be slow
			if err := g.parts.Spool.Unpin(i.ID); err != nil {
				g.log.Warn("unpin", "incident", i.ID, "err", err)
			}
		})
	case incident.SealBundle:
		assets := g.parts.Pipeline.inventory.All() // with that of a drill
		g.background(ctx, i.ID, func(ctx context.Context) incident.Input {
			bundle, err := g.custody.seal(ctx, i, assets)
			if ctx.Err() == nil {
				g.settle("seal", err)
			}
			if err != nil {
				return incident.Input{Kind: incident.InSealFailed, Note: err.Error()}
			}
			g.archive.look()
			if g.parts.Copies != nil {
				g.parts.Copies.Notice()
			}
			return incident.Input{Kind: incident.InSealed, Note: bundle.Path}
		})
	case incident.Notify: // panel and page show it; the log line above tells the rest
	}
}

// background runs a command that may take long, and brings its result back as
// an input.
func (g *Gateway) background(ctx context.Context, id string, do func(context.Context) incident.Input) {
	g.work.Go(func() {
		in := do(ctx)
		in.At = g.now()
		select {
		case g.results <- result{id, in}:
		case <-ctx.Done():
		}
	})
}

// recordChange writes every transition that the ledger has not seen yet into
// it, refused ones too.
func (g *Gateway) recordChange(i incident.Incident) {
	total := len(i.History) + i.HistoryDropped
	fresh := min(total-g.recorded[i.ID], len(i.History))
	for _, t := range i.History[len(i.History)-max(fresh, 0):] {
		detail := map[string]any{
			"from": string(t.From), "to": string(t.To), "note": t.Note, "host": string(i.Asset.ID), "refused": t.Refused,
		}
		if i.Drill {
			detail["drill"] = true
		}
		g.record(ledger.Entry{
			Time: t.At, Actor: t.By, Action: "incident." + string(t.Input), Subject: i.ID,
			Detail: detail,
		})
	}
	g.recorded[i.ID] = total
}

// settle shows an error as a fault until the same thing works again.
func (g *Gateway) settle(part string, err error) {
	if err == nil {
		g.faults.clear(part)
		return
	}
	g.log.Error("fault", "component", part, "err", err)
	g.faults.set(part, err)
}

// record hands an entry to the ledger's writer. It waits only when the disk is
// hundreds of entries behind: an entry is never dropped.
func (g *Gateway) record(e ledger.Entry) {
	if e.Time.IsZero() {
		e.Time = g.now()
	}
	if e.Actor == "" {
		e.Actor = "gateway"
	}
	g.entries <- e
}

// keepLedger writes entries in order until the core has ended, then the rest.
func (g *Gateway) keepLedger() error {
	for {
		select {
		case e, open := <-g.entries:
			if !open {
				return nil
			}
			g.keep(e)
		case done := <-g.flushes:
			for range len(g.entries) { // nobody else takes them
				if e, open := <-g.entries; open {
					g.keep(e)
				}
			}
			close(done)
		}
	}
}

func (g *Gateway) keep(e ledger.Entry) {
	if _, err := g.parts.Ledger.Append(e); err != nil {
		g.log.Error("ledger", "err", err)
		g.faults.set("ledger", err)
	}
}

// saveAssetsEvery bounds how much of the inventory a power cut can take.
const saveAssetsEvery = 10 * time.Second

func (g *Gateway) saveAssets(ctx context.Context) {
	inventory := g.parts.Pipeline.inventory
	for _, id := range inventory.Changed() {
		g.unsaved[id] = true
	}
	if len(g.unsaved) == 0 {
		return
	}
	var batch []asset.Asset
	var gone []asset.ID
	for _, id := range slices.Sorted(maps.Keys(g.unsaved)) {
		if a, ok := inventory.Get(id); ok {
			batch = append(batch, a)
		} else {
			gone = append(gone, id) // strangers' addresses must not fill the disk
		}
	}
	err := errors.Join(g.parts.Store.SaveAssets(ctx, batch), g.parts.Store.DeleteAssets(ctx, gone))
	g.settle("assets", err)
	if err == nil {
		clear(g.unsaved)
	}
}
