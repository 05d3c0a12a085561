package ui

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho/firmware/drill"
	"sekisho/firmware/incident"
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
	Said      string   `json:"remark"`                      // what is going on, or how it ended
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

// drillPhase names the steps of a drill's incident: nobody should search a device or
// call somebody for practice.
func drillPhase(phase string, i incident.Incident) string {
	switch {
	case !i.Drill:
		return phase
	case i.State == incident.Open:
		return "drill_open"
	}
	return "drill"
}

// drillingView is the drill that runs.
type drillingView struct {
	Now, By, Since string
	Stages         []stage
}

// drillsView is what was practised so far, and how to begin.
type drillsView struct {
	Last      *pastView // nil: never
	Past      []pastView
	Older     int
	Startable bool
	What      []string // what will happen
}

type pastView struct {
	When, By, Outcome, Tone, Remark string
	Facts                           []factView
}

type factView struct{ Name, Took string }

// maxPastDrills is how many the page lists; the API gives all.
const maxPastDrills = 24

func (s *site) drills(l string) (*drillingView, *drillsView) {
	if s.cfg.Drills == nil {
		return nil, nil
	}
	w, all := wordsIn(l), s.cfg.Drills.Drills()
	var now *drillingView
	v := &drillsView{Startable: true, What: splitSteps(w["drill_what"])}
	for _, d := range all {
		if d.Running() {
			now = &drillingView{Now: d.Now().In(l), By: who(d.By, w), Since: s.when(d.Started, l), Stages: drillStages(d, w)}
			v.Startable = false
			continue
		}
		p := s.pastDrill(d, l)
		switch {
		case v.Last == nil:
			v.Last = &p
		case len(v.Past) < maxPastDrills:
			v.Past = append(v.Past, p)
		default:
			v.Older++
		}
	}
	return now, v
}

func drillStages(d drill.Drill, w map[string]string) (out []stage) {
	at := slices.Index(drill.States(), d.State)
	for n, name := range strings.Split(w["drill_stages"], "|") {
		out = append(out, stage{name, map[int]string{-1: "done", 0: "now", 1: "later"}[cmp.Compare(n, at)]})
	}
	return out
}

func (s *site) pastDrill(d drill.Drill, l string) pastView {
	w := wordsIn(l)
	p := pastView{When: s.when(d.Started, l), By: who(d.By, w), Outcome: w["drill_"+string(d.Outcome)], Tone: "warn", Remark: d.Remark().In(l)}
	switch d.Outcome {
	case drill.Passed:
		p.Tone = "calm"
	case drill.Stopped, drill.Yielded, drill.Interrupted:
		p.Tone = "kept"
	}
	for _, f := range []struct {
		name string
		took func() (time.Duration, bool)
	}{{"drill_detect", d.Detection}, {"drill_react", d.Reaction}, {"drill_isolate", d.Isolation}} {
		if took, known := f.took(); known {
			p.Facts = append(p.Facts, factView{w[f.name], inWords(took, w, l)})
		}
	}
	return p
}

// inWords is a measured time: below ten seconds a tenth counts.
func inWords(d time.Duration, w map[string]string, l string) string {
	if d < 10*time.Second {
		return put(w["seconds"], strconv.FormatFloat(d.Seconds(), 'f', 1, 64))
	}
	return drill.Span(d).In(l)
}
