package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/netcontain"
	"sekisho/netcontain/plan"
)

// An evasion is a frame by which an isolated host tries to get out. Each has to
// reach nobody's wire, and must reach one when the host is free, or it shows
// nothing.
type evasion struct {
	name  string
	frame []byte // without the marker, which is appended, or in the frame's own place

	// setsMiss is why sets by MAC and address alone let it pass, where the port is
	// shared or not known: the frame bears no name of the host. plan calls that
	// best effort, and its text says so.
	setsMiss string
	// bridgeDrops is why it reaches nobody from a free host either.
	bridgeDrops string
}

const (
	nameless = "neither MAC nor address of the host is in it"
	tooDeep  = "the host's address is behind two tags, where rules do not look"
)

// Who is who: host 1 is isolated; stranger and elsewhere are a MAC and an
// address that nobody knows yet.
var (
	stranger   = netcontain.MAC{2, 7, 7, 7, 7, 7}
	gatewayMAC = netcontain.MAC{2, 0, 0, 0, 0, 0xfe}
	gateway4   = netip.MustParseAddr("192.0.2.1")
	elsewhere4 = netip.MustParseAddr("192.0.2.77")
	elsewhere6 = netip.MustParseAddr("2001:db8:1::77")
	local1     = netip.MustParseAddr("fe80::ff:fe00:1")
	internet4  = netip.MustParseAddr("203.0.113.9")
	internet6  = netip.MustParseAddr("2001:db8:2::1")
	allNodes   = netip.MustParseAddr("ff02::1")
	allNodesHW = netcontain.MAC{0x33, 0x33, 0, 0, 0, 1}
)

// identities are the ways to change who one is.
func identities() []evasion {
	udp := udpTo(9)
	return []evasion{
		{name: "as itself", frame: packet4(mac(2), mac(1), ip4(1), ip4(2), unix.IPPROTO_UDP, udp)},
		{name: "another MAC", frame: packet4(mac(2), stranger, ip4(1), ip4(2), unix.IPPROTO_UDP, udp)},
		{name: "another address", frame: packet4(mac(2), mac(1), elsewhere4, ip4(2), unix.IPPROTO_UDP, udp)},
		{name: "both", frame: packet4(mac(2), stranger, elsewhere4, ip4(2), unix.IPPROTO_UDP, udp), setsMiss: nameless},
		{name: "the gateway's MAC", frame: packet4(mac(2), gatewayMAC, ip4(1), ip4(2), unix.IPPROTO_UDP, udp)},
		{name: "the gateway's address", frame: packet4(mac(2), mac(1), gateway4, ip4(2), unix.IPPROTO_UDP, udp)},
		{name: "the gateway's MAC and address", frame: packet4(mac(2), gatewayMAC, gateway4, ip4(2), unix.IPPROTO_UDP, udp), setsMiss: nameless},
		{name: "another host's MAC", frame: packet4(mac(2), mac(4), ip4(1), ip4(2), unix.IPPROTO_UDP, udp)},
		{name: "another host's address", frame: packet4(mac(2), mac(1), ip4(4), ip4(2), unix.IPPROTO_UDP, udp)},
		{name: "another host's MAC and address", frame: packet4(mac(2), mac(4), ip4(4), ip4(2), unix.IPPROTO_UDP, udp), setsMiss: nameless},
		{name: "ARP as the gateway", frame: arp(mac(1), gateway4, ip4(2))},
		{name: "ARP as the gateway, another MAC", frame: arp(stranger, gateway4, ip4(2)), setsMiss: nameless},
		{name: "ARP as another host", frame: arp(mac(1), ip4(4), ip4(2))},
		{name: "ARP announcement of a new address, another MAC", frame: arp(stranger, elsewhere4, elsewhere4), setsMiss: nameless},
		{name: "its MAC inside ARP only", frame: slices.Concat(broadcast[:], stranger[:], arp(mac(1), elsewhere4, ip4(2))[12:])},
	}
}

