package refuge

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// DHCP is spoken to hosts that have no address yet, so the datagrams are read
// and written whole, on a packet socket: the kernel would want to ask for a
// neighbour that cannot answer.

const (
	dhcpServerPort = 67
	dhcpClientPort = 68
	ipHeader       = 20
	udpHeader      = 8
	protoUDP       = 17
)

var errDatagram = errors.New("no whole UDP datagram for this port")

// payload returns what an IPv4 packet carries for a UDP port. It is total on
// any bytes.
func payload(b []byte, port uint16) ([]byte, error) {
	if len(b) < ipHeader || b[0]>>4 != 4 {
		return nil, errDatagram
	}
	head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if head < ipHeader || total < head+udpHeader || total > len(b) || b[9] != protoUDP || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return nil, errDatagram // a fragment, too: no client sends those
	}
	u := b[head:total]
	size := int(binary.BigEndian.Uint16(u[4:]))
	if binary.BigEndian.Uint16(u[2:]) != port || size < udpHeader || size > len(u) {
		return nil, errDatagram
	}
	return u[udpHeader:size], nil
}

// datagram is an IPv4 packet from the DHCP server's port to the client's.
func datagram(from, to netip.Addr, data []byte) []byte {
	b := make([]byte, ipHeader+udpHeader, ipHeader+udpHeader+len(data))
	b = append(b, data...)
	b[0], b[8], b[9] = 0x45, 64, protoUDP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^sum(0, b[:ipHeader]))
	u := b[ipHeader:]
	binary.BigEndian.PutUint16(u, dhcpServerPort)
	binary.BigEndian.PutUint16(u[2:], dhcpClientPort)
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	pseudo := sum(uint32(protoUDP)+uint32(len(u)), b[12:20])
	check := ^sum(uint32(pseudo), u)
	if check == 0 {
		check = 0xffff // RFC 768: zero means none
	}
	binary.BigEndian.PutUint16(u[6:], check)
	return b
}

// sum is the internet checksum before complement (RFC 1071).
func sum(start uint32, b []byte) uint16 {
	s := start
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}
