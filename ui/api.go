package ui

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"sekisho/firmware/asset"
	"sekisho/firmware/incident"
	"sekisho/hal"
	"sekisho/hal/panel"
)

// panelJSON is GET /api/panel and the panel event.
type panelJSON struct {
	Seq      uint64 `json:"seq"`
	State    string `json:"state"`
	Target   string `json:"target"`
	Drill    bool   `json:"drill"`
	Lockdown bool   `json:"lockdown"`
	Approval string `json:"approval,omitempty"` // the vendor whose access waits for hold3
	// ApprovalID is what hold3 has to name as its target.
	ApprovalID  string `json:"approval_id,omitempty"`
	ApprovalFor string `json:"approval_for,omitempty"` // what it asks to see
	// AskedUntil: one press was taken; a second one before then isolates.
	AskedUntil *time.Time `json:"asked_until,omitempty"`
	Lamp       []lampJSON `json:"lamp"`       // repeats for ever
	LampWords  string     `json:"lamp_words"` // in the language of who asks
	Lang       string     `json:"lang"`       // of lines and picture
	Lines      []string   `json:"lines"`
	Image      string     `json:"image"` // PNG, base64, 128x64
}

type lampJSON struct {
	Color string `json:"color"` // "#rrggbb"
	Ms    int    `json:"ms"`
}

var stateNames = [...]string{
	hal.Normal: "normal", hal.Learning: "learning", hal.Attention: "attention", hal.Isolating: "isolating",
	hal.Isolated: "isolated", hal.NotIsolated: "not_isolated", hal.Fault: "fault", hal.VendorConnected: "vendor_connected",
}

func stateName(s hal.State) string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "fault"
}

// panelOf is a frame for somebody who reads lang.
func panelOf(f panel.Frame, lang string) panelJSON {
	var b bytes.Buffer
	if err := f.Image.WritePNG(&b, 1); err != nil {
		b.Reset() // memory cannot fail; the words below still tell
	}
	out := panelJSON{
		Seq: f.Seq, State: stateName(f.Status.State), Target: f.Status.Target, Drill: f.Status.Drill,
		Lockdown: f.Status.Lockdown, Approval: f.Status.Approval, ApprovalID: f.Status.ApprovalID, ApprovalFor: f.Status.ApprovalFor,
		LampWords: panel.LampWords(f.Status, lang), Lang: f.Status.Lang, Lines: f.Lines, Image: base64.StdEncoding.EncodeToString(b.Bytes()),
	}
	if until := f.Status.AskedUntil; !until.IsZero() {
		out.AskedUntil = &until
	}
	for _, seg := range f.Rhythm {
		out.Lamp = append(out.Lamp, lampJSON{fmt.Sprintf("#%02x%02x%02x", seg.Color.R, seg.Color.G, seg.Color.B), seg.Ms})
	}
	return out
}

func (s *site) apiPanel(w http.ResponseWriter, r *http.Request) {
	s.json(w, http.StatusOK, panelOf(s.cfg.Panel.Frame(), s.lang(r)))
}

func (s *site) panelPNG(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "image/png")
	f := s.cfg.Panel.Frame()
	if err := f.Image.WritePNG(w, 1); err != nil {
		s.cfg.Logger.Debug("picture not sent", "err", err)
	}
}

func (s *site) apiPress(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Gesture string  `json:"gesture"`
		Target  *string `json:"target"`
	}
	if !s.read(w, r, &in) {
		return
	}
	gesture, ok := map[string]hal.Gesture{"short": hal.Short, "hold3": hal.Hold3, "hold8": hal.Hold8}[in.Gesture]
	if !ok || in.Target == nil {
		s.fail(w, r, http.StatusBadRequest, "gesture")
		return
	}
	switch err := s.cfg.Panel.Press(gesture, *in.Target); {
	case errors.Is(err, panel.ErrTargetChanged):
		s.fail(w, r, http.StatusConflict, "target_changed")
	case errors.Is(err, panel.ErrNotAsked):
		s.fail(w, r, http.StatusConflict, "not_asked")
	case err != nil:
		s.cfg.Logger.Error("press from the web failed", "err", err)
		s.fail(w, r, http.StatusServiceUnavailable, "busy")
	default:
		s.json(w, http.StatusAccepted, map[string]any{"accepted": true, "target": *in.Target})
	}
}

func (s *site) apiIncidents(w http.ResponseWriter, r *http.Request) {
	all := s.cfg.Gateway.Incidents()
	if all == nil {
		all = []incident.Incident{}
	}
	s.json(w, http.StatusOK, map[string]any{"incidents": all})
}

