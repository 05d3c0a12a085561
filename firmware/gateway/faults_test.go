package gateway

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/evidence"
	"sekisho/firmware/health"
)

// Whoever reads the Japanese page must not have to read what a system says.
func TestEveryWarningIsSaidInJapaneseAndTheSystemsWordsApart(t *testing.T) {
	g := &Gateway{faults: newFaults(), now: time.Now} // without parts: what has to look at one fails
	system := errors.New("open /var/lib/x: permission denied")
	for _, part := range []string{"drift", "policy", "mechanism", "store", "history", "freeze", "probe", "panel", "names", checkQuarantine, "archive"} {
		g.faults.set(part, system)
	}
	tree, err := health.New(g.now, time.Minute, g.checks()...)
	if err != nil {
		t.Fatal(err)
	}
	foreign := regexp.MustCompile(`permission|denied|panicked|nil pointer`)
	details := 0
	for _, r := range tree.Run(context.Background()).Warnings() {
		for _, said := range []health.Text{r.Title, r.Text, r.Help} {
			if said.JA == "" || said.EN == "" || foreign.MatchString(said.JA+said.EN) {
				t.Errorf("%s: %q, %q", r.Name, said.JA, said.EN)
			}
		}
		if strings.Contains(r.Detail, system.Error()) {
			details++
		}
	}
	if details < 9 {
		t.Errorf("%d warnings say what the system said", details)
	}
}

func TestAMissingDiskIsSaidInWords(t *testing.T) {
	full := fmt.Errorf("write segment: %w", evidence.ErrDiskFull)
	var p *health.Problem
	if err := diskProblem(full); !errors.As(err, &p) || p.Text.JA != "SSDが満杯です。" || !errors.Is(err, evidence.ErrDiskFull) {
		t.Errorf("%v", err)
	}
	if other := errors.New("EIO"); diskProblem(other) != other || diskProblem(nil) != nil {
		t.Error("what there are no words for is changed")
	}
}
