package asset

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// A flood of invented addresses must not push out the devices of the office.
// Two queues, least recently seen first: devices that nobody confirmed go
// before those that held up a conversation or got a lease. Whatever the owner
// marked, named or judged, what is pinned, and the gateway, stands in no queue.

func (v *Inventory) place(e *entry) {
	if e.elem != nil {
		e.home.Remove(e.elem)
		e.elem = nil
	}
	if e.Protected || e.Gateway || e.NameFrom == "owner" || v.pinned[e.ID] || len(e.Identity.Verdicts) > 0 {
		return
	}
	e.home = &v.fresh
	if e.confirmed {
		e.home = &v.known
	}
	e.elem = e.home.PushBack(e)
}

// room makes place for one more device; false when nothing may go.
func (v *Inventory) room() bool {
	if len(v.byID) < v.max {
		return true
	}
	front := v.fresh.Front()
	if front == nil {
		front = v.known.Front()
	}
	if front == nil {
		return false
	}
	v.evicted++
	v.remove(front.Value.(*entry))
	return true
}

func (v *Inventory) remove(e *entry) {
	if e.elem != nil {
		e.home.Remove(e.elem)
		e.elem = nil
	}
	delete(v.byID, e.ID)
	if v.byMAC[e.MAC] == e {
		delete(v.byMAC, e.MAC)
	}
	for _, a := range e.Addrs {
		if v.byAddr[a] == e {
			delete(v.byAddr, a)
		}
	}
	v.forgotten(e)
	if e.told {
		v.mark(e)
		return
	}
	// Nobody heard of it, so nobody has to forget it: what came and went in
	// between would else fill memory until somebody asks.
	delete(v.changed, e.ID)
}

// byMACOrNew finds or makes the device of an Ethernet address; nil when there
// is none or no room.
func (v *Inventory) byMACOrNew(m flow.MAC, h *flow.Meta) *entry {
	if m.IsZero() || m.IsGroup() {
		return nil
	}
	e := v.byMAC[m]
	if e == nil {
		if !v.room() {
			v.refused++
			return nil
		}
		e = v.make(ID("mac:"+m.String()), h.Time)
		e.MAC, e.RandomMAC, e.Vendor = m, m.IsLocal(), Maker(m)
		if slices.Contains(v.self, m) {
			v.appliance(e)
		}
		v.byMAC[m] = e
		v.place(e)
	}
	v.touch(e, h)
	return e
}

// byIPOrNew is the same for a device whose Ethernet address is out of sight.
func (v *Inventory) byIPOrNew(a netip.Addr, h *flow.Meta) *entry {
	id := ID("ip:" + a.String())
	e := v.byID[id]
	if e == nil {
		if !v.room() {
			v.refused++
			return nil
		}
		e = v.make(id, h.Time)
		v.give(e, a, binding{last: h.Time})
		v.place(e)
	}
	v.touch(e, h)
	return e
}

func (v *Inventory) make(id ID, t time.Time) *entry {
	e := &entry{}
	e.ID, e.Kind, e.FirstSeen, e.LastSeen, e.toldSeen = id, KindUnknown, t, t, t
	_, e.told = v.changed[id] // forgotten a moment ago, and that was not yet said
	v.byID[id] = e
	v.mark(e)
	return e
}

func (v *Inventory) touch(e *entry, h *flow.Meta) {
	if h.Time.After(e.LastSeen) {
		e.LastSeen = h.Time
	}
	if e.LastSeen.Sub(e.toldSeen) >= seenStep {
		e.toldSeen = e.LastSeen
		v.mark(e)
	}
	if e.elem != nil {
		e.home.MoveToBack(e.elem)
	}
}

func (v *Inventory) confirm(e *entry) {
	if e != nil && !e.confirmed {
		e.confirmed = true
		v.place(e)
	}
}

// give binds an address to a device, most recent first; the oldest goes when
// the device has too many.
func (v *Inventory) give(e *entry, a netip.Addr, b binding) {
	if old := v.byAddr[a]; old != nil && old != e {
		v.take(old, a)
	}
	v.byAddr[a] = e
	if had := e.of(a); had != nil {
		*had = b
		return
	}
	e.Addrs, e.bound = slices.Insert(e.Addrs, 0, a), slices.Insert(e.bound, 0, b)
	if m, ok := builtFrom(a); ok {
		v.claims(e, macKey(m, e.MAC), b.last)
	}
	if len(e.Addrs) > maxAddrs {
		v.take(e, e.Addrs[maxAddrs])
	}
	v.mark(e)
}

func (v *Inventory) take(e *entry, a netip.Addr) {
	if v.byAddr[a] == e {
		delete(v.byAddr, a)
	}
	if i := slices.Index(e.Addrs, a); i >= 0 {
		e.Addrs, e.bound = slices.Delete(e.Addrs, i, i+1), slices.Delete(e.bound, i, i+1)
	}
	v.mark(e)
	if e.MAC.IsZero() && len(e.Addrs) == 0 {
		v.remove(e) // an address is all that such a device was
	}
}

func macOf(id ID) flow.MAC {
	var m flow.MAC
	s, ok := strings.CutPrefix(string(id), "mac:")
	if !ok || len(s) != 17 {
		return flow.MAC{}
	}
	for i := range m {
		b, err := strconv.ParseUint(s[3*i:3*i+2], 16, 8)
		if err != nil {
			return flow.MAC{}
		}
		m[i] = byte(b)
	}
	return m
}
