package ui

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"sekisho/firmware/drill"
	"sekisho/firmware/incident"
	"sekisho/hal"
)

// exercises is a fake gateway as far as drills go.
type exercises struct {
	mu    sync.Mutex
	all   []drill.Drill // newest first
	calls []string
	err   error
	tell  func()
}

func (e *exercises) Drills() []drill.Drill { e.mu.Lock(); defer e.mu.Unlock(); return e.all }

func (e *exercises) StartDrill(_ context.Context, by string) (drill.Drill, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, "start "+by)
	if e.err != nil {
		return drill.Drill{}, e.err
	}
	e.all = append([]drill.Drill{drill.New(now, by, 0)}, e.all...)
	e.told()
	return e.all[0], nil
}

func (e *exercises) StopDrill(_ context.Context, by string) (drill.Drill, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, "stop "+by)
	if e.err != nil {
		return drill.Drill{}, e.err
	}
	e.step(drill.Input{Kind: drill.InStop, At: now, By: by})
	return e.all[0], nil
}

// step moves the newest drill on.
func (e *exercises) step(in drill.Input) {
	next, _ := drill.Step(e.all[0], in)
	e.all = append([]drill.Drill{next}, e.all[1:]...)
	e.told()
}

func (e *exercises) told() {
	if e.tell != nil {
		e.tell()
	}
}

// with gives a page drills, and whatever else.
func with(e *exercises, more ...func(*Config)) func(*Config) {
	return func(c *Config) {
		c.Drills = e
		for _, change := range more {
			change(c)
		}
	}
}

func speaking(lang string) func(*Config) { return func(c *Config) { c.Lang = lang } }

// passed is a drill that went well: somebody pressed after took.
func passed(at time.Time, by string, took time.Duration) drill.Drill {
	d := drill.New(at, "web:"+by, 0)
	for _, in := range []drill.Input{
		{Kind: drill.InReady, At: at.Add(5 * time.Second), Device: drill.Device{MAC: "02:53:4b:00:00:02", Port: "drill0"}},
		{Kind: drill.InBad, At: at.Add(6 * time.Second)}, {Kind: drill.InDetected, At: at.Add(8 * time.Second), Incident: inID},
		{Kind: drill.InShown, At: at.Add(8 * time.Second)}, {Kind: drill.InPressed, At: at.Add(8*time.Second + took), By: "button"},
		{Kind: drill.InProven, At: at.Add(8*time.Second + took + 340*time.Millisecond)},
		{Kind: drill.InSealed, At: at.Add(20*time.Second + took), Bundle: "/evidence/bundles/" + inID},
	} {
		d, _ = drill.Step(d, in)
	}
	return d
}

