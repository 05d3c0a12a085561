// Package decoy holds addresses of the LAN that nobody uses, so that whoever
// connects to them is suspect: no document, name or lease ever leads there.
//
// The gateway runs one Keeper, feeds it what ARP and DHCP show, and tells the
// decoy_touch detector its addresses. It must never hold an address that a
// real device wants, never offer one of the gateway's own services there, and
// never touch addresses or nftables tables that it did not make itself.
package decoy

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
)

// Range is the addresses from From to To, both included.
type Range struct{ From, To netip.Addr }

// One is the Range of a single address.
func One(a netip.Addr) Range { return Range{a, a} }

func (r Range) contains(a netip.Addr) bool {
	a = a.Unmap()
	return r.From.Compare(a) <= 0 && a.Compare(r.To) <= 0
}

// Choose picks up to count host addresses of lan, one in each of count equal
// parts of it, so that a sweep in either direction meets one early. The same
// arguments give the same addresses; seed (a secret of the device) keeps a
// reader of this source from knowing them. Addresses for which refuse is true
// are passed over; a part that has none left gives none.
func Choose(lan netip.Prefix, count int, seed []byte, refuse func(netip.Addr) bool) []netip.Addr {
	lan = lan.Masked()
	if !lan.Addr().Is4() || lan.Bits() > 30 || count < 1 {
		return nil
	}
	base := be32(lan.Addr())
	hosts := uint64(1)<<(32-lan.Bits()) - 2 // without network and broadcast
	count = int(min(uint64(count), hosts))
	var chosen []netip.Addr
	for part := range uint64(count) {
		from := 1 + hosts*part/uint64(count)
		size := 1 + hosts*(part+1)/uint64(count) - from
		if a, ok := pick(base, from, size, mix(seed, lan, part), refuse); ok {
			chosen = append(chosen, a)
		}
	}
	return chosen
}

// maxTries bounds the search in a part of a very large network.
const maxTries = 4096

func pick(base uint32, from, size, start uint64, refuse func(netip.Addr) bool) (netip.Addr, bool) {
	for i := range min(size, maxTries) {
		n := base + uint32(from+(start+i)%size)
		a := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
		if !refuse(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func be32(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func mix(seed []byte, lan netip.Prefix, part uint64) uint64 {
	h := fnv.New64a()
	h.Write(seed)
	h.Write(binary.BigEndian.AppendUint64(lan.Addr().AsSlice(), part))
	return h.Sum64() >> 16 // the low bits of FNV are its weak ones
}
