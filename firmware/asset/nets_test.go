package asset

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func TestNetsAgreeWithTheirPrefixes(t *testing.T) {
	lists := [][]netip.Prefix{nil, DefaultLAN(), {
		netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("192.0.2.7/32"), {},
	}, {
		netip.MustParsePrefix("::/0"),
	}, {
		netip.MustParsePrefix("2001:db8::7/128"), netip.MustParsePrefix("2001:db8:1::/65"),
		netip.MustParsePrefix("2001:db8:2::/64"), netip.MustParsePrefix("2001:db8:3::/63"), netip.MustParsePrefix("10.1.2.3/8"),
	}}
	addrs := []netip.Addr{
		{}, netip.IPv6Unspecified(), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("fe80::1"),
		netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("10.255.255.255"), netip.MustParseAddr("172.32.0.0"),
		netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("255.255.255.255"),
		netip.MustParseAddr("2001:db8:1:0:7fff::"), netip.MustParseAddr("2001:db8:1:0:8000::"),
		netip.MustParseAddr("2001:db8:2:1::"), netip.MustParseAddr("2001:db8:3:1::"), netip.MustParseAddr("2001:db8:3:2::"),
	}
	seed := rand.Uint64()
	t.Log("seed", seed)
	for r := rand.New(rand.NewPCG(seed, 0)); len(addrs) < 2000; {
		addrs = append(addrs, netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(r.Uint32()), 1, 1}),
			netip.AddrFrom16([16]byte{0xfc + byte(r.IntN(4)), 0x80 + byte(r.IntN(128)), 8: byte(r.Uint32())}))
	}
	for _, list := range lists {
		nets := NewNets(list)
		for _, a := range addrs {
			want := slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
			if got := nets.Contains(a); got != want {
				t.Errorf("%v in %v: %v, want %v", a, list, got, want)
			}
		}
	}
}
