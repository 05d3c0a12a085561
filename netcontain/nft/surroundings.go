package nft

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"sekisho/netcontain"
)

// surroundings is what this machine is on its networks, at one moment.
type surroundings struct {
	gateway    []netip.Addr // addresses on the bridge, and in the quarantine
	own        []netip.Addr // addresses on any device
	near       []netip.Prefix
	quarantine string // the device of the quarantine, empty when there is none
	neverMACs  map[netcontain.MAC]string
	neverAddrs map[netip.Addr]string
	neighbours map[netcontain.MAC][]netip.Addr
	wan        string
	trouble    error // what keeps the bridge from being found, beside a rebuild
}

// bridged is what the bridge was when it was last there: while it is rebuilt
// the gateway is still who it is.
type bridged struct {
	seen  bool
	mac   netcontain.MAC
	addrs []netip.Prefix
}

// lookAgain is how often a look at the devices is repeated that a change of
// them has interrupted: then what the kernel said may miss some.
const lookAgain = 8

func (e *Enforcer) surroundings() (surroundings, error) {
	for again := lookAgain; ; again-- {
		s, err := e.lookAround()
		if err == nil || again == 0 || !errors.Is(err, netlink.ErrDumpInterrupted) {
			return s, err
		}
	}
}

func (e *Enforcer) lookAround() (surroundings, error) {
	s := surroundings{
		neverMACs:  map[netcontain.MAC]string{},
		neverAddrs: map[netip.Addr]string{},
		neighbours: map[netcontain.MAC][]netip.Addr{},
		wan:        e.cfg.WAN,
	}
	links, err := e.links.LinkList()
	if err != nil {
		return s, fmt.Errorf("list devices: %w", err)
	}
	var bridge netlink.Link
	names := map[int]string{}
	for _, l := range links {
		if m, ok := macOf(l.Attrs().HardwareAddr); ok {
			s.neverMACs[m] = "the gateway's own MAC (" + l.Attrs().Name + ")"
		}
		if l.Attrs().Name == e.cfg.Bridge {
			bridge = l
		}
		names[l.Attrs().Index] = l.Attrs().Name
	}
	addrs, err := e.links.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return s, fmt.Errorf("list addresses: %w", err)
	}
	s.bridge(e.cfg.Bridge, bridge, addrs, &e.bridged)
	s.addresses(e.cfg, addrs, names)
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

// bridge adds what the gateway is on the bridge, from memory when it is gone.
func (s *surroundings) bridge(name string, link netlink.Link, addrs []netlink.Addr, last *bridged) {
	switch {
	case link != nil && link.Type() == "bridge":
		*last = bridged{seen: true}
		last.mac, _ = macOf(link.Attrs().HardwareAddr)
		for _, a := range addrs {
			if p, ok := prefixOf(a); ok && a.LinkIndex == link.Attrs().Index {
				last.addrs = append(last.addrs, p)
			}
		}
	case link != nil:
		s.trouble = fmt.Errorf("%s is a %s, not a bridge", name, link.Type())
	case !last.seen:
		s.trouble = fmt.Errorf("bridge %s: no such device", name)
	}
	if last.mac != (netcontain.MAC{}) {
		s.neverMACs[last.mac] = "the gateway's own MAC (" + name + ")"
	}
	for _, p := range last.addrs {
		s.gateway = append(s.gateway, p.Addr())
		s.self(p)
	}
}

// addresses adds the gateway's own addresses and networks. The quarantine's
// device is the one that has the gateway's address there; a wrong setting must
// not cut the office off.
func (s *surroundings) addresses(cfg Config, addrs []netlink.Addr, names map[int]string) {
	quarantines := cfg.quarantines()
	for _, a := range addrs {
		p, ok := prefixOf(a)
		if !ok {
			continue
		}
		s.self(p)
		name := names[a.LinkIndex]
		if name != cfg.Bridge && name != cfg.WAN && slices.ContainsFunc(quarantines, func(q netip.Prefix) bool { return q.Addr() == p.Addr() }) {
			s.quarantine = name
		}
	}
	for _, a := range addrs { // its link-local address, too
		if p, ok := prefixOf(a); ok && s.quarantine != "" && names[a.LinkIndex] == s.quarantine {
			s.reachable(p.Addr())
		}
	}
	for _, q := range quarantines {
		s.self(q)
		s.reachable(q.Addr())
	}
	for _, a := range s.gateway {
		if !slices.Contains(s.own, a) {
			s.own = append(s.own, a)
		}
	}
	s.near = near(s.near)
}

// reachable adds an address at which held hosts find the gateway's services.
func (s *surroundings) reachable(a netip.Addr) {
	if !slices.Contains(s.gateway, a) {
		s.gateway = append(s.gateway, a)
	}
}

// self adds one address of the gateway. The link-local ones of other devices
// than the bridge answer on none but theirs, and come and go with every port.
func (s *surroundings) self(p netip.Prefix) {
	s.neverAddrs[p.Addr()] = "the gateway's own address"
	if p.Addr().IsLinkLocalUnicast() && p.Addr().Is6() {
		return // near anyway
	}
	s.near = append(s.near, p)
	if !slices.Contains(s.own, p.Addr()) {
		s.own = append(s.own, p.Addr())
	}
}

func prefixOf(a netlink.Addr) (netip.Prefix, bool) {
	if a.IPNet == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(a.IP)
	bits, _ := a.Mask.Size()
	p := netip.PrefixFrom(ip.Unmap(), bits)
	return p, ok && p.IsValid()
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
