package client

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/wire"
)

func (g *gateway) signed() []byte {
	g.t.Helper()
	signed, err := g.ledger.Checkpoint()
	if err != nil {
		g.t.Fatal(err)
	}
	return signed
}

func (g *gateway) append(action string) {
	g.t.Helper()
	if _, err := g.ledger.Append(ledger.Entry{Time: time.Unix(1, 0).UTC(), Actor: "test", Action: action, Subject: "x"}); err != nil {
		g.t.Fatal(err)
	}
}

func TestAProvenCheckpointTakesThePlaceOfTheKeptOne(t *testing.T) {
	g := newGateway(t)
	c, _ := g.vendor()
	if grown, err := c.CheckLedger(t.Context()); err != nil || grown != (Growth{2, 2}) {
		t.Errorf("unchanged: %v, %v", grown, err)
	}
	for i := range int64(5) {
		g.append("more")
		if grown, err := c.CheckLedger(t.Context()); err != nil || grown != (Growth{2 + i, 3 + i}) {
			t.Errorf("grown: %v, %v", grown, err)
		}
		if kept, err := c.profile.Checkpoint(); err != nil || !bytes.Equal(kept, g.signed()) {
			t.Errorf("kept %s, %v", kept, err)
		}
	}
}

func TestATamperedLedgerIsAnAlarmAndBothCheckpointsAreKept(t *testing.T) {
	other := func(actions ...string) func(*gateway) {
		return func(g *gateway) { g.ledger = g.newLedger(actions...) }
	}
	answer := func(path string, h http.HandlerFunc) func(*gateway) {
		return func(g *gateway) {
			g.append("more")
			g.answer(path, h)
		}
	}
	for name, change := range map[string]func(*gateway){
		"shrunk":              other("boot"),
		"emptied":             other(),
		"rewritten":           other("boot", "nothing"),
		"rewritten and grown": other("boot", "nothing", "more"),
		"another device's": func(g *gateway) {
			key, err := ledger.LoadOrCreateKey(filepath.Join(t.TempDir(), "key"))
			if err != nil {
				t.Fatal(err)
			}
			g.key = key
			g.ledger = g.newLedger("boot", "find", "more")
		},
		"not signed": answer(wire.PathCheckpoint, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }),
		"no proof": answer(wire.PathConsistency, func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, http.StatusNotFound, wire.ErrorDetail{Code: wire.CodeUnknown})
		}),
		"empty proof": answer(wire.PathConsistency, func(w http.ResponseWriter, _ *http.Request) { reply(w, wire.Consistency{From: 2, To: 3}) }),
		"other proof": answer(wire.PathConsistency, func(w http.ResponseWriter, _ *http.Request) { reply(w, wire.Consistency{From: 1, To: 3}) }),
		"no hash": answer(wire.PathConsistency, func(w http.ResponseWriter, _ *http.Request) {
			reply(w, wire.Consistency{From: 2, To: 3, Proof: []string{"x"}})
		}),
		"too many hashes": answer(wire.PathConsistency, func(w http.ResponseWriter, _ *http.Request) {
			reply(w, wire.Consistency{From: 2, To: 3, Proof: make([]string, maxProof+1)})
		}),
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			c, _ := g.vendor()
			before := g.signed()
			change(g)
			for range 2 { // the second time finds the same
				_, err := c.CheckLedger(t.Context())
				var found *TamperError
				if !errors.As(err, &found) {
					t.Fatalf("no alarm: %v", err)
				}
				if kept, err := os.ReadFile(filepath.Join(found.Dir, "kept")); err != nil || !bytes.Equal(kept, before) {
					t.Errorf("evidence: kept %q, %v", kept, err)
				}
				if got, err := os.ReadFile(filepath.Join(found.Dir, "received")); err != nil || name != "not signed" && !bytes.Equal(got, g.signed()) {
					t.Errorf("evidence: received %q, %v", got, err)
				}
			}
			if kept, err := c.profile.Checkpoint(); err != nil || !bytes.Equal(kept, before) {
				t.Errorf("the kept checkpoint is %s, %v", kept, err)
			}
			if alarms, _ := filepath.Glob(filepath.Join(c.profile.Dir, "alarm-*")); len(alarms) != 1 {
				t.Errorf("alarms %v", alarms)
			}
		})
	}
}

func TestTroubleWithTheNetworkIsNoAlarm(t *testing.T) {
	for _, path := range []string{wire.PathCheckpoint, wire.PathConsistency} {
		for name, h := range map[string]http.HandlerFunc{
			"cut": func(w http.ResponseWriter, _ *http.Request) { breakOff(w) },
			"busy": func(w http.ResponseWriter, _ *http.Request) {
				refuse(w, http.StatusServiceUnavailable, wire.ErrorDetail{Code: wire.CodeUnavailable})
			},
		} {
			g := newGateway(t)
			c, _ := g.vendor()
			before := g.signed()
			g.append("more")
			g.answer(path, h)
			_, err := c.CheckLedger(t.Context())
			var found *TamperError
			if err == nil || errors.As(err, &found) {
				t.Errorf("%s %s: %v", path, name, err)
			}
			if kept, err := c.profile.Checkpoint(); err != nil || !bytes.Equal(kept, before) {
				t.Errorf("%s %s: kept %s, %v", path, name, kept, err)
			}
		}
	}
}

func TestABagMustStandInTheKeptLedger(t *testing.T) {
	g := newGateway(t)
	bag := t.TempDir()
	check := func(signed []byte) error {
		c, _ := g.vendor()
		if err := errors.Join(os.MkdirAll(filepath.Join(bag, "ledger"), 0o755), os.WriteFile(filepath.Join(bag, "ledger", "checkpoint"), signed, 0o644)); err != nil {
			t.Fatal(err)
		}
		return c.CheckBag(t.Context(), bag)
	}
	first := g.signed()
	g.append("more")
	for name, signed := range map[string][]byte{"older": first, "as old": g.signed()} {
		if err := check(signed); err != nil {
			t.Errorf("%s than the kept checkpoint: %v", name, err)
		}
	}
	forks := map[string][]string{"another ledger": {"boot", "nothing"}, "newer than the gateway says": {"boot", "find", "more", "more"}}
	honest := g.ledger
	for name, actions := range forks {
		g.ledger = g.newLedger(actions...)
		signed := g.signed()
		g.ledger = honest
		var found *TamperError
		if err := check(signed); !errors.As(err, &found) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
