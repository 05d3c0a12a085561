package netcontain_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"sekisho/netcontain"
	"sekisho/netcontain/netcontaintest"
)

// layer holds hosts in memory, as one of Layers.More does.
type layer struct {
	netcontaintest.Fake
	blind error // of Observed
}

func (l *layer) Observed(ctx context.Context) (netcontain.Policy, error) {
	p, _ := l.Fake.Observed(ctx)
	return p, l.blind
}

func twoLayers() (netcontain.Layers, *netcontaintest.Fake, *layer) {
	base, vlan := &netcontaintest.Fake{}, &layer{}
	return netcontain.Layers{Base: base, More: map[netcontain.Mechanism]netcontain.Enforcer{netcontain.ByVLAN: vlan}}, base, vlan
}

// both is a policy with one host held by the sets alone, and one by VLAN too.
func both() netcontain.Policy {
	p := isolated("plain", "alone")
	p.Hosts[1].Ports, p.Hosts[1].By = []string{"lan2"}, []netcontain.Mechanism{netcontain.ByVLAN}
	return p
}

func TestEachLayerGetsItsHostsAndTogetherTheyHoldThePolicy(t *testing.T) {
	l, base, vlan := twoLayers()
	if err := l.Apply(t.Context(), both()); err != nil {
		t.Fatal(err)
	}
	got, err := l.Observed(t.Context())
	if d := netcontain.Diff(both(), got); err != nil || !d.Empty() {
		t.Errorf("drift %s, error %v", d, err)
	}
	if p, _ := base.Observed(t.Context()); len(p.Hosts) != 2 || p.Hosts[0].By != nil {
		t.Errorf("the base holds %+v", p.Hosts)
	}
	if p, _ := vlan.Observed(t.Context()); len(p.Hosts) != 1 || p.Hosts[0].ID != "alone" {
		t.Errorf("the layer holds %+v", p.Hosts)
	}
}

func TestWhatALayerLostOrHoldsForNobodyIsDrift(t *testing.T) {
	l, _, vlan := twoLayers()
	if err := l.Apply(t.Context(), both()); err != nil {
		t.Fatal(err)
	}
	vlan.Tamper(netcontain.Policy{Hosts: []netcontain.Host{{ID: "stray port", Ports: []string{"lan4"}, Level: netcontain.Isolate}}})
	got, err := l.Observed(t.Context())
	d := netcontain.Diff(both(), got)
	if err != nil || len(d.Changed) != 1 || d.Changed[0].ID != "alone" || len(d.Extra) != 1 || d.Extra[0].ID != "stray port" {
		t.Errorf("drift %s, error %v", d, err)
	}
}

func TestAFailingLayerKeepsNobodyFromBeingHeld(t *testing.T) {
	l, base, vlan := twoLayers()
	broken := errors.New("no such device")
	vlan.Fail(broken)
	if err := l.Apply(t.Context(), both()); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if p, _ := base.Observed(t.Context()); len(p.Hosts) != 2 {
		t.Errorf("the base holds %+v", p.Hosts)
	}
	base.Fail(broken)
	vlan.Fail(nil)
	if err := l.Apply(t.Context(), both()); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if p, _ := vlan.Fake.Observed(t.Context()); len(p.Hosts) != 1 {
		t.Errorf("the layer holds %+v", p.Hosts)
	}
}

func TestAFailingLayerIsToldFromFailingSets(t *testing.T) {
	l, base, vlan := twoLayers()
	r, err := netcontain.NewReconciler(netcontain.Config{Enforcer: l, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Set(t.Context(), both()); !netcontain.SetsInForce(err) {
		t.Errorf("no error: %v", err)
	}
	vlan.Fail(errors.Join(errors.New("port 2"), errors.New("port 3")))
	var layer *netcontain.LayerError
	if err := r.Set(t.Context(), isolated("another")); !netcontain.SetsInForce(err) || !errors.As(err, &layer) || layer.By != netcontain.ByVLAN {
		t.Errorf("only a layer failed: %v", err)
	}
	base.Fail(errors.New("no nftables"))
	if err := r.Set(t.Context(), both()); netcontain.SetsInForce(err) {
		t.Errorf("the sets failed too: %v", err)
	}
	vlan.Fail(nil)
	if err := r.Set(t.Context(), both()); netcontain.SetsInForce(err) {
		t.Errorf("the sets failed: %v", err)
	}
	if netcontain.SetsInForce(context.Canceled) || netcontain.SetsInForce(&netcontain.NeverError{}) {
		t.Error("an error of nobody's is taken for a layer's")
	}
}

func TestALayerThatCannotTellIsAppliedAgain(t *testing.T) {
	l, _, vlan := twoLayers()
	vlan.blind = errors.New("device is gone")
	r, err := netcontain.NewReconciler(netcontain.Config{Enforcer: l, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Set(t.Context(), both()); err != nil {
		t.Fatal(err)
	}
	before := vlan.Applied()
	if d, err := r.Check(t.Context()); err != nil || d.Altered == "" {
		t.Errorf("drift %s, error %v", d, err)
	}
	if vlan.Applied() != before+1 {
		t.Errorf("applied %d times more", vlan.Applied()-before)
	}
}

func TestALayerThatIsOutOfDateIsAppliedAgainWithoutDrift(t *testing.T) {
	l, _, vlan := twoLayers()
	r, err := netcontain.NewReconciler(netcontain.Config{Enforcer: l, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Set(t.Context(), both()); err != nil {
		t.Fatal(err)
	}
	vlan.blind = &netcontain.OutdatedError{What: "a link is to be set up again"}
	before := vlan.Applied()
	if d, err := r.Check(t.Context()); err != nil || !d.Empty() || vlan.Applied() != before+1 {
		t.Errorf("drift %s, error %v, applied %d times more", d, err, vlan.Applied()-before)
	}
	l.More[netcontain.ByWiFi] = &layer{blind: errors.New("device is gone")}
	var altered *netcontain.AlteredError
	if _, err := l.Observed(t.Context()); !errors.As(err, &altered) {
		t.Errorf("what is altered hides behind what is out of date: %v", err)
	}
}

func TestARefusedPolicyReachesNoLayer(t *testing.T) {
	l, base, vlan := twoLayers()
	p := both()
	p.Hosts[0].Addrs = append(p.Hosts[0].Addrs, gateway)
	base.NeverAddrs = append(base.NeverAddrs, gateway)
	if err := l.Apply(t.Context(), p); !errors.Is(err, netcontain.ErrNever) || vlan.Applied() != 0 {
		t.Errorf("error %v, applied %d times", err, vlan.Applied())
	}
}

func TestCanonicalSortsTheMechanisms(t *testing.T) {
	p := both()
	p.Hosts[1].By = []netcontain.Mechanism{netcontain.ByWiFi, netcontain.ByVLAN, netcontain.ByWiFi}
	i := slices.IndexFunc(p.Canonical().Hosts, func(h netcontain.Host) bool { return h.ID == "alone" })
	if by := p.Canonical().Hosts[i].By; !slices.Equal(by, []netcontain.Mechanism{netcontain.ByVLAN, netcontain.ByWiFi}) {
		t.Errorf("by %v", by)
	}
}

func TestLayersConform(t *testing.T) {
	l, base, _ := twoLayers()
	base.NeverAddrs = append(base.NeverAddrs, gateway)
	netcontaintest.Conform(t, l, gateway)
}
