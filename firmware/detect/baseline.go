package detect

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"sekisho/firmware/flow"
)

// history is what is known of each device from before: since when it is
// watched, what is familiar with it, and how much it sends out. It is bounded
// for every device and in the number of devices, survives a restart by
// remember and recall, and learns nothing from a device that is suspect, or an
// intruder would teach it.
type history struct {
	net *network
	tab *table[deviceID, past]
}

// deviceID is the MAC where one is seen, else the address: random MACs and
// leases change, and a device that changes both is a new one.
type deviceID struct {
	mac flow.MAC
	ip  netip.Addr
}

// past of one device. Volumes are payload bytes sent out of the office.
type past struct {
	since    time.Time
	known    []fact // by time of last sight, oldest first
	hours    [hoursOfWeek]float32
	days     [keptDays]float32 // ring
	dayCount int
	hour     int64 // the hour that is being counted, since 1970
	day      int64
	inHour   uint64
	inDay    uint64
	spoilt   bool // suspect in the present hour or day
}

// fact is a hash of what is familiar with a device, and when it was last seen.
type fact struct {
	Hash uint64 `json:"h"`
	Day  int64  `json:"d"`
}

const (
	hoursOfWeek = 7 * 24
	keptDays    = 28 // four of each weekday
	keptFacts   = 256
	// A fact that was not seen for a quarter is forgotten: leases of servers
	// and addresses of clouds change hands.
	factDays = 90
)

func newHistory(n *network) *history {
	return &history{net: n, tab: newTable[deviceID, past](n.MaxHosts, 0)}
}

func idOf(s source) deviceID { return deviceID(s) }

// of returns a device's past, begun at now when there is none.
func (h *history) of(s source, now time.Time) *past {
	p := h.tab.get(idOf(s))
	if p.since.IsZero() {
		p.since = now
	}
	return p
}

// learnt says that a device has been watched long enough for its past to be a
// measure.
func (h *history) learnt(s source, now time.Time) bool {
	p := h.tab.peek(idOf(s))
	return p != nil && !p.since.IsZero() && now.Sub(p.since) >= h.net.Learn
}

// familiar says that what was part of a device's life in its learning time.
// During that time it is only taken down.
func (h *history) familiar(s source, mac flow.MAC, what string, now time.Time) bool {
	p := h.of(s, now)
	f := fact{hashOf(what), now.Unix() / 86400}
	i := slices.IndexFunc(p.known, func(k fact) bool { return k.Hash == f.Hash })
	learning := now.Sub(p.since) < h.net.Learn
	switch {
	case i >= 0:
		p.known = append(slices.Delete(p.known, i, i+1), f)
		return !learning
	case learning && !h.net.suspect(mac):
		if len(p.known) >= keptFacts {
			p.known = slices.Delete(p.known, 0, 1)
		}
		p.known = append(p.known, f)
	}
	return false
}

// hashOf names what is familiar; a collision costs one wrong "familiar" in 2^56.
func hashOf(what string) uint64 { return hash64(what) }

// quiets says that a finding of what was familiar in the learning time is not
// to be told. What is worth medium is never taken down: an intruder who was
// there first would be part of the furniture.
func (h *history) quiets(s source, mac flow.MAC, what string, conf Confidence, now time.Time) bool {
	if rank(conf) < rank(Medium) {
		return h.familiar(s, mac, what, now)
	}
	p, hash := h.of(s, now), hashOf(what)
	return now.Sub(p.since) >= h.net.Learn && slices.ContainsFunc(p.known, func(k fact) bool { return k.Hash == hash })
}

// sent counts bytes that a device sent out of the office, and closes the hours
// and days that are over.
func (h *history) sent(s source, mac flow.MAC, bytes uint64, now time.Time) *past {
	p := h.of(s, now)
	hour, day := now.Unix()/3600, now.Unix()/86400
	if hour > p.hour {
		if p.hour != 0 && !p.spoilt {
			p.hours[p.hour%hoursOfWeek] = float32(p.inHour)
		}
		p.hour, p.inHour = hour, 0
		p.spoilt = false
	}
	if day > p.day {
		if p.day != 0 && !p.spoilt && p.inDay > 0 {
			p.days[p.dayCount%keptDays] = float32(p.inDay)
			p.dayCount++
		}
		p.day, p.inDay = day, 0
	}
	if h.net.suspect(mac) {
		p.spoilt = true
	}
	p.inHour += bytes
	p.inDay += bytes
	return p
}

// usual describes past hours with traffic on a logarithmic scale (base 2):
// their median, a robust deviation, the largest, and how many there were.
type usual struct {
	median, deviation, max float64
	n                      int
}

