package incident

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
)

func found(at time.Time, detector string, c detect.Confidence) detect.Finding {
	score := map[detect.Confidence]float64{detect.Low: .6, detect.Medium: .93, detect.High: .999}[c]
	return detect.Finding{Time: at, First: at.Add(-time.Second), Last: at, Detector: detector, Score: score, Confidence: c,
		Explain: detect.Text{EN: "It did things.", JA: "動作がありました。"}}
}

// letGo does everything that the gate asks for, and releases.
func letGo(d *Desk, id string, at time.Time) Incident {
	i, _ := d.Get(id)
	for _, it := range i.Missing() {
		d.Apply(id, Input{Kind: InTick, At: at, By: "web:sato", Item: it.Key})
	}
	c, _ := d.Apply(id, Input{Kind: InRelease, At: at, By: "web:sato"})
	return c.Incident
}

func last(c []Change) Incident { return c[len(c)-1].Incident }

func TestOnlyHighActsByItself(t *testing.T) {
	for c, want := range map[detect.Confidence]Action{detect.Low: None, detect.Medium: Suggest, detect.High: AutoIsolate} {
		d := NewDesk(DefaultPolicy())
		if i := last(d.Observe(noon, found(noon, "worm", c), device(1), 50)); i.Action != want {
			t.Errorf("%s: %s, want %s", c, i.Action, want)
		}
	}
}

// Live, findings reach the desk after their packet.
func TestAFindingIsWorthItsBandHoweverLongItWaited(t *testing.T) {
	for c, want := range map[detect.Confidence]Action{detect.Low: None, detect.Medium: Suggest, detect.High: AutoIsolate} {
		d := NewDesk(DefaultPolicy())
		f := found(noon, "worm", c)
		f.Score = .5 // the weakest of each band
		if i := last(d.Observe(noon.Add(time.Second), f, device(1), 50)); i.Action != want || i.Confidence != c {
			t.Errorf("%s: %s %s, want %s", c, i.Confidence, i.Action, want)
		}
	}
}

func TestIsolationComesBeforeEverythingElse(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	c := d.Observe(noon, found(noon, "worm", detect.High), device(1), 50)[0]
	want := []Command{SetLevel{Isolate}, FreezeEvidence{noon.Add(-time.Second)}, Notify{NoticeContaining}}
	if diff := cmp.Diff(want, c.Commands); diff != "" {
		t.Error(diff)
	}
	if c.Incident.Decision.By != ByAuto || c.Incident.State != Containing {
		t.Errorf("%+v", c.Incident.Decision)
	}
}

func TestEvidenceAddsUpAsDocumented(t *testing.T) {
	const l, m = detect.Low, detect.Medium
	for _, c := range []struct {
		bands []detect.Confidence
		want  detect.Confidence
	}{
		{[]detect.Confidence{l}, l}, {[]detect.Confidence{m}, m}, {[]detect.Confidence{m, m}, m},
		{[]detect.Confidence{m, m, m}, detect.High}, {[]detect.Confidence{m, l, l, l, l, l, l, l}, m},
		{[]detect.Confidence{l, l, l, l, l, l, l, l, l, l, l, l}, m}, // at most
	} {
		d := NewDesk(Policy{})
		var i Incident
		for n, b := range c.bands {
			i = last(d.Observe(noon, found(noon, fmt.Sprint("d", n), b), device(1), 50))
		}
		if i.Confidence != c.want {
			t.Errorf("%v: %s (%.4f), want %s", c.bands, i.Confidence, i.Score, c.want)
		}
	}
}

