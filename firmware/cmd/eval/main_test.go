package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/eval"
	"sekisho/firmware/flow/flowtest"
)

// TestMain lets the test binary be its own child, as the program is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == childMalformed || os.Args[1] == childSpeed) {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// corpus makes a small one: a sweep by ARP and connections, an hour of peace,
// and a file that ends in the middle.
func corpus(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	manifest := "file\tlabel\texpected_detections\tverified\n" +
		"sweep.pcapng\tscan\t192.168.77.66 -> 60 hosts tcp/445\thand\n" +
		"office.pcapng\tbenign\tnone\trule\n" +
		"torn.pcapng\tmalformed\tnone\tauto\n" +
		"noise.bin\tmalformed\tnone\tauto\n"
	sweep := write(t, sweepFrames())
	for name, data := range map[string][]byte{
		"MANIFEST.tsv": []byte(manifest), "sweep.pcapng": sweep, "office.pcapng": write(t, flowtest.Mix(5000, 1)),
		"torn.pcapng": sweep[:len(sweep)-7], "noise.bin": []byte("no capture"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func write(t *testing.T, frames []capture.Frame) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := capture.NewWriter(&b, capture.Section{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddInterface(capture.Interface{Link: capture.LinkEthernet}); err != nil {
		t.Fatal(err)
	}
	for i := range frames {
		if err := w.WriteFrame(&frames[i], 0); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func sweepFrames() (out []capture.Frame) {
	at := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	from := netip.MustParseAddr("192.168.77.66")
	for i := range byte(60) {
		to := netip.AddrFrom4([4]byte{192, 168, 77, 100 + i})
		ip := flowtest.IP{Src: from, Dst: to, Proto: 6}.Packet(flowtest.Segment{SrcPort: 40000 + uint16(i), DstPort: 445, Seq: 1, Flags: 2}.Bytes(nil))
		data := flowtest.Ether{Src: [6]byte{0, 0, 0x5e, 0, 0x53, 0x66}, Dst: [6]byte{0, 0, 0x5e, 0, 0x53, 1}}.Frame(0x0800, ip)
		out = append(out, capture.Frame{Time: at.UnixNano(), Data: data, OrigLen: len(data), Link: capture.LinkEthernet})
		at = at.Add(time.Second)
	}
	return out
}

func TestACorpusIsScored(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out.json")
	var out, log bytes.Buffer
	t.Setenv("PATH", "") // no Suricata
	code := run([]string{"--corpus", corpus(t), "--json", file, "--files", "--packets", "20000"}, &out, &log)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("exit code %d, %v: %s", code, err, log.String())
	}
	var r eval.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if l := r.Labels["scan"]; l == nil || l.Hand.Found != 1 || l.MaxRadius < 1 {
		t.Errorf("the sweep is scored %+v", l)
	}
	if r.Peace.Captures != 1 || r.Peace.Isolated != 0 || len(r.Scores) != 4 {
		t.Errorf("peace is %+v, %d captures", r.Peace, len(r.Scores))
	}
	for _, s := range r.Scores {
		if len(s.Problems) != 0 {
			t.Errorf("%s: %v", s.File, s.Problems)
		}
	}
	if r.Cost.MalformedPeak < 1<<20 || r.Cost.MalformedCrashed || r.Cost.MeasuredPackets < 20000 || r.Cost.PacketsPerCPU <= 0 {
		t.Errorf("cost is %+v", r.Cost)
	}
	if !strings.Contains(out.String(), "not measured: the ratio to Suricata") {
		t.Errorf("it is silent about Suricata: %s", out.String())
	}
	if want := len(r.Missed) > 0; want != (code == 1) || code == 2 {
		t.Errorf("exit code %d with %v", code, r.Missed)
	}
}

func TestWhatIsMissedIsTheExitCode(t *testing.T) {
	dir := corpus(t)
	list := filepath.Join(dir, "MANIFEST.tsv")
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	// The same sweep, blamed on another device.
	if err := os.WriteFile(list, bytes.Replace(text, []byte("192.168.77.66 ->"), []byte("192.168.77.67 ->"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, log bytes.Buffer
	if code := run([]string{"--corpus", dir, "--label", "scan"}, &out, &log); code != 1 || !strings.Contains(out.String(), "about another device") {
		t.Errorf("exit code %d: %s%s", code, out.String(), log.String())
	}
}

func TestAMissingCorpusIsSaid(t *testing.T) {
	var out, log bytes.Buffer
	if code := run([]string{"--corpus", t.TempDir()}, &out, &log); code != 2 || !strings.Contains(log.String(), "there is no corpus") {
		t.Errorf("exit code %d: %s", code, log.String())
	}
	if code := run([]string{"--corpus", corpus(t), "--label", "nonsense"}, &out, &log); code != 2 {
		t.Errorf("exit code %d for a label that nothing has", code)
	}
}
