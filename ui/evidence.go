package ui

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
)

// Evidence is what the page needs of what is kept. Kept must return at once.
// Errors are those of Gateway.
type Evidence interface {
	Kept() Kept
	// SetHold lifts the hold of a bundle, or puts it back, and keeps why.
	SetHold(ctx context.Context, bundle string, on bool, by, why string) error
	// Open gives a bundle as one file.
	Open(ctx context.Context, bundle string) (io.ReadSeekCloser, Package, error)
	// Taken records who takes it out. After an error it is not given out.
	Taken(ctx context.Context, bundle, by string, p Package) error
	// Delete removes a bundle whose hold was lifted, and leaves a tombstone.
	Delete(ctx context.Context, bundle, by, why string) error
	// Purge removes what is known of one device, as far as no hold forbids it.
	// It may take minutes.
	Purge(ctx context.Context, id asset.ID, by, reason string) (Purged, error)
	// ConfirmClock is a person's word that today's date is right.
	ConfirmClock(ctx context.Context, by string) error
	// RetryCopies tries at once what failed at a target.
	RetryCopies(target string) error
}

// Kept is how the evidence stands.
type Kept struct {
	Days    float64   `json:"days"`       // of packets that the ring holds
	Oldest  time.Time `json:"oldest"`     // first packet in the ring; zero: none
	Ring    int64     `json:"ring_bytes"` // on disk
	Size    int64     `json:"ring_size"`
	Pinned  int64     `json:"pinned_bytes"`
	PerDay  int64     `json:"written_per_day"` // bytes
	Written int64     `json:"written_total"`   // bytes, since the first start
	Wear    Wear      `json:"wear"`
	Bundles []Bundle  `json:"bundles"` // newest first
	Targets []Target  `json:"targets"`
	Quota   int64     `json:"quota"`      // 0: none
	OverBy  int64     `json:"over_quota"` // bytes that nothing may be deleted for
	Missing bool      `json:"missing"`    // the evidence disk is not there
	// ClockAsked: the date has jumped, and nothing is deleted until a person says
	// that it is right.
	ClockAsked bool `json:"clock_asked"`
	Deleted    int  `json:"deleted"` // bundles of which a tombstone is left
}

// Wear is what the disk says of itself.
type Wear struct {
	Device string `json:"device,omitempty"`
	Model  string `json:"model,omitempty"`
	Used   int    `json:"percent_used"` // of the rated life; -1: it does not say
	Failed bool   `json:"failed"`       // it expects to fail
}

// Bundle is one sealed bundle for the page.
type Bundle struct {
	ID        string    `json:"id"`
	Sealed    time.Time `json:"sealed"`
	Size      int64     `json:"size"` // as one file, bytes
	Packets   uint64    `json:"packets"`
	Held      bool      `json:"held"`
	Drill     bool      `json:"drill"` // of an exercise
	Encrypted bool      `json:"encrypted"`
	Unstamped bool      `json:"unstamped"` // the time-stamp server did not answer
	Copies    []string  `json:"copies"`    // names of targets that have it
	// Undated: it is not held, but was sealed while the clock was not right, so
	// that it never becomes old enough to go by itself.
	Undated bool `json:"undated"`
}

// Package is a bundle on its way out.
type Package struct {
	Name   string
	SHA256 string
	Sealed time.Time
}

// Target is one place off the box.
type Target struct {
	Name    string      `json:"name"`
	State   detect.Text `json:"state"` // what happens, and what to do
	Waiting int         `json:"waiting"`
	Bad     bool        `json:"bad"`
	Key     string      `json:"key,omitempty"` // our public key, for who runs the server
}

// Purged says what a purge did, and what it could not.
type Purged struct {
	Incidents int           `json:"incidents"`
	Bundles   []string      `json:"bundles"`
	Held      []string      `json:"held"` // bundles that a hold protects
	Entries   int           `json:"entries"`
	Rest      []detect.Text `json:"rest"` // what a purge does not reach
	Said      string        `json:"said"` // all this for the person who asked
}

func (s *site) evidenceRoutes(mux *http.ServeMux) {
	if s.cfg.Evidence == nil {
		return
	}
	mux.HandleFunc("GET /api/evidence", func(w http.ResponseWriter, r *http.Request) {
		s.json(w, http.StatusOK, s.cfg.Evidence.Kept())
	})
	mux.HandleFunc("POST /api/evidence/{id}/hold", s.apiHold)
	mux.HandleFunc("POST /api/evidence/{id}/delete", s.apiDelete)
	mux.HandleFunc("GET /api/evidence/{id}/package", s.apiPackage)
	mux.HandleFunc("POST /api/devices/{id}/purge", s.apiPurge)
	mux.HandleFunc("POST /api/evidence/clock", s.apiClock)
	mux.HandleFunc("POST /api/copies/{id}/retry", s.apiRetry)
}

func (s *site) apiClock(w http.ResponseWriter, r *http.Request) {
	var in signed
	if !s.readBy(w, r, &in, &in.By) {
		return
	}
	ctx, cancel := bounded(r)
	defer cancel()
	err := s.cfg.Evidence.ConfirmClock(ctx, in.By)
	s.answer(w, r, map[string]any{"done": err == nil}, err)
}

func (s *site) apiRetry(w http.ResponseWriter, r *http.Request) {
	var in signed
	if !s.readBy(w, r, &in, &in.By) {
		return
	}
	err := s.cfg.Evidence.RetryCopies(r.PathValue("id"))
	s.answer(w, r, map[string]any{"done": err == nil}, err)
}

