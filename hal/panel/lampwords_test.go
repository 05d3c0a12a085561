package panel

import (
	"strings"
	"testing"

	"sekisho/hal"
)

// Every light that Lamp shows is named, and no other.
func TestTheLampsWordsNameItsColours(t *testing.T) {
	names := map[Color]map[string]string{
		green: {"ja": "緑", "en": "green"}, amber: {"ja": "黄色", "en": "amber"}, red: {"ja": "赤", "en": "red"}, blue: {"ja": "青", "en": "blue"},
	}
	for _, lang := range []string{"ja", "en"} {
		seen := map[string]hal.Status{}
		for _, s := range lampStatuses() {
			text := LampWords(s, lang)
			lit := map[Color]bool{}
			for _, seg := range Lamp(s) {
				lit[seg.Color] = true
			}
			for c, name := range names {
				if strings.Contains(text, name[lang]) != lit[c] {
					t.Errorf("%+v: %q, but lit are %v", s, text, lit)
				}
			}
			if other, twice := seen[text]; twice {
				t.Errorf("%q is said of %+v and of %+v", text, s, other)
			}
			seen[text] = s
		}
	}
}

// lampStatuses are the statuses whose lamps differ.
func lampStatuses() []hal.Status {
	var all []hal.Status
	for st := hal.Normal; st <= hal.VendorConnected; st++ {
		for _, mark := range []hal.Status{{}, {Drill: true}, {VendorOnline: true}, {Drill: true, VendorOnline: true}} {
			if mark.VendorOnline && st == hal.VendorConnected {
				continue // it says so by itself
			}
			mark.State = st
			all = append(all, mark)
		}
	}
	return append(all, hal.Status{Lockdown: true})
}

func TestAStateThatIsNotKnownHasTheWordsOfAFault(t *testing.T) {
	if got, want := LampWords(hal.Status{State: 200}, "en"), LampWords(hal.Status{State: hal.Fault}, "en"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
