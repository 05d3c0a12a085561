package incident

import (
	"time"

	"sekisho/firmware/detect"
)

// finding merges what a detector said. In probation it is a relapse when
// policy finds it worth a person's time: this incident ends, so that its
// evidence stays one piece, and the desk opens the next.
func (m *move) finding() {
	if !m.i.State.Live() {
		m.refuse("the incident is over")
		return
	}
	before := m.i.Action
	m.silent = m.i.observe(m.in.Finding)
	a := m.in.Assessment
	m.note = a.Why.EN
	m.i.Score, m.i.Confidence = a.Score, a.Confidence
	m.i.Guard = a.Guard
	if m.i.State == Probation && a.Action != None {
		m.note = "it began again; a new incident follows"
		m.to(Closed)
		m.i.Closed = m.in.At
		m.do(Notify{NoticeRelapse})
		return
	}
	if m.i.State.Held() {
		m.i.list()
	}
	if m.i.State != Open {
		return
	}
	if before != None && a.Action == None {
		return // evidence fades, but a question that was asked waits for its answer
	}
	m.i.Action, m.i.Why = a.Action, a.Why
	if before == None && a.Action != None {
		m.silent = false
		m.do(FreezeEvidence{m.i.firstPacket()})
		if a.Action == Suggest {
			m.do(Notify{NoticeSuspect})
		}
	}
}

// ask handles every wish to hold the device: a press, the web page, policy.
func (m *move) ask() {
	level := m.in.Level
	if m.in.Kind == InPress || level == "" {
		level = Isolate
	}
	auto := m.in.Kind == InAuto
	switch {
	case !m.i.State.Live():
		m.refuse("the incident is over")
	case m.i.Guard == GuardNever || m.i.Asset.Gateway:
		m.refuse("the gateway and its uplink are never contained")
	case level != Limit && level != Isolate:
		m.refuse("not a level to contain at")
	case auto && (m.i.Guard != GuardNone || m.i.Asset.Protected || m.i.Asset.Router):
		m.refuse("only a person may contain this device")
	case auto && m.i.State == ContainFailed:
		m.refuse("containment does not work; a person has to look")
	case m.i.State.Held() && m.i.State != ContainFailed && level.rank() <= m.i.Level.rank():
		m.note = "already ordered"
	case m.i.Guard == GuardTwice && !m.i.State.Held() && !m.askedBefore():
		m.askAgain()
	default:
		m.contain(level)
	}
}

func (m *move) askAgain() {
	m.i.Asked = m.in.At
	m.note = "asked once; a second time within two minutes carries it out"
	m.do(Notify{NoticeAskAgain})
}

func (m *move) askedBefore() bool {
	since := m.in.At.Sub(m.i.Asked)
	return !m.i.Asked.IsZero() && since >= 0 && since <= askWindow
}

func (m *move) contain(level Level) {
	if m.i.Level.rank() > level.rank() && m.i.State.Held() {
		level = m.i.Level // a retry never lowers what was ordered
	}
	why := m.in.Why
	if why == (detect.Text{}) {
		why = m.i.Why
	}
	if m.in.Kind == InAuto {
		m.note = m.in.Allowed.EN // the ledger says what allowed it
		m.i.Automatic = Automatic{
			Kind: InAuto, At: m.in.At, Level: level, From: m.i.State, Before: m.i.Level, Why: why, Allowed: m.in.Allowed,
		}
	}
	m.order(level, why)
}

// order holds the device at level, up or down.
func (m *move) order(level Level, why detect.Text) {
	m.i.Level, m.i.Applied, m.i.Proof = level, false, Proof{}
	m.i.Decision = Decision{At: m.in.At, By: bounded(m.in.By), Level: level, Why: detect.Text{EN: why.EN, JA: why.JA}}
	if m.i.Decision.By == "" && m.in.Kind == InAuto {
		m.i.Decision.By = ByAuto
	} else if m.i.Decision.By == "" && m.in.Kind == InPress {
		m.i.Decision.By = ByButton
	}
	m.i.Asked = time.Time{}
	if !m.from.Held() && m.in.Kind != InUndo { // an undone release takes the same holding up again
		m.i.blank()
	}
	m.i.list()
	m.to(Containing)
	m.do(SetLevel{level}) // first: isolation never waits for evidence
	if m.i.Frozen.IsZero() {
		m.do(FreezeEvidence{m.i.firstPacket()})
	}
	m.do(Notify{NoticeContaining})
}

// other says that a result is about a level that is no longer the wanted one.
func (m *move) other() bool { return m.in.Level != "" && m.in.Level != m.i.Level }

