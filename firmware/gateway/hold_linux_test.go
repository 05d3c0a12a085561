package gateway

import (
	"encoding/hex"
	"strings"
	"testing"

	"sekisho/firmware/incident"
)

// deviceOf is the path of a host in the list of devices.
func deviceOf(mac [6]byte) string {
	var text []string
	for _, b := range mac {
		text = append(text, hex.EncodeToString([]byte{b}))
	}
	return "/api/devices/mac:" + strings.Join(text, ":")
}

func TestAQuietHostIsHeldFromTheListOfDevicesAndReleasedThroughTheGate(t *testing.T) {
	o := newOffice(t)
	p := o.start(t)
	for i := 1; i <= hosts; i++ {
		talk(t, o.hosts[i], o.inet, outside)
	}
	neighbour := o.witness(t, 3)
	wish := map[string]string{"by": "Sato", "note": "the vendor telephoned"}
	await(t, "the host to be listed", func() bool { return o.device(hostMAC(1)).Port == "lan1" })
	if err := o.post(deviceOf(hostMAC(1))+"/limit", wish); err != nil {
		t.Fatal(err)
	}
	limited := o.awaitIncident(t, 1, "limited", func(i incident.Incident) bool { return i.State == incident.Contained && i.Level == incident.Limit })
	if !strings.Contains(limited.Why.EN, "the vendor telephoned") || limited.Decision.By != "web:Sato" || len(limited.Findings) != 0 {
		t.Errorf("%+v", limited)
	}
	if err := o.post(deviceOf(hostMAC(1))+"/isolate", wish); err != nil {
		t.Fatal(err)
	}
	i := o.awaitIncident(t, 1, "contained and proven", proven)
	if i.ID != limited.ID || i.Level != incident.Isolate {
		t.Errorf("%s at %s, was %s", i.ID, i.Level, limited.ID)
	}
	o.silent(t, neighbour, 2, 1)
	talk(t, o.hosts[2], o.hosts[3], hostIP(3)) // the office works on

	// Never the gateway itself, and no incident remains of the wish.
	var before, after struct{ Incidents []incident.Incident }
	if err := o.get("/api/incidents", &before); err != nil {
		t.Fatal(err)
	}
	mac := [6]byte{2, 0, 0, 0, 0, 0xfe} // gatewayMAC
	await(t, "the gateway to be listed", func() bool { return o.device(mac).Gateway })
	for _, deed := range []string{"/isolate", "/limit"} {
		if err := o.post(deviceOf(mac)+deed, wish); err == nil || !strings.Contains(err.Error(), "409") {
			t.Errorf("%s of the gateway: %v", deed, err)
		}
	}
	if err := o.post(deviceOf([6]byte{2, 0, 0, 0, 7, 7})+"/isolate", wish); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a device that nobody knows: %v", err)
	}
	if err := o.get("/api/incidents", &after); err != nil || len(after.Incidents) != len(before.Incidents) {
		t.Errorf("%v: %d incidents, were %d", err, len(after.Incidents), len(before.Incidents))
	}

	p.kill() // it was journalled
	again := o.start(t)
	o.awaitIncident(t, 1, "contained and proven", proven)
	o.silent(t, neighbour, 2, 1)
	o.freed(t, neighbour)
	talk(t, o.hosts[1], o.inet, outside)
	again.stop(t)
	for _, want := range []string{"device.limit", "device.isolate", "incident.request"} {
		if !o.logged(t, want) {
			t.Errorf("the ledger does not have %s", want)
		}
	}
}
