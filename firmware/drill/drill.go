// Package drill is an exercise in which everything is real but the danger: a
// device of the gateway's own misbehaves, is detected, is put to a person on lamp
// and screen, and is isolated by the button like any other.
//
// The gateway owns the running Drill, feeds it what happens, keeps every step on
// disk before it acts on it, and carries out the commands. The package is pure:
// time is passed in, nothing is read or written. A drill must never stand in the
// way of a real incident, and must always end: each state has a time limit.
package drill

import (
	"fmt"
	"net/netip"
	"time"
)

// State is how far a drill has come.
type State string

// States, in the order in which a drill that goes well passes them.
const (
	Preparing State = "preparing" // the device is being made
	Acting    State = "acting"    // it misbehaves; nobody has been asked yet
	Asking    State = "asking"    // lamp and screen ask a person
	Isolating State = "isolating" // somebody pressed; the proof is not there yet
	Sealing   State = "sealing"   // isolated and proven; the evidence is being sealed
	Ended     State = "ended"
)

// States lists every state.
func States() []State { return []State{Preparing, Acting, Asking, Isolating, Sealing, Ended} }

// Outcome is how a drill ended.
type Outcome string

// Outcomes. Only Passed went all the way.
const (
	Passed        Outcome = "passed"         // pressed, proven, sealed
	NobodyPressed Outcome = "nobody_pressed" // within Limit
	NotDetected   Outcome = "not_detected"
	NotProven     Outcome = "not_proven" // pressed, but the isolation was not proven
	NotSealed     Outcome = "not_sealed" // isolated, but the evidence was not sealed
	Stopped       Outcome = "stopped"    // by a person
	Yielded       Outcome = "yielded"    // to something real
	Copied        Outcome = "copied"     // another device sent with the drill device's address
	Interrupted   Outcome = "interrupted"
	Broken        Outcome = "broken" // the device could not be made, or ended early
)

// Outcomes lists every outcome.
func Outcomes() []Outcome {
	return []Outcome{Passed, NobodyPressed, NotDetected, NotProven, NotSealed, Stopped, Yielded, Copied, Interrupted, Broken}
}

// Device is the device that plays the infected one.
type Device struct {
	MAC  string     `json:"mac"`
	IP   netip.Addr `json:"ip,omitzero"`
	Port string     `json:"port"` // the gateway's own, made for it
}

// Drill is one exercise: a value, safe to keep. Times are zero until they are
// known.
type Drill struct {
	ID       string        `json:"id"` // drill-20261127-093000.250: sorts by time, safe as a file name
	By       string        `json:"by"` // who started it: "web:NAME"
	State    State         `json:"state"`
	Outcome  Outcome       `json:"outcome,omitempty"` // of Ended
	Note     string        `json:"note,omitempty"`    // what else is known of the outcome; not for people in a hurry
	Limit    time.Duration `json:"limit_ns"`          // how long a person has
	Device   Device        `json:"device"`
	Incident string        `json:"incident,omitempty"`
	Bundle   string        `json:"bundle,omitempty"` // path of the sealed evidence

	Started   time.Time `json:"started"`
	Since     time.Time `json:"since"`              // of State
	FirstBad  time.Time `json:"first_bad,omitzero"` // the device's first bad frame
	Detected  time.Time `json:"detected,omitzero"`  // the gateway was sure enough to ask a person
	Shown     time.Time `json:"shown,omitzero"`     // lamp and screen asked
	Pressed   time.Time `json:"pressed,omitzero"`   // the edge of the press, or the click on the page
	PressedBy string    `json:"pressed_by,omitempty"`
	Proven    time.Time `json:"proven,omitzero"`
	Sealed    time.Time `json:"sealed,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`
}

// DefaultLimit is how long a person has, when the settings do not say.
const DefaultLimit = 10 * time.Minute

// Limits of the states in which no person is waited for. Each is several times
// what the thing takes on a slow machine: they are there so that a drill ends.
const (
	prepareWithin = 2 * time.Minute // a bridge with spanning tree lets a port in after 30 s
	detectWithin  = time.Minute
	proveWithin   = time.Minute
	sealWithin    = 3 * time.Minute
)

// New begins a drill. A limit of 0 is DefaultLimit.
func New(now time.Time, by string, limit time.Duration) Drill {
	if limit <= 0 {
		limit = DefaultLimit
	}
	now = now.UTC()
	return Drill{ID: "drill-" + now.Format("20060102-150405.000"), By: by, State: Preparing, Limit: limit, Started: now, Since: now}
}

// Running says that it has not ended.
func (d Drill) Running() bool { return d.State != Ended && d.State != "" }

// Detection is how long the gateway took from the first bad frame to asking a
// person; false when that is not known.
func (d Drill) Detection() (time.Duration, bool) { return between(d.FirstBad, d.Detected) }

// Reaction is how long the person took, from when lamp and screen asked to the
// press; false when nobody pressed.
func (d Drill) Reaction() (time.Duration, bool) {
	if d.Shown.IsZero() { // isolated on the page before the panel had drawn
		return between(d.Detected, d.Pressed)
	}
	return between(d.Shown, d.Pressed)
}

// Isolation is how long it took from the press to the proof on the wire.
func (d Drill) Isolation() (time.Duration, bool) { return between(d.Pressed, d.Proven) }

// between never is negative: an edge may be older than the picture that it
// answers by the time that drawing takes.
func between(from, to time.Time) (time.Duration, bool) {
	if from.IsZero() || to.IsZero() {
		return 0, false
	}
	return max(0, to.Sub(from)), true
}

// Deadline is when the present state ends by itself; false when it has ended.
func (d Drill) Deadline() (time.Time, bool) {
	within, from := time.Duration(0), d.Since
	switch d.State {
	case Preparing:
		within = prepareWithin
	case Acting:
		within = detectWithin
	case Asking:
		within = d.Limit
		if !d.Shown.IsZero() {
			from = d.Shown
		}
	case Isolating:
		within = proveWithin
	case Sealing:
		within = sealWithin
	default:
		return time.Time{}, false
	}
	return from.Add(within), true
}

// Refusal is why a drill does not begin, or cannot be stopped.
type Refusal string

// Refusals.
const (
	RefusedRunning     Refusal = "running"     // another drill runs
	RefusedIncident    Refusal = "incident"    // something real waits or is held
	RefusedLockdown    Refusal = "lockdown"    // the office is cut off
	RefusedEvidence    Refusal = "evidence"    // evidence could not be kept
	RefusedRecords     Refusal = "records"     // the start could not be written down
	RefusedContainment Refusal = "containment" // isolation does not work as it should
	RefusedUnable      Refusal = "unable"      // this gateway cannot make a device
	RefusedIdle        Refusal = "idle"        // stop: no drill runs
)

// Refusals lists every refusal.
func Refusals() []Refusal {
	return []Refusal{RefusedRunning, RefusedIncident, RefusedLockdown, RefusedEvidence, RefusedRecords, RefusedContainment, RefusedUnable, RefusedIdle}
}

func (r Refusal) Error() string { return fmt.Sprintf("drill refused: %s", string(r)) }
