package ui

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
	"sekisho/firmware/health"
	"sekisho/firmware/incident"
	"sekisho/hal"
	"sekisho/hal/panel"
)

var (
	jst = time.FixedZone("JST", 9*3600)
	now = time.Date(2026, 4, 24, 14, 5, 1, 0, jst)
)

const inID = "20260424-140412-ab12"

// office is a fake gateway and panel with one suspect.
type office struct {
	mu     sync.Mutex
	st     hal.Status
	all    []incident.Incident
	devs   []asset.Asset
	report health.Report
	subs   map[chan struct{}]bool
	calls  []string
	locked bool
	err    error
	desk   *incident.Desk // of devices that were held without an incident
}

func newOffice(lang string) *office {
	a := asset.Asset{
		ID: "mac:02:00:00:00:00:23", MAC: flow.MAC{2, 0, 0, 0, 0, 0x23}, Name: "経理PC-2", Vendor: "Example Computer",
		Kind: asset.KindComputer, Port: "3", Addrs: []netip.Addr{netip.MustParseAddr("192.168.10.23")}, FirstSeen: now.Add(-99 * time.Hour), LastSeen: now,
	}
	gw := asset.Asset{ID: "mac:02:00:00:00:00:01", Name: "関所", Kind: asset.KindNetwork, Gateway: true, Addrs: []netip.Addr{netip.MustParseAddr("192.168.10.1")}, LastSeen: now}
	prn := asset.Asset{ID: "mac:02:00:00:00:00:50", Name: "複合機", Vendor: "Example Printing", Kind: asset.KindPrinter, Port: "2", Protected: true, Addrs: []netip.Addr{netip.MustParseAddr("192.168.10.50")}, LastSeen: now.Add(-time.Minute)}
	i := incident.Incident{
		ID: inID, State: incident.Open, Action: incident.Suggest, Asset: a, Opened: now.Add(-49 * time.Second), Since: now.Add(-49 * time.Second), Updated: now,
		Why: detect.Text{EN: "Two independent signs point the same way.", JA: "別々の2つの兆候が、同じ機器を指しています。"},
		Findings: []incident.Observation{{
			Detector: "host_scan", Technique: "T1018", Count: 1, First: now.Add(-52 * time.Second), Last: now.Add(-2 * time.Second),
			Title:   detect.Text{EN: "Probing 23 devices", JA: "23台を順に調べています"},
			Explain: detect.Text{EN: "Within 50 seconds it tried to reach 23 devices that it had never spoken to; 21 did not answer.", JA: "50秒のあいだに、これまで通信のなかった23台への接続を試み、21台からは応答がありませんでした。"},
		}},
		History: []incident.Transition{{At: now.Add(-49 * time.Second), To: incident.Open, Input: incident.InFinding}},
	}
	o := &office{subs: map[chan struct{}]bool{}, devs: []asset.Asset{gw, a, prn}, all: []incident.Incident{i}}
	o.st = hal.Status{State: hal.Attention, Lang: lang, Now: now, Suspect: hal.Device{Name: a.Name, Place: "ポート3"}, What: i.Findings[0].Title.In(lang), Target: inID, Vendor: "あおばIT", VendorPhone: "03-1234-5678", Devices: 3}
	o.report = health.Report{At: now, Results: []health.Result{
		{Name: "disk", Title: health.Text{EN: "Disk", JA: "記録用ディスク"}, Status: health.Failed, Text: health.Text{EN: "Almost full.", JA: "残りが少なくなっています。"}, Detail: "statfs /mnt: 98 percent", Help: health.Text{EN: "Call the vendor.", JA: "業者に連絡してください。"}},
		{Name: "clock", Title: health.Text{EN: "Clock", JA: "時計"}, Status: health.OK},
	}}
	return o
}

func (o *office) Frame() panel.Frame {
	o.mu.Lock()
	defer o.mu.Unlock()
	return panel.Frame{Image: *panel.Render(o.st, 0), Rhythm: panel.Lamp(o.st), Lines: panel.Lines(o.st, 0, panel.Hold{}), Status: o.st}
}

