//go:build twin

package wifi

import (
	"testing"
	"time"

	"sekisho/image/twin/twintest"
)

// TestRadioInTheTwin runs the tests tagged guest: hostapd and wpa_supplicant on
// three simulated radios of Debian's kernel.
func TestRadioInTheTwin(t *testing.T) {
	twintest.Run(t, twintest.Package{
		Import: "sekisho/netcontain/wifi", Tags: "guest", Run: "^TestRadio",
		Modules: []string{"mac80211_hwsim", "bridge", "veth", "ccm", "ctr", "cmac", "gcm", "aes_generic", "algif_hash", "af_packet"},
		Debian:  []string{"hostapd", "wpasupplicant"},
		Timeout: 5 * time.Minute, MemoryMiB: 512,
	})
}
