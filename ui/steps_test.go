package ui

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/incident"
	"sekisho/hal"
)

// stepping is an office whose incident moves by the real state machine.
type stepping struct{ *office }

func (o stepping) step(id string, in incident.Input) (incident.Incident, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if id != inID {
		return incident.Incident{}, ErrUnknown
	}
	in.At = now
	i, _ := incident.Step(o.all[0], in)
	o.all = slices.Clone(o.all)
	o.all[0] = i
	o.calls = append(o.calls, fmt.Sprintf("%s %s %s", in.Kind, in.Item, in.By))
	o.tell()
	if last := i.History[len(i.History)-1]; last.Refused {
		missing := map[incident.Kind][]incident.Item{incident.InRelease: i.Missing(), incident.InDismiss: i.Unasked()}[in.Kind]
		switch {
		case len(missing) > 0:
			return i, &MissingError{missing}
		case in.Item != "" && i.State.Held() && !i.Lists(in.Item):
			return i, ErrUnknown
		}
		return i, ErrRefused
	}
	return i, nil
}

func (o stepping) Isolate(_ context.Context, id, by string) (incident.Incident, error) {
	return o.step(id, incident.Input{Kind: incident.InRequest, By: by, Level: incident.Isolate})
}

func (o stepping) Limit(_ context.Context, id, by string) (incident.Incident, error) {
	return o.step(id, incident.Input{Kind: incident.InRequest, By: by, Level: incident.Limit})
}

func (o stepping) Release(_ context.Context, id, by, note string) (incident.Incident, error) {
	return o.step(id, incident.Input{Kind: incident.InRelease, By: by, Note: note})
}

func (o stepping) Dismiss(_ context.Context, id, by, note string) (incident.Incident, error) {
	return o.step(id, incident.Input{Kind: incident.InDismiss, By: by, Note: note})
}

func (o stepping) Lower(_ context.Context, id, by, note string) (incident.Incident, error) {
	return o.step(id, incident.Input{Kind: incident.InLower, By: by, Note: note})
}

func (o stepping) Undo(_ context.Context, id, by, note string) (incident.Incident, error) {
	return o.step(id, incident.Input{Kind: incident.InUndo, By: by, Note: note})
}

func (o stepping) Tick(_ context.Context, id, item string, done bool, by, note string) (incident.Incident, error) {
	kind := map[bool]incident.Kind{true: incident.InTick, false: incident.InUntick}[done]
	return o.step(id, incident.Input{Kind: kind, By: by, Note: note, Item: item})
}

// heldOffice has one device isolated and proven, by policy or by a person.
func heldOffice(t *testing.T, lang string, kind incident.Kind) stepping {
	t.Helper()
	o := stepping{newOffice(lang)}
	by := "web:佐藤"
	if kind == incident.InAuto {
		by = incident.ByAuto
	}
	allowed := detect.Text{EN: "Allowed by the limits that you set: device 1 of at most 2 in 10 minutes.", JA: "設定された上限の範囲内です（10分間に2台までのうち1台目）。"}
	for _, in := range []incident.Input{
		{Kind: kind, By: by, Level: incident.Isolate, Allowed: allowed}, {Kind: incident.InApplied},
		{Kind: incident.InProven, Proof: incident.Proof{Grade: incident.Proven, Text: detect.Text{EN: "Nothing passed; 14 frames were stopped.", JA: "通信は漏れていません。14個の通信を止めました。"}}},
	} {
		if _, err := o.step(inID, in); err != nil {
			t.Fatal(err)
		}
	}
	o.st.State, o.st.Target, o.st.Since, o.calls = hal.Isolated, "", now, nil
	return o
}

func (o stepping) made() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.calls, ";")
}

func on(o stepping) func(*Config) { return func(c *Config) { c.Gateway, c.Panel = o, o } }