func (o *office) Subscribe() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.subs[c] = true
	return c, func() { o.mu.Lock(); delete(o.subs, c); o.mu.Unlock() }
}

// to moves the incident and the screen on, and tells everybody.
func (o *office) to(st incident.State, lamp hal.State) {
	o.all = slices.Clone(o.all)
	o.all[0].State, o.all[0].Since = st, now
	o.st.State, o.st.Target, o.st.Since = lamp, "", now
	o.all[0].Proof = incident.Proof{Grade: incident.Proven, Text: detect.Text{EN: "Nothing passed; 14 frames were stopped.", JA: "通信は漏れていません。14個の通信を止めました。"}}
	o.all[0].History = append(slices.Clone(o.all[0].History), incident.Transition{At: now, From: incident.Open, To: st, Input: incident.InPress, By: incident.ByButton})
	o.st.AskedUntil = time.Time{}
	o.tell()
}

func (o *office) Press(g hal.Gesture, target string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if g == hal.Hold3 {
		return panel.ErrNotAsked
	}
	if g != hal.Hold8 && target != o.st.Target {
		return panel.ErrTargetChanged
	}
	o.calls = append(o.calls, fmt.Sprintf("press %d %s", g, target))
	if g == hal.Short && target != "" {
		o.pressed()
	}
	if g == hal.Hold8 {
		o.lock(true)
	}
	return nil
}

// pressed does what the state machine does with a press.
func (o *office) pressed() {
	if i := o.all[0]; i.Guard == incident.GuardTwice && AskedUntil(i, now).IsZero() {
		o.all = slices.Clone(o.all)
		o.all[0].Asked, o.st.AskedUntil = now, now.Add(askWindow)
		o.tell()
		return
	}
	o.to(incident.Contained, hal.Isolated)
}

func (o *office) lock(on bool) {
	o.locked, o.st.Lockdown = on, on
	o.tell()
}

func (o *office) tell() {
	for c := range o.subs {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (o *office) Lockdown() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.locked }

func (o *office) SetLockdown(_ context.Context, on bool, by string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, fmt.Sprintf("lockdown %v by %s", on, by))
	if o.err == nil {
		o.lock(on)
	}
	return o.err
}

func (o *office) Incidents() []incident.Incident { o.mu.Lock(); defer o.mu.Unlock(); return o.all }
func (o *office) Devices() []asset.Asset         { o.mu.Lock(); defer o.mu.Unlock(); return o.devs }
func (o *office) Health() health.Report          { o.mu.Lock(); defer o.mu.Unlock(); return o.report }

func (o *office) did(what, id, by, note string) (incident.Incident, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if id != inID {
		return incident.Incident{}, fmt.Errorf("%w: %s", ErrUnknown, id)
	}
	o.calls = append(o.calls, strings.Join([]string{what, id, by, note}, "|"))
	return o.all[0], o.err
}
func (o *office) Isolate(_ context.Context, id, by string) (incident.Incident, error) {
	return o.did("isolate", id, by, "")
}
func (o *office) Release(_ context.Context, id, by, note string) (incident.Incident, error) {
	return o.did("release", id, by, note)
}
func (o *office) Limit(_ context.Context, id, by string) (incident.Incident, error) {
	return o.did("limit", id, by, "")
}
func (o *office) Lower(_ context.Context, id, by, note string) (incident.Incident, error) {
	return o.did("lower", id, by, note)
}
func (o *office) Undo(_ context.Context, id, by, note string) (incident.Incident, error) {
	return o.did("undo", id, by, note)
}
func (o *office) Tick(_ context.Context, id, item string, done bool, by, note string) (incident.Incident, error) {
	return o.did(fmt.Sprintf("tick %s %v", item, done), id, by, note)
}
func (o *office) Limits() incident.Limits {
	o.mu.Lock()
	defer o.mu.Unlock()
	return incident.Limits{AutoIsolate: true, Used: 1, Max: 2, Window: 10 * time.Minute, FreeAt: now.Add(6 * time.Minute), Held: 1, MostHeld: 2, Active: 14, MaxPercent: 20, Probation: 72 * time.Hour}
}
func (o *office) Unteach(_ context.Context, id, by, note string) (incident.Incident, error) {
	return o.did("unteach", id, by, note)
}

