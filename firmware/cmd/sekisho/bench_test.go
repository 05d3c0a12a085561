package main

import (
	"strings"
	"testing"
)

func TestBenchReportsMediansWorstAndResolution(t *testing.T) {
	var out strings.Builder
	report(&out, []measured{
		{PressToLastLeakMs: 9, PressToProofMs: 300, AttackToPressMs: 70, BusyPerSecond: 1000},
		{PressToLastLeakMs: 2, PressToProofMs: 500, AttackToPressMs: 10, BusyPerSecond: 500},
		{PressToLastLeakMs: 80, PressToProofMs: 400, AttackToPressMs: 40, BusyPerSecond: 800},
		{PressToLastLeakMs: 4, PressToProofMs: 350, AttackToPressMs: 20, BusyPerSecond: 900},
	})
	for _, want := range []string{
		"leaked frame    median     6.5 ms   worst    80.0 ms   (4 runs; target: median under 50 ms)",
		"from the wire  median   375.0 ms   worst   500.0 ms",
		"to button  median    30.0 ms   worst    70.0 ms",
		"resolution of the leak: 2.0 ms",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