// Detectors that see one deed are one witness, however many speak.
func TestOneCauseSeenByManyDetectorsNeverIsolates(t *testing.T) {
	for name, c := range map[string]struct {
		detectors []string
		want      Action
	}{
		"a telephone's network finder":      {[]string{"arp_scan", "host_scan", "port_scan", "decoy_touch", "flood"}, Suggest},
		"a home router plugged in wrongly":  {[]string{"rogue_dhcp", "rogue_ra", "arp_spoof", "mac_conflict", "name_spoof"}, Suggest},
		"a backup to a box of one's own":    {[]string{"beacon", "tls_anomaly", "exfiltration", "c2_channel"}, Suggest},
		"an inventory with an old password": {[]string{"brute_force", "lateral_movement", "host_scan"}, Suggest},
		"a port that the owner opened":      {[]string{"new_service", "policy", "cleartext_credentials", "new_asset"}, Suggest},
		"an intruder at work":               {[]string{"lateral_movement", "c2_channel", "host_scan"}, AutoIsolate},
		"a listed address, a rhythm, files": {[]string{"ioc_match", "beacon", "smb_ransom"}, AutoIsolate},
	} {
		d := NewDesk(DefaultPolicy())
		var i Incident
		for _, detector := range c.detectors {
			i = last(d.Observe(noon, found(noon, detector, detect.Medium), device(1), 50))
		}
		if i.Action != c.want {
			t.Errorf("%s: %s (%.4f), want %s", name, i.Action, i.Score, c.want)
		}
	}
}

func TestRepetitionIsNoNewEvidence(t *testing.T) {
	d := NewDesk(Policy{})
	var i Incident
	for n := range 100 {
		at := noon.Add(time.Duration(n) * time.Second)
		i = last(d.Observe(at, found(at, "worm", detect.Medium), device(1), 50))
	}
	if i.Confidence != detect.Medium || len(i.Findings) != 1 || i.Findings[0].Count != 100 || len(i.History) != 1 {
		t.Errorf("%s, %d findings, %d lines", i.Confidence, len(i.Findings), len(i.History))
	}
}

func TestOldEvidenceFades(t *testing.T) {
	d := NewDesk(Policy{})
	d.Observe(noon, found(noon, "a", detect.Medium), device(1), 50)
	d.Observe(noon, found(noon, "b", detect.Medium), device(1), 50)
	later := noon.Add(3 * time.Hour)
	if i := last(d.Observe(later, found(later, "c", detect.Medium), device(1), 50)); i.Confidence != detect.Medium {
		t.Errorf("hours apart they still make %s (%.4f)", i.Confidence, i.Score)
	}
}

func TestAQuestionWaitsForItsAnswer(t *testing.T) {
	d := NewDesk(Policy{})
	d.Observe(noon, found(noon, "a", detect.Medium), device(1), 50)
	later := noon.Add(20 * time.Hour)
	d.Observe(later, found(later, "b", detect.Low), device(1), 50)
	d.Advance(noon.Add(1000 * time.Hour))
	if s, ok := d.Suspect(); !ok || s.Why.EN != "It did things." {
		t.Errorf("the suspect went away unanswered: %+v", s.Why)
	}
}

func TestWhoIsNotIsolatedByPolicy(t *testing.T) {
	with := func(f func(*asset.Asset)) asset.Asset { a := device(1); f(&a); return a }
	for name, c := range map[string]struct {
		a    asset.Asset
		p    Policy
		want Action
	}{
		"the gateway":       {with(func(a *asset.Asset) { a.Gateway = true }), DefaultPolicy(), None},
		"the uplink":        {device(1), Policy{AutoIsolate: true, Never: []asset.ID{device(1).ID}}, None},
		"a router":          {with(func(a *asset.Asset) { a.Router = true }), DefaultPolicy(), Suggest},
		"a protected one":   {with(func(a *asset.Asset) { a.Protected = true }), DefaultPolicy(), Suggest},
		"a listed one":      {device(1), Policy{AutoIsolate: true, Protected: []asset.ID{device(1).ID}}, Suggest},
		"from outside":      {with(func(a *asset.Asset) { a.Addrs = []netip.Addr{netip.MustParseAddr("198.51.100.7")} }), DefaultPolicy(), None},
		"when switched off": {device(1), Policy{}, Suggest},
	} {
		i := last(NewDesk(c.p).Observe(noon, found(noon, "worm", detect.High), c.a, 50))
		if i.Action != c.want || i.State != Open {
			t.Errorf("%s: %s, %s", name, i.Action, i.State)
		}
	}
}

