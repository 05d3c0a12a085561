package ui

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho/firmware/incident"
)

// Steps is what a person does between an isolation and its end: levels, the
// undo of what was done automatically, and the checklist of the return. The deeds
// are like those of Gateway; item is the key of an item of the checklist.
type Steps interface {
	// Limit holds a device at limit, or begins to.
	Limit(ctx context.Context, id, by string) (incident.Incident, error)
	// Lower steps an isolated device down to limit.
	Lower(ctx context.Context, id, by, note string) (incident.Incident, error)
	Undo(ctx context.Context, id, by, note string) (incident.Incident, error)
	// Tick returns ErrUnknown also for an item that is not on the list.
	Tick(ctx context.Context, id, item string, done bool, by, note string) (incident.Incident, error)
	// Limits says how far the gateway may go by itself now.
	Limits() incident.Limits
}

// MissingError refuses a release, or the dismissal of what is held, because not
// all is done that has to be.
type MissingError struct{ Items []incident.Item }

func (e *MissingError) Error() string {
	var keys []string
	for _, it := range e.Items {
		keys = append(keys, it.Key)
	}
	return "not done yet: " + strings.Join(keys, ", ")
}

// Unwrap makes it an ErrRefused.
func (e *MissingError) Unwrap() error { return ErrRefused }

// missing answers a release that came too early: what is still to do, in words.
func (s *site) missing(w http.ResponseWriter, r *http.Request, e *MissingError) {
	l := s.lang(r)
	var names, keys []string
	for _, it := range e.Items {
		names, keys = append(names, it.Text.In(l)), append(keys, it.Key)
	}
	text := failures["missing"].In(l) + strings.Join(names, " / ") // there are commas and dots in the items
	s.json(w, http.StatusConflict, map[string]any{"error": map[string]any{"code": "missing", "message": text, "missing": keys}})
}

func asMissing(err error) (*MissingError, bool) {
	var e *MissingError
	ok := errors.As(err, &e)
	return e, ok
}

func (s *site) apiLimits(w http.ResponseWriter, r *http.Request) {
	s.json(w, http.StatusOK, s.cfg.Gateway.Limits())
}

// returnView is one device's way back, or its probation.
type returnView struct {
	ID, Name, Place, Tone, Title, Count string
	Auto                                *autoView
	Next                                *itemView // nil: all that is required is done
	Items                               []itemView
	Held, Now, Ready                    bool // Now: the work on the list is the next thing to do
	CanLower, CanRaise                  bool
	Until, Hint                         string // of probation; empty: not in it
}

type autoView struct{ Title, Why, Allowed, Ask, Hint, Undo string }

type itemView struct {
	Key, Text, By, Note string
	Done, Optional      bool
}

// maxReturns is how many ways back the page shows at a time; the newest first.
const maxReturns = 8

// returns are the devices that are held, in probation, or as policy left them,
// first the one that the page is about.
func (s *site) returns(all []incident.Incident, focus, l string) (out []returnView) {
	auto := s.cfg.Gateway.Limits().AutoIsolate
	for _, i := range newestFirst(all, len(all)) {
		if i.Drill || !i.State.Held() && i.State != incident.Probation || len(out) == maxReturns && i.ID != focus {
			continue
		}
		v := s.back(i, auto, l)
		if i.ID == focus {
			out = append([]returnView{v}, out...)
		} else {
			out = append(out, v)
		}
	}
	return out
}

