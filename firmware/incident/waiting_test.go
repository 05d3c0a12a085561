package incident

import (
	"slices"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

func TestAPressRaisesTheLimitedOneWhenNobodyElseWaits(t *testing.T) {
	d := NewDesk(Policy{})
	for n, c := range []detect.Confidence{detect.Medium, detect.High} {
		id := last(d.Observe(noon, found(noon, "a", c), device(byte(n)), 50)).ID
		for _, k := range []Kind{InRequest, InApplied} {
			input := sample(k)
			input.Level = Limit
			d.Apply(id, input)
		}
	}
	if s, ok := d.Suspect(); !ok || s.Asset.MAC[5] != 1 || len(d.Waiting()) != 0 {
		t.Errorf("suspect is %s, %d wait", s.Asset.ID, len(d.Waiting()))
	}
	d.Observe(noon, found(noon, "a", detect.Medium), device(2), 50)
	if s, _ := d.Suspect(); s.Asset.MAC[5] != 2 {
		t.Errorf("a limited device came before one that waits: %s", s.Asset.ID)
	}
}

// stranger is a device that a single forged frame invents.
func stranger(n int) asset.Asset {
	mac := flow.MAC{2, 0x66, 0, byte(n >> 16), byte(n >> 8), byte(n)}
	return asset.Asset{ID: asset.ID("mac:" + mac.String()), MAC: mac, Kind: asset.KindUnknown}
}

func TestInventedSuspectsDoNotBuryTheOneThatMatters(t *testing.T) {
	d := NewDesk(Policy{})
	held := last(d.Observe(noon, found(noon, "worm", detect.Medium), device(1), 50)).ID
	d.Apply(held, sample(InPress))
	real := last(d.Observe(noon, found(noon, "worm", detect.High), device(2), 50)).ID
	journal := map[string]Incident{}
	for n := range 5000 {
		at := noon.Add(time.Duration(n+1) * time.Millisecond)
		for _, c := range d.Observe(at, found(at, "arp_spoof", detect.Medium), stranger(n), 50) {
			journal[c.Incident.ID] = c.Incident
			if c.Incident.State != Dismissed {
				continue
			}
			line := c.Incident.History[len(c.Incident.History)-1]
			if line.Note != "made room" || !slices.Contains(c.Commands, Command(UnpinEvidence{})) {
				t.Fatalf("it went by %+v with %v", line, c.Commands)
			}
		}
	}
	waiting := 0
	for id, i := range journal {
		if i.Waiting() {
			waiting++
			if now, ok := d.Get(id); !ok || !now.Waiting() {
				t.Fatalf("%s waits in the journal, not on the desk", id)
			}
		}
	}
	if w := d.Waiting(); len(w) != maxWaiting || waiting != maxWaiting-1 || len(d.Incidents()) > maxIncidents {
		t.Errorf("%d wait, %d in the journal, %d in all", len(w), waiting+1, len(d.Incidents()))
	}
	if s, _ := d.Suspect(); s.ID != real {
		t.Errorf("a press means %s", s.ID)
	}
	if i, _ := d.Get(held); i.State != Containing {
		t.Errorf("the held device is %s", i.State)
	}
	if want := uint64(5000 + 1 - maxWaiting); d.Evicted() < want {
		t.Errorf("%d evicted, at least %d were", d.Evicted(), want)
	}
}

func TestASuspectDoesNotLoseItsPlaceToEquals(t *testing.T) {
	d := NewDesk(Policy{})
	first := last(d.Observe(noon, found(noon, "arp_spoof", detect.Medium), stranger(0), 50)).ID
	for n := range 2 * maxWaiting {
		at := noon.Add(time.Duration(n+1) * time.Second)
		d.Observe(at, found(at, "arp_spoof", detect.Medium), stranger(n+1), 50)
		if s, _ := d.Suspect(); s.ID != first {
			t.Fatalf("after %d others a press means another", n+1)
		}
	}
}

func TestRestoreMakesRoomToo(t *testing.T) {
	var kept []Incident
	for n := range maxWaiting + 3 {
		i := last(NewDesk(Policy{}).Observe(noon, found(noon, "arp_spoof", detect.Medium), stranger(n), 50))
		kept = append(kept, i)
	}
	d := NewDesk(Policy{})
	dismissed := 0
	for _, c := range d.Restore(noon.Add(time.Minute), kept) {
		if c.Incident.State == Dismissed {
			dismissed++
		}
	}
	if dismissed != 3 || len(d.Waiting()) != maxWaiting {
		t.Errorf("%d dismissed, %d wait", dismissed, len(d.Waiting()))
	}
}

func TestAListHandedOutStaysAsItWas(t *testing.T) {
	d := NewDesk(Policy{})
	d.Observe(noon, found(noon, "a", detect.Medium), device(1), 50)
	all, waiting := d.Incidents(), d.Waiting()
	d.Apply(all[0].ID, sample(InPress))
	d.Observe(noon, found(noon, "a", detect.Medium), device(2), 50)
	if len(all) != 1 || all[0].State != Open || waiting[0].State != Open || len(d.Incidents()) != 2 || len(d.Waiting()) != 1 {
		t.Errorf("%s, %s; now %d and %d", all[0].State, waiting[0].State, len(d.Incidents()), len(d.Waiting()))
	}
}

func TestLookingAtTheDeskCostsNothing(t *testing.T) {
	d := flooded(2 * maxWaiting)
	d.Suspect()
	if n := testing.AllocsPerRun(100, func() { d.Incidents(); d.Waiting(); d.Suspect() }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func flooded(devices int) *Desk {
	d := NewDesk(Policy{})
	for n := range devices {
		at := noon.Add(time.Duration(n) * time.Millisecond)
		d.Observe(at, found(at, "arp_spoof", detect.Medium), stranger(n), 50)
	}
	return d
}

// BenchmarkBeat is what the gateway asks of the desk every 250 ms after 5,000
// suspects were invented.
func BenchmarkBeat(b *testing.B) {
	d := flooded(5000)
	for n := 0; b.Loop(); n++ {
		at := noon.Add(time.Minute + time.Duration(n)*time.Millisecond)
		d.Observe(at, found(at, "arp_spoof", detect.Medium), stranger(n), 50)
		d.Advance(at)
		d.Incidents()
		d.Waiting()
		d.Suspect()
	}
}
