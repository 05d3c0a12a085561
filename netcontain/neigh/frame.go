package neigh

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"sekisho/netcontain"
)

// message is what an ARP packet (RFC 826) or a neighbour solicitation or
// advertisement (RFC 4861, sections 4.3 and 4.4) says.
type message struct {
	src, dst netcontain.MAC // of the Ethernet frame
	asks     bool           // a request or a solicitation
	mac      netcontain.MAC // where from is said to be; src when nothing is said
	from     netip.Addr     // whose place is told; unspecified in a probe, which tells of nobody
	target   netip.Addr     // who is asked for, or answered; invalid when everybody is
}

const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
	etherLen  = 14
	arpLen    = 28
	ip6Len    = 40
	ndLen     = 24 // type, code, checksum, flags, target

	solicitation  = 135
	advertisement = 136

	fromRequest, fromReply = 1, 2 // ARP operations
)

// parse reads one frame. It is total: whatever is not a well-formed message of
// the two protocols, untagged, gives false. Checksums are the receivers' to
// check: a frame that they drop costs us an answer, not them.
func parse(b []byte) (message, bool) {
	if len(b) < etherLen {
		return message{}, false
	}
	m := message{src: netcontain.MAC(b[6:12]), dst: netcontain.MAC(b[:6])}
	if m.src[0]&1 != 0 || m.src == (netcontain.MAC{}) {
		return message{}, false
	}
	switch binary.BigEndian.Uint16(b[12:]) {
	case etherARP:
		return m, m.arp(b[etherLen:])
	case etherIPv6:
		return m, m.ndp(b[etherLen:])
	}
	return message{}, false
}

func (m *message) arp(b []byte) bool {
	if len(b) < arpLen || string(b[:6]) != "\x00\x01\x08\x00\x06\x04" {
		return false
	}
	op := binary.BigEndian.Uint16(b[6:])
	m.asks, m.mac = op == fromRequest, netcontain.MAC(b[8:14])
	m.from, m.target = netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
	return op == fromRequest || op == fromReply
}

func (m *message) ndp(b []byte) bool {
	if len(b) < ip6Len+ndLen || b[0]>>4 != 6 || b[6] != unix.IPPROTO_ICMPV6 || b[7] != 255 {
		return false // a hop limit below 255 came through a router (RFC 4861, 7.1)
	}
	if n := int(binary.BigEndian.Uint16(b[4:])); n < ndLen || n > len(b)-ip6Len {
		return false
	} else {
		b = b[:ip6Len+n]
	}
	src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	nd := b[ip6Len:]
	about, option := netip.AddrFrom16([16]byte(nd[8:24])), byte(1)
	switch nd[0] {
	case solicitation:
		m.asks, m.from, m.target = true, src, about
	case advertisement:
		m.from, m.target, option = about, dst, 2
		if dst.IsMulticast() {
			m.target = netip.Addr{}
		}
	default:
		return false
	}
	m.mac = m.src
	for o := nd[ndLen:]; len(o) >= 8; {
		size := int(o[1]) * 8
		if size == 0 || size > len(o) {
			return false
		}
		if o[0] == option {
			m.mac = netcontain.MAC(o[2:8])
		}
		o = o[size:]
	}
	return !about.IsMulticast()
}

// ask says to a device, in the form of a question for its own address, that
// from is at mac. A question is heeded at once, also by those who ignore
// answers within the second after a change (Linux: locktime, arp(7)), and makes
// an entry where none was. sender is the source of the frame: always a MAC of
// ours, or switches would look for somebody else at our port.
func ask(sender, to netcontain.MAC, from netip.Addr, mac netcontain.MAC, toAddr netip.Addr) []byte {
	if from.Is4() {
		return arpFrame(sender, to, fromRequest, mac, from, netcontain.MAC{}, toAddr)
	}
	return ndFrame(sender, to, from, toAddr, mac, toAddr, solicitation, 0)
}

// tell says the same as an answer, which also counts as proof that from can be
// reached, so that the device asks nobody for a while. solicited is for answers
// to a neighbour solicitation.
func tell(sender, to netcontain.MAC, from netip.Addr, mac netcontain.MAC, toAddr netip.Addr, solicited bool) []byte {
	if from.Is4() {
		return arpFrame(sender, to, fromReply, mac, from, to, toAddr)
	}
	const override, answer = 0x20, 0x40 // RFC 4861, 4.4
	flags := byte(override)
	if solicited {
		flags |= answer
	}
	return ndFrame(sender, to, from, toAddr, mac, from, advertisement, flags)
}

func arpFrame(sender, to netcontain.MAC, op byte, sha netcontain.MAC, spa netip.Addr, tha netcontain.MAC, tpa netip.Addr) []byte {
	const least = 60 // of an Ethernet frame, without checksum
	b := make([]byte, 0, least)
	b = append(append(append(b, to[:]...), sender[:]...), 8, 6, 0, 1, 8, 0, 6, 4, 0, op)
	b = append(append(b, sha[:]...), spa.AsSlice()...)
	b = append(append(b, tha[:]...), tpa.AsSlice()...)
	return b[:least]
}

func ndFrame(sender, to netcontain.MAC, src, dst netip.Addr, mac netcontain.MAC, target netip.Addr, kind, flags byte) []byte {
	icmp := append([]byte{kind, 0, 0, 0, flags, 0, 0, 0}, target.AsSlice()...)
	icmp = append(append(icmp, kind-solicitation+1, 1), mac[:]...) // source or target link-layer address
	ip := append([]byte{0x60, 0, 0, 0, 0, byte(len(icmp)), unix.IPPROTO_ICMPV6, 255}, src.AsSlice()...)
	ip = append(ip, dst.AsSlice()...)
	binary.BigEndian.PutUint16(icmp[2:], checksum(ip, icmp))
	b := append(append(append([]byte{}, to[:]...), sender[:]...), 0x86, 0xdd)
	return append(append(b, ip...), icmp...)
}

// checksum is that of ICMPv6 over its pseudo-header (RFC 8200, section 8.1).
func checksum(ip, icmp []byte) uint16 {
	sum := uint32(len(icmp)) + unix.IPPROTO_ICMPV6
	for _, part := range [][]byte{ip[8:ip6Len], icmp} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
