package nft

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"sekisho/netcontain"
)

// surroundings is what this machine is on its networks, at one moment.
type surroundings struct {
	gateway    []netip.Addr // addresses on the bridge
	neverMACs  map[netcontain.MAC]string
	neverAddrs map[netip.Addr]string
	neighbours map[netcontain.MAC][]netip.Addr
	wan        string
}

func (e *Enforcer) surroundings() (surroundings, error) {
	s := surroundings{
		neverMACs:  map[netcontain.MAC]string{},
		neverAddrs: map[netip.Addr]string{},
		neighbours: map[netcontain.MAC][]netip.Addr{},
		wan:        e.cfg.WAN,
	}
	bridge, err := e.links.LinkByName(e.cfg.Bridge)
	if err != nil {
		return s, fmt.Errorf("bridge %s: %w", e.cfg.Bridge, err)
	}
	if bridge.Type() != "bridge" {
		return s, fmt.Errorf("%s is a %s, not a bridge", e.cfg.Bridge, bridge.Type())
	}
	links, err := e.links.LinkList()
	if err != nil {
		return s, fmt.Errorf("list devices: %w", err)
	}
	for _, l := range links {
		if m, ok := macOf(l.Attrs().HardwareAddr); ok {
			s.neverMACs[m] = "the gateway's own MAC (" + l.Attrs().Name + ")"
		}
	}
	addrs, err := e.links.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return s, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			continue
		}
		s.neverAddrs[ip.Unmap()] = "the gateway's own address"
		if a.LinkIndex == bridge.Attrs().Index {
			s.gateway = append(s.gateway, ip.Unmap())
		}
	}
	if err := e.uplink(&s); err != nil {
		return s, err
	}
	if e.cfg.Never != nil {
		macs, ips := e.cfg.Never()
		for _, m := range macs {
			s.neverMACs[m] = "marked as never to be held"
		}
		for a := range addrSet(ips) {
			s.neverAddrs[a] = "marked as never to be held"
		}
	}
	return s, nil
}

// uplink adds the routers of the default routes, and their MACs as far as the
// neighbour tables know them.
func (e *Enforcer) uplink(s *surroundings) error {
	routers := map[netip.Addr]bool{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := e.links.RouteList(nil, family)
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
				continue
			}
			if a, ok := netip.AddrFromSlice(r.Gw); ok {
				routers[a.Unmap()] = true
				s.neverAddrs[a.Unmap()] = "the uplink router"
			}
		}
		neighbours, err := e.links.NeighList(0, family)
		if err != nil {
			return fmt.Errorf("list neighbours: %w", err)
		}
		for _, n := range neighbours {
			a, okA := netip.AddrFromSlice(n.IP)
			m, okM := macOf(n.HardwareAddr)
			if !okA || !okM {
				continue
			}
			s.neighbours[m] = append(s.neighbours[m], a.Unmap())
			if routers[a.Unmap()] {
				s.neverMACs[m] = "the uplink router's MAC"
			}
		}
	}
	return nil
}

func macOf(hw net.HardwareAddr) (netcontain.MAC, bool) {
	if len(hw) != 6 {
		return netcontain.MAC{}, false
	}
	m := netcontain.MAC(hw)
	return m, m != netcontain.MAC{}
}

// refuse names the first entry that would hold the gateway or its uplink.
// Watch holds nothing, so it may name anybody.
func (s surroundings) refuse(p netcontain.Policy) error {
	for _, h := range p.Hosts {
		if h.Level == netcontain.Watch {
			continue
		}
		for _, m := range h.MACs {
			if why, never := s.neverMACs[m]; never {
				return &netcontain.NeverError{Host: h.ID, Entry: m.String(), Why: why}
			}
		}
		for _, a := range h.Addrs {
			if why, never := s.neverAddrs[a]; never {
				return &netcontain.NeverError{Host: h.ID, Entry: a.String(), Why: why}
			}
		}
		for _, port := range h.Ports {
			if port == s.wan {
				return &netcontain.NeverError{Host: h.ID, Entry: port, Why: "the uplink's device"}
			}
		}
	}
	return nil
}

// Ports returns on which port of the bridge each MAC was last seen, from the
// bridge's forwarding table: what plan.Network wants.
func (e *Enforcer) Ports() (map[netcontain.MAC]string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	bridge, err := e.links.LinkByName(e.cfg.Bridge)
	if err != nil {
		return nil, fmt.Errorf("bridge %s: %w", e.cfg.Bridge, err)
	}
	links, err := e.links.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge.Attrs().Index {
			names[l.Attrs().Index] = l.Attrs().Name
		}
	}
	entries, err := e.links.NeighList(0, afBridge)
	if err != nil {
		return nil, fmt.Errorf("list forwarding table: %w", err)
	}
	out := map[netcontain.MAC]string{}
	for _, n := range entries {
		m, ok := macOf(n.HardwareAddr)
		if ok && m[0]&1 == 0 && names[n.LinkIndex] != "" && n.State&netlink.NUD_PERMANENT == 0 {
			out[m] = names[n.LinkIndex]
		}
	}
	return out, nil
}

const afBridge = 7 // AF_BRIDGE, linux/socket.h

// Never returns what may never be held at this moment: what plan.Network
// wants.
func (e *Enforcer) Never() ([]netcontain.MAC, []netip.Addr, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.surroundings()
	if err != nil {
		return nil, nil, err
	}
	var macs []netcontain.MAC
	for m := range s.neverMACs {
		macs = append(macs, m)
	}
	var addrs []netip.Addr
	for a := range s.neverAddrs {
		addrs = append(addrs, a)
	}
	return macs, addrs, nil
}