func TestARefusedReleaseSaysWhatIsStillToDo(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		o := heldOffice(t, lang, incident.InRequest)
		w := do(handler(t, o.office, on(o)), request("POST", "/api/incidents/"+inID+"/release", `{"by":"A"}`, "Accept-Language", lang))
		var got struct {
			Error struct {
				Code, Message string
				Missing       []string
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		cause, _ := incident.ItemText("cause")
		if w.Code != 409 || got.Error.Code != "missing" || !slices.Contains(got.Error.Missing, "cause") || !strings.Contains(got.Error.Message, cause.In(lang)) {
			t.Errorf("%d %+v", w.Code, got.Error)
		}
	}
}

// A name in a body that names nothing is 404 like one in a path.
func TestAnItemThatIsNotOnTheListIsNotFound(t *testing.T) {
	o := heldOffice(t, "en", incident.InRequest)
	for item, want := range map[string]int{"cause": 200, "nonsense": 404} {
		for _, deed := range []string{"tick", "untick"} {
			if w := do(handler(t, o.office, on(o)), request("POST", "/api/incidents/"+inID+"/"+deed, `{"by":"A","item":"`+item+`"}`)); w.Code != want {
				t.Errorf("%s %s: %d %s", deed, item, w.Code, w.Body)
			}
		}
	}
}

func TestAFalseAlarmOfAHeldDeviceIsAgreedOnceAndWatched(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		o, w := heldOffice(t, lang, incident.InRequest), wordsIn(lang)
		agreed, _ := incident.ItemText("agreed")
		dismiss := func() *httptest.ResponseRecorder {
			return do(handler(t, o.office, on(o)), request("POST", "/api/incidents/"+inID+"/dismiss", `{"by":"A","note":"backup"}`, "Accept-Language", lang))
		}
		if !strings.Contains(w["dismiss_unasked"], agreed.In(lang)) || !strings.Contains(page(t, o.office, lang), w["dismiss_unasked"]) {
			t.Errorf("%s: the page does not say what is to be done first", lang)
		}
		if got := dismiss(); got.Code != 409 || !strings.Contains(got.Body.String(), `"missing":["agreed"]`) {
			t.Errorf("%s: %d %s", lang, got.Code, got.Body)
		}
		if _, err := o.Tick(t.Context(), inID, "agreed", true, "web:佐藤", ""); err != nil {
			t.Fatal(err)
		}
		if body := page(t, o.office, lang); strings.Contains(body, w["dismiss_unasked"]) || !strings.Contains(body, w["dismiss_held"]) {
			t.Errorf("%s: it is not offered, or still asks", lang)
		}
		if got := dismiss(); got.Code != 200 {
			t.Errorf("%s: %d %s", lang, got.Code, got.Body)
		}
		body := page(t, o.office, lang)
		for _, has := range []string{"<h1>" + w["head_harmless"] + "</h1>", w["probation_hint_harmless"], w["did_dismiss_held"]} {
			if !strings.Contains(body, has) {
				t.Errorf("%s: lacks %q", lang, has)
			}
		}
		if strings.Contains(body, `value="dismiss"`) || strings.Contains(body, w["dismiss_hint"]) || !strings.Contains(body, `value="isolate"`) {
			t.Errorf("%s: harmless is offered twice, or a second thought is not", lang)
		}
		if _, err := o.step(inID, incident.Input{Kind: incident.InExpired}); err != nil {
			t.Fatal(err)
		}
		if body := page(t, o.office, lang); !strings.Contains(body, ">"+w["state_dismissed"]+"<") {
			t.Errorf("%s: what was called harmless is listed as an infection", lang)
		}
	}
}

func TestThePageShowsOneNextStepAtATime(t *testing.T) {
	o := heldOffice(t, "en", incident.InRequest)
	s := &site{cfg: Config{Gateway: o, Panel: o, Now: func() time.Time { return now }}}
	for left := len(o.all[0].Missing()); left > 0; left-- {
		v := s.returns(o.Incidents(), inID, "en")[0]
		if v.Ready || v.Next == nil || v.Next.Key != o.all[0].Missing()[0].Key || v.Count != strings.ReplaceAll(english["back_left"], "{n}", fmt.Sprint(left)) {
			t.Fatalf("%d left: %+v", left, v)
		}
		if body := page(t, o.office, "en"); strings.Contains(body, `class="next release"`) {
			t.Error("a release is offered before everything is done")
		}
		if _, err := o.Tick(t.Context(), inID, v.Next.Key, true, "web:佐藤", ""); err != nil {
			t.Fatal(err)
		}
	}
	if v := s.returns(o.Incidents(), inID, "en")[0]; !v.Ready || v.Next != nil || !strings.Contains(v.Items[0].By, "佐藤") {
		t.Errorf("%+v", v)
	}
	if body := page(t, o.office, "en"); strings.Count(body, `class="next release"`) != 1 {
		t.Error("no release is offered")
	}
}

