package gateway

import (
	"path/filepath"
	"testing"

	"sekisho/firmware/evidence"
	"sekisho/firmware/incident"
)

func TestOnePressIsolatesTheNamedHostAndAReleaseBringsItBack(t *testing.T) {
	o := newOffice(t)
	o.start(t)
	neighbour, internet := o.witness(t, 3), o.witness(t, 0)
	stop := o.attack(t, 1)
	await(t, "the attack to be seen by others", func() bool { return neighbour.count(1) > 0 && internet.count(1) > 0 })
	o.press(t, 1)
	i := o.awaitIncident(t, 1, "contained and proven", proven)
	outBefore := internet.count(1)
	o.silent(t, neighbour, 2, 1) // the attack goes on all the time
	if n := internet.count(1); n != outBefore {
		t.Errorf("%d frames of the isolated host reached the internet", n-outBefore)
	}
	if !o.inKernel(t, 1) || o.inKernel(t, 2) {
		t.Error("the kernel holds somebody else than the named host")
	}
	talk(t, o.hosts[2], o.hosts[3], hostIP(3))
	talk(t, o.hosts[4], o.inet, outside)

	i = o.awaitIncident(t, 1, "sealed", func(i incident.Incident) bool { return i.Bundle != "" })
	bundle := i.Bundle
	if !filepath.IsAbs(bundle) {
		bundle = filepath.Join(o.config.Storage.Evidence, bundle)
	}
	report, err := evidence.Verify(bundle, evidence.VerifyOptions{})
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	if report.ID != i.ID {
		t.Errorf("the bundle is of incident %s, want %s", report.ID, i.ID)
	}

	stop()
	o.release(t, i.ID)
	o.awaitIncident(t, 1, "on probation", func(i incident.Incident) bool { return i.State == incident.Probation })
	o.heard(t, neighbour, 1)
	o.heard(t, internet, 1)
	await(t, "rules that hold nobody", func() bool { return !o.inKernel(t, 1) })
}
