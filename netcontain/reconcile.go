package netcontain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// AlteredError is what Observed returns when the enforcer's own rules are
// there but are not what it put there. The remedy is to Apply again.
type AlteredError struct{ What string }

func (e *AlteredError) Error() string { return "rules altered: " + e.What }

// OutdatedError is what Observed returns when the enforcer's own rules are what
// it put there, but the gateway itself has changed since, such as its own
// addresses. Hosts are held all the while; to Apply again brings it up to date.
type OutdatedError struct{ What string }

func (e *OutdatedError) Error() string { return "rules out of date: " + e.What }

// DefaultEvery is how often a Reconciler looks without being told to.
const DefaultEvery = 500 * time.Millisecond

// Config says what a Reconciler works with.
type Config struct {
	Enforcer Enforcer     // required
	Log      *slog.Logger // required

	// Every is the longest time between two looks; DefaultEvery when zero.
	Every time.Duration
	// Changes makes it look at once, nil when the enforcer cannot tell.
	Changes <-chan struct{}
	// OnDrift is told of every drift found, after the attempt to repair it,
	// with the error of that attempt; and, with an empty Drift and no error, when
	// what Set or a look could not do is done. It must not block. It may be nil.
	OnDrift func(Drift, error)
	// Refine adds what only the present network knows (netcontain/plan: the
	// ports of a host). It runs before every comparison, after what was altered
	// has been put back. When it fails, hosts are held as they were, and new ones
	// by what the policy says. It may be nil.
	Refine func(Policy) (Policy, error)
}

// ErrGaveWay is what Check returns when it was cut short by a Set, which applies
// the whole policy.
var ErrGaveWay = errors.New("gave way to a new policy")

// Reconciler keeps the kernel at the desired policy, also when something else
// changes the kernel. All methods may be called from several goroutines.
type Reconciler struct {
	cfg Config

	mu      sync.Mutex
	desired Policy
	known   bool   // Set was called: before that there is nothing to defend
	applied Policy // desired as last refined and handed to the Enforcer
	failing bool   // the last Set or look had an error

	turn    turn
	refines said // of refine; mu guards it
	looks   said // of Run
}

// NewReconciler returns a Reconciler that wants nothing yet.
func NewReconciler(cfg Config) (*Reconciler, error) {
	if cfg.Enforcer == nil {
		return nil, errors.New("reconciler: no Enforcer")
	}
	if cfg.Log == nil {
		return nil, errors.New("reconciler: no Log")
	}
	if cfg.Every <= 0 {
		cfg.Every = DefaultEvery
	}
	return &Reconciler{cfg: cfg}, nil
}

// Set makes p the desired policy and applies it before it returns. A host with
// nothing to recognise it by is left out. A policy that is invalid otherwise, or
// that would hold the gateway itself, is refused and the one before stays. After
// any other error p stays desired, and Run goes on trying. It does not wait for a
// look that is under way: an access point that hangs must not delay a press.
func (r *Reconciler) Set(ctx context.Context, p Policy) error {
	p = r.recognisable(p)
	if err := p.Validate(); err != nil {
		return fmt.Errorf("set policy: %w", err)
	}
	r.turn.first()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn.taken()
	refined := r.refine(p)
	err := r.cfg.Enforcer.Apply(ctx, refined)
	if errors.Is(err, ErrNever) {
		return fmt.Errorf("set policy: %w", err)
	}
	r.desired, r.known, r.applied, r.failing = p.Canonical(), true, refined, err != nil
	if err != nil {
		return fmt.Errorf("set policy: %w", err)
	}
	return nil
}

// recognisable leaves out hosts that nothing is known of: one of them must not
// stop the containment of the others.
func (r *Reconciler) recognisable(p Policy) Policy {
	p.Hosts = slices.DeleteFunc(slices.Clone(p.Hosts), func(h Host) bool {
		none := len(h.MACs)+len(h.Addrs)+len(h.Ports) == 0
		if none {
			r.cfg.Log.Warn("host has neither MAC nor address and cannot be held", "host", h.ID)
		}
		return none
	})
	return p
}

// Desired returns what Set was last given, in canonical form.
func (r *Reconciler) Desired() Policy {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.desired.Canonical()
}