func (s *site) apiHold(w http.ResponseWriter, r *http.Request) {
	var in struct {
		reasoned
		On *bool `json:"on"`
	}
	if !s.readBy(w, r, &in, &in.By) || !s.reason(w, r, &in.Note) {
		return
	}
	if in.On == nil {
		s.fail(w, r, http.StatusUnprocessableEntity, "body")
		return
	}
	ctx, cancel := bounded(r)
	defer cancel()
	err := s.cfg.Evidence.SetHold(ctx, r.PathValue("id"), *in.On, in.By, in.Note)
	s.answer(w, r, map[string]any{"id": r.PathValue("id"), "held": *in.On}, err)
}

func (s *site) apiDelete(w http.ResponseWriter, r *http.Request) {
	var in reasoned
	if !s.readBy(w, r, &in, &in.By) || !s.reason(w, r, &in.Note) {
		return
	}
	ctx, cancel := bounded(r)
	defer cancel()
	err := s.cfg.Evidence.Delete(ctx, r.PathValue("id"), in.By, in.Note)
	s.answer(w, r, map[string]any{"id": r.PathValue("id"), "done": err == nil}, err)
}

func (s *site) apiPurge(w http.ResponseWriter, r *http.Request) {
	var in reasoned
	if !s.readBy(w, r, &in, &in.By) || !s.reason(w, r, &in.Note) {
		return
	}
	// Not bounded as other deeds are: it reads all evidence. Who leaves the page
	// does not stop it half-way.
	done, err := s.cfg.Evidence.Purge(context.WithoutCancel(r.Context()), asset.ID(r.PathValue("id")), in.By, in.Note)
	done.Said = said(done, s.lang(r))
	s.answer(w, r, done, err)
}

// said tells what a purge did, what it left, and why.
func said(p Purged, l string) string {
	w := wordsIn(l)
	text := strings.NewReplacer("{i}", strconv.Itoa(p.Incidents), "{b}", strconv.Itoa(len(p.Bundles)), "{e}", strconv.Itoa(p.Entries)).Replace(w["purged"])
	if len(p.Held) > 0 {
		text += " " + put(w["purged_held"], strings.Join(p.Held, w["and"]))
	}
	for _, r := range p.Rest {
		text += " " + r.In(l)
	}
	return text
}

// reasoned is the body of a deed that needs a name and a reason.
type reasoned struct {
	signed
	Note string `json:"note"`
}

// reason trims the reason, and refuses where there is none that can be kept.
func (s *site) reason(w http.ResponseWriter, r *http.Request, text *string) bool {
	*text = strings.TrimSpace(*text)
	if n := utf8.RuneCountInString(*text); n < 1 || n > 500 {
		s.fail(w, r, http.StatusUnprocessableEntity, "note")
		return false
	}
	return true
}

// keptView is the part of the page about what is kept.
type keptView struct {
	Days, Ring, PerDay, Wear string
	Missing, ClockAsked      bool
	Today                    string
	Bundles                  []bundleView
	Targets                  []targetView
	Over                     string
	Older                    int
}

type bundleView struct {
	ID, Sealed, Size, Packets, Copies string
	Held, Encrypted, Unstamped        bool
	Undated, Drill                    bool
}

type targetView struct {
	Name, State, Key string
	Bad              bool
}

func (s *site) kept(l string) *keptView {
	if s.cfg.Evidence == nil {
		return nil
	}
	w := wordsIn(l)
	k := s.cfg.Evidence.Kept()
	v := &keptView{Missing: k.Missing, Wear: wear(k.Wear, w), Days: "–", ClockAsked: k.ClockAsked, Today: s.cfg.Now().Format(time.DateOnly)}
	if k.Days > 0 {
		v.Days = put(w["kept_days"], fmt.Sprintf("%.1f", k.Days))
	}
	v.Ring = size(k.Ring) + " / " + size(k.Size)
	if k.PerDay > 0 {
		v.PerDay = put(w["kept_per_day"], size(k.PerDay))
	}
	if k.OverBy > 0 {
		v.Over = put(w["kept_over"], size(k.OverBy))
	}
	for _, b := range k.Bundles[:min(len(k.Bundles), maxIncidents)] {
		v.Bundles = append(v.Bundles, bundleView{
			ID: b.ID, Sealed: s.when(b.Sealed, l), Size: size(b.Size), Packets: fmt.Sprint(b.Packets),
			Copies: strings.Join(b.Copies, w["and"]), Held: b.Held, Encrypted: b.Encrypted, Unstamped: b.Unstamped, Undated: b.Undated, Drill: b.Drill,
		})
	}
	v.Older = len(k.Bundles) - len(v.Bundles)
	for _, t := range k.Targets {
		state := t.State.In(l)
		if t.Waiting > 0 {
			state += put(w["kept_waiting"], strconv.Itoa(t.Waiting))
		}
		v.Targets = append(v.Targets, targetView{t.Name, state, t.Key, t.Bad})
	}
	return v
}

// wear is one sentence, or nothing where the disk does not speak of it.
func wear(d Wear, w map[string]string) string {
	switch {
	case d.Failed:
		return w["wear_failed"]
	case d.Device == "" || d.Used < 0:
		return w["wear_unknown"]
	}
	return put(w["wear_used"], strconv.Itoa(d.Used))
}

// put fills the one gap that a text has.
func put(text, value string) string { return strings.ReplaceAll(text, "{n}", value) }

// size writes bytes as people read them, in powers of ten as disks are sold.
func size(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f, u := float64(max(n, 0)), 0
	for f >= 999.5 && u < len(units)-1 {
		f, u = f/1000, u+1
	}
	if u == 0 || f >= 99.95 {
		return fmt.Sprintf("%.0f %s", f, units[u])
	}
	return fmt.Sprintf("%.1f %s", f, units[u])
}
