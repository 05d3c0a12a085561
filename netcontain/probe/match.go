package probe

import (
	"encoding/binary"
	"net/netip"

	"sekisho/netcontain"
)

func newMatcher(h netcontain.Host) *matcher {
	m := &matcher{macs: map[[6]byte]bool{}, addrs: map[netip.Addr]bool{}}
	for _, mac := range h.MACs {
		m.macs[mac] = true
	}
	for _, a := range h.Addrs {
		m.addrs[a.Unmap().WithZone("")] = true
	}
	return m
}

// sentBy says whether the frame's source is the host: source MAC, IPv4 or IPv6
// source, ARP sender; through up to four VLAN tags. It is total on any bytes.
func (m *matcher) sentBy(b []byte) bool {
	if len(b) < 14 {
		return false
	}
	if m.macs[[6]byte(b[6:12])] {
		return true
	}
	kind, rest := binary.BigEndian.Uint16(b[12:]), b[14:]
	for range 4 {
		if kind != 0x8100 && kind != 0x88a8 || len(rest) < 4 {
			break
		}
		kind, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	switch {
	case kind == 0x0800 && len(rest) >= 20:
		return m.addrs[netip.AddrFrom4([4]byte(rest[12:16]))]
	case kind == 0x86dd && len(rest) >= 40:
		return m.addrs[netip.AddrFrom16([16]byte(rest[8:24])).Unmap()]
	case kind == 0x0806 && len(rest) >= 28:
		return m.macs[[6]byte(rest[8:14])] || m.addrs[netip.AddrFrom4([4]byte(rest[14:18]))]
	}
	return false
}

// matcher recognises frames that a host sent.
type matcher struct {
	macs  map[[6]byte]bool
	addrs map[netip.Addr]bool
}