func TestAListedDeviceIsAskedForTwiceBeforeTheInventoryKnowsIt(t *testing.T) {
	d := NewDesk(Policy{AutoIsolate: true, Protected: []asset.ID{device(1).ID}})
	if c := d.Request(noon, device(1), Isolate, "web:sato", ""); c.Incident.State != Open || c.Incident.Guard != GuardTwice {
		t.Fatalf("the first request: %s, guard %q", c.Incident.State, c.Incident.Guard)
	}
	if c := d.Request(noon, device(1), Isolate, "web:sato", ""); c.Incident.State != Containing {
		t.Errorf("the second request: %s", c.Incident.State)
	}
}

func TestAHeldDeviceWithoutARecordStaysHeld(t *testing.T) {
	with := func(f func(*asset.Asset)) asset.Asset { a := device(1); f(&a); return a }
	for name, c := range map[string]struct {
		a     asset.Asset
		level Level
		want  State
	}{
		"an ordinary one": {device(1), Isolate, Containing},
		"a limited one":   {device(1), Limit, Containing},
		"a protected one": {with(func(a *asset.Asset) { a.Protected = true }), Isolate, Containing},
		"a router":        {with(func(a *asset.Asset) { a.Router = true }), Isolate, Containing},
		"the gateway":     {with(func(a *asset.Asset) { a.Gateway = true }), Isolate, Open},
	} {
		change := NewDesk(DefaultPolicy()).Adopt(noon, c.a, c.level)
		i := change.Incident
		if i.State != c.want {
			t.Errorf("%s: %s", name, i.State)
		}
		if c.want != Containing {
			if len(change.Commands) != 0 {
				t.Errorf("%s: %v", name, change.Commands)
			}
			continue
		}
		if i.Decision.By != ByGateway || i.Level != c.level || change.Commands[0] != (SetLevel{c.level}) || i.Why.EN == "" || i.Why.JA == "" {
			t.Errorf("%s: by %q at %s, %v", name, i.Decision.By, i.Level, change.Commands)
		}
	}
}

