package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/gateway"
	"sekisho/firmware/incident"
)

type benchCmd struct {
	Runs  int      `default:"5" help:"How often the virtual office is infected."`
	Files []string `arg:"" optional:"" name:"capture" type:"path" help:"Measure packets a second on these captures instead."`
}

// Run measures captures when some are given, else press to isolation.
func (c *benchCmd) Run(ctx context.Context, s streams) error {
	if len(c.Files) > 0 {
		return c.captures(s)
	}
	if c.Runs < 1 {
		return &exitError{exitUsage, errors.New("--runs must be at least 1")}
	}
	return c.isolation(ctx, s)
}

// captures reads the files once to fill the page cache, and once more for the
// measurement: without analysis and with all of it, in the same run.
func (c *benchCmd) captures(s streams) error {
	var cpu [3]time.Duration
	var sum gateway.Summary
	for i, pass := range []func(capture.Source) error{read, read, func(src capture.Source) (err error) {
		_, sum, err = gateway.Replay(src, gateway.ReplayConfig{Policy: incident.DefaultPolicy()}, nil)
		return err
	}} {
		src, err := capture.OpenFiles(c.Files...)
		if err != nil {
			return &exitError{exitDamaged, err}
		}
		runtime.GC()
		before := cpuTime()
		err = pass(src)
		cpu[i] = cpuTime() - before
		src.Close()
		var damaged *capture.DamageError
		if err != nil && !errors.As(err, &damaged) {
			return err
		}
	}
	if sum.Packets == 0 {
		return &exitError{exitDamaged, errors.New("no packets in these captures")}
	}
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(sum.Packets) }
	fmt.Fprintf(s.out, "%d packets, %d bytes\nreading alone   %8.1f ns CPU a packet\nfull analysis   %8.1f ns CPU a packet (%.2fx), %.0f packets a second and core\n",
		sum.Packets, sum.Bytes, per(cpu[1]), per(cpu[2]), per(cpu[2])/per(cpu[1]), 1e9/per(cpu[2]))
	return nil
}

func read(src capture.Source) error {
	var f capture.Frame
	for {
		if err := src.Next(&f); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// isolation plays the worm several times and prints medians.
func (c *benchCmd) isolation(ctx context.Context, s streams) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var runs []measured
	for i := range c.Runs {
		dir, err := os.MkdirTemp("", "sekisho-bench-")
		if err != nil {
			return err
		}
		m, err := demoOnce(ctx, self, dir, i)
		removeSealed(dir)
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		fmt.Fprintf(s.err, "bench: run %d of %d: button to last leaked frame %.1f ms\n", i+1, c.Runs, m.PressToLastLeakMs)
		runs = append(runs, m)
	}
	report(s.out, runs)
	return nil
}

// leakTarget is what the median from the button to the last leaked frame has to
// stay under.
const leakTarget = 50.0 // ms

func report(out io.Writer, runs []measured) {
	for _, row := range []struct {
		name  string
		value func(measured) float64
		note  string
	}{
		{"button to last leaked frame", func(m measured) float64 { return m.PressToLastLeakMs }, fmt.Sprintf("target: median under %.0f ms", leakTarget)},
		{"button to proof from the wire", func(m measured) float64 { return m.PressToProofMs }, "300 ms of it is the quiet that proves it"},
		{"first attack packet to button", func(m measured) float64 { return m.AttackToPressMs }, "the demo presses as soon as it is asked"},
	} {
		var values []float64
		for _, m := range runs {
			values = append(values, row.value(m))
		}
		slices.Sort(values)
		fmt.Fprintf(out, "%-30s median %7.1f ms   worst %7.1f ms   (%d runs; %s)\n", row.name, middle(values), values[len(values)-1], len(runs), row.note)
	}
	slowest := slices.MinFunc(runs, func(a, b measured) int { return cmp.Compare(a.BusyPerSecond, b.BusyPerSecond) })
	fmt.Fprintf(out, "resolution of the leak: %.1f ms (the attacker sent %.0f frames a second besides)\n", 1e3/slowest.BusyPerSecond, slowest.BusyPerSecond)
}

// middle is the median of sorted values.
func middle(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func demoOnce(ctx context.Context, self, dir string, seed int) (m measured, err error) {
	cmd := exec.CommandContext(ctx, self, "demo", "--scenario", "worm", "--headless", "--json", "--keep", dir, "--seed", fmt.Sprint(seed+1))
	cmd.Env = append(os.Environ(), measureVariable+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return m, fmt.Errorf("demo: %w\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, measureFile))
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(data, &m)
}

// removeSealed removes a folder with a bundle in it, whose folders are
// read-only.
func removeSealed(dir string) {
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error { //nolint:errcheck // RemoveAll tells
		if err == nil && d.IsDir() {
			os.Chmod(path, 0o700) //nolint:errcheck
		}
		return nil
	})
	os.RemoveAll(dir) //nolint:errcheck // in the temporary folder
}
