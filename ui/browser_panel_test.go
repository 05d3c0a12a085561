package ui

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"

	"sekisho/firmware/incident"
	"sekisho/hal"
	"sekisho/hal/panel"
)

// deskTop is an office with a page before it, that can be cut off, and that remembers
// what was pressed.
type deskTop struct {
	*office
	ctx  context.Context
	down atomic.Bool
	srv  *httptest.Server

	mu      sync.Mutex
	presses []string
}

func sit(t *testing.T, lang string, more ...chromedp.ExecAllocatorOption) *deskTop {
	t.Helper()
	d := &deskTop{office: newOffice(lang)}
	h := handler(t, d.office, func(c *Config) { c.Lang = lang })
	d.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.down.Load() {
			http.Error(w, "restarting", http.StatusServiceUnavailable)
			return
		}
		if r.URL.Path == "/api/press" {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			var in struct{ Gesture, Target string }
			if err := json.Unmarshal(body, &in); err != nil {
				t.Error(err)
			}
			d.mu.Lock()
			d.presses = append(d.presses, in.Gesture+" "+in.Target)
			d.mu.Unlock()
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(d.srv.Close)
	t.Cleanup(d.srv.CloseClientConnections)
	d.ctx = browser(t, lang, more...)
	act(t, d.ctx, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(d.srv.URL+"/"), chromedp.WaitVisible(`body[data-link="up"][data-state="attention"]`))
	return d
}

// shows changes what is on the box's screen.
func (d *deskTop) shows(change func(s *hal.Status)) {
	d.office.mu.Lock()
	defer d.office.mu.Unlock()
	change(&d.st)
	d.tell()
}

func (d *deskTop) pressed() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.presses
	d.presses = nil
	return out
}

// watchLamp has the page write down every light of the lamp from now on.
const watchLamp = `window.lights = []; new MutationObserver(() => {
	const c = document.getElementById('lamp').style.backgroundColor || 'off';
	if (c !== lights[lights.length - 1]) lights.push(c);
}).observe(document.getElementById('lamp'), {attributes: true})`

func TestTheLampOnThePageHasTheRhythmOfTheBox(t *testing.T) {
	d := sit(t, "ja")
	act(t, d.ctx, script(watchLamp))
	for _, st := range []hal.State{hal.NotIsolated, hal.VendorConnected, hal.Attention} {
		act(t, d.ctx, script(`lights.length = 0`))
		d.shows(func(s *hal.Status) { s.State = st })
		var want []string
		for _, seg := range panel.Lamp(hal.Status{State: st}) {
			want = append(want, css(seg.Color))
		}
		until(t, d.ctx, fmt.Sprintf(`lights.length > %d && lights.includes(%q)`, 2*len(want)+2, want[0]))
		got := ask(t, d.ctx, chromedp.Evaluate[[]string](`lights`))
		for len(got) > 0 && !follows(got, want) { // what the state before has left
			got = got[1:]
		}
		if len(got) < len(want)+1 {
			t.Errorf("state %d: the lamp does not follow %v", st, want)
		}
		words := panel.LampWords(hal.Status{State: st}, "ja")
		until(t, d.ctx, `document.getElementById('lampwords').textContent === `+quoted(words))
	}
}

func css(c panel.Color) string {
	if !c.Lit() {
		return "off"
	}
	return fmt.Sprintf("rgb(%d, %d, %d)", c.R, c.G, c.B)
}

// follows says whether lights repeat a pattern from its beginning.
func follows(lights, pattern []string) bool {
	for i, l := range lights {
		if l != pattern[i%len(pattern)] {
			return false
		}
	}
	return true
}

func TestWithReducedMotionTheLampStandsStillAndItsWordsTellTheRhythm(t *testing.T) {
	d := sit(t, "en", chromedp.Flag("force-prefers-reduced-motion", true))
	act(t, d.ctx, script(watchLamp))
	d.shows(func(s *hal.Status) { s.State, s.Target = hal.Isolating, "" })
	until(t, d.ctx, `document.getElementById('lampwords').textContent === "red, fast blink"`)
	d.shows(func(s *hal.Status) { s.State = hal.Learning })
	until(t, d.ctx, `document.getElementById('lampwords').textContent === "green, slow blink"`)
	if got := ask(t, d.ctx, chromedp.Evaluate[[]string](`lights`)); !slices.Equal(got, []string{"rgb(255, 0, 0)", "rgb(0, 255, 0)"}) {
		t.Errorf("lights %v", got)
	}
}

