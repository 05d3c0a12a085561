package gateway

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"

	"sekisho/firmware/asset"
	"sekisho/firmware/config"
	"sekisho/firmware/drill"
	"sekisho/firmware/evidence"
	"sekisho/firmware/incident"
)

// latestDrill is the newest drill, as the page knows it.
func (o *office) latestDrill() (d drill.Drill) {
	var all struct{ Drills []drill.Drill }
	if o.get("/api/drills", &all) == nil && len(all.Drills) > 0 {
		d = all.Drills[0]
	}
	return d
}

func (o *office) startDrill(t *testing.T) {
	t.Helper()
	if err := o.post("/api/drill", map[string]string{"by": "Sato"}); err != nil {
		t.Fatal(err)
	}
}

// awaitDrill waits until the newest drill is in a state, and has the incident that
// it is about.
func (o *office) awaitDrill(t *testing.T, s drill.State) (drill.Drill, incident.Incident) {
	t.Helper()
	var d drill.Drill
	await(t, "a drill that is "+string(s), func() bool {
		if d = o.latestDrill(); d.State == drill.Ended && s != drill.Ended {
			t.Fatalf("the drill ended: %s, %s", d.Outcome, d.Note)
		}
		return d.State == s
	})
	var i incident.Incident
	if d.Incident != "" {
		if err := o.get("/api/incidents/"+d.Incident, &i); err != nil {
			t.Fatal(err)
		}
	}
	return d, i
}

// pressDrill does what a person does: looks at the screen, and presses.
func (o *office) pressDrill(t *testing.T) {
	t.Helper()
	_, i := o.awaitDrill(t, drill.Asking)
	var p struct {
		State, Target string
		Drill         bool
	}
	await(t, "the panel to name the drill's device", func() bool {
		return o.get("/api/panel", &p) == nil && p.State == "attention" && p.Target == i.ID
	})
	if !p.Drill {
		t.Error("the panel does not say that it is a drill")
	}
	if err := o.post("/api/press", map[string]string{"gesture": "short", "target": p.Target}); err != nil {
		t.Fatal(err)
	}
}

// inSets says whether any set of the kernel's rules has the address.
func (o *office) inSets(t *testing.T, mac string) (found bool) {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	o.gw.Do(t, func() {
		c := &nftables.Conn{}
		tables, err := c.ListTables()
		for _, table := range tables {
			sets, _ := c.GetSets(table)
			for _, set := range sets {
				elements, _ := c.GetSetElements(set)
				found = found || slices.ContainsFunc(elements, func(e nftables.SetElement) bool { return bytes.HasPrefix(e.Key, hw) })
			}
		}
		if err != nil || len(tables) == 0 {
			t.Errorf("%d tables, %v", len(tables), err)
		}
	})
	return found
}

// nothingLeft looks for whatever a drill makes, in the kernel and on the page.
func (o *office) nothingLeft(t *testing.T, mac string) {
	t.Helper()
	await(t, "ports of a drill to go", func() bool { return !strings.Contains(o.gw.Run(t, "ip -o link"), "drill") })
	if o.inSets(t, mac) {
		t.Errorf("the kernel still holds %s", mac)
	}
	if p, err := os.ReadFile(policyPath(o.config.Storage.State)); err != nil || strings.Contains(string(p), mac) {
		t.Errorf("the policy file still knows it: %v\n%s", err, p)
	}
	var all struct{ Devices []asset.Asset }
	if err := o.get("/api/devices", &all); err != nil {
		t.Fatal(err)
	}
	for _, a := range all.Devices {
		if strings.HasSuffix(string(a.ID), mac) {
			t.Errorf("the page lists the drill's device: %+v", a)
		}
	}
}

// countsTheOfficeAlone checks that the device of the drill that runs is in no list and
// no percentage.
func (o *office) countsTheOfficeAlone(t *testing.T) {
	t.Helper()
	mac := o.latestDrill().Device.MAC
	if mac == "" {
		t.Fatal("the drill has no device")
	}
	for n := 1; n <= hosts; n++ { // all of them are devices
		o.send(t, n, outFrame(n))
	}
	await(t, "the office's devices to be counted, and only those", func() bool {
		var all struct{ Devices []asset.Asset }
		var l incident.Limits
		if o.get("/api/devices", &all) != nil || o.get("/api/limits", &l) != nil {
			return false
		}
		n := 0
		for _, a := range all.Devices {
			if strings.HasSuffix(string(a.ID), mac) {
				t.Fatal("the page lists the drill's device")
			}
			if !a.Gateway {
				n++
			}
		}
		return n == hosts && l.Active == hosts && l.Used == 0 && l.Held == 0
	})
}

