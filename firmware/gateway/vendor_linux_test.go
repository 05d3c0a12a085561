package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"sekisho/firmware/incident"
	"sekisho/firmware/ledger"
	"sekisho/ui"
)

// vendor is the IT vendor's machine in the office's network, with the tool that
// the vendor uses.
type vendor struct {
	o          *office
	tool, home string
	secret     string
}

func (o *office) vendor(t *testing.T) *vendor {
	t.Helper()
	v := &vendor{o: o, tool: filepath.Join(t.TempDir(), "sekishoctl"), home: t.TempDir()}
	build := exec.Command("go", "build", "-o", v.tool, "sekisho/firmware/cmd/sekishoctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build sekishoctl: %v\n%s", err, out)
	}
	return v
}

// run starts the tool in host 2's place and returns what it says and its end.
func (v *vendor) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(v.tool, append(args, "--home", v.home)...)
	var out []byte
	var err error
	v.o.hosts[2].Do(t, func() { out, err = cmd.CombinedOutput() })
	return string(out), err
}

func (v *vendor) enroll(t *testing.T) {
	t.Helper()
	var invitation ui.Invitation
	v.o.postInto(t, "/api/vendor/invitations", map[string]string{"by": "owner"}, &invitation)
	out, err := v.run(t, "enroll", invitation.Text, "--name", "Example IT")
	if err != nil {
		t.Fatalf("enroll: %v\n%s", err, out)
	}
	found := regexp.MustCompile(`secret=([A-Z2-7]+)`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("no second factor in:\n%s", out)
	}
	v.secret = found[1]
}

func (v *vendor) code(t *testing.T) string {
	t.Helper()
	code, err := totp.GenerateCode(v.secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func (o *office) access(t *testing.T) (a ui.Access) {
	t.Helper()
	if err := o.get("/api/vendor", &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// screen is what the panel shows.
func (o *office) screen() (p struct {
	State, Target string
	Approval      string
	ApprovalID    string `json:"approval_id"`
}) {
	_ = o.get("/api/panel", &p) // an empty screen is none of the awaited ones
	return p
}

func TestTheVendorPullsTheEvidenceWhileTheButtonAllowsItAndNoLonger(t *testing.T) {
	o := newOffice(t)
	o.config.Remote.Interface = "br0"
	p := o.start(t)
	stop := o.attack(t, 1)
	o.press(t, 1)
	i := o.awaitIncident(t, 1, "sealed", func(i incident.Incident) bool { return i.Bundle != "" })
	stop()
	v := o.vendor(t)
	v.enroll(t)
	if out, err := v.run(t, "incidents"); err != nil || !strings.Contains(out, i.ID) {
		t.Fatalf("incidents: %v\n%s", err, out)
	}

	var pulled string
	var failed error
	done := make(chan struct{})
	dir := t.TempDir()
	go func() {
		defer close(done)
		pulled, failed = v.run(t, "pull", i.ID, "--code", v.code(t), "--reason", "analysis", "--dir", dir)
	}()
	await(t, "the question on the screen", func() bool { return o.screen().Approval == "Example IT" })
	if err := o.post("/api/press", map[string]string{"gesture": "hold3", "target": o.screen().ApprovalID}); err != nil {
		t.Fatal(err)
	}
	<-done
	if failed != nil || !strings.Contains(pulled, "proven to continue the one that was kept") {
		t.Fatalf("pull: %v\n%s", failed, pulled)
	}
	await(t, "the vendor on the lamp", func() bool { return o.screen().State == "vendor_connected" })
	target := o.screen().Target
	if err := o.post("/api/press", map[string]string{"gesture": "short", "target": target}); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the access", func() bool { return len(o.access(t).Active) == 0 && o.screen().State != "vendor_connected" })

	p.stop(t)
	for _, want := range []string{"remote.invite", "remote.enroll", "remote.ask", "remote.approve", "remote.download", "remote.end"} {
		if !o.logged(t, want) {
			t.Errorf("the ledger does not have %s", want)
		}
	}
}

// logged says whether the ledger has an entry of that action.
func (o *office) logged(t *testing.T, action string) bool {
	t.Helper()
	key, err := ledger.LoadOrCreateKey(filepath.Join(o.config.Storage.State, "device.key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(filepath.Join(o.config.Storage.State, "ledger"), ledger.Config{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	all, err := l.Entries(0, l.Size())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Action == action {
			return true
		}
	}
	return false
}

func TestNobodyReachesTheVendorsDoorFromTheInternetOrWhereItIsOff(t *testing.T) {
	reach := func(o *office, from int) error {
		ns := o.inet
		if from > 0 {
			ns = o.hosts[from]
		}
		var err error
		ns.Do(t, func() {
			var c net.Conn
			if c, err = net.DialTimeout("tcp", fmt.Sprint(gatewayIP, ":8443"), time.Second); err == nil {
				c.Close()
			}
		})
		return err
	}
	o := newOffice(t)
	o.start(t).stop(t)
	if reach(o, 2) == nil {
		t.Error("it answers although no interface is named")
	}
	o.config.Remote.Interface = "br0"
	o.start(t)
	await(t, "an answer to the office", func() bool { return reach(o, 2) == nil })
	if reach(o, 0) == nil {
		t.Error("it answers what comes in by the WAN")
	}
}

// postInto is post with an answer.
func (o *office) postInto(t *testing.T, path string, body, into any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := o.api.Post(page+path, "application/json", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("POST %s: %s, %v", path, resp.Status, err)
	}
}
