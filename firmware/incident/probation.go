package incident

import (
	"fmt"
	"time"

	"sekisho/firmware/detect"
)

// Probation is the time after a release. Nothing is blocked, and the evidence
// model (score.go) starts from a higher prior, because the device was infected a
// moment ago and cleaning by hand misses things:
//
//   - what it was held for (the same family of detectors): relapseOdds more, so
//     that the 4 to 1 of a medium finding do what else takes 100 to 1, and a low
//     one asks a person;
//   - anything else, and everything where a person said that it had been a false
//     alarm: probationOdds more, as if one more low detector agreed. It tips over
//     only what was at the edge.
//
// A relapse is held at once: by policy, on an ordinary device. It needs no free
// place with the circuit breaker, which is there to keep a false alarm from
// spreading over devices that nobody suspected; how many devices are in probation
// is a person's doing, each release is one. It counts there all the same. In
// business hours it is held at the level that it had before and not lower: the
// office has lived with that already. A protected device, a router, and a device
// whose address was seen on two ports still wait for a person.
//
// Frames that were blocked are seen all the same, and a call that nobody answers
// is judged when its time is over. What was decided by the release is therefore no
// news, and until settle has passed policy does not act on what began before it: a
// person is asked. settle is how long a TCP client goes on trying (75 s in BSD,
// and what flow waits for): all that was in the air has been judged by then.
const (
	relapseOdds   = highOdds - mediumOdds
	probationOdds = confirmedOdds
	settle        = 75 * time.Second
)

// trial is the incident whose probation the device is in, or was in until what i
// is about ended it.
func (d *Desk) trial(i Incident, now time.Time) (Incident, bool) {
	if i.State == Probation {
		return i, true
	}
	prev := d.all[i.Previous]
	if i.State != Open || prev == nil || prev.Until.IsZero() || now.After(prev.Until) {
		return Incident{}, false
	}
	return *prev, true
}

// released is when the device was let go: the beginning of its latest probation.
func (i Incident) released() time.Time {
	if i.State == Probation {
		return i.Since
	}
	for n := len(i.History) - 1; n >= 0; n-- {
		if t := i.History[n]; t.To == Probation && t.From != Probation {
			return t.At
		}
	}
	return time.Time{}
}

// since is the evidence that began after the release, without the detector's own
// if it spoke before: what was known then has been dealt with.
func (i Incident) since(detector string) (out []Observation) {
	for _, o := range i.Findings {
		if o.First.After(i.released()) && o.Detector != detector {
			out = append(out, o)
		}
	}
	return out
}

// relapse says that f is what the device had been held for.
func (i Incident) relapse(f detect.Finding) bool {
	for _, o := range i.Findings {
		if family(o.Detector) == family(f.Detector) && o.First.Before(i.released()) {
			return true
		}
	}
	return false
}

// calledHarmless says that the device was held by mistake: what was no infection
// cannot come back.
func (i Incident) calledHarmless() bool { return i.Lesson.Holds() && i.Lesson.Kind == Harmless }

// settled says that f is about the time after the release.
func (i Incident) settled(f detect.Finding) bool {
	return f.First.After(i.released()) || f.Time.Sub(i.released()) >= settle
}

// tried is how the probation that the device is in weighs.
type tried struct {
	relapse bool
	old     bool      // decided before the release
	open    bool      // not settled
	level   Level     // that it had before
	word    time.Time // when a person said that it had been an infection; zero: nobody did
}

// weigh adds what probation adds.
func (d *Desk) weigh(now time.Time, i Incident, f detect.Finding, sum float64, a *Assessment) (float64, tried) {
	trial, on := d.trial(i, now)
	if !on {
		return sum, tried{}
	}
	t := tried{
		relapse: trial.relapse(f) && !trial.calledHarmless(), level: trial.Decision.Level,
		old: !f.Time.After(trial.released()), open: !trial.settled(f),
	}
	if trial.Lesson.Holds() && trial.Lesson.Kind == Confirmed && t.relapse {
		t.word = trial.Lesson.At
	}
	if t.old {
		return sum, t
	}
	until := trial.Until.Format(time.DateOnly)
	if t.relapse {
		a.because(
			fmt.Sprintf("It began again: the device was let back on the network and is watched closely until %s.", until),
			fmt.Sprintf("ネットワークに戻して見守っている機器で（%sまで）、同じ動きがふたたび始まりました。", until),
		)
		return sum + relapseOdds, t
	}
	a.because(
		fmt.Sprintf("The device is watched closely until %s.", until),
		fmt.Sprintf("この機器は%sまで見守っています。", until),
	)
	return sum + probationOdds, t
}
