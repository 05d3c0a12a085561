package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
	"sekisho/firmware/incident"
)

// corpusDir holds captures by others, with a list of what happens in them. It
// is no part of this repository; without it the tests make captures of their own.
const corpusDir = "../../../shared/corpus"

// corpusMax keeps the test short: larger captures are replayed by hand.
const corpusMax = 2 << 20

type specimen struct {
	path  string
	name  string
	label string
	claim string // who does what, by hand against the packets; empty: nobody looked
}

func corpus(t *testing.T) []specimen {
	t.Helper()
	list, err := os.ReadFile(filepath.Join(corpusDir, "MANIFEST.tsv"))
	if errors.Is(err, os.ErrNotExist) {
		t.Log("no corpus beside the repository: replaying generated captures only")
		return generated(t)
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(list)), "\n")
	column := map[string]int{}
	for i, name := range strings.Split(lines[0], "\t") {
		column[name] = i
	}
	out := generated(t)
	for _, line := range lines[1:] {
		row := strings.Split(line, "\t")
		s := specimen{name: row[column["file"]], label: row[column["label"]]}
		s.path = filepath.Join(corpusDir, s.name)
		if row[column["verified"]] == "hand" {
			s.claim = row[column["expected_detections"]]
		}
		if info, err := os.Stat(s.path); err != nil {
			t.Error(err)
		} else if info.Size() < corpusMax {
			out = append(out, s)
		}
	}
	t.Logf("%d captures", len(out))
	return out
}

// replayed is what one replay printed, as far as the tests read it.
type replayed struct {
	findings, incidents []corpusLine
	damaged             bool
}

type corpusLine struct {
	Type       string
	Detector   string
	Confidence string
	Action     string
	Explain    string
	ExplainJA  string `json:"explain_ja"`
	Host       struct {
		MAC, IP string
		IPs     []string
	}
}

// replayOnce turns a panic into an error: it must name the capture.
func replayOnce(path string) (out []byte, damaged bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	var damage *capture.DamageError
	src, err := capture.OpenFiles(path)
	if err != nil {
		return nil, true, unless(errors.As(err, &damage), err)
	}
	defer src.Close()
	var b bytes.Buffer
	err = WriteReplay(&b, src, ReplayConfig{Policy: incident.DefaultPolicy()})
	damaged = errors.As(err, &damage)
	return b.Bytes(), damaged, unless(damaged, err)
}

func unless(expected bool, err error) error {
	if expected {
		return nil
	}
	return err
}

func replayTwice(t *testing.T, s specimen) replayed {
	t.Helper()
	first, damaged, err := replayOnce(s.path)
	if err != nil {
		t.Errorf("%s: %v", s.name, err)
	}
	if second, _, _ := replayOnce(s.path); !bytes.Equal(first, second) {
		t.Errorf("%s: two replays differ", s.name)
	}
	r := replayed{damaged: damaged}
	scan := bufio.NewScanner(bytes.NewReader(first))
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var l corpusLine
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		switch l.Type {
		case "finding":
			r.findings = append(r.findings, l)
		case "incident":
			r.incidents = append(r.incidents, l)
		}
	}
	return r
}

// unseen are captures whose claim no detector of today models, and why.
var unseen = map[string]string{
	"eternalchampion.pcap":                      "one exploited target",
	"metasploit-ms017-010-win7x64.pcap":         "one exploited target",
	"wannacry.pcap":                             "every target answers, and no connection's opening is in the capture",
	"eternalblue-success-unpatched-win7.pcap":   "one exploited target",
	"eternalromance-doublepulsar-meterpreter":   "one exploited target",
	"eternalromance-success-2008r2.pcap":        "one exploited target",
	"doublepulsar-backdoor-connect-win7.pcap":   "one connection",
	"2018-07-31-15-15-09-192.168.100.113.pcap":  "a beacon",
	"scan-NG/tests/Traces/23-tcp.pcap":          "many strangers, a contact or two each",
	"suricata-verify/tests/dhcp-request-flood/": "a flood",
}

func modelled(s specimen) bool {
	for part := range unseen {
		if strings.Contains(s.name, part) {
			return false
		}
	}
	return s.claim != "" && slices.Contains([]string{"scan", "arp-spoof", "rogue-dhcp", "worm", "iot-botnet"}, s.label)
}