func (s *site) apiIncident(w http.ResponseWriter, r *http.Request) {
	for _, i := range s.cfg.Gateway.Incidents() {
		if i.ID == r.PathValue("id") {
			s.json(w, http.StatusOK, i)
			return
		}
	}
	s.fail(w, r, http.StatusNotFound, "unknown")
}

// deed handles what is done to one incident: release, dismiss, isolate, limit,
// lower, undo, tick, untick and unteach.
func (s *site) deed(w http.ResponseWriter, r *http.Request) {
	var in struct {
		By   string `json:"by"`
		Note string `json:"note"`
		Item string `json:"item"` // tick, untick
	}
	if !s.read(w, r, &in) {
		return
	}
	in.By, in.Note = strings.TrimSpace(in.By), strings.TrimSpace(in.Note)
	what, id := r.PathValue("deed"), r.PathValue("id")
	if !person(in.By) {
		s.fail(w, r, http.StatusUnprocessableEntity, "name")
		return
	}
	if utf8.RuneCountInString(in.Note) > 500 || (in.Note == "" && (what == "dismiss" || what == "lower")) {
		s.fail(w, r, http.StatusUnprocessableEntity, "note")
		return
	}
	if (what == "tick" || what == "untick") == (in.Item == "") {
		s.fail(w, r, http.StatusUnprocessableEntity, "item")
		return
	}
	var i incident.Incident
	var err error
	by := "web:" + in.By
	ctx, cancel := bounded(r)
	defer cancel()
	switch what {
	case "release":
		i, err = s.cfg.Gateway.Release(ctx, id, by, in.Note)
	case "dismiss":
		i, err = s.cfg.Gateway.Dismiss(ctx, id, by, in.Note)
	case "isolate":
		i, err = s.cfg.Gateway.Isolate(ctx, id, by)
	case "limit":
		i, err = s.cfg.Gateway.Limit(ctx, id, by)
	case "lower":
		i, err = s.cfg.Gateway.Lower(ctx, id, by, in.Note)
	case "undo":
		i, err = s.cfg.Gateway.Undo(ctx, id, by, in.Note)
	case "tick", "untick":
		i, err = s.cfg.Gateway.Tick(ctx, id, in.Item, what == "tick", by, in.Note)
	case "unteach":
		i, err = s.cfg.Gateway.Unteach(ctx, id, by, in.Note)
	default:
		s.fail(w, r, http.StatusNotFound, "unknown")
		return
	}
	s.answer(w, r, i, err)
}

// person says whether a name can stand in a record.
func person(name string) bool {
	n := utf8.RuneCountInString(name)
	return n >= 1 && n <= 80 && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' })
}

// apiLockdown begins or ends the office-wide lockdown, with the name of whoever
// answers for it.
func (s *site) apiLockdown(w http.ResponseWriter, r *http.Request) {
	var in struct {
		On *bool  `json:"on"`
		By string `json:"by"`
	}
	if !s.read(w, r, &in) {
		return
	}
	if in.On == nil {
		s.fail(w, r, http.StatusUnprocessableEntity, "lockdown")
		return
	}
	if in.By = strings.TrimSpace(in.By); !person(in.By) {
		s.fail(w, r, http.StatusUnprocessableEntity, "name")
		return
	}
	ctx, cancel := bounded(r)
	defer cancel()
	err := s.cfg.Gateway.SetLockdown(ctx, *in.On, "web:"+in.By)
	s.answer(w, r, map[string]any{"lockdown": *in.On}, err)
}

func (s *site) apiDevices(w http.ResponseWriter, r *http.Request) {
	all := s.cfg.Gateway.Devices()
	if all == nil {
		all = []asset.Asset{}
	}
	s.json(w, http.StatusOK, map[string]any{"devices": all})
}

// apiHoldDevice holds a device that a person names, because of what that person saw or
// was told.
func (s *site) apiHoldDevice(level incident.Level) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			By   string `json:"by"`
			Note string `json:"note"`
		}
		if !s.read(w, r, &in) {
			return
		}
		in.By, in.Note = strings.TrimSpace(in.By), strings.TrimSpace(in.Note)
		if !person(in.By) {
			s.fail(w, r, http.StatusUnprocessableEntity, "name")
			return
		}
		if in.Note == "" || utf8.RuneCountInString(in.Note) > 500 {
			s.fail(w, r, http.StatusUnprocessableEntity, "note")
			return
		}
		ctx, cancel := bounded(r)
		defer cancel()
		i, err := s.cfg.Gateway.HoldDevice(ctx, asset.ID(r.PathValue("id")), level, "web:"+in.By, in.Note)
		s.answer(w, r, i, err)
	}
}