func (p *past) usualHour() usual { return usualOf(p.hours[:]) }

func usualOf(values []float32) usual {
	var buf [hoursOfWeek]float64
	v := buf[:0]
	for _, x := range values {
		if x > 0 {
			v = append(v, math.Log2(float64(x)))
		}
	}
	if len(v) == 0 {
		return usual{}
	}
	slices.Sort(v)
	u := usual{median: quantile(v, 0.5), max: v[len(v)-1], n: len(v)}
	for i := range v {
		v[i] = math.Abs(v[i] - u.median)
	}
	slices.Sort(v)
	u.deviation = 1.4826 * quantile(v, 0.5) // consistent with the normal law
	return u
}

func (h *history) size() int         { return h.tab.size() }
func (h *history) evictions() uint64 { return h.tab.evicted }

// The form on disk. Times are seconds, so that nothing depends on a zone.
const historyVersion = 1

type historyFile struct {
	Version int          `json:"version"`
	Devices []deviceFile `json:"devices"` // least recently seen first
}

type deviceFile struct {
	MAC      flow.MAC   `json:"mac"`
	IP       netip.Addr `json:"ip"`
	Since    int64      `json:"since"`
	Known    []fact     `json:"known,omitempty"`
	Hours    []float32  `json:"hours,omitempty"`
	Days     []float32  `json:"days,omitempty"`
	DayCount int        `json:"day_count,omitempty"`
	Hour     int64      `json:"hour,omitempty"`
	Day      int64      `json:"day,omitempty"`
	InHour   uint64     `json:"in_hour,omitempty"`
	InDay    uint64     `json:"in_day,omitempty"`
	Spoilt   bool       `json:"spoilt,omitempty"`
}

// remember writes the history down; the same history gives the same bytes.
func (h *history) remember() ([]byte, error) {
	f := historyFile{Version: historyVersion, Devices: make([]deviceFile, 0, h.tab.size())}
	for n := h.tab.root.prev; n != &h.tab.root; n = n.prev {
		p := &n.val
		d := deviceFile{MAC: n.key.mac, IP: n.key.ip, Since: p.since.Unix(), Known: p.known,
			DayCount: p.dayCount, Hour: p.hour, Day: p.day, InHour: p.inHour, InDay: p.inDay, Spoilt: p.spoilt}
		if slices.ContainsFunc(p.hours[:], func(x float32) bool { return x > 0 }) {
			d.Hours = p.hours[:]
		}
		if p.dayCount > 0 {
			d.Days = p.days[:]
		}
		f.Devices = append(f.Devices, d)
	}
	return json.Marshal(f)
}

// recall replaces the history by what remember wrote. What cannot be read
// leaves it as it was.
func (h *history) recall(data []byte) error {
	var f historyFile
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	if f.Version != historyVersion {
		return fmt.Errorf("read history: version %d is not known", f.Version)
	}
	tab := newTable[deviceID, past](h.tab.max, 0)
	for i := range f.Devices {
		d := &f.Devices[i]
		if err := d.check(); err != nil {
			return fmt.Errorf("read history: device %d: %w", i, err)
		}
		p := past{since: time.Unix(d.Since, 0).UTC(), known: d.Known, dayCount: d.DayCount,
			hour: d.Hour, day: d.Day, inHour: d.InHour, inDay: d.InDay, spoilt: d.Spoilt}
		copy(p.hours[:], d.Hours)
		copy(p.days[:], d.Days)
		*tab.get(deviceID{d.MAC, d.IP}) = p
	}
	h.tab = tab
	return nil
}

var errHistory = errors.New("a value is out of its range")

func (d *deviceFile) check() error {
	bad := func(x float32) bool { return x < 0 || x != x || math.IsInf(float64(x), 0) }
	switch {
	case len(d.Known) > keptFacts, len(d.Hours) > hoursOfWeek, len(d.Days) > keptDays,
		d.DayCount < 0, d.DayCount > math.MaxInt32, d.Hour < 0, d.Day < 0,
		d.MAC.IsZero() == !d.IP.IsValid(), d.IP.IsValid() && d.IP.Zone() != "",
		slices.ContainsFunc(d.Hours, bad), slices.ContainsFunc(d.Days, bad):
		return errHistory
	}
	slices.SortStableFunc(d.Known, func(a, b fact) int { return cmp.Compare(a.Day, b.Day) })
	last := d.Day
	if n := len(d.Known); n > 0 {
		last = max(last, d.Known[n-1].Day)
	}
	d.Known = slices.DeleteFunc(d.Known, func(f fact) bool { return last-f.Day > factDays })
	return nil
}
