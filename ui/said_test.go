package ui

import (
	"errors"
	"html"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/incident"
	"sekisho/hal"
)

// page is the start page in a language, without escapes.
func page(t *testing.T, o *office, lang string) string {
	t.Helper()
	w := do(handler(t, o, nil), request("GET", "/", "", "Accept-Language", lang))
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return html.UnescapeString(w.Body.String())
}

func TestALockdownIsExplainedWhileItLastsAndOnlyThen(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		o, w := newOffice(lang), wordsIn(lang)
		o.all, o.st.State, o.st.Target = nil, hal.Normal, ""
		if body := page(t, o, lang); strings.Contains(body, w["lock_title"]) || !strings.Contains(body, w["head_normal"]) {
			t.Errorf("%s: explained without a lockdown", lang)
		}
		o.locked, o.st.Lockdown = true, true
		body := page(t, o, lang)
		for _, has := range []string{w["lock_title"], w["lock_what"], w["lock_who"], w["lock_end"], `class="unlock"`, splitSteps(w["steps_lockdown"])[0]} {
			if !strings.Contains(body, has) {
				t.Errorf("%s: the page lacks %q", lang, has)
			}
		}
		if strings.Contains(body, w["head_normal"]) {
			t.Errorf("%s: a lockdown is called normal", lang)
		}
	}
}

func TestADeviceThatIsOnlyWatchedIsNotCalledNothing(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		o, w := newOffice(lang), wordsIn(lang)
		o.st.State, o.st.Target = hal.Normal, ""
		o.all[0].State, o.all[0].Action = incident.Open, incident.None
		if body := page(t, o, lang); strings.Contains(body, w["head_normal"]) || !strings.Contains(body, w["head_watched"]) {
			t.Errorf("%s: a suspicion too weak to ask about is not told", lang)
		}
	}
}

func TestALockdownThatDoesNotEndIsToldAsAFailure(t *testing.T) {
	o := newOffice("ja")
	o.err = errors.New("kernel")
	if w := do(handler(t, o, nil), request("POST", "/api/lockdown", `{"on":false,"by":"A"}`)); w.Code != 500 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTheFirstPressOnAProtectedDeviceIsExplained(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		o, w := newOffice(lang), wordsIn(lang)
		o.all[0].Guard = incident.GuardTwice
		if body := page(t, o, lang); !strings.Contains(body, w["head_guarded"]) || !strings.Contains(body, w["twice_hint"]) {
			t.Errorf("%s: not said before the press", lang)
		}
		if err := o.Press(hal.Short, inID); err != nil {
			t.Fatal(err)
		}
		body := page(t, o, lang)
		for _, has := range []string{w["head_again"], "14:07:01", strings.ReplaceAll(w["deed_again"], "{name}", "経理PC-2")} {
			if !strings.Contains(body, has) {
				t.Errorf("%s: the page lacks %q after the first press", lang, has)
			}
		}
		api := do(handler(t, o, nil), request("GET", "/api/panel", "")).Body.String()
		if !strings.Contains(api, `"asked_until":"2026-04-24T14:07:01+09:00"`) {
			t.Errorf("panel: %s", api)
		}
		if err := o.Press(hal.Short, inID); err != nil {
			t.Fatal(err)
		}
		if body := page(t, o, lang); !strings.Contains(body, w["head_contained"]) || strings.Contains(body, w["head_again"]) {
			t.Errorf("%s: the second press is not told", lang)
		}
	}
}

// The window that people are told is the one of the state machine.
func TestAskedUntilIsWhatTheStateMachineKeeps(t *testing.T) {
	fresh := incident.Incident{ID: inID, State: incident.Open, Guard: incident.GuardTwice, Action: incident.Suggest}
	once, _ := incident.Step(fresh, incident.Input{Kind: incident.InPress, At: now})
	until := AskedUntil(once, now)
	if once.State != incident.Open || until.IsZero() {
		t.Fatalf("%s, asked until %v", once.State, until)
	}
	if twice, _ := incident.Step(once, incident.Input{Kind: incident.InPress, At: until.Add(-time.Nanosecond)}); twice.State != incident.Containing {
		t.Error("a press in time does nothing")
	}
	if late, _ := incident.Step(once, incident.Input{Kind: incident.InPress, At: until.Add(time.Nanosecond)}); late.State != incident.Open {
		t.Error("a late press isolates")
	}
	if !AskedUntil(once, until).IsZero() || !AskedUntil(fresh, now).IsZero() {
		t.Error("asked for ever, or without a press")
	}
	held := once
	held.State = incident.Containing
	if !AskedUntil(held, now).IsZero() {
		t.Error("asked while it is held")
	}
}

