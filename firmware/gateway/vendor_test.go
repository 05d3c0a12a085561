package gateway

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/incident"
	"sekisho/firmware/ledger"
	"sekisho/firmware/remote"
	"sekisho/hal"
	"sekisho/ui"
)

// asked is a gateway of which a vendor waits for one access and has another.
func asked(t *testing.T) (*Gateway, vendorDesk) {
	t.Helper()
	dir, now := t.TempDir(), time.Now()
	key, err := ledger.LoadOrCreateKey(filepath.Join(dir, "device.key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Config{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	grant := func(id, state string) map[string]any {
		return map[string]any{"id": id, "vendor": "V-1", "name": "Example IT", "incident": "20260424-140412-ab12", "state": state,
			"wished": time.Hour, "asked": now, "since": now, "until": now.Add(time.Hour)}
	}
	state, err := json.Marshal(map[string]any{"version": 1, "vendors": []any{map[string]any{"id": "V-1", "name": "Example IT"}},
		"grants": []any{grant("G-1", "waiting"), grant("G-2", "active")}})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "state.json"), state, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := remote.Config{Dir: dir, Addr: "127.0.0.1:0", Ledger: l, DeviceKey: key.Public(), Evidence: offered{}, Logger: slog.New(slog.DiscardHandler)}
	g := &Gateway{parts: Parts{Remote: &c}, log: c.Logger, now: time.Now, faults: newFaults()}
	g.view.Store(&View{})
	if g.remote, err = remote.New(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.work.Wait)
	return g, g.vendors().(vendorDesk)
}

func TestThePageIsToldHowLongTheVendorAsksFor(t *testing.T) {
	_, desk := asked(t)
	a := desk.Access()
	if a.Usual != 8*time.Hour || a.MaxGrant != 24*time.Hour || len(a.Waiting) != 1 || a.Waiting[0].Wished != 60 {
		t.Fatalf("%+v", a)
	}
	if err := desk.Approve(t.Context(), "G-1", "web:owner", 0); err != nil {
		t.Fatal(err)
	}
	for _, v := range desk.Access().Active {
		if left := time.Until(v.Until); left > time.Hour {
			t.Errorf("%s of access where an hour was asked for", left)
		}
	}
}

func TestNobodyIsLetInDuringALockdown(t *testing.T) {
	g, desk := asked(t)
	g.lockdown = true
	g.view.Store(&View{Lockdown: true})
	if err := desk.Approve(t.Context(), "G-1", "web:owner", time.Hour); !errors.Is(err, ui.ErrCutOff) || !errors.Is(err, ui.ErrRefused) {
		t.Errorf("by the page: %v", err)
	}
	g.heldForVendor("G-1", incident.ByButton)
	g.work.Wait()
	if len(desk.Access().Waiting) != 1 {
		t.Errorf("by the button: %+v", desk.Access())
	}
	var s hal.Status
	g.showVendor(&s, nil) // of a former life, or approved in the same moment
	g.work.Wait()
	if len(desk.Access().Active) != 0 || s.Vendor != "" {
		t.Errorf("still there: %+v, %+v", desk.Access().Active, s)
	}

	g.lockdown = false
	g.view.Store(&View{})
	g.heldForVendor("G-1", incident.ByButton)
	g.work.Wait()
	if a := desk.Access(); len(a.Active) != 1 || a.Active[0].ID != "G-1" {
		t.Errorf("after the lockdown: %+v", a)
	}
}

func TestThePanelSaysWhichIncidentTheVendorAsksFor(t *testing.T) {
	g, _ := asked(t)
	const id = "20260424-140412-ab12"
	for _, tc := range []struct {
		name string
		all  []incident.Incident
		want string
	}{
		{"by its device", []incident.Incident{{ID: "other", Asset: asset.Asset{Name: "other"}}, {ID: id, Asset: asset.Asset{Name: "FRONT-PC"}}}, "FRONT-PC"},
		{"of a device without a name", []incident.Incident{{ID: id}}, "0412-ab12"},
		{"that is long over", nil, "0412-ab12"},
	} {
		var s hal.Status
		g.showVendor(&s, tc.all)
		if s.Approval != "Example IT" || s.ApprovalID != "G-1" || s.ApprovalFor != tc.want {
			t.Errorf("%s: %+v", tc.name, s)
		}
	}
	if got := about(nil, "i-1"); got != "i-1" {
		t.Errorf("a short id: %q", got)
	}
}
