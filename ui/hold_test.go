package ui

import (
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"sekisho/firmware/incident"
)

const (
	quietID  = "mac:02:00:00:00:00:77"
	copierID = "mac:02:00:00:00:00:50"
)

// quietOffice has a device, suspected of nothing, that nobody depends on.
func quietOffice(lang string) *office {
	o := newOffice(lang)
	a := o.devs[1]
	a.ID, a.MAC[5], a.Name = quietID, 0x77, "会議室PC"
	o.devs = append(o.devs, a)
	return o
}

func TestADeviceIsHeldWithoutAnIncidentByNameAndReason(t *testing.T) {
	o := quietOffice("en")
	h := handler(t, o, nil)
	post := func(path, body string) (code int, i incident.Incident, failure string) {
		w := do(h, request("POST", path, body))
		var answer struct{ Error struct{ Code string } }
		err := json.Unmarshal(w.Body.Bytes(), &answer)
		if err == nil && w.Code == 200 {
			err = json.Unmarshal(w.Body.Bytes(), &i)
		}
		if err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
		return w.Code, i, answer.Error.Code
	}
	const signed = `{"by":" Aoba ","note":" it flickers "}`
	for _, c := range []struct {
		path, body string
		code       int
		failure    string
		state      incident.State
		level      incident.Level
	}{
		{quietID + "/isolate", `{"note":"x"}`, 422, "name", "", ""},
		{quietID + "/isolate", `{"by":"Aoba"}`, 422, "note", "", ""},
		{quietID + "/limit", `{"by":"Aoba","note":"  "}`, 422, "note", "", ""},
		{quietID + "/limit", `{"by":"Aoba","note":"` + strings.Repeat("x", 501) + `"}`, 422, "note", "", ""},
		{quietID + "/isolate", `{"by":"Aoba","note":"x","level":"watch"}`, 400, "body", "", ""},
		{"mac:02:00:00:00:00:99/isolate", signed, 404, "unknown", "", ""},
		{"mac:02:00:00:00:00:01/isolate", signed, 409, "refused", "", ""}, // the gateway
		{"mac:02:00:00:00:00:01/limit", signed, 409, "refused", "", ""},
		{quietID + "/watch", signed, 404, "no_page", "", ""},
		{quietID + "/limit", signed, 200, "", incident.Containing, incident.Limit},
		{quietID + "/isolate", signed, 200, "", incident.Containing, incident.Isolate},
		{copierID + "/isolate", signed, 200, "", incident.Open, incident.Watch}, // protected: asked twice
		{copierID + "/isolate", signed, 200, "", incident.Containing, incident.Isolate},
	} {
		code, i, failure := post("/api/devices/"+c.path, c.body)
		if code != c.code || failure != c.failure || i.State != c.state || i.Level != c.level {
			t.Errorf("%s %.40s: %d %q %s at %q", c.path, c.body, code, failure, i.State, i.Level)
		}
	}
	const as = "|web:Aoba|it flickers"
	if want := []string{"limit|" + quietID + as, "isolate|" + quietID + as, "isolate|" + copierID + as, "isolate|" + copierID + as}; !slices.Equal(o.calls, want) {
		t.Errorf("the gateway was asked %q", o.calls)
	}
}

