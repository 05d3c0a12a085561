package incident

import (
	"slices"
	"time"

	"sekisho/firmware/asset"
)

// FirstSign is the time of the first packet that the incident rests on.
func (i Incident) FirstSign() time.Time { return i.firstPacket() }

// HeldSince is when the device was first held in the present holding, whatever was
// decided about its level since: what a held device says of itself afterwards is no
// evidence of what it is. Zero when it is not held.
func (i Incident) HeldSince() time.Time {
	if !i.State.Held() {
		return time.Time{}
	}
	since := i.Decision.At
	for n := len(i.History) - 1; n >= 0; n-- {
		t := i.History[n]
		if !t.To.Held() {
			break
		}
		if t.At.Before(since) {
			since = t.At
		}
	}
	return since
}

// NeverAlong says that a device must not be held along with another one: this
// gateway, its uplink, and what the owner protects. The inventory knows routers
// itself.
func (p Policy) NeverAlong(a asset.Asset) bool {
	return p.guard(a) == GuardNever || a.Protected || slices.Contains(p.Protected, a.ID)
}

// Relate keeps which other Ethernet addresses are the incident's device; those
// that follow are held with it. It is no step: who is held and how far stays as
// it was decided. Nothing is done to an incident that is over.
func (d *Desk) Relate(now time.Time, id string, kin []asset.Kin) (Change, bool) {
	i := d.all[id]
	if i == nil || !i.State.Live() {
		return Change{}, false
	}
	next := i.clone()
	next.Asset.Kin = kin
	if now.After(next.Updated) {
		next.Updated = now.UTC()
	}
	d.put(next)
	return Change{Incident: next}, true
}

// Part takes devices out of an incident's kin that a person called other ones. In
// probation too: a finding about somebody else's device, or a wish to hold it, must
// not stop the one that was let go.
func (d *Desk) Part(now time.Time, id string, other func(asset.ID) bool) (Change, bool) {
	i := d.all[id]
	if i == nil {
		return Change{}, false
	}
	kin := slices.DeleteFunc(slices.Clone(i.Asset.Kin), func(k asset.Kin) bool { return other(k.ID) })
	if len(kin) == len(i.Asset.Kin) {
		return Change{}, false
	}
	return d.Relate(now, id, kin)
}

// about is the live incident that is about a device: its own, or that of the
// device whose other address it is. One that is held, or was lately, goes before
// an open one of the address alone: the relapse under another address is still
// the same device's.
func (d *Desk) about(id asset.ID) *Incident {
	own := d.current(id)
	if own != nil && own.State != Open {
		return own
	}
	for n := len(d.order) - 1; n >= 0; n-- {
		i := d.order[n]
		if (i.State.Held() || i.State == Probation) && slices.ContainsFunc(i.Asset.Kin, func(k asset.Kin) bool { return k.Follows && k.ID == id }) {
			return i
		}
	}
	return own
}

// relapsed gives the device of the next incident the addresses that were held
// with it in the one before: whatever it calls itself now, they are known.
func relapsed(a asset.Asset, before asset.Asset) asset.Asset {
	if a.ID == before.ID {
		a.Kin = before.Kin
		return a
	}
	a.Kin = []asset.Kin{asset.Together(before)}
	for _, k := range before.Kin {
		if k.ID != a.ID && k.Follows {
			a.Kin = append(a.Kin, k)
		}
	}
	return a
}

// plain leaves out what the inventory keeps for itself: the incident has what
// was made of it.
func plain(a asset.Asset) asset.Asset {
	a.Identity = asset.Identity{}
	return a
}