// refine falls back to the bare policy for hosts that are new: containment by
// MAC and address must not wait for what the bridge knows. Whoever is held by
// more already stays so: a look at the network that fails once must not give a
// port back.
func (r *Reconciler) refine(p Policy) Policy {
	if r.cfg.Refine == nil {
		return p
	}
	refined, err := r.cfg.Refine(p)
	if err == nil {
		return refined
	}
	if r.refines.news(err.Error()) {
		r.cfg.Log.Warn("the network cannot be looked at; hosts are held as before", "err", err)
	}
	return p.heldAs(r.applied)
}

// heldAs returns p with the ports and mechanisms that its hosts have in before.
func (p Policy) heldAs(before Policy) Policy {
	p.Hosts = slices.Clone(p.Hosts)
	for i, h := range p.Hosts {
		at := slices.IndexFunc(before.Hosts, func(b Host) bool { return b.ID == h.ID && b.Level == h.Level })
		if at >= 0 {
			b := before.Hosts[at]
			p.Hosts[i].Ports, p.Hosts[i].By, p.Hosts[i].Shared = slices.Concat(h.Ports, b.Ports), slices.Clone(b.By), slices.Clone(b.Shared)
		}
	}
	return p
}

// Check looks once and repairs what it finds. It returns the drift that was
// there before, empty when there was none, and the error of the look or the
// repair; ErrGaveWay when a Set came in between.
func (r *Reconciler) Check(ctx context.Context) (Drift, error) {
	drift, over, err := r.check(ctx)
	if over && r.cfg.OnDrift != nil {
		r.cfg.OnDrift(Drift{}, nil)
	}
	return drift, err
}

// check also says that a failure is over.
func (r *Reconciler) check(ctx context.Context) (drift Drift, over bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known {
		return Drift{}, false, nil
	}
	ctx, end := r.turn.begin(ctx)
	defer end()
	drift, err = r.look(ctx)
	if err != nil && errors.Is(context.Cause(ctx), ErrGaveWay) {
		return Drift{}, false, ErrGaveWay
	}
	over = r.failing && err == nil
	r.failing = err != nil
	return drift, over, err
}

// look wants mu held.
func (r *Reconciler) look(ctx context.Context) (Drift, error) {
	observed, err := r.cfg.Enforcer.Observed(ctx)
	var altered *AlteredError
	var outdated *OutdatedError
	var restored error
	if errors.As(err, &altered) {
		// What was in force goes back first: to ask the network how it is now takes
		// longer, and it has learnt from what got through meanwhile.
		restored = r.cfg.Enforcer.Apply(ctx, r.applied)
	}
	want := r.refine(r.desired)
	drift := Diff(want, observed)
	switch {
	case errors.As(err, &outdated):
		r.cfg.Log.Debug("containment follows the gateway", "what", outdated.What)
	case altered != nil:
		drift.Altered = altered.What
		if restored == nil && Diff(want, r.applied).Empty() {
			return drift, nil
		}
	case err != nil:
		return Drift{}, fmt.Errorf("observe containment: %w", err)
	case drift.Empty():
		return drift, nil
	}
	r.applied = want
	if err := r.cfg.Enforcer.Apply(ctx, want); err != nil {
		return drift, fmt.Errorf("repair containment: %w", err)
	}
	return drift, nil
}

// longestRest bounds how much later than a change a look may begin.
const longestRest = 50 * time.Millisecond

// Run looks at every change and at least every Config.Every until ctx ends,
// and returns nil then: no failure of the kernel may stop the defence. After each
// look it rests for as long as that took: whoever has a cable or a radio come and
// go all the time costs half a processor and no more.
func (r *Reconciler) Run(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Every)
	defer tick.Stop()
	changes := r.cfg.Changes
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-changes:
			if !open {
				changes = nil // the ticker remains
				continue
			}
		case <-tick.C:
		}
		began := time.Now()
		drift, err := r.Check(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, ErrGaveWay) {
			r.report(drift, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(time.Since(began), longestRest)):
		}
	}
}

// report tells the log and OnDrift. What goes on, or comes again and again, has
// one line a minute.
func (r *Reconciler) report(drift Drift, err error) {
	if err == nil && drift.Empty() {
		return
	}
	switch {
	case !r.looks.news(fmt.Sprint(drift, err)):
	case err != nil:
		r.cfg.Log.Error("containment not as asked", "drift", drift.String(), "err", err)
	default:
		r.cfg.Log.Warn("containment repaired", "drift", drift.String())
	}
	if r.cfg.OnDrift != nil {
		r.cfg.OnDrift(drift, err)
	}
}
