package gateway

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/drill"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
	"sekisho/firmware/ledger"
	"sekisho/hal"
)

// practice is a drill that began at and went well after took; otherwise nobody pressed.
func practice(at time.Time, took time.Duration) drill.Drill {
	d := drill.New(at, "web:Sato", time.Minute)
	for _, in := range []drill.Input{{Kind: drill.InReady}, {Kind: drill.InDetected, Incident: "i-" + d.ID}, {Kind: drill.InShown}} {
		in.At = at
		d, _ = drill.Step(d, in)
	}
	if took == 0 {
		d, _ = drill.Step(d, drill.Input{Kind: drill.InTick, At: at.Add(time.Hour)})
		return d
	}
	for _, k := range []drill.Kind{drill.InPressed, drill.InProven, drill.InSealed} {
		d, _ = drill.Step(d, drill.Input{Kind: k, At: at.Add(took), Bundle: "/b"})
	}
	return d
}

func TestThePanelNamesTheLastDrillThatWasCarriedThrough(t *testing.T) {
	at := time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	g := &Gateway{}
	s := hal.Status{Now: at}
	if g.practised(&s); !s.LastDrill.IsZero() || s.DrillTook != 0 {
		t.Errorf("never practised: %v, %v", s.LastDrill, s.DrillTook)
	}
	g.drill.past = []drill.Drill{practice(at, 41*time.Second), practice(at.Add(24*time.Hour), 14*time.Second), practice(at.Add(48*time.Hour), 0)}
	g.practised(&s)
	if want := at.Add(24*time.Hour + 14*time.Second); !s.LastDrill.Equal(want) || s.DrillTook != 14*time.Second {
		t.Errorf("%v, %v, want %v", s.LastDrill, s.DrillTook, want)
	}
}

// What detectors say of a device that is gone is no news; what they say of somebody
// who uses its address is.
func TestAnEchoOfADrillIsToldFromSomebodyReal(t *testing.T) {
	ended := time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	mac := flow.MAC{2, 0x53, 0x4b, 1, 2, 4}
	g := &Gateway{drill: exercise{gone: []echo{{mac, "drill0", ended}}}}
	for name, c := range map[string]struct {
		first time.Time
		host  asset.Asset
		mac   flow.MAC
		over  bool
	}{
		"judged late":             {ended.Add(-time.Minute), asset.Asset{MAC: mac, Port: "drill0"}, mac, true},
		"judged when forgotten":   {ended.Add(-time.Second), asset.Asset{}, mac, true},
		"began afterwards":        {ended.Add(time.Minute), asset.Asset{}, mac, false},
		"seen on another port":    {ended.Add(-time.Minute), asset.Asset{MAC: mac, Port: "lan2"}, mac, false},
		"was on another port too": {ended.Add(-time.Minute), asset.Asset{MAC: mac, Port: "drill0", MovedFrom: "lan2"}, mac, false},
		"somebody else":           {ended.Add(-time.Minute), asset.Asset{Port: "drill0"}, flow.MAC{2, 0x53, 0x4b, 1, 2, 6}, false},
	} {
		f := detect.Finding{First: c.first, Host: detect.Host{MAC: c.mac}}
		if over := g.ofDrill(t.Context(), sighting{f, c.host}); over != c.over {
			t.Errorf("%s: over %v", name, over)
		}
	}
}

