// Package netcontaintest has an Enforcer without a kernel, and the suite that
// every Enforcer must pass. Tests import it, nothing else does.
package netcontaintest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"sekisho/netcontain"
)

// Fake holds a policy in memory. The zero Fake is ready.
type Fake struct {
	NeverAddrs []netip.Addr // refused, as a real one refuses its gateway's

	mu      sync.Mutex
	held    netcontain.Policy
	applied int
	fail    error
}

var _ netcontain.Enforcer = (*Fake)(nil)

// Apply implements netcontain.Enforcer.
func (f *Fake) Apply(ctx context.Context, p netcontain.Policy) error {
	if err := errors.Join(ctx.Err(), p.Validate()); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	p = p.Canonical()
	for _, h := range p.Hosts {
		for _, a := range h.Addrs {
			if h.Level != netcontain.Watch && slices.Contains(f.NeverAddrs, a) {
				return &netcontain.NeverError{Host: h.ID, Entry: a.String(), Why: "the gateway's own address"}
			}
		}
	}
	f.applied++
	if f.fail != nil {
		return f.fail
	}
	f.held = p
	return nil
}

// Observed implements netcontain.Enforcer.
func (f *Fake) Observed(ctx context.Context) (netcontain.Policy, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held.Canonical(), ctx.Err()
}

// Tamper changes what is held behind the caller's back.
func (f *Fake) Tamper(p netcontain.Policy) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = p.Canonical()
}

// Fail makes every Apply fail with err, until called with nil.
func (f *Fake) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// Applied counts the calls of Apply that were not refused.
func (f *Fake) Applied() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applied
}

// Conform runs the suite over an Enforcer that holds nothing yet. never is an
// address that it must refuse.
func Conform(t *testing.T, e netcontain.Enforcer, never netip.Addr) {
	t.Helper()
	for _, s := range steps() {
		for _, turn := range []string{"once", "twice"} {
			if err := e.Apply(t.Context(), s.policy); err != nil {
				t.Fatalf("%s, %s: %v", s.name, turn, err)
			}
			got, err := e.Observed(t.Context())
			if err != nil {
				t.Fatalf("%s, %s: observed: %v", s.name, turn, err)
			}
			if d := netcontain.Diff(s.policy, got); !d.Empty() {
				t.Errorf("%s, %s: %s", s.name, turn, d)
			}
		}
	}
	held := steps()[0].policy
	if err := e.Apply(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	refused := netcontain.Policy{Hosts: []netcontain.Host{{ID: "x", Addrs: []netip.Addr{never}, Level: netcontain.Isolate}}}
	var n *netcontain.NeverError
	if err := e.Apply(t.Context(), refused); !errors.As(err, &n) || n.Host != "x" || n.Entry != never.String() {
		t.Errorf("address of the gateway: error %v", err)
	}
	if err := e.Apply(t.Context(), netcontain.Policy{Hosts: []netcontain.Host{{ID: "nothing"}}}); err == nil {
		t.Error("a host with nothing to recognise it by was taken")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Apply(ended, netcontain.Policy{}); err == nil {
		t.Error("applied although the context had ended")
	}
	got, err := e.Observed(t.Context())
	if d := netcontain.Diff(held, got); err != nil || !d.Empty() {
		t.Errorf("a refused policy changed what is held: %v, %v", d, err)
	}
}

type step struct {
	name   string
	policy netcontain.Policy
}

func steps() []step {
	host := func(i byte, l netcontain.Level) netcontain.Host {
		return netcontain.Host{
			ID: string(rune('a' + i)), Level: l, MACs: []netcontain.MAC{{2, 0, 0, 0, 1, i}, {2, 0, 0, 0, 2, i}},
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 100 + i}), netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: i + 1})},
		}
	}
	full := netcontain.Policy{
		Hosts: []netcontain.Host{host(0, netcontain.Isolate), host(1, netcontain.Limit), host(2, netcontain.Watch)},
		Allow: []netip.Prefix{
			netip.MustParsePrefix("203.0.113.0/25"), netip.MustParsePrefix("203.0.113.128/25"), netip.MustParsePrefix("240.0.0.0/4"),
			netip.MustParsePrefix("2001:db8:9::/48"), netip.MustParsePrefix("ff00::/8"),
		},
	}
	locked := full
	locked.Lockdown = true
	everything := netcontain.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}
	port := host(3, netcontain.Isolate)
	port.Ports = []string{"lan4"}
	rival := host(0, netcontain.Limit)
	rival.ID = "claims the same"
	rival.MACs = append(rival.MACs, netcontain.MAC{2, 9, 9, 9, 9, 9})
	return []step{
		{"all levels", full}, {"lockdown", locked}, {"lockdown ends", full},
		{"level changes", netcontain.Policy{Hosts: []netcontain.Host{host(0, netcontain.Limit), host(1, netcontain.Isolate)}}},
		{"allow everything", everything}, {"a port", netcontain.Policy{Hosts: []netcontain.Host{port}}},
		{"two claim one address", netcontain.Policy{Hosts: []netcontain.Host{host(0, netcontain.Isolate), rival}}},
		{"lockdown alone", netcontain.Policy{Lockdown: true}}, {"nothing", netcontain.Policy{}},
		{"address only", netcontain.Policy{Hosts: []netcontain.Host{{ID: "v4", Level: netcontain.Isolate, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.77")}}}}},
		{"nothing again", netcontain.Policy{}},
	}
}
