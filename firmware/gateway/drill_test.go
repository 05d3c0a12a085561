package gateway

import (
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/drill"
	"sekisho/firmware/flow"
	"sekisho/hal"
)

// practice is a drill that began at and went well after took; otherwise nobody pressed.
func practice(at time.Time, took time.Duration) drill.Drill {
	d := drill.New(at, "web:Sato", time.Minute)
	for _, in := range []drill.Input{{Kind: drill.InReady}, {Kind: drill.InDetected, Incident: "i-" + d.ID}, {Kind: drill.InShown}} {
		in.At = at
		d, _ = drill.Step(d, in)
	}
	if took == 0 {
		d, _ = drill.Step(d, drill.Input{Kind: drill.InTick, At: at.Add(time.Hour)})
		return d
	}
	for _, k := range []drill.Kind{drill.InPressed, drill.InProven, drill.InSealed} {
		d, _ = drill.Step(d, drill.Input{Kind: k, At: at.Add(took), Bundle: "/b"})
	}
	return d
}

func TestThePanelNamesTheLastDrillThatWasCarriedThrough(t *testing.T) {
	at := time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	g := &Gateway{}
	s := hal.Status{Now: at}
	if g.practised(&s); !s.LastDrill.IsZero() || s.DrillTook != 0 {
		t.Errorf("never practised: %v, %v", s.LastDrill, s.DrillTook)
	}
	g.drill.past = []drill.Drill{practice(at, 41*time.Second), practice(at.Add(24*time.Hour), 14*time.Second), practice(at.Add(48*time.Hour), 0)}
	g.practised(&s)
	if want := at.Add(24*time.Hour + 14*time.Second); !s.LastDrill.Equal(want) || s.DrillTook != 14*time.Second {
		t.Errorf("%v, %v, want %v", s.LastDrill, s.DrillTook, want)
	}
}

// What detectors say of a device that is gone is no news; what they say of somebody
// who uses its address is.
func TestAnEchoOfADrillIsToldFromSomebodyReal(t *testing.T) {
	ended := time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	mac := flow.MAC{2, 0x53, 0x4b, 1, 2, 4}
	g := &Gateway{drill: exercise{gone: []echo{{mac: mac, port: "drill0", ended: ended}}}}
	for name, c := range map[string]struct {
		first time.Time
		host  asset.Asset
		mac   flow.MAC
		over  bool
	}{
		"judged late":             {ended.Add(-time.Minute), asset.Asset{MAC: mac, Port: "drill0"}, mac, true},
		"judged when forgotten":   {ended.Add(-time.Second), asset.Asset{}, mac, true},
		"began afterwards":        {ended.Add(time.Minute), asset.Asset{}, mac, false},
		"seen on another port":    {ended.Add(-time.Minute), asset.Asset{MAC: mac, Port: "lan2"}, mac, false},
		"was on another port too": {ended.Add(-time.Minute), asset.Asset{MAC: mac, Port: "drill0", MovedFrom: "lan2"}, mac, false},
		"somebody else":           {ended.Add(-time.Minute), asset.Asset{Port: "drill0"}, flow.MAC{2, 0x53, 0x4b, 1, 2, 6}, false},
	} {
		f := detect.Finding{First: c.first, Host: detect.Host{MAC: c.mac}}
		if over := g.ofDrill(t.Context(), sighting{f, c.host}); over != c.over {
			t.Errorf("%s: over %v", name, over)
		}
	}
}