var (
	anyIP  = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+`)
	anyMAC = regexp.MustCompile(`(?:[0-9a-f]{2}:){5}[0-9a-f]{2}`)
)

// names says that a host is the one whom a claim names first.
func (l corpusLine) names(claim string) bool {
	ip, mac := anyIP.FindString(claim), anyMAC.FindString(claim)
	return mac != "" && l.Host.MAC == mac || ip != "" && slices.Contains(l.Host.IPs, ip)
}

func TestCapturesOfOthers(t *testing.T) {
	found := map[string]int{}
	for _, s := range corpus(t) {
		r := replayTwice(t, s)
		peace := s.label == "benign" || s.label == "protocol-sample"
		for _, i := range r.incidents {
			if peace && i.Action == "auto_isolate" {
				t.Errorf("%s: %s would be isolated without a person", s.name, i.Host.IP)
			}
		}
		for _, f := range r.findings {
			if peace && f.Confidence != "low" {
				t.Logf("%s (%s): %s %s: %s", s.name, s.label, f.Detector, f.Confidence, f.Explain)
			}
			if f.Explain == "" || f.ExplainJA == "" {
				t.Errorf("%s: %s explains nothing", s.name, f.Detector)
			}
		}
		if !modelled(s) {
			continue
		}
		if slices.ContainsFunc(r.findings, func(f corpusLine) bool { return f.names(s.claim) }) {
			found[s.label]++
			continue
		}
		t.Errorf("%s: nothing is found about %q", s.name, s.claim)
	}
	t.Log("found by label:", found)
	for _, label := range []string{"scan", "arp-spoof", "rogue-dhcp", "worm"} {
		if found[label] == 0 {
			t.Errorf("no capture of %s was found", label)
		}
	}
}

// generated makes one capture of each story.
func generated(t *testing.T) []specimen {
	t.Helper()
	attacker := "192.168.77.66 (00:00:5e:00:53:66)"
	make := func(label, claim string, frames []capture.Frame) specimen {
		return specimen{path: writeCapture(t, frames), name: "generated " + label, label: label, claim: claim}
	}
	return []specimen{
		make("worm", attacker, wormFrames(20)),
		make("scan", attacker, sweepFrames(40)),
		make("arp-spoof", attacker, poisonFrames(10)),
		make("rogue-dhcp", attacker, offerFrames()),
		make("benign", "", officeFrames()),
	}
}

type frameScript struct {
	at     time.Time
	frames []capture.Frame
}

func (s *frameScript) send(data []byte, then time.Duration) {
	s.frames = append(s.frames, capture.Frame{Time: s.at.UnixNano(), Data: data, OrigLen: len(data), Link: capture.LinkEthernet})
	s.at = s.at.Add(then)
}

func (s *frameScript) arp(op uint16, src [6]byte, from, to netip.Addr, then time.Duration) {
	payload := flowtest.ARP(op, src, from, [6]byte{}, to)
	s.send(flowtest.Ether{Src: src, Dst: [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}.Frame(flow.EtherARP, payload), then)
}

var neighbourM = [6]byte{0x00, 0x00, 0x5e, 0x00, 0x53, 0x01}

func officeIP(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 77, byte(n)}) }

// sweepFrames asks for one address after the other; nobody is there.
func sweepFrames(n int) []capture.Frame {
	s := frameScript{at: start}
	for i := range n {
		s.arp(1, infected, infectIP, officeIP(100+i), 100*time.Millisecond)
	}
	s.arp(1, neighbourM, officeIP(1), officeIP(2), 2*time.Second)
	s.arp(1, neighbourM, officeIP(1), officeIP(2), time.Second)
	return s.frames
}

// poisonFrames is an impostor that claims the router's address every 2 s, and
// the router that goes on speaking.
func poisonFrames(n int) []capture.Frame {
	s := frameScript{at: start}
	s.arp(1, infected, infectIP, officeIP(1), time.Second)
	s.arp(2, neighbourM, officeIP(1), infectIP, time.Second)
	for range n {
		s.arp(2, infected, officeIP(1), officeIP(10), time.Second)
		s.arp(1, neighbourM, officeIP(1), officeIP(11), time.Second)
	}
	return s.frames
}

// offerFrames is a lease by the router and an offer by another, which names
// itself as router.
func offerFrames() []capture.Frame {
	s := frameScript{at: start}
	for _, m := range []struct {
		typ    uint8
		mac    [6]byte
		server netip.Addr
	}{{2, neighbourM, officeIP(1)}, {5, neighbourM, officeIP(1)}, {2, infected, infectIP}} {
		s.dhcp(m.typ, m.mac, m.server)
	}
	return s.frames
}

func (s *frameScript) dhcp(typ uint8, mac [6]byte, server netip.Addr) {
	id := server.AsSlice()
	msg := append([]byte{2, 1, 6, 0, 1, 2, 3, 4}, bytes.Repeat([]byte{0}, 228)...)
	copy(msg[16:], officeIP(100).AsSlice())         // yiaddr
	copy(msg[28:], []byte{0, 0, 0x5e, 0, 0x53, 10}) // chaddr
	msg = append(msg, 0x63, 0x82, 0x53, 0x63, 53, 1, typ, 54, 4)
	msg = append(append(msg, id...), 3, 4)
	msg = append(append(msg, id...), 255)
	ip := flowtest.IP{Src: server, Dst: netip.AddrFrom4([4]byte{255, 255, 255, 255}), Proto: 17}
	s.send(flowtest.Ether{Src: mac, Dst: [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}.Frame(flow.EtherIPv4, ip.Packet(flowtest.UDP(67, 68, msg))), time.Second)
}

// officeFrames is an ordinary office: many connections, all answered.
func officeFrames() []capture.Frame { return flowtest.Mix(20000, 1) }