// The tracker speaks once more of calls that nobody answered, a minute after the
// device is gone: it must not become one of the office's.
func TestADeviceOfADrillIsForgottenAsOftenAsSomethingSpeaksOfIt(t *testing.T) {
	at := time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	now := at.Add(time.Second)
	mac, stranger := flow.MAC{2, 0x53, 0x4b, 1, 2, 4}, flow.MAC{2, 0x53, 0x4b, 1, 2, 6}
	g := &Gateway{parts: Parts{Pipeline: NewPipeline(PipelineConfig{})}, now: func() time.Time { return now }}
	g.drill.gone = []echo{{mac, "drill0", at}, {stranger, "drill0", at}}
	g.hideDummies()
	seen := func() {
		g.parts.Pipeline.inventory.Restore([]asset.Asset{
			{ID: macID(mac), MAC: mac, Port: "drill0", FirstSeen: now, LastSeen: now},
			{ID: macID(stranger), MAC: stranger, Port: "lan2", FirstSeen: now, LastSeen: now},
		})
	}
	known := func(id asset.ID) bool { _, ok := g.parts.Pipeline.inventory.Get(id); return ok }
	seen()
	g.forgetDummies() // its last frames may be on their way
	if !known(macID(mac)) {
		t.Error("forgotten before its last frame was read")
	}
	if all := g.Devices(); len(all) != 1 || all[0].MAC != stranger || g.active(now) != 1 {
		t.Errorf("listed %v, %d active", all, g.active(now))
	}
	for _, later := range []time.Duration{4 * time.Second, 80 * time.Second, 5 * time.Minute} {
		now = at.Add(later)
		seen()
		if g.forgetDummies(); known(macID(mac)) || !known(macID(stranger)) {
			t.Errorf("after %v: the drill's device known %v, a stranger with a drill's address %v", later, known(macID(mac)), known(macID(stranger)))
		}
	}
	now = at.Add(echoFor + time.Second)
	g.forgetDummies()
	if seen(); len(g.Devices()) != 2 || len(g.drill.gone) != 0 {
		t.Errorf("an address is hidden for ever: %v", g.Devices())
	}
}

