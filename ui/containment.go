package ui

import (
	"net/http"

	"sekisho/firmware/detect"
)

// Containment is how a device is held, and what that cannot do.
type Containment struct {
	Mechanisms []string      `json:"mechanisms"` // "mac" first; "vlan", "segment", "wifi"
	Ports      []string      `json:"ports"`      // where the device was seen
	Reason     detect.Text   `json:"reason"`     // why these
	BestEffort bool          `json:"best_effort"`
	Limits     []detect.Text `json:"limits"` // what is not covered
}

// Containments says how the device of an incident is held. It returns at once; false
// means that it is not held.
type Containments interface {
	Containment(incident string) (Containment, bool)
}

func (s *site) containmentRoutes(mux *http.ServeMux) {
	if s.cfg.Containments != nil {
		mux.HandleFunc("GET /api/incidents/{id}/containment", s.apiContainment)
	}
}

func (s *site) apiContainment(w http.ResponseWriter, r *http.Request) {
	h, ok := s.cfg.Containments.Containment(r.PathValue("id"))
	if !ok {
		s.fail(w, r, http.StatusNotFound, "unknown")
		return
	}
	s.json(w, http.StatusOK, h)
}

// containmentView is the same in the words of the page.
type containmentView struct {
	How            []string
	Reason, Wanted string // Wanted heads the limits
	Limits         []string
}

// containment is nil when nothing is known of it. A limited device still has a part
// of the internet.
func (s *site) containment(incident, l string, limited bool) *containmentView {
	if s.cfg.Containments == nil {
		return nil
	}
	h, ok := s.cfg.Containments.Containment(incident)
	if !ok {
		return nil
	}
	w := wordsIn(l)
	v := &containmentView{Reason: h.Reason.In(l), Wanted: w["held_limits"]}
	for _, m := range h.Mechanisms {
		if m == "mac" && limited {
			m = "mac_limit"
		}
		v.How = append(v.How, w["held_"+m])
	}
	for _, t := range h.Limits {
		v.Limits = append(v.Limits, t.In(l))
	}
	return v
}
