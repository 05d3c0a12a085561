package nft

import (
	"net/netip"
	"reflect"

	"sekisho/netcontain"
)

// cut deletes the connections that p newly forbids, so that nothing that was
// accepted or translated before goes on: neither by another table's
// "established" rule nor by a flowtable.
func (e *Enforcer) cut(p, before netcontain.Policy, known bool, net surroundings) error {
	f := forbidden{hosts: map[netip.Addr]netcontain.Level{}, allow: p.Allow, names: e.names.addrs(net.near), never: net.neverAddrs}
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
	_, err := e.flows.delete(f.match)
	return err
}

// forbidden matches connections that must end.
type forbidden struct {
	hosts map[netip.Addr]netcontain.Level
	allow []netip.Prefix
	names map[netip.Addr]bool // what the allow list by name led to
	never map[netip.Addr]string
	all   bool // lockdown: every connection that is not the gateway's own
}

func (f forbidden) match(ends flowEnds) bool {
	level := netcontain.Watch
	for _, a := range ends {
		level = max(level, f.hosts[a])
	}
	switch {
	case level == netcontain.Isolate:
		return true
	case level == netcontain.Limit:
		for _, a := range ends {
			if f.names[a] {
				return false
			}
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
