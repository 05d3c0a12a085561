package flow

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

// recorder keeps frames to play them later, so that only the Tracker's work
// is measured.
type recorder struct {
	frames []capture.Frame
	now    int64
}

func (r *recorder) send(port, dir int, from uint16, seq [2]uint32, flags uint8, data []byte) {
	r.now += 1e4
	ip := flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoTCP}
	s := flowtest.Segment{SrcPort: from, DstPort: uint16(port), Seq: seq[dir], Ack: seq[1-dir], Flags: flags}
	if dir == 1 {
		ip.Src, ip.Dst, s.SrcPort, s.DstPort = ip.Dst, ip.Src, s.DstPort, s.SrcPort
	}
	b := ether.Frame(ip.EtherType(), ip.Packet(s.Bytes(data)))
	r.frames = append(r.frames, capture.Frame{Time: r.now, Data: b, OrigLen: len(b), Link: capture.LinkEthernet})
}

// talk plays what both sides say on n connections, in segments of a size.
func (r *recorder) talk(port, n, size int, turns ...turn) {
	for i := range n {
		from := uint16(20000 + i)
		seq := [2]uint32{99, 499}
		r.send(port, 0, from, seq, FlagSYN, nil)
		r.send(port, 1, from, seq, FlagSYN|FlagACK, nil)
		seq = [2]uint32{100, 500}
		for _, t := range turns {
			for b := range slices.Chunk(t.data, size) {
				r.send(port, t.dir, from, seq, FlagACK|FlagPSH, b)
				seq[t.dir] += uint32(len(b))
			}
		}
	}
}

// perByte returns the least time per byte of several runs, since what else runs
// on the machine only ever adds to it, and how many messages were parsed.
func perByte(frames []capture.Frame) (ns float64, parsed uint64) {
	best, size := math.Inf(1), 0
	for i := range frames {
		size += len(frames[i].Data)
	}
	for range 5 {
		track := New(Config{})
		start := time.Now()
		for i := range frames {
			track.Frame(&frames[i], func(Event) {})
		}
		best = min(best, float64(time.Since(start)))
		parsed = track.Stats().DeepParsed
	}
	return best / float64(size), parsed
}

// mostCost is how much more a byte of an attack may cost than one of an
// ordinary office. One of those costs less than two nanoseconds, so that a link
// of 100 Mbit/s with nothing but the worst does not fill a core.
const mostCost = 40

// TestNoMessageCostsMuchMoreThanItsLength looks for parsers that do more than
// one look at each byte. Both sides of the comparison run here and now.
func TestNoMessageCostsMuchMoreThanItsLength(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	ordinary, _ := perByte(flowtest.Mix(400, 7))
	for name, turns := range attacks() {
		var r recorder
		r.talk(attackPort(name), 40, 1460, turns...)
		cost, parsed := perByte(r.frames)
		cost /= ordinary
		t.Logf("%-24s %5.1f", name, cost)
		if parsed < 40 {
			t.Errorf("%s: only %d messages were parsed", name, parsed)
		}
		if cost > mostCost {
			t.Errorf("%s: a byte costs %.0f times as much as one of an office", name, cost)
		}
	}
}

func attackPort(name string) int {
	switch proto, _, _ := strings.Cut(name, " "); proto {
	case "tls":
		return 443
	case "smb", "smb1":
		return 445
	case "ldap":
		return 389
	case "dns":
		return 53
	case "irc":
		return 6667
	case "telnet":
		return 23
	case "rpc":
		return 135
	case "kerberos":
		return 88
	}
	return 80
}