// routedOut are frames for the gateway to route to the internet.
func routedOut() []evasion {
	udp := udpTo(9)
	lsrr := []byte{131, 7, 4, 203, 0, 113, 9, 0} // loose source route (RFC 791), padded
	return []evasion{
		{name: "to the internet", frame: packet4(gatewayMAC, mac(1), ip4(1), internet4, unix.IPPROTO_UDP, udp)},
		{name: "to the internet, another MAC", frame: packet4(gatewayMAC, stranger, ip4(1), internet4, unix.IPPROTO_UDP, udp)},
		{name: "to the internet, another address", frame: packet4(gatewayMAC, mac(1), elsewhere4, internet4, unix.IPPROTO_UDP, udp)},
		{name: "to the internet, both", frame: packet4(gatewayMAC, stranger, elsewhere4, internet4, unix.IPPROTO_UDP, udp), setsMiss: nameless},
		{name: "to the internet as another host", frame: packet4(gatewayMAC, mac(4), ip4(4), internet4, unix.IPPROTO_UDP, udp), setsMiss: nameless},
		{name: "to the internet, IPv6", frame: packet6(gatewayMAC, mac(1), ip6(1), internet6, unix.IPPROTO_UDP, udp6())},
		{name: "to the internet, new IPv6 address", frame: packet6(gatewayMAC, mac(1), elsewhere6, internet6, unix.IPPROTO_UDP, udp6())},
		{name: "to the internet, IPv6, both", frame: packet6(gatewayMAC, stranger, elsewhere6, internet6, unix.IPPROTO_UDP, udp6()), setsMiss: nameless},
		{name: "to a neighbour by the gateway", frame: packet4(gatewayMAC, mac(1), ip4(1), ip4(2), unix.IPPROTO_UDP, udp)},
		{name: "to a neighbour by the gateway, another MAC", frame: packet4(gatewayMAC, stranger, ip4(1), ip4(2), unix.IPPROTO_UDP, udp)},
		{name: "DNS to the internet", frame: packet4(gatewayMAC, mac(1), ip4(1), internet4, unix.IPPROTO_UDP, udpTo(53))},
		{name: "DNS to a neighbour", frame: packet4(mac(2), mac(1), ip4(1), ip4(2), unix.IPPROTO_UDP, udpTo(53))},
		{name: "source routed", frame: slices.Concat(frameTo(gatewayMAC, mac(1), 0x0800), header4(ip4(1), internet4, unix.IPPROTO_UDP, 0, lsrr, len(udp)+markerLen), udp),
			bridgeDrops: "accept_source_route is off for forwarding"},
	}
}

// onlyIPv6 is a host that has given IPv4 up.
func onlyIPv6() []evasion {
	// The marker is the body of their last option.
	ra := []byte{134, 0, 0xbe, 0xef, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 253, 1}
	na := slices.Concat([]byte{136, 0, 0xbe, 0xef, 0x20, 0, 0, 0}, ip6(4).AsSlice(), []byte{2, 1, 2, 7, 7, 7, 7, 7, 253, 1})
	udp := udp6()
	return []evasion{
		{name: "IPv6", frame: packet6(mac(2), mac(1), ip6(1), ip6(2), unix.IPPROTO_UDP, udp)},
		{name: "IPv6, another MAC", frame: packet6(mac(2), stranger, ip6(1), ip6(2), unix.IPPROTO_UDP, udp)},
		{name: "IPv6, privacy address", frame: packet6(mac(2), mac(1), elsewhere6, ip6(2), unix.IPPROTO_UDP, udp)},
		{name: "IPv6, both", frame: packet6(mac(2), stranger, elsewhere6, ip6(2), unix.IPPROTO_UDP, udp), setsMiss: nameless},
		{name: "IPv6, link-local", frame: packet6(mac(2), mac(1), local1, ip6(2), unix.IPPROTO_UDP, udp)},
		{name: "IPv6, multicast", frame: packet6(allNodesHW, mac(1), ip6(1), allNodes, unix.IPPROTO_UDP, udp)},
		{name: "router advertisement", frame: packet6(allNodesHW, mac(1), local1, allNodes, unix.IPPROTO_ICMPV6, ra)},
		{name: "router advertisement, another MAC", frame: packet6(allNodesHW, stranger, local1, allNodes, unix.IPPROTO_ICMPV6, ra), setsMiss: nameless},
		{name: "neighbour advertisement of another host", frame: packet6(allNodesHW, mac(1), ip6(4), allNodes, unix.IPPROTO_ICMPV6, na)},
		{name: "IPv6 fragment", frame: packet6(mac(2), mac(1), ip6(1), ip6(2), unix.IPPROTO_FRAGMENT, []byte{unix.IPPROTO_UDP, 0, 0, 9, 0, 0, 0, 1})},
		{name: "IPv6 fragment, another MAC", frame: packet6(mac(2), stranger, ip6(1), ip6(2), unix.IPPROTO_FRAGMENT, []byte{unix.IPPROTO_UDP, 0, 0, 9, 0, 0, 0, 1})},
		{name: "IPv6 destination options", frame: packet6(mac(2), stranger, ip6(1), ip6(2), unix.IPPROTO_DSTOPTS, slices.Concat([]byte{unix.IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0}, udp))},
		{name: "IPv6 hop-by-hop options", frame: packet6(mac(2), stranger, ip6(1), ip6(2), unix.IPPROTO_HOPOPTS, slices.Concat([]byte{unix.IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0}, udp))},
	}
}

