package asset

import (
	"encoding/binary"
	"net/netip"
)

// Nets is a set of networks that is asked about several times for every event:
// Contains says what netip.Prefix.Contains says of one of them.
type Nets struct {
	v4 []net4
	v6 []net6
}

type net4 struct{ mask, base uint32 }

type net6 struct{ mask, base [2]uint64 }

// NewNets takes the networks over; invalid ones hold nothing.
func NewNets(list []netip.Prefix) Nets {
	var s Nets
	for _, p := range list {
		switch a := p.Masked().Addr(); {
		case a.Is4():
			s.v4 = append(s.v4, net4{^uint32(0) << (32 - p.Bits()), bits4(a)})
		case a.Is6():
			n := net6{base: bits6(a)}
			n.mask[0] = ^uint64(0) << max(64-p.Bits(), 0)
			n.mask[1] = ^uint64(0) << min(128-p.Bits(), 64)
			s.v6 = append(s.v6, n)
		}
	}
	return s
}

// Contains says whether an address lies in one of the networks. One with a
// zone lies in none.
func (s *Nets) Contains(a netip.Addr) bool {
	if a.Is4() {
		x := bits4(a)
		for i := range s.v4 {
			if n := &s.v4[i]; x&n.mask == n.base {
				return true
			}
		}
		return false
	}
	if !a.Is6() || a.Zone() != "" {
		return false
	}
	x := bits6(a)
	for i := range s.v6 {
		if n := &s.v6[i]; x[0]&n.mask[0] == n.base[0] && x[1]&n.mask[1] == n.base[1] {
			return true
		}
	}
	return false
}

func bits4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func bits6(a netip.Addr) [2]uint64 {
	b := a.As16()
	return [2]uint64{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}
