package ui

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"sekisho/firmware/drill"
)

// Drills begins and ends exercises. Drills returns at once, newest first; the slice
// is only read. The deeds return a drill.Refusal that says why not.
type Drills interface {
	Drills() []drill.Drill
	StartDrill(ctx context.Context, by string) (drill.Drill, error)
	StopDrill(ctx context.Context, by string) (drill.Drill, error)
}

// drillJSON is a drill for scripts: what was measured in seconds, and what it means
// in the language that was asked for.
type drillJSON struct {
	drill.Drill
	Detection *float64 `json:"detection_seconds,omitempty"` // first bad frame to the question
	Reaction  *float64 `json:"reaction_seconds,omitempty"`  // lamp and screen to the press
	Isolation *float64 `json:"isolation_seconds,omitempty"` // press to the proof
	Said      string   `json:"said"`                        // what is going on, or how it ended
}

func drillOf(d drill.Drill, l string) drillJSON {
	out := drillJSON{Drill: d, Said: d.Now().In(l)}
	if !d.Running() {
		out.Said = d.Remark().In(l)
	}
	if took, ok := d.Detection(); ok {
		s := took.Seconds()
		out.Detection = &s
	}
	if took, ok := d.Reaction(); ok {
		s := took.Seconds()
		out.Reaction = &s
	}
	if took, ok := d.Isolation(); ok {
		s := took.Seconds()
		out.Isolation = &s
	}
	return out
}

func (s *site) drillRoutes(mux *http.ServeMux) {
	if s.cfg.Drills == nil {
		return
	}
	mux.HandleFunc("GET /api/drills", s.apiDrills)
	mux.HandleFunc("GET /api/drills/{id}", s.apiDrill)
	mux.HandleFunc("POST /api/drill", s.apiDrillDeed(s.cfg.Drills.StartDrill))
	mux.HandleFunc("POST /api/drill/stop", s.apiDrillDeed(s.cfg.Drills.StopDrill))
}

func (s *site) apiDrills(w http.ResponseWriter, r *http.Request) {
	out := []drillJSON{}
	for _, d := range s.cfg.Drills.Drills() {
		out = append(out, drillOf(d, s.lang(r)))
	}
	s.json(w, http.StatusOK, map[string]any{"drills": out})
}

func (s *site) apiDrill(w http.ResponseWriter, r *http.Request) {
	for _, d := range s.cfg.Drills.Drills() {
		if d.ID == r.PathValue("id") {
			s.json(w, http.StatusOK, drillOf(d, s.lang(r)))
			return
		}
	}
	s.fail(w, r, http.StatusNotFound, "unknown")
}

// apiDrillDeed starts or stops a drill, with the name of whoever answers for it.
func (s *site) apiDrillDeed(do func(context.Context, string) (drill.Drill, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			By string `json:"by"`
		}
		if !s.read(w, r, &in) {
			return
		}
		if in.By = strings.TrimSpace(in.By); !person(in.By) {
			s.fail(w, r, http.StatusUnprocessableEntity, "name")
			return
		}
		ctx, cancel := bounded(r)
		defer cancel()
		d, err := do(ctx, "web:"+in.By)
		var why drill.Refusal
		if errors.As(err, &why) {
			s.failWith(w, r, http.StatusConflict, "drill_"+string(why), why.Text().In(s.lang(r)))
			return
		}
		s.answer(w, r, drillOf(d, s.lang(r)), err)
	}
}
