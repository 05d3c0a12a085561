package ui

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/health"
	"sekisho/firmware/incident"
	"sekisho/hal"
	"sekisho/hal/panel"
)

// view is everything that the templates read. Strings in it come from
// strangers; only the templates' escaping stands between them and the browser.
type view struct {
	Lang      string
	W         map[string]string
	Panel     panelJSON
	Knob      knobView
	Headline  string
	Focus     *incidentView // what the page is about now, nil when all is well
	Stages    []stage
	Steps     []string
	Deed      string // text of the big button
	Idle      bool   // a press would do nothing now
	Lockdown  bool
	Incidents []incidentView
	Older     int
	Returns   []returnView
	Limits    limitsView
	Drilling  *drillingView // the drill that runs; nil: none
	Drills    *drillsView   // nil: there are none
	Lessons   []lessonView
	Quiet     string // what Lessons are, for people
	Devices   []deviceView
	Health    []warningView
	Access    *accessView // nil: the vendor's access is off
	Kept      *keptView   // nil: not shown
	Vendor    string
	Phone     string
	Key       string // fingerprint of the signing key
}

// stage is one of the handbook's six.
type stage struct {
	Name string
	Mark string // "done", "now", "later"
}

type incidentView struct {
	ID, Name, Place, State, Tone, Since, Bundle, Why, Proof string
	Addrs                                                   string
	Along                                                   []string // what is held with it, and what a person is asked about
	Drill, Held, CanDismiss, CanIsolate, CanLimit, Twice    bool
	Unasked                                                 bool        // somebody has to agree before it is let go as harmless
	Impact                                                  *impactView // before a decision; nil: nothing to decide, or not known
	Kin                                                     *kinPart
	Containment                                             *containmentView // nil: not held
	Findings                                                []findingView
	History                                                 []line
}

// lessonView is a pattern that a person called harmless, and that is kept quiet.
type lessonView struct{ ID, Name, What, By, At string }

type findingView struct{ Title, Explain, Technique, Span string }

type line struct{ Time, Text string }

type deviceView struct {
	ID, Name, Given, Vendor, Kind, Addrs, MAC, Port, Seen string
	Protected, Fixed, Twice                               bool        // Twice: to be asked for twice
	Held                                                  string      // how it is held; empty: it is not
	Impact                                                *impactView // nil: not known
}

// warningView is a warning in words; Detail is the system's own.
type warningView struct{ Name, Title, Text, Detail string }

// maxIncidents is how many the page lists; the API gives all.
const maxIncidents = 50

func (s *site) data(r *http.Request) view {
	l := s.lang(r)
	w := wordsIn(l)
	f := s.cfg.Panel.Frame()
	all := s.cfg.Gateway.Incidents()
	v := view{Lang: l, W: w, Panel: panelOf(f, l), Knob: knob(l), Lockdown: s.cfg.Gateway.Lockdown(), Key: s.cfg.Fingerprint, Vendor: f.Status.Vendor, Phone: f.Status.VendorPhone}
	held := heldTags(all, w)
	for _, i := range newestFirst(all, maxIncidents) {
		v.Incidents = append(v.Incidents, s.incident(i, l))
	}
	v.Older = len(all) - len(v.Incidents)
	v.Lessons = s.lessons(all, l)
	v.Quiet = strings.ReplaceAll(w["lessons_hint"], "{days}", strconv.Itoa(int(incident.DefaultPolicy().Remember.Hours()/24)))
	now := "normal"
	if i, ok := focus(all, f.Status); ok {
		iv := s.incident(i, l)
		v.Focus, now = focused(iv, i, w), phase(i, s.cfg.Now())
		v.Steps = steps(w, drillPhase(now, i), i, s.cfg.Now())
	} else {
		now = quiet(f.Status.State, v.Lockdown, all)
		v.Steps = splitSteps(w["steps_"+now])
	}
	on := ""
	if v.Focus != nil {
		on = v.Focus.ID
	}
	v.Returns, v.Limits = s.returns(all, on, l), s.limits(l)
	v.Headline = w["head_"+now]
	v.Stages = stages(w, now)
	v.Deed, v.Idle = deed(w, f.Status)
	v.Access, v.Kept = s.access(l), s.kept(l)
	v.Drilling, v.Drills = s.drills(l)
	for _, a := range s.cfg.Gateway.Devices() {
		v.Devices = append(v.Devices, s.device(a, l, held[a.ID]))
	}
	for _, h := range warnings(s.cfg.Gateway) {
		gap := map[string]string{"en": " "}[l]
		v.Health = append(v.Health, warningView{h.Name, in(h.Title, l), in(h.Text, l) + gap + in(h.Help, l), h.Detail})
	}
	return v
}

