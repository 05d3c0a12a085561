package netcontain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Layers is an Enforcer made of several. Base holds every host, by sets; each
// of More holds, in a way of its own, those hosts whose Host.By names it.
//
// An Enforcer in More takes policies of its hosts alone. Its Observed returns
// those that it holds wholly, by Host.ID, with By naming it, and Shared where it
// is about that; what it holds for nobody it knows comes back under an ID that
// no host has, so that the next Apply lets go of it.
type Layers struct {
	Base Enforcer
	More map[Mechanism]Enforcer
}

var _ Enforcer = Layers{}

// Apply lets Base hold the hosts first: it takes effect at once, and refuses a
// policy that must not be. A layer of More that fails keeps no other from its
// work.
func (l Layers) Apply(ctx context.Context, p Policy) error {
	err := l.Base.Apply(ctx, p.only(BySets))
	if errors.Is(err, ErrNever) {
		return err
	}
	errs := []error{err}
	for _, m := range slices.Sorted(maps.Keys(l.More)) {
		if err := l.More[m].Apply(ctx, p.only(m)); err != nil {
			errs = append(errs, &LayerError{By: m, Err: err})
		}
	}
	return errors.Join(errs...)
}

// LayerError is what Layers.Apply returns of a layer in More. The sets are in
// force all the same.
type LayerError struct {
	By  Mechanism
	Err error
}

func (e *LayerError) Error() string { return fmt.Sprintf("hold by %s: %v", e.By, e.Err) }

// Unwrap returns the layer's own error.
func (e *LayerError) Unwrap() error { return e.Err }

// SetsInForce says whether the sets hold the whole policy, going by what Apply,
// Reconciler.Set or Check returned: there was no error, or none but of other
// layers. Whoever keeps the office waiting for containment asks this: an access
// point that hangs must not keep every port down.
func SetsInForce(err error) bool {
	switch e := err.(type) {
	case nil, *LayerError:
		return true
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(e.Unwrap(), func(err error) bool { return !SetsInForce(err) })
	case interface{ Unwrap() error }:
		inner := e.Unwrap()
		return inner != nil && SetsInForce(inner)
	}
	return false
}

// Observed joins what the layers hold. A layer of More that cannot tell is
// reported as altered, so that it is applied again and the others with it; one
// that is out of date holds all the same.
func (l Layers) Observed(ctx context.Context) (Policy, error) {
	p, err := l.Base.Observed(ctx)
	var altered *AlteredError
	var outdated *OutdatedError
	if err != nil && !errors.As(err, &altered) && !errors.As(err, &outdated) {
		return p, err
	}
	for _, m := range slices.Sorted(maps.Keys(l.More)) {
		held, heldErr := l.More[m].Observed(ctx)
		switch {
		case errors.As(heldErr, &outdated):
			if err == nil {
				err = outdated
			}
		case heldErr != nil && altered == nil:
			altered = &AlteredError{What: fmt.Sprintf("held by %s: %v", m, heldErr)}
			err = altered
		}
		p.join(m, held)
	}
	return p.Canonical(), err
}

// only returns what one layer has to hold. The sets hold everything.
func (p Policy) only(m Mechanism) Policy {
	out := Policy{Allow: p.Allow, Lockdown: p.Lockdown}
	if m != BySets {
		out = Policy{}
	}
	for _, h := range p.Hosts {
		if m == BySets {
			h.By, h.Shared = nil, nil
		} else if !slices.Contains(h.By, m) {
			continue
		}
		out.Hosts = append(out.Hosts, h)
	}
	return out
}

// join adds to the hosts of p that the layer m holds them too.
func (p *Policy) join(m Mechanism, held Policy) {
	for _, h := range held.Hosts {
		i := slices.IndexFunc(p.Hosts, func(have Host) bool { return have.ID == h.ID })
		if i < 0 {
			h.By = []Mechanism{m}
			p.Hosts = append(p.Hosts, h)
			continue
		}
		p.Hosts[i].By = append(p.Hosts[i].By, m)
		p.Hosts[i].Shared = append(p.Hosts[i].Shared, h.Shared...)
	}
}
