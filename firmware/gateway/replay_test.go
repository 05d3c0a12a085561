package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
	"sekisho/firmware/incident"
)

var (
	start    = time.Date(2026, 11, 23, 1, 30, 0, 0, time.UTC)
	infected = [6]byte{0x00, 0x00, 0x5e, 0x00, 0x53, 0x66}
	infectIP = netip.MustParseAddr("192.168.77.66")
)

// wormFrames is a host that opens tcp/445 on one address after the other, ten a
// second, as a worm does; every address that exists refuses, the rest is silent.
func wormFrames(n int) []capture.Frame {
	var out []capture.Frame
	add := func(at time.Duration, data []byte) {
		out = append(out, capture.Frame{Time: start.Add(at).UnixNano(), Data: data, OrigLen: len(data), Link: capture.LinkEthernet})
	}
	for i := range n {
		at := time.Duration(i) * 100 * time.Millisecond
		target := netip.AddrFrom4([4]byte{192, 168, 77, byte(100 + i)})
		mac := [6]byte{0x00, 0x00, 0x5e, 0x00, 0x53, byte(100 + i)}
		there, back := flowtest.IP{Src: infectIP, Dst: target, Proto: 6}, flowtest.IP{Src: target, Dst: infectIP, Proto: 6}
		syn := flowtest.Segment{SrcPort: uint16(40000 + i), DstPort: 445, Seq: 1, Flags: flow.FlagSYN}
		rst := flowtest.Segment{SrcPort: 445, DstPort: uint16(40000 + i), Ack: 2, Flags: flow.FlagRST | flow.FlagACK}
		add(at, flowtest.Ether{Src: infected, Dst: mac}.Frame(there.EtherType(), there.Packet(syn.Bytes(nil))))
		add(at+time.Millisecond, flowtest.Ether{Src: mac, Dst: infected}.Frame(back.EtherType(), back.Packet(rst.Bytes(nil))))
	}
	return out
}

func writeCapture(t *testing.T, frames []capture.Frame) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "office.pcapng")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := capture.NewWriter(f, capture.Section{})
	if err != nil {
		t.Fatal(err)
	}
	iface, err := w.AddInterface(capture.Interface{Name: "lan1", Link: capture.LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	for i := range frames {
		if err := w.WriteFrame(&frames[i], iface); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func replayJSON(t *testing.T, path string) (string, error) {
	t.Helper()
	src, err := capture.OpenFiles(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var out bytes.Buffer
	err = WriteReplay(&out, src, ReplayConfig{Policy: incident.DefaultPolicy()})
	return out.String(), err
}

func TestAWormIsIsolatedInTheReplayAndTwoReplaysAreTheSameBytes(t *testing.T) {
	path := writeCapture(t, wormFrames(20))
	first, err := replayJSON(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if second, _ := replayJSON(t, path); second != first {
		t.Errorf("two replays differ:\n%s\n%s", first, second)
	}
	var findings, incidents int
	var last map[string]any
	lines := bufio.NewScanner(bytes.NewReader([]byte(first)))
	for lines.Scan() {
		last = nil
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		switch last["type"] {
		case "finding":
			findings++
			if host := last["host"].(map[string]any); host["ip"] != infectIP.String() {
				t.Errorf("a finding names %v, want %v", host["ip"], infectIP)
			}
		case "incident":
			incidents++
			if last["action"] != "auto_isolate" {
				t.Errorf("action = %v, want auto_isolate", last["action"])
			}
		}
	}
	if findings == 0 || incidents != 1 {
		t.Errorf("%d findings and %d incidents, want some and one:\n%s", findings, incidents, first)
	}
	if last["type"] != "summary" || last["packets"] != 40.0 || last["findings"] != float64(findings) {
		t.Errorf("last line is %v", last)
	}
}

func TestATruncatedCaptureIsReadAsFarAsItGoes(t *testing.T) {
	path := writeCapture(t, wormFrames(20))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-10); err != nil {
		t.Fatal(err)
	}
	out, err := replayJSON(t, path)
	var damage *capture.DamageError
	if !errors.As(err, &damage) || damage.Offset == 0 {
		t.Errorf("error = %v, want the place of the damage", err)
	}
	if !bytes.Contains([]byte(out), []byte(`"packets":39`)) {
		t.Errorf("the readable frames are not in the summary:\n%s", out)
	}
}

func TestFramesOfALinkTypeThatIsNotDecodedAreNamed(t *testing.T) {
	all := wormFrames(3)
	for i := range all {
		all[i].Link = capture.LinkIEEE80211
	}
	_, sum, err := Replay(&frames{all: all, left: len(all)}, ReplayConfig{}, nil)
	if err != nil || sum.Packets != 6 || sum.Undecoded["IEEE 802.11 (Wi-Fi monitor mode)"] != 6 {
		t.Errorf("summary %+v, error %v", sum, err)
	}
	if _, sum, _ := Replay(&frames{all: wormFrames(3), left: 6}, ReplayConfig{}, nil); len(sum.Undecoded) != 0 {
		t.Errorf("Ethernet is named as not decoded: %v", sum.Undecoded)
	}
}

// frames is a Source over frames in memory, again and again.
type frames struct {
	all   []capture.Frame
	next  int
	round int64
	span  int64
	left  int
}

func (s *frames) Next(f *capture.Frame) error {
	if s.left == 0 {
		return io.EOF
	}
	if s.next == len(s.all) {
		s.next, s.round = 0, s.round+1
	}
	*f = s.all[s.next]
	f.Time += s.round * s.span
	s.next++
	s.left--
	return nil
}

func (*frames) Stats() capture.Stats { return capture.Stats{} }
func (*frames) Close() error         { return nil }
