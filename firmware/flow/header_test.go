package flow

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

func tcp4() []byte {
	ip := flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoTCP}
	return ip.Packet(flowtest.Segment{SrcPort: 1234, DstPort: 80, Seq: 5, Ack: 6, Flags: FlagSYN}.Bytes([]byte("hello")))
}

func udp6(extensions ...[]byte) []byte {
	var ext []byte
	next := uint8(ProtoUDP)
	for i := len(extensions) - 1; i >= 0; i-- {
		e := append([]byte{}, extensions[i]...)
		kind := e[0]
		e[0] = next
		next, ext = kind, append(e, ext...)
	}
	ip := flowtest.IP{Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::2"), Proto: next}
	return ip.Packet(append(ext, flowtest.UDP(1234, 53, []byte("hello"))...))
}

// ext is an extension header; its first byte is its own number, which udp6
// replaces by the next one's.
func ext(kind byte, rest ...byte) []byte {
	return append(append([]byte{kind}, rest...), make([]byte, 7-len(rest))...)
}

func concat(head []byte, rest []byte) []byte { return append(append([]byte{}, head...), rest...) }

func TestDecodeFindsThePortsBehindEveryLinkHeader(t *testing.T) {
	mac := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
	eth := func(b ...byte) []byte { return concat(mac, b) }
	cases := map[string]struct {
		link      capture.LinkType
		head      []byte
		vlan      uint16
		inner     uint16
		hasSrcMAC bool
	}{
		"ethernet":        {capture.LinkEthernet, eth(8, 0), 0, 0, true},
		"802.1Q":          {capture.LinkEthernet, eth(0x81, 0, 0x60, 42, 8, 0), 42, 0, true},
		"priority tag":    {capture.LinkEthernet, eth(0x81, 0, 0x60, 0, 8, 0), 0, 0, true},
		"QinQ":            {capture.LinkEthernet, eth(0x88, 0xa8, 0, 100, 0x81, 0, 0, 42, 8, 0), 100, 42, true},
		"old QinQ":        {capture.LinkEthernet, eth(0x91, 0, 0, 100, 0x81, 0, 0, 42, 8, 0), 100, 42, true},
		"SNAP":            {capture.LinkEthernet, eth(0, 53, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0), 0, 0, true},
		"PPPoE":           {capture.LinkEthernet, eth(0x88, 0x64, 0x11, 0, 0, 1, 0, 47, 0, 0x21), 0, 0, true},
		"null":            {capture.LinkNull, []byte{2, 0, 0, 0}, 0, 0, false},
		"loop":            {capture.LinkLoop, []byte{0, 0, 0, 2}, 0, 0, false},
		"raw":             {capture.LinkRaw, nil, 0, 0, false},
		"ipv4":            {capture.LinkIPv4, nil, 0, 0, false},
		"cooked":          {capture.LinkSLL, concat([]byte{0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0}, []byte{8, 0}), 0, 0, true},
		"cooked v2":       {capture.LinkSLL2, concat([]byte{8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6}, []byte{2, 0, 0, 0, 0, 1, 0, 0}), 0, 0, true},
		"cooked, 802.1Q":  {capture.LinkSLL, concat([]byte{0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0}, []byte{0x81, 0, 0, 9, 8, 0}), 9, 0, true},
		"cooked, no MACs": {capture.LinkSLL, concat(make([]byte, 14), []byte{8, 0}), 0, 0, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var h Header
			if err := Decode(c.link, concat(c.head, tcp4()), &h); err != nil {
				t.Fatal(err)
			}
			if h.SrcPort != 1234 || h.DstPort != 80 || h.Seq != 5 || h.Ack != 6 || h.TCPFlags != FlagSYN {
				t.Errorf("ports %d %d, seq %d, ack %d, flags %x", h.SrcPort, h.DstPort, h.Seq, h.Ack, h.TCPFlags)
			}
			if string(h.Payload) != "hello" || h.PayloadLen != 5 || h.Src.Netip() != hostA || h.Dst.Netip() != hostB {
				t.Errorf("payload %q of %d, %v > %v", h.Payload, h.PayloadLen, h.Src.Netip(), h.Dst.Netip())
			}
			if h.VLAN != c.vlan || h.InnerVLAN != c.inner || h.SrcMAC.IsZero() == c.hasSrcMAC {
				t.Errorf("vlan %d inner %d source %v", h.VLAN, h.InnerVLAN, h.SrcMAC)
			}
		})
	}
}

