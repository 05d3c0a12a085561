package eve

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/detect"
)

func onLAN(a netip.Addr) bool { return netip.MustParsePrefix("192.168.77.0/24").Contains(a) }

// alert is one line as Suricata 7 writes it.
func alert(src, dst string, sid, severity int, second int) string {
	return fmt.Sprintf(`{"timestamp":"2026-04-01T09:00:%02d.123456+0900","flow_id":1,"in_iface":"br0","event_type":"alert","src_ip":%q,"src_port":443,"dest_ip":%q,"dest_port":50000,"proto":"TCP","ether":{"src_mac":"00:16:3e:00:00:01","dest_mac":"00:16:3e:00:00:02"},"alert":{"action":"allowed","gid":1,"signature_id":%d,"rev":2,"signature":"ET MALWARE Example CnC Response","category":"Malware Command and Control Activity Detected","severity":%d,"metadata":{"mitre_technique_id":["T1071.001"]}},"app_proto":"tls"}`,
		second, src, dst, sid, severity)
}

func TestAlertNamesTheDeviceInside(t *testing.T) {
	for _, c := range []struct{ src, dst, host, mac string }{
		{"203.0.113.9", "192.168.77.10", "192.168.77.10", "00:16:3e:00:00:02"}, // the control server answers
		{"192.168.77.10", "203.0.113.9", "192.168.77.10", "00:16:3e:00:00:01"},
		{"192.168.77.10", "192.168.77.20", "192.168.77.10", "00:16:3e:00:00:01"},
	} {
		a, err := Parse([]byte(alert(c.src, c.dst, 2000001, 1, 0)))
		if err != nil {
			t.Fatal(err)
		}
		f, ok := a.Finding(onLAN, detect.High)
		if !ok || f.Host.IP.String() != c.host || f.Host.MAC.String() != c.mac || f.Technique != "T1071.001" || f.Confidence != detect.High {
			t.Errorf("%s -> %s: %+v", c.src, c.dst, f)
		}
		if !f.Time.Equal(time.Date(2026, 4, 1, 0, 0, 0, 123456000, time.UTC)) {
			t.Errorf("time %v", f.Time)
		}
	}
	a, _ := Parse([]byte(alert("203.0.113.9", "203.0.113.10", 1, 1, 0)))
	if _, ok := a.Finding(onLAN, detect.High); ok {
		t.Error("an alert between two strangers is given to a device of the office")
	}
}

func TestSeverityAndTrustMakeTheBand(t *testing.T) {
	for _, c := range []struct {
		severity    int
		trust, want detect.Confidence
	}{
		{1, detect.High, detect.High}, {2, detect.High, detect.Medium}, {3, detect.High, detect.Low},
		{1, detect.Medium, detect.Medium}, {2, detect.Medium, detect.Low}, {1, detect.Low, detect.Low}, {0, detect.High, detect.Low},
	} {
		a, err := Parse([]byte(alert("192.168.77.10", "203.0.113.9", 1, c.severity, 0)))
		if err != nil {
			t.Fatal(err)
		}
		if f, _ := a.Finding(onLAN, c.trust); f.Confidence != c.want {
			t.Errorf("severity %d, trust %s: %s, want %s", c.severity, c.trust, f.Confidence, c.want)
		}
	}
}

func TestVictimOfTheOutsideIsNotIsolated(t *testing.T) {
	a, err := Parse([]byte(alert("203.0.113.9", "192.168.77.10", 1, 1, 0)))
	if err != nil {
		t.Fatal(err)
	}
	a.Src, a.Dst = netip.AddrPortFrom(a.Src.Addr(), 50000), netip.AddrPortFrom(a.Dst.Addr(), 445)
	if f, _ := a.Finding(onLAN, detect.High); f.Confidence != detect.Medium {
		t.Errorf("%s, want medium", f.Confidence)
	}
}

// gather follows a log until n findings came.
type gather struct {
	t     *testing.T
	path  string
	found chan detect.Finding
	f     *Follower
}

