package ui

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"sekisho/firmware/asset"
	"sekisho/firmware/impact"
	"sekisho/firmware/incident"
)

const (
	suspectID = asset.ID("mac:02:00:00:00:00:23")
	printerID = asset.ID("mac:02:00:00:00:00:50")
)

// stopping is a week in which the suspect shared its files with seven devices.
type stopping map[asset.ID]impact.Preview

func (s stopping) Impact(id asset.ID) (impact.Preview, bool) { p, ok := s[id]; return p, ok }

func week() stopping {
	return stopping{
		suspectID: {Device: suspectID, Since: now.Add(-impact.Week), Watched: 7, Clients: 7, Uses: []impact.Service{impact.Print, impact.Internet}, Stops: []impact.Stop{
			{Service: impact.Files, Clients: 7, Names: []string{"受付PC", "営業PC-1", "<b>x</b>", "192.168.10.31", "社長室"}, Last: now.Add(-3 * time.Minute)},
			{Service: impact.Web, Clients: 1, Names: []string{"受付PC"}, Outside: true, Last: now.Add(-50 * time.Hour)},
		}},
		printerID: {Device: printerID, Since: now.Add(-impact.Week), Watched: 7, Stops: []impact.Stop{}, Uses: []impact.Service{}},
	}
}

func withImpacts(c *Config) { c.Impacts = week() }

func TestTheAPISaysWhatIsolatingADeviceStops(t *testing.T) {
	h := handler(t, newOffice("ja"), withImpacts)
	get := func(id asset.ID) (code int, out map[string]any) {
		w := do(h, request("GET", "/api/devices/"+string(id)+"/impact", ""))
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
		return w.Code, out
	}
	code, out := get(suspectID)
	text, _ := out["sentence"].(map[string]any)
	if code != 200 || out["clients"] != 7.0 || text["ja"] != "隔離すると、7台の共有フォルダー、1台の社内のウェブ画面（社外からの利用も）が使えなくなります。" || out["limit"] == nil || out["own_use"] == nil {
		t.Errorf("%d %v", code, out)
	}
	code, out = get(printerID)
	if stops, ok := out["stops"].([]any); code != 200 || !ok || len(stops) != 0 || out["limit"] != nil || out["own_use"] != nil {
		t.Errorf("%d %v", code, out)
	}
	if code, _ := get("mac:02:00:00:00:00:99"); code != 404 {
		t.Errorf("a device that is not known: %d", code)
	}
	if w := do(handler(t, newOffice("ja"), nil), request("GET", "/api/devices/"+string(suspectID)+"/impact", "")); w.Code != 404 {
		t.Errorf("a gateway without it: %d", w.Code)
	}
}

