package gateway

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sekisho/firmware/incident"
	"sekisho/ui"
)

func (o *office) kept(t *testing.T) (k ui.Kept) {
	t.Helper()
	if err := o.get("/api/evidence", &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// raw is the answer of the page as it is.
func (o *office) raw(t *testing.T, path string) []byte {
	t.Helper()
	resp, err := o.api.Get(page + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", path, resp.Status, err)
	}
	return data
}

// sealed has host 1 isolated and its evidence sealed, and the host silent.
func (o *office) sealed(t *testing.T) incident.Incident {
	t.Helper()
	stop := o.attack(t, 1)
	o.press(t, 1)
	i := o.awaitIncident(t, 1, "sealed", func(i incident.Incident) bool { return i.Bundle != "" && proven(i) })
	stop()
	o.hosts[1].Run(t, "ip link set eth0 down")
	return i
}

func TestAPurgeTakesADevicesNameOutOfEverythingThatNoHoldProtects(t *testing.T) {
	o := newOffice(t)
	alone(&o.config)
	p := o.start(t)
	const device = "/api/devices/mac:02:00:00:00:00:01"
	wish := map[string]string{"by": "owner", "note": "the person asked"}
	await(t, "a device with a name", func() bool {
		o.send(t, 1, outFrame(1))
		return o.post(device, map[string]string{"by": "owner", "name": "pc-yamada"}) == nil
	})
	stop := o.attack(t, 1)
	i := o.awaitIncident(t, 1, "sealed", func(i incident.Incident) bool { return i.Bundle != "" && proven(i) })
	stop()
	o.hosts[1].Run(t, "ip link set eth0 down")
	p.stop(t) // what the kernel has captured and nobody has seen would open another incident
	p = o.start(t)
	if err := o.post(device+"/purge", wish); err == nil || !strings.Contains(err.Error(), "409") {
		t.Fatalf("while its incident is open: %v", err)
	}
	if i, ok := o.incidentOf(1); !ok || i.Asset.Name != "pc-yamada" {
		t.Errorf("a purge that was refused left %+v", i.Asset)
	}
	for _, deed := range []string{"undo", "dismiss"} { // what the gateway did by itself was a mistake
		if err := o.post("/api/incidents/"+i.ID+"/"+deed, wish); err != nil {
			t.Fatal(err)
		}
	}
	var done ui.Purged
	o.postInto(t, device+"/purge", wish, &done)
	if !slices.Equal(done.Held, []string{i.ID}) || len(done.Bundles) > 0 || done.Incidents != 1 || done.Entries == 0 {
		t.Errorf("done %+v", done)
	}
	if err := o.post(device, map[string]string{"by": "owner", "name": "again"}); err == nil {
		t.Error("the device is still known")
	}
	await(t, "the bundle, held", func() bool {
		k := o.kept(t)
		return len(k.Bundles) == 1 && k.Bundles[0].ID == i.ID && k.Bundles[0].Held && k.Deleted == 0
	})
	all := o.raw(t, "/api/incidents")
	if !bytes.Contains(all, []byte(i.ID)) {
		t.Error("the incident itself is gone")
	}
	p.stop(t)
	if !o.logged(t, "data.purge") || !o.logged(t, "ledger.redact") { // it opens
		t.Error("the ledger does not have the purge")
	}
	secrets := regexp.MustCompile(`pc-yamada|02:00:00:00:00:01|192\.168\.77\.11\b`) // .110 is somebody else
	found := func(where string, text []byte) {
		if secret := secrets.Find(text); secret != nil {
			t.Errorf("%s still has %s", where, secret)
		}
	}
	found("/api/incidents", all)
	for _, folder := range []string{"ledger", "findings"} {
		err := filepath.WalkDir(filepath.Join(o.config.Storage.State, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			found(path, text)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestASealedBundleIsCopiedToAStickAndThePageAndTheLedgerSayIt(t *testing.T) {
	o := newOffice(t)
	o.config.Copy.Medium = filepath.Join(o.dir, "media")
	o.disk = filepath.Join(o.config.Copy.Medium, "stick")
	if err := os.MkdirAll(o.disk, 0o755); err != nil {
		t.Fatal(err)
	}
	p := o.start(t)
	i := o.sealed(t)
	await(t, "a copy of the bundle", func() bool {
		k := o.kept(t)
		return len(k.Bundles) == 1 && slices.Equal(k.Bundles[0].Copies, []string{"usb"})
	})
	want := o.raw(t, "/api/evidence/"+i.ID+"/package?by=owner")
	stick := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "root", o.disk)
	found := false
	err := filepath.WalkDir(stick, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != i.ID+".tar" {
			return err
		}
		got, err := os.ReadFile(path)
		found = bytes.Equal(got, want)
		return err
	})
	if err != nil || !found {
		t.Errorf("the stick does not hold the bundle as the page gives it out: %v", err)
	}
	p.stop(t)
	for _, want := range []string{"bundle.copy", "bundle.take"} {
		if !o.logged(t, want) {
			t.Errorf("the ledger does not have %s", want)
		}
	}
}

func TestWithoutTheSSDNothingIsWrittenInItsPlaceAndIsolationWorks(t *testing.T) {
	o := newOffice(t)
	o.config.Storage.OwnDisk = true
	o.start(t)
	await(t, "the page to miss the disk", func() bool { return o.kept(t).Missing })
	await(t, "the panel to say it", func() bool {
		var p struct{ Lines []string }
		return o.get("/api/panel", &p) == nil && strings.Contains(strings.Join(p.Lines, " "), "SSD not connected")
	})
	o.attack(t, 1)
	o.press(t, 1)
	o.awaitIncident(t, 1, "contained and proven", proven)
	o.silent(t, o.witness(t, 3), 2, 1)
	if i, _ := o.incidentOf(1); i.Bundle != "" {
		t.Errorf("a bundle is said to be in %s", i.Bundle)
	}
	if _, err := os.Stat(o.config.Storage.Evidence); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is something where the disk should be: %v", err)
	}
}
