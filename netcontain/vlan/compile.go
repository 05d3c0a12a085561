package vlan

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"sekisho/netcontain"
)

// op is one change of the kernel.
type op struct {
	kind     opKind
	device   string
	vid      uint16
	pvid     bool   // addVLAN: for what comes in untagged
	untagged bool   // addVLAN: it leaves without a tag
	on       bool   // isolate
	text     string // setAlias
	address  netip.Prefix
}

type opKind string

const (
	setAlias  opKind = "alias"
	isolate   opKind = "isolate" // IFLA_BRPORT_ISOLATED
	addVLAN   opKind = "add"     // to a port
	delVLAN   opKind = "delete"
	addSelf   opKind = "add self" // to the bridge, tagged
	delSelf   opKind = "delete self"
	linkDown  opKind = "down"
	linkUp    opKind = "up"
	newDevice opKind = "new device" // of VLAN vid on the bridge, marked as ours
	delDevice opKind = "delete device"
	addAddr   opKind = "add address"
	delAddr   opKind = "delete address"
	fence     opKind = "fence" // what comes in by it is routed nowhere
	unfence   opKind = "unfence"
)

// String is the operation as the log and the tests show it.
func (o op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", o.device, o.kind)
	switch o.kind {
	case setAlias:
		fmt.Fprintf(&b, " %q", o.text)
	case isolate:
		fmt.Fprintf(&b, " %t", o.on)
	case addAddr, delAddr:
		fmt.Fprintf(&b, " %s", o.address)
	}
	if o.vid != 0 {
		fmt.Fprintf(&b, " %d", o.vid)
	}
	if o.pvid {
		b.WriteString(" pvid")
	}
	if o.untagged {
		b.WriteString(" untagged")
	}
	return b.String()
}

