package gateway

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
	"sekisho/firmware/ledger"
	"sekisho/ui"
)

func TestAPurgeIsRefusedBeforeAnythingChangesWhileAnOpenIncidentNamesTheDevice(t *testing.T) {
	device := asset.Asset{ID: "mac:02:00:00:00:00:07", MAC: flow.MAC{2, 0, 0, 0, 0, 7}, Name: "pc-yamada"}
	for name, open := range map[string]func(*records) error{
		"it is the host": func(r *records) error {
			return r.parts.Store.SaveIncident(t.Context(), incident.Incident{ID: "open", State: incident.Probation, Asset: device})
		},
		"it was found": func(r *records) error { // too many peers for the incident's own digest
			r.desk.Restore(start, []incident.Incident{{ID: "open", State: incident.Contained}})
			r.found(t, "open")
			return os.WriteFile(r.custody.findingsPath("open"), []byte("{\"peer\":\"pc-yamada\"}\n"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecords(t)
			r.parts.Pipeline = NewPipeline(PipelineConfig{})
			r.parts.Pipeline.inventory.Restore([]asset.Asset{device})
			r.custody = &custody{cfg: r.cfg}
			page := web{r.Gateway, t.Context()}
			e := ledger.Entry{Actor: "web:owner", Action: "device.change", Subject: string(device.ID)}
			if _, err := r.parts.Ledger.Append(e); err != nil {
				t.Fatal(err)
			}
			if err := open(r); err != nil {
				t.Fatal(err)
			}
			if _, err := page.Purge(t.Context(), device.ID, "web:owner", "asked"); !errors.Is(err, ui.ErrRefused) {
				t.Fatalf("purge: %v", err)
			}
			if got := r.actions(t); len(got) != 1 || got[0] != "device.change "+string(device.ID) {
				t.Errorf("the ledger has %q", got)
			}
			if _, known := r.parts.Pipeline.inventory.Get(device.ID); !known {
				t.Error("the device is forgotten")
			}
		})
	}
}

func TestAPurgeLeavesTheFindingsOfOpenIncidents(t *testing.T) {
	who, err := subject(asset.Asset{Name: "pc-yamada"})
	if err != nil {
		t.Fatal(err)
	}
	const both, other = "{\"host\":\"pc-yamada\"}\n{\"host\":\"printer\"}\n", "{\"host\":\"printer\"}\n"
	dir := t.TempDir()
	var files []string
	for _, id := range []string{"over", "open"} {
		files = append(files, filepath.Join(dir, id+".jsonl"))
		if err := os.WriteFile(files[len(files)-1], []byte(both), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := scrubFindings(files, []string{"open"}, who); err != nil {
		t.Fatal(err)
	}
	for n, want := range []string{other, both} {
		if got, err := os.ReadFile(files[n]); string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", files[n], got, err, want)
		}
	}
}