func TestHeadlineAndStepsFollowTheProofAndTheLevel(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*incident.Incident)
		head   string
		has    []string // keys of words, or text
	}{
		{"best effort names the cable", func(i *incident.Incident) {
			i.State, i.Level, i.Proof.Grade = incident.Contained, incident.Isolate, incident.BestEffort
		}, "best_effort", []string{"ポート 3 につながるLANケーブル"}},
		{"a failure names the cable", func(i *incident.Incident) { i.State = incident.ContainFailed }, "contain_failed", []string{"ポート 3 につながるLANケーブルを、いますぐ"}},
		{"a port that is not known", func(i *incident.Incident) { i.State, i.Asset.Port = incident.ContainFailed, "" }, "contain_failed", []string{"その機器のLANケーブルを、いますぐ"}},
		{"a hostile port", func(i *incident.Incident) { i.State, i.Asset.Port = incident.ContainFailed, "a|b" }, "contain_failed", []string{"ポート a|b につながる"}},
		{"limited is not isolated", func(i *incident.Incident) { i.State, i.Level = incident.Contained, incident.Limit }, "limited", []string{`value="isolate"`}},
		{"never containable", func(i *incident.Incident) { i.Guard = incident.GuardNever }, "untouchable", nil},
		{"proven", func(i *incident.Incident) {
			i.State, i.Level, i.Proof.Grade = incident.Contained, incident.Isolate, incident.Proven
		}, "contained", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice("ja")
			c.change(&o.all[0])
			body := page(t, o, "ja")
			if !strings.Contains(body, "<h1>"+japanese["head_"+c.head]+"</h1>") {
				t.Errorf("headline is not that of %s", c.head)
			}
			for _, has := range c.has {
				if !strings.Contains(body, has) {
					t.Errorf("lacks %q", has)
				}
			}
			if strings.Contains(body, "{cable}") || strings.Contains(body, "{until}") {
				t.Error("a blank is not filled in")
			}
		})
	}
}

func TestTheButtonNamesWhatAPressDoes(t *testing.T) {
	for _, c := range []struct {
		name string
		st   hal.Status
		want string
		idle bool
	}{
		{"isolates", hal.Status{State: hal.Attention, Target: "t", Suspect: hal.Device{Name: "PC-2"}}, "Isolate PC-2", false},
		{"a nameless one", hal.Status{State: hal.Attention, Target: "t"}, "Isolate this device", false},
		{"again", hal.Status{State: hal.Attention, Target: "t", Suspect: hal.Device{Name: "PC-2"}, AskedUntil: now}, "Press again to isolate PC-2", false},
		{"a name without end", hal.Status{State: hal.Attention, Target: "t", Suspect: hal.Device{Name: strings.Repeat("長", 500)}}, "Isolate " + strings.Repeat("長", 31) + "…", false},
		{"turns the page", hal.Status{State: hal.Normal}, "Next page", false},
		{"does nothing", hal.Status{State: hal.Isolated}, "Nothing to press now", true},
		{"turns to the lockdown's page", hal.Status{State: hal.Isolated, Lockdown: true}, "Next page", false},
	} {
		if got, idle := deed(english, c.st); got != c.want || idle != c.idle {
			t.Errorf("%s: %q, idle %v", c.name, got, idle)
		}
	}
}

func TestHistoryIsToldInWordsAndKeepsTheGatewaysNotesOut(t *testing.T) {
	for _, c := range []struct {
		t      incident.Transition
		en, ja string
	}{
		{incident.Transition{Input: incident.InPress, By: incident.ByButton}, "The button was pressed (button on the box)", "ボタンが押されました（本体のボタン）"},
		{incident.Transition{Input: incident.InRelease, By: "web:青葉", Note: "検査済み"}, "The isolation was ended (青葉): 検査済み", "隔離を解除しました（青葉）：検査済み"},
		{incident.Transition{Input: incident.InFinding, Note: "two signs"}, "Something suspicious was seen", "不審な動きを見つけました"},
		{incident.Transition{Input: incident.InPress, Refused: true, Note: "internal"}, "The button was pressed (not carried out)", "ボタンが押されました（行えませんでした）"},
	} {
		if got := Told(c.t); got != (detect.Text{EN: c.en, JA: c.ja}) {
			t.Errorf("%+v", got)
		}
	}
}

func TestTheKeysFingerprintIsThereToCompare(t *testing.T) {
	o := newOffice("en")
	with := do(handler(t, o, func(c *Config) { c.Fingerprint = "3f2a-91c0" }), request("GET", "/", "", "Accept-Language", "en")).Body.String()
	if !strings.Contains(with, "<code>3f2a-91c0</code>") {
		t.Error("not shown")
	}
	if strings.Contains(page(t, o, "en"), english["key_hint"]) {
		t.Error("a hint without a fingerprint")
	}
}

func TestPeopleSeeTheAddressTheyKnowFirst(t *testing.T) {
	ip := netip.MustParseAddr
	a := asset.Asset{Addrs: []netip.Addr{ip("fe80::1"), ip("2001:db8::1"), ip("192.168.10.23")}}
	if got := addrs(a); got != "192.168.10.23, 2001:db8::1, fe80::1" {
		t.Error(got)
	}
	if a.Addrs[0] != ip("fe80::1") {
		t.Error("the snapshot was changed")
	}
	if got := deviceName(a, japanese); got != "192.168.10.23" {
		t.Error(got)
	}
}
