package flow

import (
	"encoding/binary"
	"net/netip"

	"sekisho/firmware/capture"
)

// EtherTypes that the decoder knows (IEEE 802 numbers).
const (
	EtherIPv4  = 0x0800
	EtherARP   = 0x0806
	EtherVLAN  = 0x8100 // 802.1Q
	EtherIPv6  = 0x86dd
	EtherPPPoE = 0x8864 // session stage, RFC 2516
	EtherQinQ  = 0x88a8 // 802.1ad
	etherQinQ1 = 0x9100 // pre-standard stacking, still met
)

// IP protocol numbers (IANA) that get a meaning here.
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
)

// TCP flag bits (RFC 9293 section 3.1).
const (
	FlagFIN = 1 << iota
	FlagSYN
	FlagRST
	FlagPSH
	FlagACK
)

// Error is why a frame could not be decoded. Both texts are constants; a
// pointer to one of the package's own values is returned, so that refusing a
// frame allocates as little as accepting it.
type Error struct {
	Layer  string
	Reason string
}

func (e *Error) Error() string { return e.Layer + ": " + e.Reason }

// What Decode refuses.
var (
	errLink        = &Error{"link", "unsupported link type"}
	errLinkShort   = &Error{"link", "shorter than its header"}
	errVLANShort   = &Error{"vlan", "shorter than its tag"}
	errVLANDeep    = &Error{"vlan", "more than four tags"}
	errPPPoE       = &Error{"pppoe", "shorter than its header"}
	errARP         = &Error{"arp", "shorter than its header"}
	errIPVersion   = &Error{"ip", "version is neither 4 nor 6"}
	errIPv4Short   = &Error{"ipv4", "shorter than its header"}
	errIPv4IHL     = &Error{"ipv4", "header length below 20 bytes or beyond the packet"}
	errIPv4Total   = &Error{"ipv4", "total length below the header length"}
	errIPv4FragEnd = &Error{"ipv4", "fragment ends beyond 65535 bytes"}
	errIPv6Short   = &Error{"ipv6", "shorter than its header"}
	errIPv6Ext     = &Error{"ipv6", "extension header cut short"}
	errIPv6Chain   = &Error{"ipv6", "more than eight extension headers"}
	errTCPShort    = &Error{"tcp", "shorter than its header"}
	errTCPOffset   = &Error{"tcp", "data offset below 20 bytes or beyond the segment"}
	errUDPShort    = &Error{"udp", "shorter than its header"}
	errUDPLength   = &Error{"udp", "length below 8 bytes"}
	errICMPShort   = &Error{"icmp", "shorter than its header"}
)

// ErrUnsupportedLink is what Decode returns for a link type that it does not
// read; such frames are counted apart from malformed ones.
var ErrUnsupportedLink error = errLink

// Addr is an IPv4 address (in IPv4-mapped form, RFC 4291 section 2.5.5.2) or
// an IPv6 address: one fixed size, so that both make one table key.
type Addr [16]byte

// Netip returns a as an Addr of net/netip, IPv4 unmapped.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// AddrFrom is the inverse of Netip. Zones are dropped.
func AddrFrom(a netip.Addr) Addr { return a.As16() }

// Is4 reports the IPv4-mapped prefix.
func (a *Addr) Is4() bool {
	return binary.LittleEndian.Uint64(a[0:8]) == 0 && binary.LittleEndian.Uint32(a[8:12]) == 0xffff0000
}

func (a *Addr) set4(b []byte) {
	binary.LittleEndian.PutUint64(a[0:8], 0)
	binary.LittleEndian.PutUint32(a[8:12], 0xffff0000)
	copy(a[12:16], b[:4])
}

// isGroup reports multicast or limited broadcast. Directed broadcast needs the
// netmask, or the link layer's group bit.
func (a *Addr) isGroup() bool {
	if a.Is4() {
		return a[12]&0xf0 == 0xe0 || binary.LittleEndian.Uint32(a[12:16]) == 0xffffffff
	}
	return a[0] == 0xff
}

// Header is what the headers of one frame say. Decode fills it; slices point
// into the frame and are valid as long as the frame is. Which fields count is
// said by EtherType and Proto: the others hold zero.
type Header struct {
	SrcMAC, DstMAC MAC    // zero where the link type has none
	EtherType      uint16 // innermost; 0 for 802.3 frames that carry no IP
	VLAN           uint16 // outermost VLAN id; 0 for untagged and priority-tagged frames
	InnerVLAN      uint16 // innermost id of a stacked frame, else 0
	Tags           uint8  // number of VLAN tags

	IPVersion  uint8 // 4, 6, or 0 when the frame carries no IP
	Proto      uint8 // transport protocol, after extension headers
	TTL        uint8 // or hop limit
	TCPFlags   uint8
	ICMPType   uint8
	ICMPCode   uint8
	Fragment   bool // the packet is one fragment of several
	LaterFrag  bool // not the first fragment: there are no ports in it
	Truncated  bool // captured bytes end before the packet does
	HeaderCut  bool // the snap length cut the transport header: ports count when not 0, nothing else does
	Src, Dst   Addr
	SrcPort    uint16
	DstPort    uint16
	Seq, Ack   uint32 // TCP
	Window     uint16 // TCP
	PayloadLen int    // transport payload on the wire, also when it was cut
	IPLen      int    // IP packet on the wire, header included
	FragID     uint32
	FragOffset int // bytes

	Payload []byte // captured transport payload; ICMP: what follows type, code, checksum; ARP: the ARP packet
	Network []byte // from the IP header on, padding of the link layer cut off
}

// Decode reads the headers of one frame into h, which it resets first. It
// never allocates, never panics and walks a bounded number of headers. On an
// error h holds what was read up to there; a frame that carries neither IP nor
// ARP is no error.
func Decode(link capture.LinkType, data []byte, h *Header) error {
	*h = Header{}
	var err *Error
	if link == capture.LinkEthernet {
		err = h.ethernet(data)
	} else {
		err = h.otherLink(link, data)
	}
	if err != nil { // a nil *Error in an error is not nil
		return err
	}
	return nil
}
