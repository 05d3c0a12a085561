package evidence

import (
	"encoding/binary"
	"net/netip"

	"sekisho/firmware/capture"
)

// keys are the addresses in the headers of one frame. Addresses are 16 bytes,
// IPv4 mapped, so that one array type serves both.
type keys struct {
	macs   [4][6]byte
	addrs  [4][16]byte
	nm, na int
}

func (k *keys) mac(b []byte) {
	if k.nm < len(k.macs) {
		copy(k.macs[k.nm][:], b)
		k.nm++
	}
}

func (k *keys) v4(b []byte) {
	if k.na < len(k.addrs) {
		a := &k.addrs[k.na]
		*a = [16]byte{10: 0xff, 11: 0xff}
		copy(a[12:], b[:4])
		k.na++
	}
}

func (k *keys) v6(b []byte) {
	if k.na < len(k.addrs) {
		copy(k.addrs[k.na][:], b[:16])
		k.na++
	}
}

// read takes the addresses out of a frame. It is total on any input and does
// not allocate; what it cannot read has no keys.
func (k *keys) read(link capture.LinkType, b []byte) {
	k.nm, k.na = 0, 0
	switch link {
	case capture.LinkEthernet:
		if len(b) < 14 {
			return
		}
		k.mac(b[:6])
		k.mac(b[6:12])
		k.network(binary.BigEndian.Uint16(b[12:]), b[14:])
	case capture.LinkRaw, capture.LinkIPv4, capture.LinkIPv6:
		k.ip(b)
	case capture.LinkNull, capture.LinkLoop:
		if len(b) >= 4 {
			k.ip(b[4:])
		}
	case capture.LinkSLL:
		if len(b) >= 16 {
			if binary.BigEndian.Uint16(b[4:]) == 6 {
				k.mac(b[6:12])
			}
			k.network(binary.BigEndian.Uint16(b[14:]), b[16:])
		}
	case capture.LinkSLL2:
		if len(b) >= 20 {
			if b[11] == 6 {
				k.mac(b[12:18])
			}
			k.network(binary.BigEndian.Uint16(b), b[20:])
		}
	}
}

func (k *keys) network(kind uint16, b []byte) {
	for kind == 0x8100 || kind == 0x88a8 || kind == 0x9100 { // stacked VLAN tags
		if len(b) < 4 {
			return
		}
		kind, b = binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	switch kind {
	case 0x0800, 0x86dd:
		k.ip(b)
	case 0x0806: // ARP for IPv4 over Ethernet
		if len(b) >= 28 && binary.BigEndian.Uint16(b[2:]) == 0x0800 && b[4] == 6 && b[5] == 4 {
			k.mac(b[8:14])
			k.v4(b[14:])
			k.mac(b[18:24])
			k.v4(b[24:])
		}
	}
}

func (k *keys) ip(b []byte) {
	if len(b) < 20 {
		return
	}
	switch b[0] >> 4 {
	case 4:
		k.v4(b[12:])
		k.v4(b[16:])
	case 6:
		if len(b) < 40 {
			return
		}
		k.v6(b[8:])
		k.v6(b[24:])
		// Neighbour solicitation and advertisement name a third party
		// (RFC 4861, sections 4.3 and 4.4); they never carry extension headers
		// from a sane host.
		if b[6] == 58 && len(b) >= 64 && (b[40] == 135 || b[40] == 136) {
			k.v6(b[48:])
		}
	}
}

// matcher is a Match made ready for many frames.
type matcher struct {
	macs  map[[6]byte]struct{}
	addrs map[[16]byte]struct{}
}

func newMatcher(m Match) *matcher {
	out := &matcher{macs: map[[6]byte]struct{}{}, addrs: map[[16]byte]struct{}{}}
	for _, mac := range m.MACs {
		if mac != [6]byte{} {
			out.macs[mac] = struct{}{}
		}
	}
	for _, a := range m.Addrs {
		if a.IsValid() && !a.IsUnspecified() {
			out.addrs[netip.AddrFrom16(a.As16()).As16()] = struct{}{}
		}
	}
	return out
}

func (m *matcher) has(k *keys) bool {
	for i := range k.nm {
		if _, ok := m.macs[k.macs[i]]; ok {
			return true
		}
	}
	for i := range k.na {
		if _, ok := m.addrs[k.addrs[i]]; ok {
			return true
		}
	}
	return false
}
