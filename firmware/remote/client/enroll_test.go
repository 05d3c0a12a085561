package client

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto/tls"

	"sekisho/firmware/remote/wire"
)

func TestAnEnrolmentLeavesAWholeProfileWithoutTheSecondFactor(t *testing.T) {
	g := newGateway(t)
	home := filepath.Join(t.TempDir(), "new", "home")
	p, second, err := Enroll(t.Context(), Enrolment{Home: home, Profile: "office", Invitation: g.invitation(), Name: "Anna"})
	if err != nil {
		t.Fatal(err)
	}
	want := g.enrolment()
	if second.OTPAuth != want.OTPAuth || len(second.RecoveryCodes) != 1 || p.DeviceKey != g.key.Public() || p.Office != want.Office {
		t.Errorf("told %+v, kept %+v", second, p.Facts)
	}
	shown := g.asked()[0].TLS
	if shown.Version != tls.VersionTLS13 || string(shown.PeerCertificates[0].Raw) != string(p.cert.Certificate[0]) {
		t.Error("not TLS 1.3 with the certificate that was kept")
	}
	files := 0
	err = filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %o", path, info.Mode())
		}
		for _, secret := range []string{"JBSWY3DP", "AAAAA-BBBBB", testSecret} {
			if strings.Contains(string(data), secret) {
				t.Errorf("%s holds %s", path, secret)
			}
		}
		return err
	})
	if err != nil || files != 4 {
		t.Errorf("%d files, %v", files, err)
	}
}

func TestAFailedEnrolmentLeavesNothing(t *testing.T) {
	g := newGateway(t)
	with := func(change func(*wire.EnrollReply)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			r := g.enrolment()
			change(&r)
			reply(w, r)
		}
	}
	refusal := new(Error)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   error // a target for errors.Is; refusal for errors.As
	}{
		"invitation is used up": {func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, http.StatusForbidden, wire.ErrorDetail{Code: wire.CodeInvitation})
		}, refusal},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, g.URL+wire.PathStatus, http.StatusTemporaryRedirect)
		}, refusal},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"vendor":"v-1",`)
			breakOff(w)
		}, ErrUnreachable},
		"endless":          {endless, ErrAnswer},
		"no JSON":          {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, ErrAnswer},
		"no device key":    {with(func(r *wire.EnrollReply) { r.DeviceKey = "x" }), ErrAnswer},
		"other checkpoint": {with(func(r *wire.EnrollReply) { r.Checkpoint += "x" }), ErrAnswer},
		"escape sequence":  {with(func(r *wire.EnrollReply) { r.OTPAuth += "\x1b[2J" }), ErrAnswer},
		"many codes":       {with(func(r *wire.EnrollReply) { r.RecoveryCodes = make([]string, maxRecovery+1) }), ErrAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			g.answer(wire.PathEnroll, c.answer)
			home := t.TempDir()
			_, _, err := Enroll(t.Context(), Enrolment{Home: home, Profile: "office", Invitation: g.invitation(), Name: "Anna"})
			if refused := new(Error); c.want == refusal && !errors.As(err, &refused) || c.want != refusal && !errors.Is(err, c.want) {
				t.Errorf("error %v", err)
			}
			if left, _ := os.ReadDir(home); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func endless(w http.ResponseWriter, _ *http.Request) {
	for {
		if _, err := w.Write(make([]byte, 64<<10)); err != nil {
			return
		}
	}
}

func TestAnInvitationIsNotSpentForAProfileThatCannotBeKept(t *testing.T) {
	g := newGateway(t)
	c, _ := g.vendor()
	home := filepath.Dir(c.profile.Dir)
	for name, want := range map[string]error{"office": ErrProfile, "../x": ErrName, "": ErrName, "a/b": ErrName, ".enrol-1": ErrName} {
		_, _, err := Enroll(t.Context(), Enrolment{Home: home, Profile: name, Invitation: g.invitation(), Name: "Anna"})
		if !errors.Is(err, want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Enroll(t.Context(), Enrolment{Home: file, Profile: "x", Invitation: g.invitation(), Name: "Anna"}); err == nil {
		t.Error("a home that is a file")
	}
	if asked := g.asked(); len(asked) != 0 {
		t.Errorf("the gateway was asked %d times", len(asked))
	}
}

func TestWhatAKilledRunLeftGoesWithTheNext(t *testing.T) {
	g := newGateway(t)
	home := t.TempDir()
	for name, age := range map[string]time.Duration{"old": 2 * time.Hour, "new": time.Minute} {
		dir := filepath.Join(home, draftPrefix+name)
		at := time.Now().Add(-age)
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, keyFile), 0o700), os.Chtimes(dir, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := Enroll(t.Context(), Enrolment{Home: home, Profile: "office", Invitation: g.invitation(), Name: "Anna"}); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(home, draftPrefix+"*"))
	if len(left) != 1 || filepath.Base(left[0]) != draftPrefix+"new" {
		t.Errorf("left %v", left)
	}
}

func TestAnotherKeyIsNotTalkedTo(t *testing.T) {
	g := newGateway(t)
	invitation := g.invitation()
	invitation.Pin[0] ^= 1
	_, _, err := Enroll(t.Context(), Enrolment{Home: t.TempDir(), Profile: "office", Invitation: invitation, Name: "Anna"})
	if !errors.Is(err, ErrPin) || errors.Is(err, ErrUnreachable) {
		t.Errorf("enrol: %v", err)
	}
	c, _ := g.vendor()
	c.profile.pin[0] ^= 1
	other, _ := g.client(c.profile)
	if _, err := other.Incidents(t.Context()); !errors.Is(err, ErrPin) {
		t.Errorf("incidents: %v", err)
	}
	if asked := g.asked(); len(asked) != 0 {
		t.Errorf("something was sent: %v", asked)
	}
}

func TestADamagedProfileIsNamed(t *testing.T) {
	g := newGateway(t)
	for name, data := range map[string]string{factsFile: "{", keyFile: "x", certFile: "", checkpointFile: "x"} {
		c, _ := g.vendor()
		if err := os.WriteFile(filepath.Join(c.profile.Dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := OpenProfile(filepath.Dir(c.profile.Dir), "office")
		if name == checkpointFile && err == nil {
			_, err = New(p).CheckLedger(t.Context())
		}
		if err == nil || errors.Is(err, ErrNoProfile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenProfile(t.TempDir(), "office"); !errors.Is(err, ErrNoProfile) {
		t.Errorf("no profile: %v", err)
	}
}
