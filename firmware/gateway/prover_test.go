package gateway

import (
	"maps"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
	"sekisho/netcontain"
)

func TestWhoSharesAPortIsRememberedOvernight(t *testing.T) {
	device := func(last byte, port string, first, seen time.Duration) asset.Asset {
		return asset.Asset{MAC: flow.MAC{0, 0, 0x5e, 0, 0x53, last}, Port: port, FirstSeen: start.Add(-first), LastSeen: start.Add(-seen)}
	}
	mac := func(last byte) netcontain.MAC { return netcontain.MAC{0, 0, 0x5e, 0, 0x53, last} }
	ports := map[netcontain.MAC]string{mac(1): "lan1"}
	neighbours(ports, []asset.Asset{
		device(1, "lan2", 720*time.Hour, 0),            // the bridge knows better
		device(2, "lan1", 720*time.Hour, 12*time.Hour), // off tonight
		device(3, "lan1", time.Minute, 0),              // invented just now, perhaps
		device(4, "lan1", 9000*time.Hour, 800*time.Hour),
		device(5, "", 720*time.Hour, 0),
		device(6, "lan1", -24*time.Hour, -24*time.Hour), // the clock went back at the start
	}, start)
	want := map[netcontain.MAC]string{mac(1): "lan1", mac(2): "lan1", mac(6): "lan1"}
	if !maps.Equal(ports, want) {
		t.Errorf("ports = %v, want %v", ports, want)
	}
}