func TestProbationShowsItsEndAndAnAutomaticReleaseItsUndo(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		o := heldOffice(t, lang, incident.InAuto)
		w := wordsIn(lang)
		if body := page(t, o.office, lang); !strings.Contains(body, w["auto_isolated"]) || !strings.Contains(body, w["undo"]) || !strings.Contains(body, o.all[0].Automatic.Allowed.In(lang)) {
			t.Error("an automatic isolation does not say so, or not how to undo it")
		}
		if _, err := o.step(inID, incident.Input{Kind: incident.InDeadline, By: incident.ByPolicy}); err != nil {
			t.Fatal(err)
		}
		body := page(t, o.office, lang)
		until := strings.ReplaceAll(w["probation_until"], "{until}", map[string]string{"ja": "4月27日 14:05", "en": "27 Apr 14:05"}[lang])
		for _, has := range []string{until, w["auto_released"], w["undo_release"], w["probation_hint"]} {
			if !strings.Contains(body, has) {
				t.Errorf("lacks %q", has)
			}
		}
		o.all[0].Guard = incident.GuardTwice // a protected one is not promised what policy may not do
		if body := page(t, o.office, lang); !strings.Contains(body, w["probation_hint_person"]) {
			t.Error("a protected device is promised to be stopped by itself")
		}
	}
}

func TestAReleaseByTimeIsNotCalledAReturn(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		o, w := heldOffice(t, lang, incident.InAuto), wordsIn(lang)
		if _, err := o.step(inID, incident.Input{Kind: incident.InDeadline, By: incident.ByPolicy}); err != nil {
			t.Fatal(err)
		}
		body := page(t, o.office, lang)
		for _, has := range []string{"<h1>" + w["head_timed_out"] + "</h1>", splitSteps(w["steps_timed_out"])[1], w["auto_released"], w["state_timed_out"]} {
			if !strings.Contains(body, has) {
				t.Errorf("%s: lacks %q", lang, has)
			}
		}
		for _, st := range stages(w, "timed_out") {
			if st.Mark == "done" && st.Name == strings.Split(w["stages"], "|")[3] {
				t.Errorf("%s: nobody removed the cause, and it is called done", lang)
			}
		}
		if told := Told(o.all[0].History[len(o.all[0].History)-1]).In(lang); !strings.Contains(told, w["auto_released"]) {
			t.Errorf("the history says %q", told)
		}
	}
	for _, st := range stages(japanese, "probation")[2:4] {
		if st.Mark != "done" {
			t.Errorf("after a return %s is %s", st.Name, st.Mark)
		}
	}
}

func TestInProbationThePageIsCalm(t *testing.T) {
	o := heldOffice(t, "en", incident.InRequest)
	gate := func(c *Config) { on(o)(c); withImpacts(c) }
	body := func() string {
		return do(handler(t, o.office, gate), request("GET", "/", "", "Accept-Language", "en")).Body.String()
	}
	if !strings.Contains(body(), `<p class="proof">`) {
		t.Error("no proof while it is held")
	}
	o.all[0].State = incident.Probation
	if b := body(); strings.Contains(b, `<p class="proof">`) || strings.Contains(b, `<details id="impact-more">`) {
		t.Error("a proof of what is over, or a decision that nobody has to make")
	}
	o.all[0].State = incident.Open
	if !strings.Contains(body(), `<details id="impact-more">`) {
		t.Error("no impact before a decision")
	}
}

func TestADeviceIsTaggedAsItIsHeld(t *testing.T) {
	o, w := newOffice("ja"), japanese
	o.all[0].Asset.Kin = []asset.Kin{{ID: printerID, Follows: true}, {ID: "mac:02:00:00:00:00:99"}}
	for _, c := range []struct {
		state incident.State
		level incident.Level
		want  string
	}{
		{incident.Open, incident.Watch, ""}, {incident.Containing, incident.Isolate, w["state_containing"]},
		{incident.Contained, incident.Isolate, w["held"]}, {incident.Eradicating, incident.Limit, w["state_limited"]},
		{incident.ContainFailed, incident.Isolate, w["state_contain_failed"]}, {incident.Probation, incident.Watch, ""},
	} {
		o.all[0].State, o.all[0].Level = c.state, c.level
		tags := heldTags(o.all, w)
		if tags[suspectID] != c.want || tags[printerID] != c.want || tags["mac:02:00:00:00:00:99"] != "" {
			t.Errorf("%s at %s: %v", c.state, c.level, tags)
		}
	}
}

