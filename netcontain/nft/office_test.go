package nft

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
	"sekisho/netcontain/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

// office is a gateway with a bridge br0 (192.0.2.1, 2001:db8:1::1), hosts
// 1 to 4 on ports p1 to p4, and an internet host behind wan0.
type office struct {
	gw, inet *nstest.NS
	hosts    []*nstest.NS // from 1 on
	enforcer *Enforcer
}

func mac(i int) netcontain.MAC { return netcontain.MAC{2, 0, 0, 0, 0, byte(i)} }
func ip4(i int) netip.Addr     { return netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}) }
func ip6(i int) netip.Addr     { return netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%d", 10+i)) }
func held(i int, l netcontain.Level) netcontain.Host {
	return netcontain.Host{ID: fmt.Sprintf("host-%d", i), MACs: []netcontain.MAC{mac(i)}, Addrs: []netip.Addr{ip4(i), ip6(i)}, Level: l}
}

func newOffice(t testing.TB) *office {
	t.Helper()
	o := &office{gw: nstest.New(t), inet: nstest.New(t), hosts: make([]*nstest.NS, 5)}
	for i := range o.hosts {
		o.hosts[i] = nstest.New(t)
	}
	run := o.gw.Run
	for _, ns := range append([]*nstest.NS{o.gw, o.inet}, o.hosts[1:]...) {
		ns.Run(t, "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0")
		ns.Run(t, "ip link set lo up")
	}
	run(t, "ip link add br0 address 02:00:00:00:00:fe type bridge mcast_snooping 0 forward_delay 0")
	run(t, "ip addr add 192.0.2.1/24 dev br0")
	run(t, "ip addr add 2001:db8:1::1/64 dev br0 nodad")
	run(t, "ip link set br0 up")
	for i := 1; i <= 4; i++ {
		h := o.hosts[i]
		o.pair(t, h, fmt.Sprintf("p%d", i), mac(i).String())
		run(t, fmt.Sprintf("ip link set p%d master br0 up", i))
		h.Run(t, fmt.Sprintf("ip addr add %s/24 dev eth0", ip4(i)))
		h.Run(t, fmt.Sprintf("ip addr add %s/64 dev eth0 nodad", ip6(i)))
		h.Run(t, "ip route add default via 192.0.2.1")
		h.Run(t, "ip route add default via 2001:db8:1::1")
	}
	o.pair(t, o.inet, "wan0", "02:00:00:00:01:01")
	run(t, "ip link set wan0 up")
	run(t, "ip addr add 198.51.100.2/24 dev wan0")
	run(t, "ip addr add 2001:db8:2::2/64 dev wan0 nodad")
	o.inet.Run(t, "ip addr add 198.51.100.1/24 dev eth0")
	o.inet.Run(t, "ip addr add 203.0.113.9/32 dev eth0")
	o.inet.Run(t, "ip addr add 2001:db8:2::1/64 dev eth0 nodad")
	o.inet.Run(t, "ip route add 2001:db8:1::/64 via 2001:db8:2::2")
	run(t, "ip route add default via 198.51.100.1")
	run(t, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	run(t, "nft add table ip office")
	run(t, "nft add chain ip office post { type nat hook postrouting priority 100 ; }")
	run(t, "nft add rule ip office post oifname wan0 masquerade")
	o.gw.Do(t, func() {
		var err error
		if o.enforcer, err = New(Config{Bridge: "br0", WAN: "wan0"}); err != nil {
			t.Error(err)
		}
	})
	if o.enforcer == nil {
		t.Fatal("no enforcer")
	}
	t.Cleanup(func() { o.enforcer.Close() })
	return o
}

func (o *office) pair(t testing.TB, peer *nstest.NS, name, hw string) {
	t.Helper()
	o.gw.Do(t, func() {
		err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(peer.FD())})
		if err != nil {
			t.Errorf("veth %s: %v", name, err)
		}
	})
	peer.Run(t, "ip link set eth0 address "+hw+" up")
}

// apply applies and checks that the kernel says the same. Once more, as the
// reconciler does, when the gateway's addresses change meanwhile: the kernel
// gives link-local ones to a bridge that was just made.
func (o *office) apply(t testing.TB, p netcontain.Policy) {
	t.Helper()
	var got netcontain.Policy
	var err error
	var outdated *netcontain.OutdatedError
	for again := 0; again == 0 || errors.As(err, &outdated) && again < 10; again++ {
		if err := o.enforcer.Apply(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		got, err = o.enforcer.Observed(t.Context())
	}
	if err != nil {
		t.Fatalf("observed: %v", err)
	}
	if d := netcontain.Diff(p, got); !d.Empty() {
		t.Fatalf("the kernel holds something else: %s", d)
	}
}

// answers says whether an echo server on the far side answers to from.
type echo struct{ addr string }

func serve(t testing.TB, ns *nstest.NS, addr string) echo {
	t.Helper()
	var l net.Listener
	ns.Do(t, func() {
		var err error
		if l, err = net.Listen("tcp", addr); err != nil {
			t.Errorf("listen: %v", err)
		}
	})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 64)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					if _, err := c.Write(b[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return echo{l.Addr().String()}
}

const patience = 400 * time.Millisecond // for an answer that must not come

func dial(t testing.TB, ns *nstest.NS, to string) net.Conn {
	t.Helper()
	var c net.Conn
	ns.Do(t, func() { c, _ = net.DialTimeout("tcp", to, patience) })
	if c != nil {
		t.Cleanup(func() { c.Close() })
	}
	return c
}

// connected is a connection that must come about, however slow the machine is.
func connected(t testing.TB, ns *nstest.NS, to string) (c net.Conn) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !alive(c); c = dial(t, ns, to) {
		if time.Now().After(deadline) {
			t.Fatalf("no connection to %s within 20 s", to)
		}
	}
	return c
}

func alive(c net.Conn) bool { return answers(c, patience) }

// answers is for a connection that has to be alive, on a slow machine too.
func answers(c net.Conn, within time.Duration) bool {
	if c == nil {
		return false
	}
	c.SetDeadline(time.Now().Add(within))
	if _, err := c.Write([]byte("ping")); err != nil {
		return false
	}
	_, err := c.Read(make([]byte, 64))
	return err == nil
}

// tap counts frames that arrive at eth0 of a host and satisfy a test.
func tap(t testing.TB, ns *nstest.NS) (count func(func([]byte) bool) int) {
	t.Helper()
	fd := -1
	ns.Do(t, func() {
		var err error
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK, 0x0300); err != nil {
			t.Errorf("packet socket: %v", err)
		}
	})
	t.Cleanup(func() { unix.Close(fd) })
	return func(match func([]byte) bool) int {
		n, b := 0, make([]byte, 2048)
		for {
			size, from, err := unix.Recvfrom(fd, b, 0)
			if err != nil {
				return n
			}
			if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype != unix.PACKET_OUTGOING && match(b[:size]) {
				n++
			}
		}
	}
}
