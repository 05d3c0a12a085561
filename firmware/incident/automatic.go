package incident

import (
	"time"

	"sekisho/firmware/detect"
)

// Automatic is the latest thing that policy did to the device by itself, why it
// was allowed to, and who undid it.
//
// An undo is not a dismissal: the device is as it was before, and the incident
// waits for a person. Until that person has decided, policy acts by itself on
// this device only when evidence comes that the person had not seen: a family of
// detectors (score.go) that had not spoken then, or that speaks in a higher band
// now, and that is high without all the rest.
type Automatic struct {
	Kind    Kind        `json:"kind,omitempty"` // InAuto: held; InDeadline: released by time
	At      time.Time   `json:"at,omitzero"`
	Level   Level       `json:"level,omitempty"`  // since then; watch after a release
	From    State       `json:"from,omitempty"`   // before
	Before  Level       `json:"before,omitempty"` // before
	Why     detect.Text `json:"why,omitzero"`
	Allowed detect.Text `json:"allowed,omitzero"` // which limits left room for it, and how to undo it

	UndoneAt time.Time `json:"undone_at,omitzero"`
	UndoneBy string    `json:"undone_by,omitempty"`
	// Known is what had been seen when it was undone: by family, the highest band.
	Known map[string]detect.Confidence `json:"known,omitempty"` // never written to again
}

// Undone says that a person took it back.
func (a Automatic) Undone() bool { return !a.UndoneAt.IsZero() }

// Undoable says that the device is as policy left it, and that a person can put
// it back in one step.
func (i Incident) Undoable() bool {
	a := i.Automatic
	switch {
	case a.At.IsZero() || a.Undone() || i.Guard == GuardNever:
		return false
	case a.Kind == InDeadline:
		return i.State == Probation && i.Since.Equal(a.At)
	}
	return i.State.Held() && i.Decision.By == ByAuto
}

// undo puts the device back to what it was before policy acted.
func (m *move) undo() {
	switch {
	case !person(m.in.By):
		m.refuse("only a person on the web page undoes what was done automatically")
	case !m.i.Undoable():
		m.refuse("nothing was done automatically that could be undone")
	case m.i.Automatic.Kind == InDeadline && m.i.Guard == GuardTwice && !m.askedBefore():
		m.askAgain()
	case m.i.Automatic.Kind == InDeadline:
		m.undone()
		m.in.Why = detect.Text{EN: "A person undid the release by time.", JA: "期限による解除を、担当者が取り消しました。"}
		m.contain(m.i.Automatic.Before) // decided by a person now: no deadline ends it again
	case m.i.Automatic.From.Held(): // it had been limited, by a person
		m.undone()
		m.order(m.i.Automatic.Before, m.i.Why)
	default:
		m.undone()
		m.reopen()
	}
}

func (m *move) undone() {
	known := map[string]detect.Confidence{}
	for _, o := range m.i.Findings {
		if f := family(o.Detector); known[f] == "" || rank(o.Confidence) > rank(known[f]) {
			known[f] = o.Confidence
		}
	}
	a := &m.i.Automatic
	a.UndoneAt, a.UndoneBy, a.Known = m.in.At, bounded(m.in.By), known
}

// reopen lets the device go and asks a person. The evidence stays kept.
func (m *move) reopen() {
	m.to(Open)
	m.i.Level, m.i.Applied, m.i.Proof, m.i.Contained = Watch, false, Proof{}, time.Time{}
	m.i.Action = Suggest
	m.do(Release{}, Notify{NoticeUndone})
	if m.i.Bundle != "" { // the pin went when the bundle was sealed
		m.i.Frozen = time.Time{}
		m.do(FreezeEvidence{m.i.firstPacket()})
	}
}

// news is the evidence that the person who undid the last act had not seen.
func (i Incident) news() (out []Observation) {
	for _, o := range i.Findings {
		if had, ok := i.Automatic.Known[family(o.Detector)]; !ok || rank(o.Confidence) > rank(had) {
			out = append(out, o)
		}
	}
	return out
}

// lower steps a held device down from isolate to limit. From limit there is only
// the return gate.
func (m *move) lower() {
	switch {
	case !person(m.in.By):
		m.refuse("only a person on the web page lowers a level")
	case m.in.Note == "":
		m.refuse("lowering a level needs a reason")
	case !m.i.State.Held():
		m.refuse("the device is not held")
	case m.in.Level != "" && m.in.Level != Limit:
		m.refuse("below limit there is only the way through the return gate")
	case m.i.Level == Limit:
		m.refuse("it is limited already; further down there is only the return gate")
	default:
		m.order(Limit, detect.Text{EN: m.in.Note, JA: m.in.Note})
	}
}