// overhear keeps what a host receives from addresses of drills, by itself: no part
// of the product.
func (o *office) overhear(t *testing.T, host int) func() [][]byte {
	t.Helper()
	w := o.witness(t, host)
	return func() [][]byte { w.mu.Lock(); defer w.mu.Unlock(); return w.drilled }
}

func TestADrillFromTheStartToTheSealedBundle(t *testing.T) {
	o := newOffice(t)
	alone(&o.config) // by itself it would isolate whoever does this
	p := o.start(t)
	heard := [](func() [][]byte){o.overhear(t, 2), o.overhear(t, 3), o.overhear(t, 0)}
	o.startDrill(t)
	if err := o.post("/api/drill", map[string]string{"by": "Sato"}); err == nil || !strings.Contains(err.Error(), "drill_running") {
		t.Errorf("a second drill: %v", err)
	}
	o.pressDrill(t)
	o.countsTheOfficeAlone(t)
	d, i := o.awaitDrill(t, drill.Ended)
	if d.Outcome != drill.Passed || d.By != "web:Sato" || d.PressedBy != incident.ByPage {
		t.Fatalf("the drill: %+v", d)
	}
	for name, f := range map[string]func() (time.Duration, bool){"detection": d.Detection, "reaction": d.Reaction, "isolation": d.Isolation} {
		took, known := f()
		t.Logf("%s took %v", name, took)
		if !known || took > time.Minute {
			t.Errorf("%s took %v, %v", name, took, known)
		}
	}
	if !i.Drill || i.State != incident.Closed || i.Decision.By != incident.ByPage || i.Proof.Grade != incident.Proven || i.Lesson.Holds() {
		t.Errorf("the incident: drill %v, %s by %q, %s", i.Drill, i.State, i.Decision.By, i.Proof.Grade)
	}
	if a := i.Asset; a.Name != "Drill device" || a.Port != d.Device.Port || "mac:"+d.Device.MAC != string(a.ID) {
		t.Errorf("the incident is about %+v", a)
	}
	o.nothingLeft(t, d.Device.MAC)
	report, err := evidence.Verify(d.Bundle, evidence.VerifyOptions{})
	if err != nil || !report.Drill || report.Packets == 0 {
		t.Errorf("verify: %v, drill %v, %d packets", err, report.Drill, report.Packets)
	}
	for _, e := range report.Entries {
		if strings.HasPrefix(e.Action, "incident.") && e.Detail["drill"] != true {
			t.Errorf("the ledger does not say of %s that it was a drill", e.Action)
		}
	}
	for n, frames := range heard {
		for _, f := range frames() {
			if binary.BigEndian.Uint16(f[12:]) != 0x0806 || f[0] != 0xff {
				t.Errorf("listener %d was sent % x", n, f)
			}
		}
		if k := len(frames()); k > 4 || n < 2 && k == 0 || n == 2 && k > 0 {
			t.Errorf("listener %d heard %d broadcasts", n, k)
		}
	}
	var everything struct{ Incidents []incident.Incident }
	if err := o.get("/api/incidents", &everything); err != nil || len(everything.Incidents) != 1 {
		t.Errorf("%d incidents, %v", len(everything.Incidents), err)
	}
	o.startDrill(t) // and again, after which a restart knows both
	if err := o.post("/api/drill/stop", map[string]string{"by": "Suzuki"}); err != nil {
		t.Fatal(err)
	}
	if s, _ := o.awaitDrill(t, drill.Ended); s.Outcome != drill.Stopped || s.Note != "web:Suzuki" || s.ID == d.ID {
		t.Errorf("the stopped drill: %+v", s)
	}
	await(t, "ports of a drill to go", func() bool { return !strings.Contains(o.gw.Run(t, "ip -o link"), "drill") })
	p.stop(t)
	o.start(t)
	var all struct{ Drills []drill.Drill }
	if err := o.get("/api/drills", &all); err != nil || len(all.Drills) != 2 || all.Drills[1].ID != d.ID || all.Drills[1].Bundle != filepath.Clean(d.Bundle) {
		t.Errorf("after a restart: %v, %+v", err, all.Drills)
	}
}

