package nft

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"sync"

	"github.com/vishvananda/netlink"

	"sekisho/netcontain"
)

// cut deletes the connections that p newly forbids, so that nothing that was
// accepted or translated before goes on: neither by another table's
// "established" rule nor by a flowtable.
func (e *Enforcer) cut(p, before netcontain.Policy, known bool, net surroundings) error {
	f := forbidden{hosts: map[netip.Addr]netcontain.Level{}, allow: p.Allow, never: net.neverAddrs}
	f.all = p.Lockdown && !(known && before.Lockdown)
	was := map[string]netcontain.Host{}
	for _, h := range before.Hosts {
		was[h.ID] = h
	}
	for _, h := range p.Hosts {
		same := known && reflect.DeepEqual(was[h.ID], h) && reflect.DeepEqual(before.Allow, p.Allow)
		if h.Level == netcontain.Watch || same {
			continue
		}
		for _, a := range h.Addrs {
			f.hosts[a] = h.Level
		}
		for _, m := range h.MACs { // addresses that only the neighbour table knows
			for _, a := range net.neighbours[m] {
				f.hosts[a] = max(h.Level, f.hosts[a])
			}
		}
	}
	if len(f.hosts) == 0 && !f.all {
		return nil
	}
	// The kernel walks its whole table for either family, which takes longer
	// than everything else of a press: both at a time.
	var errs [2]error
	var walks sync.WaitGroup
	for i, family := range []netlink.InetFamily{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		walks.Go(func() { _, errs[i] = e.flows[i].ConntrackDeleteFilters(netlink.ConntrackTable, family, f) })
	}
	walks.Wait()
	return errors.Join(errs[:]...)
}

// forbidden matches connections that must end. It implements
// netlink.CustomConntrackFilter.
type forbidden struct {
	hosts map[netip.Addr]netcontain.Level
	allow []netip.Prefix
	never map[netip.Addr]string
	all   bool // lockdown: every connection that is not the gateway's own
}

func (f forbidden) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	// Forward is as the initiator sees it, Reverse as the responder does: under
	// NAT only both together name both real ends.
	ends := [4]netip.Addr{addr(c.Forward.SrcIP), addr(c.Forward.DstIP), addr(c.Reverse.SrcIP), addr(c.Reverse.DstIP)}
	level := netcontain.Watch
	for _, a := range ends {
		level = max(level, f.hosts[a])
	}
	switch {
	case level == netcontain.Isolate:
		return true
	case level == netcontain.Limit:
		for _, a := range ends {
			for _, p := range f.allow {
				if p.Contains(a) {
					return false
				}
			}
		}
		return true
	}
	initiator, responder := ends[0], ends[2] // the real ends
	return f.all && f.never[initiator] == "" && f.never[responder] == ""
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
