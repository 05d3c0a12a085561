package flow

import (
	"encoding/binary"

	"sekisho/firmware/capture"
)

const maxTags = 4 // real networks stack two

// ethernet reads Ethernet II and 802.3. The values 1501 to 1535 are undefined
// (IEEE 802.3 clause 3.2.6) and end up as an unknown EtherType.
func (h *Header) ethernet(data []byte) *Error {
	if len(data) < 14 {
		return errLinkShort
	}
	copy(h.DstMAC[:], data[0:6])
	copy(h.SrcMAC[:], data[6:12])
	return h.etherType(binary.BigEndian.Uint16(data[12:14]), data[14:])
}

// etherType walks tags and hands the rest to the network layer.
func (h *Header) etherType(et uint16, data []byte) *Error {
	for {
		switch et {
		case EtherIPv4:
			h.EtherType = et
			return h.ipv4(data)
		case EtherIPv6:
			h.EtherType = et
			return h.ipv6(data)
		case EtherARP:
			h.EtherType = et
			if len(data) < 8 {
				return errARP
			}
			h.Payload = data
			return nil
		case EtherVLAN, EtherQinQ, etherQinQ1:
			if len(data) < 4 {
				return errVLANShort
			}
			if h.Tags == maxTags {
				return errVLANDeep
			}
			id := binary.BigEndian.Uint16(data) & 0x0fff
			if h.Tags == 0 {
				h.VLAN = id
			} else {
				h.InnerVLAN = id
			}
			h.Tags++
			et, data = binary.BigEndian.Uint16(data[2:4]), data[4:]
		case EtherPPPoE:
			return h.pppoe(data)
		default:
			if et <= 1500 {
				var ok bool
				if et, data, ok = snap(et, data); ok {
					continue
				}
				return nil
			}
			h.EtherType = et
			return nil
		}
	}
}

// snap opens an 802.3 frame with an LLC/SNAP header (RFC 1042). Other LLC
// frames, as spanning tree sends, carry nothing that we read.
func snap(length uint16, data []byte) (uint16, []byte, bool) {
	if int(length) < len(data) {
		data = data[:length] // the rest is padding
	}
	if len(data) < 8 || data[0] != 0xaa || data[1] != 0xaa || data[2] != 3 ||
		data[3]|data[4]|data[5] != 0 {
		return 0, nil, false
	}
	et := binary.BigEndian.Uint16(data[6:8])
	return et, data[8:], et > 1500
}

// pppoe reads a session frame that carries IP (RFC 2516, RFC 1661).
func (h *Header) pppoe(data []byte) *Error {
	if len(data) < 8 {
		return errPPPoE
	}
	if n := int(binary.BigEndian.Uint16(data[4:6])) + 6; n >= 8 && n < len(data) {
		data = data[:n]
	}
	switch binary.BigEndian.Uint16(data[6:8]) {
	case 0x0021:
		h.EtherType = EtherIPv4
		return h.ipv4(data[8:])
	case 0x0057:
		h.EtherType = EtherIPv6
		return h.ipv6(data[8:])
	}
	h.EtherType = EtherPPPoE
	return nil
}

// otherLink reads what is not Ethernet. It is kept apart so that the hot path
// stays short.
func (h *Header) otherLink(link capture.LinkType, data []byte) *Error {
	switch link {
	case capture.LinkNull, capture.LinkLoop:
		if len(data) < 4 {
			return errLinkShort
		}
		// The address family differs between systems and, for Null, comes in
		// the byte order of the capturing host; the version nibble does not.
		return h.raw(data[4:])
	case capture.LinkRaw, capture.LinkIPv4, capture.LinkIPv6:
		return h.raw(data)
	case capture.LinkSLL:
		if len(data) < 16 {
			return errLinkShort
		}
		h.cookedMAC(binary.BigEndian.Uint16(data[2:4]), binary.BigEndian.Uint16(data[4:6]), data[6:14])
		return h.etherType(binary.BigEndian.Uint16(data[14:16]), data[16:])
	case capture.LinkSLL2:
		if len(data) < 20 {
			return errLinkShort
		}
		h.cookedMAC(binary.BigEndian.Uint16(data[8:10]), uint16(data[11]), data[12:20])
		return h.etherType(binary.BigEndian.Uint16(data[0:2]), data[20:])
	}
	return errLink
}

// cookedMAC takes the sender's address where it is an Ethernet one
// (ARPHRD_ETHER or loopback); cooked captures never hold the receiver's.
func (h *Header) cookedMAC(hatype, length uint16, addr []byte) {
	if (hatype == 1 || hatype == 772) && length == 6 {
		copy(h.SrcMAC[:], addr[:6])
	}
}

func (h *Header) raw(data []byte) *Error {
	if len(data) == 0 {
		return errLinkShort
	}
	switch data[0] >> 4 {
	case 4:
		h.EtherType = EtherIPv4
		return h.ipv4(data)
	case 6:
		h.EtherType = EtherIPv6
		return h.ipv6(data)
	}
	return errIPVersion
}
