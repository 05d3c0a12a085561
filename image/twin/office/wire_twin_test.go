//go:build twin

package office

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
	"sekisho/netcontain/nstest"
)

// marker is in the payload of every frame that a host floods: by it a frame is
// known whatever addresses and tags it carries.
func marker(host int) []byte { return []byte{'S', 'E', 'K', 'I', 'S', 'H', 'O', '0' + byte(host)} }

// socket is a raw socket on a host's only interface.
func socket(t testing.TB, ns *nstest.NS, protocol uint16) int {
	t.Helper()
	fd, err := -1, error(nil)
	ns.Do(t, func() {
		link, e := netlink.LinkByName("eth0")
		if err = e; err != nil {
			return
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Protocol: protocol})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// witness counts marked frames that arrive at a host: no part of the product.
type witness struct {
	mu    sync.Mutex
	count [Hosts + 1]int
	first [Hosts + 1]time.Time
	last  [Hosts + 1]time.Time
	lost  uint32
	kinds map[byte]int // of host 1: what kind each frame was that came through
}

func (w *world) witness(t testing.TB, at int) *witness {
	t.Helper()
	const all = 0x0300 // ETH_P_ALL in network order
	fd := socket(t, w.hosts[at], all)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<20)
	}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
	x := &witness{kinds: map[byte]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer unix.Close(fd)
		b := make([]byte, 65536)
		for ctx.Err() == nil {
			n, from, err := unix.Recvfrom(fd, b, 0)
			if ll, ok := from.(*unix.SockaddrLinklayer); err == nil && ok && ll.Pkttype != unix.PACKET_OUTGOING {
				x.see(b[:n])
			}
			if s, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil && s.Drops > 0 {
				x.mu.Lock()
				x.lost += s.Drops
				x.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if x.lost > 0 {
			t.Errorf("the witness at host %d lost %d frames: nothing is proven", at, x.lost)
		}
	})
	return x
}

func (x *witness) see(frame []byte) {
	_, rest, ok := bytes.Cut(frame, marker(0)[:7])
	if !ok || len(rest) < 2 || rest[0] < '1' || rest[0] > '0'+Hosts {
		return
	}
	host := rest[0] - '0'
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.last[host] = time.Now(); x.count[host] == 0 {
		x.first[host] = x.last[host]
	}
	x.count[host]++
	if host == 1 {
		x.kinds[rest[1]]++
	}
}

// kindsOfOne says what kinds of host 1's frames came through, sorted.
func (x *witness) kindsOfOne() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return string(slices.Sorted(maps.Keys(x.kinds)))
}

func (x *witness) total(host int) int {
	n, _, _ := x.seen(host)
	return n
}

func (x *witness) seen(host int) (n int, first, last time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.count[host], x.first[host], x.last[host]
}

// reset forgets what was counted.
func (x *witness) reset() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.count, x.first, x.last, x.kinds = [Hosts + 1]int{}, [Hosts + 1]time.Time{}, [Hosts + 1]time.Time{}, map[byte]int{}
}

