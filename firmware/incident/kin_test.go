package incident

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
)

// related is device n as kin of another one.
func related(n byte, follows bool) asset.Kin {
	a := device(n)
	return asset.Kin{ID: a.ID, MAC: a.MAC, Follows: follows, Evidence: []string{asset.EvClientID}}
}

// heldWith is a desk where device 1 is held, with kin.
func heldWith(t *testing.T, kin ...asset.Kin) (*Desk, Incident) {
	t.Helper()
	d := NewDesk(DefaultPolicy())
	i := last(d.Observe(noon, found(noon, "worm", detect.High), device(1), 50))
	c, ok := d.Relate(noon, i.ID, kin)
	if !ok || !i.State.Held() || len(c.Commands) != 0 {
		t.Fatalf("%+v", c)
	}
	return d, c.Incident
}

func TestAFindingAboutAnotherAddressOfAHeldDeviceIsTheSameIncident(t *testing.T) {
	d, i := heldWith(t, related(2, true), related(3, false))
	at := noon.Add(time.Minute)
	got := last(d.Observe(at, found(at, "beacon", detect.Medium), device(2), 50))
	if got.ID != i.ID || got.Asset.ID != device(1).ID || len(got.Findings) != 2 {
		t.Errorf("incident %s of %s with %d observations", got.ID, got.Asset.ID, len(got.Findings))
	}
	if other := last(d.Observe(at, found(at, "beacon", detect.Medium), device(3), 50)); other.ID == i.ID {
		t.Error("a device that nobody said is the same came into its incident")
	}
	again := last(d.Observe(at, found(at, "worm", detect.High), device(1), 50))
	if again.ID != i.ID || len(again.Asset.Kin) != 2 {
		t.Errorf("a finding about the device itself lost its kin: %+v", again.Asset.Kin)
	}
	if c := d.Request(at, device(2), Isolate, "web:Sato", ""); c.Incident.ID != i.ID {
		t.Errorf("a person's wish went to incident %s", c.Incident.ID)
	}
}

func TestARelapseUnderAnotherAddressIsTheSameDevices(t *testing.T) {
	d, i := heldWith(t, related(2, true), related(4, true), related(3, false))
	i.State, i.Since = Probation, noon
	d.put(i)
	at := noon.Add(time.Hour)
	changes := d.Observe(at, found(at, "worm", detect.High), device(2), 50)
	if len(changes) != 2 || changes[0].Incident.ID != i.ID || changes[0].Incident.State != Closed {
		t.Fatalf("changes %+v", changes)
	}
	next := changes[1].Incident
	var with []asset.ID
	for _, k := range next.Asset.Kin {
		if k.Follows {
			with = append(with, k.ID)
		}
	}
	if next.Previous != i.ID || next.Asset.ID != device(2).ID || !next.State.Held() ||
		!slices.Equal(with, []asset.ID{device(1).ID, device(4).ID}) {
		t.Errorf("next: after %s, of %s, %s, with %v", next.Previous, next.Asset.ID, next.State, with)
	}
}

func TestInProbationAnotherPersonsDeviceIsNoLongerPartOfIt(t *testing.T) {
	d, i := heldWith(t, related(2, true), related(4, true))
	i.State, i.Since = Probation, noon
	d.put(i)
	at := noon.Add(time.Hour)
	if _, ok := d.Part(at, i.ID, func(id asset.ID) bool { return id == device(9).ID }); ok {
		t.Error("nothing was parted, and it is a change")
	}
	c, ok := d.Part(at, i.ID, func(id asset.ID) bool { return id == device(2).ID })
	if !ok || len(c.Incident.Asset.Kin) != 1 || len(c.Commands) != 0 {
		t.Fatalf("%v %+v", ok, c)
	}
	if got := d.Request(at, device(2), Isolate, "web:Sato", "").Incident; got.Asset.ID != device(2).ID {
		t.Errorf("a wish about device 2 holds %s", got.Asset.ID)
	}
	if back, _ := d.Get(i.ID); back.State != Probation {
		t.Errorf("and the one that was let go is %s", back.State)
	}
}

func TestADeviceIsHeldSinceItWasFirstStoppedWhateverItsLevelSince(t *testing.T) {
	i := in(t, Open)
	if !i.HeldSince().IsZero() {
		t.Error("never held")
	}
	at := func(k Kind, level Level, after time.Duration) {
		input := sample(k)
		input.At, input.Level = noon.Add(after), level
		i, _ = Step(i, input)
	}
	at(InRequest, Limit, time.Minute)
	at(InApplied, Limit, 2*time.Minute)
	at(InRequest, Isolate, time.Hour)
	if want := noon.Add(time.Minute); !i.HeldSince().Equal(want) || !i.Decision.At.Equal(noon.Add(time.Hour)) {
		t.Errorf("held since %v, decided %v", i.HeldSince(), i.Decision.At)
	}
	i = ticked(i)
	at(InRelease, "", 2*time.Hour)
	if !i.HeldSince().IsZero() {
		t.Errorf("released, and held since %v", i.HeldSince())
	}
	at(InPress, "", 3*time.Hour)
	if want := noon.Add(3 * time.Hour); !i.HeldSince().Equal(want) {
		t.Errorf("held anew since %v", i.HeldSince())
	}
}

func TestKinChangesNothingElseAndOutlivesTheStore(t *testing.T) {
	_, i := heldWith(t, related(2, true))
	text, err := json.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	var back Incident
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Asset.Kin) != 1 || back.Asset.Kin[0].MAC != device(2).MAC || !back.Asset.Kin[0].Follows {
		t.Errorf("kin %+v", back.Asset.Kin)
	}
	d := NewDesk(DefaultPolicy())
	d.put(Incident{ID: "over", State: Closed, Asset: device(1)})
	if _, ok := d.Relate(noon, "over", []asset.Kin{related(2, true)}); ok {
		t.Error("an incident that is over got kin")
	}
	if _, ok := d.Relate(noon, "none", nil); ok {
		t.Error("there is no such incident")
	}
}

func TestAnIncidentKeepsNoneOfTheInventorysOwnNotes(t *testing.T) {
	d := NewDesk(DefaultPolicy())
	a := device(1)
	a.Identity.Claims = []asset.Claim{{Key: "host:pc"}}
	for n, i := range []Incident{
		last(d.Observe(noon, found(noon, "worm", detect.High), a, 50)), last(d.Observe(noon, found(noon, "worm", detect.High), a, 50)),
	} {
		if !i.Asset.Identity.IsZero() {
			t.Errorf("%d: %+v", n, i.Asset.Identity)
		}
	}
}