func follow(t *testing.T, path string) *gather {
	g := &gather{t: t, path: path, found: make(chan detect.Finding, 1000)}
	g.f = NewFollower(Config{Path: path, Trust: detect.Medium, OnLAN: onLAN, Found: func(_ context.Context, f detect.Finding) error {
		g.found <- f
		return nil
	}})
	if err := g.f.open(true); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	t.Cleanup(g.f.close)
	return g
}

func (g *gather) write(s string) {
	g.t.Helper()
	f, err := os.OpenFile(g.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		_, err = f.WriteString(s)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	f.Close()
}

func (g *gather) want(n int) {
	g.t.Helper()
	if err := g.f.drain(g.t.Context()); err != nil {
		g.t.Fatal(err)
	}
	if len(g.found) != n {
		g.t.Fatalf("%d findings, want %d", len(g.found), n)
	}
	for range n {
		<-g.found
	}
}

func TestLogIsFollowedFromItsEndThroughRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "eve.json")
	if err := os.WriteFile(path, []byte(alert("192.168.77.1", "203.0.113.9", 1, 1, 0)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := follow(t, path)
	g.want(0) // of before the start
	line := alert("192.168.77.2", "203.0.113.9", 1, 1, 1) + "\n"
	g.write(line[:100])
	g.want(0)
	g.write(line[100:])
	g.want(1)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	g.write(alert("192.168.77.3", "203.0.113.9", 1, 1, 2) + "\n")
	g.want(1)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	g.write(alert("192.168.77.4", "9.9.9.9", 1, 1, 3) + "\n")
	g.want(1)
}

func TestRepeatedAlertsAreOneFinding(t *testing.T) {
	g := follow(t, filepath.Join(t.TempDir(), "eve.json"))
	for i := range 500 {
		g.write(alert("192.168.77.2", "203.0.113.9", 1, 1, i%60) + "\n")
	}
	g.write(alert("192.168.77.2", "203.0.113.9", 2, 1, 59) + "\n")
	if err := g.f.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(g.found); n < 2 || n > 20 { // the test's clock jumps back each minute
		t.Errorf("%d findings", n)
	}
}

func TestHostileLinesAreCountedAndPassedOver(t *testing.T) {
	g := follow(t, filepath.Join(t.TempDir(), "eve.json"))
	g.write("{\"alert\"\n" + strings.Repeat("x", maxLine+9) + "\n" + `{"event_type":"alert","alert":{}}` + "\n\n" + alert("192.168.77.9", "203.0.113.9", 3, 1, 1) + "\n")
	g.want(1)
	if bad, _ := g.f.Stats(); bad != 3 {
		t.Errorf("%d bad lines, want 3", bad)
	}
}

func TestTheZoneOfAnAddressIsNotBelieved(t *testing.T) {
	a, err := Parse([]byte(alert("192.168.77.10", "fe80::1%\\u001b[2J"+strings.Repeat("x", 1000), 1, 1, 0)))
	if err == nil && a.Dst.String() != "[fe80::1]:50000" {
		t.Errorf("address %q", a.Dst)
	}
	line := strings.Replace(alert("192.168.77.10", "fe80::1", 1, 1, 0), `"fe80::1"`, `"fe80::1%eth0\u000aforged"`, 1)
	if a, err = Parse([]byte(line)); err != nil || a.Dst.String() != "[fe80::1]:50000" {
		t.Errorf("address %q, %v", a.Dst, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(alert("192.168.77.10", "203.0.113.9", 1, 1, 0)))
	f.Add([]byte(strings.Replace(alert("192.168.77.10", "203.0.113.9", 1, 1, 0), "Example", `\u202eelpmaxE\u200b`, 1)))
	f.Add([]byte(`{"event_type":"alert","src_ip":"::1","dest_ip":"x","alert":{"signature":"\u0000"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Parse(b)
		if err != nil {
			return
		}
		if len(a.Signature) > 160 || strings.ContainsAny(a.Signature, "\n\x00\u202e\u200b") {
			t.Errorf("signature %q", a.Signature)
		}
		if found, ok := a.Finding(onLAN, detect.High); ok {
			if _, err := json.Marshal(found); err != nil {
				t.Error(err)
			}
		}
	})
}
