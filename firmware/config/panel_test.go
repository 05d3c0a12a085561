package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// front parses the panel's table alone.
func front(t *testing.T, table string) Panel {
	t.Helper()
	c, err := Parse([]byte(office + "\n[panel]\n" + table))
	if err != nil {
		t.Fatal(err)
	}
	return c.Panel
}

func TestAPanelThatNamesNoLinesIsTheDrawnOne(t *testing.T) {
	drawn := Panel{
		Kind: "gpio", Button: "GPIO17", ActiveLow: true, Red: "GPIO23", Green: "GPIO24", Blue: "GPIO25",
		Screen: "ssd1306", ScreenBus: 1, ScreenAddress: 0x3C, ScreenHeight: 64,
	}
	if diff := cmp.Diff(drawn, front(t, `kind = "gpio"`)); diff != "" {
		t.Error(diff)
	}
	more := drawn
	more.Screen, more.Buzzer, more.ScreenAddress, more.Night = "sh1106", "GPIO27", 0x3D, Span{22*time.Hour + 30*time.Minute, 6 * time.Hour}
	table := "kind = \"gpio\"\nscreen = \"sh1106\"\nbuzzer = \"GPIO27\"\nscreen_address = 0x3d\nnight = \"22:30-06:00\""
	if diff := cmp.Diff(more, front(t, table)); diff != "" {
		t.Errorf("with more than lines said:\n%s", diff)
	}
}

func TestWhatAPanelDoesNotNameIsAsDrawn(t *testing.T) {
	got := front(t, "kind = \"gpio\"\nbutton = \"5\"\ngreen = \"\"\nscreen = \"none\"")
	want := front(t, `kind = "gpio"`)
	want.Button, want.Green, want.Screen = "5", "", "none"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if front(t, "kind = \"gpio\"\nactive_low = false").ActiveLow {
		t.Error("a button that pulls its line up was taken for a switch to ground")
	}
}

func TestAPanelIsWrittenAsItIsRead(t *testing.T) {
	c, err := Parse([]byte(office + "\n[panel]\nkind = \"gpio\"\nnight = \"22:00-06:00\"\nred = \"pwm:fe20c000.pwm.0\"\nbutton = \"GPIO17\""))
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.Panel, again.Panel); diff != "" {
		t.Error(diff)
	}
}
