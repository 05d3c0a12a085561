package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// victimMode makes the test binary supervise a whole office that is at work
// and under attack, until it is killed.
const victimMode = "SEKISHO_LAB_TEST_VICTIM"

func victim() int {
	if !Inside() {
		code, err := Supervise(context.Background(), Child{Stdout: os.Stdout, Stderr: os.Stderr})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return code
	}
	ctx := context.Background()
	fmt.Println("inside")
	o, err := Start(ctx, Config{Dir: Dir, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		fmt.Println("started")
		err = o.Join(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("joined")
	for _, name := range []string{"worm", "scan", "arp-spoof", "rogue-dhcp"} {
		s, err := FindScenario(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		go s.Attack(ctx, o) //nolint:errcheck
	}
	o.Traffic(ctx)
	return 0
}

// processes lists what lives, without this process and its threads.
func processes(t *testing.T) (out []string) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		name, err := os.ReadFile(d + "/comm")
		stat, _ := os.ReadFile(d + "/stat")
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			out = append(out, filepath.Base(d)+" "+strings.TrimSpace(string(name)))
		}
	}
	slices.Sort(out)
	return out
}

// namespaces lists the distinct ones that a process or a descriptor holds.
func namespaces(t *testing.T) (out []string) {
	t.Helper()
	for _, pattern := range []string{"/proc/[0-9]*/ns/*", "/proc/[0-9]*/task/*/ns/*", "/proc/[0-9]*/fd/*"} {
		links, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if to, err := os.Readlink(l); err == nil && strings.Contains(to, ":[") && !strings.HasPrefix(to, "socket") && !strings.HasPrefix(to, "pipe") && !strings.HasPrefix(to, "anon") {
				out = append(out, to)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// gone waits until the kernel has finished with what was killed.
func gone(t *testing.T, what string, before []string, now func(*testing.T) []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := retry(ctx, 20*time.Millisecond, func() error {
		for _, x := range now(t) {
			if !slices.Contains(before, x) {
				return fmt.Errorf("%s is left", x)
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func outside(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, c := range [][]string{{"ip", "-o", "link"}, {"ip", "netns"}, {"nft", "list", "ruleset"}, {"cat", "/proc/self/mountinfo"}} {
		path, err := find(c[0])
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(path, c[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", c, err, out)
		}
		all.Write(out)
	}
	return all.String()
}

func TestNothingIsLeftHoweverTheSupervisorDies(t *testing.T) {
	const seed = 7
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	wait := []string{"", "inside", "started", "joined", "joined"}
	for i, after := range wait {
		sig := syscall.SIGKILL
		if i == len(wait)-1 {
			sig = syscall.SIGSEGV
		}
		t.Run(fmt.Sprintf("%d after %q by %s", i, after, sig), func(t *testing.T) {
			kernel, procs, spaces := outside(t), processes(t), namespaces(t)
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(without(os.Environ(), stage), victimMode+"=1")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for lines := bufio.NewScanner(out); after != "" && lines.Scan() && lines.Text() != after; {
			}
			time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond) // a moment that nobody chose
			if after == "joined" && len(processes(t)) < len(procs)+5 {
				t.Errorf("hardly anything runs: %v", processes(t))
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			go io.Copy(io.Discard, out) //nolint:errcheck
			cmd.Wait()                  //nolint:errcheck // killed
			gone(t, "processes", procs, processes)
			gone(t, "namespaces", spaces, namespaces)
			if now := outside(t); now != kernel {
				t.Errorf("links, rules or mounts differ:\n%s\nbefore:\n%s", now, kernel)
			}
		})
	}
}

func TestTheExitCodeComesThrough(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run", "^$", "-test.no-such-flag")
	cmd.Env = without(os.Environ(), stage)
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("exit code %d (%v), want that of the worker, 2", code, err)
	}
}
