package gateway

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/firmware/config"
	"sekisho/netcontain"
)

func openingFor(t *testing.T, change func(*config.Config)) *opening {
	c := config.Default()
	c.Storage.State, c.Network.Hostapd = t.TempDir(), t.TempDir()
	change(&c)
	return &opening{config: c, log: slog.New(slog.DiscardHandler), faults: newFaults()}
}

// TestAccessPointsAreInForceAtTheFirstStart has no hostapd yet, as at a boot,
// and a state folder that is empty.
func TestAccessPointsAreInForceAtTheFirstStart(t *testing.T) {
	o := openingFor(t, func(c *config.Config) { c.Network.WiFi = []string{"wlan0"} })
	more := map[netcontain.Mechanism]netcontain.Enforcer{}
	if err := o.radio(more); err != nil {
		t.Fatal(err)
	}
	if err := more[netcontain.ByWiFi].Apply(t.Context(), netcontain.Policy{}); err != nil {
		t.Errorf("nobody is held, and still: %v", err)
	}
}

func TestNamesThatDNSMasqCannotReadAreAFaultToShow(t *testing.T) {
	o := openingFor(t, func(*config.Config) {})
	g := &Gateway{faults: o.faults}
	failed := func() string {
		for _, c := range g.checks() {
			if c.Name == "names" && c.Probe(t.Context()) != nil {
				return c.Help.EN + c.Help.JA
			}
		}
		return ""
	}
	if err := o.allowNames(filepath.Join(t.TempDir(), "new", "dnsmasq.conf"), []string{"update.example"}); err != nil || failed() != "" {
		t.Fatal(err, failed())
	}
	if err := o.allowNames(t.TempDir(), []string{"update.example"}); err != nil {
		t.Errorf("the office does without, and still: %v", err)
	}
	if !strings.Contains(failed(), "network.dnsmasq") {
		t.Errorf("it says %q", failed())
	}
}
