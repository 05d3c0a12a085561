package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sekisho/firmware/incident"
)

func TestAnUndoneIsolationIsOutOfTheKernelAndNotRepeated(t *testing.T) {
	o := newOffice(t)
	alone(&o.config)
	o.start(t)
	for i := 1; i <= hosts; i++ {
		talk(t, o.hosts[i], o.inet, outside)
	}
	stop := o.attack(t, 1)
	i := o.awaitIncident(t, 1, "contained by itself", proven)
	if !i.Undoable() || !strings.Contains(i.Automatic.Allowed.EN, "device 1 of at most 2") {
		t.Errorf("%+v", i.Automatic)
	}
	if err := o.post("/api/incidents/"+i.ID+"/undo", map[string]string{"by": "Sato"}); err != nil {
		t.Fatal(err)
	}
	await(t, "the host to be out of the kernel", func() bool { return !o.inKernel(t, 1) })
	talk(t, o.hosts[1], o.inet, outside)
	talk(t, o.hosts[1], o.hosts[4], hostIP(4))
	// The attack goes on, as long as it takes to isolate another that does the same.
	o.attack(t, 2)
	o.awaitIncident(t, 2, "contained by itself", proven)
	if now, _ := o.incidentOf(1); now.ID != i.ID || !now.Waiting() || o.inKernel(t, 1) {
		t.Errorf("the undone one is %s (%s)", now.State, now.Why.EN)
	}
	var l incident.Limits
	if err := o.get("/api/limits", &l); err != nil || l.Used != 2 || !l.Full() {
		t.Errorf("%v: the breaker says %+v", err, l)
	}
	o.press(t, 1) // a person may decide otherwise
	o.awaitIncident(t, 1, "contained by a person", proven)
	stop()
}

func TestAHostGoesBackThroughTheGateAndARelapseIsHeldAtOnce(t *testing.T) {
	o := newOffice(t)
	alone(&o.config)
	o.config.Policy.MaxHosts = 1
	o.start(t)
	for i := 1; i <= hosts; i++ {
		talk(t, o.hosts[i], o.inet, outside)
	}
	stop := o.attack(t, 1)
	first := o.awaitIncident(t, 1, "contained by itself", proven)
	stop()
	o.release(t, first.ID)
	back := o.awaitIncident(t, 1, "in probation", func(i incident.Incident) bool { return i.State == incident.Probation })
	if back.Until.IsZero() || o.inKernel(t, 1) {
		t.Errorf("until %s, in the kernel: %v", back.Until, o.inKernel(t, 1))
	}
	talk(t, o.hosts[1], o.inet, outside)
	o.attack(t, 2) // a stranger would take the breaker's only place
	o.awaitIncident(t, 2, "left to a person by the breaker", func(i incident.Incident) bool {
		return i.Waiting() && strings.Contains(i.Why.EN, "circuit breaker")
	})
	// Another service: what the first attack left in the detectors does not count.
	o.flood(t, 1, func(n int) [][]byte { return [][]byte{loginFrame(hostMAC(1), hostIP(1), n)} })
	again := o.awaitIncident(t, 1, "contained again by itself", func(i incident.Incident) bool { return i.ID != first.ID && proven(i) })
	if again.Previous != first.ID || again.Decision.By != incident.ByAuto {
		t.Errorf("previous %q, by %q", again.Previous, again.Decision.By)
	}
	if got := fmt.Sprint(again.Automatic.Allowed.EN); !strings.Contains(got, "watched after its return") {
		t.Errorf("allowed: %s", got)
	}
}

func TestAHeldHostIsLoweredRaisedAndLetGoThroughTheGate(t *testing.T) {
	o := newOffice(t)
	o.start(t)
	for i := 1; i <= hosts; i++ {
		talk(t, o.hosts[i], o.inet, outside)
	}
	stop := o.attack(t, 1)
	o.press(t, 1)
	i := o.awaitIncident(t, 1, "contained by a person", proven)
	stop()
	limited := func(i incident.Incident) bool {
		return i.State == incident.Contained && i.Level == incident.Limit && i.Proof.Grade == incident.Limited
	}
	step := func(deed string) {
		t.Helper()
		if err := o.post("/api/incidents/"+i.ID+"/"+deed, map[string]string{"by": "Sato", "note": "payroll"}); err != nil {
			t.Fatal(err)
		}
	}
	step("lower")
	o.awaitIncident(t, 1, "limited", limited)
	if !o.inKernel(t, 1) {
		t.Error("a limited host is not in the kernel")
	}
	if err := o.post("/api/incidents/"+i.ID+"/lower", map[string]string{"by": "Sato", "note": "more"}); err == nil {
		t.Error("lowered past the return gate")
	}
	if err := o.post("/api/incidents/"+i.ID+"/tick", map[string]string{"by": "Sato", "item": "nonsense"}); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an item that is not on the list: %v", err)
	}
	step("isolate")
	o.awaitIncident(t, 1, "isolated again", proven)
	step("lower")
	o.awaitIncident(t, 1, "limited again", limited)
	o.release(t, i.ID)
	await(t, "the host to be out of the kernel", func() bool { return !o.inKernel(t, 1) })
	talk(t, o.hosts[1], o.hosts[4], hostIP(4))
}

func TestAFalseAlarmIsLetGoOnceSomebodyAgreedAndIsWatched(t *testing.T) {
	o := newOffice(t)
	o.start(t)
	stop := o.attack(t, 1)
	o.press(t, 1)
	i := o.awaitIncident(t, 1, "contained by a person", proven)
	stop()
	word := map[string]string{"by": "Sato", "note": "the vendor's scanner"}
	if err := o.post("/api/incidents/"+i.ID+"/dismiss", word); err == nil || !strings.Contains(err.Error(), `"missing":["agreed"]`) {
		t.Errorf("nobody was asked: %v", err)
	}
	if err := o.post("/api/incidents/"+i.ID+"/tick", map[string]string{"by": "Tanaka", "item": "agreed"}); err != nil {
		t.Fatal(err)
	}
	if err := o.post("/api/incidents/"+i.ID+"/dismiss", word); err != nil {
		t.Fatal(err)
	}
	await(t, "the host to be out of the kernel", func() bool { return !o.inKernel(t, 1) })
	var back incident.Incident // what was in the air may have begun another one by now
	if err := o.get("/api/incidents/"+i.ID, &back); err != nil {
		t.Fatal(err)
	}
	watched := slices.ContainsFunc(back.History, func(tr incident.Transition) bool {
		return tr.Input == incident.InDismiss && tr.To == incident.Probation && tr.By == "web:Sato"
	})
	if !watched || back.Until.IsZero() || back.Lesson.Kind != incident.Harmless || !back.Lesson.About("host_scan") && !back.Lesson.About("worm") {
		t.Errorf("%s until %s, lesson %+v", back.State, back.Until, back.Lesson)
	}
}
