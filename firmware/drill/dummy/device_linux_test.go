package dummy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/netcontain/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

var lan = netip.MustParsePrefix("192.168.77.0/24")

// office is a bridge with an address and two hosts, which listen to everything.
type office struct {
	gw    *nstest.NS
	hosts [2]*listener
}

func newOffice(t *testing.T, delay string) *office {
	t.Helper()
	o := &office{gw: nstest.New(t)}
	o.gw.Run(t, "ip link add br0 type bridge mcast_snooping 0 forward_delay "+delay)
	for n := range o.hosts {
		host, port := nstest.New(t), fmt.Sprintf("lan%d", n+1)
		o.gw.Do(t, func() {
			err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: "eth0", PeerNamespace: netlink.NsFd(host.FD())})
			if err != nil {
				t.Errorf("veth %s: %v", port, err)
			}
		})
		o.gw.Run(t, fmt.Sprintf("ip link set %s address f2:00:00:00:00:0%d master br0 up", port, n+1))
		host.Run(t, fmt.Sprintf("ip link set eth0 address 02:00:00:00:00:0%d addrgenmode none up", n+1))
		host.Run(t, fmt.Sprintf("ip addr add 192.168.77.%d/24 dev eth0", 11+n))
		o.hosts[n] = listen(t, host, "eth0")
	}
	o.gw.Run(t, "ip addr add 192.168.77.1/24 dev br0")
	o.gw.Run(t, "ip link set br0 addrgenmode none up")
	return o
}

// known are the addresses that the office has from the start: a device draws its own
// anywhere in the network.
func known(a netip.Addr) bool { return a.Less(netip.MustParseAddr("192.168.77.13")) }