func (s *site) apiDevice(w http.ResponseWriter, r *http.Request) {
	var in struct {
		DeviceChange
		By string `json:"by"`
	}
	if !s.read(w, r, &in) {
		return
	}
	if in.Name == nil && in.Protected == nil && in.Kin == nil {
		s.fail(w, r, http.StatusUnprocessableEntity, "body")
		return
	}
	if in.Name != nil {
		name := strings.TrimSpace(*in.Name)
		if name != "" && !person(name) {
			s.fail(w, r, http.StatusUnprocessableEntity, "device_name")
			return
		}
		in.Name = &name
	}
	ctx, cancel := bounded(r)
	defer cancel()
	by := "web"
	if in.By = strings.TrimSpace(in.By); in.By != "" {
		if !person(in.By) {
			s.fail(w, r, http.StatusUnprocessableEntity, "name")
			return
		}
		by += ":" + in.By
	}
	a, err := s.cfg.Gateway.SetDevice(ctx, asset.ID(r.PathValue("id")), in.DeviceChange, by)
	s.answer(w, r, a, err)
}

func (s *site) apiHealth(w http.ResponseWriter, r *http.Request) {
	h := s.cfg.Gateway.Health()
	s.json(w, http.StatusOK, map[string]any{"ready": h.Ready(), "at": h.At, "results": h.Results})
}

// answer sends a result, or what became of the wish.
func (s *site) answer(w http.ResponseWriter, r *http.Request, v any, err error) {
	missing, early := asMissing(err)
	switch {
	case early:
		s.missing(w, r, missing)
	case errors.Is(err, ErrUnknown):
		s.fail(w, r, http.StatusNotFound, "unknown")
	case errors.Is(err, ErrCutOff):
		s.fail(w, r, http.StatusConflict, "cut_off")
	case errors.Is(err, ErrRefused):
		s.cfg.Logger.Info("wish refused", "path", r.URL.Path, "err", err)
		s.fail(w, r, http.StatusConflict, "refused")
	case err != nil:
		s.cfg.Logger.Error("wish not carried out", "path", r.URL.Path, "err", err)
		s.fail(w, r, http.StatusInternalServerError, "internal")
	default:
		s.json(w, http.StatusOK, v)
	}
}

// read decodes a JSON body strictly: an unknown field is a misunderstanding.
func (s *site) read(w http.ResponseWriter, r *http.Request, into any) bool {
	if ct, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(ct) != "application/json" {
		s.fail(w, r, http.StatusUnsupportedMediaType, "json")
		return false
	}
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil && dec.More() {
		err = errors.New("more than one value")
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		s.fail(w, r, http.StatusRequestEntityTooLarge, "too_large")
		return false
	}
	if err != nil {
		s.fail(w, r, http.StatusBadRequest, "body")
		return false
	}
	return true
}

func (s *site) json(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.cfg.Logger.Error("answer not encoded", "err", err)
		http.Error(w, `{"error":{"code":"internal"}}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	w.Write(append(b, '\n'))
}

// writeWithin is how long one event may take to leave; a browser that reads no
// longer is let go.
const writeWithin = 10 * time.Second

// alive is how often the picture is looked at while nothing has changed: texts in
// turn, the clock and the bar follow time alone.
const alive = 250 * time.Millisecond

// events streams the panel as it changes, and a token for everything else.
func (s *site) events(w http.ResponseWriter, r *http.Request) {
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		s.fail(w, r, http.StatusServiceUnavailable, "busy")
		return
	}
	defer s.streams.Add(-1)
	rc := http.NewResponseController(w)
	frames, stopFrames := s.cfg.Panel.Subscribe()
	defer stopFrames()
	changes, stopChanges := s.cfg.Gateway.Subscribe()
	defer stopChanges()
	w.Header().Set("Content-Type", "text/event-stream")
	beat := time.NewTicker(15 * time.Second)
	defer beat.Stop()
	send := func(event string, v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		// A writer without deadlines is the test recorder.
		if err := rc.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, b); err != nil {
			return err
		}
		return rc.Flush()
	}
	lang := s.lang(r)
	shown := s.cfg.Panel.Frame()
	err := send("panel", panelOf(shown, lang))
	clock := time.NewTicker(alive)
	defer clock.Stop()
	for err == nil {
		select {
		case <-r.Context().Done():
			return
		case <-frames:
			shown = s.cfg.Panel.Frame()
			err = send("panel", panelOf(shown, lang))
		case <-clock.C:
			if f := s.cfg.Panel.Frame(); f.Image != shown.Image {
				shown = f
				err = send("panel", panelOf(shown, lang))
			}
		case <-changes:
			err = send("change", map[string]any{})
		case <-beat.C:
			err = send("beat", map[string]any{})
		}
	}
	s.cfg.Logger.Debug("event stream ended", "err", err)
}

// maxStreams bounds how many pages are kept up to date at once.
const maxStreams = 64
