package incident

import (
	"fmt"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
)

// breaker keeps a false alarm from stopping the business: it counts the
// distinct devices that policy held lately.
type breaker struct {
	window time.Duration
	hosts  map[asset.ID]time.Time // latest automatic order per device
}

func (b *breaker) spend(at time.Time, id asset.ID) {
	if at.After(b.hosts[id]) {
		b.hosts[id] = at
	}
}

// recent counts devices other than id. A time ahead of now means that the clock
// was set back: it counts from now on, for one window more and not for ever. The
// breaker errs towards a person.
func (b *breaker) recent(now time.Time, id asset.ID) int {
	n := 0
	for host, at := range b.hosts {
		if at.After(now) {
			at, b.hosts[host] = now, now
		}
		if now.Sub(at) > b.window {
			delete(b.hosts, host)
		} else if host != id {
			n++
		}
	}
	return n
}

// Limits is how far policy may go by itself now.
type Limits struct {
	AutoIsolate  bool          `json:"auto_isolate"`
	Used         int           `json:"used"` // devices held automatically within Window
	Max          int           `json:"max"`
	Window       time.Duration `json:"window_ns"`
	FreeAt       time.Time     `json:"free_at,omitzero"` // when the oldest of Used no longer counts
	Held         int           `json:"held"`             // held automatically now, or ordered lately
	MostHeld     int           `json:"most_held"`        // MaxPercent of Active, at least one
	Active       int           `json:"active"`
	MaxPercent   int           `json:"max_percent"`
	Business     bool          `json:"business"`         // business hours now: limit instead of isolate
	ReleaseAfter time.Duration `json:"release_after_ns"` // 0: what is held stays held until a person releases it
	Probation    time.Duration `json:"probation_ns"`
}

// Full says that the breaker leaves the next device to a person.
func (l Limits) Full() bool { return l.Used >= l.Max || l.Held >= l.MostHeld }

// Limits says how far policy may go by itself now, for people to see. active is
// as in Observe.
func (d *Desk) Limits(now time.Time, active int) Limits { return d.limits(now, "", active) }

// limits leaves out the device that is in question.
func (d *Desk) limits(now time.Time, id asset.ID, active int) Limits {
	l := Limits{
		AutoIsolate: d.policy.AutoIsolate, Used: d.breaker.recent(now, id), Max: d.policy.MaxHosts, Window: d.policy.Window,
		Held: d.autoHeld(now, id), MostHeld: max(1, active*d.policy.MaxPercent/100), Active: active, MaxPercent: d.policy.MaxPercent,
		Business: d.policy.Business.Contain(now), ReleaseAfter: d.policy.ReleaseAfter, Probation: d.policy.Probation,
	}
	for host, at := range d.breaker.hosts {
		if free := at.Add(d.policy.Window); host != id && (l.FreeAt.IsZero() || free.Before(l.FreeAt)) {
			l.FreeAt = free
		}
	}
	return l
}

// tripped says why policy may not hold one more device.
func (l Limits) tripped() detect.Text {
	if l.Used >= l.Max {
		return detect.Text{
			EN: fmt.Sprintf("The circuit breaker stopped automatic isolation: %d devices in the last %s already.", l.Used, l.Window),
			JA: fmt.Sprintf("自動隔離は安全装置により止まっています（直近%d分間ですでに%d台）。", int(l.Window.Minutes()), l.Used),
		}
	}
	return detect.Text{
		EN: fmt.Sprintf("The circuit breaker stopped automatic isolation: %d of %d active devices are held already, %d may be.", l.Held, l.Active, l.MostHeld),
		JA: fmt.Sprintf("自動隔離は安全装置により止まっています（稼働中%d台のうち、すでに%d台を隔離、上限%d台）。", l.Active, l.Held, l.MostHeld),
	}
}

// allowed says which limits left room for holding one more device at level, and
// how that is undone.
func (l Limits) allowed(level Level, relapse bool) detect.Text {
	minutes := int(l.Window.Minutes())
	t := detect.Text{
		EN: fmt.Sprintf("Allowed by the limits that you set: device %d of at most %d in %d minutes; %d of at most %d that may be held automatically at a time (%d %% of %d active devices).", l.Used+1, l.Max, minutes, l.Held+1, l.MostHeld, l.MaxPercent, l.Active),
		JA: fmt.Sprintf("設定された上限の範囲内です（%d分間に%d台までのうち%d台目、自動で止められる%d台〈稼働中%d台の%d%%〉のうち%d台目）。", minutes, l.Max, l.Used+1, l.MostHeld, l.Active, l.MaxPercent, l.Held+1),
	}
	if relapse {
		t = detect.Text{
			EN: "Allowed because the device was being watched after its return; it counts with the circuit breaker but needs no free place there.",
			JA: "復帰後の見守り中の機器のため、自動で止めました（安全装置の台数には数えますが、空きがなくても止めます）。",
		}
	}
	if l.Business && level == Limit {
		t.EN += " Business hours: limited instead of isolated."
		t.JA += "業務時間中のため、隔離ではなく制限にとどめています。"
	}
	t.EN += " A person can undo it on the web page in one step."
	t.JA += "担当者は、画面から1回の操作で取り消せます。"
	return t
}

// autoHeld counts other devices that policy holds now or ordered lately.
func (d *Desk) autoHeld(now time.Time, id asset.ID) int {
	n := d.breaker.recent(now, id)
	for _, i := range d.all {
		if i.State.Held() && i.Decision.By == ByAuto && i.Asset.ID != id {
			if _, counted := d.breaker.hosts[i.Asset.ID]; !counted {
				n++
			}
		}
	}
	return n
}

// clock counts the time that passed, which is not what the wall clock says when
// somebody sets it. Since times in an incident survive a restart, their
// difference to now is wall time: a clock that was a year behind must not end
// every isolation with a deadline.
type clock struct {
	last  time.Time
	jumps []jump // the latest ones
}

type jump struct {
	to time.Time
	by time.Duration
}

// longestBeat is more than the gateway's beat of 250 ms can ever take.
const (
	longestBeat = 10 * time.Minute
	maxJumps    = 16
)

func (c *clock) tell(now time.Time) {
	now = now.Round(0) // wall time: the difference is the point
	if by := now.Sub(c.last); !c.last.IsZero() && by > longestBeat {
		c.jumps = append(c.jumps, jump{now, by})
		if len(c.jumps) > maxJumps { // merge the oldest two: never forget one
			c.jumps[1].by += c.jumps[0].by
			c.jumps = c.jumps[1:]
		}
	}
	c.last = now
}

// lasted is how much of the time since at was seen to pass.
func (c *clock) lasted(at, now time.Time) time.Duration {
	d := now.Round(0).Sub(at.Round(0))
	for _, j := range c.jumps {
		if j.to.After(at) {
			d -= j.by
		}
	}
	return d
}
