package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/eval"
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
	eval.Capture
	path string
}

// corpus returns the generated captures, and those of others up to corpusMax.
func corpus(t *testing.T) []specimen {
	t.Helper()
	out := generated(t)
	list, err := os.Open(filepath.Join(corpusDir, "MANIFEST.tsv"))
	if errors.Is(err, os.ErrNotExist) {
		t.Log("no corpus beside the repository: replaying generated captures only")
		return out
	}
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	all, err := eval.ReadManifest(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		s := specimen{c, filepath.Join(corpusDir, c.File)}
		if info, err := os.Stat(s.path); err != nil {
			t.Error(err)
		} else if info.Size() < corpusMax {
			out = append(out, s)
		}
	}
	t.Logf("%d captures", len(out))
	return out
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

func judge(s specimen) eval.Score {
	first, damaged, err := replayOnce(s.path)
	second, _, _ := replayOnce(s.path)
	run, parseErr := eval.ParseReplay(first)
	run.Damaged, run.Differs, run.Err = damaged, !bytes.Equal(first, second), errors.Join(err, parseErr)
	return eval.Judge(s.Capture, run)
}

// TestCapturesOfOthers holds every change to what `make eval` measures at
// length: whoever did it is found, and peace is left alone.
func TestCapturesOfOthers(t *testing.T) {
	var scores []eval.Score
	for _, s := range corpus(t) {
		score := judge(s)
		scores = append(scores, score)
		for _, p := range score.Problems {
			t.Errorf("%s: %s", s.File, p)
		}
		if s.Peaceful() && len(score.Isolated) > 0 {
			t.Errorf("%s: would be isolated without a person: %v", s.File, score.Isolated)
		}
		if strings.HasPrefix(s.File, "generated") && s.Attack() && !score.Found {
			t.Errorf("%s: nothing is found about %q", s.File, s.Claim)
		}
	}
	report := eval.Summarise(scores, eval.Cost{}, nil)
	for _, missed := range report.Missed {
		t.Error(missed)
	}
	var table strings.Builder
	if err := report.Write(&table, false); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + table.String())
}

// generated makes one capture of each story.
func generated(t *testing.T) []specimen {
	t.Helper()
	attacker := "192.168.77.66 (00:00:5e:00:53:66) did it"
	make := func(label, claim string, frames []capture.Frame) specimen {
		return specimen{eval.Capture{File: "generated " + label, Label: label, Claim: claim, ByHand: true}, writeCapture(t, frames)}
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
