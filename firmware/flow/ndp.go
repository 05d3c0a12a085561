package flow

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	errNDPHops    = &Error{"ndp", "hop limit is not 255"}
	errNDPShort   = &Error{"ndp", "shorter than its header"}
	errNDPOptions = &Error{"ndp", "option has no length or ends beyond the message"}
)

// maxListed bounds what one message may list of prefixes and servers.
const maxListed = 16

// ndp emits one neighbour discovery message. RFC 4861 section 6.1 and 7.1 have
// every receiver drop those with a hop limit below 255: they came through a
// router, so somebody pretends to be on this link.
func (t *Tracker) ndp(emit func(Event)) {
	h := &t.hdr
	if h.Truncated {
		return
	}
	if h.TTL != 255 {
		t.malformed(errNDPHops, emit)
		return
	}
	t.ev.ndp = NDP{
		Meta: t.here(), Type: h.ICMPType, Src: h.Src.Netip(), Dst: h.Dst.Netip(),
		Prefixes: t.ev.ndp.Prefixes[:0], RDNSS: t.ev.ndp.RDNSS[:0],
	}
	if t.parse(parseNDP, h.Payload, emit) {
		emit(&t.ev.ndp)
	}
}

// readNDP reads what follows type, code and checksum. Type is set already.
func (d *deepDecoders) readNDP(p []byte, e *NDP) *Error {
	fixed := fixedPart(e.Type)
	if len(p) < fixed {
		return errNDPShort
	}
	switch e.Type {
	case layers.ICMPv6TypeRouterAdvertisement:
		e.Lifetime = binary.BigEndian.Uint16(p[2:4])
	case layers.ICMPv6TypeNeighborAdvertisement:
		e.Router, e.Override = p[0]&0x80 != 0, p[0]&0x20 != 0
		e.Target = netip.AddrFrom16([16]byte(p[4:20]))
	case layers.ICMPv6TypeNeighborSolicitation, layers.ICMPv6TypeRedirect:
		e.Target = netip.AddrFrom16([16]byte(p[4:20]))
	}
	d.ndp = d.ndp[:0]
	if err := d.ndp.DecodeFromBytes(p[fixed:], gopacket.NilDecodeFeedback); err != nil {
		return errNDPOptions
	}
	for _, o := range d.ndp {
		e.option(uint8(o.Type), o.Data)
	}
	return nil
}

// fixedPart is how many bytes stand between checksum and options (RFC 4861 section
// 4).
func fixedPart(icmpType uint8) int {
	switch icmpType {
	case layers.ICMPv6TypeRouterAdvertisement:
		return 12
	case layers.ICMPv6TypeRouterSolicitation:
		return 4
	case layers.ICMPv6TypeRedirect:
		return 36
	}
	return 20
}

// option reads one option; data begins after type and length.
func (e *NDP) option(kind uint8, data []byte) {
	switch {
	case (kind == 1 || kind == 2) && len(data) == 6: // link-layer address
		e.LinkAddr = MAC(data)
	case kind == 3 && len(data) == 30: // prefix information
		a := netip.AddrFrom16([16]byte(data[14:30]))
		if bits := int(data[0]); bits <= 128 && len(e.Prefixes) < maxListed {
			e.Prefixes = append(e.Prefixes, netip.PrefixFrom(a, bits).Masked())
		}
	case kind == 25 && len(data) >= 22: // RDNSS, RFC 8106
		for b := data[6:]; len(b) >= 16 && len(e.RDNSS) < maxListed; b = b[16:] {
			e.RDNSS = append(e.RDNSS, netip.AddrFrom16([16]byte(b[:16])))
		}
	}
}
