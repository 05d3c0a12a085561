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