func TestWhatIsNotSureComesBeforeTheChecklist(t *testing.T) {
	o := heldOffice(t, "en", incident.InRequest)
	if _, err := o.step(inID, incident.Input{Kind: incident.InLeaked, Proof: incident.Proof{Leaked: 3}}); err != nil {
		t.Fatal(err)
	}
	if body := page(t, o.office, "en"); strings.Contains(body, `class="next"`) || strings.Contains(body, english["step_lower"]) || !strings.Contains(body, english["head_contain_failed"]) {
		t.Error("there is something else to do than to pull the cable")
	}
	if _, err := o.Tick(t.Context(), inID, "cause", true, "web:佐藤", ""); err != nil {
		t.Fatal(err)
	}
	if body := page(t, o.office, "en"); !strings.Contains(body, `class="next"`) || !strings.Contains(body, english["head_contain_failed"]) {
		t.Error("the work that has begun cannot go on, or hides the failure")
	}
}

func TestALimitedDeviceIsNeverCalledIsolatedWhileItIsCleaned(t *testing.T) {
	o := heldOffice(t, "en", incident.InRequest)
	for _, c := range []struct {
		in   incident.Input
		head string
	}{
		{incident.Input{Kind: incident.InLower, By: "web:佐藤", Note: "payroll"}, "head_limiting"},
		{incident.Input{Kind: incident.InApplied, Level: incident.Limit}, "head_limited"},
		{incident.Input{Kind: incident.InTick, By: "web:佐藤", Item: "cause"}, "head_limited"},
	} {
		i, err := o.step(inID, c.in)
		if err != nil {
			t.Fatal(err)
		}
		if body := page(t, o.office, "en"); !strings.Contains(body, "<h1>"+english[c.head]+"</h1>") {
			t.Errorf("%s at %s: not %q", i.State, i.Level, english[c.head])
		}
	}
}

func TestTheWayBackOfTheDeviceInQuestionComesFirstAndTheListIsBounded(t *testing.T) {
	o := heldOffice(t, "en", incident.InRequest)
	all := []incident.Incident{o.all[0]}
	for n := range 2 * maxReturns {
		i := o.all[0]
		i.ID = fmt.Sprint(n)
		all = append(all, i)
	}
	s := &site{cfg: Config{Gateway: o, Panel: o, Now: func() time.Time { return now }}}
	if got := s.returns(all, inID, "en"); len(got) != maxReturns+1 || got[0].ID != inID {
		t.Errorf("%d, first %s", len(got), got[0].ID)
	}
}

func TestThePageSaysHowFarTheGatewayMayGoByItself(t *testing.T) {
	full := incident.Limits{AutoIsolate: true, Used: 2, Max: 2, Window: 10 * time.Minute, FreeAt: now.Add(6 * time.Minute), Held: 2, MostHeld: 2, Active: 14, MaxPercent: 20, Business: true, ReleaseAfter: 48 * time.Hour, Probation: 90 * time.Minute}
	at := func(t time.Time) string { return t.Format("15:04") }
	want := []string{
		"In 10 minutes, 2 devices at most are stopped automatically; 2 so far, free again at 14:11.", "At a time, 2 at most (20 % of 14 active devices); 2 counted now, those undone lately included.",
		english["limits_full"], english["limits_business"], "What was stopped automatically is released after 2 days. What a person stopped is not.", "What is released is watched for 90 min.",
	}
	if got := limitsOf(full, "en", at); !got.Full || got.Off || !slices.Equal(got.Lines, want) {
		t.Errorf("%+v", got)
	}
	if got := limitsOf(incident.Limits{}, "ja", at); got.Full || !got.Off || got.Lines[0] != japanese["limits_off"] {
		t.Errorf("%+v", got)
	}
	body := page(t, newOffice("ja"), "ja")
	for _, has := range []string{"いまは1台で、次に空くのは14:11:01です", japanese["limits_stay"], "3日間見守ります", japanese["limits_tag_on"]} {
		if !strings.Contains(body, has) {
			t.Errorf("lacks %q", has)
		}
	}
}

