package evidence

import (
	"strings"
	"testing"
	"time"
)

func TestReportTellsWhatToDoFirstAndTheLocalTimeWithItsOffset(t *testing.T) {
	at := time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC)
	var page strings.Builder
	err := writeReport(&page, BundleInput{ID: "B-1", Report: ReportFacts{
		Next:     []Text{{EN: "do this", JA: "これを"}},
		Findings: []ReportFinding{{Time: at, Technique: "T1018", Confidence: "high", Title: Text{EN: "seen", JA: "観測"}}},
	}}, at)
	if err != nil {
		t.Fatal(err)
	}
	text := page.String()
	for _, has := range []string{"確度：高", "confidence: high", "MITRE ATT&amp;CK T1018", at.Local().Format("2006-01-02 15:04:05 -07:00")} {
		if !strings.Contains(strings.ReplaceAll(text, "&#43;", "+"), has) {
			t.Errorf("lacks %q", has)
		}
	}
	if _, offset := at.Local().Zone(); offset != 0 && !strings.Contains(text, "2026-04-01 09:00:00 UTC") {
		t.Error("local time without the time that everybody shares")
	}
	if do, seen := strings.Index(text, "do this"), strings.Index(text, "seen"); do < 0 || do > seen {
		t.Error("what to do comes after what was seen")
	}
}

func TestReportTellsWhoLostPacketsAndWhereTheTimeJumped(t *testing.T) {
	at := time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC)
	jump := func(kind string) ClockJump {
		return ClockJump{Kind: kind, At: at, Before: at.Add(time.Hour), After: at.Add(2 * time.Hour)}
	}
	texts := []string{"too busy to take them", "did not take them", "clock was set", "Packet times went back"}
	for i, x := range []Extraction{
		{Gaps: []Gap{{From: at, To: at, Frames: 7, Where: GapKernel}}},
		{Gaps: []Gap{{From: at, To: at, Frames: 7, Where: GapSpool}}},
		{ClockJumps: []ClockJump{jump(jumpClock)}},
		{ClockJumps: []ClockJump{jump(jumpPackets)}},
	} {
		var page strings.Builder
		if err := writeReport(&page, BundleInput{ID: "B-1", Completeness: Completeness{Extraction: x}}, at); err != nil {
			t.Fatal(err)
		}
		for j, text := range texts {
			if strings.Contains(page.String(), text) != (i == j) {
				t.Errorf("%+v: says %q: %v", x, text, i != j)
			}
		}
		if i >= 2 && !strings.Contains(page.String(), at.Add(2*time.Hour).Local().Format("15:04:05")) {
			t.Error("the page does not say to when")
		}
	}
}
