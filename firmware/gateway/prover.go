package gateway

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sekisho/firmware/asset"
	"sekisho/netcontain"
	"sekisho/netcontain/neigh"
	"sekisho/netcontain/nft"
	"sekisho/netcontain/plan"
	"sekisho/netcontain/probe"
	"sekisho/netcontain/vlan"
)

// wire is the network as containment sees it: the Prover, and what plan chooses
// mechanisms by.
type wire struct {
	net      *Network
	enforcer *nft.Enforcer
	vlan     *vlan.Enforcer
	can      plan.Network         // what the settings allow, without anything observed
	away     away                 // the quarantine's, if there is one
	devices  func() []asset.Asset // nil while nobody can tell
	now      func() time.Time

	mu    sync.Mutex
	last  plan.Plan
	since map[string]time.Time // when containment began, by Host.ID
}

// away is where hosts are that are held by VLAN.
type away struct {
	device string
	prefix netip.Prefix // the gateway's address there
}

// Holding is what has to outlive a restart beside the policy: where held hosts
// were, and with whom. Without it a port could not be held again before its host
// has spoken there.
type Holding struct {
	Memory plan.Memory          `json:"memory,omitempty"`
	Since  map[string]time.Time `json:"since,omitempty"`
}

// Holding returns a copy of what is known now.
func (w *wire) Holding() Holding {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Holding{Memory: maps.Clone(w.last.Memory), Since: maps.Clone(w.since)}
}

// restore takes up what was kept, before the first policy.
func (w *wire) restore(h Holding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last.Memory, w.since = h.Memory, h.Since
}

// Hold says how a host is held, and why so.
func (w *wire) Hold(id string) (plan.Hold, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.last.Holds {
		if h.ID == id {
			return h, true
		}
	}
	return plan.Hold{}, false
}

