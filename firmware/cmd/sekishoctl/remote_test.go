package main

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"sekisho/firmware/remote"
)

// vendor runs sekishoctl and says what it printed.
func vendor(t *testing.T, want int, input string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if exit := (program{t.Context(), strings.NewReader(input), &out, &out}).run(args); exit != want {
		t.Fatalf("sekishoctl %s: exit %d, want %d\n%s", strings.Join(args, " "), exit, want, out.String())
	}
	return out.String()
}

func says(t *testing.T, out string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("no %q in\n%s", w, out)
		}
	}
}

// enrol returns the secret of the authenticator and the recovery codes.
func enrol(t *testing.T, o *office) (secret string, recovery []string) {
	t.Helper()
	invitation := o.invite()
	out := vendor(t, 0, invitation+"\n", "enroll", "-", "--name", "Anna")
	says(t, out, "Example Ltd.", "shown now and never again", "fingerprint", "curl works too")
	curls(t, regexp.MustCompile(`curl -k .*`).FindString(out))
	uri, err := url.Parse(regexp.MustCompile(`otpauth://\S+`).FindString(out))
	must(t, err)
	says(t, vendor(t, 1, "", "enroll", invitation, "--profile", "again"), "used up", "Ask the owner for a new one")
	says(t, vendor(t, 2, "", "enroll", o.invite()), "profile of this name already", "--profile")
	return uri.Query().Get("secret"), regexp.MustCompile(`(?m)^   [0-9A-Z]{5}(-[0-9A-Z]{5})+$`).FindAllString(out, -1)
}

// curls runs the line that was shown for curl.
func curls(t *testing.T, line string) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("install curl: ", err)
	}
	out, err := exec.Command("sh", "-c", line+" --silent --show-error --fail").CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	says(t, string(out), `"id":"INC-7"`)
}

func TestFromTheInvitationToVerifiedEvidence(t *testing.T) {
	o := newOffice(t)
	t.Setenv("SEKISHO_HOME", filepath.Join(t.TempDir(), "home"))
	t.Chdir(t.TempDir())
	says(t, vendor(t, 2, "", "incidents"), "Enrol first")
	secret, recovery := enrol(t, o)
	says(t, vendor(t, 0, "", "incidents"), "INC-8     open", "not sealed yet", "B-1.tar.age", "MB")
	says(t, vendor(t, 1, "", "pull", "INC-8"), "not sealed yet", "watch tells when")
	says(t, vendor(t, 1, "", "pull", "INC-9"), `no incident "INC-9"`)
	says(t, vendor(t, 2, "", "pull", "INC-7"), "no code was given")
	says(t, vendor(t, 1, "", "pull", "INC-7", "--code", "xxxxxx"), "wrong", "next code")

	o.decides(func(g remote.GrantView) error { return o.Deny(g.ID, "person:test") })
	code, err := totp.GenerateCode(secret, time.Now())
	must(t, err)
	says(t, vendor(t, 1, code+"\n", "pull", "INC-7"), "hold the button", "the owner has refused")

	o.decides(func(g remote.GrantView) error {
		if g.Reason != "night shift" || g.Wished != 2*time.Hour {
			t.Errorf("asked %+v", g)
		}
		o.line.left.Store(bundleBytes / 2)
		_, err := o.Approve(g.ID, "person:test", 0)
		return err
	})
	out := vendor(t, 1, "", "pull", "INC-7", "--code", strings.TrimSpace(recovery[0]), "--reason", "night shift", "--hours", "2")
	says(t, out, "Approved", "the line was cut", "100 %", "--identity")
	if _, err := os.Stat("INC-7.tar.age"); err != nil || o.Active()[0].Bytes < bundleBytes || o.Active()[0].Bytes > bundleBytes*3/2 {
		t.Errorf("%v after %d bytes", err, o.Active()[0].Bytes)
	}
	verifies(t, o)

	says(t, vendor(t, 0, "", "end", "INC-7"), "has ended")
	says(t, vendor(t, 0, "", "end", "INC-7"), "no access to end")
	must(t, os.Mkdir("again", 0o755))
	says(t, vendor(t, 2, "", "pull", "INC-7", "--dir", "again"), "no code was given") // the access is over
	leaves(t, o)
}

// verifies goes on with the package that was downloaded, without any access.
func verifies(t *testing.T, o *office) {
	t.Helper()
	t.Cleanup(func() { thaw(t, "B-1") })
	for range 2 { // the second time the folder is there already
		out := vendor(t, 0, "", "pull", "INC-7", "--identity", o.identity)
		says(t, out, "is there already", "OK  ", "B-1\n", "incident INC-7", "packets", "proven to continue")
	}
	says(t, vendor(t, 0, "", "verify", "--profile", "default", "--json", "B-1"), `"trusted":true`)
	says(t, vendor(t, 0, "", "verify", "--profile", "default", "--identity", o.identity, "INC-7.tar.age"), "OK  INC-7.tar.age")
	says(t, vendor(t, 1, "", "verify", "INC-7.tar.age"), "encrypted", "--identity")
	says(t, vendor(t, 0, "", "show", "B-1"), "bundle.seal")
	watches(t)
	thaw(t, "B-1")
	must(t, os.WriteFile("B-1/data/flows.jsonl", []byte("x"), 0o644))
	says(t, vendor(t, 1, "", "pull", "INC-7", "--identity", o.identity), "data/flows.jsonl", "Do not use it")
}

// watches until the news have come, and finds none the next time.
func watches(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out := &stopper{text: "new incident INC-7", stop: cancel}
	if exit := (program{ctx, nil, out, out}).run([]string{"watch"}); exit != 0 {
		t.Errorf("watch: exit %d", exit)
	}
	says(t, out.String(), "the ledger holds", "new incident INC-8: open", "INC-7: evidence is sealed")
	if out := vendor(t, 0, "", "watch", "--once"); strings.Contains(out, "INC-8") {
		t.Errorf("told twice: %s", out)
	}
}

// stopper calls stop, as Ctrl-C would, when a text has been written.
type stopper struct {
	bytes.Buffer
	text string
	stop func()
}

func (s *stopper) Write(b []byte) (int, error) {
	n, err := s.Buffer.Write(b)
	if strings.Contains(s.String(), s.text) {
		s.stop()
	}
	return n, err
}

// leaves is what the vendor sees of the end of an enrolment, and of the gateway.
func leaves(t *testing.T, o *office) {
	t.Helper()
	honest := o.ledger.Swap(openLedger(t, o.ledger.key))
	says(t, vendor(t, 1, "", "watch"), "*** ALARM ***", "shrunk", "Both checkpoints were saved as evidence: ", "alarm-")
	says(t, vendor(t, 1, "", "watch", "--json"), `"event":"alarm"`, `"saved":"`)
	o.ledger.Store(honest)
	must(t, o.Revoke(o.Vendors()[0].ID, "person:test"))
	says(t, vendor(t, 1, "", "incidents"), "Ask for a new invitation")
	says(t, vendor(t, 1, "", "watch"), "Ask for a new invitation") // trying again would not help
	o.stop()
	says(t, vendor(t, 3, "", "incidents"), "cannot be reached", "Check the line")
	says(t, vendor(t, 3, "", "watch", "--once", "--json"), `"event":"trouble"`)
}
