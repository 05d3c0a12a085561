package ui

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"sekisho/firmware/incident"
	"sekisho/hal"
)

// script acts on the page.
func script(js string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void]("void (() => {" + js + "})()")
}

// until waits for something on the page to become true.
func until(t *testing.T, ctx context.Context, js string) {
	t.Helper()
	for !ask(t, ctx, chromedp.Evaluate[bool](js)) { // ends with the browser's context
	}
}

func TestAPersonEndsALockdownPressesTwiceAndRenamesInABrowser(t *testing.T) {
	o := newOffice("en")
	o.all[0].Guard = incident.GuardTwice
	srv := httptest.NewServer(handler(t, o, func(c *Config) { c.Lang = "en" }))
	t.Cleanup(srv.CloseClientConnections)
	ctx := browser(t, "en")
	act(t, ctx, chromedp.EmulateViewport(390, 844), chromedp.Navigate(srv.URL+"/"), chromedp.WaitVisible(`body[data-state="attention"]`),
		script(`window.confirm = () => true`))

	o.mu.Lock()
	o.lock(true)
	o.mu.Unlock()
	act(t, ctx, chromedp.WaitVisible(".lock"))
	if ask(t, ctx, chromedp.Evaluate[bool](`!document.getElementById('rare').hidden`)) {
		t.Error("a lockdown is offered during a lockdown")
	}
	shot(t, ctx, "phone_lockdown_en")
	act(t, ctx, chromedp.Click("#unlock summary"), chromedp.WaitVisible(".unlock input"),
		script(`document.querySelector('.unlock input').value = 'Aoba'; document.querySelector('.unlock').requestSubmit()`),
		chromedp.WaitNotPresent(".lock"))

	act(t, ctx, chromedp.Click("#press"))
	until(t, ctx, `document.querySelector('h1').textContent === `+quoted(english["head_again"]))
	if text := ask(t, ctx, chromedp.Text("#press")); text != strings.ReplaceAll(english["deed_again"], "{name}", "経理PC-2") {
		t.Errorf("button after the first press: %q", text)
	}
	act(t, ctx, chromedp.Click("#press"), chromedp.WaitVisible(".lead.tone-held"))
	until(t, ctx, `document.getElementById('press').disabled`)

	act(t, ctx, chromedp.Click(".renamer summary"), script(`const f = document.querySelector('form.rename'); f.elements.name.value = 'Front desk'; f.requestSubmit()`))
	until(t, ctx, `document.getElementById('part-devices').textContent.includes('Front desk')`)

	// A new suspect gives the button back.
	o.mu.Lock()
	o.to(incident.Open, hal.Attention)
	o.st.Target, o.all[0].Asked = inID, now.Add(-askWindow*2)
	o.tell()
	o.mu.Unlock()
	until(t, ctx, `!document.getElementById('press').disabled`)
	o.mu.Lock()
	defer o.mu.Unlock()
	want := "lockdown false by web:Aoba;press 0 " + inID + ";press 0 " + inID + ";device mac:02:00:00:00:00:23 Front desk false by web"
	if got := strings.Join(o.calls, ";"); got != want {
		t.Errorf("gateway was asked %q", got)
	}
}

func quoted(s string) string { return `"` + s + `"` }