// heldTags says in a word how each device is held, whichever of its Ethernet
// addresses it shows: who is only limited, or still gets through, is not isolated.
func heldTags(all []incident.Incident, w map[string]string) map[asset.ID]string {
	out := map[asset.ID]string{}
	for _, i := range all {
		if !i.State.Held() {
			continue
		}
		tag := w["held"]
		switch {
		case !stopped(i):
			tag = w["state_"+string(i.State)]
		case i.Level == incident.Limit:
			tag = w["state_limited"]
		}
		out[i.Asset.ID] = tag
		for _, k := range i.Asset.Kin {
			if k.Follows {
				out[k.ID] = tag
			}
		}
	}
	return out
}

// focused is the incident that the page is about. What an isolation stops is shown
// while one is asked for, and a proof while it is about the present.
func focused(v incidentView, i incident.Incident, w map[string]string) *incidentView {
	if i.State != incident.Open {
		v.Impact = nil
	}
	if !i.State.Held() {
		v.Proof = ""
	}
	v.Along = along(i, w)
	return &v
}

func in(t health.Text, lang string) string { return detect.Text{EN: t.EN, JA: t.JA}.In(lang) }

func splitSteps(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "|")
}

// lessons lists what is kept quiet because a person said so, the newest first.
func (s *site) lessons(all []incident.Incident, l string) (out []lessonView) {
	w := wordsIn(l)
	for _, i := range newestFirst(all, len(all)) {
		if !i.Lesson.Holds() || i.Lesson.Kind != incident.Harmless || len(out) == maxIncidents {
			continue
		}
		var what []string
		for _, o := range i.Findings {
			if i.Lesson.About(o.Detector) {
				what = append(what, o.Title.In(l))
			}
		}
		out = append(out, lessonView{i.ID, deviceName(i.Asset, w), strings.Join(what, w["and"]), who(i.Lesson.By, w), s.when(i.Lesson.At, l)})
	}
	return out
}

// focus is the incident that the screen names, else the most urgent one.
func focus(all []incident.Incident, st hal.Status) (incident.Incident, bool) {
	for _, i := range all {
		if st.Target != "" && i.ID == st.Target {
			return i, true
		}
	}
	order := []incident.State{incident.ContainFailed, incident.Containing, incident.Open, incident.Contained, incident.Eradicating, incident.Probation}
	for _, want := range order {
		for k := len(all) - 1; k >= 0; k-- {
			if all[k].State == want && (want != incident.Open || all[k].Waiting()) {
				return all[k], true
			}
		}
	}
	return incident.Incident{}, false
}

// phase names the headline and the steps of an incident.
func phase(i incident.Incident, now time.Time) string {
	switch {
	case i.State == incident.Containing && i.Level == incident.Limit:
		return "limiting"
	case stopped(i) && i.Level == incident.Limit:
		return "limited"
	case stopped(i) && i.Proof.Grade == incident.BestEffort:
		return "best_effort"
	case i.State == incident.Open && !AskedUntil(i, now).IsZero():
		return "again"
	case i.State == incident.Open && i.Guard == incident.GuardTwice:
		return "guarded"
	case i.State == incident.Open && i.Guard == incident.GuardNever:
		return "untouchable"
	case i.State == incident.Open && i.Automatic.Undone():
		return "undone"
	case i.State == incident.Probation && calledHarmless(i):
		return "harmless"
	case i.State == incident.Probation && i.Undoable():
		return "timed_out"
	}
	return string(i.State)
}

// stopped says that the device is held as ordered, cleaned already or not.
func stopped(i incident.Incident) bool {
	return i.State == incident.Contained || i.State == incident.Eradicating
}

// quiet is the phase when nobody is asked about a device.
func quiet(st hal.State, lockdown bool, all []incident.Incident) string {
	switch {
	case lockdown:
		return "lockdown"
	case st == hal.Fault:
		return "fault"
	case slices.ContainsFunc(all, func(i incident.Incident) bool { return i.State == incident.Open }):
		return "watched" // too little to ask about: not the same as nothing
	}
	return "normal"
}

// steps is what to do now, with the cable and the time filled in.
func steps(w map[string]string, phase string, i incident.Incident, now time.Time) []string {
	cable := w["cable"]
	if i.Asset.Port != "" {
		cable = strings.ReplaceAll(w["cable_port"], "{n}", i.Asset.Port)
	}
	until := AskedUntil(i, now).In(now.Location()).Format("15:04:05")
	fill := strings.NewReplacer("{cable}", cable, "{until}", until)
	out := splitSteps(w["steps_"+phase])
	for k := range out { // after the split: a port's name is a stranger's text
		out[k] = fill.Replace(out[k])
	}
	return out
}

