package neigh

import (
	"net/netip"
	"testing"

	"sekisho/netcontain"
)

var (
	us, them = netcontain.MAC{2, 0x5e, 0, 0, 0, 1}, netcontain.MAC{2, 0, 0, 0, 0, 9}
	a4, b4   = netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("192.0.2.12")
	a6, b6   = netip.MustParseAddr("2001:db8:1::11"), netip.MustParseAddr("fe80::12")
	place    = netcontain.MAC{2, 0, 0, 0, 0, 0x77}
)

func TestWhatIsSaidIsUnderstood(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte
		want  message
	}{
		"ARP ask":            {ask(us, them, a4, place, b4), message{us, them, true, place, a4, b4}},
		"ARP tell":           {tell(us, them, a4, place, b4, false), message{us, them, false, place, a4, b4}},
		"NDP ask":            {ask(us, them, a6, place, b6), message{us, them, true, place, a6, b6}},
		"NDP tell":           {tell(us, them, a6, place, b6, false), message{us, them, false, place, a6, b6}},
		"NDP tell, answered": {tell(us, them, a6, place, b6, true), message{us, them, false, place, a6, b6}},
	} {
		if got, ok := parse(c.frame); !ok || got != c.want {
			t.Errorf("%s: %+v, %t", name, got, ok)
		}
	}
}

// TestTheBytesAreThoseOfTheStandards is against the layouts of RFC 826 and RFC
// 4861, section 4.4, written out.
func TestTheBytesAreThoseOfTheStandards(t *testing.T) {
	arp := tell(us, them, a4, place, b4, false)
	want := "\x02\x00\x00\x00\x00\x09\x02\x5e\x00\x00\x00\x01\x08\x06" + "\x00\x01\x08\x00\x06\x04\x00\x02" +
		"\x02\x00\x00\x00\x00\x77\xc0\x00\x02\x0b" + "\x02\x00\x00\x00\x00\x09\xc0\x00\x02\x0c"
	if len(arp) != 60 || string(arp[:len(want)]) != want {
		t.Errorf("ARP: % x", arp)
	}
	nd := tell(us, them, a6, place, b6, true)
	want = "\x02\x00\x00\x00\x00\x09\x02\x5e\x00\x00\x00\x01\x86\xdd" + "\x60\x00\x00\x00\x00\x20\x3a\xff" + string(a6.AsSlice()) + string(b6.AsSlice()) +
		"\x88\x00" + string(nd[56:58]) + "\x60\x00\x00\x00" + string(a6.AsSlice()) + "\x02\x01\x02\x00\x00\x00\x00\x77"
	if string(nd) != want {
		t.Errorf("NDP: % x", nd)
	}
	if sum := checksum(nd[14:54], nd[54:]); sum != 0 { // over a right checksum it is zero
		t.Errorf("checksum off by %x", sum)
	}
}

func TestWhatIsNotAMessageIsRefused(t *testing.T) {
	arp, nd := ask(us, them, a4, place, b4), ask(us, them, a6, place, b6)
	with := func(f []byte, at int, v byte) []byte {
		c := append([]byte{}, f...)
		c[at] = v
		return c
	}
	for name, f := range map[string][]byte{
		"nothing": nil, "short ARP": arp[:41], "short NDP": nd[:77], "group source": with(arp, 6, 3), "RARP operation": with(arp, 21, 3),
		"ARP for another link": with(arp, 15, 6), "through a router": with(nd, 21, 64), "router advertisement": with(nd, 54, 134),
		"option without length": with(nd, 79, 0), "option beyond the end": with(nd, 79, 9), "length beyond the end": with(nd, 19, 200),
		"length too short": with(nd, 19, 20), "not version 6": with(nd, 14, 0x40), "VLAN tag": with(with(arp, 12, 0x81), 13, 0), "asks for a group": with(nd, 62, 0xff),
	} {
		if m, ok := parse(f); ok {
			t.Errorf("%s: taken for %+v", name, m)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range [][]byte{ask(us, them, a4, place, b4), tell(us, them, a6, place, b6, true), ask(us, them, a6, place, b6)} {
		f.Add(seed)
		f.Add(seed[:len(seed)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parse(b)
		if !ok {
			return
		}
		if m.src[0]&1 != 0 || !m.from.IsValid() {
			t.Errorf("%+v", m)
		}
		book := newBook(us)
		book.open("p", start)
		held := netcontain.Host{ID: "h", MACs: []netcontain.MAC{m.src}, Shared: []string{"p"}}
		gateway := neverOf([]netcontain.MAC{them}, []netip.Addr{b4})
		for _, hosts := range [][]netcontain.Host{nil, {held}} {
			book.want(hosts, nil, gateway, start)
			all := book.hear("p", m, start)
			due, _ := book.due(start)
			for _, o := range append(all, due...) {
				said, ok := parse(o.frame)
				if !ok || said.dst != m.src || said.dst == them || said.from == b4 || said.src != us {
					t.Errorf("%+v led to %+v", m, said)
				}
			}
		}
	})
}
