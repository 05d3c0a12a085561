package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
	"sekisho/firmware/ledger"
	"sekisho/firmware/remote"
	"sekisho/netcontain"
	"sekisho/netcontain/probe"
)

// applyWithin bounds one change of the kernel's policy. It takes milliseconds;
// a kernel that needs longer is a failure to show, not to wait for.
const applyWithin = 5 * time.Second

// contain puts the present policy in force; the incident is what changed.
func (g *Gateway) contain(ctx context.Context, i incident.Incident, level incident.Level) {
	kin, changed := g.kinOf(i) // whoever is held is held with all its addresses, from the first moment on
	if changed {
		i = kin.Incident
	}
	if level == incident.Isolate {
		g.watch(ctx, i)
	}
	err := g.enforce(ctx)
	in := incident.Input{Kind: incident.InApplied, At: g.now(), Level: level}
	if err != nil {
		g.log.Error("apply policy", "incident", i.ID, "err", err)
		in.Kind, in.Note = incident.InApplyFailed, err.Error()
	}
	if level == incident.Watch {
		g.unwatch(i.ID)
	} else if err == nil {
		g.heal(ctx, host(i))
	}
	if changed {
		g.noteKin(ctx, kin)
	}
	g.apply(ctx, i.ID, in)
}

// healAgain is when neighbours are told a second time: Linux ignores a change
// of an ARP entry for a second after the last one (locktime, arp(7)), and a
// spoofer repeats itself that often.
const healAgain = 2 * time.Second

// heal undoes, in the background, what a spoofer made others believe.
func (g *Gateway) heal(ctx context.Context, h netcontain.Host) {
	if g.parts.Heal == nil {
		return
	}
	g.work.Go(func() {
		for range 2 {
			if err := g.parts.Heal(h.MACs); err != nil {
				g.log.Warn("heal neighbours", "incident", h.ID, "err", err)
			}
			if sleep(ctx, healAgain) != nil {
				return
			}
		}
	})
}

// hostWatch is a watch, and what it knows of the host that it is about.
type hostWatch struct {
	Watch
	host  netcontain.Policy // it alone, in canonical form
	began time.Time
}

// stale says that the watch is about less than the host is by now. A host that
// invents addresses must not keep it from ever proving anything.
func (w hostWatch) stale(now time.Time, host netcontain.Policy) bool {
	return now.Sub(w.began) >= refreshEvery && (w.Blind() || !netcontain.Diff(host, w.host).Empty())
}

// watch begins to watch the wire for the incident's host, if it is not yet, and
// begins anew when the host has other addresses by now, or a port went away. It
// has to begin before the policy is applied, so that the window in which frames
// still leaked is measured, not guessed; it takes milliseconds, and is therefore
// begun while the question is still on the screen. Without it nothing is proven.
func (g *Gateway) watch(ctx context.Context, i incident.Incident) {
	h := g.known(host(i))
	alone := netcontain.Policy{Hosts: []netcontain.Host{h}}.Canonical()
	if old, ok := g.watches[i.ID]; ok {
		if g.proving[i.ID] || !old.stale(g.now(), alone) {
			return
		}
		if i.Applied && joined(h, old.host) {
			p := g.proofs[i.ID]
			p.joined = g.now()
			g.proofs[i.ID] = p
		}
		old.Close()
		delete(g.watches, i.ID)
		if at := g.proveAt[i.ID]; !at.IsZero() {
			g.proveAt[i.ID] = g.now() // what was proven was about less
		}
	}
	p := g.proofs[i.ID]
	if now := g.now(); !p.failed.IsZero() && now.Sub(p.failed) < refreshEvery {
		return // the core asks four times a second
	}
	w, err := g.parts.Prover.Watch(ctx, h)
	if err != nil {
		g.log.Error("watch the wire", "incident", i.ID, "err", err)
		g.faults.set("probe", err)
		p.failed = g.now()
		g.proofs[i.ID] = p
		return
	}
	g.watches[i.ID] = hostWatch{w, alone, g.now()}
}

// joined says that the host has an Ethernet address that it did not have before.
func joined(h netcontain.Host, before netcontain.Policy) bool {
	return slices.ContainsFunc(h.MACs, func(mac netcontain.MAC) bool {
		return !slices.ContainsFunc(before.Hosts, func(old netcontain.Host) bool { return slices.Contains(old.MACs, mac) })
	})
}

func (g *Gateway) unwatch(id string) {
	delete(g.proofs, id)
	if w, ok := g.watches[id]; ok && !g.proving[id] {
		w.Close()
		delete(g.watches, id)
	}
}

// enforce makes the kernel agree with the desk, and then keeps the policy for
// the next boot. A power cut in between loses nothing: the boot also asks the
// journal, which is written before.
func (g *Gateway) enforce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, applyWithin)
	defer cancel()
	p := g.policy()
	err := g.parts.Contain.Set(ctx, p)
	switch {
	case err == nil:
		g.faults.clear("mechanism")
	case !netcontain.SetsInForce(err):
	case errors.Is(err, netcontain.ErrUnderWay): // the next look says what became of it
		g.log.Warn("a mechanism beside the sets takes its time", "err", err)
		err = nil
	default: // everybody is held, some less well than was chosen
		g.log.Error("a mechanism beside the sets failed", "err", err)
		g.faults.set("mechanism", err)
		err = nil
	}
	g.keepPolicy(p)
	return err
}