func (o *office) Dismiss(_ context.Context, id, by, note string) (incident.Incident, error) {
	return o.did("dismiss", id, by, note)
}

// HoldDevice does what the gateway's core does.
func (o *office) HoldDevice(_ context.Context, id asset.ID, level incident.Level, by, note string) (incident.Incident, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := slices.IndexFunc(o.devs, func(a asset.Asset) bool { return a.ID == id })
	if k < 0 {
		return incident.Incident{}, fmt.Errorf("%w: %s", ErrUnknown, id)
	}
	if o.desk == nil {
		o.desk = incident.NewDesk(incident.Policy{})
	}
	if o.desk.Untouchable(o.devs[k]) {
		return incident.Incident{}, ErrRefused
	}
	o.calls = append(o.calls, strings.Join([]string{string(level), string(id), by, note}, "|"))
	i := o.desk.Request(now, o.devs[k], level, by, note).Incident
	o.all = slices.DeleteFunc(slices.Clone(o.all), func(old incident.Incident) bool { return old.ID == i.ID })
	o.all = append(o.all, i)
	o.tell()
	return i, o.err
}

func (o *office) SetDevice(_ context.Context, id asset.ID, c DeviceChange, by string) (asset.Asset, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.devs = slices.Clone(o.devs)
	for k := range o.devs {
		if a := &o.devs[k]; a.ID == id {
			if c.Protected != nil {
				a.Protected = *c.Protected
			}
			if c.Name != nil {
				a.Name = *c.Name
			}
			if c.Kin != nil {
				o.calls = append(o.calls, fmt.Sprintf("kin %s %s %v by %s", id, c.Kin.With, *c.Kin.Same, by))
				return *a, nil
			}
			o.calls = append(o.calls, fmt.Sprintf("device %s %s %v by %s", id, a.Name, a.Protected, by))
			o.tell()
			return *a, nil
		}
	}
	return asset.Asset{}, ErrUnknown
}

