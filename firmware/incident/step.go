package incident

import (
	"fmt"
	"slices"
	"time"

	"sekisho/firmware/detect"
)

// Kind names an input.
type Kind string

// Kinds of input.
const (
	InFinding      Kind = "finding"       // a detector spoke; Finding and Assessment are set
	InPress        Kind = "press"         // the button asks for isolation
	InRequest      Kind = "request"       // the web page asks for containment at Level
	InAuto         Kind = "auto"          // policy orders containment at Level
	InApplied      Kind = "applied"       // the kernel holds the level
	InApplyFailed  Kind = "apply_failed"  // it does not; Note says why
	InProven       Kind = "proven"        // Proof from the wire
	InLeaked       Kind = "leaked"        // Proof of the opposite
	InFrozen       Kind = "frozen"        // packets from before are pinned
	InFreezeFailed Kind = "freeze_failed" // they are not; containment goes on all the same
	InSealed       Kind = "sealed"        // the bundle is complete and verified; Note is its path
	InSealFailed   Kind = "seal_failed"   // it is not; asked for again after resealAfter, and at boot
	InRelease      Kind = "release"       // a person passed the return-to-network gate
	InTick         Kind = "tick"          // a person says that Item of the checklist is done
	InUntick       Kind = "untick"        // or that it is not after all
	InLower        Kind = "lower"         // a person steps a held device down to limit; Note is the reason
	InUndo         Kind = "undo"          // a person undoes what policy did by itself
	InExpired      Kind = "expired"       // probation is over
	InDismiss      Kind = "dismiss"       // a person calls it a false alarm; Note is the reason. A held device goes into probation
	InUnteach      Kind = "unteach"       // a person takes back what a dismissal or a release taught; Note is the reason
	InDeadline     Kind = "deadline"      // the state lasted longer than policy allows
	InRestart      Kind = "restart"       // the gateway has booted; kernel state is unknown
	InDrillOver    Kind = "drill_over"    // the drill that the incident is part of has ended
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{
		InFinding, InPress, InRequest, InAuto, InApplied, InApplyFailed, InProven, InLeaked, InFrozen,
		InFreezeFailed, InSealed, InSealFailed, InRelease, InTick, InUntick, InLower, InUndo, InExpired, InDismiss, InUnteach, InDeadline, InRestart, InDrillOver,
	}
}

// Input is one thing that happened. Fields beyond Kind, At and By are read
// where the kind says so.
type Input struct {
	Kind       Kind
	At         time.Time
	By         string // person or part; see ByButton
	Note       string
	Level      Level       // request, auto (a press always isolates), applied, apply_failed; empty: the wanted one
	Item       string      // tick, untick: key of the checklist's item
	Why        detect.Text // auto
	Allowed    detect.Text // auto: see Automatic
	Finding    detect.Finding
	Assessment Assessment // finding
	Proof      Proof      // proven, leaked

	crowded bool // deadline: the desk needs the room for a stronger suspect
	reseal  bool // deadline: a seal failed some time ago

	probation time.Duration // release, deadline: how long; 0: as in DefaultPolicy
}

// Command is something that the gateway has to do after it has journalled the
// incident. Commands are idempotent and comparable.
type Command interface {
	fmt.Stringer
	command()
}

// Commands.
type (
	// FreezeEvidence pins the packets around the incident; From is the first
	// packet it rests on, the vault goes back further from there.
	FreezeEvidence struct{ From time.Time }
	// SetLevel makes the whole containment policy true with this device at
	// Level. The answer is InApplied or InApplyFailed.
	SetLevel struct{ Level Level }
	// ProveIsolation watches the wire; never ordered at Limit. The answer is InProven or InLeaked.
	ProveIsolation struct{}
	// SealBundle extracts and seals; it may wait for what comes after
	// containment. The answer is InSealed or InSealFailed.
	SealBundle struct{}
	// Release sets the device back to watch.
	Release struct{}
	// UnpinEvidence lets the ring overwrite what was pinned for this incident: a
	// false alarm, or sealed.
	UnpinEvidence struct{}
	// Notify tells people.
	Notify struct{ Kind Notice }
)

// Notice is what people are told.
type Notice string

// Notices.
const (
	NoticeSuspect       Notice = "suspect"   // somebody should decide
	NoticeAskAgain      Notice = "ask_again" // a guarded device: ask again to go on
	NoticeContaining    Notice = "containing"
	NoticeContained     Notice = "contained"
	NoticeLimited       Notice = "limited"
	NoticeContainFailed Notice = "contain_failed" // pull the cable
	NoticeReleased      Notice = "released"
	NoticeUndone        Notice = "undone" // an automatic act was taken back; somebody should decide
	NoticeReleaseFailed Notice = "release_failed"
	NoticeRelapse       Notice = "relapse" // it began again after release
	NoticeClosed        Notice = "closed"
	NoticeDismissed     Notice = "dismissed"
	NoticeSealed        Notice = "sealed"
	NoticeEvidence      Notice = "evidence" // pinning or sealing did not work
)

func (FreezeEvidence) command() {}
func (SetLevel) command()       {}
func (ProveIsolation) command() {}
func (SealBundle) command()     {}
func (Release) command()        {}
func (UnpinEvidence) command()  {}
func (Notify) command()         {}

