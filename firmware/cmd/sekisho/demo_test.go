package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheInsideReachesThePageOutside(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })) //nolint:errcheck
	inner, err := dialFor(t.Context(), server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	client := pageClient(int(inner.Fd()))
	for range 3 {
		resp, err := client.Get("http://127.0.0.1/hello")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "/hello" {
			t.Errorf("got %q, %v", body, err)
		}
		client.CloseIdleConnections()
	}
	server.Close()
	if _, err := client.Get("http://127.0.0.1/"); err == nil {
		t.Error("a page that is gone was reached")
	}
}

func TestTheResultIsJudged(t *testing.T) {
	good := demoResult{Scenario: "worm", DetectedS: 1, PressedS: 1, IsolatedS: 2, Proof: "wire", TrafficOK: true, Bundle: "/b", Verified: true}
	if err := good.judge(false, 0); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*demoResult){
		"not noticed":    func(r *demoResult) { r.DetectedS = 0 },
		"not pressed":    func(r *demoResult) { r.PressedS = 0 },
		"not proven":     func(r *demoResult) { r.Proof = "" },
		"3 frames":       func(r *demoResult) { r.LeakedAfter = 3 },
		"others' traffi": func(r *demoResult) { r.TrafficOK = false },
		"2 files":        func(r *demoResult) { r.FilesLost = 2 },
		"not verified":   func(r *demoResult) { r.Verified = false },
	} {
		r := good
		spoil(&r)
		if err := r.judge(false, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("judge = %v, want %q", err, want)
		}
	}
	good.PressedS = 0
	if err := good.judge(true, 0); err != nil {
		t.Errorf("nobody has to press when the gateway acts alone: %v", err)
	}
}

func TestTheLanguageFollowsTheLocale(t *testing.T) {
	for _, c := range []struct{ all, lang, want string }{
		{"", "ja_JP.UTF-8", "ja"}, {"C", "ja_JP.UTF-8", "en"}, {"ja_JP.UTF-8", "C", "ja"}, {"", "", "en"},
	} {
		t.Setenv("LC_ALL", c.all)
		t.Setenv("LC_MESSAGES", "")
		t.Setenv("LANG", c.lang)
		if got := language(); got != c.want {
			t.Errorf("language of %+v = %s", c, got)
		}
	}
}

func TestABusyListenAddressIsUsage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := demoCmd{Scenario: "worm", Headless: true, Keep: t.TempDir(), Listen: l.Addr().String()}
	err = c.Run(t.Context(), streams{io.Discard, io.Discard})
	var coded *exitError
	if !errors.As(err, &coded) || coded.code != exitUsage || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("Run = %v", err)
	}
}

func TestTheEndOfTheDemoSaysWhereTheEvidenceIs(t *testing.T) {
	var said strings.Builder
	dir := t.TempDir()
	farewell(streams{err: &said}, dir)
	if said.Len() != 0 {
		t.Errorf("nothing was sealed, and it says %q", said.String())
	}
	if err := os.Mkdir(filepath.Join(dir, "bundle"), 0o755); err != nil {
		t.Fatal(err)
	}
	farewell(streams{err: &said}, dir)
	if !strings.Contains(said.String(), dir) {
		t.Errorf("it says %q", said.String())
	}
}