func TestBusinessHoursStepDownToLimit(t *testing.T) {
	hours, err := ParseHours("09:00-18:00", time.FixedZone("JST", 9*3600))
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[time.Time]Level{noon: Isolate, noon.Add(14 * time.Hour): Limit} { // 21:00 and 11:00 in Tokyo
		d := NewDesk(Policy{AutoIsolate: true, Business: hours})
		if i := last(d.Observe(at, found(at, "worm", detect.High), device(1), 50)); i.Level != want {
			t.Errorf("%s: %s", at, i.Level)
		}
	}
	night, _ := ParseHours("22:00-06:00", nil)
	if !night.Contain(noon.Add(11*time.Hour)) || night.Contain(noon) || (Hours{}).Contain(noon) {
		t.Error("hours past midnight, or no hours, are read wrongly")
	}
	for _, bad := range []string{"9", "09:00", "09:00-25:00", "a-b"} {
		if _, err := ParseHours(bad, nil); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestTheBreakerStopsTheThirdHostAndSaysSo(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	high := func(at time.Time, n byte) Incident {
		return last(d.Observe(at, found(at, "worm", detect.High), device(n), 50))
	}
	high(noon, 1)
	high(noon, 2)
	third := high(noon, 3)
	if third.Action != Suggest || third.State != Open || !strings.Contains(third.Why.EN, "circuit breaker") || !strings.Contains(third.Why.JA, "安全装置") {
		t.Fatalf("%s: %+v", third.Action, third.Why)
	}
	// It holds over a restart.
	again := NewDesk(DefaultPolicy())
	again.Restore(noon.Add(time.Minute), d.Incidents())
	at := noon.Add(2 * time.Minute)
	if i := last(again.Observe(at, found(at, "worm", detect.High), device(4), 50)); i.Action != Suggest {
		t.Errorf("after a restart: %s", i.Action)
	}
	if i := high(noon.Add(11*time.Minute), 3); i.State != Containing {
		t.Errorf("after the window: %s", i.State)
	}
}

func TestADeviceSeenOnTwoPortsIsForAPersonToJudge(t *testing.T) {
	framed := device(1)
	framed.Port, framed.MovedFrom, framed.Moved = "lan2", "lan1", noon.Add(-10*time.Minute)
	d := NewDesk(DefaultPolicy())
	i := last(d.Observe(noon, found(noon, "worm", detect.High), framed, 50))
	if i.Action != Suggest || i.State != Open {
		t.Fatalf("%s, %s", i.Action, i.State)
	}
	for _, why := range []string{i.Why.EN, i.Why.JA} {
		if !strings.Contains(why, "lan1") || !strings.Contains(why, "lan2") {
			t.Errorf("%q does not name both ports", why)
		}
	}
	// The breaker's two isolations are still there.
	for n := byte(2); n < 4; n++ {
		if i := last(d.Observe(noon, found(noon, "worm", detect.High), device(n), 50)); i.State != Containing {
			t.Errorf("device %d: %s", n, i.State)
		}
	}
	// Who stays on one port for long enough is judged as usual.
	at := noon.Add(time.Hour)
	if i := last(NewDesk(DefaultPolicy()).Observe(at, found(at, "worm", detect.High), framed, 50)); i.State != Containing {
		t.Errorf("an hour after it moved: %s", i.State)
	}
	// A person is not stopped.
	if c := d.Request(noon, framed, Isolate, "web:sato", ""); c.Incident.State != Containing {
		t.Errorf("a person's word led to %s", c.Incident.State)
	}
}

func TestASmallOfficeLosesAtMostAFifthOfItsDevices(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	for n, want := range []Action{AutoIsolate, Suggest} {
		if i := last(d.Observe(noon, found(noon, "worm", detect.High), device(byte(n)), 6)); i.Action != want {
			t.Errorf("device %d of 6: %s", n, i.Action)
		}
	}
	// Held devices count for as long as they are held, not for ten minutes.
	at := noon.Add(time.Hour)
	if i := last(d.Observe(at, found(at, "worm", detect.High), device(9), 6)); i.Action != Suggest {
		t.Errorf("an hour later: %s", i.Action)
	}
}

func TestAPressMeansTheMostUrgentSuspect(t *testing.T) {
	d := NewDesk(Policy{})
	if _, ok := d.Suspect(); ok {
		t.Error("an empty desk has a suspect")
	}
	d.Observe(noon, found(noon, "a", detect.Low), device(1), 50)
	d.Observe(noon.Add(1*time.Second), found(noon, "a", detect.Medium), device(2), 50)
	d.Observe(noon.Add(2*time.Second), found(noon, "a", detect.High), device(3), 50)
	d.Observe(noon.Add(3*time.Second), found(noon, "a", detect.High), device(4), 50)
	var order []byte
	for _, i := range d.Waiting() {
		order = append(order, i.Asset.MAC[5])
	}
	if diff := cmp.Diff([]byte{3, 4, 2}, order); diff != "" {
		t.Error(diff)
	}
	if s, _ := d.Suspect(); s.Asset.MAC[5] != 3 {
		t.Errorf("suspect is %s", s.Asset.ID)
	}
}

func TestARelapseEndsOneIncidentAndOpensTheNext(t *testing.T) {
	d := NewDesk(Policy{})
	id := last(d.Observe(noon, found(noon, "worm", detect.High), device(1), 50)).ID
	for _, k := range []Kind{InPress, InApplied, InProven} {
		d.Apply(id, sample(k))
	}
	letGo(d, id, noon.Add(time.Minute))
	at := noon.Add(time.Hour)
	c := d.Observe(at, found(at, "worm", detect.High), device(1), 50)
	if len(c) != 2 || c[0].Incident.State != Closed || c[1].Incident.Previous != id || !c[1].Incident.Waiting() {
		t.Fatalf("%d changes: %+v", len(c), c)
	}
}

func TestTimeRunsOut(t *testing.T) {
	d := NewDesk(Policy{})
	id := d.Request(noon, device(1), Isolate, "web:sato", "").Incident.ID
	low := last(d.Observe(noon, found(noon, "a", detect.Low), device(2), 50)).ID
	if c := d.Advance(noon.Add(30 * time.Second)); len(c) != 0 {
		t.Fatalf("too early: %v", c)
	}
	if c := d.Advance(noon.Add(31 * time.Second)); len(c) != 1 || c[0].Incident.ID != id || c[0].Incident.State != ContainFailed {
		t.Fatalf("no proof in time: %+v", c)
	}
	letGo(d, id, noon.Add(time.Minute))
	d.Advance(noon.Add(100 * time.Hour))
	if i, _ := d.Get(id); i.State != Closed {
		t.Errorf("probation ended in %s", i.State)
	}
	if i, _ := d.Get(low); i.State != Dismissed {
		t.Errorf("what needed nobody is %s", i.State)
	}
}

func TestABootDoesNotUseUpTheTimeOfTheProof(t *testing.T) {
	before := NewDesk(Policy{})
	ordered := before.Request(noon, device(1), Isolate, "web:sato", "").Incident
	boot := noon.Add(5 * time.Minute)
	d := NewDesk(Policy{})
	d.Restore(boot, before.Incidents())
	if c := d.Advance(boot.Add(30 * time.Second)); len(c) != 0 {
		t.Fatalf("failed right after the boot: %+v", c[0].Incident.State)
	}
	if i, _ := d.Get(ordered.ID); !i.HeldFrom().Equal(noon) {
		t.Errorf("the order is said to be of %s", i.HeldFrom())
	}
	if c := d.Advance(boot.Add(31 * time.Second)); len(c) != 1 || c[0].Incident.State != ContainFailed {
		t.Errorf("no proof after the boot: %+v", c)
	}
}

func TestAFailedSealIsOrderedAgainEveryTenMinutes(t *testing.T) {
	d := NewDesk(Policy{})
	id := d.Request(noon, device(1), Isolate, "web:sato", "").Incident.ID
	for _, k := range []Kind{InApplied, InProven} {
		d.Apply(id, sample(k))
	}
	if c := d.Advance(noon.Add(time.Hour)); len(c) != 0 {
		t.Fatalf("ordered again while the first seal runs: %v", c)
	}
	lines := 0
	for n := range 3 {
		failed := noon.Add(time.Duration(n+2) * time.Hour)
		c, _ := d.Apply(id, Input{Kind: InSealFailed, At: failed, Note: "no space left on device"})
		if lines == 0 {
			lines = len(c.Incident.History)
		}
		if c := d.Advance(failed.Add(resealAfter - time.Second)); len(c) != 0 {
			t.Fatalf("too early: %v", c)
		}
		again := d.Advance(failed.Add(resealAfter))
		if len(again) != 1 || len(again[0].Commands) != 1 || again[0].Commands[0] != (SealBundle{}) || again[0].Incident.ID != id {
			t.Fatalf("try %d: %+v", n, again)
		}
		if c := d.Advance(failed.Add(3 * resealAfter)); len(c) != 0 {
			t.Fatalf("ordered again while one runs: %v", c)
		}
	}
	if i, _ := d.Get(id); len(i.History) != lines {
		t.Errorf("%d lines of history, %d after the first failure", len(i.History), lines)
	}
	d.Apply(id, Input{Kind: InSealed, At: noon.Add(6 * time.Hour), Note: "/bundles/x"})
	d.Apply(id, Input{Kind: InSealFailed, At: noon.Add(6 * time.Hour)})
	if c := d.Advance(noon.Add(9 * time.Hour)); len(c) != 0 {
		t.Errorf("ordered although there is a bundle: %v", c)
	}
}

func TestADismissedAlarmComesBackOnlyWhenItIsHigh(t *testing.T) {
	for band, want := range map[detect.Confidence]Action{detect.Medium: None, detect.High: Suggest} {
		d := NewDesk(DefaultPolicy())
		i := last(d.Observe(noon, found(noon, "worm", band), device(1), 50))
		if _, err := d.Apply(i.ID, sample(InDismiss)); err != nil {
			t.Fatal(err)
		}
		at := noon.Add(time.Hour)
		if i := last(d.Observe(at, found(at, "worm", band), device(1), 50)); i.Action != want {
			t.Errorf("%s again: %s, want %s", band, i.Action, want)
		}
		if i := last(d.Observe(at, found(at, "arp_spoof", detect.High), device(1), 50)); i.Action != AutoIsolate {
			t.Errorf("something new after a dismissal: %s", i.Action)
		}
	}
}

func TestAStrangerCannotFillTheDesk(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	held := last(d.Observe(noon, found(noon, "worm", detect.High), device(1), 50)).ID
	for n := range 2 * maxIncidents {
		a := asset.Asset{ID: asset.ID(fmt.Sprint("ip:", n)), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})}}
		at := noon.Add(time.Duration(n+1) * time.Second)
		d.Observe(at, found(at, "worm", detect.Low), a, 50)
	}
	if n := len(d.Incidents()); n != maxIncidents || d.Evicted() != maxIncidents+1 {
		t.Errorf("%d incidents, %d evicted", n, d.Evicted())
	}
	if _, ok := d.Get(held); !ok {
		t.Error("the held device was forgotten")
	}
}

