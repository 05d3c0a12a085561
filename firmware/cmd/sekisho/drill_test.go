package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sekisho/firmware/drill"
)

// gatewayOf is the API of a gateway whose drill goes through the given states, one
// each time that somebody looks, and stays in the last.
type gatewayOf struct {
	mu     sync.Mutex
	states []drillReport
	asked  []string // "POST /api/drill {…}"
	refuse string   // code, then words
}

func (g *gatewayOf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var body map[string]string
	json.NewDecoder(r.Body).Decode(&body) //nolint:errcheck // a GET has none
	if r.Method == http.MethodPost {
		g.asked = append(g.asked, fmt.Sprint(r.URL.Path, body, r.Header.Get("Content-Type"), r.Header.Get("Accept-Language")))
	}
	code, words, refused := strings.Cut(g.refuse, " ")
	switch {
	case refused:
		w.WriteHeader(http.StatusConflict)
		json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": code, "message": words}}) //nolint:errcheck
		return
	case r.URL.Path == "/api/drills":
		json.NewEncoder(w).Encode(map[string]any{"drills": g.states}) //nolint:errcheck
		return
	case r.URL.Path == "/api/drill/stop":
		g.states = []drillReport{ended(drill.Stopped)}
	case r.Method == http.MethodGet && len(g.states) > 1:
		g.states = g.states[1:]
	}
	json.NewEncoder(w).Encode(g.states[0]) //nolint:errcheck
}

func (g *gatewayOf) was() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked
}

var nine = time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)

// at is a drill in a state that runs.
func at(s drill.State) drillReport {
	d := drill.New(nine, "web:Sato", 0)
	d.State = s
	return drillReport{Drill: d, Said: d.Now().EN}
}

func ended(o drill.Outcome) drillReport {
	d := at(drill.Ended)
	d.Outcome, d.Shown, d.Pressed = o, nine, nine.Add(14*time.Second)
	took := 14.0
	d.Said, d.Reaction = d.Remark().EN, &took
	return d
}

func serve(t *testing.T, g *gatewayOf) string {
	t.Helper()
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	return server.URL + "/"
}

func TestDrillTellsEachStepAndTheResult(t *testing.T) {
	g := &gatewayOf{states: []drillReport{at(drill.Preparing), at(drill.Preparing), at(drill.Acting), at(drill.Asking), ended(drill.Passed)}}
	s := sekisho(t, "drill", "--page", serve(t, g), "--by", "Sato")
	if s.code != 0 || s.err != "" {
		t.Errorf("exit %d, %s", s.code, s.err)
	}
	from := 0
	for _, words := range []string{at(drill.Preparing).Said, at(drill.Acting).Said, at(drill.Asking).Said, "14 seconds after the lamp", "14.0 s"} {
		n := strings.Index(s.out[from:], words)
		if n < 0 || strings.Count(s.out, words) != 1 {
			t.Errorf("%q is not told once, in its turn:\n%s", words, s.out)
			continue
		}
		from += n
	}
	if asked := g.was(); len(asked) != 1 || asked[0] != "/api/drillmap[by:Sato]application/jsonen" {
		t.Errorf("asked %q", asked)
	}
}

func TestDrillForScriptsIsOneObjectOnStandardOutput(t *testing.T) {
	g := &gatewayOf{states: []drillReport{at(drill.Acting), ended(drill.Passed)}}
	s := sekisho(t, "drill", "--json", "--page", serve(t, g), "--by", "Sato")
	var d drillReport
	if err := json.Unmarshal([]byte(s.out), &d); err != nil || d.Outcome != drill.Passed || *d.Reaction != 14 || s.code != 0 {
		t.Errorf("exit %d, %v: %s", s.code, err, s.out)
	}
	if !strings.Contains(s.err, at(drill.Acting).Said) {
		t.Errorf("progress: %s", s.err)
	}
}

func TestDrillSaysByItsExitCodeHowItEnded(t *testing.T) {
	for _, o := range drill.Outcomes() {
		want := exitNotPassed
		if o == drill.Passed {
			want = 0
		}
		s := sekisho(t, "drill", "--page", serve(t, &gatewayOf{states: []drillReport{ended(o)}}), "--by", "Sato")
		if s.code != want || !strings.Contains(s.out, ended(o).Said) || s.err != "" {
			t.Errorf("%s: exit %d, want %d; %s%s", o, s.code, want, s.out, s.err)
		}
	}
}

func TestDrillThatIsRefusedSaysWhy(t *testing.T) {
	g := &gatewayOf{refuse: "drill_incident A real device needs attention."}
	sekisho(t, "drill", "--page", serve(t, g), "--by", "Sato").refuses(t, exitRefused, "A real device needs attention.")
}

func TestDrillWithoutAGatewayOrAName(t *testing.T) {
	sekisho(t, "drill", "--page", "http://127.0.0.1:1", "--by", "Sato").refuses(t, 1, "is it running")
	sekisho(t, "drill", "--page", "ftp://box", "--by", "Sato").refuses(t, exitUsage, "--page")
	sekisho(t, "drill", "--config", filepath.Join(t.TempDir(), "none.toml"), "--by", "Sato").refuses(t, exitUsage, "none.toml")
	cmd := program(t.Context(), "drill", "--page", "http://127.0.0.1:1")
	cmd.Env = append(cmd.Env, "USER=", "SUDO_USER=")
	finish(t, cmd).refuses(t, exitUsage, "--by NAME")
}

func TestCtrlCStopsTheDrill(t *testing.T) {
	g := &gatewayOf{states: []drillReport{at(drill.Asking)}}
	cmd := program(t.Context(), "drill", "--page", serve(t, g), "--by", "Sato")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said [1]byte
	if _, err := out.Read(said[:]); err != nil { // it follows
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, 4096)
	for n := 0; err == nil; n++ {
		var k int
		if k, err = out.Read(rest); strings.Contains(string(rest[:k]), "stopped by hand") {
			break
		}
	}
	cmd.Wait() //nolint:errcheck // the state tells
	if code := cmd.ProcessState.ExitCode(); code != exitNotPassed || cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("exit %d", code)
	}
	if asked := g.was(); len(asked) != 2 || !strings.HasPrefix(asked[1], "/api/drill/stopmap[by:Sato]") {
		t.Errorf("asked %q", asked)
	}
}

func TestDrillListsThePast(t *testing.T) {
	g := &gatewayOf{states: []drillReport{ended(drill.Passed), ended(drill.NobodyPressed)}}
	s := sekisho(t, "drill", "--list", "--page", serve(t, g))
	if s.code != 0 || strings.Count(s.out, "Sato") != 2 || strings.Count(s.out, "Nobody pressed") != 1 || len(g.was()) != 0 {
		t.Errorf("exit %d, asked %q:\n%s%s", s.code, g.was(), s.out, s.err)
	}
}

func TestThePageIsWhereTheSettingsSay(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:9000": "http://127.0.0.1:9000", ":9000": "http://127.0.0.1:9000", "0.0.0.0:9000": "http://127.0.0.1:9000",
		"[::]:9000": "http://127.0.0.1:9000", "192.168.77.1:80": "http://192.168.77.1:80",
	} {
		path := filepath.Join(t.TempDir(), "sekisho.toml")
		text := fmt.Sprintf("version = 1\n[network]\nbridge = \"br0\"\nports = [\"lan1\"]\nwan = \"wan0\"\nlan = [\"192.168.77.0/24\"]\n[web]\nlisten = %q\n", listen)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := (&drillCmd{Config: path}).page(); got != want || err != nil {
			t.Errorf("%s: %s, %v", listen, got, err)
		}
	}
}
