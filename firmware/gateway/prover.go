package gateway

import (
	"context"
	"time"

	"sekisho/firmware/asset"
	"sekisho/netcontain"
	"sekisho/netcontain/nft"
	"sekisho/netcontain/plan"
	"sekisho/netcontain/probe"
)

// wire is the Prover on the real network.
type wire struct {
	net      *Network
	enforcer *nft.Enforcer
	devices  func() []asset.Asset // nil until the inventory is there
	now      func() time.Time
}

// A device that was not heard for five minutes is gone from the bridge's
// forwarding table (ageing time of IEEE 802.1D), but a colleague's machine that
// is off tonight still shares the port tomorrow: whoever was seen there in the
// last two weeks counts. A device that appeared within the hour does not: it may
// be one more address that the suspect invents.
const (
	neighbourFor   = 14 * 24 * time.Hour
	neighbourAfter = time.Hour
)

// neighbours adds remembered devices to the ports that the bridge knows now.
func neighbours(ports map[netcontain.MAC]string, all []asset.Asset, now time.Time) {
	for _, a := range all {
		mac := netcontain.MAC(a.MAC)
		if _, seen := ports[mac]; seen || a.Port == "" || a.MAC.IsZero() ||
			now.Sub(a.LastSeen) > neighbourFor || now.Sub(a.FirstSeen) < neighbourAfter {
			continue
		}
		ports[mac] = a.Port
	}
}

// Watch begins to watch every port and the uplink.
func (w *wire) Watch(ctx context.Context, h netcontain.Host) (Watch, error) {
	seen, err := w.observed()
	if err != nil {
		return nil, err
	}
	p := plan.Make(netcontain.Policy{Hosts: []netcontain.Host{h}}, seen, plan.Plan{})
	c := probe.Config{
		Ports: append(append([]string{}, w.net.Ports...), w.net.WAN), Bridge: w.net.Bridge, Host: h,
		Voices: []probe.Voice{{Device: w.net.Bridge, MAC: netcontain.MAC(w.net.BridgeMAC), Addrs: w.net.Addrs}},
	}
	if len(p.Holds) == 1 {
		c.Shared = p.Holds[0].BestEffort
		if len(p.Holds[0].Ports) == 1 {
			c.HostPort = p.Holds[0].Ports[0]
		}
	}
	return probe.Start(ctx, c)
}

// observed is the network as plan wants it.
func (w *wire) observed() (plan.Network, error) {
	ports, err := w.enforcer.Ports()
	if err != nil {
		return plan.Network{}, err
	}
	if w.devices != nil {
		neighbours(ports, w.devices(), w.now())
	}
	macs, addrs, err := w.enforcer.Never()
	return plan.Network{Ports: ports, NeverMACs: macs, NeverAddrs: addrs}, err
}

// refine gives a policy the ports that its hosts have for themselves, and
// keeps what it knew of hosts that the bridge has forgotten.
func (w *wire) refine() func(netcontain.Policy) (netcontain.Policy, error) {
	var previous plan.Plan
	return func(p netcontain.Policy) (netcontain.Policy, error) {
		seen, err := w.observed()
		if err != nil {
			return p, err
		}
		previous = plan.Make(p, seen, previous)
		return previous.Policy, nil
	}
}
