package flow

import (
	"bufio"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

var update = flag.Bool("update", false, "rewrite the expected events of testdata/script")

// hosts of the scripts: A to F on the LAN, W on the internet side, M a
// multicast group, X the directed broadcast address. A small v makes it IPv6.
func host(t *testing.T, name string) (netip.Addr, [6]byte) {
	t.Helper()
	v6 := strings.HasSuffix(name, "v")
	c := strings.TrimSuffix(name, "v")
	if len(c) != 1 {
		t.Fatalf("host %q", name)
	}
	n := c[0] - 'A' + 1
	mac := [6]byte{2, 0, 0, 0, 0, n}
	switch {
	case c == "M":
		return netip.MustParseAddr("224.0.0.251"), [6]byte{1, 0, 0x5e, 0, 0, 0xfb}
	case c == "X":
		return netip.MustParseAddr("192.168.1.255"), [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	case c == "W":
		return netip.MustParseAddr("198.51.100.1"), mac
	case v6:
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: n}), mac
	}
	return netip.AddrFrom4([4]byte{192, 168, 1, n}), mac
}

func hostName(a netip.AddrPort) string {
	switch a.Addr().String() {
	case "224.0.0.251":
		return fmt.Sprintf("M:%d", a.Port())
	case "192.168.1.255":
		return fmt.Sprintf("X:%d", a.Port())
	case "198.51.100.1":
		return fmt.Sprintf("W:%d", a.Port())
	}
	b := a.Addr().AsSlice()
	suffix := ""
	if a.Addr().Is6() {
		suffix = "v"
	}
	return fmt.Sprintf("%c%s:%d", 'A'+b[len(b)-1]-1, suffix, a.Port())
}

// script plays one file: lines "TIME what", then "---", then the events.
//
//	0.5 tcp A:40000 > B:22 SA seq=9 ack=10 len=5   (flags of S A F R P, or -)
//	0.5 udp A:40000 > B:53 len=30 [id=7 more] [mid]
//	0.5 frag A > B id=7 off=1480 proto=17 len=100
//	0.5 icmp C > A 3/1                             (quotes the last tcp or udp)
//	9 idle                                         (Advance)
//	flush
type script struct {
	t      *testing.T
	track  *Tracker
	events []string
	now    int64
	last   []byte // the last IP packet of tcp or udp
	ticks  bool
}

func (s *script) emit(ev Event) {
	var line string
	switch e := ev.(type) {
	case *Tick:
		if !s.ticks {
			return
		}
		line = "tick"
	case *Opaque: // these scripts are about connections
		return
	case *Conn:
		line = fmt.Sprintf("conn %d %s", e.ID, e.State)
		if e.Prev != e.State {
			line += " was " + e.Prev.String()
		}
		proto := map[uint8]string{6: "tcp", 17: "udp"}[e.Proto]
		line += fmt.Sprintf(" %s %s > %s sent %d/%d received %d/%d", proto, hostName(e.Client), hostName(e.Server),
			e.Sent, e.SentPackets, e.Received, e.RecvPackets)
		if e.MidStream {
			line += " midstream"
		}
		if e.Multicast {
			line += " multicast"
		}
		if e.Probe {
			line += " probe"
		}
	case *Activity:
		who := "client"
		if e.FromServer {
			who = "server"
		}
		line = fmt.Sprintf("activity %d by %s idle %v sent %d/%d received %d/%d", e.ID, who, e.Idle, e.Sent, e.SentPackets,
			e.Received, e.RecvPackets)
	case *ICMP:
		line = fmt.Sprintf("icmp %d/%d", e.Type, e.Code)
	case *Malformed:
		line = "malformed " + e.Layer + ": " + e.Reason
	default:
		line = strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", ev), "*flow."))
	}
	s.events = append(s.events, fmt.Sprintf("%.3f %s", float64(ev.Head().Time.UnixNano())/1e9, line))
}

func (s *script) option(fields []string, name string, missing int) int {
	for _, f := range fields {
		if v, ok := strings.CutPrefix(f, name+"="); ok {
			n, err := strconv.Atoi(v)
			if err != nil {
				s.t.Fatal(err)
			}
			return n
		}
		if f == name {
			return 1
		}
	}
	return missing
}

func (s *script) line(text string) {
	f := strings.Fields(text)
	if text == "flush" {
		s.track.Flush(s.emit)
		return
	}
	if text == "ticks" {
		s.ticks = true
		return
	}
	at, err := strconv.ParseFloat(f[0], 64)
	if err != nil {
		s.t.Fatalf("%q: %v", text, err)
	}
	s.now = int64(at * 1e9)
	if f[1] == "idle" {
		s.track.Advance(s.now, s.emit)
		return
	}
	srcName, srcPort, _ := strings.Cut(f[2], ":")
	dstName, dstPort, _ := strings.Cut(f[4], ":")
	src, srcMAC := host(s.t, srcName)
	dst, dstMAC := host(s.t, dstName)
	sp, _ := strconv.Atoi(srcPort)
	dp, _ := strconv.Atoi(dstPort)
	ip := flowtest.IP{Src: src, Dst: dst, ID: uint16(s.option(f, "id", 0)), More: s.option(f, "more", 0) == 1}
	payload := make([]byte, s.option(f, "len", 0))
	switch f[1] {
	case "tcp":
		ip.Proto = ProtoTCP
		payload = flowtest.Segment{
			SrcPort: uint16(sp), DstPort: uint16(dp), Flags: tcpFlags(f[5]),
			Seq: uint32(s.option(f, "seq", 0)), Ack: uint32(s.option(f, "ack", 0)),
		}.Bytes(payload)
	case "udp":
		ip.Proto = ProtoUDP
		payload = flowtest.UDP(uint16(sp), uint16(dp), payload)
	case "frag":
		ip.Proto, ip.Offset = uint8(s.option(f, "proto", 17)), s.option(f, "off", 0)
	case "icmp":
		ip.Proto = ProtoICMP
		if dst.Is6() {
			ip.Proto = ProtoICMPv6
		}
		var kind, code byte
		fmt.Sscanf(f[5], "%d/%d", &kind, &code)
		payload = append([]byte{kind, code, 0, 0, 0, 0, 0, 0}, s.last[:min(len(s.last), 48)]...)
	}
	packet := ip.Packet(payload)
	if f[1] != "icmp" {
		s.last = packet
	}
	s.frame(flowtest.Ether{Src: srcMAC, Dst: dstMAC}.Frame(ip.EtherType(), packet))
}

func tcpFlags(s string) (flags uint8) {
	for _, c := range s {
		flags |= map[rune]uint8{'F': FlagFIN, 'S': FlagSYN, 'R': FlagRST, 'P': FlagPSH, 'A': FlagACK, '-': 0}[c]
	}
	return flags
}

func (s *script) frame(b []byte) {
	s.track.Frame(&capture.Frame{Time: s.now, Data: b, OrigLen: len(b), Link: capture.LinkEthernet}, s.emit)
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			play, want, _ := strings.Cut(string(text), "---\n")
			cfg := Config{LAN: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}}
			s := &script{t: t, track: New(cfg)}
			for sc := bufio.NewScanner(strings.NewReader(play)); sc.Scan(); {
				if line := strings.TrimSpace(sc.Text()); line != "" && line[0] != '#' {
					s.line(line)
				}
			}
			got := strings.Join(s.events, "\n") + "\n"
			if *update {
				if err := os.WriteFile(file, []byte(play+"---\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}