func TestJSONRoundTripKeepsTheAddress(t *testing.T) {
	i := last(NewDesk(DefaultPolicy()).Observe(noon, found(noon, "worm", detect.High), device(1), 50))
	b, err := json.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	var back Incident
	if err := json.Unmarshal(b, &back); err != nil || back.Asset.MAC != i.Asset.MAC || back.ID != "20261123-120000-ab01" {
		t.Errorf("%v: %s %s", err, back.Asset.MAC, back.ID)
	}
	line, _ := json.Marshal(i.Line())
	for _, want := range []string{`"type":"incident"`, `"action":"auto_isolate"`, `"detectors":["worm"]`, `"mac":"02:00:00:00:ab:01"`, `"why_ja":"動作`} {
		if !strings.Contains(string(line), want) {
			t.Errorf("%s lacks %s", line, want)
		}
	}
}

// walk drives a desk with whatever rapid draws and calls check after each step.
func walk(rt *rapid.T, check func(before map[string]Incident, c Change, in Kind, by string)) *Desk {
	d := NewDesk(DefaultPolicy())
	now := noon
	devices := []asset.Asset{device(0), device(1), device(2), device(3), device(4)}
	devices[0].Gateway, devices[1].Protected, devices[2].Router = true, true, true
	for range rapid.IntRange(1, 120).Draw(rt, "steps") {
		now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(rt, "seconds")) * time.Second)
		before := map[string]Incident{}
		all := d.Incidents()
		for _, i := range all {
			before[i.ID] = i
		}
		var changes []Change
		kind, by := InFinding, ""
		if len(all) == 0 || rapid.Bool().Draw(rt, "observe") {
			a := rapid.SampledFrom(devices).Draw(rt, "device")
			band := rapid.SampledFrom([]detect.Confidence{detect.Low, detect.Medium, detect.High}).Draw(rt, "band")
			name := rapid.SampledFrom([]string{"worm", "arp_scan", "arp_spoof", "decoy_touch"}).Draw(rt, "detector")
			changes = d.Observe(now, found(now, name, band), a, rapid.IntRange(0, 60).Draw(rt, "active"))
		} else {
			kind = rapid.SampledFrom(Kinds()).Draw(rt, "kind")
			by = rapid.SampledFrom([]string{"", ByButton, "web:sato", ByPolicy, ByAuto}).Draw(rt, "by")
			input := sample(kind)
			input.At, input.By, input.Item = now, by, rapid.SampledFrom(items).Draw(rt, "item").Key
			c, err := d.Apply(rapid.SampledFrom(all).Draw(rt, "incident").ID, input)
			if err != nil {
				rt.Fatal(err)
			}
			changes = []Change{c}
		}
		for _, c := range changes {
			check(before, c, kind, by)
		}
	}
	return d
}

func TestPropertiesOfAnyHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var auto []Change
		walk(rt, func(before map[string]Incident, c Change, kind Kind, by string) {
			i := c.Incident
			if i.Asset.Gateway && i.State.Held() {
				rt.Fatal("the gateway is held")
			}
			if (i.Asset.Protected || i.Asset.Router) && i.State.Held() && !before[i.ID].State.Held() && (kind == InFinding || kind == InAuto) {
				rt.Fatal("a guarded device was held by policy")
			}
			if before[i.ID].State.Held() && !i.State.Held() {
				person := kind == InRelease || kind == InDismiss || kind == InUndo || kind == InDeadline && by == ByPolicy
				if kind == InRelease && len(i.Missing()) > 0 {
					rt.Fatal("released before everything was done")
				}
				if kind == InDismiss && (i.State != Probation || len(before[i.ID].Unasked()) > 0) {
					rt.Fatalf("a false alarm let it go into %s, unasked: %v", i.State, before[i.ID].Unasked())
				}
				if !person || !strings.Contains(fmt.Sprint(c.Commands), "release") {
					rt.Fatalf("let go by %s of %q with %v", kind, by, c.Commands)
				}
			}
			if len(i.History) > maxHistory || len(i.Findings) > maxObservations {
				rt.Fatal("unbounded")
			}
			if kind == InFinding && i.State == Containing && before[i.ID].State != Containing && !before[i.ID].State.Held() && i.Previous == "" { // a relapse needs no free place
				auto = append(auto, c)
			}
		})
		for n, c := range auto {
			hosts := map[asset.ID]bool{}
			for _, other := range auto[:n+1] {
				if c.Incident.Decision.At.Sub(other.Incident.Decision.At) <= 10*time.Minute {
					hosts[other.Incident.Asset.ID] = true
				}
			}
			if len(hosts) > 2 {
				rt.Fatalf("%d hosts within ten minutes", len(hosts))
			}
		}
	})
}