// deed is the text of the big button. It names the device: nobody should have
// to compare two places before pressing.
// Where a press does nothing it says so, instead of looking like work to do.
func deed(w map[string]string, st hal.Status) (text string, idle bool) {
	if st.Target == "" && panel.Pages(st) == 1 {
		return w["deed_none"], true
	}
	if st.Target == "" {
		return w["deed_page"], false
	}
	if st.State == hal.VendorConnected {
		return w["deed_end_vendor"], false
	}
	name := []rune(st.Suspect.Name)
	if len(name) > 32 {
		name = append(name[:31:31], '…')
	}
	if len(name) == 0 {
		return w["deed_isolate"], false
	}
	text = w["deed_isolate_name"]
	if !st.AskedUntil.IsZero() {
		text = w["deed_again"]
	}
	return strings.ReplaceAll(text, "{name}", string(name)), false
}

// askWindow is how long the first of two asks counts (incident.Step).
const askWindow = 2 * time.Minute

// AskedUntil is until when one more ask carries out the first one; zero when
// none is expected at now.
func AskedUntil(i incident.Incident, now time.Time) time.Time {
	if i.Guard != incident.GuardTwice || i.State.Held() || !i.State.Live() || i.Asked.IsZero() {
		return time.Time{}
	}
	if until := i.Asked.Add(askWindow); now.Before(until) {
		return until
	}
	return time.Time{}
}

// stages places an incident on the handbook's way.
func stages(w map[string]string, now string) []stage {
	names := strings.Split(w["stages"], "|")
	at, ok := map[string]int{"open": 0, "containing": 2, "contain_failed": 2, "again": 0, "undone": 0, "guarded": 0, "untouchable": 0, "limiting": 2, "limited": 2, "contained": 3, "best_effort": 3, "eradicating": 3, "probation": 4, "harmless": 4, "timed_out": 4}[now]
	var out []stage
	for i, n := range names {
		mark := "later"
		switch {
		case !ok:
		case i < at && i != 1 && !(i == 3 && (now == "timed_out" || now == "harmless")): // nobody has told us that the report was made, or there was no cause to remove
			mark = "done"
		case i == at:
			mark = "now"
		}
		out = append(out, stage{n, mark})
	}
	return out
}

func (s *site) incident(i incident.Incident, l string) incidentView {
	w := wordsIn(l)
	v := incidentView{
		ID: i.ID, Name: deviceName(i.Asset, w), Place: place(i.Asset, w), State: w["state_"+string(i.State)], Tone: tone(i.State),
		Since: s.when(i.Since, l), Bundle: i.Bundle, Why: i.Why.In(l), Proof: i.Proof.Text.In(l), Addrs: addrs(i.Asset),
		Drill: i.Drill, Held: i.State.Held(), CanDismiss: i.State.Live() && !i.Drill && !(i.State == incident.Probation && calledHarmless(i)), Unasked: len(i.Unasked()) > 0,
		CanIsolate: i.State == incident.Open || i.State == incident.Probation || i.State == incident.ContainFailed || (i.State.Held() && i.Level == incident.Limit),
		CanLimit:   i.State == incident.Open || i.State == incident.Probation,
		Twice:      i.Guard == incident.GuardTwice && !i.State.Held(),
	}
	if i.Drill { // there is no port to go and look at
		v.Place = ""
	}
	v.Kin = kin(i, l)
	if i.State.Held() {
		v.Containment = s.containment(i.ID, l, i.Level == incident.Limit)
	}
	if stopped(i) && i.Level == incident.Limit {
		v.State = w["state_limited"]
	}
	if i.State == incident.Probation && i.Undoable() {
		v.State = w["state_timed_out"]
	}
	if i.State == incident.Closed && i.Lesson.Kind == incident.Harmless {
		v.State = w["state_dismissed"]
	}
	if i.Guard == incident.GuardNever {
		v.CanIsolate, v.CanLimit = false, false
	}
	if v.CanIsolate && !i.State.Held() { // a limited device has stopped serving already
		v.Impact = s.impact(i.Asset.ID, l)
	}
	for _, o := range i.Findings {
		v.Findings = append(v.Findings, findingView{o.Title.In(l), o.Explain.In(l), o.Technique, s.when(o.First, l) + " – " + o.Last.In(s.cfg.Now().Location()).Format("15:04:05")})
	}
	for _, t := range i.History {
		if t.Refused || (t.From == t.To && t.Input == incident.InFinding) {
			continue
		}
		v.History = append(v.History, line{s.when(t.At, l), Told(t).In(l)})
	}
	slices.Reverse(v.History)
	if len(v.History) > 30 {
		v.History = v.History[:30]
	}
	return v
}

