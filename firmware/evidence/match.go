package evidence

import (
	"encoding/binary"
	"net/netip"

	"sekisho/firmware/capture"
)

// keys are the addresses and ports in the headers of one frame. Addresses are
// 16 bytes, IPv4 mapped, so that one array type serves both.
type keys struct {
	macs   [4][6]byte
	addrs  [4][16]byte
	ports  [2]uint16 // source, destination
	nm, na int
	ported bool // ports were read
	hidden bool // there are ports, but not where they can be read
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
	k.nm, k.na, k.ported, k.hidden = 0, 0, false, false
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
		head := int(b[0]&15) * 4
		later := binary.BigEndian.Uint16(b[6:])&0x1fff != 0 // fragment offset
		k.transport(b[9], b[min(max(head, 20), len(b)):], later || head < 20)
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
		k.chain(b[6], b[40:])
	}
}

// chain passes over the extension headers of IPv6 (RFC 8200, section 4; the
// authentication header: RFC 4302) to the transport.
func (k *keys) chain(next byte, b []byte) {
	later := false
	for range 8 { // no sane host sends more
		var size int
		switch {
		case next != 0 && next != 43 && next != 44 && next != 51 && next != 60:
			k.transport(next, b, later)
			return
		case len(b) < 8:
			k.hidden = true
			return
		case next == 44:
			size, later = 8, later || binary.BigEndian.Uint16(b[2:])>>3 != 0
		case next == 51:
			size = (int(b[1]) + 2) * 4
		default:
			size = (int(b[1]) + 1) * 8
		}
		next, b = b[0], b[min(size, len(b)):]
	}
	k.hidden = true
}

// transport reads the ports of TCP, UDP, DCCP, SCTP and UDP-Lite, which all
// begin with them.
func (k *keys) transport(proto byte, b []byte, unreadable bool) {
	switch proto {
	case 6, 17, 33, 132, 136:
		if unreadable || len(b) < 4 {
			k.hidden = true
			return
		}
		k.ports = [2]uint16{binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])}
		k.ported = true
	}
}

// matcher is a Match made ready for many frames.
type matcher struct {
	macs  map[[6]byte]struct{}
	addrs map[[16]byte]struct{}
	ports *portSet // nil: any
}

// portSet is a set of all that a port can be, 8 KiB.
type portSet [1 << 10]uint64

func (p *portSet) add(port uint16)      { p[port>>6] |= 1 << (port & 63) }
func (p *portSet) has(port uint16) bool { return p[port>>6]&(1<<(port&63)) != 0 }

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
	if len(m.Ports) > 0 {
		out.ports = new(portSet)
		for _, p := range m.Ports {
			out.ports.add(p)
		}
	}
	return out
}

// port tells whether the ports are among those asked for. hidden: it cannot be
// known of this frame.
func (m *matcher) port(k *keys) (ok, hidden bool) {
	switch {
	case m.ports == nil:
		return true, false
	case k.ported:
		return m.ports.has(k.ports[0]) || m.ports.has(k.ports[1]), false
	}
	return false, k.hidden
}

// host tells whether any address is one of those asked for.
func (m *matcher) host(k *keys) bool {
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
