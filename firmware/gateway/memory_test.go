package gateway

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/config"
	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
	"sekisho/firmware/incident"
)

func restarted(t *testing.T, dir string) (*Pipeline, *opening) {
	t.Helper()
	o := &opening{config: config.Default(), log: slog.New(slog.DiscardHandler), faults: newFaults()}
	o.config.Storage.State = dir
	p := NewPipeline(PipelineConfig{Learn: time.Minute})
	o.recall(p)
	return p, o
}

func TestWhatWasLearntOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	p, _ := restarted(t, dir)
	frames := flowtest.Mix(20000, 1)
	for i := range frames {
		p.Frame(&frames[i])
	}
	g := &Gateway{log: slog.New(slog.DiscardHandler), faults: newFaults(), watcher: &watcher{memory: newMemory(dir)}}
	if err := g.watcher.memory.snapshot(p); err != nil {
		t.Fatal(err)
	}
	g.lastMemory()
	want, err := os.ReadFile(filepath.Join(dir, memoryName))
	if err != nil || len(want) < 200 {
		t.Fatalf("%d bytes were kept: %v", len(want), err)
	}
	p, o := restarted(t, dir)
	if err := o.faults.of("history"); err != nil {
		t.Fatal(err)
	}
	got, err := p.engine.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%d bytes were kept, %d came back", len(want), len(got))
	}
	want, err = os.ReadFile(filepath.Join(dir, usesName))
	if err != nil || len(want) < 200 {
		t.Fatalf("%d bytes of uses were kept: %v", len(want), err)
	}
	if got, err = p.uses.Snapshot(); err != nil || string(got) != string(want) {
		t.Errorf("%d bytes of uses were kept, %d came back: %v", len(want), len(got), err)
	}
}

func TestDamagedMemoryIsSetAsideAndSaid(t *testing.T) {
	for _, name := range []string{memoryName, usesName} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("{\"version\":1,"), 0o600); err != nil {
			t.Fatal(err)
		}
		other := map[string]string{memoryName: usesName, usesName: memoryName}[name]
		sound, err := NewPipeline(PipelineConfig{}).uses.Snapshot()
		if other == memoryName {
			sound, err = NewPipeline(PipelineConfig{}).engine.Snapshot()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, other), sound, 0o600); err != nil {
			t.Fatal(err)
		}
		_, o := restarted(t, dir)
		if o.faults.of("history") == nil {
			t.Errorf("%s: nothing is said", name)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: the damaged file is still in place", name)
		}
		if _, err := os.Stat(filepath.Join(dir, other)); err != nil {
			t.Errorf("%s took the sound one along: %v", name, err)
		}
	}
}

func TestSnapshotsComeWhenTheyAreDueAndNeverWait(t *testing.T) {
	m, p := newMemory(t.TempDir()), NewPipeline(PipelineConfig{})
	for n := range 100 { // nobody writes
		if err := m.take(p, start.Add(time.Duration(n)*time.Minute)); err != nil {
			t.Fatal(err)
		}
		if due := n >= 10; due != (len(m.fresh) == 1) {
			t.Fatalf("after %d minutes: %d snapshots", n, len(m.fresh))
		}
	}
}

func TestNothingIsLearntFromTheSuspect(t *testing.T) {
	var s suspects
	at := func(n byte) asset.Asset { return asset.Asset{MAC: flow.MAC{2, 0, 0, 0, 0, n}} }
	s.publish([]incident.Incident{
		{Asset: at(1), State: incident.Open, Action: incident.Suggest}, {Asset: at(2), State: incident.Contained},
		{Asset: at(3), State: incident.Probation}, {Asset: at(4), State: incident.Open, Action: incident.None}, {Asset: at(5), State: incident.Dismissed},
	})
	for n, want := range map[byte]bool{1: true, 2: true, 3: true, 4: false, 5: false, 6: false} {
		if s.has(at(n).MAC) != want {
			t.Errorf("device %d: suspect %t", n, !want)
		}
	}
	s.publish(nil)
	if s.has(at(1).MAC) {
		t.Error("suspect for ever")
	}
}

func TestTheHelpPageIsToldSinceWhenADeviceIsIsolated(t *testing.T) {
	var s suspects
	a := netip.MustParseAddr("192.168.10.23")
	if !s.since(a).IsZero() {
		t.Error("before anything was published")
	}
	radio := netip.MustParseAddr("192.168.77.24")
	mac := flow.MAC{2, 0, 0, 0, 0, 9}
	i := incident.Incident{
		Asset: asset.Asset{MAC: mac, Addrs: []netip.Addr{a}, Kin: []asset.Kin{{MAC: flow.MAC{2, 0, 0, 0, 0, 10}, Follows: true, Addrs: []netip.Addr{radio}}}},
		State: incident.Contained, Level: incident.Isolate, Contained: start,
	}
	for _, c := range []struct {
		name   string
		change func(*incident.Incident)
		want   time.Time
	}{
		{"isolated", func(*incident.Incident) {}, start},
		{"only limited", func(i *incident.Incident) { i.Level = incident.Limit }, time.Time{}},
		{"released", func(i *incident.Incident) { i.State = incident.Probation }, time.Time{}},
	} {
		now := i
		c.change(&now)
		s.publish([]incident.Incident{now})
		for _, a := range []netip.Addr{a, radio} {
			if got := s.since(a); !got.Equal(c.want) {
				t.Errorf("%s: %s %v", c.name, a, got)
			}
		}
	}
}