// The document's required and named fields are those of the answer.
func TestTheImpactIsDescribed(t *testing.T) {
	h := handler(t, newOffice("ja"), withImpacts)
	var doc struct {
		Paths      map[string]any
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
	var got map[string]any
	if err := json.Unmarshal(do(h, request("GET", "/api/devices/"+string(suspectID)+"/impact", "")).Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	schema := doc.Components.Schemas["Impact"]
	for _, k := range schema.Required {
		if _, ok := got[k]; !ok {
			t.Errorf("the answer lacks %s", k)
		}
	}
	for k := range got {
		if schema.Properties[k] == nil {
			t.Errorf("%s is not described", k)
		}
	}
	if doc.Paths["/api/devices/{id}/impact"] == nil || len(schema.Required) == 0 {
		t.Error("not described at all")
	}
}

func TestWhatAnIsolationStopsStandsWhereItIsDecided(t *testing.T) {
	for lang, sentence := range map[string]string{
		"ja": "隔離すると、7台の共有フォルダー、1台の社内のウェブ画面（社外からの利用も）が使えなくなります。",
		"en": "Isolating it stops shared files for 7 devices and web pages in the office for 1 device and from the internet.",
	} {
		o := newOffice(lang)
		page := func() string {
			return do(handler(t, o, func(c *Config) { c.Lang = lang; withImpacts(c) }), request("GET", "/", "")).Body.String()
		}
		card := func(p string) string {
			return p[strings.Index(p, `id="part-now"`):strings.Index(p, `id="part-health"`)]
		}
		p := page()
		if !strings.Contains(card(p), sentence) || !strings.Contains(card(p), "受付PC") {
			t.Errorf("%s: the suspect's card does not say it: %s", lang, card(p))
		}
		if !strings.Contains(p, `data-impact="`+sentence+`"`) {
			t.Errorf("%s: the isolate button does not ask with it", lang)
		}
		if !strings.Contains(p[strings.Index(p, `id="part-devices"`):], sentence) {
			t.Errorf("%s: the list of devices does not say it", lang)
		}
		if strings.Contains(p, "<b>x</b>") {
			t.Errorf("%s: a stranger's name is not escaped", lang)
		}
		o.all[0].Guard = incident.GuardTwice // the second question
		o.all[0].Asked = now
		if p := page(); !strings.Contains(card(p), wordsIn(lang)["head_again"]) || !strings.Contains(card(p), sentence) {
			t.Errorf("%s: the second question does not say it", lang)
		}
		o.all[0].State, o.all[0].Level = incident.Contained, incident.Limit // it serves nobody any more
		if p := page(); strings.Contains(card(p), sentence) {
			t.Errorf("%s: said of a device that is limited already", lang)
		}
		o.all[0].Level = incident.Isolate // decided
		if p := page(); strings.Contains(card(p), sentence) || strings.Contains(p, `data-impact="`+sentence) {
			t.Errorf("%s: still said after the decision", lang)
		}
	}
}

func TestWhoLosesAServiceIsNamedAsFarAsThereIsRoom(t *testing.T) {
	for _, c := range []struct {
		stop impact.Stop
		want string
	}{
		{impact.Stop{Clients: 2, Names: []string{"A", "B"}}, "A, B"},
		{impact.Stop{Clients: 7, Names: []string{"A", "B"}}, "A, B and 5 more"},
		{impact.Stop{Clients: 1, Names: []string{"A"}, Outside: true}, "A, the internet"},
		{impact.Stop{Outside: true}, "the internet"},
	} {
		if got := whom(c.stop, english); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestAPersonReadsInABrowserWhatAnIsolationStops(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		t.Run(lang, func(t *testing.T) {
			o := newOffice(lang)
			o.all[0].Guard = incident.GuardTwice
			srv := httptest.NewServer(handler(t, o, func(c *Config) { c.Lang = lang; withImpacts(c) }))
			t.Cleanup(srv.CloseClientConnections)
			ctx := browser(t, lang)
			sentence := week()[suspectID].Sentence().In(lang)
			act(t, ctx, chromedp.EmulateViewport(1280, 1000), chromedp.Navigate(srv.URL+"/"), chromedp.WaitVisible("#part-now .impact"),
				script(`window.asked = []; window.confirm = (q) => { asked.push(q); return true; }; window.alert = (q) => asked.push(q)`))
			shot(t, ctx, "desktop_impact_"+lang)
			if got := ask(t, ctx, chromedp.Text("#part-now .impact .sum")); got != sentence {
				t.Errorf("the card says %q", got)
			}
			act(t, ctx, chromedp.Click("#impact-more summary"), chromedp.WaitVisible("#impact-more dl"), chromedp.EmulateViewport(390, 844))
			if !ask(t, ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth <= innerWidth`)) {
				t.Error("the page is wider than a phone")
			}
			act(t, ctx, script(`document.querySelector('#part-now').scrollIntoView()`))
			shot(t, ctx, "phone_impact_"+lang)

			// The first press of a device that others depend on only asks.
			act(t, ctx, chromedp.EmulateViewport(1280, 1000), chromedp.Click("#press"))
			until(t, ctx, `document.querySelector('h1').textContent === `+quoted(wordsIn(lang)["head_again"]))
			if got := ask(t, ctx, chromedp.Text("#part-now .impact .sum")); got != sentence {
				t.Errorf("the second question says %q", got)
			}
			shot(t, ctx, "desktop_impact_again_"+lang)

			act(t, ctx, chromedp.Click(".incident summary"), chromedp.WaitVisible(`button[value="isolate"]`),
				script(`const f = document.querySelector('form.deed'); f.elements.by.value = 'Aoba'; f.requestSubmit(f.querySelector('button[value=isolate]'))`))
			until(t, ctx, `asked.length >= 2`)
			for _, q := range ask(t, ctx, chromedp.Evaluate[[]string](`asked.slice(0, 2)`)) {
				if !strings.Contains(q, sentence) {
					t.Errorf("asked %q", q)
				}
			}
			act(t, ctx, chromedp.Click(`[id="u-`+string(suspectID)+`"] summary`), script(`document.querySelector('[id="u-`+string(suspectID)+`"]').scrollIntoView({block: 'center'})`))
			shot(t, ctx, "desktop_impact_devices_"+lang)
		})
	}
}
