package gateway

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sekisho/firmware/config"
	"sekisho/firmware/health"
	"sekisho/hal"
	"sekisho/hal/rpi"
)

// brittle is a panel whose parts can be broken.
type brittle struct{ parts []hal.Part }

func (*brittle) Show(hal.Status)           {}
func (*brittle) Presses() <-chan hal.Press { return nil }
func (*brittle) Run(context.Context) error { return nil }
func (b *brittle) Parts() []hal.Part       { return b.parts }

func TestAPartOfThePanelThatIsMissingIsAWarningUntilItIsBack(t *testing.T) {
	front := &brittle{[]hal.Part{{Name: "button"}, {Name: "red"}, {Name: "green"}, {Name: "blue"}, {Name: "buzzer"}, {Name: "screen"}}}
	g := &Gateway{parts: Parts{Panel: front}, faults: newFaults()}
	failing := func() (out []health.Check) {
		for _, c := range g.checks() {
			if strings.HasPrefix(c.Name, panelCheck) && c.Probe(t.Context()) != nil {
				out = append(out, c)
			}
		}
		return out
	}
	if got := failing(); len(got) != 0 {
		t.Fatalf("all is well, and still: %+v", got)
	}
	for i := range front.parts {
		part := &front.parts[i]
		part.Err = errors.New("gone")
		got := failing()
		if len(got) != 1 || got[0].Name != panelCheck+part.Name {
			t.Fatalf("%s is gone: %+v", part.Name, got)
		}
		for _, text := range []health.Text{got[0].Title, got[0].Help} {
			if text.EN == "" || text.JA == "" {
				t.Errorf("%s: nothing to read", part.Name)
			}
		}
		if !strings.Contains(got[0].Help.EN, "panel."+part.Name) || !strings.Contains(got[0].Help.JA, "panel."+part.Name) {
			t.Errorf("%s: which setting to mend is not said: %+v", part.Name, got[0].Help)
		}
		if got[0].Vital {
			t.Errorf("%s stops the gateway from being ready", part.Name)
		}
		w, lamp := onPanel(health.Report{Results: []health.Result{{Name: got[0].Name, Status: health.Failed}}})
		if lamp != (part.Name != "buzzer") {
			t.Errorf("%s on the lamp: %v", part.Name, lamp)
		}
		if lamp && g.faultText(w.Name) == g.faultText("anything else") {
			t.Errorf("%s has no words on the panel", part.Name)
		}
		part.Err = nil
	}
	if got := failing(); len(got) != 0 {
		t.Errorf("all is back, and still: %+v", got)
	}
}

func TestTheSettingsMeanTheWiringThatIsDrawn(t *testing.T) {
	c, err := config.Parse([]byte("[network]\nports = [\"lan1\"]\nlan = [\"192.168.77.0/24\"]\n[panel]\nkind = \"gpio\""))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rpi.Wiring(), panelConfig(c.Panel), cmpopts.IgnoreFields(rpi.Config{}, "Now", "Logger")); diff != "" {
		t.Error(diff)
	}
}