func handler(t *testing.T, o *office, change func(*Config)) http.Handler {
	t.Helper()
	c := Config{Gateway: o, Panel: o, Now: func() time.Time { return now }}
	if change != nil {
		change(&c)
	}
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func request(method, path, body string, head ...string) *http.Request {
	r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:4000"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(head); i += 2 {
		if head[i] == "Host" {
			r.Host = head[i+1]
			continue
		}
		r.Header.Set(head[i], head[i+1])
	}
	return r
}

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAPIAnswersAndRefusals(t *testing.T) {
	in := "/api/incidents/" + inID
	for _, c := range []struct {
		name, method, path, body string
		code                     int
		has                      string
		call                     string // what the gateway was asked, empty: nothing
	}{
		{"panel", "GET", "/api/panel", "", 200, `"state":"attention"`, ""},
		{"press", "POST", "/api/press", `{"gesture":"short","target":"` + inID + `"}`, 202, "accepted", "press 0 " + inID},
		{"press for another target", "POST", "/api/press", `{"gesture":"short","target":"other"}`, 409, "target_changed", ""},
		{"press without target", "POST", "/api/press", `{"gesture":"short"}`, 400, "gesture", ""},
		{"unknown gesture", "POST", "/api/press", `{"gesture":"shake","target":""}`, 400, "gesture", ""},
		{"approve nothing", "POST", "/api/press", `{"gesture":"hold3","target":""}`, 409, "not_asked", ""},
		{"lockdown", "POST", "/api/press", `{"gesture":"hold8","target":""}`, 202, "accepted", "press 2 "},
		{"unknown field", "POST", "/api/press", `{"gesture":"short","target":"","x":1}`, 400, "body", ""},
		{"two values", "POST", "/api/press", `{"gesture":"short","target":""}{}`, 400, "body", ""},
		{"too large", "POST", "/api/press", `{"target":"` + strings.Repeat("x", maxBody) + `"}`, 413, "too_large", ""},
		{"incidents", "GET", "/api/incidents", "", 200, inID, ""},
		{"incident", "GET", in, "", 200, `"state":"open"`, ""},
		{"no incident", "GET", "/api/incidents/none", "", 404, "unknown", ""},
		{"release", "POST", in + "/release", `{"by":"青葉","note":"検査済み"}`, 200, inID, "release|" + inID + "|web:青葉|検査済み"},
		{"release without a name", "POST", in + "/release", `{"by":"  ","note":"x"}`, 422, "name", ""},
		{"name with a line break", "POST", in + "/release", `{"by":"a\nb"}`, 422, "name", ""},
		{"dismiss", "POST", in + "/dismiss", `{"by":"A","note":"test"}`, 200, inID, "dismiss|" + inID + "|web:A|test"},
		{"unteach", "POST", in + "/unteach", `{"by":"A"}`, 200, inID, "unteach|" + inID + "|web:A|"},
		{"unteach without a name", "POST", in + "/unteach", `{}`, 422, "name", ""},
		{"dismiss without a reason", "POST", in + "/dismiss", `{"by":"A"}`, 422, "note", ""},
		{"isolate", "POST", in + "/isolate", `{"by":"A"}`, 200, inID, "isolate|" + inID + "|web:A|"},
		{"limit", "POST", in + "/limit", `{"by":"A"}`, 200, inID, "limit|" + inID + "|web:A|"},
		{"lower", "POST", in + "/lower", `{"by":"A","note":"work"}`, 200, inID, "lower|" + inID + "|web:A|work"},
		{"lower without a reason", "POST", in + "/lower", `{"by":"A"}`, 422, "note", ""},
		{"undo", "POST", in + "/undo", `{"by":"A"}`, 200, inID, "undo|" + inID + "|web:A|"},
		{"undo without a name", "POST", in + "/undo", `{}`, 422, "name", ""},
		{"tick", "POST", in + "/tick", `{"by":"A","item":"cause","note":"mail"}`, 200, inID, "tick cause true|" + inID + "|web:A|mail"},
		{"untick", "POST", in + "/untick", `{"by":"A","item":"cause"}`, 200, inID, "tick cause false|" + inID + "|web:A|"},
		{"tick nothing", "POST", in + "/tick", `{"by":"A"}`, 422, "item", ""},
		{"an item with another deed", "POST", in + "/release", `{"by":"A","item":"cause"}`, 422, "item", ""},
		{"limits", "GET", "/api/limits", "", 200, `"used":1,"max":2`, ""},
		{"release what is not there", "POST", "/api/incidents/none/release", `{"by":"A"}`, 404, "unknown", ""},
		{"no such deed", "POST", in + "/delete", `{"by":"A"}`, 404, "unknown", ""},
		{"devices", "GET", "/api/devices", "", 200, "複合機", ""},
		{"name a device", "POST", "/api/devices/mac:02:00:00:00:00:50", `{"name":" 受付 ","protected":true,"by":"A"}`, 200, "受付", "device mac:02:00:00:00:00:50 受付 true by web:A"},
		{"change nothing", "POST", "/api/devices/mac:02:00:00:00:00:50", `{}`, 422, "body", ""},
		{"no device", "POST", "/api/devices/x", `{"protected":true}`, 404, "unknown", ""},
		{"end a lockdown", "POST", "/api/lockdown", `{"on":false,"by":" 青葉 "}`, 200, `{"lockdown":false}`, "lockdown false by web:青葉"},
		{"begin a lockdown", "POST", "/api/lockdown", `{"on":true,"by":"A"}`, 200, `{"lockdown":true}`, "lockdown true by web:A"},
		{"lockdown without a name", "POST", "/api/lockdown", `{"on":false,"by":" "}`, 422, "name", ""},
		{"lockdown without a wish", "POST", "/api/lockdown", `{"by":"A"}`, 422, "lockdown", ""},
		{"lockdown with a wish that is none", "POST", "/api/lockdown", `{"on":"no","by":"A"}`, 400, "body", ""},
		{"health", "GET", "/api/health", "", 200, `"ready":true`, ""},
		{"no page", "GET", "/api/nothing", "", 404, "no_page", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice("ja")
			w := do(handler(t, o, nil), request(c.method, c.path, c.body))
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.has) {
				t.Fatalf("%d %s, want %d with %s", w.Code, w.Body, c.code, c.has)
			}
			if !json.Valid(w.Body.Bytes()) {
				t.Error("not JSON")
			}
			if got := strings.Join(o.calls, ";"); got != c.call {
				t.Errorf("gateway was asked %q, want %q", got, c.call)
			}
			if c.code >= 400 && !strings.Contains(w.Body.String(), failures[c.has].JA) {
				t.Error("does not say what to do")
			}
		})
	}
}

