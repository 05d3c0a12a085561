// Package flowtest builds frames for tests and benchmarks: single ones by
// hand, and a mixed capture like an office's, the same on every machine.
//
// Tests of flow and of what stands behind it use it; the product never does.
package flowtest

import (
	"encoding/binary"
	"net/netip"
)

// Ether is an Ethernet header with any number of 802.1Q tags.
type Ether struct {
	Src, Dst [6]byte
	VLANs    []uint16
}

// IP is what both versions need. The addresses decide the version.
type IP struct {
	Src, Dst netip.Addr
	TTL      uint8 // 0: 64
	Proto    uint8
	ID       uint16
	Offset   int // of a fragment, bytes
	More     bool
}

// Segment is a TCP header.
type Segment struct {
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	Flags            uint8
}

// Frame puts an Ethernet header in front of an IP packet or, with ARP bytes,
// of those.
func (e Ether) Frame(etherType uint16, payload []byte) []byte {
	b := append(append([]byte{}, e.Dst[:]...), e.Src[:]...)
	for _, id := range e.VLANs {
		b = binary.BigEndian.AppendUint16(append(b, 0x81, 0), id)
	}
	return append(binary.BigEndian.AppendUint16(b, etherType), payload...)
}

// EtherType is that of the packet's version.
func (ip IP) EtherType() uint16 {
	if ip.Src.Is4() {
		return 0x0800
	}
	return 0x86dd
}

// Packet puts an IP header in front of payload.
func (ip IP) Packet(payload []byte) []byte {
	if ip.TTL == 0 {
		ip.TTL = 64
	}
	if ip.Src.Is4() {
		return ip.packet4(payload)
	}
	b := make([]byte, 40, 40+len(payload))
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	b[6], b[7] = ip.Proto, ip.TTL
	copy(b[8:], ip.Src.AsSlice())
	copy(b[24:], ip.Dst.AsSlice())
	return append(b, payload...)
}

func (ip IP) packet4(payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(b[4:], ip.ID)
	frag := uint16(ip.Offset / 8)
	if ip.More {
		frag |= 0x2000
	}
	binary.BigEndian.PutUint16(b[6:], frag)
	b[8], b[9] = ip.TTL, ip.Proto
	copy(b[12:], ip.Src.AsSlice())
	copy(b[16:], ip.Dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^sum(b))
	return append(b, payload...)
}

// sum is the internet checksum before complement (RFC 1071).
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// Bytes puts the header in front of payload. Checksums stay zero, as in
// captures of a host with offload.
func (s Segment) Bytes(payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(b[0:], s.SrcPort)
	binary.BigEndian.PutUint16(b[2:], s.DstPort)
	binary.BigEndian.PutUint32(b[4:], s.Seq)
	binary.BigEndian.PutUint32(b[8:], s.Ack)
	b[12], b[13] = 5<<4, s.Flags
	binary.BigEndian.PutUint16(b[14:], 64240)
	return append(b, payload...)
}

// ARP is an ARP packet for IPv4 over Ethernet (RFC 826). op 1 asks, 2 answers.
func ARP(op uint16, mac [6]byte, from netip.Addr, target [6]byte, to netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, byte(op >> 8), byte(op)}
	b = append(append(b, mac[:]...), from.AsSlice()...)
	return append(append(b, target[:]...), to.AsSlice()...)
}

// UDP is a datagram.
func UDP(src, dst uint16, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b[0:], src)
	binary.BigEndian.PutUint16(b[2:], dst)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

// DNSQuery is a query for name (type A), or with answer a response.
func DNSQuery(id uint16, name string, answer netip.Addr) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	if answer.IsValid() {
		b = append(b, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0)
	} else {
		b = append(b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	}
	start := len(b)
	b = append(b, 0)
	for i := range len(name) {
		if name[i] == '.' {
			start = len(b)
			b = append(b, 0)
			continue
		}
		b[start]++
		b = append(b, name[i])
	}
	b = append(b, 0, 0, 1, 0, 1)
	if answer.IsValid() {
		b = append(b, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
		b = append(b, answer.AsSlice()...)
	}
	return b
}

// ClientHello is a TLS 1.3 hello for sni, padded to at least size bytes.
func ClientHello(sni string, size int) []byte {
	ext := func(kind uint16, data []byte) []byte {
		b := binary.BigEndian.AppendUint16(nil, kind)
		return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
	}
	name := binary.BigEndian.AppendUint16(nil, uint16(len(sni)+3))
	name = append(name, 0)
	name = append(binary.BigEndian.AppendUint16(name, uint16(len(sni))), sni...)
	exts := ext(0, name)
	exts = append(exts, ext(16, []byte("\x00\x0c\x02h2\x08http/1.1"))...)
	exts = append(exts, ext(43, []byte{6, 0x3a, 0x3a, 3, 4, 3, 3})...)
	if pad := size - 9 - 42 - len(exts); pad > 4 {
		exts = append(exts, ext(21, make([]byte, pad-4))...)
	}
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0x13, 1, 1, 0)
	body = append(binary.BigEndian.AppendUint16(body, uint16(len(exts))), exts...)
	return hello(1, body)
}

// ServerHello selects TLS 1.3.
func ServerHello() []byte {
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0x13, 1, 0, 0, 6, 0, 43, 0, 2, 3, 4)
	return hello(2, body)
}

func hello(kind byte, body []byte) []byte {
	n := len(body) + 4
	b := []byte{22, 3, 1, byte(n >> 8), byte(n), kind, 0, byte(len(body) >> 8), byte(len(body))}
	return append(b, body...)
}
