package flow

import "encoding/binary"

// maxExtensions bounds the walk over IPv6 extension headers. RFC 8200 orders
// at most seven before the transport header.
const maxExtensions = 8

// ipv4 reads RFC 791. A total length of 0 is what a host's own capture shows
// of packets that the card will segment; the frame's length stands for it.
func (h *Header) ipv4(p []byte) *Error {
	if len(p) < 20 {
		return errIPv4Short
	}
	if p[0]>>4 != 4 {
		return errIPVersion
	}
	ihl := int(p[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(p[2:4]))
	if total == 0 {
		total = len(p)
	}
	if ihl < 20 || ihl > len(p) {
		return errIPv4IHL
	}
	if total < ihl {
		return errIPv4Total
	}
	h.IPVersion = 4
	h.IPLen = total
	h.TTL = p[8]
	h.Proto = p[9]
	h.Src.set4(p[12:16])
	h.Dst.set4(p[16:20])
	if total < len(p) {
		p = p[:total]
	} else if total > len(p) {
		h.Truncated = true
	}
	h.Network = p
	h.PayloadLen = total - ihl
	if frag := binary.BigEndian.Uint16(p[6:8]); frag&0x3fff != 0 {
		h.FragID = uint32(binary.BigEndian.Uint16(p[4:6]))
		if err := h.fragment(int(frag&0x1fff)*8, frag&0x2000 != 0); err != nil {
			return err
		}
	}
	return h.transport(p[ihl:])
}

func (h *Header) fragment(offset int, more bool) *Error {
	if offset+h.PayloadLen > 65535 {
		return errIPv4FragEnd
	}
	h.Fragment = offset != 0 || more
	h.LaterFrag = offset != 0
	h.FragOffset = offset
	return nil
}

// ipv6 reads RFC 8200. A payload length of 0 is a jumbogram or, far more
// often, a packet that the card will segment.
func (h *Header) ipv6(p []byte) *Error {
	if len(p) < 40 {
		return errIPv6Short
	}
	if p[0]>>4 != 6 {
		return errIPVersion
	}
	h.IPVersion = 6
	h.TTL = p[7]
	h.Src = Addr(p[8:24])
	h.Dst = Addr(p[24:40])
	total := int(binary.BigEndian.Uint16(p[4:6])) + 40
	if total == 40 && p[6] != 59 {
		total = len(p)
	}
	h.IPLen = total
	if total < len(p) {
		p = p[:total]
	} else if total > len(p) {
		h.Truncated = true
	}
	h.Network = p
	return h.extensions(p[6], p)
}

// extensions walks from the fixed header to the transport header.
func (h *Header) extensions(next uint8, p []byte) *Error {
	off := 40
	for n := 0; ; n++ {
		var size int
		switch next {
		case 0, 43, 60, 135, 139, 140: // hop-by-hop, routing, destination, mobility, HIP, shim6
			size = 8
		case 51: // authentication, RFC 4302
			size = 8
		case 44:
			size = 8
		default:
			h.Proto = next
			h.PayloadLen = max(h.IPLen-off, 0)
			return h.transport(p[off:])
		}
		if n == maxExtensions {
			return errIPv6Chain
		}
		if len(p) < off+size {
			return h.cut(nil, errIPv6Ext)
		}
		switch next {
		case 44:
			h.Proto = p[off]
			h.FragID = binary.BigEndian.Uint32(p[off+4:])
			h.PayloadLen = max(h.IPLen-off-8, 0)
			word := binary.BigEndian.Uint16(p[off+2:])
			if err := h.fragment(int(word&0xfff8), word&1 != 0); err != nil {
				return err
			}
			if h.LaterFrag { // what follows is no header
				h.Payload = p[off+8:]
				return nil
			}
		case 51:
			size = (int(p[off+1]) + 2) * 4
		default:
			size = (int(p[off+1]) + 1) * 8
		}
		next = p[off]
		off += size
		if len(p) < off {
			return h.cut(nil, errIPv6Ext)
		}
	}
}

// cut says that a header is incomplete: the sender's fault, or only the snap
// length's. An ICMP error quotes no more than the ports (RFC 792), so they are
// read from p as far as it goes.
func (h *Header) cut(p []byte, err *Error) *Error {
	if h.Truncated {
		h.HeaderCut = true
		if len(p) >= 4 && (h.Proto == ProtoTCP || h.Proto == ProtoUDP) {
			h.SrcPort = binary.BigEndian.Uint16(p[0:2])
			h.DstPort = binary.BigEndian.Uint16(p[2:4])
		}
		return nil
	}
	return err
}

func (h *Header) transport(p []byte) *Error {
	if h.LaterFrag {
		h.Payload = p
		return nil
	}
	switch h.Proto {
	case ProtoTCP:
		return h.tcp(p)
	case ProtoUDP:
		return h.udp(p)
	case ProtoICMP, ProtoICMPv6:
		if len(p) < 4 {
			return h.cut(p, errICMPShort)
		}
		h.ICMPType, h.ICMPCode = p[0], p[1]
		h.Payload = p[4:]
		h.PayloadLen = max(h.PayloadLen-4, 0)
		return nil
	}
	h.Payload = p
	return nil
}

// tcp reads RFC 9293 section 3.1.
func (h *Header) tcp(p []byte) *Error {
	if len(p) < 20 {
		return h.cut(p, errTCPShort)
	}
	off := int(p[12]>>4) * 4
	if off < 20 || off > h.PayloadLen {
		return errTCPOffset
	}
	h.SrcPort = binary.BigEndian.Uint16(p[0:2])
	h.DstPort = binary.BigEndian.Uint16(p[2:4])
	h.Seq = binary.BigEndian.Uint32(p[4:8])
	h.Ack = binary.BigEndian.Uint32(p[8:12])
	h.TCPFlags = p[13]
	h.Window = binary.BigEndian.Uint16(p[14:16])
	h.PayloadLen -= off
	if off <= len(p) {
		h.Payload = p[off:]
	} // else options were cut off, and the payload with them
	return nil
}

// udp reads RFC 768. A length beyond the packet is believed only as far as the
// packet goes: a fragment's length covers the whole datagram.
func (h *Header) udp(p []byte) *Error {
	if len(p) < 8 {
		return h.cut(p, errUDPShort)
	}
	h.SrcPort = binary.BigEndian.Uint16(p[0:2])
	h.DstPort = binary.BigEndian.Uint16(p[2:4])
	n := int(binary.BigEndian.Uint16(p[4:6]))
	if n < 8 && n != 0 { // 0: a datagram above 65535 bytes, RFC 2675, or segmented by the card
		return errUDPLength
	}
	if n != 0 && n < h.PayloadLen {
		h.PayloadLen = n
	}
	h.PayloadLen -= 8
	p = p[8:]
	if h.PayloadLen < len(p) {
		p = p[:h.PayloadLen]
	}
	h.Payload = p
	return nil
}