// tagged puts its frames into VLANs.
func tagged() (out []evasion) {
	tags := []struct {
		name string
		tag  []byte
		deep bool
	}{
		{name: "802.1Q, VLAN 1", tag: []byte{0x81, 0, 0, 1}}, {name: "802.1Q, VLAN 5", tag: []byte{0x81, 0, 0, 5}},
		{name: "802.1Q, VLAN 4094", tag: []byte{0x81, 0, 0x0f, 0xfe}}, {name: "802.1Q, VLAN 0", tag: []byte{0x81, 0, 0, 0}},
		{name: "802.1Q, priority 7", tag: []byte{0x81, 0, 0xe0, 0}}, {name: "802.1ad", tag: []byte{0x88, 0xa8, 0, 5}},
		{name: "802.1ad and 802.1Q", tag: []byte{0x88, 0xa8, 0, 5, 0x81, 0, 0, 1}, deep: true},
		{name: "802.1Q twice", tag: []byte{0x81, 0, 0, 1, 0x81, 0, 0, 5}, deep: true},
		{name: "the old 0x9100", tag: []byte{0x91, 0, 0, 5}, deep: true},
	}
	for _, t := range tags {
		for _, by := range []struct {
			name string
			src  netcontain.MAC
		}{{"", mac(1)}, {", another MAC", stranger}} {
			plain := packet4(mac(2), by.src, ip4(1), ip4(2), unix.IPPROTO_UDP, udpTo(9))
			e := evasion{name: t.name + by.name, frame: slices.Concat(plain[:12], t.tag, plain[12:])}
			if t.deep && by.src == stranger {
				e.setsMiss = tooDeep
			}
			out = append(out, e)
		}
	}
	return out
}