// Told is one line of the history for people: what happened, by whom, and what
// that person wrote. The gateway's own notes stay in the record.
func Told(t incident.Transition) detect.Text {
	return detect.Text{EN: told(t, english), JA: told(t, japanese)}
}

func told(t incident.Transition, w map[string]string) string {
	text := w["did_"+string(t.Input)]
	if text == "" {
		text = string(t.Input)
	}
	if t.Input == incident.InDeadline && t.To == incident.Probation && t.From != t.To {
		text = w["auto_released"]
	}
	if t.Input == incident.InDismiss && t.To == incident.Probation && !t.Refused {
		text = w["did_dismiss_held"]
	}
	if t.Refused {
		text += w["refused"]
	}
	if who := who(t.By, w); who != "" {
		text += w["("] + who + w[")"]
	}
	if note := written(t, w); note != "" && !t.Refused {
		text += w[":"] + note
	}
	return text
}

// written is what a person wrote, and for the checklist what it is about.
func written(t incident.Transition, w map[string]string) string {
	switch t.Input {
	case incident.InRelease, incident.InDismiss, incident.InUnteach, incident.InLower, incident.InUndo, "eradicated":
		return t.Note
	case incident.InTick, incident.InUntick:
		key, note, more := strings.Cut(t.Note, ": ")
		text, ok := incident.ItemText(key)
		if !ok {
			return t.Note
		}
		out := text.In(w["lang"])
		if more {
			out += w["("] + note + w[")"]
		}
		return out
	}
	return ""
}

func who(by string, w map[string]string) string {
	if name, ok := strings.CutPrefix(by, "web:"); ok {
		return name
	}
	return w["by_"+by]
}

func tone(st incident.State) string {
	switch st {
	case incident.ContainFailed:
		return "bad"
	case incident.Containing, incident.Contained, incident.Eradicating:
		return "held"
	case incident.Open, incident.Probation:
		return "warn"
	}
	return "calm"
}

func (s *site) when(t time.Time, l string) string {
	if t.IsZero() {
		return "–"
	}
	t = t.In(s.cfg.Now().Location())
	if y, m, d := s.cfg.Now().Date(); t.Year() == y && t.Month() == m && t.Day() == d {
		return t.Format("15:04:05")
	}
	if l == "ja" {
		return t.Format("1月2日 15:04")
	}
	return t.Format("2 Jan 15:04")
}

func deviceName(a asset.Asset, w map[string]string) string {
	if a.Name != "" {
		return a.Name
	}
	if len(a.Addrs) > 0 {
		return AddrsForPeople(a)[0].String()
	}
	return w["unnamed"]
}

func place(a asset.Asset, w map[string]string) string {
	if a.Port == "" {
		return ""
	}
	return w["port"] + " " + a.Port
}

// AddrsForPeople is the device's addresses, the one that people know it by
// first: IPv4, then IPv6, link-local last.
func AddrsForPeople(a asset.Asset) []netip.Addr {
	rank := func(ip netip.Addr) int {
		switch {
		case ip.Is4():
			return 0
		case ip.IsLinkLocalUnicast():
			return 2
		}
		return 1
	}
	out := slices.Clone(a.Addrs)
	slices.SortStableFunc(out, func(x, y netip.Addr) int { return cmp.Compare(rank(x), rank(y)) })
	return out
}

func addrs(a asset.Asset) string {
	var out []string
	for _, ip := range AddrsForPeople(a) {
		if len(out) == 4 {
			out = append(out, "…")
			break
		}
		out = append(out, ip.String())
	}
	return strings.Join(out, ", ")
}

func (s *site) device(a asset.Asset, l, held string) deviceView {
	w := wordsIn(l)
	v := deviceView{
		ID: string(a.ID), Name: deviceName(a, w), Vendor: a.Vendor, Kind: w["kind_"+string(a.Kind)], Addrs: addrs(a),
		Given: a.Name, Port: a.Port, Seen: s.when(a.LastSeen, l), Protected: a.Protected, Fixed: a.Gateway, Held: held, Twice: a.Protected || a.Router,
	}
	switch {
	case a.Gateway:
		v.Kind = w["kind_gateway"]
		if a.Name == "" {
			v.Name = w["title"] // its first address may be a decoy's
		}
	case a.Router:
		v.Kind = w["kind_router"]
	}
	if !a.MAC.IsZero() {
		v.MAC = a.MAC.String()
	}
	if !a.Gateway && held == "" {
		v.Impact = s.impact(a.ID, l)
	}
	return v
}
