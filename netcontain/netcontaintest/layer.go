package netcontaintest

import (
	"context"
	"slices"
	"testing"

	"sekisho/netcontain"
)

// Layer is what ConformLayer tests: an Enforcer of netcontain.Layers.More that
// holds nobody yet.
type Layer struct {
	Enforcer netcontain.Enforcer
	By       netcontain.Mechanism
	Hosts    []netcontain.Host // two that it can hold, at once

	// Lose takes the hold on the first host away behind the Enforcer's back. It
	// may be nil for a layer that keeps nothing in the kernel.
	Lose func()
	// Settle is called after every Apply, for effects that come later. It may
	// be nil.
	Settle func()
}

// ConformLayer runs the suite. The layer holds nobody afterwards.
func ConformLayer(t *testing.T, l Layer) {
	t.Helper()
	a, b := l.Hosts[0], l.Hosts[1]
	for _, s := range []struct {
		name  string
		hosts []netcontain.Host
	}{
		{"nobody", nil}, {"one", []netcontain.Host{a}}, {"both", []netcontain.Host{b, a}}, {"the other", []netcontain.Host{b}},
		{"nobody again", nil}, {"both at once", l.Hosts},
	} {
		for _, turn := range []string{"once", "twice"} {
			l.apply(t, s.name+", "+turn, s.hosts)
			l.expect(t, s.name+", "+turn, s.hosts)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Enforcer.Apply(ended, netcontain.Policy{}); err == nil {
		t.Error("applied although the context had ended")
	}
	if err := l.Enforcer.Apply(t.Context(), netcontain.Policy{Hosts: []netcontain.Host{{ID: "nothing"}}}); err == nil {
		t.Error("a host with nothing to recognise it by was taken")
	}
	l.expect(t, "after a refusal", l.Hosts)
	if l.Lose != nil {
		l.Lose()
		if p, err := l.Enforcer.Observed(t.Context()); err == nil && slices.Contains(names(p), a.ID) {
			t.Error("a hold that was lost is not missed")
		}
		l.apply(t, "mend", l.Hosts)
		l.expect(t, "mended", l.Hosts)
	}
	l.apply(t, "end", nil)
	l.expect(t, "end", nil)
}

func (l Layer) apply(t *testing.T, name string, hosts []netcontain.Host) {
	t.Helper()
	p := netcontain.Policy{}
	for _, h := range hosts {
		h.By = []netcontain.Mechanism{l.By}
		p.Hosts = append(p.Hosts, h)
	}
	if err := l.Enforcer.Apply(t.Context(), p); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if l.Settle != nil {
		l.Settle()
	}
}

// expect compares what Observed says, as netcontain.Layers reads it: by ID, and
// Shared.
func (l Layer) expect(t *testing.T, name string, hosts []netcontain.Host) {
	t.Helper()
	got, err := l.Enforcer.Observed(t.Context())
	if err != nil {
		t.Errorf("%s: observed: %v", name, err)
	}
	want := netcontain.Policy{Hosts: hosts}
	if !slices.Equal(names(got), names(want)) {
		t.Errorf("%s: holds %q, want %q", name, names(got), names(want))
	}
	for _, h := range got.Hosts {
		i := slices.IndexFunc(hosts, func(w netcontain.Host) bool { return w.ID == h.ID })
		if i >= 0 && (!slices.Equal(h.By, []netcontain.Mechanism{l.By}) || !slices.Equal(h.Shared, hosts[i].Shared)) {
			t.Errorf("%s: %s is held by %q, shared %q", name, h.ID, h.By, h.Shared)
		}
	}
}

func names(p netcontain.Policy) []string {
	var out []string
	for _, h := range p.Hosts {
		out = append(out, h.ID)
	}
	slices.Sort(out)
	return out
}