func (m *move) applied() {
	switch {
	case m.i.State == Probation || m.i.State == Open && m.i.Automatic.Undone():
		m.silent = true // the release itself
	case !m.i.State.Held():
		m.refuse("nothing is ordered; a late result")
	case m.other():
		m.refuse("a result for another level")
	case m.i.Level == Limit:
		m.limited()
	case m.i.State == Containing && !m.i.Applied:
		m.i.Applied = true
		m.do(ProveIsolation{})
	case m.i.State == ContainFailed:
		m.i.Applied = true
		m.to(Containing)
		m.do(ProveIsolation{})
	default:
		if m.silent = true; !m.i.Applied { // after a restart: the old proof is stale
			m.i.Applied = true
			m.do(ProveIsolation{})
		}
	}
}

// limited ends the way to limit. A limited device may go on sending, so there is
// nothing to prove on the wire, and nobody has to pull a cable.
func (m *move) limited() {
	m.i.Applied = true
	m.i.Proof = Proof{Grade: Limited, At: m.in.At, Text: detect.Text{
		EN: "Limited, not isolated: no traffic to other devices, and on the internet only the allow list.",
		JA: "通信を制限しています（隔離ではありません）。ほかの機器との通信を止め、インターネットは許可した宛先だけに限っています。",
	}}
	if m.i.State == Contained || m.i.State == Eradicating {
		m.silent = true
		return
	}
	m.to(Contained) // Incident.Contained stays: nothing was proven
	m.do(Notify{NoticeLimited})
	m.seal()
}

func (m *move) applyFailed() {
	switch {
	case m.i.State == Probation || m.i.State == Open && m.i.Automatic.Undone():
		m.note = "release: " + m.in.Note
		m.do(Notify{NoticeReleaseFailed})
	case !m.i.State.Held():
		m.refuse("nothing is ordered; a late result")
	case m.other():
		m.refuse("a result for another level")
	default:
		m.fail(Proof{Grade: NotIsolated, At: m.in.At, Text: detect.Text{
			EN: "The block could not be put in place. Pull the device's network cable.",
			JA: "遮断を設定できませんでした。この機器のLANケーブルを抜いてください。",
		}})
		m.i.Applied = false
	}
}

func (m *move) fail(p Proof) {
	p.Grade = NotIsolated
	if p.At.IsZero() {
		p.At = m.in.At
	}
	m.i.Proof = p
	if m.i.State == ContainFailed {
		return
	}
	m.to(ContainFailed)
	m.do(Notify{NoticeContainFailed})
}

func (m *move) proven() {
	switch {
	case !m.i.State.Held():
		m.refuse("nothing is held; a late result")
	case m.i.Level == Limit:
		m.refuse("a limited device is not proven isolated")
	case !m.i.Applied:
		m.refuse("a proof from before the level was in force")
	case m.in.Proof.Leaked > 0 || m.in.Proof.Grade == NotIsolated:
		m.leaked()
	default:
		m.i.Proof = m.in.Proof
		if m.i.Proof.Grade == "" {
			m.i.Proof.Grade = Proven
		}
		if m.i.Proof.At.IsZero() {
			m.i.Proof.At = m.in.At
		}
		if m.i.State == Contained || m.i.State == Eradicating {
			m.silent = true
			return
		}
		m.to(Contained)
		if m.i.Contained.IsZero() {
			m.i.Contained = m.in.At
		}
		m.do(Notify{NoticeContained})
		m.seal()
		m.unpin()
	}
}

func (m *move) leaked() {
	switch {
	case !m.i.State.Held():
		m.refuse("nothing is held; a late result")
	case m.i.Level == Limit:
		m.refuse("a limited device may send")
	default:
		m.fail(m.in.Proof)
	}
}

func (m *move) frozen() {
	if m.i.KeepsNothing() {
		m.do(UnpinEvidence{}) // pinned after it was over
		return
	}
	m.silent = !m.i.Frozen.IsZero()
	m.i.Frozen = m.in.At
	m.unpin() // pinned after it was sealed
}

func (m *move) freezeFailed() {
	if m.i.State.Live() {
		m.do(Notify{NoticeEvidence})
	}
}

// seal orders the bundle when it is owed.
func (m *move) seal() {
	if m.i.sealDue() {
		m.i.LastSealTry = time.Time{}
		m.do(SealBundle{})
	}
}

