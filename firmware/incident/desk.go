package incident

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
)

// Policy is what the owner allows. The zero Policy never acts by itself;
// DefaultPolicy does.
type Policy struct {
	AutoIsolate bool
	MaxHosts    int            // automatic isolations per Window; 0: 2
	MaxPercent  int            // of active devices held automatically at a time, at least one; 0: 20
	Window      time.Duration  // of the circuit breaker; 0: 10 minutes
	Business    Hours          // inside, policy steps down to limit
	LAN         []netip.Prefix // the office's networks; nil: private and link-local ranges
	Never       []asset.ID     // the gateway's uplink router, besides Asset.Gateway
	Protected   []asset.ID     // only a person holds these, whether or not the inventory has marked them yet

	ProofWithin  time.Duration // from order to proof; 0: 30 s
	Probation    time.Duration // after release; 0: 72 hours
	Quiet        time.Duration // an incident that needs nobody ends after this; 0: 24 hours
	Remember     time.Duration // what a person's word taught holds for this; 0: 90 days
	ReleaseAfter time.Duration // automatic release of what was held automatically; 0: never
	Drill        bool          // every incident is part of a drill
}

// DefaultPolicy is what an office starts with.
func DefaultPolicy() Policy { return Policy{AutoIsolate: true}.filled() }

func (p Policy) filled() Policy {
	p.MaxHosts = cmp.Or(p.MaxHosts, 2)
	p.MaxPercent = cmp.Or(p.MaxPercent, 20)
	p.Window = cmp.Or(p.Window, 10*time.Minute)
	p.ProofWithin = cmp.Or(p.ProofWithin, 30*time.Second)
	p.Probation = cmp.Or(p.Probation, 72*time.Hour)
	p.Quiet = cmp.Or(p.Quiet, 24*time.Hour)
	p.Remember = cmp.Or(p.Remember, 90*24*time.Hour)
	return p
}

// Hours is a span of the day, every day. The zero Hours never holds.
type Hours struct {
	From, To time.Duration // since midnight; To before From runs past midnight
	Location *time.Location
}

// ParseHours reads "09:00-18:00"; empty text is the zero Hours.
func ParseHours(text string, loc *time.Location) (Hours, error) {
	if text == "" {
		return Hours{}, nil
	}
	from, to, ok := strings.Cut(text, "-")
	f, err1 := time.Parse("15:04", strings.TrimSpace(from))
	t, err2 := time.Parse("15:04", strings.TrimSpace(to))
	if !ok || err1 != nil || err2 != nil {
		return Hours{}, fmt.Errorf("%q is not a span of the day; write for example \"09:00-18:00\"", text)
	}
	sinceMidnight := func(t time.Time) time.Duration {
		return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	}
	return Hours{sinceMidnight(f), sinceMidnight(t), loc}, nil
}

// Contain says whether t lies inside.
func (h Hours) Contain(t time.Time) bool {
	if h.From == h.To {
		return false
	}
	if h.Location != nil {
		t = t.In(h.Location)
	}
	at := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	if h.From < h.To {
		return at >= h.From && at < h.To
	}
	return at >= h.From || at < h.To
}

// A stranger can invent devices.
const (
	maxIncidents = 512 // that a desk holds, besides those that are held
	maxWaiting   = 64  // that a person is asked about at a time
)

// Change is an incident after a step, to be journalled, and what to do then.
type Change struct {
	Incident Incident
	Commands []Command
}

// Desk holds the incidents at hand. It is pure (time is passed in) and not
// safe for concurrent use: the gateway's one loop owns it.
type Desk struct {
	policy  Policy
	all     map[string]*Incident
	live    map[asset.ID]string // device -> its live incident
	lessons map[string]lesson   // by incident
	breaker breaker
	clock   clock
	evicted uint64
	drilled asset.ID // the device of the drill that runs, see Rehearse

	order []*Incident // all, by age

	// What Incidents and Waiting hand out, until the next step: they are asked
	// for several times per event.
	sorted  []Incident
	waiting []Incident
}