func TestHostileNamesAndNotesStayTextOnTheWayBack(t *testing.T) {
	const evil = `"><script>alert(1)</script>`
	o := heldOffice(t, "ja", incident.InAuto)
	o.all[0].Asset.Name, o.all[0].Asset.Port = evil, evil
	o.all[0].Automatic.Why.JA = evil
	if _, err := o.Tick(t.Context(), inID, "cause", true, "web:"+evil, evil); err != nil {
		t.Fatal(err)
	}
	body := do(handler(t, o.office, on(o)), request("GET", "/", "")).Body.String()
	if back := body[strings.Index(body, `id="part-return"`):]; strings.Contains(body, "<script>alert") || strings.Count(back, "&lt;script&gt;alert(1)") < 6 {
		t.Error("a name or a note became markup, or is not shown")
	}
}

func TestTheHistorySaysWhatWasTicked(t *testing.T) {
	o := heldOffice(t, "ja", incident.InRequest)
	for _, note := range []string{"USBメモリ", ""} {
		i, err := o.Tick(t.Context(), inID, "cause", true, "web:佐藤", note)
		if err != nil {
			t.Fatal(err)
		}
		if got := Told(i.History[len(i.History)-1]).JA; !strings.HasPrefix(got, "確認が済みました（佐藤）：原因を突き止める") || note != "" && !strings.HasSuffix(got, "（USBメモリ）") {
			t.Error(got)
		}
		o.Tick(t.Context(), inID, "cause", false, "web:佐藤", "") //nolint:errcheck // for the next turn
	}
}

