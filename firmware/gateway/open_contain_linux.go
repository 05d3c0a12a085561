package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"sekisho/firmware/flow"
	"sekisho/netcontain"
	"sekisho/netcontain/neigh"
	"sekisho/netcontain/nft"
	"sekisho/netcontain/plan"
	"sekisho/netcontain/probe"
	"sekisho/netcontain/refuge"
	"sekisho/netcontain/vlan"
	"sekisho/netcontain/wifi"
)

// quarantineDevice is the device of the quarantine VLAN, as netcontain/vlan
// names it; empty when there is none.
func (o *opening) quarantineDevice() string {
	n := o.config.Network
	if n.QuarantineVLAN == 0 {
		return ""
	}
	return fmt.Sprintf("%s.%d", n.Bridge, n.QuarantineVLAN)
}

// reconciler builds the mechanisms and what keeps them at the policy.
func (o *opening) reconciler() (*netcontain.Reconciler, error) {
	n := o.config.Network
	sets, err := o.sets()
	if err != nil {
		return nil, err
	}
	ports, err := vlan.New(vlan.Config{
		Bridge: n.Bridge, Uplink: n.WAN, VLAN: n.QuarantineVLAN, Address: n.Quarantine, Flap: vlan.DefaultFlap,
		Log: o.log.With("component", "vlan"),
	})
	if err != nil {
		return nil, err
	}
	o.opened(ports)
	o.wire = &wire{net: o.network, enforcer: sets, vlan: ports, now: time.Now, can: plan.Network{
		VLAN: n.QuarantineVLAN, AccessPoints: n.WiFi, Segment: n.Segment, Switches: map[string]bool{},
	}}
	for _, port := range n.Switches {
		o.wire.can.Switches[port] = true
	}
	if device := o.quarantineDevice(); device != "" {
		o.wire.away = away{device, n.Quarantine}
	}
	more := map[netcontain.Mechanism]netcontain.Enforcer{netcontain.ByVLAN: ports}
	if n.Segment {
		if err := o.segment(sets, more); err != nil {
			return nil, err
		}
	}
	if len(n.WiFi) > 0 {
		if err := o.radio(more); err != nil {
			return nil, err
		}
	}
	changes, err := o.changes()
	if err != nil {
		return nil, err
	}
	return netcontain.NewReconciler(netcontain.Config{
		Enforcer: netcontain.Layers{Base: sets, More: more}, Log: o.log.With("component", "netcontain"),
		Refine: o.wire.refine, Changes: changes,
		OnDrift: o.drifted,
	})
}

// drifted shows what the reconciler, which has logged it, could not repair. When
// all is as asked, so is what a press had missed.
func (o *opening) drifted(_ netcontain.Drift, err error) {
	if !netcontain.SetsInForce(err) {
		o.faults.set("drift", err)
		return
	}
	o.faults.clear("drift")
	if err != nil {
		o.faults.set("mechanism", err)
	} else {
		o.faults.clear("mechanism")
	}
}

// sets opens the mechanism that holds everybody.
func (o *opening) sets() (*nft.Enforcer, error) {
	n := o.config.Network
	c := nft.Config{Bridge: n.Bridge, WAN: n.WAN, Refuge: nft.Refuge{DNS: refugeDNS, HTTP: refugeHTTP}}
	if o.quarantineDevice() != "" {
		c.Quarantine, c.Quarantine6 = n.Quarantine, refuge.UniqueLocal(o.network.BridgeMAC[:])
	}
	sets, err := nft.New(c)
	if err != nil {
		return nil, err
	}
	o.opened(sets)
	return sets, o.allowNames(n.DNSMasq, n.AllowNames)
}

