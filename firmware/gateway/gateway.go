// Package gateway is the composition: it joins capture, detection, incidents,
// containment, evidence, panel and web page into one running appliance.
//
// cmd/sekisho calls it. It is the only package that executes an incident's
// commands. It must never let evidence, display or web page hold up capture or
// containment, and never raise a port before the containment policy is in the
// kernel.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sekisho/firmware/asset"
	"sekisho/firmware/capture"
	"sekisho/firmware/config"
	"sekisho/firmware/drill"
	"sekisho/firmware/evidence"
	"sekisho/firmware/flow"
	"sekisho/firmware/health"
	"sekisho/firmware/incident"
	"sekisho/firmware/ioc"
	"sekisho/firmware/ledger"
	"sekisho/firmware/offsite"
	"sekisho/firmware/remote"
	"sekisho/firmware/store"
	"sekisho/hal"
	"sekisho/netcontain"
	"sekisho/netcontain/plan"
	"sekisho/netcontain/probe"
)

// Prover begins to watch the wire for a host, before the policy that holds it
// is applied.
type Prover interface {
	Watch(ctx context.Context, h netcontain.Host) (Watch, error)
}

// Watch is one watch of one host.
type Watch interface {
	Prove(ctx context.Context, since time.Time) (probe.Result, error)
	// Blind says that it no longer sees every port.
	Blind() bool
	Close() error
}

// Holds is what was chosen for the hosts that are held.
type Holds interface {
	Hold(id string) (plan.Hold, bool)
	Holding() Holding
}

// Service is a part that only has to run: the refuge, for example.
type Service interface {
	Run(ctx context.Context) error
}

// Config is what the owner decided, as far as the composition needs it.
type Config struct {
	Lang        string // "ja" or "en"
	Office      string
	Vendor      string
	VendorPhone string
	Policy      incident.Policy
	Allow       []netip.Prefix // for limited hosts
	Before      time.Duration  // packets frozen from before the first sign
	After       time.Duration  // and after the isolation
	StateDir    string
	Learn       time.Duration // the panel says so, from the first start on; 0: it does not
	LAN         []netip.Prefix
	Eve         config.Eve // the log of a Suricata beside us; no file: none
	Evidence    string     // folder of spool and vault
	Ring        int64      // size of the packet ring, bytes
	Retention   evidence.RetentionPolicy
	SFTPKey     string        // our public key, for the page; empty: no such target
	DrillLimit  time.Duration // how long a person has in a drill; 0: the default
}

// Parts are what a Gateway is made of. All are required but Services, Lists,
// Heal, Remote, Copies and Dummies.
type Parts struct {
	Source   capture.Source
	Pipeline *Pipeline
	Contain  *netcontain.Reconciler
	Prover   Prover
	Spool    *evidence.Spool
	Vault    *evidence.Vault
	Ledger   *ledger.Ledger
	Store    *store.Store
	Panel    hal.Panel
	Listener net.Listener
	Services map[string]Service // by name, for the health page
	// Lists tells how the indicator lists stand; nil: there are none.
	Lists interface{ Status() []ioc.Status }
	// Remote says where the vendor may connect; nil: nowhere. The gateway fills
	// in what the vendor may ask for.
	Remote  *remote.Config
	Copies  *offsite.Mover // nil: bundles are copied nowhere
	Dummies Dummies        // nil: no drills
	// Heal corrects neighbour tables after isolated MACs; nil: nothing to heal.
	Heal func([]netcontain.MAC) error
	Log  *slog.Logger
	Now  func() time.Time

	// Suspects is told by the core whom the detectors must not learn from; nil:
	// nobody asks.
	Suspects *suspects

	// Holds says how each host is held; nil: by the sets, and nothing more is known.
	Holds Holds

	// Restored is the policy that was put in force before the start.
	Restored netcontain.Policy

	faults *faults // of the time before New; nil: none
}

func (p Parts) validate() error {
	var errs []error
	need := func(ok bool, name string) {
		if !ok {
			errs = append(errs, fmt.Errorf("gateway: no %s", name))
		}
	}
	need(p.Source != nil, "Source")
	need(p.Pipeline != nil, "Pipeline")
	need(p.Contain != nil, "Contain")
	need(p.Prover != nil, "Prover")
	need(p.Spool != nil, "Spool")
	need(p.Vault != nil, "Vault")
	need(p.Ledger != nil, "Ledger")
	need(p.Store != nil, "Store")
	need(p.Panel != nil, "Panel")
	need(p.Listener != nil, "Listener")
	need(p.Log != nil, "Log")
	need(p.Now != nil, "Now")
	return errors.Join(errs...)
}