// keepPolicy writes down the policy, and where its hosts are.
func (g *Gateway) keepPolicy(p netcontain.Policy) {
	var holding Holding
	if g.parts.Holds != nil {
		holding = g.parts.Holds.Holding()
	}
	g.settle("policy", savePolicy(g.cfg.StateDir, p, holding))
	g.kept = holding
}

// policy is the whole desired state: every held incident, at its level.
func (g *Gateway) policy() netcontain.Policy {
	p := netcontain.Policy{Allow: g.cfg.Allow, Lockdown: g.lockdown}
	for _, i := range g.desk.Incidents() {
		if !i.State.Held() {
			continue
		}
		if h := g.known(host(i)); len(h.MACs)+len(h.Addrs) > 0 { // else there is nothing to hold it by
			p.Hosts = append(p.Hosts, h)
		}
	}
	return p
}

// host is the incident's device as netcontain takes it: its own Ethernet address
// first, then those of its kin that follow.
func host(i incident.Incident) netcontain.Host {
	h := netcontain.Host{ID: i.ID, Addrs: i.Asset.Addrs, Level: level(i.Level)}
	if i.Asset.MAC.IsZero() {
		return h
	}
	h.Addrs = slices.Clone(h.Addrs)
	h.MACs = []netcontain.MAC{netcontain.MAC(i.Asset.MAC)}
	for _, k := range i.Asset.Kin {
		if k.Follows && !k.MAC.IsZero() {
			h.MACs = append(h.MACs, netcontain.MAC(k.MAC))
			h.Addrs = append(h.Addrs, k.Addrs...)
		}
	}
	return h
}

// known adds the addresses that the device has taken since, under whichever of
// its Ethernet addresses, and leaves out those that belong to somebody else by
// now, and those that it took by its own word: whoever spoofs an address must not
// take its owner along.
func (g *Gateway) known(h netcontain.Host) netcontain.Host {
	inventory := g.parts.Pipeline.inventory
	kept, taken := h.Addrs[:0:0], map[netip.Addr]bool{}
	for _, mac := range h.MACs {
		if a, ok := inventory.ByMAC(flow.MAC(mac)); ok {
			h.Addrs = append(h.Addrs[:len(h.Addrs):len(h.Addrs)], a.Addrs...)
			for _, t := range a.Identity.Taken {
				taken[t.Addr] = taken[t.Addr] || g.others(t, h.MACs)
			}
		}
	}
	for _, addr := range h.Addrs {
		owner, ok := inventory.ByAddr(addr)
		if !taken[addr] && (!ok || len(h.MACs) == 0 || slices.Contains(h.MACs, netcontain.MAC(owner.MAC))) {
			kept = append(kept, addr)
		}
	}
	h.Addrs = kept
	return h
}

// others says that an address was taken from a device that is not one of macs,
// and is still about.
func (g *Gateway) others(t asset.Taken, macs []netcontain.MAC) bool {
	from, ok := g.parts.Pipeline.inventory.Get(t.From)
	return ok && !slices.Contains(macs, netcontain.MAC(from.MAC)) && g.now().Sub(from.LastSeen) <= neighbourFor
}

func level(l incident.Level) netcontain.Level {
	switch l {
	case incident.Isolate:
		return netcontain.Isolate
	case incident.Limit:
		return netcontain.Limit
	}
	return netcontain.Watch
}

// proofs is what one host's proofs were like so far, while it is held.
type proofs struct {
	silent time.Time // since when it has not answered; zero: it has
	joined time.Time // when it was last found to have another Ethernet address; zero: never
	failed time.Time // when the wire could last not be watched; zero: it could
}

// prove asks the wire, in the background.
func (g *Gateway) prove(ctx context.Context, id string) {
	w := g.watches[id].Watch
	if g.proving[id] {
		return
	}
	g.proving[id] = true
	since, joined := g.now(), g.proofs[id].joined
	g.background(ctx, id, func(ctx context.Context) incident.Input {
		proof, silent := g.measure(ctx, w, since)
		in := incident.Input{Kind: incident.InProven, Proof: uncounted(proof, joined)}
		if in.Proof.Grade == incident.NotIsolated {
			in.Kind = incident.InLeaked
		}
		select {
		case g.requests <- func() { g.proving[id], g.proveAt[id] = false, g.proveNext(id, since, silent) }:
		case <-ctx.Done():
		}
		return in
	})
}

