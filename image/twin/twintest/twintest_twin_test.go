//go:build twin

package twintest

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const sample = "sekisho/image/twin/twintest/sample"

func word(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("sample/testdata/word")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAPackageRunsInTheTwin(t *testing.T) {
	Run(t, Package{Import: sample, Tags: "sample", Run: "^Test(TheKernel|WhatCame)",
		Modules: []string{"bridge", "8021q"}, Debian: []string{"iproute2"}, Files: map[string]string{"etc/some/file": word(t)}})
}

// TestWhatGoesWrongInTheTwinIsNoticed looks at what Run would report: were it
// to report it here, this test would fail.
func TestWhatGoesWrongInTheTwinIsNoticed(t *testing.T) {
	for name, want := range map[string]struct{ verdict, end, word string }{
		"Fails":   {"FAIL", "exit 1", "on purpose"},
		"Skips":   {"SKIP", "exit 0", "on purpose"},
		"Panics":  {"FAIL", "exit 2", "panic: on purpose"},
		"Exits":   {"FAIL", "exit 2", "unexpected call to os.Exit(0)"},
		"Hangs":   {"", "exit 2", "test timed out"},
		"Crashes": {"", "", "Kernel panic"},
	} {
		t.Run(name, func(t *testing.T) {
			console, err := Package{Import: sample, Tags: "sample", Run: "^Test" + name + "$", Timeout: 5 * time.Second}.boot(t)
			if (err != nil) != (want.end == "") {
				t.Error(err)
			}
			results, end := read(console)
			if len(results) != 1 || results[0].verdict != want.verdict || end != want.end {
				t.Fatalf("%d results, end %q:\n%s", len(results), end, tail(console))
			}
			if !strings.Contains(tail(console), want.word) {
				t.Errorf("nothing says %q:\n%s", want.word, tail(console))
			}
		})
	}
}
