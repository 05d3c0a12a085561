package netcontain

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrUnderWay is what Prompt.Apply returns of a policy that its Enforcer is still
// putting in force.
var ErrUnderWay = errors.New("not done yet; it goes on in the background")

// Prompt keeps an Enforcer that asks somebody who may hang, such as hostapd, from
// delaying the next isolation, which is of another host. Apply waits a moment
// only. What is not done by then goes on, until the Enforcer's own limit in time or
// the next policy, which replaces it; a Reconciler sees whether it was done.
//
// The Enforcer must have such a limit, and end soon when its context does.
type Prompt struct {
	enforcer Enforcer
	within   time.Duration

	mu   sync.Mutex
	work work // the latest Apply
}

var _ Enforcer = (*Prompt)(nil)

// work is an Apply that is under way, or has ended.
type work struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

// NewPrompt returns e, whose Apply is waited for for so long.
func NewPrompt(e Enforcer, within time.Duration) *Prompt {
	w := work{cancel: func() {}, ended: make(chan struct{})}
	close(w.ended)
	return &Prompt{enforcer: e, within: within, work: w}
}

// Apply returns what the Enforcer returned, or ErrUnderWay.
func (p *Prompt) Apply(ctx context.Context, policy Policy) error {
	done := p.begin(ctx, policy)
	late := time.NewTimer(p.within)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return ErrUnderWay
	}
}

// begin puts this policy in the place of the one before. The caller's context
// counts until then only: it ends when Apply has returned.
func (p *Prompt) begin(ctx context.Context, policy Policy) <-chan error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.work.cancel()
	<-p.work.ended
	done := make(chan error, 1)
	if err := ctx.Err(); err != nil {
		done <- err
		return done
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := work{cancel, make(chan struct{})}
	p.work = w
	go func() {
		defer close(w.ended)
		defer cancel()
		done <- p.enforcer.Apply(ctx, policy)
	}()
	return done
}

// Observed waits, as long as ctx lets it, for what is under way: to answer before
// would have it begun again and again.
func (p *Prompt) Observed(ctx context.Context) (Policy, error) {
	p.mu.Lock()
	w := p.work
	p.mu.Unlock()
	select {
	case <-w.ended:
		return p.enforcer.Observed(ctx)
	case <-ctx.Done():
		return Policy{}, ctx.Err()
	}
}