// compile is the difference between what is wanted and the kernel. The
// gateway's end of the VLAN comes first, so that a moved host finds help there,
// and goes last.
func (e *Enforcer) compile(w world) ([]task, []error) {
	host := map[string]string{}
	var errs []error
	for _, h := range e.wanted {
		if h.Level != netcontain.Isolate {
			errs = append(errs, fmt.Errorf("host %q: its level is %s; the quarantine VLAN is for %s", h.ID, h.Level, netcontain.Isolate))
			continue
		}
		for _, name := range h.Ports {
			host[name] = h.ID
		}
	}
	var ports []task
	holding := false
	unusable := e.cfg.unusable(w)
	for _, name := range w.names() {
		p := w.ports[name]
		id, wanted := host[name]
		delete(host, name)
		switch {
		case wanted:
			t, why := task{}, unusable
			if why == "" {
				t, why = e.hold(w, name, id)
			}
			if why != "" {
				errs = append(errs, &RefusedError{Host: id, Port: name, Why: why})
				holding = holding || p.note.vlan != 0 // it stays as it is
				continue
			}
			holding = true
			ports = append(ports, t)
		case !p.note.zero():
			ports = append(ports, e.release(name, p))
		case e.cfg.stray(w, p):
			p.note, p.owner = e.lost(w, name), p.alias
			if p.note.vlan == 0 {
				errs = append(errs, fmt.Errorf("port %s is in quarantine VLAN %d for nobody, and it is not known where it belongs", name, e.cfg.VLAN))
				continue
			}
			ports = append(ports, e.release(name, p))
		}
	}
	for name, id := range host {
		errs = append(errs, &RefusedError{Host: id, Port: name, Why: or(unusable, "it is not a port of bridge "+e.cfg.Bridge)})
	}
	if holding {
		return append(e.furnish(w), append(ports, e.clear(w, e.cfg.VLAN)...)...), errs
	}
	return append(ports, e.clear(w, 0)...), errs
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// hold moves one port, or says why it must not.
func (e *Enforcer) hold(w world, name, host string) (task, string) {
	p := w.ports[name]
	switch {
	case !p.member:
		return task{}, "it is not a port of bridge " + e.cfg.Bridge
	case name == e.cfg.Uplink:
		return task{}, "it is the uplink"
	case p.wireless:
		return task{}, "it is an access point, which its stations share"
	}
	was, isolated := p.owners(), p.isolated
	if p.note.vlan != 0 {
		isolated = p.note.isolated
	} else if e.cfg.stray(w, p) {
		lost := e.lost(w, name)
		if lost.vlan == 0 {
			return task{}, "its alias was overwritten, and it is not known where it belongs"
		}
		was, isolated = lost.was, lost.isolated
	}
	if why := was.notAccess(); why != "" {
		return task{}, why
	}
	n := note{vlan: e.cfg.VLAN, was: was, isolated: isolated, host: host, down: p.note.down}
	moved := p.vlans.pvid != e.cfg.VLAN
	flap := moved && p.up && e.cfg.Flap > 0
	n.down = n.down || flap
	raise := n.down && !flap && e.due(name)
	text, err := n.join(p.owner)
	if err != nil {
		return task{}, err.Error()
	}
	t := task{device: name, keep: n}
	t.alias(p.alias, text)
	if !p.isolated {
		t.add(op{kind: isolate, device: name, on: true})
	}
	t.become(name, p.vlans, alone(e.cfg.VLAN))
	if flap {
		t.add(op{kind: linkDown, device: name})
	}
	if raise {
		n.down = false
		t.raise(p, n)
	}
	if moved {
		t.why = "port moved to the quarantine VLAN"
	}
	return t, ""
}

// release puts the port back to what its owner wants. Its note goes last.
func (e *Enforcer) release(name string, p port) task {
	t := task{device: name}
	left := note{down: p.note.down}
	flap := false
	if p.member && p.note.vlan != 0 {
		was := p.owners()
		flap = !p.vlans.equal(was) && p.up && e.cfg.Flap > 0
		t.become(name, p.vlans, was)
		if p.isolated != p.note.isolated {
			t.add(op{kind: isolate, device: name, on: p.note.isolated})
		}
		t.why = "port moved back from the quarantine VLAN"
	}
	left.down = left.down || flap
	if left.down && !flap && e.due(name) {
		t.raise(p, note{})
		return t
	}
	text, err := left.join(p.owner)
	if err != nil { // a shorter note than the one that was there
		text, flap = p.owner, false
	}
	t.alias(p.alias, text)
	if flap {
		t.add(op{kind: linkDown, device: name})
	}
	return t
}

// lost is the note of a port whose alias was overwritten: from memory, else
// what the bridge gives to a new port.
func (e *Enforcer) lost(w world, name string) note {
	if n := e.kept[name]; n.vlan == e.cfg.VLAN {
		return n
	}
	if w.defaultPVID == 0 {
		return note{}
	}
	return note{vlan: e.cfg.VLAN, was: alone(w.defaultPVID)}
}

func (t *task) add(o op) { t.ops = append(t.ops, o) }

func (t *task) alias(is, want string) {
	if is != want {
		t.add(op{kind: setAlias, device: t.device, text: want})
	}
}

// raise ends a flap: the link first, so that a crash in between is repeated.
func (t *task) raise(p port, left note) {
	t.add(op{kind: linkUp, device: t.device})
	text, err := left.join(p.owner)
	if err != nil { // it was longer before
		text = p.owner
	}
	t.alias(p.alias, text)
}

// become changes a port's VLANs. The new PVID comes first: there is no moment
// without one, in which the host's frames would be dropped unseen.
func (t *task) become(name string, is, want membership) {
	ids := want.all()
	slices.SortStableFunc(ids, func(a, b uint16) int { // false sorts before true
		return btoi(a != want.pvid) - btoi(b != want.pvid)
	})
	for _, id := range ids {
		pvid, untagged := id == want.pvid, slices.Contains(want.untagged, id)
		if !is.has(id) || (id == is.pvid) != pvid || slices.Contains(is.untagged, id) != untagged {
			t.add(op{kind: addVLAN, device: name, vid: id, pvid: pvid, untagged: untagged})
		}
	}
	for _, id := range is.all() {
		if !want.has(id) {
			t.add(op{kind: delVLAN, device: name, vid: id})
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// furnish makes sure of the gateway's end of the quarantine VLAN. What it adds
// is noted in the device's alias before.
func (e *Enforcer) furnish(w world) []task {
	if e.cfg.unusable(w) != "" {
		return nil
	}
	d, there := w.device(e.cfg.VLAN)
	n := d.note
	needSelf := !w.self.has(e.cfg.VLAN)
	n.self = n.self || needSelf
	needAddr := e.cfg.Address.IsValid() && !slices.Contains(d.addrs, e.cfg.Address)
	if !there {
		d.name = e.cfg.device()
	} else if needAddr && !d.made {
		n.address = e.cfg.Address
	}
	t := task{device: d.name}
	text, err := n.join(d.owner)
	if err != nil {
		text = d.alias // then what is added stays for good
	}
	if !there {
		t.add(op{kind: newDevice, device: d.name, vid: e.cfg.VLAN})
	}
	t.alias(d.alias, text)
	if needSelf {
		t.add(op{kind: addSelf, device: e.cfg.Bridge, vid: e.cfg.VLAN})
	}
	if !w.fences[d.name] {
		t.add(op{kind: fence, device: d.name})
	}
	if needAddr {
		t.add(op{kind: addAddr, device: d.name, address: e.cfg.Address})
	}
	if !d.up {
		t.add(op{kind: linkUp, device: d.name})
	}
	return []task{t}
}

// clear takes away what furnish added, of every VLAN but one.
func (e *Enforcer) clear(w world, but uint16) []task {
	var out []task
	for _, d := range w.devices {
		if !d.ours() || d.id == but {
			continue
		}
		t := task{device: d.name}
		if d.note.self && w.self.has(d.id) {
			t.add(op{kind: delSelf, device: e.cfg.Bridge, vid: d.id})
		}
		if d.made {
			t.add(op{kind: delDevice, device: d.name})
		} else {
			if slices.Contains(d.addrs, d.note.address) {
				t.add(op{kind: delAddr, device: d.name, address: d.note.address})
			}
			t.alias(d.alias, d.owner)
		}
		out = append(out, t)
	}
	for _, name := range slices.Sorted(maps.Keys(w.fences)) {
		if but == 0 || name != e.cfg.device() {
			t := task{device: name}
			t.add(op{kind: unfence, device: name})
			out = append(out, t)
		}
	}
	return out
}

// Refused returns the refusals in an error of Apply.
func Refused(err error) []*RefusedError {
	var one *RefusedError
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*RefusedError
		for _, e := range many.Unwrap() {
			out = append(out, Refused(e)...)
		}
		return out
	}
	if errors.As(err, &one) {
		return []*RefusedError{one}
	}
	return nil
}
