package ui

import (
	"encoding/json"
	"strings"
	"testing"

	"sekisho/firmware/detect"
	"sekisho/firmware/incident"
)

// heldBy is one device that is held by VLAN, with a limit.
type heldBy map[string]Containment

func (h heldBy) Containment(id string) (Containment, bool) { c, ok := h[id]; return c, ok }

func withContainments(id string) func(*Config) {
	return func(c *Config) {
		c.Containments = heldBy{id: {
			Mechanisms: []string{"mac", "vlan"}, Ports: []string{"lan3"}, BestEffort: true,
			Reason: detect.Text{EN: "It is alone on port lan3.", JA: "ポート lan3 にはこの機器だけがつながっています。"},
			Limits: []detect.Text{{EN: "A limit <b>x</b>.", JA: "限界 <b>x</b>。"}},
		}}
	}
}

func TestThePageSaysHowADeviceIsHeldAndWhatThatCannotPrevent(t *testing.T) {
	o := newOffice("ja")
	i := o.all[0]
	i.State, i.Level = incident.Contained, incident.Isolate
	o.all[0] = i
	h := handler(t, o, withContainments(i.ID))
	page := do(h, request("GET", "/", "")).Body.String()
	for _, want := range []string{"隔離専用のネットワーク（VLAN）", "ポート lan3 には", "この方法で防げないこと", "限界 &lt;b&gt;x"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if !strings.Contains(page, japanese["held_mac"]) {
		t.Error("the sets are not named")
	}
	i.Level = incident.Limit
	o.all[0] = i
	if page := do(h, request("GET", "/", "")).Body.String(); strings.Contains(page, japanese["held_mac"]) || !strings.Contains(page, japanese["held_mac_limit"]) {
		t.Error("a limited device is said to reach nothing on the internet")
	}
	i.State = incident.Probation
	o.all[0] = i
	if page := do(h, request("GET", "/", "")).Body.String(); strings.Contains(page, "VLAN") {
		t.Error("a released device is said to be held")
	}
}

func TestTheAPISaysHowADeviceIsHeld(t *testing.T) {
	o := newOffice("en")
	id := o.all[0].ID
	h := handler(t, o, withContainments(id))
	w := do(h, request("GET", "/api/incidents/"+id+"/containment", ""))
	var got Containment
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || len(got.Mechanisms) != 2 || !got.BestEffort {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := do(h, request("GET", "/api/incidents/none/containment", "")); w.Code != 404 {
		t.Errorf("nobody's: %d", w.Code)
	}
	if w := do(handler(t, o, nil), request("GET", "/api/incidents/"+id+"/containment", "")); w.Code != 404 {
		t.Errorf("a gateway without it: %d", w.Code)
	}
}

func TestEveryMechanismHasWords(t *testing.T) {
	for _, l := range []string{"ja", "en"} {
		for _, m := range []string{"mac", "vlan", "segment", "wifi"} {
			if wordsIn(l)["held_"+m] == "" {
				t.Errorf("%s: %s", l, m)
			}
		}
	}
}