// measure asks one watch. silent says that nothing is wrong but that the host did
// not answer.
func (g *Gateway) measure(ctx context.Context, w Watch, since time.Time) (p incident.Proof, silent bool) {
	unwatched := incident.Proof{Grade: incident.BestEffort, At: since, Text: detect.Text{
		EN: "The block is in place, but the wire could not be watched.",
		JA: "遮断は設定しましたが、通信を確認できませんでした。",
	}}
	if w == nil {
		return unwatched, false
	}
	r, err := w.Prove(ctx, since)
	if err != nil {
		g.log.Error("prove isolation", "err", err)
		g.faults.set("probe", err)
		return unwatched, false
	}
	g.faults.clear("probe")
	return incident.Proof{
		Grade: incident.Grade(r.Verdict), At: g.now(), Blocked: r.FramesFromHost, Leaked: r.FramesLeaked, Text: detect.Text(r.Text),
	}, r.Verdict == probe.BestEffort && r.FramesFromHost == 0 && r.Drops == 0
}

// uncounted adds what a proof cannot know: a device that was found to have
// another Ethernet address while it was isolated may have used it before, and
// nobody watched for that.
func uncounted(p incident.Proof, joined time.Time) incident.Proof {
	if joined.IsZero() || p.Grade == incident.NotIsolated { // then a cable is to be pulled, whatever was before
		return p
	}
	at := joined.In(time.Local).Format("15:04:05")
	p.Text.EN += " Another address of the device was found at " + at + "; what it sent under that before is not counted."
	p.Text.JA += "この機器の別のアドレスを " + at + " に見つけました。それより前にそのアドレスから出た通信は、この確認に含まれません。"
	return p
}

const (
	// proveEvery is how often a proof is repeated while an isolation lasts.
	proveEvery = 30 * time.Second
	// proveSoon is after how long a silent host is asked again, for proveEvery:
	// one that is moved to the quarantine VLAN has no link for up to 2.5 s, longer
	// than there is left of a proof (probe.Config.Limit) once it has one again.
	proveSoon = 3 * time.Second
)

// proveNext is when the next proof is due, after one that began at since.
func (g *Gateway) proveNext(id string, since time.Time, silent bool) time.Time {
	now := g.now()
	i, _ := g.desk.Get(id)
	if !i.State.Held() {
		return now.Add(proveEvery)
	}
	p := g.proofs[id]
	if !silent {
		p.silent = time.Time{}
	} else if p.silent.IsZero() {
		p.silent = since
	}
	g.proofs[id] = p
	if silent && now.Sub(p.silent) < proveEvery {
		return now.Add(proveSoon)
	}
	return now.Add(proveEvery)
}

// refreshEvery is how often the policy is built anew, for addresses that have
// changed hands: whoever holds one now must not stay cut off for another.
const refreshEvery = 5 * time.Second

func (g *Gateway) refresh(ctx context.Context) {
	now := g.now()
	if now.Before(g.refreshAt) {
		return
	}
	g.refreshAt = now.Add(refreshEvery)
	for id := range g.recorded { // of incidents that made room for others
		if _, held := g.desk.Get(id); !held {
			delete(g.recorded, id)
		}
	}
	if p := g.policy(); !netcontain.Diff(p, g.parts.Contain.Desired()).Empty() {
		g.settle("drift", g.enforce(ctx))
	} else if g.parts.Holds != nil && !reflect.DeepEqual(g.parts.Holds.Holding(), g.kept) {
		g.keepPolicy(p) // a held host was seen on another port
	}
}

// reprove repeats proofs that have grown old, and keeps watches to those who
// are held and the one that a press would hold.
func (g *Gateway) reprove(ctx context.Context) {
	now := g.now()
	suspect, asked := g.desk.Suspect()
	if asked {
		g.watch(ctx, suspect)
	}
	for _, i := range g.desk.Incidents() {
		switch {
		case !i.State.Held():
			if !asked || i.ID != suspect.ID {
				g.unwatch(i.ID)
			}
		case i.Level == incident.Isolate:
			g.watch(ctx, i)
			if due := g.proveAt[i.ID]; i.Applied && !g.proving[i.ID] && !due.IsZero() && !now.Before(due) {
				g.prove(ctx, i.ID)
			}
		}
	}
}

// lockdownKey is where the database keeps the lockdown, "on" or "off", beside
// the policy file: either may be damaged.
const lockdownKey = "lockdown"

func (g *Gateway) setLockdown(ctx context.Context, on bool, by string) error {
	g.lockdown = on
	if on { // everything is cut: that includes whoever looks at evidence
		g.decideAccess(func(s *remote.Server) error { return s.EndAll(by) })
	}
	err := g.enforce(ctx)
	word := map[bool]string{true: "on", false: "off"}[on]
	if err := g.parts.Store.SetMeta(context.WithoutCancel(ctx), lockdownKey, word); err != nil {
		g.faults.set("store", err)
	}
	g.record(ledger.Entry{Actor: by, Action: "lockdown", Subject: g.cfg.Office, Detail: map[string]any{"on": on, "ok": err == nil}})
	if err != nil {
		g.faults.set("lockdown", err)
		return fmt.Errorf("set lockdown: %w", err)
	}
	return nil
}
