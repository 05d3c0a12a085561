package store

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sekisho/firmware/drill"
)

func TestADrillSurvivesAReopeningStepByStep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	d := drill.New(noon, "web:Sato", 0)
	for _, in := range []drill.Input{
		{Kind: drill.InReady, At: noon.Add(time.Second), Device: drill.Device{MAC: "02:53:4b:00:00:01", IP: netip.MustParseAddr("192.168.77.200"), Port: "drill0"}},
		{Kind: drill.InDetected, At: noon.Add(2 * time.Second), Incident: "20261123-120002-0001"},
		{Kind: drill.InStop, At: noon.Add(3 * time.Second), By: "web:Sato"},
	} {
		d, _ = drill.Step(d, in)
		s := mustOpen(t, path)
		must(t, s.SaveDrill(ctx, d))
		must(t, s.Close())
		s = mustOpen(t, path)
		got, err := s.Drills(ctx)
		must(t, err)
		must(t, s.Close())
		if diff := cmp.Diff([]drill.Drill{d}, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("after %s: %s", in.Kind, diff)
		}
	}
}

func TestTheOldestDrillsGoAndTheRunningOneStays(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "state.db"))
	running := drill.New(noon, "web:Sato", 0) // the oldest: somebody set the clock
	must(t, s.SaveDrill(ctx, running))
	for n := range maxDrills + 3 {
		d := drill.New(noon.Add(time.Duration(n+1)*time.Hour), fmt.Sprint("web:", n), 0)
		d, _ = drill.Step(d, drill.Input{Kind: drill.InStop, At: noon})
		must(t, s.SaveDrill(ctx, d))
	}
	got, err := s.Drills(ctx)
	must(t, err)
	if len(got) != maxDrills+1 || got[0].ID != running.ID || got[1].By != "web:3" {
		t.Errorf("%d are kept, first %s, then by %s", len(got), got[0].ID, got[1].By)
	}
}
