package ui

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
	"sekisho/hal"
)

// withKin is an office whose suspect has an address that is held with it, and
// one that a person is asked about.
func withKin(lang string) *office {
	o := newOffice(lang)
	o.to(incident.Contained, hal.Isolated)
	same := flow.MAC{2, 0, 0, 0, 0, 0x77}
	o.all[0].Asset.Kin = []asset.Kin{
		{ID: asset.ID("mac:" + same.String()), MAC: same, Port: "lan4", Follows: true, Why: asset.Text{EN: "It uses the same DHCP identifier.", JA: "同じ DHCP 識別子を使っています。"}},
		{ID: o.devs[2].ID, MAC: o.devs[2].MAC, Name: "<b>複合機</b>", Why: asset.Text{EN: "It looks like the same device; a person has to decide.", JA: "同じ機器の可能性があります。担当者が判断してください。"}},
	}
	return o
}

func TestOtherAddressesOfADeviceAreShownWithTheReason(t *testing.T) {
	for lang, w := range map[string]map[string]string{"en": english, "ja": japanese} {
		o := withKin(lang)
		text := do(handler(t, o, func(c *Config) { c.Lang = lang }), request("GET", "/parts", "")).Body.String()
		k := o.all[0].Asset.Kin
		for _, want := range []string{w["kin"], w["kin_same"], w["kin_ask"], w["kin_yes"], w["kin_no"], "02:00:00:00:00:77", "lan4", asText(k[0].Why, lang), asText(k[1].Why, lang), "&lt;b&gt;"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the page does not say %q", lang, want)
			}
		}
		o.all[0].State = incident.Closed
		if text := do(handler(t, o, func(c *Config) { c.Lang = lang }), request("GET", "/parts", "")).Body.String(); strings.Contains(text, w["kin_yes"]) {
			t.Errorf("%s: after the end a person is still asked", lang)
		}
	}
}

func TestWhatIsHeldAlongIsSaidInTheRightTense(t *testing.T) {
	for lang, w := range map[string]map[string]string{"en": english, "ja": japanese} {
		for _, c := range []struct {
			state     incident.State
			says, not []string
		}{
			{incident.Open, []string{w["kin_would"], w["kin_would_hint"], put(w["along_would"], "1"), put(w["along_ask"], "1")}, []string{w["kin_same"], w["kin_other_hint"]}},
			{incident.Contained, []string{w["kin_same"], w["kin_other_hint"], put(w["along_held"], "1"), put(w["along_ask"], "1")}, []string{w["kin_would"], w["kin_was"]}},
			{incident.Probation, []string{w["kin_was"]}, []string{w["kin_same"], put(w["along_held"], "1"), put(w["along_ask"], "1")}},
		} {
			o := withKin(lang)
			o.all[0].State = c.state
			body := page(t, o, lang)
			for _, has := range c.says {
				if !strings.Contains(body, has) {
					t.Errorf("%s, %s: lacks %q", lang, c.state, has)
				}
			}
			for _, has := range c.not {
				if strings.Contains(body, has) {
					t.Errorf("%s, %s: says %q", lang, c.state, has)
				}
			}
		}
	}
}

func asText(t asset.Text, lang string) string {
	if lang == "ja" {
		return t.JA
	}
	return t.EN
}

func TestAPersonSaysInABrowserThatItIsAnotherDevice(t *testing.T) {
	o := withKin("ja")
	srv := httptest.NewServer(handler(t, o, func(c *Config) { c.Lang = "ja" }))
	t.Cleanup(srv.CloseClientConnections)
	ctx := browser(t, "ja")
	act(t, ctx, chromedp.EmulateViewport(390, 1400), chromedp.Navigate(srv.URL+"/"), chromedp.WaitVisible(`body[data-state="isolated"]`),
		script(`window.confirm = () => true; document.querySelector('details.incident').open = true; for (const d of document.querySelectorAll('.kin details')) d.open = true; document.querySelector('.kin').scrollIntoView()`),
		chromedp.WaitVisible(".kin form"))
	shot(t, ctx, "phone_kin_ja")
	act(t, ctx, script(`const f = document.querySelectorAll('.kin form')[1]; f.elements.by.value = '青葉'; f.requestSubmit(f.querySelector('button[data-same=false]'))`))
	want := "kin " + string(o.devs[2].ID) + " " + string(o.all[0].Asset.ID) + " false by web:青葉"
	for done := false; !done; { // ends with the browser's context
		ask(t, ctx, chromedp.Evaluate[bool](`true`))
		o.mu.Lock()
		done = slices.Contains(o.calls, want)
		if len(o.calls) > 0 && !done {
			t.Fatalf("gateway was asked %q, want %q", o.calls, want)
		}
		o.mu.Unlock()
	}
}
