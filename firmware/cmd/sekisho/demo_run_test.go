package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sekisho/firmware/evidence"
	"sekisho/firmware/lab"
)

// trace is what a demonstration could leave on this machine.
type trace struct {
	processes  []string
	namespaces []string
}

// The demonstration names its processes after the test binary, and marks them
// by the environment that it was started with.
func left(t *testing.T, mark string) (out trace) {
	t.Helper()
	pids, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range pids {
		env, err := os.ReadFile(dir + "/environ")
		if err != nil || !strings.Contains(string(env), mark) {
			continue
		}
		stat, _ := os.ReadFile(dir + "/stat")
		if strings.Contains(string(stat), ") Z ") {
			continue
		}
		out.processes = append(out.processes, strings.TrimSpace(string(stat)))
		for _, kind := range []string{"net", "pid", "mnt"} {
			if ns, err := os.Readlink(dir + "/ns/" + kind); err == nil {
				out.namespaces = append(out.namespaces, ns)
			}
		}
	}
	return out
}

// demo is one demonstration with a temporary folder of its own.
type demo struct {
	t         *testing.T
	mark, tmp string
	keep      string
}

func newDemo(t *testing.T) *demo {
	tmp := t.TempDir()
	d := &demo{t: t, mark: "SEKISHO_TEST_MARK=" + filepath.Base(filepath.Dir(tmp)) + filepath.Base(tmp), tmp: tmp, keep: filepath.Join(t.TempDir(), "kept")}
	t.Cleanup(func() { removeSealed(d.keep) })
	return d
}

// gone waits until the kernel has taken back what was killed.
func (d *demo) gone() {
	d.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		now := left(d.t, d.mark)
		if len(now.processes) == 0 {
			break
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("left: %v", now)
		}
		time.Sleep(20 * time.Millisecond) // only polling shows it
	}
	entries, err := os.ReadDir(d.tmp)
	if err != nil || len(entries) != 0 {
		d.t.Errorf("temporary files are left: %v %v", entries, err)
	}
}

// Every scenario of the lab is played through, with a press; the worm also
// without anybody.
func TestTheDemonstrationKeepsItsContract(t *testing.T) {
	type run struct {
		name, scenario string
		auto           bool
	}
	runs := []run{{"worm by itself", "worm", true}}
	for _, s := range lab.Scenarios() {
		runs = append(runs, run{s.Name, s.Name, false})
	}
	for _, c := range runs {
		t.Run(c.name, func(t *testing.T) {
			d := newDemo(t)
			args := []string{"demo", "--scenario", c.scenario, "--headless", "--json", "--keep", d.keep}
			if c.auto {
				args = append(args, "--auto")
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			cmd := program(ctx, args...)
			cmd.Env = append(cmd.Env, d.mark, "TMPDIR="+d.tmp)
			s := finish(t, cmd)
			if s.code != 0 {
				t.Fatalf("exit code %d:\n%s%s", s.code, s.out, s.err)
			}
			d.judge(s.out, c.scenario, c.auto)
			d.gone()
		})
	}
}

// judge checks every field of the contract's object, the last line.
func (d *demo) judge(out, scenario string, auto bool) {
	d.t.Helper()
	all := strings.Split(strings.TrimSpace(out), "\n")
	var got map[string]any
	if err := json.Unmarshal([]byte(all[len(all)-1]), &got); err != nil {
		d.t.Fatalf("%v in %s", err, out)
	}
	var fields []string
	for f := range got {
		fields = append(fields, f)
	}
	slices.Sort(fields)
	want := []string{"bundle", "detected_s", "detectors", "files_lost", "hosts_reached_before", "isolated_s", "leaked_frames_after", "office_traffic_ok",
		"pressed_s", "proof", "scenario", "verified"}
	if !slices.Equal(fields, want) {
		d.t.Errorf("fields are %v, want %v", fields, want)
	}
	seconds := func(name string) float64 { v, _ := got[name].(float64); return v }
	if got["scenario"] != scenario || got["proof"] != "wire" || got["leaked_frames_after"] != 0.0 || got["office_traffic_ok"] != true || got["verified"] != true {
		d.t.Errorf("the result is %v", got)
	}
	if seconds("detected_s") <= 0 || seconds("isolated_s") < seconds("detected_s") || seconds("isolated_s") < seconds("pressed_s") {
		d.t.Errorf("the order of events is %v", got)
	}
	if pressed := seconds("pressed_s"); auto && pressed != 0 || !auto && pressed < seconds("detected_s") {
		d.t.Errorf("pressed after %v s", pressed)
	}
	if lost := seconds("files_lost"); scenario == "ransomware" && lost == 0 || lost > 20 {
		d.t.Errorf("%v files were lost", lost)
	}
	spoke, _ := got["detectors"].([]any)
	s, _ := lab.FindScenario(scenario)
	if !slices.ContainsFunc(spoke, func(name any) bool { n, _ := name.(string); return slices.Contains(s.Detectors, n) }) {
		d.t.Errorf("%v spoke, none of %v", spoke, s.Detectors)
	}
	if n, ok := got["hosts_reached_before"].(float64); !ok || n < 0 || n != float64(int(n)) {
		d.t.Errorf("hosts_reached_before is %v", got["hosts_reached_before"])
	}
	bundle, _ := got["bundle"].(string)
	if !filepath.IsAbs(bundle) || filepath.Dir(bundle) != d.keep {
		d.t.Errorf("the bundle is in %q, not in %s", bundle, d.keep)
	}
	if _, err := evidence.Verify(bundle, evidence.VerifyOptions{}); err != nil {
		d.t.Errorf("the kept bundle: %v", err)
	}
	entries, err := os.ReadDir(d.keep)
	if err != nil || len(entries) != 1 {
		d.t.Errorf("kept is %v (%v), want the bundle alone", entries, err)
	}
}

func TestNothingIsLeftOfADemonstrationThatIsStopped(t *testing.T) {
	for name, c := range map[string]struct {
		after  string
		signal syscall.Signal
		code   int // -1: by the signal
	}{
		"Ctrl-C while it builds":       {"building", syscall.SIGINT, 1},
		"Ctrl-C under attack":          {"misbehaves", syscall.SIGINT, 1},
		"killed while it starts":       {"starting", syscall.SIGKILL, -1},
		"killed after isolation":       {"isolated after", syscall.SIGKILL, -1},
		"terminated in ordinary hours": {"ordinary traffic", syscall.SIGTERM, 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDemo(t)
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			cmd := program(ctx, "demo", "--scenario", "worm", "--headless", "--json", "--keep", d.keep)
			cmd.Env = append(cmd.Env, d.mark, "TMPDIR="+d.tmp)
			heard := &listener{word: c.after, heard: make(chan struct{})}
			cmd.Stderr = heard
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-heard.heard:
			case <-ctx.Done():
				t.Error("it never came that far")
			}
			if n := len(left(t, d.mark).processes); n < 2 {
				t.Errorf("%d processes run", n)
			}
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			cmd.Wait() //nolint:errcheck // the state tells
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			d.gone()
		})
	}
}

// listener waits for a word on stderr.
type listener struct {
	word  string
	seen  strings.Builder
	done  bool
	heard chan struct{}
}

func (l *listener) Write(p []byte) (int, error) {
	l.seen.Write(p)
	if !l.done && strings.Contains(l.seen.String(), l.word) {
		l.done = true
		close(l.heard)
	}
	return len(p), nil
}