// Gateway is a running appliance.
type Gateway struct {
	cfg   Config
	parts Parts
	log   *slog.Logger
	now   func() time.Time

	desk      *incident.Desk // owned by the core goroutine
	sightings chan sighting
	results   chan result
	requests  chan func()
	entries   chan ledger.Entry // to the ledger, in order
	flushes   chan chan struct{}
	recorded  map[string]int    // by incident: transitions that the ledger has
	unsaved   map[asset.ID]bool // changed since the store took them
	watcher   *watcher
	custody   *custody
	faults    *faults
	remote    *remote.Server // nil: the vendor's access is off
	archive   *archive

	began     time.Time            // first start ever; zero: not known
	lockdown  bool                 // owned by the core goroutine
	watches   map[string]hostWatch // by incident, owned by the core goroutine
	proving   map[string]bool
	proveAt   map[string]time.Time
	proofs    map[string]proofs
	refreshAt time.Time
	kept      Holding // what the policy file says of where hosts are
	brief     brief   // owned by the core goroutine
	drill     exercise
	chase     chase // of what the inventory learns of held devices
	work      sync.WaitGroup

	view     atomic.Pointer[View]
	dummies  atomic.Pointer[map[flow.MAC]string] // devices of drills: they are not the office's
	health   atomic.Pointer[health.Report]
	watchers subscribers
}

// View is a consistent snapshot for those who only look.
type View struct {
	Incidents []incident.Incident // oldest first
	Suspect   string              // id of the incident that a press means, or empty
	Lockdown  bool
	Limits    incident.Limits // how far it may go by itself
	Drills    []drill.Drill   // newest first
	Status    hal.Status
}

// result is what became of a command.
type result struct {
	id string
	in incident.Input
}

// New joins the parts. Incidents that the store kept are taken up when Run
// begins.
func New(c Config, p Parts) (*Gateway, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	g := &Gateway{
		cfg: c, parts: p, log: p.Log, now: p.Now, desk: incident.NewDesk(c.Policy),
		sightings: make(chan sighting, 256), results: make(chan result, 64), requests: make(chan func()), entries: make(chan ledger.Entry, 256), flushes: make(chan chan struct{}),
		recorded: map[string]int{}, unsaved: map[asset.ID]bool{},
		watches: map[string]hostWatch{}, proving: map[string]bool{}, proveAt: map[string]time.Time{}, proofs: map[string]proofs{},
		faults: p.faults,
	}
	if g.faults == nil {
		g.faults = newFaults()
	}
	g.custody = &custody{cfg: c, parts: p, log: p.Log.With("component", "custody"), now: p.Now, flows: g.flowStats}
	g.watcher = &watcher{source: p.Source, spool: p.Spool, pipeline: p.Pipeline, now: p.Now, found: g.sightings,
		memory: newMemory(c.StateDir), log: p.Log.With("component", "watcher")}
	g.view.Store(&View{})
	g.archive = &archive{
		vault: p.Vault, ledger: p.Ledger, store: p.Store, policy: c.Retention, disk: c.Evidence,
		log: p.Log.With("component", "archive"), now: p.Now, synced: clockSynchronised, poke: make(chan struct{}, 1),
		gone: g.forget, sweep: g.sweepFindings, report: func(err error) { g.settle("archive", err) }, noted: func(err error) { g.settle("size", err) },
	}
	g.openRemote()
	return g, nil
}

// Run runs until ctx ends or a part that the gateway cannot do without fails.
// The policy is in the kernel already (see Open). It leaves the policy there.
func (g *Gateway) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	page, err := g.page(ctx, g.log)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: page, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	group.Go(func() error { return g.watcher.run(ctx) })
	group.Go(func() error {
		defer close(g.entries)
		return g.core(ctx)
	})
	group.Go(g.keepLedger)
	g.attend(ctx, group, "memory", g.keepMemory)
	group.Go(func() error { return g.parts.Contain.Run(ctx) })
	// What follows may fail without taking the rest along.
	g.attend(ctx, group, "panel", g.parts.Panel.Run)
	g.attend(ctx, group, "health", g.attendHealth)
	if g.cfg.Eve.File != "" {
		g.attend(ctx, group, "eve", g.follower().Run)
	}
	for name, s := range g.services() {
		g.attend(ctx, group, name, s.Run)
	}
	g.attend(ctx, group, "web", func(context.Context) error {
		if err := server.Serve(g.parts.Listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	err = group.Wait()
	g.work.Wait()
	g.unplug()
	g.lastMemory()
	for _, w := range g.watches {
		w.Close()
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// services are all parts that only have to run.
func (g *Gateway) services() map[string]Service {
	all := maps.Clone(g.parts.Services)
	if all == nil {
		all = map[string]Service{}
	}
	all["archive"] = g.archive
	if g.remote != nil {
		all["remote"] = g.remote
	}
	if g.parts.Copies != nil {
		all["copies"] = g.parts.Copies
	}
	return all
}

// attend runs a part; when it fails that is a fault to show, not an end.
func (g *Gateway) attend(ctx context.Context, group *errgroup.Group, name string, run func(context.Context) error) {
	group.Go(func() error {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			g.log.Error("part stopped", "component", name, "err", err)
			g.faults.set(name, err)
		}
		return nil
	})
}

// Devices returns every device of the office that is known.
func (g *Gateway) Devices() []asset.Asset { return g.office(g.parts.Pipeline.inventory.All()) }

// View returns the present snapshot.
func (g *Gateway) View() View { return *g.view.Load() }
