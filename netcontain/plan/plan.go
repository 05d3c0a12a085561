// Package plan chooses, for every held host, the mechanisms that will hold it,
// and says honestly what they cannot do.
//
// The gateway calls Make before it applies a policy, each time the reconciler
// looks. It is pure: no kernel, no clock. It must never promise more than the
// mechanisms keep, and never choose a way that stops somebody else: the uplink,
// a trunk or an access point is not held whole, nor a port that others share.
//
// # Who counts as a neighbour
//
// A port is held whole, or moved to the quarantine VLAN, only when the host is
// alone there. Who is there is decided once, when the port is first chosen for
// the host, and remembered (Memory) until the host is let go:
//
//   - Whoever is seen on the port then is a neighbour, unless it was first seen
//     after the containment began (Network.FirstSeen, Since), or is one of very
//     many that were first seen shortly before (inventions).
//   - A neighbour stays one, also when it is silent and the bridge forgets it:
//     it must not be cut off when it speaks again.
//   - A MAC that appears later is a newcomer, not a neighbour. Otherwise a host
//     in quarantine got out by sending from a second MAC, its own invention or
//     that of a colleague who has gone home: on the wire nobody can tell that
//     from a colleague who plugs in a switch. So newcomers are named in the
//     explanation, and a person who knows of a switch says so
//     (Network.Switches): then they are neighbours at once.
package plan

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"sekisho/netcontain"
)

// Port is a bridge port as its owner set it up (vlan.Observe): of a port that
// is in quarantine, what it was before.
type Port struct {
	PVID     uint16 // VLAN of untagged frames, 0: none
	Untagged int    // VLANs that leave it without a tag
	Tagged   int    // VLANs that leave it with one
	Wireless bool
	Uplink   bool   // it leads to the internet, or to a router
	Held     string // ID of the host for which it is in quarantine now
}

// access says that the port is made for one host: one VLAN, without tags.
func (p Port) access() bool { return p.PVID != 0 && p.Untagged == 1 && p.Tagged == 0 }

// Network is what was observed. The zero value of a field means that nothing is
// known, or that the mechanism is off.
type Network struct {
	// Ports is on which port each MAC was last seen in the office, by the
	// bridge's forwarding table (vlan.Bridge.Office or nft.Ports) and the inventory.
	Ports map[netcontain.MAC]string
	// Quarantine is the same of the quarantine VLAN. A host in it that sends
	// from a colleague's MAC does not move the colleague.
	Quarantine map[netcontain.MAC]string

	NeverMACs  []netcontain.MAC // whose may never be held: the gateway's, its router's
	NeverAddrs []netip.Addr

	VLAN         uint16          // of the quarantine; 0: not used
	Filtering    bool            // the bridge filters VLANs
	PortInfo     map[string]Port // by name; a port that is not here is taken for an access port, but is not moved
	AccessPoints []string        // interfaces whose hostapd can refuse stations
	Segment      bool            // ARP/NDP containment is allowed

	FirstSeen map[netcontain.MAC]time.Time // by the inventory
	Since     map[string]time.Time         // when containment began, by Host.ID
	Switches  map[string]bool              // ports behind which, a person says, others are too
}

// Text is one message in the two languages of the product.
type Text struct {
	EN string `json:"en"`
	JA string `json:"ja"`
}

// Hold is the choice for one host.
type Hold struct {
	ID         string
	Mechanisms []netcontain.Mechanism // BySets first; none when it is only watched, or cannot be held
	Reason     Text                   // why these; empty when there are none
	Ports      []string               // where it was seen, sorted
	Shared     []string               // those of them where BySegment acts
	Neighbours int                    // other devices on these ports
	Newcomers  int                    // MACs that appeared there later, and do not count
	Known      []netcontain.MAC       // those of them that the office knew before the containment: a colleague, or a claim to be one
	BestEffort bool                   // Limits names what is not covered
	Limits     []Text
}