func TestTheListOfDevicesOffersToHoldThoseThatMayBe(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		o := quietOffice(lang)
		h := handler(t, o, func(c *Config) { c.Lang = lang; withImpacts(c) })
		row := func(id string) string {
			p := do(h, request("GET", "/", "")).Body.String()
			_, p, _ = strings.Cut(p, `id="part-devices"`)
			_, p, _ = strings.Cut(p, `id="h-`+id+`"`)
			p, _, _ = strings.Cut(p, "</details>")
			return p
		}
		w := wordsIn(lang)
		if p := row(quietID); !strings.Contains(p, w["stop_device"]) || !strings.Contains(p, w["isolate"]) || !strings.Contains(p, w["limit"]) || strings.Contains(p, w["twice_hint"]) {
			t.Errorf("%s: a quiet device: %q", lang, p)
		}
		sentence := week()[suspectID].Sentence().In(lang)
		if p := row(string(suspectID)); !strings.Contains(p, `data-impact="`+sentence+`"`) || !strings.Contains(p, `<p class="hint sum">`+sentence) {
			t.Errorf("%s: what it would stop is not said: %q", lang, p)
		}
		if p := row(copierID); !strings.Contains(p, w["twice_hint"]) {
			t.Errorf("%s: a protected device: %q", lang, p)
		}
		if p := row("mac:02:00:00:00:00:01"); p != "" {
			t.Errorf("%s: offered for the gateway: %q", lang, p)
		}
		if _, err := o.HoldDevice(t.Context(), quietID, incident.Limit, "web:Aoba", "x"); err != nil {
			t.Fatal(err)
		}
		if p := row(quietID); p != "" {
			t.Errorf("%s: offered for a device that is held: %q", lang, p)
		}
	}
}

func TestAPersonHoldsAQuietDeviceInABrowser(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		t.Run(lang, func(t *testing.T) {
			o := quietOffice(lang)
			srv := httptest.NewServer(handler(t, o, func(c *Config) { c.Lang = lang; withImpacts(c) }))
			t.Cleanup(srv.CloseClientConnections)
			ctx := browser(t, lang)
			w := wordsIn(lang)
			row := func(id string) string { return `[id="h-` + id + `"]` }
			fill := func(id, deed string) chromedp.Action[chromedp.Void] {
				return script(`const f = document.querySelector('` + row(id) + ` form'); if (!f.elements.by.value) { f.elements.by.value = 'Aoba'; f.elements.note.value = 'The vendor called'; }
					f.requestSubmit(f.querySelector('[data-path$="/` + deed + `"]'))`)
			}
			act(t, ctx, chromedp.EmulateViewport(390, 844), chromedp.Navigate(srv.URL+"/"), chromedp.WaitVisible(`body[data-state="attention"]`),
				script(`window.asked = []; window.confirm = (q) => { asked.push(q); return true; }; window.alert = (q) => asked.push(q)`),
				chromedp.Click(row(quietID)+" summary"), chromedp.WaitVisible(row(quietID)+" textarea"),
				script(`document.querySelector('`+row(quietID)+`').scrollIntoView({block: 'center'})`))
			if !ask(t, ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth <= innerWidth`)) {
				t.Error("the page is wider than a phone")
			}
			shot(t, ctx, "phone_hold_device_"+lang)
			act(t, ctx, fill(quietID, "isolate"))
			until(t, ctx, `!document.querySelector('`+row(quietID)+`') && document.getElementById('part-devices').textContent.includes(`+quoted(w["state_containing"])+`)`)
			if q := ask(t, ctx, chromedp.Evaluate[[]string](`asked`)); len(q) != 1 || !strings.Contains(q[0], "会議室PC") || !strings.Contains(q[0], w["isolate"]) {
				t.Errorf("asked %q", q)
			}

			// A device that others depend on: the first time nothing is stopped, and what
			// was written is still there for the second.
			act(t, ctx, script(`asked.length = 0`), chromedp.EmulateViewport(1280, 1000), chromedp.Click(row(copierID)+" summary"), chromedp.WaitVisible(row(copierID)+" textarea"), fill(copierID, "limit"))
			until(t, ctx, `asked.length === 2`)
			if q := ask(t, ctx, chromedp.Evaluate[[]string](`asked`)); !strings.Contains(q[1], w["sent_once"]) {
				t.Errorf("asked %q", q)
			}
			act(t, ctx, fill(copierID, "limit"))
			until(t, ctx, `!document.querySelector('`+row(copierID)+`')`)
			o.mu.Lock()
			defer o.mu.Unlock()
			const as = "|web:Aoba|The vendor called"
			if want := []string{"isolate|" + quietID + as, "limit|" + copierID + as, "limit|" + copierID + as}; !slices.Equal(o.calls, want) {
				t.Errorf("the gateway was asked %q", o.calls)
			}
		})
	}
}
