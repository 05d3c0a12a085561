package neigh

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
	"sekisho/netcontain/nft"
	"sekisho/netcontain/nstest"
)

// segmentOffice is a gateway (br0: 192.0.2.1, 2001:db8:1::1) whose port p1 goes
// to a switch that nobody manages, with hosts 1 to 3 behind it; host 4 has port
// p2 for itself; wan0 leads to an internet host, 198.51.100.1.
type segmentOffice struct {
	gw, sw, inet *nstest.NS
	hosts        []*nstest.NS // from 1 on
	base         *nft.Enforcer
	segment      *Segment
	layers       netcontain.Layers

	mu    sync.Mutex
	known []Neighbour // what the inventory says
}

func hostMAC(i int) netcontain.MAC { return netcontain.MAC{2, 0, 0, 0, 0, byte(i)} }
func host4(i int) netip.Addr       { return netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}) }
func host6(i int) netip.Addr       { return netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%d", 10+i)) }
func local6(i int) netip.Addr      { return netip.MustParseAddr(fmt.Sprintf("fe80::ff:fe00:%x", i)) }

func onSwitch(i int) Neighbour {
	return Neighbour{MAC: hostMAC(i), Port: "p1", Addrs: []netip.Addr{host4(i), host6(i), local6(i)}}
}

// infected is host 1, held on the switch behind p1.
func infected() netcontain.Host {
	return netcontain.Host{
		ID: "infected", Level: netcontain.Isolate, MACs: []netcontain.MAC{hostMAC(1)}, Addrs: []netip.Addr{host4(1), host6(1), local6(1)},
		By: []netcontain.Mechanism{netcontain.BySegment}, Shared: []string{"p1"},
	}
}

func newSegmentOffice(t testing.TB, known ...Neighbour) *segmentOffice {
	t.Helper()
	o := &segmentOffice{gw: nstest.New(t), sw: nstest.New(t), inet: nstest.New(t), hosts: make([]*nstest.NS, 5), known: known}
	for i := range o.hosts {
		o.hosts[i] = nstest.New(t)
	}
	for _, ns := range append([]*nstest.NS{o.gw, o.sw, o.inet}, o.hosts[1:]...) {
		ns.Run(t, "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0")
		ns.Run(t, "ip link set lo up")
	}
	for _, c := range []string{
		"ip link add br0 address 02:00:00:00:00:fe type bridge mcast_snooping 0 forward_delay 0",
		"ip addr add 192.0.2.1/24 dev br0", "ip addr add 2001:db8:1::1/64 dev br0 nodad", "ip link set br0 up",
	} {
		o.gw.Run(t, c)
	}
	o.sw.Run(t, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
	o.sw.Run(t, "ip link add switch type bridge mcast_snooping 0 forward_delay 0")
	o.sw.Run(t, "ip link set switch up")
	wire(t, o.gw, "p1", o.sw, "up0")
	o.sw.Run(t, "ip link set up0 master switch up")
	o.gw.Run(t, "ip link set p1 master br0 up")
	for i := 1; i <= 4; i++ {
		ns, name, bridge := o.sw, fmt.Sprintf("s%d", i), "switch"
		if i == 4 {
			ns, name, bridge = o.gw, "p2", "br0"
		}
		h := o.hosts[i]
		wire(t, ns, name, h, "eth0")
		ns.Run(t, "ip link set "+name+" master "+bridge+" up")
		h.Run(t, "ip link set eth0 address "+hostMAC(i).String())
		h.Run(t, "ip link set eth0 up")
		h.Run(t, fmt.Sprintf("ip addr add %s/24 dev eth0", host4(i)))
		h.Run(t, fmt.Sprintf("ip addr add %s/64 dev eth0 nodad", host6(i)))
		h.Run(t, "ip route add default via 192.0.2.1")
		h.Run(t, "ip route add default via 2001:db8:1::1")
	}
	o.openInternet(t)
	for _, h := range o.hosts[1:] { // a bridge forwards once the kernel has looked at its links
		eventually(t, "the gateway answers", func() bool {
			return pings(t, h, netip.MustParseAddr("192.0.2.1")) && pings(t, h, netip.MustParseAddr("2001:db8:1::1"))
		})
	}
	o.build(t)
	return o
}

func (o *segmentOffice) openInternet(t testing.TB) {
	t.Helper()
	wire(t, o.gw, "wan0", o.inet, "eth0")
	for _, c := range []string{
		"ip link set wan0 up", "ip addr add 198.51.100.2/24 dev wan0", "ip route add default via 198.51.100.1", "sysctl -qw net.ipv4.ip_forward=1",
		"nft add table ip office", "nft add chain ip office post { type nat hook postrouting priority 100 ; }",
		"nft add rule ip office post oifname wan0 masquerade",
	} {
		o.gw.Run(t, c)
	}
	o.inet.Run(t, "ip link set eth0 up")
	o.inet.Run(t, "ip addr add 198.51.100.1/24 dev eth0")
}

// build makes the sets and the segment, layered as in the product.
func (o *segmentOffice) build(t testing.TB) {
	t.Helper()
	o.gw.Do(t, func() {
		var err, err2 error
		o.base, err = nft.New(nft.Config{Bridge: "br0", WAN: "wan0"})
		if err == nil {
			o.segment, err2 = New(Config{
				Bridge: "br0", Neighbours: o.neighbours, Never: o.base.Never, Now: time.Now, Log: slog.New(slog.DiscardHandler),
			})
		}
		if err := errors.Join(err, err2); err != nil {
			t.Error(err)
		}
	})
	if o.segment == nil {
		t.FailNow()
	}
	o.layers = netcontain.Layers{Base: o.base, More: map[netcontain.Mechanism]netcontain.Enforcer{netcontain.BySegment: o.segment}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.segment.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		o.base.Close()
	})
}

func (o *segmentOffice) neighbours() []Neighbour {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known
}

func wire(t testing.TB, a *nstest.NS, nameA string, b *nstest.NS, nameB string) {
	t.Helper()
	a.Do(t, func() {
		err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nameA}, PeerName: nameB, PeerNamespace: netlink.NsFd(b.FD())})
		if err != nil {
			t.Errorf("veth %s: %v", nameA, err)
		}
	})
}

