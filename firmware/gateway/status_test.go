package gateway

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/text/width"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/incident"
	"sekisho/hal"
)

func TestTheScreenOfAHeldDeviceSaysHowWellItIsHeld(t *testing.T) {
	g := &Gateway{cfg: Config{Lang: "en"}}
	for _, c := range []struct {
		name   string
		level  incident.Level
		grade  incident.Grade
		port   string
		state  hal.State
		best   bool
		cable  string
		target string
	}{
		{"proven", incident.Isolate, incident.Proven, "lan3", hal.Isolated, false, "", ""},
		{"as far as possible", incident.Isolate, incident.BestEffort, "lan3", hal.NotIsolated, true, "lan3", ""},
		{"as far as possible, somewhere", incident.Isolate, incident.BestEffort, "", hal.NotIsolated, true, "its LAN cable", ""},
		{"not at all", incident.Isolate, incident.NotIsolated, "lan3", hal.NotIsolated, false, "lan3", ""},
		{"limited: still a question", incident.Limit, incident.BestEffort, "lan3", hal.Attention, false, "", "I"},
	} {
		var s hal.Status
		g.held(&s, incident.Incident{ID: "I", State: incident.Contained, Level: c.level, Proof: incident.Proof{Grade: c.grade}, Asset: asset.Asset{Name: "PC-2", Port: c.port}})
		if s.State != c.state || s.BestEffort != c.best || s.Cable != c.cable || s.Target != c.target || s.Suspect.Name != "PC-2" {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

// The small screen has room for about 20 narrow characters under the name.
func TestWhatADeviceDoesFitsUnderItsName(t *testing.T) {
	for _, detector := range append(NewPipeline(PipelineConfig{}).engine.Names(), "eve") {
		if _, ok := briefs[detector]; !ok && !slices.Contains([]string{"worm", "host_scan", "arp_scan"}, detector) {
			t.Errorf("%s has no brief", detector)
		}
		text := doing(incident.Incident{Findings: []incident.Observation{
			{Detector: "other", Weight: 1, Title: detect.Text{EN: "weaker", JA: "弱い"}},
			{Detector: detector, Weight: 2, PeerCount: 224},
		}})
		for _, s := range []string{text.EN, text.JA} {
			cells := 0
			for _, r := range s {
				cells++
				if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
					cells++
				}
			}
			if cells == 0 || cells > 21 {
				t.Errorf("%s: %q takes %d cells", detector, s, cells)
			}
		}
	}
	unknown := doing(incident.Incident{Findings: []incident.Observation{{Detector: "new", Title: detect.Text{EN: "as it says", JA: "題"}}}})
	if unknown.EN != "as it says" {
		t.Errorf("%+v", unknown)
	}
}

func TestANamelessDeviceIsCalledByTheAddressThatPeopleKnow(t *testing.T) {
	a := asset.Asset{Addrs: []netip.Addr{netip.MustParseAddr("fe80::1"), netip.MustParseAddr("192.168.10.23")}}
	if got := deviceName(a); got != "192.168.10.23" {
		t.Error(got)
	}
}