func TestADrillIsStartedAndStoppedByAPersonWithAName(t *testing.T) {
	e := &exercises{}
	h := handler(t, newOffice("en"), with(e))
	w := do(h, request("POST", "/api/drill", `{"by":" Sato "}`))
	var d struct {
		ID, State, Remark string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != 200 || d.State != "preparing" || d.Remark == "" {
		t.Errorf("start: %d %s", w.Code, w.Body)
	}
	if w := do(h, request("GET", "/api/drills/"+d.ID, "")); w.Code != 200 {
		t.Errorf("the drill: %d", w.Code)
	}
	if w := do(h, request("POST", "/api/drill/stop", `{"by":"Suzuki"}`)); w.Code != 200 || !strings.Contains(w.Body.String(), `"outcome":"stopped"`) {
		t.Errorf("stop: %d %s", w.Code, w.Body)
	}
	for _, body := range []string{`{}`, `{"by":"  "}`, `{"by":"a\u0000b"}`} {
		if w := do(h, request("POST", "/api/drill", body)); w.Code != 422 {
			t.Errorf("%s: %d", body, w.Code)
		}
	}
	if got := strings.Join(e.calls, ", "); got != "start web:Sato, stop web:Suzuki" {
		t.Errorf("asked: %s", got)
	}
}

func TestARefusedDrillSaysWhyInTheReadersWords(t *testing.T) {
	for _, why := range drill.Refusals() {
		e := &exercises{err: fmt.Errorf("wrapped: %w", why)}
		for _, lang := range []string{"ja", "en"} {
			w := do(handler(t, newOffice(lang), with(e, speaking(lang))), request("POST", "/api/drill", `{"by":"Sato"}`))
			if w.Code != 409 || !strings.Contains(w.Body.String(), "drill_"+string(why)) || !strings.Contains(w.Body.String(), why.Text().In(lang)) {
				t.Errorf("%s %s: %d %s", why, lang, w.Code, w.Body)
			}
		}
	}
}

func TestTheTimesAreThereForScripts(t *testing.T) {
	e := &exercises{all: []drill.Drill{passed(now, "Sato", 14*time.Second)}}
	var all struct {
		Drills []struct {
			Detection float64 `json:"detection_seconds"`
			Reaction  float64 `json:"reaction_seconds"`
			Isolation float64 `json:"isolation_seconds"`
		}
	}
	w := do(handler(t, newOffice("en"), with(e)), request("GET", "/api/drills", ""))
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || len(all.Drills) != 1 {
		t.Fatalf("%v: %s", err, w.Body)
	}
	if d := all.Drills[0]; d.Detection != 2 || d.Reaction != 14 || d.Isolation != .34 {
		t.Errorf("%+v", d)
	}
}

func TestThePageTellsHowTheLastDrillWentAndListsTheOthers(t *testing.T) {
	stopped := drill.New(now.Add(-30*24*time.Hour), "web:<b>Abe</b>", 0)
	stopped, _ = drill.Step(stopped, drill.Input{Kind: drill.InStop, At: now})
	e := &exercises{all: []drill.Drill{passed(now, "佐藤", 14*time.Second), stopped}}
	page := do(handler(t, newOffice("ja"), with(e)), request("GET", "/", "")).Body.String()
	for _, want := range []string{"ランプがついてから14秒でボタンが押され", "2.0秒", "0.3秒", "佐藤", "&lt;b&gt;Abe", "これまでの訓練", japanese["drill_stopped"], `data-path="/api/drill"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	never := do(handler(t, newOffice("ja"), with(&exercises{})), request("GET", "/", "")).Body.String()
	if !strings.Contains(never, japanese["drill_never"]) {
		t.Error("an office that never practised is not told so")
	}
	if none := do(handler(t, newOffice("ja"), nil), request("GET", "/", "")).Body.String(); strings.Contains(none, "/api/drill") {
		t.Error("a gateway without drills offers one")
	}
}

func TestWhileADrillRunsThePageShowsHowFarItIsAndOffersNoSecond(t *testing.T) {
	e := &exercises{all: []drill.Drill{drill.New(now, "web:佐藤", 0)}}
	h := handler(t, newOffice("ja"), with(e))
	for n, in := range []drill.Input{{}, {Kind: drill.InReady}, {Kind: drill.InDetected, Incident: inID}, {Kind: drill.InPressed}, {Kind: drill.InProven}} {
		if in.Kind != "" {
			e.step(in)
		}
		page := do(h, request("GET", "/", "")).Body.String()
		name := strings.Split(japanese["drill_stages"], "|")[n]
		if !strings.Contains(page, `<li class="now" aria-current="step">`+name+"</li>") || !strings.Contains(page, e.all[0].Now().JA) {
			t.Errorf("%s is not shown as %s", e.all[0].State, name)
		}
		if strings.Contains(page, `data-path="/api/drill"`) || !strings.Contains(page, `data-path="/api/drill/stop"`) {
			t.Errorf("%s: a second one is offered, or no way to stop", e.all[0].State)
		}
	}
}

func TestTheIncidentOfADrillIsMarkedAndAsksForNoWork(t *testing.T) {
	o := newOffice("ja")
	o.all[0].Drill = true
	e := &exercises{all: []drill.Drill{drill.New(now, "web:佐藤", 0)}}
	c := newCabinet()
	c.kept.Bundles[0].Drill = true
	h := handler(t, o, with(e, withCabinet(c)))
	page := do(h, request("GET", "/", "")).Body.String()
	if strings.Count(page, `<span class="tag drill">訓練</span>`) < 4 { // what is now, the drill, the list, the bundle
		t.Error("something of the drill is not marked")
	}
	if first := splitSteps(japanese["steps_drill_open"])[0]; !strings.Contains(page, first) || strings.Contains(page, splitSteps(japanese["steps_open"])[0]) {
		t.Error("the steps are not those of a drill")
	}
	if strings.Contains(page, `value="dismiss"`) {
		t.Error("a person is asked to judge the incident of a drill")
	}
	o.to(incident.Contained, hal.Isolated)
	page = do(h, request("GET", "/", "")).Body.String()
	if strings.Contains(page, `class="card back`) || !strings.Contains(page, splitSteps(japanese["steps_drill"])[0]) {
		t.Error("a person is asked to clean the device of a drill")
	}
}

func TestAPersonPractisesInABrowser(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		t.Run(lang, func(t *testing.T) {
			o := newOffice(lang)
			e := &exercises{all: []drill.Drill{passed(now.Add(-30*24*time.Hour), "佐藤", 41*time.Second)}, tell: o.tell}
			name := drill.Text{EN: "Drill device", JA: "訓練用の機器"}.In(lang)
			suspect := o.all[0]
			suspect.Drill, suspect.Asset.Name, suspect.Asset.Port = true, name, "drill0"
			o.all, o.st = nil, hal.Status{State: hal.Normal, Lang: lang, Now: now, Devices: 3}
			srv := httptest.NewServer(handler(t, o, with(e, speaking(lang))))
			t.Cleanup(srv.CloseClientConnections)
			ctx := browser(t, lang)
			act(t, ctx, chromedp.EmulateViewport(390, 844), chromedp.Navigate(srv.URL+"/"), chromedp.Click("#drill-start summary"),
				chromedp.WaitVisible(`button[data-path="/api/drill"]`))
			shot(t, ctx, "phone_drill_start_"+lang)
			act(t, ctx, chromedp.Evaluate[chromedp.Void](`window.confirm = () => true`), chromedp.SendKeys("#drill-start input[name=by]", "Sato"),
				chromedp.Click(`button[data-path="/api/drill"]`), chromedp.WaitVisible(".tone-drill"))
			const inSight = `(() => { const r = document.querySelector('.tone-drill').getBoundingClientRect(); return r.top > -1 && r.top < innerHeight / 2; })()`
			for end := time.Now().Add(30 * time.Second); !ask(t, ctx, chromedp.Evaluate[bool](inSight)); time.Sleep(10 * time.Millisecond) { // only polling shows it
				if time.Now().After(end) {
					t.Fatal("what was begun does not come into sight")
				}
			}
			shot(t, ctx, "phone_drill_preparing_"+lang)
			o.mu.Lock()
			o.all = []incident.Incident{suspect}
			o.st.State, o.st.Target, o.st.Drill, o.st.Suspect = hal.Attention, inID, true, hal.Device{Name: name, Place: "drill0"}
			o.mu.Unlock()
			e.mu.Lock()
			e.step(drill.Input{Kind: drill.InReady, At: now})
			e.step(drill.Input{Kind: drill.InDetected, At: now, Incident: inID})
			e.mu.Unlock()
			act(t, ctx, chromedp.EmulateViewport(1280, 900), chromedp.WaitVisible(`body[data-state="attention"]`), chromedp.WaitVisible(".lead .tag.drill"), chromedp.Evaluate[chromedp.Void](`scrollTo(0,0)`))
			shot(t, ctx, "desktop_drill_asking_"+lang)
			act(t, ctx, chromedp.Click("#press"), chromedp.WaitVisible(`body[data-state="isolated"]`))
			shot(t, ctx, "desktop_drill_isolated_"+lang)
			e.mu.Lock()
			e.all = append([]drill.Drill{passed(now, "Sato", 14*time.Second)}, e.all[1:]...)
			e.mu.Unlock()
			o.mu.Lock()
			o.all[0].State, o.st = incident.Closed, hal.Status{State: hal.Normal, Lang: lang, Now: now, Devices: 3, LastDrill: now, DrillTook: 14 * time.Second}
			o.tell()
			o.mu.Unlock()
			act(t, ctx, chromedp.WaitVisible(".result.tone-calm"), chromedp.Click("#drill-past summary"))
			shot(t, ctx, "desktop_drill_result_"+lang)
			act(t, ctx, chromedp.EmulateViewport(390, 844), chromedp.ScrollIntoView(".result"))
			shot(t, ctx, "phone_drill_result_"+lang)
			if !ask(t, ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth <= innerWidth`)) {
				t.Error("the page is wider than a phone")
			}
		})
	}
}