func (FreezeEvidence) String() string { return "freeze_evidence" }
func (c SetLevel) String() string     { return "set_level " + string(c.Level) }
func (ProveIsolation) String() string { return "prove_isolation" }
func (SealBundle) String() string     { return "seal_bundle" }
func (Release) String() string        { return "release" }
func (UnpinEvidence) String() string  { return "unpin_evidence" }
func (c Notify) String() string       { return "notify " + string(c.Kind) }

// askWindow is how long the first of two asks for a guarded device counts.
const askWindow = 2 * time.Minute

// Step takes an incident one input further. It is total: an input that makes
// no sense in a state leaves the state alone and stands in the history as
// refused. The incident is to be journalled before the commands run.
func Step(i Incident, in Input) (Incident, []Command) {
	m := &move{i: i.clone(), in: in, from: i.State}
	m.handle()
	if !m.refused && in.At.After(m.i.Updated) {
		m.i.Updated = in.At
	}
	m.record()
	return m.i, m.commands
}

// Resume lists the commands that have to run again after a power cut: nobody
// knows how far they came. The proof follows once the level is applied.
func Resume(i Incident) []Command {
	var out []Command
	if i.State.Held() {
		out = append(out, SetLevel{i.Level})
	}
	if i.State == Probation || (i.State == Dismissed || i.State == Open) && !i.Decision.At.IsZero() {
		out = append(out, Release{})
	}
	if i.State.Live() && (i.Action != None || i.State.Held()) && i.Frozen.IsZero() && !i.packed() {
		out = append(out, FreezeEvidence{i.firstPacket()})
	}
	if i.sealDue() {
		out = append(out, SealBundle{})
	}
	if i.State.Live() && i.packed() {
		out = append(out, UnpinEvidence{})
	}
	return out
}

// move is one step under way.
type move struct {
	i        Incident
	in       Input
	from     State
	commands []Command
	note     string
	refused  bool
	silent   bool // accepted, and not worth a line: a repeated finding, a duplicate result
}

func (m *move) handle() {
	switch m.in.Kind {
	case InFinding:
		m.finding()
	case InPress, InRequest, InAuto:
		m.ask()
	case InApplied:
		m.applied()
	case InApplyFailed:
		m.applyFailed()
	case InProven:
		m.proven()
	case InLeaked:
		m.leaked()
	case InFrozen:
		m.frozen()
	case InFreezeFailed:
		m.freezeFailed()
	case InSealed:
		m.sealed()
	case InSealFailed:
		m.sealFailed()
	case InRelease:
		m.release()
	case InTick, InUntick:
		m.tick(m.in.Kind == InTick)
	case InLower:
		m.lower()
	case InUndo:
		m.undo()
	case InExpired:
		m.expired()
	case InDismiss:
		m.dismiss()
	case InUnteach:
		m.unteach()
	case InDeadline:
		m.deadline()
	case InRestart:
		m.restart()
	case InDrillOver:
		m.drillOver()
	default:
		m.refuse("unknown input")
	}
}

func (m *move) do(c ...Command) { m.commands = append(m.commands, c...) }

func (m *move) refuse(why string) { m.refused, m.note = true, why }

func (m *move) to(s State) {
	m.i.State = s
	m.i.Since = m.in.At
}

// record appends to the history. The first lines and the latest ones stay.
func (m *move) record() {
	if m.silent && m.from == m.i.State && !m.refused {
		return
	}
	note := m.note
	if note == "" {
		note = m.in.Note
	}
	if len(m.i.History) >= maxHistory {
		m.i.History = slices.Delete(m.i.History, keepHistory, keepHistory+1)
		m.i.HistoryDropped++
	}
	m.i.History = append(m.i.History, Transition{
		At: m.in.At, From: m.from, To: m.i.State, Input: m.in.Kind, By: bounded(m.in.By), Note: bounded(note), Refused: m.refused,
	})
}

// clone copies what Step may write to.
func (i Incident) clone() Incident {
	i.Findings = slices.Clone(i.Findings)
	i.History = slices.Clone(i.History)
	i.Checklist = slices.Clone(i.Checklist)
	i.Asset.Addrs = slices.Clone(i.Asset.Addrs)
	return i
}

func (i Incident) firstPacket() time.Time {
	first := i.Opened
	for _, f := range i.Findings {
		if !f.First.IsZero() && f.First.Before(first) {
			first = f.First
		}
	}
	return first
}

// sealDue says that a bundle is owed: the device was held, and none exists. A
// drill that is over owes none.
func (i Incident) sealDue() bool {
	if i.Drill && i.State == Closed {
		return false
	}
	switch i.State {
	case Contained, Eradicating, Probation, Closed:
		return i.Bundle == "" && !i.Decision.At.IsZero()
	}
	return false
}

// KeepsNothing says that the incident is over and that no packets are kept for it in
// the ring: it was nothing, or a drill.
func (i Incident) KeepsNothing() bool {
	return i.State == Dismissed || i.Drill && i.State == Closed
}

// packed says that the ring needs to keep nothing for the incident any more: its
// packets are in a verified bundle, and the device is stopped or released.
func (i Incident) packed() bool {
	switch i.State {
	case Contained, Eradicating, Probation, Closed:
		return i.Bundle != ""
	}
	return false
}

// bounded cuts a text to maxText bytes, and shows that it did.
func bounded(s string) string {
	if len(s) <= maxText {
		return s
	}
	const more = "…"
	cut := maxText - len(more)
	for cut > 0 && s[cut]&0xc0 == 0x80 { // not inside a rune
		cut--
	}
	return s[:cut] + more
}
