package ui

import (
	"context"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/text/language"

	"sekisho/firmware/health"
	"sekisho/firmware/incident"
)

//go:embed assets
var assets embed.FS

type site struct {
	cfg     Config
	page    *template.Template
	streams atomic.Int64
	takes   takes
}

func newSite(cfg Config) (*site, error) {
	s := &site{cfg: cfg, takes: takes{at: map[take]time.Time{}}}
	t, err := template.New("page.html").ParseFS(assets, "assets/*.html")
	if err != nil {
		return nil, fmt.Errorf("build web page: %w", err)
	}
	s.page = t
	return s, nil
}

func (s *site) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /parts", s.parts)
	mux.HandleFunc("POST /lang", s.setLang)
	mux.HandleFunc("GET /panel.png", s.panelPNG)
	mux.HandleFunc("GET /api/panel", s.apiPanel)
	mux.HandleFunc("POST /api/press", s.apiPress)
	mux.HandleFunc("GET /api/incidents", s.apiIncidents)
	mux.HandleFunc("GET /api/incidents/{id}", s.apiIncident)
	mux.HandleFunc("POST /api/incidents/{id}/{deed}", s.deed)
	mux.HandleFunc("GET /api/limits", s.apiLimits)
	mux.HandleFunc("POST /api/lockdown", s.apiLockdown)
	mux.HandleFunc("GET /api/devices", s.apiDevices)
	mux.HandleFunc("POST /api/devices/{id}", s.apiDevice)
	mux.HandleFunc("POST /api/devices/{id}/isolate", s.apiHoldDevice(incident.Isolate))
	mux.HandleFunc("POST /api/devices/{id}/limit", s.apiHoldDevice(incident.Limit))
	mux.HandleFunc("GET /api/health", s.apiHealth)
	mux.HandleFunc("GET /api/events", s.events)
	s.vendorRoutes(mux)
	s.evidenceRoutes(mux)
	s.impactRoutes(mux)
	s.containmentRoutes(mux)
	s.drillRoutes(mux)
	mux.HandleFunc("GET /openapi.json", s.asset("openapi.json", "application/json"))
	mux.HandleFunc("GET /app.css", s.asset("app.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /app.js", s.asset("app.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /panel.js", s.asset("panel.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /return.js", s.asset("return.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /icon.svg", s.asset("icon.svg", "image/svg+xml"))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, http.StatusNotFound, "no_page") })
	return mux
}

func (s *site) asset(name, kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := assets.ReadFile("assets/" + name)
		if err != nil {
			s.fail(w, r, http.StatusNotFound, "no_page")
			return
		}
		w.Header().Set("Content-Type", kind)
		w.Write(b)
	}
}

// langCookie remembers the choice made on the page.
const langCookie = "sekisho_lang"

// lang is the language of a request: the choice, else the browser's, else the
// office's.
func (s *site) lang(r *http.Request) string {
	if c, err := r.Cookie(langCookie); err == nil && (c.Value == "ja" || c.Value == "en") {
		return c.Value
	}
	header := r.Header.Get("Accept-Language")
	if len(header) > 200 {
		return s.cfg.Lang
	}
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil {
		return s.cfg.Lang
	}
	for _, t := range tags {
		switch base, _ := t.Base(); base.String() {
		case "ja":
			return "ja"
		case "en":
			return "en"
		}
	}
	return s.cfg.Lang
}

func (s *site) setLang(w http.ResponseWriter, r *http.Request) {
	if l := r.FormValue("lang"); l == "ja" || l == "en" {
		http.SetCookie(w, &http.Cookie{Name: langCookie, Value: l, Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *site) index(w http.ResponseWriter, r *http.Request) { s.render(w, r, "page.html") }

// parts is what the page's script fetches after a change.
func (s *site) parts(w http.ResponseWriter, r *http.Request) { s.render(w, r, "parts") }

func (s *site) render(w http.ResponseWriter, r *http.Request, name string) {
	var b strings.Builder
	if err := s.page.ExecuteTemplate(&b, name, s.data(r)); err != nil {
		s.cfg.Logger.Error("page not built", "page", name, "err", err)
		s.fail(w, r, http.StatusInternalServerError, "internal")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, b.String())
}

// fail answers with what happened and what to do, as JSON under /api, else as
// a page.
func (s *site) fail(w http.ResponseWriter, r *http.Request, code int, key string) {
	text, ok := failures[key]
	if !ok {
		text = failures["internal"]
	}
	s.failWith(w, r, code, key, text.In(s.lang(r)))
}

// failWith is fail where the words come from elsewhere.
func (s *site) failWith(w http.ResponseWriter, r *http.Request, code int, key, text string) {
	if strings.HasPrefix(r.URL.Path, "/api/") {
		s.json(w, code, map[string]any{"error": map[string]string{"code": key, "message": text}})
		return
	}
	l := s.lang(r)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	if err := s.page.ExecuteTemplate(w, "error.html", map[string]any{"Lang": l, "W": wordsIn(l), "Code": code, "Text": text}); err != nil {
		s.cfg.Logger.Error("error page not built", "err", err)
	}
}

// within ends a deed when the person's browser is long gone.
const within = 10 * time.Second

func bounded(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), within)
}

// warnings are the health checks that failed themselves.
func warnings(g Gateway) []health.Result {
	h := g.Health()
	return h.Warnings()
}

// newestFirst is a copy in the order in which people read, at most n.
func newestFirst(all []incident.Incident, n int) []incident.Incident {
	out := make([]incident.Incident, 0, min(len(all), n))
	for i := len(all) - 1; i >= 0 && len(out) < n; i-- {
		out = append(out, all[i])
	}
	return out
}
