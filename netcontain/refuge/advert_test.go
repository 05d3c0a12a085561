package refuge

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestAnAdvertisementIsAsTheRFCsDrawIt(t *testing.T) {
	mac, _ := net.ParseMAC("02:00:00:00:00:01")
	got := hex.EncodeToString(advertisement(mac, netip.MustParsePrefix("fd12:3456:789a::1/64"), netip.MustParseAddr("fe80::1")))
	want := strings.Join([]string{
		"40", "00", "001e", "00000000", "00000000", // hop limit 64, no flags, router for 30 s
		"01", "01", "020000000001", // source link-layer address
		"03", "04", "40", "c0", "00000078", "00000078", "00000000", "fd123456789a00000000000000000000", // /64, on link, autonomous, 120 s
		"19", "03", "0000", "0000001e", "fe800000000000000000000000000001", // RDNSS for 30 s
	}, "")
	if got != want {
		t.Errorf("\n%s, want\n%s", got, want)
	}
	if short := advertisement(nil, netip.Prefix{}, netip.MustParseAddr("fe80::1")); len(short) != 12+24 {
		t.Errorf("without prefix and MAC: %x", short)
	}
}

func TestTheQuarantinesPrefixIsUniqueLocalAndOneForEachBox(t *testing.T) {
	one, again, other := UniqueLocal([]byte("a")), UniqueLocal([]byte("a")), UniqueLocal([]byte("b"))
	if one != again || one == other || one.Bits() != 64 || !netip.MustParsePrefix("fd00::/8").Contains(one.Addr()) || one.Addr() == one.Masked().Addr() {
		t.Errorf("%v %v %v", one, again, other)
	}
}