func (o *office) config() Config {
	return Config{
		Bridge: "br0", LAN: lan, Refuse: known, ProbeInterval: 50 * time.Millisecond, ProbeWait: 100 * time.Millisecond, Pace: 20 * time.Millisecond,
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
}

func (o *office) make(t *testing.T, c Config) *Device {
	t.Helper()
	var d *Device
	var err error
	o.gw.Do(t, func() { d, err = plug(t, c) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.gw.Do(t, func() { d.Close() }) }) //nolint:errcheck
	return d
}

func plug(t *testing.T, c Config) (*Device, error) {
	d, err := New(c)
	if err == nil {
		err = d.Plug(t.Context())
	}
	return d, err
}

// listener keeps every frame that an interface receives.
type listener struct {
	ns  *nstest.NS
	mu  sync.Mutex
	got [][]byte
}

func listen(t *testing.T, ns *nstest.NS, name string) *listener {
	t.Helper()
	l := &listener{ns: ns}
	var fd int
	var err error
	ns.Do(t, func() {
		link, e := netlink.LinkByName(name)
		if err = e; err != nil {
			return
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Protocol: 0x0300}) // ETH_P_ALL
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000}) //nolint:errcheck
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer unix.Close(fd)
		b := make([]byte, 2048)
		for ctx.Err() == nil {
			if n, from, err := unix.Recvfrom(fd, b, 0); err == nil && from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
				l.mu.Lock()
				l.got = append(l.got, bytes.Clone(b[:n]))
				l.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return l
}

// from are the frames that came from an Ethernet address.
func (l *listener) from(mac [6]byte) (out [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.got {
		if bytes.Equal(f[6:12], mac[:]) {
			out = append(out, f)
		}
	}
	return out
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) { // only polling shows it
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// run lets the device act until the function that it returns is called.
func run(t *testing.T, d *Device, began func(time.Time)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, began) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func isARP(f []byte) bool { return binary.BigEndian.Uint16(f[12:]) == 0x0806 }

func TestTheOfficeHearsNothingButAHandfulOfARPBroadcasts(t *testing.T) {
	o := newOffice(t, "0")
	was := o.gw.Run(t, "ip -o link show br0")
	d := o.make(t, o.config())
	port := listen(t, o.gw, Port)
	var began []time.Time
	start := time.Now()
	stop := run(t, d, func(at time.Time) { began = append(began, at) })
	await(t, "calls to every address", func() bool { return len(port.from(d.MAC())) > targets+targets/2 })
	stop()
	if len(began) != 1 || began[0].Before(start) {
		t.Errorf("it began %v", began)
	}
	for n, h := range o.hosts {
		heard := h.from(d.MAC())
		for _, f := range heard {
			if !isARP(f) || !bytes.Equal(f[:6], []byte{255, 255, 255, 255, 255, 255}) {
				t.Errorf("host %d was sent % x", n, f)
			}
		}
		if len(heard) == 0 || len(heard) > 3+1 { // probes, one announcement
			t.Errorf("host %d heard %d broadcasts", n, len(heard))
		}
		if silent := h.from(d.sink); len(silent) != 0 {
			t.Errorf("host %d heard the sink: % x", n, silent[0])
		}
	}
	called := map[netip.Addr]bool{}
	for _, f := range port.from(d.MAC()) {
		if isARP(f) {
			continue
		}
		to := netip.AddrFrom4([4]byte(f[30:34]))
		called[to] = true
		if !testNet.Contains(to) || f[23] != 6 || binary.BigEndian.Uint16(f[36:]) != service || !bytes.Equal(f[:6], d.sink[:]) {
			t.Fatalf("it called % x", f)
		}
	}
	if len(called) != targets {
		t.Errorf("it called %d addresses, want %d", len(called), targets)
	}
	o.gw.Do(t, func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	if now := o.gw.Run(t, "ip -o link show br0"); now != was {
		t.Errorf("the bridge was\n%s and is\n%s", was, now)
	}
	if left := o.gw.Run(t, "ip -o link"); strings.Contains(left, "drill") {
		t.Errorf("left behind:\n%s", left)
	}
	if left := o.gw.Run(t, "bridge fdb"); strings.Contains(left, net.HardwareAddr(d.sink[:]).String()) {
		t.Errorf("left in the bridge's table:\n%s", left)
	}
}

// What the device sends does leave the bridge by the sink's port: an isolation has
// something to stop.
func TestItsCallsCrossTheBridge(t *testing.T) {
	o := newOffice(t, "0")
	d := o.make(t, o.config())
	count := func() string { return o.gw.Run(t, "cat /proc/net/dev") }
	run(t, d, func(time.Time) {})
	await(t, "frames out of the sink's port", func() bool {
		for line := range strings.Lines(count()) {
			if f := strings.Fields(line); len(f) > 10 && f[0] == sinkPort+":" {
				return f[10] != "0"
			}
		}
		return false
	})
}

func TestAnAddressThatSomebodyUsesIsLeftAlone(t *testing.T) {
	// A forward delay: the question must not be lost in a port that does not
	// forward yet.
	o := newOffice(t, "1500")
	asked := make(chan netip.Addr, tries)
	c := o.config()
	c.Refuse = func(a netip.Addr) bool { // the first one that is chosen is taken by a host
		if known(a) {
			return true
		}
		select {
		case asked <- a:
			if len(asked) == 1 {
				for _, h := range o.hosts[:1] {
					h.ns.Run(t, fmt.Sprintf("ip addr add %s/24 dev eth0", a))
				}
			}
		default:
		}
		return false
	}
	for n := range o.hosts {
		o.gw.Run(t, fmt.Sprintf("bridge link set dev lan%d state 3", n+1))
	}
	d := o.make(t, c)
	if first := <-asked; d.Addr() == first || !lan.Contains(d.Addr()) {
		t.Errorf("it took %s, and %s is somebody's", d.Addr(), first)
	}
}

func TestWithoutAnAddressNothingIsLeft(t *testing.T) {
	o := newOffice(t, "0")
	c := o.config()
	c.Refuse = func(netip.Addr) bool { return true }
	var err error
	o.gw.Do(t, func() { _, err = plug(t, c) })
	if err == nil || !strings.Contains(err.Error(), "no unused address") {
		t.Errorf("made: %v", err)
	}
	if left := o.gw.Run(t, "ip -o link"); strings.Contains(left, "drill") {
		t.Errorf("left behind:\n%s", left)
	}
}

func TestSweepRemovesWhatIsOursAndNothingElse(t *testing.T) {
	o := newOffice(t, "0")
	sweep := func() (err error) {
		o.gw.Do(t, func() { err = Sweep() })
		return err
	}
	o.make(t, o.config())
	if err := sweep(); err != nil {
		t.Error(err)
	}
	if left := o.gw.Run(t, "ip -o link"); strings.Contains(left, "drill") {
		t.Errorf("left behind:\n%s", left)
	}
	o.gw.Run(t, "ip link add "+Port+" type bridge")
	if err := sweep(); err == nil {
		t.Error("an interface of somebody else's raises no objection")
	}
	o.gw.Run(t, "ip link show "+Port) // and stays
	var err error
	o.gw.Do(t, func() { _, err = plug(t, o.config()) })
	if err == nil {
		t.Error("a device was made over somebody else's interface")
	}
}

func TestTheEndOfADrillLeavesTheNextOneAlone(t *testing.T) {
	o := newOffice(t, "0")
	first := o.make(t, o.config())
	second := o.make(t, o.config()) // takes the ports
	o.gw.Do(t, func() {
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, port := range Ports() {
		o.gw.Run(t, "ip link show "+port)
	}
	if first.MAC() == second.MAC() {
		t.Error("both have the same address")
	}
}

func TestStoppedInTheMiddleNothingIsLeft(t *testing.T) {
	o := newOffice(t, "0")
	for _, wait := range []time.Duration{0, 5 * time.Millisecond, 60 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		var err error
		o.gw.Do(t, func() {
			var d *Device
			if d, err = New(o.config()); err == nil {
				err = errors.Join(d.Plug(ctx), d.Close())
			}
		})
		cancel()
		if err == nil {
			t.Errorf("plugged in within %v", wait)
		}
		if left := o.gw.Run(t, "ip -o link"); strings.Contains(left, "drill") {
			t.Errorf("after %v left behind:\n%s", wait, left)
		}
	}
}

func TestEveryDrillHasAddressesOfItsOwn(t *testing.T) {
	seen := map[[6]byte]bool{}
	for range 100 {
		device, sink, err := draw()
		if err != nil {
			t.Fatal(err)
		}
		if seen[device] || seen[sink] || device[0] != 0x02 || sink[0] != 0x02 {
			t.Fatalf("drew % x and % x", device, sink)
		}
		seen[device], seen[sink] = true, true
	}
}
