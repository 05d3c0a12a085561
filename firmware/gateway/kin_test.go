package gateway

import (
	"testing"
	"time"
)

func TestALongLookLeavesThePipelineItsTime(t *testing.T) {
	var p chase
	now := start
	if !p.due(now, 1) || p.due(now, 1) {
		t.Error("looked at nothing new, or not at something new")
	}
	p.looked(now, now) // an ordinary look takes no time worth a rest
	if !p.due(now, 2) {
		t.Error("an ordinary look is followed by none")
	}
	p.looked(now, now.Add(30*time.Millisecond))
	now = now.Add(30 * time.Millisecond)
	if p.due(now.Add(599*time.Millisecond), 3) || !p.due(now.Add(601*time.Millisecond), 3) {
		t.Error("no rest of twenty times as long, or one without end")
	}
	p.looked(now, now.Add(time.Hour))
	if now = now.Add(time.Hour); p.due(now.Add(longestRest-1), 4) || !p.due(now.Add(longestRest), 4) {
		t.Error("a very long look is not followed by another within the second")
	}
	p.looked(now, now.Add(30*time.Millisecond))
	if !p.due(now.Add(-time.Hour), 5) {
		t.Error("a clock that was set back stops the looking")
	}
	for p.spent = followAtOnce; p.due(now.Add(-time.Hour), 6); {
		t.Fatal("what was used up is not")
	}
	if !p.due(now.Add(-time.Hour+refreshEvery), 6) {
		t.Error("nothing comes back with the time")
	}
}