// refine chooses the mechanisms of a policy's hosts, by the network as it is now
// and by what was known of it before.
func (w *wire) refine(p netcontain.Policy) (netcontain.Policy, error) {
	n, err := w.observed()
	if err != nil {
		return p, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	since, now := map[string]time.Time{}, notBefore(w.now(), n.FirstSeen)
	for _, h := range p.Hosts {
		at, known := w.since[h.ID]
		if !known {
			at = now
		}
		since[h.ID] = at
	}
	w.since, n.Since = since, since
	w.last = plan.Make(p, n, w.last)
	return w.last.Policy, nil
}

// notBefore is now, or just after the last of the devices that are known was seen
// first: a machine without a battery for its clock boots in the past, and who is
// known when containment begins did not come after it.
func notBefore(now time.Time, first map[netcontain.MAC]time.Time) time.Time {
	for _, seen := range first {
		if !seen.Before(now) {
			now = seen.Add(time.Nanosecond)
		}
	}
	return now
}

// neighbourFor is how long a device counts as being on the port where it was last
// seen. One that was not heard for five minutes is gone from the bridge's
// forwarding table (ageing time of IEEE 802.1D), but a colleague's machine that is
// off tonight still shares the port tomorrow, and after the summer holidays.
const neighbourFor = 14 * 24 * time.Hour

// neighbourAfter is the age from which a device counts that the bridge does not
// show at this moment: a younger one may be an address that the suspect invents.
// One that will be seen first in the future was known before the clock went back.
const neighbourAfter = time.Hour

// neighbours adds remembered devices to the ports that the bridge knows now.
func neighbours(ports map[netcontain.MAC]string, all []asset.Asset, now time.Time) {
	for _, a := range all {
		mac := netcontain.MAC(a.MAC)
		age := now.Sub(a.FirstSeen)
		if _, seen := ports[mac]; seen || a.Port == "" || a.MAC.IsZero() ||
			now.Sub(a.LastSeen) > neighbourFor || age >= 0 && age < neighbourAfter {
			continue
		}
		ports[mac] = a.Port
	}
}

// onlyHeld leaves who is on ports that are in quarantine. At the start the database
// may be damaged, and the inventory is not there yet: a port that is chosen now would be
// chosen without the neighbours that are silent at this moment, and cut them off for
// as long as the host is held.
// What was chosen before is remembered, by Holding or in the kernel.
func onlyHeld(ports map[netcontain.MAC]string, info map[string]plan.Port) {
	maps.DeleteFunc(ports, func(_ netcontain.MAC, port string) bool { return info[port].Held == "" })
}

// Watch begins to watch every port that is there, and the uplink if it is.
func (w *wire) Watch(ctx context.Context, h netcontain.Host) (Watch, error) {
	hold, known := w.Hold(h.ID)
	if !known { // nothing holds it yet
		n, err := w.observed()
		if err != nil {
			return nil, err
		}
		if p := plan.Make(netcontain.Policy{Hosts: []netcontain.Host{h}}, n, plan.Plan{}); len(p.Holds) == 1 {
			hold = p.Holds[0]
		}
	}
	turn, own := w.net.turns.Load(), w.net.Voice(w.now())
	mac := netcontain.MAC(own.MAC)
	c := probe.Config{
		Ports: w.net.present(), Bridge: w.net.Bridge, Host: h, Shared: hold.BestEffort,
		Voices: []probe.Voice{{Device: w.net.Bridge, MAC: mac, Addrs: own.Addrs}},
	}
	if w.away.device != "" { // which has the bridge's MAC
		c.Voices = append(c.Voices, probe.Voice{Device: w.away.device, MAC: mac, Addrs: addrsOf(w.away.prefix, own.MAC)})
	}
	if len(hold.Ports) == 1 && slices.Contains(c.Ports, hold.Ports[0]) {
		c.HostPort = hold.Ports[0]
	}
	watch, err := probe.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	return &turned{watch, func() bool { return w.net.turns.Load() != turn || !w.net.Voice(w.now()).equal(own) }}, nil
}

// turned is a watch of the network as it was when it began. It is blind to a
// port that came since; and in the name of a gateway that has another MAC by now
// it must not speak for long: the host would believe it.
type turned struct {
	Watch
	since func() bool
}

func (t *turned) Blind() bool { return t.Watch.Blind() || t.since() }

// observed is the network as plan wants it.
func (w *wire) observed() (plan.Network, error) {
	n := w.can
	bridge, err := w.vlan.Observe()
	if err != nil {
		return n, err
	}
	n.Ports, n.Quarantine, n.Filtering, n.PortInfo = bridge.Office, bridge.Quarantine, bridge.Filtering, map[string]plan.Port{}
	for name, p := range bridge.Ports {
		n.PortInfo[name] = plan.Port{
			PVID: p.PVID, Untagged: len(p.Untagged), Tagged: len(p.Tagged), Wireless: p.Wireless, Held: p.Held,
			Uplink: name == w.net.WAN,
		}
	}
	if w.devices != nil {
		all := w.devices()
		n.FirstSeen = make(map[netcontain.MAC]time.Time, len(all))
		for _, a := range all {
			n.FirstSeen[netcontain.MAC(a.MAC)] = a.FirstSeen
		}
		neighbours(n.Ports, all, w.now())
	} else {
		onlyHeld(n.Ports, n.PortInfo)
	}
	n.NeverMACs, n.NeverAddrs, err = w.enforcer.Never()
	return n, err
}

// onSegment is every device with its place, as neigh.Segment wants it.
func (w *wire) onSegment() []neigh.Neighbour {
	if w.devices == nil {
		return nil
	}
	now := w.now()
	var out []neigh.Neighbour
	for _, a := range w.devices() {
		if a.MAC.IsZero() || a.Port == "" || now.Sub(a.LastSeen) > neighbourFor {
			continue
		}
		out = append(out, neigh.Neighbour{MAC: netcontain.MAC(a.MAC), Addrs: a.Addrs, Port: a.Port, Quiet: a.Protected, Router: a.Router || a.Gateway})
	}
	return out
}