// allowNames writes the settings that make dnsmasq fill the sets of names. An
// unchanged file is left alone: whoever watches it would start dnsmasq anew.
func (o *opening) allowNames(path string, names []string) error {
	text := nft.AllowFile(names)
	have, err := os.ReadFile(path)
	if path == "" || err == nil && string(have) == string(text) || err != nil && len(names) == 0 {
		return nil
	}
	err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o644)) // dnsmasq is another user
	if err != nil {
		o.log.Error("names of the allow list cannot be told to dnsmasq", "err", err)
		o.faults.set("names", err)
	}
	return nil // the office and isolation do without
}

func (o *opening) segment(sets *nft.Enforcer, more map[netcontain.Mechanism]netcontain.Enforcer) error {
	s, err := neigh.New(neigh.Config{
		Bridge: o.network.Bridge, Neighbours: o.wire.onSegment, Never: sets.Never, Now: time.Now, Log: o.log.With("component", "segment"),
	})
	if err != nil {
		return err
	}
	o.opened(s)
	o.run("segment", s.Run)
	o.nowhere = flow.MAC(s.Nowhere())
	more[netcontain.BySegment] = s
	return nil
}

// wifiWithin is how long an isolation waits for access points. hostapd answers in
// less than a millisecond; whoever is isolated next must not wait for one that
// hangs.
const wifiWithin = 50 * time.Millisecond

func (o *opening) radio(more map[netcontain.Mechanism]netcontain.Enforcer) error {
	n := o.config.Network
	c := wifi.Config{
		Folder: n.Hostapd, Interfaces: n.WiFi, DenyFolder: filepath.Join(o.config.Storage.State, "hostapd"),
		Log: o.log.With("component", "wifi"),
	}
	if err := os.MkdirAll(c.DenyFolder, 0o755); err != nil { // hostapd reads it
		return fmt.Errorf("folder of the lists that hostapd reads when it starts: %w", err)
	}
	e, err := wifi.New(c)
	if err != nil {
		return err
	}
	w, err := wifi.NewWatcher(c)
	if err != nil {
		return err
	}
	more[netcontain.ByWiFi] = netcontain.NewPrompt(e, wifiWithin)
	o.run("wifi", w.Run)
	o.noticed = append(o.noticed, w.Changes())
	return nil
}

// changes joins everything that says that a look at the kernel is due.
func (o *opening) changes() (<-chan struct{}, error) {
	kernel, err := nft.NewChanges()
	if err != nil {
		return nil, err
	}
	o.opened(kernel)
	o.run("changes", kernel.Run)
	all := make(chan struct{}, 1)
	for _, c := range append(o.noticed, kernel.C()) {
		o.run("", func(ctx context.Context) error { return forward(ctx, c, all) })
	}
	return all, nil
}

func forward(ctx context.Context, from <-chan struct{}, to chan<- struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-from:
		}
		select {
		case to <- struct{}{}:
		default: // a look is due already
		}
	}
}

// run notes what has to run beside containment; see companions.
func (o *opening) run(name string, fn func(context.Context) error) {
	o.beside = append(o.beside, companion{name, fn})
}

// companion is one thing that runs beside containment. It returns nil when its
// context ends.
type companion struct {
	name string
	run  func(context.Context) error
}

func (o *opening) companionFailed(name string, err error) {
	o.log.Error("part of containment stopped", "part", name, "err", err)
	o.faults.set("containment", fmt.Errorf("%s: %w", name, err))
}

// companions is the Service of all of them. One that fails is told, and the
// others go on.
type companions struct {
	all    []companion
	failed func(name string, err error)
}

func (c companions) Run(ctx context.Context) error {
	var group errgroup.Group
	for _, one := range c.all {
		group.Go(func() error {
			if err := one.run(ctx); err != nil && ctx.Err() == nil {
				c.failed(one.name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// addrsOf is what the gateway is called in the quarantine VLAN: its address, and
// the link-local one that the kernel makes from its MAC.
func addrsOf(quarantine netip.Prefix, mac flow.MAC) []netip.Addr {
	return []netip.Addr{quarantine.Addr(), probe.LinkLocal(netcontain.MAC(mac))}
}