// The device of a drill has one Ethernet address. Whatever looks like another of its
// own is somebody's of the office, and must never be held for practice.
func TestNobodyIsHeldAlongWithTheDeviceOfADrill(t *testing.T) {
	at := time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	mac, colleague := flow.MAC{2, 0x53, 0x4b, 1, 2, 4}, flow.MAC{2, 0, 0, 0, 0, 2}
	for _, drilled := range []bool{false, true} {
		p := NewPipeline(PipelineConfig{LAN: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
		g := &Gateway{parts: Parts{Pipeline: p}, now: func() time.Time { return at }, desk: incident.NewDesk(incident.Policy{})}
		says(p, at, mac, "192.0.2.200")
		if drilled {
			g.desk.Rehearse(macID(mac))
		}
		a, _ := p.inventory.ByMAC(mac)
		held := g.desk.Request(at, a, incident.Isolate, "web:Sato", "").Incident
		says(p, at.Add(10*time.Minute), colleague, "192.0.2.200") // switched on, with the same address by hand
		if _, along := g.kinOf(held); along == drilled {
			t.Errorf("a drill %v: somebody else is held along %v", drilled, along)
		}
	}
}

// still makes a device that is never plugged in: its first frame may be out when
// the gateway loses power, and nothing more is known of it.
type still struct{}

func (still) New() (Dummy, error) { return still{}, nil }
func (still) MAC() [6]byte        { return [6]byte{2, 0x53, 0x4b, 1, 2, 4} }
func (still) Port() string        { return "drill0" }
func (still) Plug(ctx context.Context) (drill.Device, error) {
	<-ctx.Done()
	return drill.Device{}, ctx.Err()
}
func (still) Run(context.Context, func(time.Time)) error { return nil }
func (still) Close() error                               { return nil }

// onCore does what only the core may.
func (r *records) onCore(deed func()) {
	done := make(chan struct{})
	r.requests <- func() { defer close(done); deed() }
	<-done
}

// preparing is a gateway on which a drill has just been started.
func preparing(t *testing.T) *records {
	t.Helper()
	r := newRecords(t)
	r.parts.Pipeline, r.parts.Dummies, r.entries = NewPipeline(PipelineConfig{}), still{}, make(chan ledger.Entry, 16)
	within, stop := context.WithCancel(context.Background())
	t.Cleanup(func() {
		r.onCore(func() { r.stopDrill(within, "web:Sato") }) //nolint:errcheck // it may have ended
		stop()
		r.work.Wait()
	})
	if d, err := r.startDrill(within, "web:Sato"); err != nil || d.State != drill.Preparing {
		t.Fatalf("%v, %s", err, d.State)
	}
	return r
}

func TestADeviceOfADrillIsOnRecordBeforeItIsPluggedIn(t *testing.T) {
	r := preparing(t)
	inventory := r.parts.Pipeline.inventory
	colleague := asset.Asset{ID: "mac:02:00:00:00:00:02", MAC: flow.MAC{2, 0, 0, 0, 0, 2}, Port: "lan2"}
	inventory.Restore([]asset.Asset{{ID: macID(still{}.MAC()), MAC: still{}.MAC(), Port: "drill0"}, colleague}) // as after a power cut
	r.restoreDrills(t.Context())
	if all := inventory.All(); len(all) != 1 || all[0].ID != colleague.ID {
		t.Errorf("after the start the office has %v", all)
	}
	inventory.Restore([]asset.Asset{{ID: macID(still{}.MAC()), MAC: still{}.MAC(), Port: "drill0"}})
	if r.restoreDrills(t.Context()); len(inventory.All()) != 0 { // it had ended, and was about to be forgotten
		t.Errorf("a drill that is over leaves %v", inventory.All())
	}
	inventory.Restore([]asset.Asset{{ID: macID(still{}.MAC()), MAC: still{}.MAC(), Port: "lan2", MovedFrom: "drill0"}})
	if r.restoreDrills(t.Context()); len(inventory.All()) != 1 {
		t.Error("a stranger that used the address is forgotten")
	}
}

// Its first question who has an address tells everybody the device's own. Whoever
// sends with it then is not part of the drill.
func TestADrillKnowsAStrangerWhileItIsBeingPrepared(t *testing.T) {
	r := preparing(t)
	stranger := asset.Asset{ID: macID(still{}.MAC()), MAC: still{}.MAC(), Port: "lan2"}
	r.parts.Pipeline.inventory.Restore([]asset.Asset{stranger})
	f := detect.Finding{First: start, Host: detect.Host{MAC: stranger.MAC}}
	r.onCore(func() {
		if r.ofDrill(t.Context(), sighting{f, stranger}) || r.drill.now.Running() || r.drill.past[0].Outcome != drill.Copied {
			t.Errorf("what the stranger does counts as practice: %+v", r.drill.now)
		}
	})
	if all := r.Devices(); len(all) != 1 {
		t.Errorf("the page lists %v", all)
	}
}

// A small gateway has no battery for its clock: the time is learnt from the network,
// perhaps in the middle of a drill.
func TestAClockThatIsSetChangesNoReactionAndEndsNoDrill(t *testing.T) {
	for _, set := range []time.Duration{time.Hour, -time.Hour} {
		r := preparing(t)
		r.onCore(func() {
			d := &r.drill.now
			for n, k := range []drill.Kind{drill.InReady, drill.InDetected, drill.InShown, drill.InTick, drill.InPressed} {
				if k == drill.InTick { // the times so far are what the clock said before it was set
					d.Started, d.Since, d.Shown = d.Started.Add(-set), d.Since.Add(-set), d.Shown.Add(-set)
				}
				r.stepDrill(t.Context(), drill.Input{Kind: k, At: r.at.Add(time.Duration(n) * time.Second)})
			}
			if took, known := d.Reaction(); took != 2*time.Second || !known || d.State != drill.Isolating {
				t.Errorf("set by %v: %s after %v, %v", set, d.State, took, known)
			}
			if end, _ := d.Deadline(); end.Sub(d.Started) > 2*time.Minute {
				t.Errorf("set by %v: it lasts until %v after the start", set, end.Sub(d.Started))
			}
		})
	}
}

// blank is a panel that nobody looks at.
type blank struct{ hal.Panel }

func (blank) Show(hal.Status) {}

func TestPacketsThatAPowerCutKeptPinnedAreGivenBack(t *testing.T) {
	r := newRecords(t)
	r.parts.Pipeline, r.parts.Panel, r.entries = NewPipeline(PipelineConfig{}), blank{}, make(chan ledger.Entry, 16)
	r.recorded = map[string]int{}
	all := []incident.Incident{
		{ID: "a-drill", Drill: true, State: incident.Closed},
		{ID: "nothing", State: incident.Dismissed},
		{ID: "asked", State: incident.Open, Action: incident.Suggest, Frozen: r.at},
		{ID: "unsealed", State: incident.Closed},
	}
	for n, i := range all {
		i.Opened, i.Updated, i.Asset.ID = r.at, r.at, asset.ID("mac:02:00:00:00:00:0"+string(rune('0'+n)))
		if err := errors.Join(r.parts.Store.SaveIncident(t.Context(), i), r.parts.Spool.Pin(i.ID, r.at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.parts.Spool.Pin("of-a-lost-database", r.at); err != nil {
		t.Fatal(err)
	}
	if err := r.takeUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.work.Wait()
	if kept := slices.Sorted(slices.Values(r.parts.Spool.Pins())); !slices.Equal(kept, []string{"asked", "of-a-lost-database", "unsealed"}) {
		t.Errorf("pinned after the start: %v", kept)
	}
}
