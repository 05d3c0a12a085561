package vlan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// world is the bridge as the kernel has it at one moment.
type world struct {
	found       bool // the bridge is there
	filtering   bool
	defaultPVID uint16 // of the bridge, for new ports; 0: none
	self        membership
	ports       map[string]port // of the bridge, and others that carry a note
	devices     []device        // VLAN devices on the bridge
	fences      map[string]bool // devices that our routing rules are about; false: not for every family
}

type port struct {
	index    int  // of the device
	member   bool // of the bridge
	up       bool // as the administrator set it, cable or not
	isolated bool // may not speak with other isolated ports
	wireless bool
	vlans    membership
	alias    string // the whole of it
	owner    string // the owner's part of it
	note     note
}

type device struct {
	made  bool // by us
	name  string
	id    uint16
	up    bool
	addrs []netip.Prefix
	alias string
	owner string
	note  deviceNote
}

// ours says that there is something of us to take away.
func (d device) ours() bool { return d.made || d.note != (deviceNote{}) }

func (w world) names() []string { return slices.Sorted(maps.Keys(w.ports)) }

func (w world) device(id uint16) (device, bool) {
	i := slices.IndexFunc(w.devices, func(d device) bool { return d.id == id })
	if i < 0 {
		return device{}, false
	}
	return w.devices[i], true
}

// owners is what the owner wants of the port: of one that we moved, the note,
// and what the owner has set since. A PVID that is not ours was set by the
// owner, or by networkd for him, and with it the rest.
func (p port) owners() membership {
	if p.note.vlan == 0 {
		return p.vlans
	}
	present := p.vlans.without(p.note.vlan)
	if !p.member {
		return p.note.was
	}
	if present.pvid != 0 {
		return present
	}
	return p.note.was.union(present)
}

// whole says that the port is held as it should be.
func (c Config) whole(w world, p port) bool {
	return w.found && w.filtering && p.member && p.isolated && p.note.vlan == c.VLAN && p.vlans.equal(alone(c.VLAN))
}

// stray says that the port was moved by us, and that its alias was then
// overwritten. An owner who uses the VLAN himself would neither isolate ports in
// it nor leave its device to us.
func (c Config) stray(w world, p port) bool {
	d, ok := w.device(c.VLAN)
	return ok && d.made && p.member && p.isolated && p.note.vlan == 0 && p.vlans.equal(alone(c.VLAN))
}

// unusable says why nothing can be held by VLAN on this bridge, empty when it
// can.
func (c Config) unusable(w world) string {
	switch {
	case c.VLAN == 0:
		return "no quarantine VLAN is set"
	case !w.found:
		return "bridge " + c.Bridge + " is not there"
	case !w.filtering:
		return "bridge " + c.Bridge + " does not filter VLANs (vlan_filtering is off)"
	case w.defaultPVID == c.VLAN || w.self.pvid == c.VLAN || slices.Contains(w.self.untagged, c.VLAN):
		return fmt.Sprintf("VLAN %d is the office's own", c.VLAN)
	}
	for _, name := range w.names() {
		p := w.ports[name]
		if p.member && p.note.vlan != c.VLAN && p.vlans.has(c.VLAN) && !c.stray(w, p) {
			return fmt.Sprintf("VLAN %d is in use on port %s: whoever is isolated would reach it; choose another", c.VLAN, name)
		}
	}
	return ""
}

// missing says what of the gateway's end of the quarantine VLAN is not as it
// should be, while somebody is held, or is left over.
func (c Config) missing(w world, holding bool) string {
	for _, d := range w.devices {
		if d.ours() && (!holding || d.id != c.VLAN) {
			return "quarantine device " + d.name + " is there for nobody"
		}
	}
	for name := range w.fences {
		if !holding || name != c.device() {
			return "a routing rule of ours for " + name + " is there for nobody"
		}
	}
	if !holding || c.VLAN == 0 || !w.found {
		return ""
	}
	d, ok := w.device(c.VLAN)
	switch {
	case !ok:
		return "quarantine device " + c.device() + " is not there"
	case !d.up:
		return "quarantine device " + d.name + " is down"
	case !w.fences[d.name]:
		return "what comes in by " + d.name + " may be routed"
	case !w.self.has(c.VLAN):
		return fmt.Sprintf("bridge %s is not in VLAN %d", c.Bridge, c.VLAN)
	case c.Address.IsValid() && !slices.Contains(d.addrs, c.Address):
		return "quarantine device " + d.name + " lacks its address"
	}
	return ""
}