// NewDesk returns an empty desk.
func NewDesk(p Policy) *Desk {
	p = p.filled()
	return &Desk{
		policy: p, all: map[string]*Incident{}, live: map[asset.ID]string{}, lessons: map[string]lesson{},
		breaker: breaker{window: p.Window, hosts: map[asset.ID]time.Time{}},
	}
}

// Restore takes in what the store kept, also the closed ones: the circuit
// breaker counts them. It returns the commands to run again at boot, and what
// had to go to make room.
func (d *Desk) Restore(now time.Time, kept []Incident) []Change {
	var out []Change
	for _, i := range kept {
		i.update()
		if i.Decision.By == ByAuto {
			d.breaker.spend(i.Decision.At, i.Asset.ID)
		}
		if i.Automatic.Kind == InAuto { // also when a person has undone it, or taken it over
			d.breaker.spend(i.Automatic.At, i.Asset.ID)
		}
		d.put(i)
	}
	out = append(out, d.makeRoom(now)...)
	for _, i := range slices.Clone(d.order) {
		if c, err := d.Apply(i.ID, Input{Kind: InRestart, At: now}); err == nil && len(c.Commands) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// Observe takes one finding: into the device's live incident, or into a new
// one. active is the number of devices seen lately, for the breaker. Usually
// one change comes back; a relapse ends one incident and opens the next, and a
// suspect too many sends the weakest one away. The device's own come first.
func (d *Desk) Observe(now time.Time, f detect.Finding, a asset.Asset, active int) []Change {
	a = named(a, f)
	var out []Change
	cur := d.about(a.ID)
	switch {
	case cur == nil:
		cur = d.open(now, a)
	case cur.Asset.ID == a.ID:
		a.Kin = cur.Asset.Kin
		cur.Asset = a
	}
	c := d.judge(now, f, *cur, active)
	out = append(out, c)
	if c.Incident.State == Closed { // a relapse
		next := d.open(now, relapsed(a, c.Incident.Asset))
		next.Previous, next.Findings = c.Incident.ID, append(next.Findings, c.Incident.since(f.Detector)...)
		out = append(out, d.judge(now, f, *next, active))
	}
	return append(out, d.makeRoom(now)...)
}

// judge steps the incident with the finding and, where policy says so, orders
// containment in the same change.
func (d *Desk) judge(now time.Time, f detect.Finding, i Incident, active int) Change {
	a := d.assess(now, f, i, active)
	next, commands := Step(i, Input{Kind: InFinding, At: now, By: bounded(f.Detector), Finding: f, Assessment: a})
	if a.Action == AutoIsolate && next.State == Open {
		var more []Command
		next, more = Step(next, Input{Kind: InAuto, At: now, By: ByAuto, Level: a.Level, Why: a.Why, Allowed: a.Allowed})
		if next.State == Containing {
			d.breaker.spend(now, next.Asset.ID)
			// Isolation first, whatever else the finding asked for.
			commands = distinct(append(more, commands...))
		}
	}
	d.put(next)
	return Change{next, commands}
}

func distinct(in []Command) []Command {
	var out []Command
	for _, c := range in {
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// Untouchable says that nobody may hold the device: it is the gateway itself or
// its uplink. No incident is opened for a wish to.
func (d *Desk) Untouchable(a asset.Asset) bool { return d.policy.guard(a) == GuardNever }

// Request holds a device that a person names, with or without an incident. note
// is the person's reason; an incident that begins with it says it.
func (d *Desk) Request(now time.Time, a asset.Asset, level Level, by, note string) Change {
	cur := d.about(a.ID)
	if cur == nil {
		cur = d.open(now, a)
		cur.Why = detect.Text{EN: "A person asked for it.", JA: "担当者の操作によるものです。"}
		if note != "" {
			cur.Why = detect.Text{EN: bounded("A person asked for it: " + note), JA: bounded("担当者の操作によるものです：" + note)}
		}
	}
	if cur.Asset.ID == a.ID {
		cur.Guard = d.policy.guard(a) // Apply steps from here
	}
	c, _ := d.Apply(cur.ID, Input{Kind: InRequest, At: now, By: by, Level: level, Note: note})
	return c
}

// Adopt keeps a device held that was held before a restart and whose record was
// lost. A person had decided then, so nobody is asked again, for a guarded device
// neither; only the gateway and its uplink are refused.
func (d *Desk) Adopt(now time.Time, a asset.Asset, level Level) Change {
	a = named(a, detect.Finding{})
	cur := d.current(a.ID)
	if cur == nil {
		cur = d.open(now, a)
		cur.Why = detect.Text{
			EN: "It was held before the gateway started; the record of why was lost.",
			JA: "起動前から遮断していた機器です。理由の記録は失われています。",
		}
	}
	if cur.Guard = d.policy.guard(a); cur.Guard == GuardTwice {
		cur.Asked = now
	}
	c, _ := d.Apply(cur.ID, Input{Kind: InRequest, At: now, By: ByGateway, Level: level})
	return c
}

// UnknownError names an incident that the desk does not hold.
type UnknownError struct{ ID string }

func (e *UnknownError) Error() string { return "no incident " + e.ID }

// Apply steps the incident with the given id. The only error is *UnknownError.
func (d *Desk) Apply(id string, in Input) (Change, error) {
	i := d.all[id]
	if i == nil {
		return Change{}, &UnknownError{id}
	}
	in.probation = d.policy.Probation
	next, commands := Step(*i, in)
	d.put(next)
	return Change{next, commands}, nil
}

// resealAfter is how long after a failed seal the next one is ordered: a disk
// was full or pulled out, and a person may have seen to it since.
const resealAfter = 10 * time.Minute

// Advance lets time reach now: deadlines and probations that ran out, and seals
// that failed.
func (d *Desk) Advance(now time.Time) []Change {
	var out []Change
	d.clock.tell(now)
	for id, l := range d.lessons {
		if now.Sub(l.At) > d.policy.Remember {
			delete(d.lessons, id)
		}
	}
	for _, i := range slices.Clone(d.order) {
		in := Input{At: now, By: ByPolicy}
		switch {
		case i.State == Containing && now.Sub(i.Since) > d.policy.ProofWithin,
			i.State == Open && i.Action == None && now.Sub(i.Updated) > d.policy.Quiet,
			(i.State == Contained || i.State == Eradicating) && d.policy.ReleaseAfter > 0 &&
				i.Decision.By == ByAuto && d.clock.lasted(i.Since, now) > d.policy.ReleaseAfter:
			in.Kind = InDeadline
		case i.State == Probation && now.After(d.probationEnd(*i)):
			in.Kind = InExpired
		case i.sealDue() && !i.LastSealTry.IsZero() && now.Sub(i.LastSealTry) >= resealAfter:
			in.Kind, in.reseal = InDeadline, true
		default:
			continue
		}
		if c, err := d.Apply(i.ID, in); err == nil {
			out = append(out, c)
		}
	}
	return out
}

// probationEnd is also there for one that began before its end was kept.
func (d *Desk) probationEnd(i Incident) time.Time {
	if i.Until.IsZero() {
		return i.Since.Add(d.policy.Probation)
	}
	return i.Until
}

// Get returns the incident with the given id.
func (d *Desk) Get(id string) (Incident, bool) {
	i := d.all[id]
	if i == nil {
		return Incident{}, false
	}
	return *i, true
}

func (d *Desk) current(id asset.ID) *Incident { return d.all[d.live[id]] }

func (d *Desk) open(now time.Time, a asset.Asset) *Incident {
	i := Incident{
		ID: d.newID(now, a), State: Open, Asset: plain(a), Guard: d.policy.guard(a), Drill: d.policy.Drill || d.drilled != "" && a.ID == d.drilled, Level: Watch,
		Action: None, Confidence: detect.Low, Opened: now.UTC(), Updated: now.UTC(), Since: now.UTC(),
		Findings: []Observation{}, History: []Transition{},
	}
	d.put(i)
	return d.all[i.ID]
}

// put stores a snapshot and makes room when there is none: first what is over,
// of that last what still teaches, then what needs nobody. What is held never goes; what waits for a person goes
// by makeRoom alone.
func (d *Desk) put(i Incident) {
	d.forget(i.ID)
	d.all[i.ID] = &i
	d.learn(i)
	at, _ := slices.BinarySearchFunc(d.order, &i, byAge)
	d.order = slices.Insert(d.order, at, &i)
	if i.State.Live() {
		d.live[i.Asset.ID] = i.ID
	} else if d.live[i.Asset.ID] == i.ID {
		delete(d.live, i.Asset.ID)
	}
	if len(d.all) <= maxIncidents {
		return
	}
	var victim *Incident
	for _, c := range d.order {
		if c.ID == i.ID || c.State.Live() && (c.State != Open || c.Action != None) {
			continue
		}
		if victim == nil || cmp.Or(b2i(c.State.Live())-b2i(victim.State.Live()), b2i(c.Lesson.Holds())-b2i(victim.Lesson.Holds()),
			c.Updated.Compare(victim.Updated), cmp.Compare(c.ID, victim.ID)) < 0 {
			victim = c
		}
	}
	if victim == nil {
		return
	}
	d.forget(victim.ID)
	if d.live[victim.Asset.ID] == victim.ID {
		delete(d.live, victim.Asset.ID)
	}
	d.evicted++
}

// forget takes an incident out of all and order.
func (d *Desk) forget(id string) {
	d.sorted, d.waiting = nil, nil
	old := d.all[id]
	if old == nil {
		return
	}
	delete(d.all, id)
	if at, found := slices.BinarySearchFunc(d.order, old, byAge); found {
		d.order = slices.Delete(d.order, at, at+1)
	}
}

func byAge(a, b *Incident) int { return cmp.Or(a.Opened.Compare(b.Opened), cmp.Compare(a.ID, b.ID)) }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// newID is the opening time and four hex digits of the address, with a number
// behind when that is taken.
func (d *Desk) newID(now time.Time, a asset.Asset) string {
	tail := fmt.Sprintf("%02x%02x", a.MAC[4], a.MAC[5])
	if a.MAC.IsZero() && len(a.Addrs) > 0 {
		b := a.Addrs[0].AsSlice()
		if n := len(b); n >= 2 {
			tail = fmt.Sprintf("%02x%02x", b[n-2], b[n-1])
		}
	}
	base := now.UTC().Format("20060102-150405-") + tail
	id := base
	for n := 2; d.all[id] != nil; n++ {
		id = fmt.Sprintf("%s-%d", base, n)
	}
	return id
}

// named gives an unknown device the identity that the detector saw.
func named(a asset.Asset, f detect.Finding) asset.Asset {
	a = plain(a)
	if a.MAC.IsZero() {
		a.MAC = f.Host.MAC
	}
	if len(a.Addrs) == 0 {
		a.Addrs = slices.Clone(f.Host.IPs)
		if len(a.Addrs) == 0 && f.Host.IP.IsValid() {
			a.Addrs = []netip.Addr{f.Host.IP}
		}
	} else {
		a.Addrs = slices.Clone(a.Addrs)
	}
	if a.Name == "" {
		a.Name = f.Host.Name
	}
	if a.ID == "" && !a.MAC.IsZero() {
		a.ID = asset.ID("mac:" + a.MAC.String())
	} else if a.ID == "" && len(a.Addrs) > 0 {
		a.ID = asset.ID("ip:" + a.Addrs[0].String())
	}
	return a
}
