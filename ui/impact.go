package ui

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/impact"
)

// Impacts says what isolating a device would stop. It returns at once; false
// means that the device is not known.
type Impacts interface {
	Impact(asset.ID) (impact.Preview, bool)
}

func (s *site) impactRoutes(mux *http.ServeMux) {
	if s.cfg.Impacts != nil {
		mux.HandleFunc("GET /api/devices/{id}/impact", s.apiImpact)
	}
}

// impactJSON is GET /api/devices/{id}/impact.
type impactJSON struct {
	impact.Preview
	Sentence detect.Text  `json:"sentence"`
	OwnUse   *detect.Text `json:"own_use,omitempty"` // what the device's own user loses
	Limit    *detect.Text `json:"limit,omitempty"`   // how the level "limit" differs
}

func (s *site) apiImpact(w http.ResponseWriter, r *http.Request) {
	p, ok := s.cfg.Impacts.Impact(asset.ID(r.PathValue("id")))
	if !ok {
		s.fail(w, r, http.StatusNotFound, "unknown")
		return
	}
	out := impactJSON{Preview: p, Sentence: p.Sentence()}
	if t := p.OwnUse(); t.EN != "" {
		out.OwnUse = &t
	}
	if t := p.AtLimit(); t.EN != "" {
		out.Limit = &t
	}
	s.json(w, http.StatusOK, out)
}

// impactView is what a person reads before deciding.
type impactView struct {
	W                       map[string]string
	Sentence, OwnUse, Limit string
	Stops                   []stopView
	Any                     bool // others lose something
}

type stopView struct{ Title, Who, Last string }

// impact is the preview of one device for the page; nil when there is none.
func (s *site) impact(id asset.ID, l string) *impactView {
	if s.cfg.Impacts == nil {
		return nil
	}
	p, ok := s.cfg.Impacts.Impact(id)
	if !ok {
		return nil
	}
	w := wordsIn(l)
	v := &impactView{W: w, Sentence: p.Sentence().In(l), OwnUse: p.OwnUse().In(l), Limit: p.AtLimit().In(l), Any: len(p.Stops) > 0}
	for _, stop := range p.Stops {
		v.Stops = append(v.Stops, stopView{stop.Service.Title().In(l), whom(stop, w), s.lastUse(stop.Last, l)})
	}
	return v
}

// whom names the devices that lose a service, as many as there are names for.
func whom(stop impact.Stop, w map[string]string) string {
	names := strings.Join(stop.Names, w["and"])
	if more := stop.Clients - len(stop.Names); more > 0 {
		names += strings.ReplaceAll(w["impact_more"], "{n}", strconv.Itoa(more))
	}
	if stop.Outside {
		if names != "" {
			names += w["and"]
		}
		names += w["impact_outside"]
	}
	return names
}

// lastUse is when a service was last used, to the minute.
func (s *site) lastUse(t time.Time, l string) string {
	when := s.when(t, l)
	if len(when) == len("15:04:05") && strings.Count(when, ":") == 2 { // today
		when = when[:len("15:04")]
	}
	return strings.ReplaceAll(wordsIn(l)["impact_last"], "{t}", when)
}