func TestThePictureIsSharpAndCanBeHeard(t *testing.T) {
	d := sit(t, "ja")
	for _, size := range [][2]int64{{1280, 900}, {390, 844}, {320, 640}} {
		act(t, d.ctx, chromedp.EmulateViewport(size[0], size[1]))
		until(t, d.ctx, `document.getElementById('screen').getBoundingClientRect().width % 128 === 0 && getComputedStyle(document.getElementById('screen')).imageRendering === 'pixelated'`)
		if !ask(t, d.ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth <= innerWidth`)) {
			t.Errorf("wider than %d", size[0])
		}
	}
	d.shows(func(s *hal.Status) { s.State, s.Target, s.Lang = hal.Isolated, "", "en" })
	until(t, d.ctx, `document.getElementById('lines').textContent.includes('Isolated') && document.getElementById('lines').lang === 'en'`)
	if alt := ask(t, d.ctx, chromedp.Evaluate[string](`document.getElementById('screen').alt`)); !strings.Contains(alt, "経理PC-2") {
		t.Errorf("the picture is called %q", alt)
	}
}

func TestTheButtonOfThePictureIsThatOfTheBox(t *testing.T) {
	d := sit(t, "ja")
	d.shows(func(s *hal.Status) { s.Approval, s.ApprovalID = "あおばIT", "g1" })
	until(t, d.ctx, `!document.getElementById('approve').hidden && (window.since ??= performance.now()) < performance.now() - 400`) // and was read
	act(t, d.ctx, chromedp.Evaluate[chromedp.Void](`void (window.knob = document.getElementById('knob'))`))
	w := knob("ja")
	if got := ask(t, d.ctx, chromedp.Evaluate[[]int64](`['reaction', 'approve', 'count', 'long', 'stuck'].map((k) => Number(knob.dataset[k]))`)); !slices.Equal(got, []int64{w.Reaction, w.Approve, w.Count, w.Long, w.StuckAt}) {
		t.Errorf("its times are %v", got)
	}
	const up = "pointerup"
	for _, c := range []struct {
		name                        string
		approve, count, long, stuck int // ms; what is not meant never comes
		phase, said, end, want      string
	}{
		{"slipped off", 1e9, 1e9, 1e9, 1e9, "press", "", "pointerleave", "[]"},
		{"a press", 1e9, 1e9, 1e9, 1e9, "press", "", up, "[short " + inID + "]"},
		{"as long as an approval takes", 1, 1e9, 1e9, 1e9, "allow", w.Allow, up, "[hold3 g1]"},
		{"let go in the countdown", 1, 1, 1e4, 1e9, "cancel", strings.Split(w.Cancel, "{n}")[0], up, "[]"},
		{"far too long", 1, 1, 1, 1, "none", w.Stuck, up, "[]"},
		{"to the end", 1, 1, 1, 1e9, "lockdown", w.Lockdown, up, "[hold8 ]"},
		{"during a lockdown", 1, 1, 1, 1e9, "none", w.Locked, up, "[]"},
	} {
		act(t, d.ctx, script(fmt.Sprintf(`Object.assign(knob.dataset, {approve: %d, count: %d, long: %d, stuck: %d}); document.getElementById('said').textContent = '';
			knob.dispatchEvent(new PointerEvent('pointerdown', {button: 0}))`, c.approve, c.count, c.long, c.stuck)))
		until(t, d.ctx, `knob.dataset.phase === '`+c.phase+`' && knob.style.getPropertyValue('--held') !== '' && document.getElementById('knobhint').textContent.includes(`+quoted(c.said)+`)`)
		if c.phase == "cancel" {
			until(t, d.ctx, `Number(knob.style.getPropertyValue('--held')) > 0.05`)
			shot(t, d.ctx, "panel_countdown_ja")
		}
		act(t, d.ctx, script(`knob.dispatchEvent(new PointerEvent('`+c.end+`'))`))
		until(t, d.ctx, `!knob.dataset.phase && document.getElementById('knobhint').textContent === `+quoted(w.Hint))
		if c.want != "[]" {
			until(t, d.ctx, `document.getElementById('said').textContent !== ''`)
		}
		if got := fmt.Sprint(d.pressed()); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestATapOnThePicturesButtonIsForWhatWasSeen(t *testing.T) {
	d := sit(t, "en")
	const tap = `knob.dispatchEvent(new PointerEvent('pointerdown', {button: 0})); knob.dispatchEvent(new PointerEvent('pointerup'))`
	act(t, d.ctx, chromedp.Evaluate[chromedp.Void](`void (window.knob = document.getElementById('knob'))`),
		// The finger comes down as the next name appears: nobody can have read it.
		script(`document.addEventListener('sekisho:panel', (e) => { if (e.detail.target === 'next' && !window.shown) { window.shown = performance.now(); `+tap+` } })`))
	until(t, d.ctx, `performance.now() > 1000`)
	d.shows(func(s *hal.Status) { s.Target, s.Suspect.Name = "next", "PC-9" })
	until(t, d.ctx, `document.getElementById('said').textContent === `+quoted(failures["target_changed"].EN))
	if got := d.pressed(); !slices.Equal(got, []string{"short " + inID}) {
		t.Errorf("pressed %v", got)
	}
	until(t, d.ctx, `performance.now() > shown + 400`)
	act(t, d.ctx, script(tap)) // read by now
	until(t, d.ctx, `document.getElementById('said').textContent === `+quoted(english["sent"]))
	d.office.mu.Lock()
	d.to(incident.Open, hal.Attention)
	d.st.Target = inID
	d.tell()
	d.office.mu.Unlock()
	// By keyboard, and by a screen reader that knows no finger.
	until(t, d.ctx, `document.getElementById('press').dataset.target === `+quoted(inID)+` && (window.since ??= performance.now()) < performance.now() - 600`)
	act(t, d.ctx, script(`for (const e of ['keydown', 'keyup']) knob.dispatchEvent(new KeyboardEvent(e, {key: 'Enter'}))`))
	act(t, d.ctx, chromedp.WaitVisible(`body[data-state="isolated"]`))
	until(t, d.ctx, `(window.then ??= performance.now()) < performance.now() - 600`)
	act(t, d.ctx, script(`knob.click()`))
	until(t, d.ctx, `document.getElementById('said').textContent === `+quoted(english["sent"]))
	if got := d.pressed(); !slices.Equal(got, []string{"short next", "short " + inID, "short "}) {
		t.Errorf("pressed %v", got)
	}
}

// The big button does what its words say, also while they are older than the
// screen.
func TestTheBigButtonPressesForTheNameOnIt(t *testing.T) {
	d := sit(t, "en")
	act(t, d.ctx, script(`document.addEventListener('sekisho:panel', (e) => { if (e.detail.target === 'next') document.getElementById('press').click(); })`))
	d.shows(func(s *hal.Status) { s.Target, s.Suspect.Name = "next", "PC-9" })
	until(t, d.ctx, `document.getElementById('said').textContent === `+quoted(failures["target_changed"].EN))
	if got := d.pressed(); !slices.Equal(got, []string{"short " + inID}) {
		t.Errorf("pressed %v", got)
	}
}

func TestABoxThatGoesAwayIsWaitedForAndNothingOldIsBelieved(t *testing.T) {
	d := sit(t, "ja")
	d.down.Store(true) // errors, after which a browser does not try again by itself
	d.srv.CloseClientConnections()
	act(t, d.ctx, chromedp.WaitVisible(`body[data-link="lost"]`), chromedp.WaitVisible(`#offline`))
	if !ask(t, d.ctx, chromedp.Evaluate[bool](`document.getElementById('knob').disabled && document.getElementById('lamp').style.backgroundColor === '' && getComputedStyle(document.getElementById('screen')).opacity < 0.5`)) {
		t.Error("the old picture looks alive")
	}
	shot(t, d.ctx, "panel_lost_ja")
	d.office.mu.Lock()
	d.to(incident.Contained, hal.Isolated) // meanwhile
	d.office.mu.Unlock()
	d.down.Store(false)
	act(t, d.ctx, chromedp.WaitVisible(`body[data-link="up"][data-state="isolated"]`))
	until(t, d.ctx, `document.getElementById('offline').hidden && !document.getElementById('knob').disabled && document.getElementById('screen').alt.includes('隔離完了')`)
}