func TestAPersonWorksThroughTheReturnInABrowser(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		t.Run(lang, func(t *testing.T) {
			o := heldOffice(t, lang, incident.InRequest)
			srv := httptest.NewServer(handler(t, o.office, func(c *Config) { on(o)(c); c.Lang = lang }))
			t.Cleanup(srv.CloseClientConnections)
			ctx := browser(t, lang)
			act(t, ctx, chromedp.EmulateViewport(1280, 1800), chromedp.Navigate(srv.URL+"/"), chromedp.WaitVisible(".back .next"),
				script(`window.confirm = () => true`))
			shot(t, ctx, "desktop_return_"+lang)

			// Nothing is ticked without a name.
			act(t, ctx, script(`document.querySelector('.back .next').requestSubmit()`))
			until(t, ctx, `document.querySelector('.back .said').textContent === `+quoted(wordsIn(lang)["back_sign"]))
			if got := o.made(); got != "" {
				t.Fatalf("without a name: %q", got)
			}
			act(t, ctx, script(`const f = document.querySelector('.whoami'); f.value = '青葉'; f.dispatchEvent(new Event('change', {bubbles: true})); f.blur()`))
			var want []string
			for {
				o.mu.Lock()
				missing := o.all[0].Missing()
				o.mu.Unlock()
				if len(missing) == 0 {
					break
				}
				act(t, ctx, chromedp.WaitVisible(fmt.Sprintf(`.back .next[data-item="%s"]`, missing[0].Key)),
					script(`document.querySelector('.back .next').requestSubmit()`),
					chromedp.WaitNotPresent(fmt.Sprintf(`.back .next[data-item="%s"]`, missing[0].Key)))
				want = append(want, "tick "+missing[0].Key+" web:青葉")
				if len(want) == 2 {
					act(t, ctx, chromedp.EmulateViewport(390, 1800), script(`document.querySelector('.back').scrollIntoView()`))
					if !ask(t, ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth <= innerWidth`)) {
						t.Error("the page is wider than a phone")
					}
					shot(t, ctx, "phone_return_"+lang)
					act(t, ctx, chromedp.EmulateViewport(1280, 1800))
				}
			}
			act(t, ctx, chromedp.WaitVisible(".back .next.release"))
			shot(t, ctx, "desktop_return_ready_"+lang)

			// One is taken back, and done again from the list.
			act(t, ctx, script(`document.querySelector('.tick[data-item=cause]').click()`), chromedp.WaitVisible(`.back .next[data-item=cause]`),
				script(`document.querySelector('.tick[data-item=cause]').click()`), chromedp.WaitVisible(".back .next.release"),
				script(`document.querySelector('.back .release').requestSubmit()`), chromedp.WaitVisible(".back .until"))
			want = append(want, "untick cause web:青葉", "tick cause web:青葉", "release  web:青葉")
			shot(t, ctx, "desktop_probation_"+lang)
			if got := o.made(); got != strings.Join(want, ";") {
				t.Errorf("asked %q, want %q", got, want)
			}
		})
	}
}

func TestAPersonUndoesWhatTheGatewayDidByItselfInABrowser(t *testing.T) {
	o := heldOffice(t, "ja", incident.InAuto)
	srv := httptest.NewServer(handler(t, o.office, func(c *Config) { on(o)(c); c.Lang = "ja" }))
	t.Cleanup(srv.CloseClientConnections)
	ctx := browser(t, "ja")
	act(t, ctx, chromedp.EmulateViewport(1280, 1800), chromedp.Navigate(srv.URL+"/"), chromedp.WaitVisible(".back .auto"), script(`window.confirm = () => true`))
	act(t, ctx, chromedp.Click(".back .mistake summary"), chromedp.WaitVisible(".back .undo"))
	shot(t, ctx, "desktop_auto_ja")
	act(t, ctx, script(`document.querySelector('.whoami').value = '青葉'; document.querySelector('.back .undo').requestSubmit()`),
		chromedp.WaitNotPresent(".back"))
	until(t, ctx, `document.querySelector('h1').textContent === `+quoted(japanese["head_undone"]))
	shot(t, ctx, "desktop_undone_ja")
	if got := o.made(); got != "undo  web:青葉" {
		t.Errorf("asked %q", got)
	}
}

func TestAPersonLoosensAndTightensInABrowser(t *testing.T) {
	o := heldOffice(t, "en", incident.InRequest)
	srv := httptest.NewServer(handler(t, o.office, func(c *Config) { on(o)(c); c.Lang = "en" }))
	t.Cleanup(srv.CloseClientConnections)
	ctx := browser(t, "en")
	act(t, ctx, chromedp.EmulateViewport(1280, 1800), chromedp.Navigate(srv.URL+"/"), chromedp.WaitVisible(".back .next"), script(`window.confirm = () => true`),
		chromedp.Click(".back details.rare summary"), chromedp.WaitVisible(".level"),
		script(`document.querySelector('.whoami').value = 'Aoba'; const f = document.querySelector('.level'); f.elements.note.value = 'payroll day'; f.requestSubmit()`),
		chromedp.WaitVisible(`.level[data-deed="isolate"]`))
	shot(t, ctx, "desktop_limited_en")
	o.mu.Lock()
	i := o.all[0]
	o.mu.Unlock()
	if i.Level != incident.Limit || i.Decision.Why.EN != "payroll day" {
		t.Errorf("%s, %+v", i.Level, i.Decision)
	}
	act(t, ctx, script(`document.querySelector('.whoami').value = 'Aoba'; document.querySelector('.level').requestSubmit()`), chromedp.WaitVisible(`.level[data-deed="lower"]`))
	if got := o.made(); got != "lower  web:Aoba;request  web:Aoba" {
		t.Errorf("asked %q", got)
	}
}

func TestLimitingAGuardedDeviceSaysThatItHasToBeAskedAgainInABrowser(t *testing.T) {
	o := stepping{newOffice("en")}
	o.all[0].Guard = incident.GuardTwice
	srv := httptest.NewServer(handler(t, o.office, func(c *Config) { on(o)(c); c.Lang = "en" }))
	t.Cleanup(srv.CloseClientConnections)
	ctx := browser(t, "en")
	limit := script(`const f = document.querySelector('.incident form.deed'); f.elements.by.value = 'Aoba'; f.requestSubmit(f.querySelector('button[value=limit]'))`)
	act(t, ctx, chromedp.EmulateViewport(1280, 1800), chromedp.Navigate(srv.URL+"/"), chromedp.WaitVisible(".incident"),
		script(`window.confirm = () => true; window.alert = (text) => { window.told = text }`), limit)
	until(t, ctx, `window.told === `+quoted(english["sent_once"]))
	act(t, ctx, limit, chromedp.WaitVisible(".back"))
	o.mu.Lock()
	defer o.mu.Unlock()
	if i := o.all[0]; i.Level != incident.Limit || i.State != incident.Containing {
		t.Errorf("%s at %s", i.State, i.Level)
	}
}