// Plan is a policy that an enforcer can take, and its explanation.
type Plan struct {
	Policy netcontain.Policy
	Holds  []Hold // by ID: one for each host of the policy, and for each that cannot be held
	Memory Memory // for the next Make; worth keeping over a restart
}

// Memory is what was decided about each held host, by Host.ID.
type Memory map[string]HostMemory

// HostMemory is where a host was last seen, and with whom.
type HostMemory struct {
	At   map[netcontain.MAC][]string `json:"at,omitempty"`   // ports, by MAC of the host
	With map[string][]netcontain.MAC `json:"with,omitempty"` // neighbours, by port; the port was chosen when it is here
}

// maxNeighbours bounds what is remembered of one port. One is enough to make it
// shared; the count that is shown ends there.
const maxNeighbours = 64

// Inventions. A host that sends from ever new MACs before it is contained makes
// its port look shared. More than inventions of them, first seen within the time
// young before the containment, are taken for that: the largest switches without
// management have 48 ports, and are not put up and filled within the hour in
// which one of their hosts is contained. In an office where nothing is older than
// that, everybody counts.
const (
	inventions = 48
	young      = time.Hour
)

// Make chooses. It takes out addresses that may never be held. A host of which
// nothing is left is not in the policy, only in Holds: an enforcer refuses a
// policy as a whole, and an attacker who sends from the uplink router's MAC must
// not free everybody else. The order of hosts and addresses does not matter.
func Make(p netcontain.Policy, n Network, previous Plan) Plan {
	nameless := withoutIdentity(p)
	p = p.Canonical()
	s := newScene(p, n)
	out := Plan{Policy: netcontain.Policy{Allow: p.Allow, Lockdown: p.Lockdown}, Memory: Memory{}}
	for _, h := range p.Hosts {
		was := previous.Memory[h.ID]
		if h.Level == netcontain.Watch { // whoever comes while it is free counts when it is held again
			was = HostMemory{}
		}
		c := s.choose(h, was)
		if recognisable(c.host) {
			out.Policy.Hosts = append(out.Policy.Hosts, c.host)
		}
		out.Holds = append(out.Holds, c.hold)
		if h.Level != netcontain.Watch {
			out.Memory[h.ID] = c.memory
		}
	}
	out.Holds = append(out.Holds, nameless...)
	slices.SortFunc(out.Holds, func(a, b Hold) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func recognisable(h netcontain.Host) bool { return len(h.MACs)+len(h.Addrs)+len(h.Ports) > 0 }

// withoutIdentity explains hosts that were given nothing to recognise them by.
func withoutIdentity(p netcontain.Policy) []Hold {
	var out []Hold
	for _, h := range p.Hosts {
		if !recognisable(h) && h.Level != netcontain.Watch {
			out = append(out, Hold{ID: h.ID, BestEffort: true, Limits: []Text{nothingKnown()}})
		}
	}
	return out
}

// scene is the network, and who is held in it.
type scene struct {
	Network
	on   map[string][]netcontain.MAC // who is seen on a port, sorted
	held map[netcontain.MAC]netcontain.Level

	settled map[string]bool // hosts before whose containment the office was known for longer than young
}

func newScene(p netcontain.Policy, n Network) scene {
	s := scene{Network: n, on: map[string][]netcontain.MAC{}, held: map[netcontain.MAC]netcontain.Level{}, settled: map[string]bool{}}
	for _, first := range n.FirstSeen {
		for id, since := range n.Since {
			s.settled[id] = s.settled[id] || since.Sub(first) >= young
		}
	}
	for _, seen := range []map[netcontain.MAC]string{n.Ports, n.Quarantine} {
		for m, port := range seen {
			s.on[port] = append(s.on[port], m)
		}
	}
	for port, macs := range s.on {
		s.on[port] = sortedMACs(macs)
	}
	for _, h := range p.Hosts {
		for _, m := range h.MACs {
			if !slices.Contains(n.NeverMACs, m) { // behind the port with a router's MAC may be the router
				s.held[m] = max(s.held[m], h.Level)
			}
		}
	}
	return s
}

// choice is what is decided about one host.
type choice struct {
	host   netcontain.Host
	hold   Hold
	memory HostMemory
	ports  sorted
}

// sorted are the ports of a host, by what can be done there.
type sorted struct {
	alone   []string // held whole
	shared  []string // with neighbours
	trunk   []string // carries several VLANs: others are behind it
	uplink  []string
	refuse  []string // our own access points, which can refuse it
	airless []string // other access points
}

func (s scene) choose(h netcontain.Host, m HostMemory) choice {
	given := h.Ports
	h.Ports, h.By, h.Shared = nil, nil, nil
	h, claimed := withoutNever(h, s.Network)
	c := choice{host: h, hold: Hold{ID: h.ID}, memory: HostMemory{At: map[netcontain.MAC][]string{}, With: map[string][]netcontain.MAC{}}}
	c.hold.Ports = s.where(h, given, m, c.memory.At)
	for _, port := range c.hold.Ports {
		with := s.neighbours(port, h, m)
		c.memory.With[port] = with
		others := s.below(h.Level, with)
		c.hold.Neighbours += others
		for _, mac := range s.on[port] {
			if slices.Contains(h.MACs, mac) || slices.Contains(with, mac) || s.below(h.Level, []netcontain.MAC{mac}) == 0 {
				continue
			}
			c.hold.Newcomers++
			if s.cameBefore(mac, h.ID) && len(c.hold.Known) < maxNeighbours {
				c.hold.Known = append(c.hold.Known, mac)
			}
		}
		c.ports.add(s, port, others)
	}
	if h.Level >= netcontain.Limit {
		c.host.Ports = c.ports.alone
	}
	c.mechanisms(s)
	c.explain(s, claimed)
	return c
}

// where returns the ports of the host and notes them by MAC. A MAC that is seen
// nowhere now is where it was last: a silent host is forgotten by the bridge
// after minutes, and must not get its port back. A station that was refused is
// silent too, so what was once at an access point stays there.
func (s scene) where(h netcontain.Host, given []string, was HostMemory, at map[netcontain.MAC][]string) []string {
	all := slices.Clone(given)
	for _, m := range h.MACs {
		var now []string
		for _, port := range []string{s.Ports[m], s.Quarantine[m]} {
			if port != "" {
				now = append(now, port)
			}
		}
		for _, port := range was.At[m] {
			if len(now) == 0 || s.accessPoint(port) {
				now = append(now, port)
			}
		}
		if len(now) == 0 {
			continue
		}
		slices.Sort(now)
		at[m] = slices.Compact(now)
		all = append(all, at[m]...)
	}
	if len(all) == 0 { // its MACs are others now
		for m, ports := range was.At {
			at[m] = ports
			all = append(all, ports...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// neighbours returns who shares the port with the host: see the package
// comment. Held ones are among them, as they may be let go before this host is.
func (s scene) neighbours(port string, h netcontain.Host, was HostMemory) []netcontain.MAC {
	with, chosen := was.With[port]
	out := slices.Clone(with)
	chosen = chosen || s.PortInfo[port].Held == h.ID // by the kernel's memory
	if s.Switches[port] {
		out = append(out, s.on[port]...)
	} else if !chosen {
		out = append(out, s.first(port, h.ID)...)
	}
	out = slices.DeleteFunc(sortedMACs(out), func(m netcontain.MAC) bool { return slices.Contains(h.MACs, m) })
	return out[:min(len(out), maxNeighbours)]
}

// first returns who counts on a port that is chosen now.
func (s scene) first(port, id string) []netcontain.MAC {
	var old, fresh []netcontain.MAC
	since, known := s.Since[id]
	for _, m := range s.on[port] {
		first, seen := s.FirstSeen[m]
		switch {
		case s.cameAfter(m, id):
		case known && s.settled[id] && (!seen || since.Sub(first) < young):
			fresh = append(fresh, m)
		default:
			old = append(old, m)
		}
	}
	if len(fresh) > inventions {
		return old
	}
	return append(old, fresh...)
}

// cameAfter says that a MAC was first seen when the host was contained already.
// When either time is not known, neither this nor cameBefore is true.
func (s scene) cameAfter(m netcontain.MAC, id string) bool {
	first, seen := s.FirstSeen[m]
	since, known := s.Since[id]
	return seen && known && !first.Before(since)
}

func (s scene) cameBefore(m netcontain.MAC, id string) bool {
	first, seen := s.FirstSeen[m]
	since, known := s.Since[id]
	return seen && known && first.Before(since)
}

// below counts those that are held less than at the level: to hold the port
// whole would stop them.
func (s scene) below(l netcontain.Level, macs []netcontain.MAC) int {
	count := 0
	for _, m := range macs {
		if s.held[m] < max(l, netcontain.Limit) {
			count++
		}
	}
	return count
}

func (s scene) accessPoint(port string) bool {
	return s.PortInfo[port].Wireless || slices.Contains(s.AccessPoints, port)
}

func (p *sorted) add(s scene, port string, others int) {
	info, known := s.PortInfo[port]
	to := &p.alone
	switch {
	case info.Uplink:
		to = &p.uplink
	case slices.Contains(s.AccessPoints, port):
		to = &p.refuse
	case info.Wireless:
		to = &p.airless
	case s.Filtering && known && !info.access():
		to = &p.trunk
	case others > 0 || s.Switches[port]:
		to = &p.shared
	}
	*to = append(*to, port)
}

// mechanisms chooses what comes on top of the sets. They do so at isolate only:
// limit leaves the device in its network, where it still needs its address, its
// router and the allow list.
func (c *choice) mechanisms(s scene) {
	h := &c.host
	if h.Level == netcontain.Watch || !recognisable(*h) {
		return
	}
	c.hold.Mechanisms = []netcontain.Mechanism{netcontain.BySets}
	if h.Level == netcontain.Isolate {
		if c.movable(s) {
			h.By = append(h.By, netcontain.ByVLAN)
		}
		if len(c.ports.refuse) > 0 && len(h.MACs) > 0 {
			h.By = append(h.By, netcontain.ByWiFi)
		}
		if s.Segment && len(c.ports.shared) > 0 && len(h.MACs)+len(h.Addrs) > 0 {
			h.By = append(h.By, netcontain.BySegment)
			h.Shared = c.ports.shared
			c.hold.Shared = slices.Clone(h.Shared)
		}
	}
	slices.Sort(h.By)
	c.hold.Mechanisms = append(c.hold.Mechanisms, h.By...)
}

// movable says that the host's ports can be moved to the quarantine VLAN: all
// that it has for itself, for the enforcer moves Host.Ports.
func (c *choice) movable(s scene) bool {
	if s.VLAN == 0 || !s.Filtering || len(c.ports.alone) == 0 {
		return false
	}
	return !slices.ContainsFunc(c.ports.alone, func(port string) bool { return !s.PortInfo[port].access() })
}

// withoutNever takes out what may not be held, and counts it. Nothing may be
// left.
func withoutNever(h netcontain.Host, n Network) (netcontain.Host, int) {
	c := h
	c.MACs = slices.DeleteFunc(slices.Clone(h.MACs), func(m netcontain.MAC) bool { return slices.Contains(n.NeverMACs, m) })
	c.Addrs = slices.DeleteFunc(slices.Clone(h.Addrs), func(a netip.Addr) bool { return slices.Contains(n.NeverAddrs, a) })
	return c, len(h.MACs) - len(c.MACs) + len(h.Addrs) - len(c.Addrs)
}

func sortedMACs(macs []netcontain.MAC) []netcontain.MAC {
	slices.SortFunc(macs, func(a, b netcontain.MAC) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(macs)
}