// raw are frames of every other kind, each from the host's MAC and from another.
func raw() (out []evasion) {
	group := func(last byte) netcontain.MAC { return netcontain.MAC{1, 0x80, 0xc2, 0, 0, last} }
	kinds := []struct {
		name  string
		dst   netcontain.MAC
		rest  []byte
		named bool   // the host's address is in it, where rules look
		drops string // see evasion.bridgeDrops
	}{
		{name: "unknown ethertype", dst: mac(2), rest: []byte{0x88, 0xb5}},
		{name: "unknown ethertype to all", dst: broadcast, rest: []byte{0x88, 0xb5}},
		{name: "802.3 with LLC", dst: mac(2), rest: []byte{0, 40, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0}},
		{name: "802.3 with length 0", dst: mac(2), rest: []byte{0, 0}},
		{name: "spanning tree", dst: group(0), rest: []byte{0, 38, 0x42, 0x42, 3}},
		{name: "pause", dst: group(1), rest: []byte{0x88, 8, 0, 1}, drops: "IEEE 802.1Q, 8.13.4: no bridge forwards it"},
		{name: "LLDP", dst: group(0xe), rest: []byte{0x88, 0xcc}},
		{name: "EAPOL", dst: group(3), rest: []byte{0x88, 0x8e}},
		{name: "EAPOL to a host", dst: mac(2), rest: []byte{0x88, 0x8e}},
		{name: "PPPoE discovery", dst: broadcast, rest: []byte{0x88, 0x63, 0x11, 9, 0, 0, 0, 0}},
		{name: "PPPoE session", dst: mac(2), rest: slices.Concat([]byte{0x88, 0x64, 0x11, 0, 0, 1, 0, 36, 0, 0x21}, header4(ip4(1), ip4(2), unix.IPPROTO_UDP, 0, nil, markerLen))},
		{name: "MPLS", dst: mac(2), rest: []byte{0x88, 0x47, 0, 1, 1, 64}},
		{name: "wake on LAN", dst: broadcast, rest: []byte{8, 0x42}},
		{name: "first fragment", dst: mac(2), rest: ip(header4(ip4(1), ip4(2), unix.IPPROTO_UDP, 0x2000, nil, 16+markerLen), udpTo(9), make([]byte, 8)), named: true},
		{name: "later fragment", dst: mac(2), rest: ip(header4(ip4(1), ip4(2), unix.IPPROTO_UDP, 0x0010, nil, markerLen)), named: true},
		{name: "IP options", dst: mac(2), rest: ip(header4(ip4(1), ip4(2), unix.IPPROTO_UDP, 0, []byte{1, 1, 1, 0}, 8+markerLen), udpTo(9)), named: true},
		{name: "GRE to a neighbour", dst: mac(2), rest: ip(header4(ip4(1), ip4(2), unix.IPPROTO_GRE, 0, nil, 4+markerLen), []byte{0, 0, 8, 0}), named: true},
		{name: "IP in IP to a neighbour", dst: mac(2), rest: ip(header4(ip4(1), ip4(2), unix.IPPROTO_IPIP, 0, nil, 20+markerLen), header4(ip4(2), ip4(4), 99, 0, nil, markerLen)), named: true},
		{name: "unknown protocol", dst: mac(2), rest: ip(header4(ip4(1), ip4(2), 253, 0, nil, markerLen)), named: true},
		{name: "DHCP server", dst: broadcast, rest: ip(header4(ip4(1), netip.MustParseAddr("255.255.255.255"), unix.IPPROTO_UDP, 0, nil, 8+markerLen), []byte{0, 67, 0, 68, 0, 8 + markerLen, 0, 0}), named: true},
		{name: "DHCP client to all", dst: broadcast, rest: ip(header4(netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255"), unix.IPPROTO_UDP, 0, nil, 8+markerLen), []byte{0, 68, 0, 67, 0, 8 + markerLen, 0, 0})},
		{name: "jumbo", dst: mac(2), rest: []byte{0x88, 0xb5}},
		{name: "shorter than Ethernet allows", dst: mac(2), rest: []byte{0x88, 0xb5}},
	}
	for _, k := range kinds {
		for _, by := range []struct {
			name string
			src  netcontain.MAC
		}{{"", mac(1)}, {", another MAC", stranger}} {
			e := evasion{name: k.name + by.name, frame: slices.Concat(k.dst[:], by.src[:], k.rest), bridgeDrops: k.drops}
			if by.src == stranger && !k.named {
				e.setsMiss = nameless
			}
			out = append(out, e)
		}
	}
	return out
}

// marker makes a frame known again wherever it comes out.
const markerLen = 6

func marker(n int) []byte { return []byte{0xc0, 0xde, 0xfa, byte(n >> 8), byte(n), 0x5a} }

// marked appends the marker, and what the frame lacks in length.
func (e evasion) marked(n int) []byte {
	least := 60
	switch {
	case strings.HasPrefix(e.name, "jumbo"):
		least = 8000
	case strings.HasPrefix(e.name, "shorter"):
		least = 0
	}
	f := append(slices.Clone(e.frame), marker(n)...)
	if bytes.HasPrefix(e.frame[12:], []byte{8, 6}) { // ARP: into its padding
		f = append(slices.Clone(e.frame[:42]), marker(n)...)
	}
	return append(f, make([]byte, max(0, least-len(f)))...)
}

// wires are the taps at everybody else.
type wires []func(func([]byte) bool) int

// try lets host 1 send a frame and returns how many times it came out at
// anybody else's. The fence is frames of free hosts, sent afterwards, to all
// neighbours and to the internet: what leaked has arrived before them.
func (o *office) try(t *testing.T, w wires, e evasion, n int) (leaked int) {
	t.Helper()
	inject(t, o, 1, e.marked(n))
	fence := evasion{frame: frameTo(broadcast, mac(3), 0x88b6)}.marked(n | 0x8000)
	routed := evasion{frame: packet4(gatewayMAC, mac(3), ip4(3), internet4, unix.IPPROTO_UDP, udpTo(9))}.marked(n | 0x8000)
	inject(t, o, 3, fence)
	inject(t, o, 4, fence) // for host 3
	inject(t, o, 3, routed)
	passed := make([]bool, len(w))
	for end := time.Now().Add(10 * time.Second); slices.Contains(passed, false); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the fence did not arrive: %v", passed)
		}
		for i, count := range w {
			leaked += count(func(b []byte) bool {
				passed[i] = passed[i] || bytes.Contains(b, marker(n|0x8000))
				return bytes.Contains(b, marker(n))
			})
		}
	}
	return leaked
}

// newEvasionOffice forwards what bridges may be told to forward, single fragments
// (which br_netfilter, where it is loaded, waits to be whole) and jumbo frames, so
// that the controls show something.
func newEvasionOffice(t *testing.T) (*office, wires) {
	t.Helper()
	o := newOffice(t)
	o.gw.Run(t, "ip link set br0 type bridge group_fwd_mask 65528")
	o.gw.Run(t, "sysctl -qew net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0")
	o.gw.Run(t, "ip link set wan0 mtu 9000")
	o.inet.Run(t, "ip link set eth0 mtu 9000")
	for i := 1; i <= 4; i++ {
		o.gw.Run(t, fmt.Sprintf("ip link set p%d mtu 9000", i))
		o.hosts[i].Run(t, "ip link set eth0 mtu 9000")
	}
	for _, to := range []string{"192.0.2.1", "203.0.113.9", "2001:db8:2::1", "192.0.2.12"} { // neighbours are found, ports forward
		o.hosts[1].Run(t, "ping -q -c1 -W10 "+to)
		o.hosts[3].Run(t, "ping -q -c1 -W10 "+to)
	}
	w := wires{tap(t, o.inet)}
	for _, h := range o.hosts[2:] {
		w = append(w, tap(t, h))
	}
	return o, w
}

func evasions() []evasion {
	return slices.Concat(identities(), routedOut(), onlyIPv6(), tagged(), raw())
}

func TestNoEvasionReachesAnotherWire(t *testing.T) {
	onPort := held(1, netcontain.Isolate)
	onPort.Ports = []string{"p1"}
	limited := held(1, netcontain.Limit)
	limited.Ports = []string{"p1"}
	for name, p := range map[string]netcontain.Policy{
		"free": {}, "isolated, port held": policyOf(onPort), "isolated, sets only": policyOf(held(1, netcontain.Isolate)), "limited, port held": policyOf(limited),
	} {
		t.Run(name, func(t *testing.T) {
			o, w := newEvasionOffice(t)
			o.apply(t, p)
			leaks := 0
			for n, e := range evasions() {
				t.Run(e.name, func(t *testing.T) {
					got := o.try(t, w, e, n)
					switch {
					case name == "free" && e.bridgeDrops == "" && got == 0:
						t.Error("control: nothing arrives from a free host")
					case name == "free" && e.bridgeDrops != "" && got > 0:
						t.Errorf("control: %d frames arrived although %s", got, e.bridgeDrops)
					case name == "free":
					case name == "isolated, sets only" && e.setsMiss != "" && e.bridgeDrops == "":
						if leaks += got; got == 0 {
							t.Errorf("sets alone hold it: the table is out of date, which says %q", e.setsMiss)
						}
					case got > 0:
						t.Errorf("%d frames leaked", got)
					}
				})
			}
			t.Logf("%d kinds of frames, %d leaked as the table says", len(evasions()), leaks)
		})
	}
}

func frameTo(dst, src netcontain.MAC, etherType uint16) []byte {
	return binary.BigEndian.AppendUint16(slices.Concat(dst[:], src[:]), etherType)
}

// header4 is an IPv4 header (RFC 791) for a payload of the given size.
func header4(src, dst netip.Addr, proto byte, flags uint16, options []byte, payload int) []byte {
	h := []byte{0x45 + byte(len(options)/4), 0}
	h = binary.BigEndian.AppendUint16(h, uint16(20+len(options)+payload))
	h = binary.BigEndian.AppendUint16(append(h, 0, 7), flags)
	h = slices.Concat(h, []byte{64, proto, 0, 0}, src.AsSlice(), dst.AsSlice(), options)
	sum := uint32(0)
	for i := 0; i < len(h); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum+sum>>16))
	return h
}

