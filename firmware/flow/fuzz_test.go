package flow

import (
	"bytes"
	"encoding/binary"
	"testing"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

var links = []capture.LinkType{
	capture.LinkNull, capture.LinkEthernet, capture.LinkRaw, capture.LinkLoop, capture.LinkSLL,
	capture.LinkIPv4, capture.LinkIPv6, capture.LinkSLL2, capture.LinkIEEE80211,
}

// FuzzDecode reads the same bytes as every link type.
func FuzzDecode(f *testing.F) {
	for _, fr := range flowtest.Mix(60, 2) {
		f.Add(fr.Data)
		f.Add(fr.Data[14:])
	}
	f.Add(udp6(ext(0, 0), ext(43, 0), ext(44, 0, 5, 0xc8)))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, link := range links {
			var h Header
			err := Decode(link, data, &h)
			if h.PayloadLen < 0 || h.IPLen < 0 {
				t.Fatalf("link %d: lengths %d %d", link, h.PayloadLen, h.IPLen)
			}
			if err == nil && len(h.Payload) > len(data) {
				t.Fatalf("link %d: %d bytes of payload in %d", link, len(h.Payload), len(data))
			}
			if h.LaterFrag && h.SrcPort|h.DstPort != 0 {
				t.Fatalf("link %d: ports read from a later fragment", link)
			}
		}
	})
}

// FuzzTracker cuts its input into frames: one byte for link and time, two for
// the length. Every rule of the property test holds.
func FuzzTracker(f *testing.F) {
	var seed []byte
	for i, fr := range flowtest.Mix(120, 4) {
		seed = append(seed, 1|byte(i%4)<<4)
		seed = append(binary.BigEndian.AppendUint16(seed, uint16(len(fr.Data))), fr.Data...)
		if i%20 == 19 {
			f.Add(seed)
			seed = nil
		}
	}
	steps := []int64{0, 1e6, 3e9, 1e12, -1e6, -1e11, 1e17, 5}
	f.Fuzz(func(t *testing.T, data []byte) {
		track := New(Config{MaxConns: 4, MaxTicks: 10})
		a := newAuditor(t.Fatalf)
		now := int64(1e18)
		for len(data) >= 3 {
			how := data[0]
			n := min(int(binary.BigEndian.Uint16(data[1:3])), len(data)-3)
			now += steps[how>>4&7]
			if track.now-now >= stepBack && track.behind+1 >= stepAfter {
				a.last = now // the clock is about to be set back
			}
			b := append([]byte{}, data[3:3+n]...)
			track.Frame(&capture.Frame{Time: now, Data: b, OrigLen: n, Link: links[int(how&15)%len(links)]}, a.emit)
			clear(b) // nothing may hold on to the frame
			data = data[3+n:]
		}
		track.Flush(a.emit)
		a.check(track)
	})
}

// FuzzDeep gives the same bytes to every deep parser, unguarded: a panic in
// one of ours is a defect. gopacket's known one is let pass.
func FuzzDeep(f *testing.F) {
	f.Add(flowtest.ClientHello("a.example", 300))
	f.Add(flowtest.ServerHello())
	f.Add(flowtest.DNSQuery(1, "a.example", hostA))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	f.Add(smb2(5, 1)[4:])
	f.Add(dhcpMessage(2, "\x35\x01\x05\x51\x0d\x04\x00\x00\x02pc\x05local\x00\xff"))
	f.Add(append([]byte{0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0}, nbEncode("PC")...))
	f.Fuzz(func(t *testing.T, data []byte) {
		var d deepDecoders
		_ = d.readTLS(data, &TLSHello{})
		_ = d.readTLS(data, &TLSHello{FromServer: true})
		var m httpMessage
		_ = readHTTP(data, &HTTP{}, &m)
		_ = readHTTPReply(data, &HTTPReply{}, &m)
		(&httpState{}).authorization(data)
		if masked, found := d.mask(data); len(masked) != len(data) || found && bytes.Equal(masked, data) && !bytes.Contains(data, []byte("*")) {
			t.Fatalf("%q became %q", data, masked)
		}
		readPDUs(data)
		for p := NameDNS; p <= NameNBNS; p++ {
			e := DNS{Proto: p}
			if d.readDNS(data, &e); len(e.Answers) > maxAnswers {
				t.Fatalf("%d answers", len(e.Answers))
			}
		}
		for kind := uint8(133); kind <= 137; kind++ {
			e := NDP{Type: kind}
			if d.readNDP(data, &e); len(e.Prefixes) > maxListed || len(e.RDNSS) > maxListed {
				t.Fatal("a list beyond its bound")
			}
		}
		if len(data) > 2 && data[2] > 227 {
			return
		}
		e := DHCP{}
		if d.readDHCP(data, &e); len(e.Params) > 255 || len(e.Routers) > maxListed {
			t.Fatal("a list beyond its bound")
		}
	})
}

// FuzzStream compares reassembly with the plain way: a map of bytes, first
// version wins.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 5, 10, 5, 5, 5})
	f.Add([]byte{20, 5, 10, 5, 30, 9, 40, 1, 50, 1, 0, 60})
	f.Fuzz(func(t *testing.T, moves []byte) {
		var pool streams
		i := pool.take(1000)
		s := &pool.slot[i]
		arrived := map[uint32]byte{}
		for n := 0; n+1 < len(moves); n += 2 {
			data := make([]byte, moves[n+1]%64)
			for j := range data {
				data[j] = byte(n + j)
				if off := uint32(moves[n]) + uint32(j); s.n < streamGaps {
					if _, ok := arrived[off]; !ok {
						arrived[off] = data[j]
					}
				}
			}
			if s.n >= streamGaps { // pieces may be refused from here on
				return
			}
			s.add(1000+uint32(moves[n]), data)
			for off, b := range s.head() {
				if want, ok := arrived[uint32(off)]; !ok || b != want {
					t.Fatalf("byte %d is %d, want %d (%v)", off, b, want, ok)
				}
			}
			if _, more := arrived[uint32(len(s.head()))]; more {
				t.Fatalf("byte %d arrived and is not in the head", len(s.head()))
			}
		}
	})
}
