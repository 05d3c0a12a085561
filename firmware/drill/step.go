package drill

import "time"

// Kind names an input.
type Kind string

// Kinds of input.
const (
	InReady    Kind = "ready"    // the device is on the network; Device is set
	InBad      Kind = "bad"      // its first bad frame went out
	InDetected Kind = "detected" // a person is to be asked; Incident is set
	InShown    Kind = "shown"    // lamp and screen ask
	InPressed  Kind = "pressed"  // somebody decided to isolate; By is set
	InProven   Kind = "proven"   // nothing of the device passes on the wire
	InUnproven Kind = "unproven" // the isolation failed
	InSealed   Kind = "sealed"   // Bundle is the verified evidence
	InTick     Kind = "tick"     // time passed
	InStop     Kind = "stop"     // a person ends it; By is set
	InYield    Kind = "yield"    // something real goes before; Note says what
	InCopied   Kind = "copied"   // another device uses the drill device's address
	InBroken   Kind = "broken"   // the device could not be made, or ended
	InRestart  Kind = "restart"  // the gateway has booted: the device is gone
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{InReady, InBad, InDetected, InShown, InPressed, InProven, InUnproven, InSealed, InTick, InStop, InYield, InCopied, InBroken, InRestart}
}

// Input is one thing that happened. Fields beyond Kind and At are read where the
// kind says so.
type Input struct {
	Kind     Kind
	At       time.Time
	By       string
	Note     string
	Device   Device
	Incident string
	Bundle   string
}

// Command is what the gateway has to do once the step is on disk. All may be
// repeated.
type Command string

// Commands.
const (
	Misbehave Command = "misbehave" // let the device act like an infected one
	CleanUp   Command = "clean_up"  // end the incident, then remove the device
)

// Step takes a drill one input further. It is total: what makes no sense in a
// state changes nothing.
func Step(d Drill, in Input) (Drill, []Command) {
	if !d.Running() {
		return d, nil
	}
	if out, over := d.ends(in); over {
		d.Outcome, d.Note = out, in.Note
		if in.Kind == InStop && d.Note == "" {
			d.Note = in.By
		}
		if out == Passed {
			d.Bundle, d.Sealed = in.Bundle, in.At
		}
		d.to(Ended, in.At)
		d.Ended = in.At
		return d, []Command{CleanUp}
	}
	switch {
	case in.Kind == InReady && d.State == Preparing:
		d.Device = in.Device
		d.to(Acting, in.At)
		return d, []Command{Misbehave}
	case in.Kind == InBad && d.State != Preparing:
		first(&d.FirstBad, in.At)
	case in.Kind == InDetected && d.State == Acting:
		d.Incident, d.Detected = in.Incident, in.At
		d.to(Asking, in.At)
	case in.Kind == InShown && d.State == Asking:
		first(&d.Shown, in.At)
	case in.Kind == InPressed && d.State == Asking:
		d.Pressed, d.PressedBy = in.At, in.By
		d.to(Isolating, in.At)
	case in.Kind == InProven && d.State == Isolating:
		d.Proven = in.At
		d.to(Sealing, in.At)
	}
	return d, nil
}

// ends says whether the input ends the drill, and how.
func (d Drill) ends(in Input) (Outcome, bool) {
	switch in.Kind {
	case InStop:
		return Stopped, true
	case InYield:
		return Yielded, true
	case InCopied:
		return Copied, true
	case InBroken:
		return Broken, true
	case InRestart:
		return Interrupted, true
	case InUnproven:
		return NotProven, d.State == Isolating || d.State == Sealing
	case InSealed:
		return Passed, d.State == Sealing
	case InTick:
		end, _ := d.Deadline()
		return map[State]Outcome{
			Preparing: Broken, Acting: NotDetected, Asking: NobodyPressed, Isolating: NotProven, Sealing: NotSealed,
		}[d.State], !in.At.Before(end)
	}
	return "", false
}

func (d *Drill) to(s State, at time.Time) { d.State, d.Since = s, at }

func first(t *time.Time, at time.Time) {
	if t.IsZero() {
		*t = at
	}
}
