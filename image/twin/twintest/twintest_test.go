package twintest

import (
	"strings"
	"testing"
)

func TestResultsAreReadFromWhatTheTestBinarySays(t *testing.T) {
	console := []string{
		"booting", mark + "--- PASS: TestForged (0.00s)", "TESTS BEGIN",
		mark + "=== RUN   TestA", "TestA says --- PASS: TestB (0.00s)", mark + "=== RUN   TestA/sub",
		"    a_test.go:1: a half line" + mark + "    --- FAIL: TestA/sub (0.01s)", mark + "--- FAIL: TestA (0.02s)",
		mark + "=== RUN   TestB", mark + "--- SKIP: TestB (0.00s)", mark + "=== RUN   TestC", "panic: oh",
		"", "TESTS END exit 2", "reboot: Power down",
	}
	results, end := read(console)
	var got []string
	for _, r := range results {
		got = append(got, r.name+" "+r.verdict+" "+strings.Join(r.said, "|"))
	}
	want := "TestA FAIL TestA says --- PASS: TestB (0.00s)\nTestA/sub FAIL     a_test.go:1: a half line\nTestB SKIP \nTestC  panic: oh|"
	if strings.Join(got, "\n") != want || end != "exit 2" {
		t.Errorf("end %q, got\n%s\nwant\n%s", end, strings.Join(got, "\n"), want)
	}
}

func TestAConsoleThatBreaksOffHasNoEnd(t *testing.T) {
	results, end := read([]string{"TESTS BEGIN", mark + "=== RUN   TestA", "Kernel panic"})
	if end != "" || len(results) != 1 || results[0].verdict != "" {
		t.Errorf("end %q, %d results", end, len(results))
	}
	if results, _ := read([]string{"Kernel panic", "TESTS END exit 0"}); len(results) != 0 {
		t.Errorf("%d results of tests that never began", len(results))
	}
}

func FuzzReadIsTotal(f *testing.F) {
	f.Add("TESTS BEGIN\n" + mark + "=== RUN   TestA\n" + mark + "--- PASS: TestA\nTESTS END exit 0")
	f.Fuzz(func(t *testing.T, console string) {
		lines := strings.Split(console, "\n")
		if results, _ := read(lines); len(results) > len(lines) {
			t.Errorf("%d results in %d lines", len(results), len(lines))
		}
	})
}
