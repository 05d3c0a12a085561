package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
)

var (
	noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	ctx  = context.Background()
)

func sample(n int) incident.Incident {
	mac := flow.MAC{2, 0, 0, 0, byte(n >> 8), byte(n)}
	return incident.Incident{
		ID: fmt.Sprintf("20261123-120000-%04x", n), State: incident.Containing, Level: incident.Isolate,
		Asset:  asset.Asset{ID: asset.ID("mac:" + mac.String()), MAC: mac, Name: "経理PC", FirstSeen: noon, LastSeen: noon},
		Opened: noon.Add(time.Duration(n) * time.Second), Updated: noon,
		Findings: []incident.Observation{}, History: []incident.Transition{},
	}
}

func mustOpen(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasSavedIsThereAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new folder?#", "state.db")
	s := mustOpen(t, path)
	want := sample(1)
	must(t, s.SaveIncident(ctx, want))
	must(t, s.SaveAssets(ctx, []asset.Asset{want.Asset}))
	must(t, s.SetMeta(ctx, "k", "old"))
	must(t, s.SetMeta(ctx, "k", "new"))
	must(t, s.Close())

	s = mustOpen(t, path)
	got, err := s.Incidents(ctx)
	must(t, err)
	if diff := cmp.Diff([]incident.Incident{want}, got); diff != "" {
		t.Error(diff)
	}
	assets, err := s.Assets(ctx)
	must(t, err)
	if diff := cmp.Diff([]asset.Asset{want.Asset}, assets); diff != "" {
		t.Error(diff)
	}
	if v, ok, err := s.GetMeta(ctx, "k"); v != "new" || !ok || err != nil {
		t.Errorf("%q %v %v", v, ok, err)
	}
	if _, ok, err := s.GetMeta(ctx, "none"); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("readable by others: %s", info.Mode())
	}
}

func TestDeletedAssetsStayAwayAndTheirIncidentsStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := mustOpen(t, path)
	kept, gone, never := sample(1), sample(2), sample(3)
	must(t, s.SaveIncident(ctx, gone))
	must(t, s.SaveAssets(ctx, []asset.Asset{kept.Asset, gone.Asset}))
	must(t, s.DeleteAssets(ctx, []asset.ID{gone.Asset.ID, never.Asset.ID}))
	must(t, s.DeleteAssets(ctx, nil))
	must(t, s.Close())

	s = mustOpen(t, path)
	assets, err := s.Assets(ctx)
	must(t, err)
	if diff := cmp.Diff([]asset.Asset{kept.Asset}, assets); diff != "" {
		t.Error(diff)
	}
	holds, err := s.Holds(ctx)
	must(t, err)
	if len(holds) != 1 || holds[0].Asset.ID != gone.Asset.ID {
		t.Errorf("the hold of a forgotten device: %+v", holds)
	}
	must(t, s.SaveAssets(ctx, []asset.Asset{gone.Asset}))
	if assets, err := s.Assets(ctx); err != nil || len(assets) != 2 {
		t.Errorf("seen again: %d assets, %v", len(assets), err)
	}
}

func TestTheConnectionIsDurable(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "state.db"))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		must(t, s.db.QueryRow("PRAGMA "+pragma).Scan(&got))
		if got != want {
			t.Errorf("%s = %s", pragma, got)
		}
	}
}

func TestTheJournalKeepsWhatTheSnapshotDrops(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "state.db"))
	i := sample(1)
	const lines = 500
	for n := range lines {
		i, _ = incident.Step(i, incident.Input{Kind: incident.InPress, At: noon.Add(time.Duration(n) * time.Second), By: fmt.Sprint(n)})
		must(t, s.SaveIncident(ctx, i))
		if n%7 == 0 {
			must(t, s.SaveIncident(ctx, i)) // saving twice appends once
		}
	}
	journal, err := s.Journal(ctx, i.ID)
	must(t, err)
	if len(journal) != lines || len(i.History) >= lines {
		t.Fatalf("%d lines in the journal, %d in the snapshot", len(journal), len(i.History))
	}
	for n, line := range journal {
		if line.By != fmt.Sprint(n) {
			t.Fatalf("line %d is %q", n, line.By)
		}
	}
	if _, err := s.db.Exec("UPDATE transitions SET note = 'forged'"); err == nil {
		t.Error("the journal could be changed")
	}
}