func TestRefusedByTheStateIsAConflict(t *testing.T) {
	o := newOffice("ja")
	o.err = fmt.Errorf("%w: not held", ErrRefused)
	if w := do(handler(t, o, nil), request("POST", "/api/incidents/"+inID+"/release", `{"by":"A"}`)); w.Code != 409 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWhoMayAsk(t *testing.T) {
	press := `{"gesture":"short","target":"` + inID + `"}`
	for _, c := range []struct {
		name string
		head []string
		from string
		conf func(*Config)
		code int
	}{
		{"this machine", nil, "127.0.0.1:1", nil, 202},
		{"IPv6 loopback", []string{"Host", "[::1]:8080"}, "[::1]:1", nil, 202},
		{"the LAN without a guard", nil, "192.168.10.7:1", nil, 403},
		{"the LAN with a guard that knows", nil, "192.168.10.7:1", func(c *Config) { c.Guard = AllowAll }, 202},
		{"a rebound name", []string{"Host", "evil.example"}, "127.0.0.1:1", nil, 421},
		{"a rebound name that begins like ours", []string{"Host", "localhost.evil.example"}, "127.0.0.1:1", nil, 421},
		{"our name", []string{"Host", "sekisho.lan:8080"}, "127.0.0.1:1", func(c *Config) { c.Hosts = []string{"Sekisho.lan"} }, 202},
		{"another page, by Fetch Metadata", []string{"Sec-Fetch-Site", "cross-site"}, "127.0.0.1:1", nil, 403},
		{"another page, by origin", []string{"Origin", "http://evil.example"}, "127.0.0.1:1", nil, 403},
		{"our own page", []string{"Origin", "http://localhost", "Sec-Fetch-Site", "same-origin"}, "127.0.0.1:1", nil, 202},
		{"a form of another page", []string{"Content-Type", "text/plain"}, "127.0.0.1:1", nil, 415},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice("ja")
			r := request("POST", "/api/press", press, c.head...)
			r.RemoteAddr = c.from
			w := do(handler(t, o, c.conf), r)
			if w.Code != c.code || (c.code != 202) != (len(o.calls) == 0) {
				t.Errorf("%d %s, calls %q; want %d", w.Code, w.Body, o.calls, c.code)
			}
		})
	}
}

func TestEveryAnswerCarriesTheSafetyHeaders(t *testing.T) {
	h := handler(t, newOffice("ja"), nil)
	for _, path := range []string{"/", "/app.js", "/api/panel", "/panel.png", "/missing"} {
		w := do(h, request("GET", path, ""))
		csp := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", path, w.Header())
		}
	}
	page := do(h, request("GET", "/", "")).Body.String()
	for _, bad := range []string{"<script>", "onclick=", "style=", "http://", "https://"} {
		if strings.Contains(page, bad) {
			t.Errorf("page contains %s", bad)
		}
	}
}

func TestAWarningIsSaidInWordsAndItsDetailApart(t *testing.T) {
	for lang, want := range map[string]string{
		"ja": `記録用ディスク：要確認</b><br>残りが少なくなっています。業者に連絡してください。<details class="tech"`,
		"en": `Disk: not at the moment</b><br>Almost full. Call the vendor.<details class="tech"`,
	} {
		body := page(t, newOffice(lang), lang)
		part := body[strings.Index(body, `id="part-health"`):strings.Index(body, `id="part-incidents"`)]
		if !strings.Contains(part, want) || !strings.Contains(part, "<summary>"+wordsIn(lang)["detail"]+"</summary><code>statfs /mnt: 98 percent</code>") {
			t.Errorf("%s: %s", lang, part)
		}
	}
}

