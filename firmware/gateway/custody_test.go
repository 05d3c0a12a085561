package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/ledger"
)

func TestTheExtractOfABundleBeginsWhereItsIncidentDoes(t *testing.T) {
	dir := t.TempDir()
	key, err := ledger.LoadOrCreateKey(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Config{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for n := range 520 { // more than are read at a time
		e := ledger.Entry{Time: time.Unix(0, 0), Action: "incident.finding", Subject: fmt.Sprint("I-", n/2), Detail: map[string]any{"note": "I-259"}}
		if _, err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]int64{"I-0": 0, "I-1": 2, "I-259": 518, "I-999": 520} {
		if got, err := firstAbout(l, id); got != want || err != nil {
			t.Errorf("%s: entry %d, want %d (%v)", id, got, want, err)
		}
	}
}

func TestFlowsAreThoseOfThePacketsGiven(t *testing.T) {
	packets, err := os.ReadFile(writeCapture(t, wormFrames(30)))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := writeFlows(t.Context(), &out, bytes.NewReader(packets)); err != nil || strings.Count(out.String(), "\n") != 30 || !strings.Contains(out.String(), `"server":"`) {
		t.Errorf("%v:\n%s", err, out.String())
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := writeFlows(ctx, &out, bytes.NewReader(packets)); !errors.Is(err, context.Canceled) {
		t.Errorf("at the end: %v", err)
	}
}
