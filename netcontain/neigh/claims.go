package neigh

import (
	"bytes"
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"sekisho/netcontain"
)

// Neighbour is one device on a port of the bridge, held or not.
type Neighbour struct {
	MAC   netcontain.MAC
	Addrs []netip.Addr // the likeliest first; those beyond maxAddrs are left out
	Port  string

	// Quiet devices are sent nothing, as the owner wants of protected ones. A
	// held host is told all the same that it does not find them.
	Quiet bool
	// Router marks a device that forwards for others: as long as it is not held
	// itself, it is sent nothing, and its place is told to nobody.
	Router bool
}

// Bounds of what is worked for on one port. A switch that an office puts
// behind one port has 5 to 48 ports; a device has one IPv4 address and, with
// privacy addresses (RFC 8981), one link-local, one stable and up to a week of
// temporary IPv6 addresses, of which the freshest are used.
const (
	maxNeighbours = 64
	maxAddrs      = 8
)

// never is who is never sent anything, and whose place is never told.
type never struct {
	macs  map[netcontain.MAC]bool
	addrs map[netip.Addr]bool
}

func neverOf(macs []netcontain.MAC, addrs []netip.Addr) never {
	n := never{map[netcontain.MAC]bool{}, map[netip.Addr]bool{}}
	for _, m := range macs {
		n.macs[m] = true
	}
	for _, a := range addrs {
		n.addrs[plain(a)] = true
	}
	return n
}

// and adds the routers among the neighbours that are not held.
func (no never) and(given []Neighbour, hosts []netcontain.Host) never {
	out := never{maps.Clone(no.macs), maps.Clone(no.addrs)}
	for _, n := range given {
		if !n.Router || slices.ContainsFunc(hosts, func(h netcontain.Host) bool { return slices.Contains(h.MACs, n.MAC) }) {
			continue
		}
		out.macs[n.MAC] = true
		for _, a := range n.Addrs {
			out.addrs[plain(a)] = true
		}
	}
	return out
}

func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// key is one thing that is said to one device: where an address is.
type key struct {
	port string
	to   netcontain.MAC
	addr netip.Addr
}

type claim struct {
	key
	toAddr netip.Addr     // an address of to, of the same family
	truth  netcontain.MAC // where addr is in truth: without knowing, nothing is claimed
	toHeld bool
}

// claims says whom to tell what, so that host and neighbours miss each other,
// and how many neighbours on the host's ports are left out by the bounds. It is
// pure. What belongs to nobody but the host is told of it; an address that a
// device claims which is not held stays that device's.
func claims(h netcontain.Host, seen []Neighbour, no never) (out []claim, left int) {
	for _, port := range h.Shared {
		own, others, more := onPort(h, port, seen, no)
		left += more
		for _, n := range others {
			for _, me := range own {
				out = append(out, toHeld(port, me, n)...)
				if !n.Quiet {
					out = append(out, toNeighbour(port, n, me, h, seen)...)
				}
			}
		}
	}
	return out, left
}

// toHeld makes the held device miss a neighbour.
func toHeld(port string, me, n Neighbour) (out []claim) {
	for _, a := range n.Addrs {
		if at, ok := ofFamily(me.Addrs, a); ok {
			out = append(out, claim{key{port, me.MAC, a}, at, n.MAC, true})
		}
	}
	return out
}

// toNeighbour makes a neighbour miss the held device.
func toNeighbour(port string, n, me Neighbour, h netcontain.Host, seen []Neighbour) (out []claim) {
	for _, a := range me.Addrs {
		at, ok := ofFamily(n.Addrs, a)
		if ok && slices.Contains(h.Addrs, a) && !anothers(a, h, seen) {
			out = append(out, claim{key{port, n.MAC, a}, at, me.MAC, false})
		}
	}
	return out
}

// anothers says that a device has the address that is not the host.
func anothers(a netip.Addr, h netcontain.Host, seen []Neighbour) bool {
	return slices.ContainsFunc(seen, func(n Neighbour) bool {
		return !slices.Contains(h.MACs, n.MAC) && slices.Contains(n.Addrs, a)
	})
}

func ofFamily(addrs []netip.Addr, a netip.Addr) (netip.Addr, bool) {
	i := slices.IndexFunc(addrs, func(b netip.Addr) bool { return b.Is4() == a.Is4() })
	if i < 0 {
		return netip.Addr{}, false
	}
	return addrs[i], true
}

// onPort returns the host's own interfaces there, and the others, without whom
// and what may never be named. When the port is not known to have the host, it
// is taken for its only MAC. Whoever comes first in seen is left out last.
func onPort(h netcontain.Host, port string, seen []Neighbour, no never) (own, others []Neighbour, left int) {
	for _, n := range seen {
		switch mine := slices.Contains(h.MACs, n.MAC); {
		case n.Port != port || no.macs[n.MAC]:
		case mine:
			own = append(own, n)
		case len(n.Addrs) > 0:
			others = append(others, n)
		}
	}
	if len(own) == 0 && len(h.MACs) == 1 && !no.macs[h.MACs[0]] {
		own = append(own, Neighbour{MAC: h.MACs[0], Addrs: h.Addrs, Port: port})
	}
	if len(others) > maxNeighbours {
		left = len(others) - maxNeighbours
		others = others[:maxNeighbours]
	}
	return own, others, left
}

// byMAC sorts neighbours, so that who is left out does not change by chance.
func byMAC(seen []Neighbour) []Neighbour {
	return slices.SortedFunc(slices.Values(seen), func(a, b Neighbour) int {
		return cmp.Or(bytes.Compare(a.MAC[:], b.MAC[:]), cmp.Compare(a.Port, b.Port))
	})
}

// clean returns the neighbours with one entry for each MAC and port, addresses
// in plain form, bounded, and none that may never be named or that names nobody.
func clean(seen []Neighbour, no never) []Neighbour {
	type place struct {
		mac  netcontain.MAC
		port string
	}
	at := map[place]int{}
	var out []Neighbour
	for _, n := range seen {
		if n.MAC == (netcontain.MAC{}) || n.MAC[0]&1 != 0 || n.Port == "" {
			continue
		}
		i, known := at[place{n.MAC, n.Port}]
		if !known {
			i = len(out)
			at[place{n.MAC, n.Port}] = i
			out = append(out, Neighbour{MAC: n.MAC, Port: n.Port})
		}
		out[i].Quiet = out[i].Quiet || n.Quiet
		for _, a := range n.Addrs {
			a = plain(a)
			if identifies(a) && !no.addrs[a] && len(out[i].Addrs) < maxAddrs && !slices.Contains(out[i].Addrs, a) {
				out[i].Addrs = append(out[i].Addrs, a)
			}
		}
	}
	return out
}

// identifies says that an address can be one device's.
func identifies(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.port, o.port), bytes.Compare(k.to[:], o.to[:]), k.addr.Compare(o.addr))
}
