package gateway

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sekisho/firmware/config"
	"sekisho/firmware/detect"
	"sekisho/firmware/incident"
)

func spoke(detector string) func(incident.Incident) bool {
	return func(i incident.Incident) bool {
		for _, o := range i.Findings {
			if o.Detector == detector {
				return true
			}
		}
		return false
	}
}

func TestAListedAddressIsReportedUntilAPersonCallsItHarmless(t *testing.T) {
	o := newOffice(t)
	list := filepath.Join(t.TempDir(), "vendor.txt")
	if err := os.WriteFile(list, []byte(outside.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.config.Indicators = []config.IndicatorList{{Name: "vendor", File: list}}
	p := o.start(t)
	talk(t, o.hosts[2], o.inet, outside)
	i := o.awaitIncident(t, 2, "put to a person", incident.Incident.Waiting)
	if !spoke("ioc_match")(i) || i.Confidence != detect.Medium {
		t.Fatalf("incident %+v", i)
	}
	by := map[string]string{"by": "Sato", "note": "our own server"}
	if err := o.post("/api/incidents/"+i.ID+"/dismiss", by); err != nil {
		t.Fatal(err)
	}
	p.stop(t)
	o.start(t) // a lesson outlives the restart
	talk(t, o.hosts[2], o.inet, outside)
	again := o.awaitIncident(t, 2, "told of the list again", spoke("ioc_match"))
	if again.ID == i.ID || again.Waiting() {
		t.Errorf("incident %s is %s, %s: %s", again.ID, again.State, again.Action, again.Why.EN)
	}
	if err := o.post("/api/incidents/"+i.ID+"/unteach", by); err != nil {
		t.Fatal(err)
	}
	var first incident.Incident
	if err := o.get("/api/incidents/"+i.ID, &first); err != nil || first.Lesson.Holds() || first.Lesson.Kind != incident.Harmless {
		t.Errorf("lesson %+v, %v", first.Lesson, err)
	}
}

func TestAnAlertOfSuricataIsPutToAPerson(t *testing.T) {
	o := newOffice(t)
	o.config.Eve = config.Eve{File: filepath.Join(t.TempDir(), "eve.json"), Trust: "medium"}
	o.start(t)
	talk(t, o.hosts[3], o.inet, outside)
	line := fmt.Sprintf(`{"timestamp":%q,"event_type":"alert","src_ip":%q,"src_port":50000,"dest_ip":%q,"dest_port":443,"proto":"TCP","alert":{"signature_id":2000001,"rev":1,"signature":"an example","category":"Malware Command and Control Activity Detected","severity":1}}`,
		time.Now().Format("2006-01-02T15:04:05.000000-0700"), hostIP(3), outside)
	if err := os.WriteFile(o.config.Eve.File, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i := o.awaitIncident(t, 3, "put to a person", incident.Incident.Waiting)
	if !spoke("eve")(i) || i.Asset.MAC != hostMAC(3) {
		t.Errorf("incident %+v", i)
	}
}