// back is one device's; auto says that policy may hold an ordinary one.
func (s *site) back(i incident.Incident, mayAuto bool, l string) returnView {
	w := wordsIn(l)
	v := returnView{
		ID: i.ID, Name: deviceName(i.Asset, w), Place: place(i.Asset, w), Tone: tone(i.State), Held: i.State.Held(),
		CanLower: i.State.Held() && i.State != incident.ContainFailed && i.Level == incident.Isolate, CanRaise: i.State.Held() && i.Level == incident.Limit,
	}
	v.Title = strings.ReplaceAll(w["back_title"], "{name}", v.Name)
	if i.State == incident.Probation {
		v.Title = strings.ReplaceAll(w["probation_title"], "{name}", v.Name)
		switch {
		case calledHarmless(i):
			v.Hint = w["probation_hint_harmless"]
		case mayAuto && i.Guard == incident.GuardNone:
			v.Hint = w["probation_hint"]
		default:
			v.Hint = w["probation_hint_person"]
		}
		if !i.Until.IsZero() {
			v.Until = strings.ReplaceAll(w["probation_until"], "{until}", s.when(i.Until, l))
		}
	}
	if i.Undoable() {
		v.Auto = auto(i, w, l)
	}
	if !v.Held {
		return v
	}
	for _, it := range i.Checklist {
		iv := itemView{Key: it.Key, Text: it.Text.In(l), Note: it.Note, Done: it.Done(), Optional: !it.Required}
		if it.Done() {
			iv.By = who(it.By, w) + " " + s.when(it.At, l)
		} else if it.Required && v.Next == nil {
			next := iv
			v.Next = &next
		}
		v.Items = append(v.Items, iv)
	}
	// As long as the isolation is not sure, that comes first.
	v.Now = stopped(i) || i.State == incident.ContainFailed && slices.ContainsFunc(i.Checklist, incident.Item.Done)
	left := len(i.Missing())
	v.Ready = left == 0
	if v.Count = w["back_ready"]; left > 0 {
		v.Count = strings.ReplaceAll(w["back_left"], "{n}", strconv.Itoa(left))
	}
	return v
}

// calledHarmless says that a person let the device go as a false alarm.
func calledHarmless(i incident.Incident) bool {
	return i.Lesson.Holds() && i.Lesson.Kind == incident.Harmless
}

// auto tells what was done automatically, why, and what an undo would do.
func auto(i incident.Incident, w map[string]string, l string) *autoView {
	a := i.Automatic
	v := &autoView{Title: w["auto_isolated"], Why: a.Why.In(l), Allowed: a.Allowed.In(l), Ask: w["undo_ask"], Hint: w["undo_hint"], Undo: w["undo"]}
	switch {
	case a.Kind == incident.InDeadline:
		v.Title, v.Ask, v.Hint, v.Undo = w["auto_released"], w["undo_release_ask"], w["undo_release_hint"], w["undo_release"]
	case a.Level == incident.Limit:
		v.Title = w["auto_limited"]
	}
	return v
}

// limitsView is how far the gateway may go by itself.
type limitsView struct {
	Full, Off bool
	Lines     []string
}

func (s *site) limits(l string) limitsView {
	return limitsOf(s.cfg.Gateway.Limits(), l, func(t time.Time) string { return s.when(t, l) })
}

func limitsOf(c incident.Limits, l string, when func(time.Time) string) limitsView {
	w := wordsIn(l)
	v := limitsView{Full: c.AutoIsolate && c.Full(), Off: !c.AutoIsolate}
	say := func(key string, pairs ...string) {
		v.Lines = append(v.Lines, strings.NewReplacer(pairs...).Replace(w[key]))
	}
	if v.Off {
		say("limits_off")
		return v
	}
	key := "limits_used"
	if c.Used > 0 && !c.FreeAt.IsZero() {
		key = "limits_used_free"
	}
	at := ""
	if !c.FreeAt.IsZero() {
		at = when(c.FreeAt)
	}
	say(key, "{used}", strconv.Itoa(c.Used), "{max}", strconv.Itoa(c.Max), "{minutes}", strconv.Itoa(int(c.Window.Minutes())), "{at}", at)
	say("limits_held", "{held}", strconv.Itoa(c.Held), "{most}", strconv.Itoa(c.MostHeld), "{percent}", strconv.Itoa(c.MaxPercent), "{active}", strconv.Itoa(c.Active))
	if v.Full {
		say("limits_full")
	}
	if c.Business {
		say("limits_business")
	}
	if c.ReleaseAfter > 0 {
		say("limits_release", "{time}", lasting(c.ReleaseAfter, w))
	} else {
		say("limits_stay")
	}
	say("limits_probation", "{time}", lasting(c.Probation, w))
	return v
}

// lasting is a length of time for people, in days when it is whole days.
func lasting(d time.Duration, w map[string]string) string {
	if day := 24 * time.Hour; d > day && d%day == 0 {
		return put(w["days"], strconv.Itoa(int(d/day)))
	}
	return span(d, w)
}