func TestHostileNamesStayText(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>'`
	o := newOffice("ja")
	o.st.Suspect.Name, o.st.What, o.st.Target, o.st.VendorPhone = evil, evil, evil, "javascript:alert(3)"
	o.devs[1].Name, o.devs[1].Vendor, o.devs[1].Port, o.devs[1].ID = evil, evil, evil, asset.ID(evil)
	o.report.Results[0].Detail = evil
	i := &o.all[0]
	i.ID, i.Asset, i.Bundle, i.Why = evil, o.devs[1], evil, detect.Text{JA: evil, EN: evil}
	i.Findings[0].Title, i.Findings[0].Explain, i.Findings[0].Technique = i.Why, i.Why, evil
	i.History = append(i.History, incident.Transition{From: incident.Open, To: incident.Contained, Input: incident.InRelease, By: "web:" + evil, Note: evil})
	i.Proof.Text = i.Why
	h := handler(t, o, nil)
	for _, path := range []string{"/", "/parts"} {
		body := do(h, request("GET", path, "")).Body.String()
		if strings.Contains(body, "<script>alert") || strings.Contains(body, "<img src=x") || strings.Contains(body, `"javascript:`) {
			t.Errorf("%s: a name became markup", path)
		}
		if n := strings.Count(body, "&lt;script&gt;alert(1)"); n < 8 {
			t.Errorf("%s: the name is shown %d times only", path, n)
		}
	}
}

func TestLanguageOfThePage(t *testing.T) {
	for _, c := range []struct{ accept, cookie, def, want string }{
		{"", "", "", "ja"}, {"", "", "en", "en"}, {"en-GB,ja;q=0.5", "", "ja", "en"}, {"fr,ja;q=0.8,en;q=0.2", "", "en", "ja"},
		{"de", "", "ja", "ja"}, {"en", "ja", "en", "ja"}, {"ja", "en", "ja", "en"}, {"ja", "xx", "en", "ja"}, {";;;,,", "", "en", "en"},
	} {
		h := handler(t, newOffice("ja"), func(cfg *Config) { cfg.Lang = c.def })
		r := request("GET", "/", "", "Accept-Language", c.accept)
		if c.cookie != "" {
			r.AddCookie(&http.Cookie{Name: langCookie, Value: c.cookie})
		}
		if body := do(h, r).Body.String(); !strings.Contains(body, `<html lang="`+c.want+`"`) || !strings.Contains(body, wordsIn(c.want)["head_open"]) {
			t.Errorf("%+v: wrong language", c)
		}
	}
	r := request("POST", "/lang", "lang=en", "Content-Type", "application/x-www-form-urlencoded")
	w := do(handler(t, newOffice("ja"), nil), r)
	if w.Code != 303 || !strings.Contains(w.Header().Get("Set-Cookie"), langCookie+"=en") {
		t.Errorf("switch: %d %v", w.Code, w.Header())
	}
}

func TestWordsExistInBothLanguages(t *testing.T) {
	for k, v := range japanese {
		if english[k] == "" || v == "" {
			t.Errorf("%s lacks a text", k)
		}
	}
	for k := range english {
		if japanese[k] == "" {
			t.Errorf("%s lacks Japanese", k)
		}
	}
	for _, st := range incident.States() {
		if japanese["state_"+string(st)] == "" {
			t.Errorf("state %s has no word", st)
		}
		if _, ok := focus([]incident.Incident{{State: st, Action: incident.Suggest}}, hal.Status{}); ok && japanese["steps_"+string(st)] == "" {
			t.Errorf("state %s has no steps", st)
		}
	}
	for _, k := range incident.Kinds() {
		if japanese["did_"+string(k)] == "" {
			t.Errorf("input %s has no word", k)
		}
	}
}

func TestPanelPictureIsTheScreen(t *testing.T) {
	o := newOffice("ja")
	m, err := png.Decode(do(handler(t, o, nil), request("GET", "/panel.png", "")).Body)
	if err != nil {
		t.Fatal(err)
	}
	want := o.Frame().Image
	for y := range panel.Height {
		for x := range panel.Width {
			if r, _, _, _ := m.At(x, y).RGBA(); (r > 0) != want.Lit(x, y) {
				t.Fatalf("pixel %d,%d differs", x, y)
			}
		}
	}
}

