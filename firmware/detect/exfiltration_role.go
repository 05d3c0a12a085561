package detect

import (
	"time"

	"sekisho/firmware/asset"
)

// roleMeasure is what devices of one role (computer, printer, phone, …) send
// out: the measure for a device that has no past of its own yet.
type roleMeasure struct {
	devices int
	most    float64 // largest hour of their last weeks, log2 of bytes
}

// leastOfRole devices with a past make a role: with two of three alike the
// largest is not one odd machine's.
const leastOfRole = 3

// roles computes the measures once an hour: a past changes no sooner.
type roles struct {
	hour int64
	of   map[asset.Kind]roleMeasure // as many as asset has kinds
}

// role is the measure of a device's role; ok says that there is one.
func (d *exfiltration) role(src source, now time.Time) (m roleMeasure, ok bool) {
	a, known := d.net.byMAC(src.mac)
	if !known || a.Kind == "" || a.Kind == asset.KindUnknown {
		return m, false
	}
	if hour := now.Unix() / 3600; hour != d.roles.hour || d.roles.of == nil {
		d.roles = roles{hour: hour, of: d.measureRoles(now)}
	}
	m = d.roles.of[a.Kind]
	return m, m.devices >= leastOfRole
}

func (d *exfiltration) measureRoles(now time.Time) map[asset.Kind]roleMeasure {
	out := map[asset.Kind]roleMeasure{}
	for id, n := range d.past.tab.m { // in any order: a maximum and a number
		u := n.val.usualHour()
		if u.n < leastHours || now.Sub(n.val.since) < d.net.Learn {
			continue
		}
		a, known := d.net.byMAC(id.mac)
		if !known {
			continue
		}
		m := out[a.Kind]
		m.devices, m.most = m.devices+1, max(m.most, u.max)
		out[a.Kind] = m
	}
	return out
}

// exceeded says that an hour is twice the largest that any of the role had.
func (m roleMeasure) exceeded(bytes uint64) bool { return log2(bytes) > m.most+1 }
