package decoy

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func none(netip.Addr) bool { return false }

func TestChoiceIsSpreadAndRepeatable(t *testing.T) {
	lan := netip.MustParsePrefix("192.168.10.77/24")
	got := Choose(lan, 3, []byte("seed"), none)
	if len(got) != 3 || !slices.Equal(got, Choose(lan, 3, []byte("seed"), none)) {
		t.Fatalf("chose %v", got)
	}
	for i, a := range got {
		if last := int(a.As4()[3]); last < 1+254*i/3 || last > 254*(i+1)/3 {
			t.Errorf("%v is not in part %d of the LAN", a, i)
		}
	}
	if other := Choose(lan, 3, []byte("other"), none); slices.Equal(got, other) {
		t.Errorf("another device holds the same decoys %v", got)
	}
}

func TestChoicePassesOverRefusedAddresses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(0, 32).Draw(t, "bits")
		lan := netip.PrefixFrom(netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "base"))), bits).Masked()
		count := rapid.IntRange(-1, 9).Draw(t, "count")
		modulo := byte(rapid.IntRange(1, 5).Draw(t, "modulo"))
		refuse := func(a netip.Addr) bool { return a.As4()[3]%modulo == 1 }
		got := Choose(lan, count, nil, refuse)
		if len(got) > max(count, 0) || !slices.IsSortedFunc(got, netip.Addr.Compare) {
			t.Fatalf("%d of %s: %v", count, lan, got)
		}
		for i, a := range got {
			broadcast := !lan.Contains(a.Next())
			if !lan.Contains(a) || a == lan.Addr() || broadcast || refuse(a) || i > 0 && a == got[i-1] {
				t.Fatalf("%s of %s may not be held", a, lan)
			}
		}
	})
}

func TestNoRoomGivesNoDecoys(t *testing.T) {
	for _, s := range []string{"10.0.0.0/31", "10.0.0.0/32", "fd00::/64"} {
		if got := Choose(netip.MustParsePrefix(s), 3, nil, none); len(got) != 0 {
			t.Errorf("%s: %v", s, got)
		}
	}
	if got := Choose(netip.MustParsePrefix("10.0.0.0/30"), 3, nil, none); len(got) != 2 {
		t.Errorf("a /30 has two hosts, chose %v", got)
	}
	all := func(netip.Addr) bool { return true }
	if got := Choose(netip.MustParsePrefix("0.0.0.0/0"), 3, nil, all); len(got) != 0 {
		t.Errorf("everything refused, chose %v", got)
	}
}