func TestTheSameFindingsGiveTheSameBytes(t *testing.T) {
	play := func() string {
		d := NewDesk(DefaultPolicy())
		for n := range 200 {
			at := noon.Add(time.Duration(n*7) * time.Second)
			band := []detect.Confidence{detect.Low, detect.Medium, detect.Medium, detect.High}[n%4]
			d.Observe(at, found(at, fmt.Sprint("d", n%5), band), device(byte(n%11)), 40)
		}
		b, err := json.Marshal(d.Incidents())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if first := play(); first != play() {
		t.Error("two runs differ")
	}
}

func TestFamiliesNameDetectorsThatThereAre(t *testing.T) {
	names := detect.New(detect.Config{}).Names()
	for name := range families {
		if !slices.Contains(names, name) {
			t.Errorf("no detector is called %s", name)
		}
	}
}

func TestAPersonsReasonForHoldingAQuietDeviceIsKept(t *testing.T) {
	d := NewDesk(Policy{})
	i := d.Request(noon, device(1), Limit, "web:sato", "the vendor telephoned").Incident
	last := i.History[len(i.History)-1]
	if i.State != Containing || i.Level != Limit || !strings.HasSuffix(i.Why.EN, ": the vendor telephoned") || !strings.HasSuffix(i.Why.JA, "：the vendor telephoned") ||
		last.Note != "the vendor telephoned" || last.By != "web:sato" || i.Decision.Why != i.Why {
		t.Errorf("%+v, history %+v", i, last)
	}
	if i = d.Request(noon, device(1), Isolate, "web:sato", "it is worse").Incident; i.Level != Isolate || !strings.HasSuffix(i.Why.EN, ": the vendor telephoned") ||
		i.History[len(i.History)-1].Note != "it is worse" {
		t.Errorf("raised: %+v", i)
	}
	gateway := device(2)
	gateway.Gateway = true
	if d.Untouchable(device(1)) || !d.Untouchable(gateway) {
		t.Error("who may never be held")
	}
}