func TestAPowerCutInADrillLeavesNothingBehind(t *testing.T) {
	o := newOffice(t)
	o.config.Evidence.After = config.Duration(time.Minute) // sealing waits
	p := o.start(t)
	for _, cut := range []struct {
		when  drill.State
		rules bool // go too, as with the power
		reach func()
	}{
		{drill.Asking, true, func() { o.awaitDrill(t, drill.Asking) }},
		{drill.Sealing, false, func() { o.pressDrill(t); o.awaitDrill(t, drill.Sealing) }},
	} {
		o.startDrill(t)
		cut.reach()
		was := o.latestDrill()
		p.kill()
		await(t, "the kernel to take the drill's ports away", func() bool { return !strings.Contains(o.gw.Run(t, "ip -o link"), "drill") })
		if cut.rules {
			o.gw.Do(t, func() { c := &nftables.Conn{}; c.FlushRuleset(); c.Flush() }) //nolint:errcheck
		} else if !o.inSets(t, was.Device.MAC) {
			t.Error("the kernel let the device go with the process")
		}
		p = o.start(t)
		d, i := o.awaitDrill(t, drill.Ended)
		if d.ID != was.ID || d.Outcome != drill.Interrupted || i.State != incident.Closed || !i.Drill {
			t.Errorf("%s: drill %s %s, incident %s", cut.when, d.ID, d.Outcome, i.State)
		}
		o.nothingLeft(t, was.Device.MAC)
	}
}

func TestWhatIsRealGoesBeforeADrill(t *testing.T) {
	o := newOffice(t)
	o.start(t)
	refused := func(why drill.Refusal) {
		t.Helper()
		if err := o.post("/api/drill", map[string]string{"by": "Sato"}); err == nil || !strings.Contains(err.Error(), "drill_"+string(why)) {
			t.Errorf("start: %v, want %s", err, why)
		}
	}
	if err := o.post("/api/drill/stop", map[string]string{"by": "Sato"}); err == nil || !strings.Contains(err.Error(), "drill_idle") {
		t.Errorf("stopped what does not run: %v", err)
	}
	o.startDrill(t)
	_, asked := o.awaitDrill(t, drill.Asking)
	stop := o.attack(t, 1)
	d, i := o.awaitDrill(t, drill.Ended)
	if d.Outcome != drill.Yielded || i.ID != asked.ID || i.State != incident.Closed {
		t.Errorf("drill %s, its incident %s", d.Outcome, i.State)
	}
	o.press(t, 1) // the panel names the real one
	held := o.awaitIncident(t, 1, "contained and proven", proven)
	if held.Drill {
		t.Error("the real incident counts as a drill")
	}
	o.nothingLeft(t, d.Device.MAC)
	refused(drill.RefusedIncident)
	stop()
	o.release(t, held.ID)
	for _, on := range []bool{true, false} {
		if err := o.post("/api/lockdown", map[string]any{"on": on, "by": "Sato"}); err != nil {
			t.Fatal(err)
		}
		if on {
			refused(drill.RefusedLockdown)
		}
	}
}

// A stranger that sends with the address of the drill's device is judged like any
// other device, and the drill is over.
func TestWhoeverCopiesTheDrillsAddressIsNoDrill(t *testing.T) {
	o := newOffice(t)
	o.start(t)
	o.startDrill(t)
	d, asked := o.awaitDrill(t, drill.Asking)
	hw, err := net.ParseMAC(d.Device.MAC)
	if err != nil {
		t.Fatal(err)
	}
	mac := [6]byte(hw)
	o.flood(t, 2, func(n int) [][]byte { return [][]byte{probeFrame(mac, hostIP(2), n)} })
	if d, _ = o.awaitDrill(t, drill.Ended); d.Outcome != drill.Copied {
		t.Errorf("the drill: %s", d.Outcome)
	}
	await(t, "a real incident of the copied address", func() bool {
		var all struct{ Incidents []incident.Incident }
		if o.get("/api/incidents", &all) != nil {
			return false
		}
		for _, i := range all.Incidents {
			if i.Asset.MAC == mac && i.ID != asked.ID {
				if i.Drill {
					t.Fatal("the stranger's incident counts as a drill")
				}
				if name := deviceName(i.Asset); name == drillName.EN || name == drillName.JA {
					t.Fatalf("the lamp asks about the stranger as %q", name)
				}
				return i.Waiting()
			}
		}
		return false
	})
}
