package ui

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Vendors is what the page needs of the vendor's access to evidence. Access must
// return at once; the deeds are recorded before they count. Errors are those of
// Gateway.
type Vendors interface {
	Access() Access
	// Invite makes an invitation that can be used once.
	Invite(ctx context.Context, by string) (Invitation, error)
	// Approve lets the request in for at most as long as the settings allow; with
	// 0 for as long as was asked, at most Access.Usual. During a lockdown it is
	// ErrCutOff.
	Approve(ctx context.Context, grant, by string, span time.Duration) error
	Deny(ctx context.Context, grant, by string) error
	End(ctx context.Context, grant, by string) error
	Revoke(ctx context.Context, vendor, by string) error
}

// Access is who may look at evidence, and who asks to.
type Access struct {
	Waiting  []Grant       `json:"waiting"`
	Active   []Grant       `json:"active"`
	Vendors  []Vendor      `json:"vendors"`
	Usual    time.Duration `json:"-"` // the longest that Approve gives where the owner names no time
	MaxGrant time.Duration `json:"-"` // the longest that it gives at all
}

// Grant is one access to one incident's evidence.
type Grant struct {
	ID       string    `json:"id"`
	Vendor   string    `json:"vendor"` // its name
	Incident string    `json:"incident"`
	Reason   string    `json:"reason"`
	Wished   int       `json:"wished_minutes"` // 0: not said
	Asked    time.Time `json:"asked"`
	Until    time.Time `json:"until"` // waiting: the question lapses; active: access ends
	Sent     uint64    `json:"sent"`  // bytes downloaded so far
}

// Vendor is one enrolment.
type Vendor struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Enrolled time.Time `json:"enrolled"`
	By       string    `json:"by"` // who invited it
	Locked   time.Time `json:"locked,omitzero"`
}

// Invitation is what the owner gives to the vendor, once.
type Invitation struct {
	Text  string    `json:"text"`
	Until time.Time `json:"until"`
}

// vendorRoutes are there only where the vendor's access is switched on.
func (s *site) vendorRoutes(mux *http.ServeMux) {
	if s.cfg.Vendors == nil {
		return
	}
	mux.HandleFunc("GET /api/vendor", func(w http.ResponseWriter, r *http.Request) {
		s.json(w, http.StatusOK, withoutNulls(s.cfg.Vendors.Access()))
	})
	mux.HandleFunc("POST /api/vendor/invitations", s.apiInvite)
	mux.HandleFunc("POST /api/vendor/grants/{id}/{deed}", s.apiGrant)
	mux.HandleFunc("POST /api/vendor/vendors/{id}/revoke", s.apiRevoke)
}

func withoutNulls(a Access) Access {
	a.Waiting, a.Active, a.Vendors = append([]Grant{}, a.Waiting...), append([]Grant{}, a.Active...), append([]Vendor{}, a.Vendors...)
	return a
}

// signed is the body of every deed that needs nothing but a name.
type signed struct {
	By string `json:"by"`
}

// readBy reads a body of which by is the person's name.
func (s *site) readBy(w http.ResponseWriter, r *http.Request, into any, by *string) bool {
	if !s.read(w, r, into) {
		return false
	}
	if *by = strings.TrimSpace(*by); !person(*by) {
		s.fail(w, r, http.StatusUnprocessableEntity, "name")
		return false
	}
	*by = "web:" + *by
	return true
}

func (s *site) apiInvite(w http.ResponseWriter, r *http.Request) {
	var in signed
	if !s.readBy(w, r, &in, &in.By) {
		return
	}
	ctx, cancel := bounded(r)
	defer cancel()
	invitation, err := s.cfg.Vendors.Invite(ctx, in.By)
	s.answer(w, r, invitation, err)
}