func TestEventsTellOfAPressAndEndWithTheReader(t *testing.T) {
	o := newOffice("ja")
	srv := httptest.NewServer(handler(t, o, nil))
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/api/events")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	until := func(text string) {
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return
			}
		}
		t.Fatalf("the stream ended before %s", text)
	}
	until(`"state":"attention"`)
	if err := o.Press(hal.Short, inID); err != nil {
		t.Fatal(err)
	}
	until(`"state":"isolated"`)
	resp.Body.Close()
}

// The document names exactly the routes that there are, with the answers'
// required fields.
func TestOpenAPIIsTrue(t *testing.T) {
	h := handler(t, newOffice("ja"), func(c *Config) {
		withCabinet(newCabinet())(c)
		withImpacts(c)
		withContainments(inID)(c)
		with(&exercises{})(c)
	})
	var doc struct {
		Paths      map[string]map[string]struct{ Responses map[string]any }
		Components struct {
			Schemas map[string]struct {
				Required   []string
				Properties map[string]any
			}
		}
	}
	if err := json.Unmarshal(do(h, request("GET", "/openapi.json", "")).Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	want := []string{"/panel.png", "/api/panel", "/api/press", "/api/incidents", "/api/incidents/{id}", "/api/incidents/{id}/release", "/api/incidents/{id}/dismiss", "/api/incidents/{id}/unteach", "/api/incidents/{id}/isolate", "/api/incidents/{id}/limit", "/api/incidents/{id}/lower", "/api/incidents/{id}/undo", "/api/incidents/{id}/tick", "/api/incidents/{id}/untick", "/api/limits", "/api/lockdown", "/api/drill", "/api/drill/stop", "/api/drills", "/api/drills/{id}", "/api/devices", "/api/devices/{id}", "/api/devices/{id}/isolate", "/api/devices/{id}/limit", "/api/health", "/api/events", "/openapi.json",
		"/api/vendor", "/api/vendor/invitations", "/api/vendor/grants/{id}/approve", "/api/vendor/grants/{id}/deny", "/api/vendor/grants/{id}/end",
		"/api/vendor/vendors/{id}/revoke", "/api/evidence", "/api/evidence/{id}/hold", "/api/evidence/{id}/delete", "/api/evidence/{id}/package", "/api/devices/{id}/purge", "/api/devices/{id}/impact", "/api/incidents/{id}/containment", "/api/evidence/clock", "/api/copies/{id}/retry"}
	for _, p := range want {
		if doc.Paths[p] == nil {
			t.Errorf("%s is not described", p)
		}
	}
	for path, ops := range doc.Paths {
		for method := range ops {
			if path == "/api/events" {
				continue // it does not end
			}
			body := ""
			if method == "post" {
				body = "{}"
			}
			w := do(h, request(strings.ToUpper(method), strings.ReplaceAll(path, "{id}", inID), body))
			if w.Code == 404 && strings.Contains(w.Body.String(), "no_page") {
				t.Errorf("%s %s is described but not there", method, path)
			}
			if ops[method].Responses[fmt.Sprint(w.Code)] == nil {
				t.Errorf("%s %s answers %d, which is not described", method, path, w.Code)
			}
		}
	}
	for schema, path := range map[string]string{"Panel": "/api/panel", "Incident": "/api/incidents/" + inID, "Error": "/api/nothing", "Limits": "/api/limits", "Access": "/api/vendor", "Kept": "/api/evidence"} {
		var got map[string]any
		if err := json.Unmarshal(do(h, request("GET", path, "")).Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		for _, k := range doc.Components.Schemas[schema].Required {
			if _, ok := got[k]; !ok {
				t.Errorf("%s lacks %s", path, k)
			}
		}
		if schema == "Panel" {
			for k := range got {
				if doc.Components.Schemas[schema].Properties[k] == nil {
					t.Errorf("panel's %s is not described", k)
				}
			}
		}
	}
}

func TestPartsMissingAreAnError(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("built without a gateway")
	}
}