func attacks() map[string][]turn {
	var creates, answers, echoes []byte
	for id := range uint64(maxSMBAsks) {
		creates = append(creates, nbss(smb2CreateMsg(id, "a", 1, 1, 0))...)
	}
	for id := range uint64(400) {
		echoes = append(echoes, nbss(smb2Head(smb2Echo, 0, 1<<20+id))...)
		answers = append(answers, nbss(smb2Head(smb2Echo, smb2Response, 1<<30+id))...)
	}
	filter := []byte{0x87, 1, 'a'}
	for len(filter) < 1500 {
		filter = element(0xa2, filter)
	}
	search := element(0x30, slices.Concat([]byte{2, 1, 1}, element(0x63, slices.Concat([]byte{4, 0, 10, 1, 0, 10, 1, 0, 2, 1, 0, 2, 1, 0, 1, 1, 0}, filter, []byte{0x30, 0}))))
	hello := helloBytes{tlsServerHello, 0x0303, []uint16{0xc02f}, nil}.message()
	return map[string][]turn{
		"smb echoes, all asks held": {{0, creates}, {0, echoes}, {1, answers}},
		"smb1 chains":               {{0, bytes.Repeat(nbss(smb1(smb1Echo, 0, 1, make([]byte, 2), nil)), 400)}},
		"smb pipes":                 {{0, bytes.Repeat(nbss(smb2WriteMsg(1, 9, 0, rpcBindMsg(1, 0, 0, nil, interfaces(32)...))), 20)}},
		"tls chain in records of 1": {{0, flowtest.ClientHello("a.example", 300)}, {1, records(slices.Concat(hello, certMessage(make([]byte, 5000))), 1)}},
		"tls hello in records of 1": {{0, records(flowtest.ClientHello("a.example", 1600)[5:], 1)}},
		"tls hello of 4000 suites":  {{0, records(helloBytes{tlsClientHello, 0x0303, many(3900), nil}.message(), 1<<14)}},
		"ldap nested filters":       {{0, bytes.Repeat(search, 20)}},
		"dns empty messages":        {{0, append(dnsTCP(flowtest.DNSQuery(1, "a.example", hostA)), make([]byte, 8000)...)}},
		"dns pointers":              {{0, bytes.Repeat(dnsTCP(dnsPointers()), 40)}},
		"http header flood":         {{0, []byte("GET / HTTP/1.1\r\n" + strings.Repeat("a:b\n", 5000))}},
		"http requests":             {{0, bytes.Repeat([]byte("GET / HTTP/1.1\n\n"), 3000)}},
		"http replies":              {{0, []byte("GET / HTTP/1.1\n\n")}, {1, bytes.Repeat([]byte("HTTP/1.1 100\n\n"), 3000)}},
		"irc lines":                 {{0, bytes.Repeat([]byte("JOIN #a\n"), 3000)}},
		"telnet prompts":            {{1, bytes.Repeat([]byte("\xff\xfb\x01login:"), 3000)}},
		"rpc binds":                 {{0, bytes.Repeat(rpcBindMsg(1, 0, 0, nil, interfaces(32)...), 20)}},
		"kerberos lists":            {{0, append([]byte{0, 0, 0x10, 12}, element(0x6a, element(0x30, element(0xa3, element(0x30, bytes.Repeat([]byte{0x30, 0}, 2046)))))...)}},
	}
}

func many(n int) []uint16 {
	list := make([]uint16, n)
	for i := range list {
		list[i] = uint16(i * 40503)
	}
	return list
}

// element is one of BER with a length of at most 65,535.
func element(tag byte, value []byte) []byte {
	return append([]byte{tag, 0x82, byte(len(value) >> 8), byte(len(value))}, value...)
}

func dnsTCP(msg []byte) []byte { return append([]byte{byte(len(msg) >> 8), byte(len(msg))}, msg...) }

// dnsPointers is an answer whose names each jump ten times.
func dnsPointers() []byte {
	b := []byte{0, 1, 0x80, 0, 0, 0, 0, 32, 0, 0, 0, 0}
	rr := []byte{0, 16, 0, 1, 0, 0, 0, 0, 0, 0}
	b = append(append(b, strings.Repeat("\x3f"+strings.Repeat("a", 63), 3)...), 0)
	b = append(b, rr...)
	at := 12
	for range 31 {
		here := len(b)
		b = append(append(b, 0xc0|byte(at>>8), byte(at)), rr...)
		if here < at+600 {
			at = here
		}
	}
	return b
}
