package store

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/incident"
)

func finishedSample(n int, state incident.State) incident.Incident {
	i := sample(n)
	i.State = state
	i.History = []incident.Transition{{At: noon, From: incident.Open, To: state, By: "web:owner", Note: "about 経理PC"}}
	return i
}

func TestOnlyFinishedIncidentsAgeAndFromWhenTheyWereSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := mustOpen(t, path)
	wrong := finishedSample(1, incident.Closed)
	wrong.Updated = time.Unix(0, 0) // the clock was not set
	later := finishedSample(2, incident.Dismissed)
	later.Updated = noon.Add(48 * time.Hour)
	for _, i := range []incident.Incident{wrong, later, sample(3)} {
		must(t, s.SaveIncident(ctx, i))
	}
	want := []Finished{{wrong.ID, noon}, {later.ID, later.Updated}}
	for _, now := range []time.Time{noon, noon.Add(24 * time.Hour)} { // the first call counts
		got, err := s.Finished(ctx, now)
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		must(t, s.Close())
		s = mustOpen(t, path)
	}
}

func TestADeletedIncidentIsGoneWithItsJournalAndALiveOneStays(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "state.db"))
	gone, kept, live := finishedSample(1, incident.Closed), finishedSample(2, incident.Closed), sample(3)
	for _, i := range []incident.Incident{gone, kept, live} {
		must(t, s.SaveIncident(ctx, i))
	}
	if err := s.DeleteIncidents(ctx, []string{gone.ID, live.ID}); err == nil {
		t.Error("a live incident was deleted")
	}
	if all, err := s.Incidents(ctx); err != nil || len(all) != 3 {
		t.Errorf("half of it was done: %d, %v", len(all), err)
	}
	must(t, s.DeleteIncidents(ctx, []string{gone.ID, "never"}))
	all, err := s.Incidents(ctx)
	if err != nil || len(all) != 2 || all[0].ID != kept.ID {
		t.Errorf("left %v, %v", all, err)
	}
	for id, lines := range map[string]int{gone.ID: 0, kept.ID: 1} {
		if j, err := s.Journal(ctx, id); err != nil || len(j) != lines {
			t.Errorf("journal of %s: %v, %v", id, j, err)
		}
	}
}

// purge replaces what the sample incident 1 is known by.
func purge(text string) string {
	for _, known := range []string{"mac:02:00:00:00:00:01", "02:00:00:00:00:01", "192.0.2.7", "経理PC", "open"} {
		text = strings.ReplaceAll(text, known, "purged-1")
	}
	return text
}

func TestARedactedIncidentKeepsWhatHappenedAndNotWho(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := mustOpen(t, path)
	own := finishedSample(1, incident.Closed)
	own.Asset.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	own.Findings = []incident.Observation{{Detector: "worm", Technique: "T1210", First: noon, Last: noon, Explain: detect.Text{EN: "経理PC (192.0.2.7) scans"}}}
	peer := finishedSample(2, incident.Dismissed)
	peer.Asset.Name, peer.History[0].Note = "other", ""
	peer.Findings = []incident.Observation{{Detector: "worm", Peers: []incident.Peer{
		{MAC: "02:00:00:00:00:01", IP: netip.MustParseAddr("192.0.2.7")}, {IP: netip.MustParseAddr("192.0.2.9")}}}}
	live := sample(1)
	live.ID = "20261123-120001-live"
	free := finishedSample(4, incident.Closed)
	free.Asset.Name, free.History[0].Note = "other", "nothing"
	free.History[0].From = incident.Closed
	for _, i := range []incident.Incident{own, peer, live, free} {
		must(t, s.SaveIncident(ctx, i))
	}
	want := Redaction{Changed: []string{own.ID, peer.ID}, Live: []string{live.ID}}
	asked, err := s.Redact(ctx, purge, false)
	must(t, err)
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
	if all, err := s.Incidents(ctx); err != nil || all[0].Asset.Name != "経理PC" {
		t.Errorf("the question changed something: %v", err)
	}
	done, err := s.Redact(ctx, purge, true)
	must(t, err)
	if diff := cmp.Diff(want, done); diff != "" {
		t.Error(diff)
	}
	must(t, s.Close())
	s = mustOpen(t, path)
	all, err := s.Incidents(ctx)
	must(t, err)
	own.Asset.ID, own.Asset.MAC, own.Asset.Name, own.Asset.Addrs = asset.ID("purged-1"), [6]byte{}, "purged-1", []netip.Addr{}
	own.Findings[0].Explain.EN = "purged-1 (purged-1) scans"
	own.History[0].Note = "about purged-1"
	peer.Findings[0].Peers[0] = incident.Peer{}
	for _, i := range all {
		for _, w := range []incident.Incident{own, peer, live, free} {
			if i.ID != w.ID {
				continue
			}
			if diff := cmp.Diff(w, i, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("%s: %s", i.ID, diff)
			}
		}
	}
	j, err := s.Journal(ctx, own.ID)
	if diff := cmp.Diff(own.History, j); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if holds, err := s.Holds(ctx); err != nil || len(holds) != 1 || holds[0].Asset.ID != live.Asset.ID {
		t.Errorf("containment of the live one: %v, %v", holds, err)
	}
	again, err := s.Redact(ctx, purge, true)
	if err != nil || len(again.Changed) != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
	// The guard of the journal still stands.
	if _, err := s.db.Exec("UPDATE transitions SET note = 'x'"); err == nil {
		t.Error("the journal can be changed")
	}
}

func TestRedactedAndDeletedTextsAreNotInTheFilesAnyMore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := mustOpen(t, path)
	i := finishedSample(1, incident.Closed)
	must(t, s.SaveIncident(ctx, i))
	must(t, s.SaveAssets(ctx, []asset.Asset{i.Asset}))
	must(t, s.DeleteAssets(ctx, []asset.ID{i.Asset.ID}))
	_, err := s.Redact(ctx, purge, true)
	must(t, err)
	files, err := filepath.Glob(path + "*")
	must(t, err)
	for _, f := range files {
		data, err := os.ReadFile(f)
		must(t, err)
		if bytes.Contains(data, []byte("経理PC")) || bytes.Contains(data, []byte("02:00:00:00:00:01")) {
			t.Errorf("%s still holds it", filepath.Base(f))
		}
	}
}

func TestARedactionThatWouldBreakAnIncidentChangesNothing(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "state.db"))
	for n := range 2 {
		must(t, s.SaveIncident(ctx, finishedSample(n, incident.Closed)))
	}
	second := sample(1).ID
	if _, err := s.Redact(ctx, func(text string) string {
		return strings.NewReplacer(second, "gone", "経理PC", "gone").Replace(text)
	}, true); err == nil {
		t.Error("an incident lost its id")
	}
	all, err := s.Incidents(ctx)
	if err != nil || len(all) != 2 || all[0].Asset.Name != "経理PC" {
		t.Errorf("%+v, %v", all, err)
	}
}