// ip is what follows the MACs in an IPv4 frame.
func ip(parts ...[]byte) []byte { return append([]byte{8, 0}, slices.Concat(parts...)...) }

func packet4(dst, src netcontain.MAC, from, to netip.Addr, proto byte, payload []byte) []byte {
	return slices.Concat(dst[:], src[:], ip(header4(from, to, proto, 0, nil, len(payload)+markerLen), payload))
}

func packet6(dst, src netcontain.MAC, from, to netip.Addr, next byte, payload []byte) []byte {
	h := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(payload)+markerLen))
	hops := byte(255)
	return slices.Concat(frameTo(dst, src, 0x86dd), h, []byte{next, hops}, from.AsSlice(), to.AsSlice(), payload)
}

// udpTo is a UDP header without checksum, which IPv4 allows (RFC 768).
func udpTo(port uint16) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0x9c, 0x40}, port), 0, 8+markerLen, 0, 0)
}

// udp6 has a checksum that is wrong: nobody on the way looks at it.
func udp6() []byte { return append(udpTo(9)[:6], 0xbe, 0xef) }

// TestAHostThatBecomesAnotherStaysIsolated lets a real network stack change who
// it is, after the isolation, and try everything again.
func TestAHostThatBecomesAnotherStaysIsolated(t *testing.T) {
	o, w := newEvasionOffice(t)
	h := held(1, netcontain.Isolate)
	h.Ports = []string{"p1"}
	o.apply(t, policyOf(h))
	targets := []string{
		serve(t, o.hosts[2], "192.0.2.12:7000").addr, serve(t, o.hosts[2], "[2001:db8:1::12]:7000").addr,
		serve(t, o.inet, "203.0.113.9:7000").addr, serve(t, o.inet, "[2001:db8:2::1]:7000").addr,
	}
	for _, to := range targets {
		if !alive(dial(t, o.hosts[3], to)) {
			t.Fatalf("control: a free host does not reach %s", to)
		}
	}
	for _, w := range w {
		w(func([]byte) bool { return true })
	}
	for _, become := range []struct{ name, mac, four, six string }{
		{"another MAC", stranger.String(), ip4(1).String(), ip6(1).String()},
		{"another address", stranger.String(), elsewhere4.String(), elsewhere6.String()},
		{"its neighbour", mac(4).String(), ip4(4).String(), ip6(4).String()},
		{"the gateway", gatewayMAC.String(), gateway4.String(), "2001:db8:1::1"},
	} {
		t.Run(become.name, func(t *testing.T) {
			run := o.hosts[1].Run
			run(t, "ip link set eth0 down")
			run(t, "ip link set eth0 address "+become.mac)
			run(t, "ip addr flush dev eth0")
			run(t, "ip link set eth0 up")
			run(t, "ip addr add "+become.four+"/24 dev eth0")
			run(t, "ip addr add "+become.six+"/64 dev eth0 nodad")
			if become.name != "the gateway" {
				run(t, "ip route add default via 192.0.2.1")
				run(t, "ip route add default via 2001:db8:1::1")
			}
			for _, to := range targets {
				if dial(t, o.hosts[1], to) != nil {
					t.Errorf("it reaches %s", to)
				}
			}
		})
	}
	// Nobody on the other wires heard anything but the gateway and himself.
	for i, count := range w {
		n := count(func(b []byte) bool {
			src := netcontain.MAC(b[6:12])
			return src == stranger || src == mac(1)
		})
		if n > 0 {
			t.Errorf("wire %d: %d frames leaked", i, n)
		}
	}
}

func TestPlanCallsBestEffortWhatSetsAloneMiss(t *testing.T) {
	h := held(1, netcontain.Isolate)
	for name, c := range map[string]struct {
		ports map[netcontain.MAC]string
		best  bool
	}{
		"alone on its port": {map[netcontain.MAC]string{mac(1): "p1", mac(2): "p2"}, false},
		"shares its port":   {map[netcontain.MAC]string{mac(1): "p1", mac(2): "p1"}, true},
		"port not known":    {map[netcontain.MAC]string{mac(2): "p2"}, true},
	} {
		p := plan.Make(policyOf(h), plan.Network{Ports: c.ports}, plan.Plan{})
		if got := p.Holds[0]; got.BestEffort != c.best || c.best && len(got.Limits) == 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
