package vlan

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// model is a kernel in memory that keeps the rules which matter here: one PVID
// a port, aliases of limited length, isolated only on ports.
type model struct {
	w    world
	log  []string // operations done
	dies int      // after so many more operations every one fails; -1: never
	fdb  []sighting
}

var errDied = errors.New("the program was killed here")

func (m *model) Close() {}

func (m *model) forwarding(world) ([]sighting, error) { return m.fdb, nil }

// read returns a copy, with the notes read anew as from the kernel.
func (m *model) read(string) (world, error) {
	w := m.w
	w.ports = map[string]port{}
	for name, p := range m.w.ports {
		p.owner, p.note = parseNote(p.alias)
		if p.member && w.found || !p.note.zero() {
			p.member = p.member && w.found
			w.ports[name] = p
		}
	}
	w.devices = nil
	for _, d := range m.w.devices {
		d.owner, d.note = parseDeviceNote(d.alias)
		w.devices = append(w.devices, d)
	}
	return w, nil
}

func (m *model) do(o op) error {
	if m.dies == 0 {
		return errDied
	}
	m.dies--
	m.log = append(m.log, o.String())
	switch o.kind {
	case fence:
		m.w.fences = map[string]bool{o.device: true}
		return nil
	case unfence:
		m.w.fences = nil
		return nil
	}
	if i := slices.IndexFunc(m.w.devices, func(d device) bool { return d.name == o.device }); i >= 0 {
		return m.toDevice(i, o)
	}
	p, ok := m.w.ports[o.device]
	switch o.kind {
	case newDevice:
		m.w.devices = append(m.w.devices, device{name: o.device, id: o.vid, made: true})
		return nil
	case addSelf:
		m.w.self.tagged = append(m.w.self.tagged, o.vid)
		return nil
	case delSelf:
		m.w.self = m.w.self.without(o.vid)
		return nil
	}
	if !ok || !p.member && o.kind != setAlias && o.kind != linkUp && o.kind != linkDown {
		return fmt.Errorf("%s: no such port", o)
	}
	switch o.kind {
	case setAlias:
		if len(o.text) > maxAlias {
			return errors.New("invalid argument")
		}
		p.alias = o.text
	case isolate:
		p.isolated = o.on
	case addVLAN:
		p.vlans = added(p.vlans, o)
	case delVLAN:
		p.vlans = p.vlans.without(o.vid)
	case linkDown, linkUp:
		p.up = o.kind == linkUp
	default:
		return fmt.Errorf("%s: not for a port", o)
	}
	m.w.ports[o.device] = p
	return nil
}

func added(is membership, o op) membership {
	out := is.without(o.vid)
	if is.pvid != o.vid {
		out.pvid = is.pvid
	}
	if o.pvid {
		out.pvid = o.vid
	}
	if o.untagged {
		out.untagged = append(out.untagged, o.vid)
	} else {
		out.tagged = append(out.tagged, o.vid)
	}
	slices.Sort(out.untagged)
	slices.Sort(out.tagged)
	return out
}

func (m *model) toDevice(i int, o op) error {
	d := &m.w.devices[i]
	switch o.kind {
	case setAlias:
		d.alias = o.text
	case linkUp:
		d.up = true
	case addAddr:
		d.addrs = append(d.addrs, o.address)
	case delAddr:
		d.addrs = slices.DeleteFunc(d.addrs, func(a netip.Prefix) bool { return a == o.address })
	case delDevice:
		m.w.devices = slices.Delete(m.w.devices, i, i+1)
	default:
		return fmt.Errorf("%s: not for a device", o)
	}
	return nil
}

// dump is all that release must bring back.
func (m *model) dump() string {
	out := fmt.Sprintf("filtering %t, self %v\n", m.w.filtering, m.w.self)
	for _, name := range slices.Sorted(maps.Keys(m.w.ports)) {
		p := m.w.ports[name]
		out += fmt.Sprintf("%s %v isolated %t up %t %q\n", name, p.vlans, p.isolated, p.up, p.alias)
	}
	for name := range m.w.fences {
		out += "fence " + name + "\n"
	}
	for _, d := range m.w.devices {
		out += fmt.Sprintf("%s %d %v %q\n", d.name, d.id, d.addrs, d.alias)
	}
	return out
}

// office is a bridge with three access ports, one of them in another VLAN and
// already isolated by its owner, a trunk, and the uplink.
func office() *model {
	return &model{dies: -1, w: world{
		found: true, filtering: true, defaultPVID: 10, self: alone(10),
		ports: map[string]port{
			"lan1":  {member: true, up: true, vlans: alone(10), alias: "desk 1"},
			"lan2":  {member: true, up: true, vlans: alone(10)},
			"lan3":  {member: true, up: true, vlans: alone(20), isolated: true, alias: "guests"},
			"trunk": {member: true, up: true, vlans: membership{pvid: 10, untagged: []uint16{10}, tagged: []uint16{20}}},
			"wan":   {member: true, up: true, vlans: alone(10)},
			"wlan0": {member: true, up: true, vlans: alone(10), wireless: true},
		},
	}}
}