func TestHoldsAreTheStrictestLevelPerDevice(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "state.db"))
	limited, isolated, free, closed := sample(1), sample(2), sample(3), sample(4)
	limited.Level = incident.Limit
	isolated.Asset = limited.Asset
	free.State, closed.State = incident.Probation, incident.Closed
	for _, i := range []incident.Incident{limited, isolated, free, closed} {
		must(t, s.SaveIncident(ctx, i))
	}
	holds, err := s.Holds(ctx)
	must(t, err)
	if diff := cmp.Diff([]Hold{{isolated.ID, limited.Asset, incident.Isolate}}, holds); diff != "" {
		t.Error(diff)
	}
	open, err := s.OpenIncidents(ctx)
	must(t, err)
	if len(open) != 3 {
		t.Errorf("%d open incidents", len(open))
	}
}

func TestOneUnreadableIncidentHidesNoOther(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "state.db"))
	must(t, s.SaveIncident(ctx, sample(1)))
	must(t, s.SaveIncident(ctx, sample(2)))
	if _, err := s.db.Exec(`UPDATE incidents SET body = '{"id": 5}' WHERE id = ?`, sample(1).ID); err != nil {
		t.Fatal(err)
	}
	holds, err := s.Holds(ctx)
	if len(holds) != 1 || err == nil || !strings.Contains(err.Error(), sample(1).ID) {
		t.Errorf("%v, %v", holds, err)
	}
}

func TestOpenRefusesClearly(t *testing.T) {
	dir := t.TempDir()
	first := mustOpen(t, filepath.Join(dir, "running.db"))
	newer := mustOpen(t, filepath.Join(dir, "newer.db"))
	_, err := newer.db.Exec("PRAGMA user_version = 99")
	must(t, err)
	must(t, newer.Close())
	must(t, os.WriteFile(filepath.Join(dir, "text.db"), []byte("Dear diary, today I was not a database."), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "folder.db"), 0o700))
	for name, want := range map[string]error{"running.db": ErrLocked, "newer.db": ErrNewer, "text.db": ErrNotDatabase} {
		if s, err := Open(filepath.Join(dir, name)); !errors.Is(err, want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	if _, err := Open(filepath.Join(dir, "folder.db")); err == nil {
		t.Error("a folder was opened")
	}
	if text, _ := os.ReadFile(filepath.Join(dir, "text.db")); !strings.HasPrefix(string(text), "Dear diary") {
		t.Error("somebody else's file was changed")
	}
	must(t, first.SetMeta(ctx, "still", "works"))
}

func TestErrorsOfTheSystemSayWhatToDo(t *testing.T) {
	if err := explain(&os.PathError{Op: "open", Path: "x", Err: os.ErrPermission}); !errors.Is(err, ErrPermission) {
		t.Error(err)
	}
}

func TestAFullDiskLosesNothing(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "state.db"))
	must(t, s.SaveIncident(ctx, sample(1)))
	var pages int
	must(t, s.db.QueryRow("PRAGMA page_count").Scan(&pages))
	_, err := s.db.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages)) // SQLite then reports SQLITE_FULL
	must(t, err)
	big := sample(2)
	big.Proof.Text.EN = strings.Repeat("x", 1<<16)
	if err := s.SaveIncident(ctx, big); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v", err)
	}
	if all, err := s.Incidents(ctx); len(all) != 1 || err != nil {
		t.Errorf("%d incidents, %v", len(all), err)
	}
}

func TestADamagedDatabaseIsMovedAsideAndKept(t *testing.T) {
	for name, harm := range map[string]func([]byte){
		"header of zeros": func(b []byte) { clear(b[:100]) },
		"broken pages":    func(b []byte) { copy(b[4096:], strings.Repeat("\xa5", len(b)-4096)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			s := mustOpen(t, path)
			for n := range 50 {
				must(t, s.SaveIncident(ctx, sample(n)))
			}
			must(t, s.Close())
			b, err := os.ReadFile(path)
			must(t, err)
			harm(b)
			must(t, os.WriteFile(path, b, 0o600))

			s = mustOpen(t, path)
			if s.Damaged() == "" {
				t.Fatal("the damage was not noticed")
			}
			if kept, err := os.ReadFile(s.Damaged()); err != nil || string(kept) != string(b) {
				t.Errorf("the damaged file was not kept as it was: %v", err)
			}
			must(t, s.SaveIncident(ctx, sample(1)))
		})
	}
}
