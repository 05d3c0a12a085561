package flow

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

// tape plays one connection between hostA and hostB and writes down what it
// means: hellos, certificates, banners, log-ins and what is malformed.
type tape struct {
	track *Tracker
	port  uint16
	seq   [2]uint32
	now   int64
	seen  []string
	hear  func(Event) // told of every event too, when set
}

func newTape(port uint16) *tape {
	k := &tape{track: New(Config{}), port: port, seq: [2]uint32{99, 499}}
	k.tcp(0, FlagSYN, nil)
	k.tcp(1, FlagSYN|FlagACK, nil)
	k.seq = [2]uint32{100, 500}
	return k
}

func (k *tape) emit(ev Event) {
	from := func(server bool) string {
		if server {
			return "<"
		}
		return ">"
	}
	switch e := ev.(type) {
	case *TLSHello:
		k.seen = append(k.seen, fmt.Sprintf("%s hello quic=%v %04x %s %v", from(e.FromServer), e.QUIC, e.Version, e.SNI, e.ALPN))
	case *TLSCert:
		k.seen = append(k.seen, "< certificate "+e.CommonName)
	case *Banner:
		k.seen = append(k.seen, fmt.Sprintf("%s banner %s: %s", from(e.FromServer), e.Service, e.Text))
	case *Login:
		k.seen = append(k.seen, fmt.Sprintf("%s %s login %s user=%q domain=%q host=%q %s clear=%v", from(e.FromServer), e.Service,
			[]string{"tried", "ok", "failed"}[e.Result], e.User, e.Domain, e.Workstation, e.Mechanism, e.Cleartext))
	case *Malformed:
		k.seen = append(k.seen, "malformed "+e.Layer+": "+e.Reason)
	}
	if k.hear != nil {
		k.hear(ev)
	}
}

// say sends the next bytes of a direction in one segment.
func (k *tape) say(dir int, data ...byte) {
	k.tcp(dir, FlagACK, data)
	k.seq[dir] += uint32(len(data))
}

func (k *tape) tcp(dir int, flags uint8, data []byte) {
	ip := flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoTCP}
	s := flowtest.Segment{SrcPort: 40000, DstPort: k.port, Seq: k.seq[dir], Flags: flags}
	if dir == 1 {
		ip.Src, ip.Dst, s.SrcPort, s.DstPort = hostB, hostA, k.port, 40000
	}
	k.frame(ip, s.Bytes(data))
}

func (k *tape) udp(dir int, data []byte) {
	ip := flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoUDP}
	src, dst := uint16(40000), k.port
	if dir == 1 {
		ip.Src, ip.Dst, src, dst = hostB, hostA, k.port, 40000
	}
	k.frame(ip, flowtest.UDP(src, dst, data))
}

func (k *tape) frame(ip flowtest.IP, payload []byte) {
	k.now += 1e6
	b := ether.Frame(ip.EtherType(), ip.Packet(payload))
	k.track.Frame(&capture.Frame{Time: k.now, Data: b, OrigLen: len(b), Link: capture.LinkEthernet}, k.emit)
}

func (k *tape) want(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(k.seen, want) {
		t.Errorf("saw\n\t%s\nwant\n\t%s", strings.Join(k.seen, "\n\t"), strings.Join(want, "\n\t"))
	}
}
