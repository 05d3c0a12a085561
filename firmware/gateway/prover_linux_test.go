package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
	"sekisho/netcontain"
	"sekisho/netcontain/nft"
	"sekisho/netcontain/nstest"
	"sekisho/netcontain/plan"
	"sekisho/netcontain/vlan"
)

// newWire is the wire of a bridge with one port, behind which the bridge has
// heard one device.
func newWire(t testing.TB, heard netcontain.MAC) *wire {
	t.Helper()
	ns := nstest.New(t)
	for _, c := range []string{
		"ip link add br0 type bridge", "ip link add lan1 type veth peer name to-lan1", "ip link set lan1 master br0 up",
		"sysctl -qw net.ipv6.conf.to-lan1.disable_ipv6=1", // it says nothing of its own
		"ip link set to-lan1 up", "ip link set br0 up", "ip addr add 192.168.77.1/24 dev br0",
		"bridge fdb add " + heard.String() + " dev lan1 master dynamic",
	} {
		ns.Run(t, c)
	}
	w := &wire{net: &Network{Bridge: "br0", WAN: "wan0"}, now: func() time.Time { return start }, can: plan.Network{}}
	var err error
	ns.Do(t, func() {
		var vlanErr error
		w.enforcer, err = nft.New(nft.Config{Bridge: "br0", WAN: "wan0"})
		w.vlan, vlanErr = vlan.New(vlan.Config{Bridge: "br0", Log: slog.New(slog.DiscardHandler)})
		err = errors.Join(err, vlanErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(w.enforcer.Close(), w.vlan.Close()) })
	return w
}

func TestNoPortIsChosenBeforeItIsKnownWhoIsSilentThere(t *testing.T) {
	held, silent := netcontain.MAC{2, 0, 0, 0, 0, 1}, netcontain.MAC{2, 0, 0, 0, 0, 2}
	p := netcontain.Policy{Hosts: []netcontain.Host{{ID: "i", MACs: []netcontain.MAC{held}, Level: netcontain.Isolate}}}
	ports := func(w *wire) []string {
		t.Helper()
		got, err := w.refine(p)
		if err != nil || len(got.Hosts) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		return got.Hosts[0].Ports
	}
	w := newWire(t, held)
	if got := ports(w); len(got) != 0 {
		t.Errorf("%q chosen without the inventory", got)
	}
	w.devices = func() []asset.Asset {
		return []asset.Asset{{MAC: flow.MAC(silent), Port: "lan1", FirstSeen: start.Add(-24 * time.Hour), LastSeen: start.Add(-12 * time.Hour)}}
	}
	if got := ports(w); len(got) != 0 {
		t.Errorf("%q is held whole, with a colleague behind it", got)
	}

	w = newWire(t, held)
	w.devices = func() []asset.Asset { return nil }
	if got := ports(w); !slices.Equal(got, []string{"lan1"}) {
		t.Errorf("alone on its port, and %q is held", got)
	}
	w.devices = nil // a restart
	if got := ports(w); !slices.Equal(got, []string{"lan1"}) {
		t.Errorf("what was chosen before is forgotten: %q", got)
	}
}

func TestAClockThatWentBackMakesNobodyANewcomer(t *testing.T) {
	held, colleague := netcontain.MAC{2, 0, 0, 0, 0, 1}, netcontain.MAC{2, 0, 0, 0, 0, 2}
	w := newWire(t, colleague)
	w.devices = func() []asset.Asset {
		return []asset.Asset{
			{MAC: flow.MAC(held), Port: "lan1", FirstSeen: start.Add(29 * 24 * time.Hour), LastSeen: start.Add(30 * 24 * time.Hour)},
			{MAC: flow.MAC(colleague), Port: "lan1", FirstSeen: start.Add(30 * 24 * time.Hour), LastSeen: start.Add(30 * 24 * time.Hour)},
		}
	}
	got, err := w.refine(netcontain.Policy{Hosts: []netcontain.Host{{ID: "i", MACs: []netcontain.MAC{held}, Level: netcontain.Isolate}}})
	if hold, _ := w.Hold("i"); err != nil || len(got.Hosts[0].Ports) != 0 || hold.Neighbours != 1 {
		t.Errorf("%+v, %+v, %v", got, hold, err)
	}
}

// BenchmarkLook is what the reconciler's look costs, twice a second for as long as
// the gateway runs, with 250 devices and some of them held.
func BenchmarkLook(b *testing.B) {
	for _, held := range []int{0, 1, 50} {
		b.Run(fmt.Sprint(held), func(b *testing.B) {
			w := newWire(b, netcontain.MAC{2, 0, 0, 0, 0, 1})
			var all []asset.Asset
			var p netcontain.Policy
			for i := range 250 {
				all = append(all, asset.Asset{MAC: flow.MAC{2, 0, 0, 0, 1, byte(i)}, Port: "lan1", FirstSeen: start.Add(-24 * time.Hour), LastSeen: start})
				if i < held {
					p.Hosts = append(p.Hosts, netcontain.Host{ID: fmt.Sprint(i), MACs: []netcontain.MAC{netcontain.MAC(all[i].MAC)}, Level: netcontain.Isolate})
				}
			}
			w.devices = func() []asset.Asset { return all }
			r, err := netcontain.NewReconciler(netcontain.Config{
				Enforcer: netcontain.Layers{Base: w.enforcer, More: map[netcontain.Mechanism]netcontain.Enforcer{netcontain.ByVLAN: w.vlan}},
				Log:      slog.New(slog.DiscardHandler), Refine: w.refine,
			})
			if err == nil {
				err = r.Set(b.Context(), p)
			}
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if d, err := r.Check(b.Context()); err != nil || !d.Empty() {
					b.Fatal(d, err)
				}
			}
		})
	}
}