func (s *site) apiGrant(w http.ResponseWriter, r *http.Request) {
	var in struct {
		signed
		Minutes int `json:"minutes"` // approve: 0 is as long as was asked
	}
	if !s.readBy(w, r, &in, &in.By) {
		return
	}
	if in.Minutes < 0 || in.Minutes > 24*60 {
		s.fail(w, r, http.StatusUnprocessableEntity, "minutes")
		return
	}
	ctx, cancel := bounded(r)
	defer cancel()
	var err error
	id := r.PathValue("id")
	switch r.PathValue("deed") {
	case "approve":
		err = s.cfg.Vendors.Approve(ctx, id, in.By, time.Duration(in.Minutes)*time.Minute)
	case "deny":
		err = s.cfg.Vendors.Deny(ctx, id, in.By)
	case "end":
		err = s.cfg.Vendors.End(ctx, id, in.By)
	default:
		s.fail(w, r, http.StatusNotFound, "unknown")
		return
	}
	s.answer(w, r, map[string]any{"id": id, "done": err == nil}, err)
}

func (s *site) apiRevoke(w http.ResponseWriter, r *http.Request) {
	var in signed
	if !s.readBy(w, r, &in, &in.By) {
		return
	}
	ctx, cancel := bounded(r)
	defer cancel()
	err := s.cfg.Vendors.Revoke(ctx, r.PathValue("id"), in.By)
	s.answer(w, r, map[string]any{"id": r.PathValue("id"), "done": err == nil}, err)
}

// accessView is the part of the page about the vendor.
type accessView struct {
	Waiting, Active []grantView
	Vendors         []vendorView
	Spans           []spanView // to choose from when approving, besides a grant's own
}

type grantView struct {
	ID, Vendor, Incident, Reason, Wished, Asked, Until, Sent string
	Span                                                     string // what is given where nothing else is chosen
}

type spanView struct {
	Minutes int
	Text    string
}

type vendorView struct{ ID, Name, Since, By, Locked string }

func (s *site) access(l string) *accessView {
	if s.cfg.Vendors == nil {
		return nil
	}
	a := s.cfg.Vendors.Access()
	w := wordsIn(l)
	v := &accessView{Spans: spans(a.MaxGrant, w)}
	view := func(g Grant) grantView {
		out := grantView{ID: g.ID, Vendor: g.Vendor, Incident: g.Incident, Reason: g.Reason, Asked: s.when(g.Asked, l), Until: s.when(g.Until, l)}
		if g.Sent > 0 {
			out.Sent = size(int64(g.Sent))
		}
		out.Span = put(w["span_usual"], span(a.Usual, w))
		if wish := time.Duration(g.Wished) * time.Minute; wish > 0 {
			out.Wished = put(w["access_wished"], span(wish, w))
			if wish <= a.Usual {
				out.Span = put(w["span_wished"], span(wish, w))
			}
		}
		return out
	}
	for _, g := range a.Waiting {
		v.Waiting = append(v.Waiting, view(g))
	}
	for _, g := range a.Active {
		v.Active = append(v.Active, view(g))
	}
	for _, e := range a.Vendors {
		locked := ""
		if e.Locked.After(s.cfg.Now()) {
			locked = s.when(e.Locked, l)
		}
		v.Vendors = append(v.Vendors, vendorView{e.ID, e.Name, s.when(e.Enrolled, l), who(e.By, w), locked})
	}
	return v
}

// spans offers whole hours up to the longest.
func spans(longest time.Duration, w map[string]string) (out []spanView) {
	for _, h := range []int{1, 2, 4, 8, 24} {
		if d := time.Duration(h) * time.Hour; d <= longest {
			out = append(out, spanView{60 * h, span(d, w)})
		}
	}
	return out
}

// span writes a time as people say it: whole hours, else minutes.
func span(d time.Duration, w map[string]string) string {
	if d%time.Hour == 0 {
		return put(w["hours"], strconv.Itoa(int(d/time.Hour)))
	}
	return put(w["minutes"], strconv.Itoa(int(d/time.Minute)))
}