func (m *move) sealed() {
	switch {
	case m.in.Note == "":
		m.refuse("a sealed bundle has a path")
	case m.i.Decision.At.IsZero():
		m.refuse("no bundle was asked for")
	default:
		m.silent = m.i.Bundle == m.in.Note
		m.i.Bundle, m.i.LastSealTry = m.in.Note, time.Time{}
		if !m.silent {
			m.do(Notify{NoticeSealed})
		}
		m.unpin()
	}
}

func (m *move) sealFailed() {
	if m.i.Decision.At.IsZero() {
		m.refuse("no bundle was asked for")
		return
	}
	m.i.LastSealTry = m.in.At
	if n := len(m.i.History); n > 0 && m.i.History[n-1].Input == InSealFailed {
		m.silent = true // the history is bounded, and a full disk stays full for days
	}
	m.do(Notify{NoticeEvidence})
}

// unpin frees the pinned packets: the verified bundle has the device's. While
// it may still be sending unchecked they stay, until it is held or released.
func (m *move) unpin() {
	if m.i.packed() {
		m.do(UnpinEvidence{})
	}
}

func (m *move) expired() {
	if m.i.State != Probation {
		m.refuse("not in probation")
		return
	}
	m.to(Closed)
	m.i.Closed = m.in.At
	m.do(Notify{NoticeClosed})
}

func (m *move) dismiss() {
	switch {
	case !person(m.in.By):
		m.refuse("only a person on the web page dismisses an incident")
	case m.in.Note == "":
		m.refuse("a dismissal needs a reason")
	case !m.i.State.Live():
		m.refuse("the incident is over")
	case len(m.i.Unasked()) > 0:
		m.i.list()
		m.refuse("not agreed yet: " + agreed)
	default:
		m.harmless()
		m.do(Notify{NoticeDismissed})
	}
}

// harmless is a person's word. What was never held ends with it. A device that was
// held, or that is watched after having been, goes through its probation like any
// other: the word may be wrong, and who was wrong once presses on.
func (m *move) harmless() {
	switch {
	case m.i.State.Held():
		m.free()
	case m.i.State != Probation:
		m.drop()
	}
	m.teach(Harmless)
}

// drop ends the incident as nothing. A bundle that exists is kept.
func (m *move) drop() {
	if m.i.State.Held() {
		m.do(Release{})
	}
	m.to(Dismissed)
	m.i.Closed = m.in.At
	m.i.Level, m.i.Applied = Watch, false
	if !m.i.Frozen.IsZero() {
		m.do(UnpinEvidence{})
	}
}

func (m *move) deadline() {
	if m.in.reseal {
		m.silent = true
		m.seal()
		return
	}
	switch m.i.State {
	case Open:
		if m.in.crowded {
			m.note = "made room"
			m.drop()
			m.commands = distinct(append(m.commands, UnpinEvidence{})) // the pin may be under way
			return
		}
		if m.i.Action != None {
			m.refuse("a person still has to decide")
			return
		}
		m.note = "nothing more was seen"
		m.drop()
	case Containing:
		m.fail(Proof{At: m.in.At, Text: detect.Text{
			EN: "No proof of isolation came in time. Pull the device's network cable.",
			JA: "隔離の確認が時間内に取れませんでした。この機器のLANケーブルを抜いてください。",
		}})
	case Contained, Eradicating:
		if m.in.By != ByPolicy || m.i.Decision.By != ByAuto {
			m.refuse("only what was held automatically is released by time, when the owner set that")
			return
		}
		m.note = "released by time, as the owner set"
		m.i.Automatic = Automatic{
			Kind: InDeadline, At: m.in.At, Level: Watch, From: m.i.State, Before: m.i.Level, Why: detect.Text{
				EN: "It had been held automatically, and nobody decided until the time was over.",
				JA: "自動で止めたあと、期限まで担当者の判断がありませんでした。",
			}, Allowed: detect.Text{
				EN: "The owner set that what was held automatically is released after a time (policy.release_after). A person can undo it on the web page in one step.",
				JA: "自動で止めた機器は一定の時間で解除する設定です（policy.release_after）。担当者は、画面から1回の操作で取り消せます。",
			},
		}
		m.free()
	default:
		m.refuse("no deadline runs")
	}
}

// restart: what the kernel holds is unknown until the level is applied again. A
// proof has its whole time again, the boot took some of it.
func (m *move) restart() {
	m.i.Applied = false
	if m.i.State == Containing {
		m.i.Since = m.in.At
	}
	m.i.LastSealTry = time.Time{} // Resume orders it now
	m.do(Resume(m.i)...)
	m.silent = len(m.commands) == 0
}