// apply puts p in force and checks that the layers say the same.
func (o *segmentOffice) apply(t testing.TB, hosts ...netcontain.Host) {
	t.Helper()
	p := netcontain.Policy{Hosts: hosts}
	if err := o.layers.Apply(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	got, err := o.layers.Observed(t.Context())
	if d := netcontain.Diff(p, got); err != nil || !d.Empty() {
		t.Fatalf("held otherwise than asked: %s, %v", d, err)
	}
}

// patience bounds the wait for a condition. It is long, because nothing is
// asserted about it.
const patience = 15 * time.Second

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func pings(t testing.TB, ns *nstest.NS, to netip.Addr) bool {
	t.Helper()
	var out string
	ns.Do(t, func() { out = output("ping", "-q", "-c1", "-W1", to.String()) })
	return strings.Contains(out, " 0% packet loss")
}

// stream sends numbered datagrams from one host to another, one each
// millisecond.
type stream struct {
	conn net.Conn
	sent uint32
}

const streamPort = 40123

func newStream(t testing.TB, from *nstest.NS, to netip.Addr) *stream {
	t.Helper()
	s := &stream{}
	from.Do(t, func() {
		var err error
		if s.conn, err = net.Dial("udp", netip.AddrPortFrom(to, streamPort).String()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { s.conn.Close() })
	return s
}

// send sends n datagrams and returns the number of the first.
func (s *stream) send(n int) (first uint32) {
	first = s.sent
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range n {
		<-tick.C
		s.conn.Write(binary.BigEndian.AppendUint32([]byte("numbered"), s.sent)) // a refusal by ICMP is no matter
		s.sent++
	}
	return first
}

// tap hears every frame that comes in at a device, also those for others.
type tap struct{ fd int }

func newTap(t testing.TB, ns *nstest.NS, name string) *tap {
	t.Helper()
	p := &tap{-1}
	ns.Do(t, func() {
		dev, err := net.InterfaceByName(name)
		if err == nil {
			p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK, 0)
		}
		if err == nil {
			err = errors.Join(unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
				unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: dev.Index}))
		}
		if err != nil {
			t.Errorf("tap %s: %v", name, err)
		}
	})
	t.Cleanup(func() { unix.Close(p.fd) })
	return p
}

// frames returns what came in, or went out, since the last call.
func (p *tap) frames(outgoing bool) (all [][]byte) {
	for {
		b := make([]byte, 2048)
		n, from, err := unix.Recvfrom(p.fd, b, 0)
		if err != nil {
			return all
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && (ll.Pkttype == unix.PACKET_OUTGOING) == outgoing {
			all = append(all, b[:n])
		}
	}
}

// numbers returns the numbers of the datagrams of streams among frames.
func numbers(frames [][]byte) (out []uint32) {
	for _, f := range frames {
		if i := strings.Index(string(f), "numbered"); i > 0 && len(f) >= i+12 {
			out = append(out, binary.BigEndian.Uint32(f[i+8:]))
		}
	}
	return out
}

// rawSocket returns a function that sends frames of its own making from eth0.
func rawSocket(t testing.TB, ns *nstest.NS) func(frame []byte) {
	t.Helper()
	fd, index := -1, 0
	ns.Do(t, func() {
		dev, err := net.InterfaceByName("eth0")
		if err == nil {
			index = dev.Index
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		}
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { unix.Close(fd) })
	return func(frame []byte) {
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
			t.Errorf("send: %v", err)
		}
	}
}