func TestDecodeWalksExtensionHeaders(t *testing.T) {
	auth := append([]byte{51, 4}, make([]byte, 22)...) // RFC 4302: (4+2)*4 bytes
	for name, packet := range map[string][]byte{
		"none":       udp6(),
		"hop-by-hop": udp6(ext(0, 0)),
		"chain":      udp6(ext(0, 0), ext(43, 0), ext(60, 0), auth),
		"first frag": udp6(ext(44, 0, 0, 1, 0, 0, 0, 9)),
		"atomic":     udp6(ext(44, 0, 0, 0, 0, 0, 0, 9)),
	} {
		var h Header
		if err := Decode(capture.LinkRaw, packet, &h); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if h.Proto != ProtoUDP || h.SrcPort != 1234 || h.DstPort != 53 || string(h.Payload) != "hello" {
			t.Errorf("%s: proto %d, ports %d %d, payload %q", name, h.Proto, h.SrcPort, h.DstPort, h.Payload)
		}
		if h.Fragment != (name == "first frag") {
			t.Errorf("%s: fragment %v", name, h.Fragment)
		}
	}
}

func TestLaterFragmentsHaveNoPorts(t *testing.T) {
	for name, packet := range map[string][]byte{
		"ipv4": flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoTCP, ID: 7, Offset: 1480}.Packet(make([]byte, 40)),
		"ipv6": udp6(ext(44, 0, 0x05, 0xc8, 0, 0, 0, 7)),
	} {
		var h Header
		if err := Decode(capture.LinkRaw, packet, &h); err != nil {
			t.Fatal(name, err)
		}
		if !h.LaterFrag || h.FragOffset != 1480 || h.FragID != 7 || h.SrcPort|h.DstPort != 0 {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	edit := func(b []byte, at int, v ...byte) []byte { copy(b[at:], v); return b }
	many := make([][]byte, maxExtensions+1)
	for i := range many {
		many[i] = ext(60, 0)
	}
	cases := map[string]struct {
		data []byte
		want error
	}{
		"nothing":            {nil, errLinkShort},
		"version":            {edit(tcp4(), 0, 0x55), errIPVersion},
		"short ipv4":         {tcp4()[:19], errIPv4Short},
		"header length":      {edit(tcp4(), 0, 0x44), errIPv4IHL},
		"total length":       {edit(tcp4(), 2, 0, 19), errIPv4Total},
		"fragment end":       {edit(tcp4(), 6, 0x1f, 0xff), errIPv4FragEnd},
		"short tcp":          {edit(tcp4()[:30], 2, 0, 30), errTCPShort},
		"tcp offset":         {edit(tcp4(), 32, 0x40), errTCPOffset},
		"tcp offset beyond":  {edit(tcp4(), 32, 0xf0), errTCPOffset},
		"short ipv6":         {udp6()[:39], errIPv6Short},
		"udp length":         {edit(udp6(), 44, 0, 7), errUDPLength},
		"extensions":         {udp6(many...), errIPv6Chain},
		"extension too long": {edit(udp6(ext(0, 0)), 41, 200), errIPv6Ext},
	}
	for name, c := range cases {
		var h Header
		if err := Decode(capture.LinkRaw, c.data, &h); err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	var h Header
	if err := Decode(capture.LinkIEEE80211, tcp4(), &h); err != ErrUnsupportedLink {
		t.Errorf("802.11: %v", err)
	}
	tags := make([]byte, 12)
	for range maxTags + 1 {
		tags = append(tags, 0x81, 0, 0, 1)
	}
	if err := Decode(capture.LinkEthernet, concat(tags, []byte{8, 0}), &h); err != errVLANDeep {
		t.Errorf("five tags: %v", err)
	}
}

func TestASnapLengthIsNotTheSendersFault(t *testing.T) {
	for n := 20; n < len(tcp4()); n++ {
		var h Header
		if err := Decode(capture.LinkRaw, tcp4()[:n], &h); err != nil || !h.Truncated {
			t.Fatalf("%d bytes: %v, truncated %v", n, err, h.Truncated)
		}
		if cut := n < 40; h.HeaderCut != cut {
			t.Errorf("%d bytes: header cut %v", n, h.HeaderCut)
		}
		if n >= 24 && (h.SrcPort != 1234 || h.DstPort != 80) {
			t.Errorf("%d bytes: the ports are there and were not read", n)
		}
		if n >= 40 && h.PayloadLen != 5 {
			t.Errorf("%d bytes: %d bytes of payload on the wire, want 5", n, h.PayloadLen)
		}
	}
}

func TestPaddingIsNoPayload(t *testing.T) {
	b := ether.Frame(EtherIPv4, append(tcp4(), make([]byte, 30)...))
	var h Header
	if err := Decode(capture.LinkEthernet, b, &h); err != nil || string(h.Payload) != "hello" || len(h.Network) != 45 {
		t.Errorf("%v, payload %q, packet of %d", err, h.Payload, len(h.Network))
	}
}

func TestOffloadedPacketsWithoutALengthAreReadWhole(t *testing.T) {
	b := tcp4()
	binary.BigEndian.PutUint16(b[2:], 0)
	var h Header
	if err := Decode(capture.LinkRaw, b, &h); err != nil || string(h.Payload) != "hello" {
		t.Errorf("ipv4: %v, payload %q", err, h.Payload)
	}
	b = udp6()
	binary.BigEndian.PutUint16(b[4:], 0)
	if err := Decode(capture.LinkRaw, b, &h); err != nil || string(h.Payload) != "hello" {
		t.Errorf("ipv6: %v, payload %q", err, h.Payload)
	}
}

func TestTheKeyIsTheSameBothWays(t *testing.T) {
	for _, ports := range [][2]uint16{{1, 2}, {2, 1}, {7, 7}} {
		for _, addrs := range [][2]netip.Addr{{hostA, hostB}, {hostA, hostA}} {
			x := Header{Proto: 6, Src: AddrFrom(addrs[0]), Dst: AddrFrom(addrs[1]), SrcPort: ports[0], DstPort: ports[1]}
			y := Header{Proto: 6, Src: x.Dst, Dst: x.Src, SrcPort: x.DstPort, DstPort: x.SrcPort}
			kx, firstX := x.key()
			ky, firstY := y.key()
			if kx != ky {
				t.Errorf("%v %v: %v and %v", addrs, ports, kx, ky)
			}
			if x.Src != x.Dst && firstX == firstY {
				t.Errorf("%v %v: both ways begin at the same side", addrs, ports)
			}
		}
	}
}

func TestTheHotPathAllocatesNothing(t *testing.T) {
	frames := flowtest.Mix(4000, 3)
	var h Header
	if n := testing.AllocsPerRun(5, func() {
		for i := range frames {
			if Decode(frames[i].Link, frames[i].Data, &h) != nil {
				t.Fatal("the mix must decode")
			}
		}
	}); n != 0 {
		t.Errorf("Decode: %v allocations in %d frames", n, len(frames))
	}
	// A connection that is open, with data going both ways.
	k := newTalker(9)
	ip := flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoTCP}
	b := ether.Frame(0x0800, ip.Packet(flowtest.Segment{SrcPort: 40000, DstPort: 9, Seq: 100, Flags: FlagACK}.Bytes(make([]byte, 500))))
	f := capture.Frame{Data: b, OrigLen: len(b), Link: capture.LinkEthernet}
	emit := k.emit
	if n := testing.AllocsPerRun(1000, func() { f.Time += 1e7; k.track.Frame(&f, emit) }); n != 0 {
		t.Errorf("Tracker.Frame: %v allocations for a segment of an open connection", n)
	}
}