// flood sends the frames of make every interval, until the test, or stop, ends
// it. A cable without carrier swallows them.
func (w *world) flood(t testing.TB, host int, every time.Duration, frames func(n int) [][]byte) (stop func()) {
	t.Helper()
	fd := socket(t, w.hosts[host], 0)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer unix.Close(fd)
		pace := time.NewTicker(every)
		defer pace.Stop()
		for n := 0; ; n++ {
			for _, f := range frames(n) {
				unix.Write(fd, f) //nolint:errcheck // ENETDOWN while there is no carrier
			}
			select {
			case <-ctx.Done():
				return
			case <-pace.C:
			}
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return stop
}

var broadcast = [6]byte{255, 255, 255, 255, 255, 255}

// work is what a free host says, seen by everybody: an office at work.
func work(host int) func(int) [][]byte {
	frame := udp(hostMAC(host), broadcast, hostIP(host), netip.MustParseAddr("192.168.77.255"), host, 'w')
	return func(int) [][]byte { return [][]byte{frame} }
}

// udp is a datagram with the marker and the kind of frame.
func udp(from, to [6]byte, src, dst netip.Addr, host int, kind byte, tags ...uint16) []byte {
	payload := append(append(marker(host), kind), make([]byte, 32)...)
	ip := flowtest.IP{Src: src, Dst: dst, Proto: unix.IPPROTO_UDP}
	return flowtest.Ether{Src: from, Dst: to, VLANs: tags}.Frame(ip.EtherType(), ip.Packet(datagram(src, dst, payload)))
}

// datagram has its checksum: IPv6 routers and hosts drop one without.
func datagram(src, dst netip.Addr, payload []byte) []byte {
	u := flowtest.UDP(31000, 4444, payload)
	pseudo := append(append(append([]byte{}, src.AsSlice()...), dst.AsSlice()...), 0, unix.IPPROTO_UDP, byte(len(u)>>8), byte(len(u)))
	var sum uint32
	for b := append(pseudo, append(u, make([]byte, len(u)%2)...)...); len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(u[6:], ^uint16(sum))
	return u
}

// scan is one step of a worm: tcp/445 on the n-th address, flooded to all ports
// because nobody has that MAC; and a datagram to the internet.
func scan(host int) func(n int) [][]byte {
	return func(n int) [][]byte {
		dst := netip.AddrFrom4([4]byte{192, 168, 77, byte(100 + n%100)})
		ip := flowtest.IP{Src: hostIP(host), Dst: dst, Proto: unix.IPPROTO_TCP}
		syn := flowtest.Segment{SrcPort: uint16(20000 + n%40000), DstPort: 445, Seq: uint32(n), Flags: flow.FlagSYN}
		probe := flowtest.Ether{Src: hostMAC(host), Dst: [6]byte{2, 0, 0, 0, 2, byte(n % 100)}}.
			Frame(ip.EtherType(), ip.Packet(syn.Bytes(append(marker(host), 's'))))
		return [][]byte{probe, udp(hostMAC(host), gatewayMAC(), hostIP(host), outside, host, 'o')}
	}
}

func gatewayMAC() (m [6]byte) {
	hw, _ := net.ParseMAC(BridgeMAC)
	copy(m[:], hw)
	return m
}

// everything is what a host that wants to get out can send: addressed to one,
// to all and to groups, over both protocols, with tags of its own, under the
// addresses of others and of nobody. The kind tells which one came through.
func everything(n int) [][]byte {
	const me, neighbour, victim = 1, 3, 2
	random := [6]byte{2, 1, byte(rand.IntN(256)), byte(rand.IntN(256)), byte(rand.IntN(256)), byte(n)}
	all4, all6 := netip.MustParseAddr("192.168.77.255"), netip.MustParseAddr("ff02::1")
	group6 := [6]byte{0x33, 0x33, 0, 0, 0, 1}
	raw := append(append(marker(me), 'r'), make([]byte, 40)...)
	arp := append(flowtest.ARP(1, hostMAC(me), hostIP(me), [6]byte{}, hostIP(neighbour)), append(marker(me), 'a')...)
	return [][]byte{
		udp(hostMAC(me), broadcast, hostIP(me), all4, me, 'b'),
		udp(hostMAC(me), hostMAC(neighbour), hostIP(me), hostIP(neighbour), me, 'u'),
		udp(hostMAC(me), [6]byte{2, 0, 0, 9, 9, 9}, hostIP(me), hostIP(neighbour), me, 'x'),
		udp(hostMAC(me), [6]byte{1, 0, 0x5e, 0, 0, 251}, hostIP(me), netip.MustParseAddr("224.0.0.251"), me, 'm'),
		udp(hostMAC(me), hostMAC(neighbour), hostIP6(me), hostIP6(neighbour), me, '6'),
		udp(hostMAC(me), group6, hostIP6(me), all6, me, 'g'),
		udp(hostMAC(me), gatewayMAC(), hostIP(me), outside, me, 'o'),
		udp(hostMAC(me), gatewayMAC(), hostIP6(me), outside6, me, 'O'),
		udp(hostMAC(me), gatewayMAC(), hostIP(me), hostIP(neighbour), me, 'R'), // routed back into the office
		udp(hostMAC(me), broadcast, hostIP(me), all4, me, '0', 0),
		udp(hostMAC(me), broadcast, hostIP(me), all4, me, '1', 1),
		udp(hostMAC(me), broadcast, hostIP(me), all4, me, 'q', 666),
		udp(hostMAC(me), broadcast, hostIP(me), all4, me, 'd', 666, 1),
		udp(hostMAC(me), broadcast, hostIP(me), all4, me, 'D', 1, 1),
		udp(random, broadcast, hostIP(me), all4, me, 'n'),
		udp(random, gatewayMAC(), netip.AddrFrom4([4]byte{192, 168, 77, byte(n)}), outside, me, 'N'),
		udp(hostMAC(victim), broadcast, hostIP(victim), all4, me, 'v'),
		udp(hostMAC(victim), gatewayMAC(), hostIP(victim), outside, me, 'V'),
		udp(gatewayMAC(), broadcast, netip.MustParseAddr("192.168.77.1"), all4, me, 'G'),
		flowtest.Ether{Src: hostMAC(me), Dst: broadcast}.Frame(0x88b5, raw),
		flowtest.Ether{Src: hostMAC(me), Dst: broadcast}.Frame(0x0806, arp),
	}
}

// lies says over and over that the address of a neighbour is host 1's.
func lies(int) [][]byte {
	const me, victim, neighbour = 1, 2, 3
	claim := append(flowtest.ARP(2, hostMAC(me), hostIP(victim), hostMAC(neighbour), hostIP(neighbour)), append(marker(me), 'l')...)
	return [][]byte{
		flowtest.Ether{Src: hostMAC(me), Dst: hostMAC(neighbour)}.Frame(0x0806, claim),
		flowtest.Ether{Src: hostMAC(me), Dst: broadcast}.Frame(0x0806, claim),
		udp(hostMAC(me), broadcast, hostIP(victim), netip.MustParseAddr("192.168.77.255"), me, 'L'),
	}
}
