package flowtest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"sekisho/firmware/capture"
)

// Mix is a capture of n frames as an office makes them: web over TLS and plain
// HTTP, bulk transfers, DNS, a file share, ARP, and connections that fail.
// About 400 bytes a frame and one connection in twenty frames, interleaved,
// as in the mixed capture that the performance target was measured with. The
// same seed gives the same bytes. The frames share one backing array in the
// order of time, as a mapped file would.
func Mix(n int, seed uint64) []capture.Frame {
	m := &mixer{r: rand.New(rand.NewPCG(seed, 0x5e)), left: n, now: 1_700_000_000e9}
	open := make([]*session, 0, 256)
	for m.left > 0 {
		if len(open) < 256 {
			open = append(open, m.session())
		}
		i := m.r.IntN(len(open))
		m.emit(open[i].frames[0])
		if open[i].frames = open[i].frames[1:]; len(open[i].frames) == 0 {
			open[i] = open[len(open)-1]
			open = open[:len(open)-1]
		}
	}
	frames := make([]capture.Frame, len(m.lens))
	at := 0
	for i, size := range m.lens {
		frames[i] = capture.Frame{
			Time: m.times[i], Data: m.data[at : at+size : at+size], OrigLen: size, Link: capture.LinkEthernet,
		}
		at += size
	}
	return frames
}

type session struct{ frames [][]byte }

type mixer struct {
	r     *rand.Rand
	left  int
	now   int64
	data  []byte
	lens  []int
	times []int64
}

func (m *mixer) emit(b []byte) {
	m.left--
	m.now += 1000 + m.r.Int64N(40_000)
	m.data = append(m.data, b...)
	m.lens = append(m.lens, len(b))
	m.times = append(m.times, m.now)
}

// pair is two ends and what stands in front of a packet between them.
type pair struct {
	mac  [2][6]byte
	addr [2]netip.Addr
	port [2]uint16
	seq  [2]uint32
	s    *session
}

var router = [6]byte{2, 0, 0, 0, 0, 1}

func (m *mixer) session() *session {
	host := m.r.IntN(60)
	p := &pair{s: &session{}}
	p.mac = [2][6]byte{{2, 0, 0, 0, 1, byte(host)}, router}
	server := netip.AddrFrom4([4]byte{198, 51, byte(m.r.IntN(100)), byte(1 + m.r.IntN(250))})
	p.addr = [2]netip.Addr{netip.AddrFrom4([4]byte{192, 168, 10, byte(10 + host)}), server}
	if m.r.IntN(10) == 0 { // one in ten over IPv6
		p.addr[0] = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 1, 15: byte(10 + host)})
		p.addr[1] = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 2, 15: byte(m.r.IntN(250))})
	}
	p.port[0] = uint16(32768 + m.r.IntN(28000))
	p.seq = [2]uint32{m.r.Uint32(), m.r.Uint32()}
	m.fill(p, m.r.IntN(100))
	return p.s
}

func (m *mixer) fill(p *pair, kind int) {
	name := fmt.Sprintf("www%d.example.net", m.r.IntN(4000))
	switch {
	case kind < 38:
		p.port[1] = 53
		p.addr[1] = netip.AddrFrom4([4]byte{192, 168, 10, 1})
		if !p.addr[0].Is4() {
			p.addr[1] = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 1, 15: 1})
		}
		p.udp(0, DNSQuery(uint16(m.r.Uint32()), name, netip.Addr{}))
		p.udp(1, DNSQuery(uint16(m.r.Uint32()), name, netip.AddrFrom4([4]byte{198, 51, 100, 7})))
	case kind < 66:
		p.port[1] = 443
		p.talk([]byte(ClientHello(name, 517)), ServerHello(), 10+m.r.IntN(40), m.r)
	case kind < 74:
		p.port[1] = 80
		p.talk([]byte("GET /index HTTP/1.1\r\nHost: "+name+"\r\nUser-Agent: mix\r\n\r\n"),
			[]byte("HTTP/1.1 200 OK\r\n\r\n"), 4+m.r.IntN(20), m.r)
	case kind < 78:
		p.port[1] = 445
		smb := append([]byte{0, 0, 0, 64, 0xfe, 'S', 'M', 'B', 64, 0}, make([]byte, 58)...)
		p.talk(smb, smb, 20+m.r.IntN(60), m.r)
	case kind < 90: // QUIC-like
		p.port[1] = 443
		for range 4 + m.r.IntN(30) {
			p.udp(m.r.IntN(2), make([]byte, 40+m.r.IntN(900)))
		}
	case kind < 96:
		p.port[1] = uint16(m.r.IntN(1024))
		p.tcp(0, 2, nil)
		if m.r.IntN(2) == 0 {
			p.tcp(1, 4|16, nil)
		}
	default:
		b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
		b = append(append(b, p.mac[0][:]...), 192, 168, 10, p.mac[0][5])
		b = append(b, 0, 0, 0, 0, 0, 0, 192, 168, 10, 1)
		e := Ether{Src: p.mac[0], Dst: [6]byte{255, 255, 255, 255, 255, 255}}
		p.s.frames = append(p.s.frames, e.Frame(0x0806, append(b, make([]byte, 18)...)))
	}
}

// talk is a whole TCP connection: two heads, then n segments, most of them
// from the server, with acknowledgements.
func (p *pair) talk(request, response []byte, n int, r *rand.Rand) {
	p.tcp(0, 2, nil)
	p.tcp(1, 2|16, nil)
	p.tcp(0, 16, nil)
	p.tcp(0, 16|8, request)
	p.tcp(1, 16, nil)
	p.tcp(1, 16|8, response)
	for i := range n {
		if i%3 == 2 || r.IntN(3) == 0 {
			p.tcp(0, 16, nil)
			continue
		}
		size := 1460
		if r.IntN(5) < 3 {
			size = r.IntN(900)
		}
		b := make([]byte, size)
		if size >= 8 {
			binary.BigEndian.PutUint64(b, r.Uint64())
		}
		p.tcp(1, 16, b)
	}
	p.tcp(0, 1|16, nil)
	p.tcp(1, 1|16, nil)
	p.tcp(0, 16, nil)
}

func (p *pair) tcp(dir int, flags uint8, payload []byte) {
	s := Segment{SrcPort: p.port[dir], DstPort: p.port[1-dir], Seq: p.seq[dir], Flags: flags}
	if flags&16 != 0 {
		s.Ack = p.seq[1-dir]
	}
	p.seq[dir] += uint32(len(payload))
	if flags&3 != 0 {
		p.seq[dir]++
	}
	p.send(dir, 6, s.Bytes(payload))
}

func (p *pair) udp(dir int, payload []byte) {
	p.send(dir, 17, UDP(p.port[dir], p.port[1-dir], payload))
}

func (p *pair) send(dir int, proto uint8, b []byte) {
	ip := IP{Src: p.addr[dir], Dst: p.addr[1-dir], Proto: proto}
	f := Ether{Src: p.mac[dir], Dst: p.mac[1-dir]}.Frame(ip.EtherType(), ip.Packet(b))
	if len(f) < 60 {
		f = append(f, make([]byte, 60-len(f))...)
	}
	p.s.frames = append(p.s.frames, f)
}
