package detect_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"sekisho/firmware/detect"
)

// FuzzFindingJSON reads what may stand in a findings file: it never panics, and
// what is accepted is written back the same, however often.
func FuzzFindingJSON(f *testing.F) {
	at := time.Date(2026, 4, 1, 9, 0, 0, 5, time.UTC)
	seed, err := json.Marshal(detect.Finding{
		Time: at, Detector: "worm", Technique: "T1210", Score: 0.9118, Confidence: detect.High, First: at, Last: at, PeerCount: 5,
		Host:  detect.Host{MAC: mac(10), IP: ip(10), IPs: []netip.Addr{ip(10), netip.MustParseAddr("fe80::1")}, Name: "pc"},
		Peers: []detect.Host{{IP: ip(11), IPs: []netip.Addr{ip(11)}}},
		Title: detect.Text{EN: "a", JA: "あ"}, Explain: detect.Text{EN: "b", JA: "い"},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"type":"finding"}`))
	f.Add([]byte(`{"type":"finding","host":{"mac":"00:16:3e:00:00:0g"}}`))
	f.Add([]byte(`{"type":"finding","host":{"ip":"fe80::1%eth0"},"score":1e308}`))
	f.Add([]byte(`{"type":"finding","time":"9999-12-31T23:59:59-01:00"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var first, second detect.Finding
		if json.Unmarshal(line, &first) != nil {
			return
		}
		once, err := json.Marshal(first)
		if err != nil {
			t.Fatalf("accepted, but cannot be written: %v", err)
		}
		if err := json.Unmarshal(once, &second); err != nil {
			t.Fatalf("%v in its own line %s", err, once)
		}
		twice, err := json.Marshal(second)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%v\n%s\n%s", err, once, twice)
		}
	})
}
