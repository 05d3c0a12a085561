package incident

import "sekisho/firmware/asset"

// Rehearse names the device of the drill that runs; "" says that none does. An
// incident that is opened about it is marked, and policy never holds it: what is
// practised is that a person does.
func (d *Desk) Rehearse(id asset.ID) { d.drilled = id }

// drillOver ends the incident of a drill, wherever it stands: there is nothing to
// clean, nothing to watch afterwards, and nothing to learn.
func (m *move) drillOver() {
	switch {
	case !m.i.Drill:
		m.refuse("not a drill")
	case !m.i.State.Live():
		m.refuse("the incident is over")
	default:
		if m.i.State.Held() {
			m.do(Release{})
		}
		m.to(Closed)
		m.i.Closed = m.in.At
		m.i.Level, m.i.Applied = Watch, false
		m.do(UnpinEvidence{}) // also what is being pinned at this moment
		m.do(Notify{NoticeClosed})
	}
}
