package decoy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sekisho/netcontain/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

var (
	lan     = netip.MustParsePrefix("10.9.8.0/24")
	gateway = netip.MustParseAddr("10.9.8.1")
)

// office is a gateway with a bridge, and two real hosts behind it.
type office struct{ gw, h1, h2 *nstest.NS }

func newOffice(t *testing.T) *office {
	o := &office{nstest.New(t), nstest.New(t), nstest.New(t)}
	o.gw.Run(t, "ip link add br0 type bridge")
	for i, h := range []*nstest.NS{o.h1, o.h2} {
		port, addr := []string{"lan1", "lan2"}[i], []string{"10.9.8.11/24", "10.9.8.12/24"}[i]
		o.gw.Run(t, "ip link add "+port+" type veth peer name peer")
		o.gw.Do(t, func() {
			l, err := netlink.LinkByName("peer")
			if err == nil {
				err = netlink.LinkSetNsFd(l, h.FD())
			}
			if err != nil {
				t.Errorf("move the host's end: %v", err)
			}
		})
		o.gw.Run(t, "ip link set "+port+" master br0 up")
		h.Run(t, "ip addr add "+addr+" dev peer")
		h.Run(t, "ip link set peer up")
	}
	o.gw.Run(t, "ip addr add 10.9.8.1/24 dev br0")
	o.gw.Run(t, "ip link set br0 up")
	o.gw.Run(t, "ip link set lo up")
	o.ready(t)
	return o
}

// ready waits until the kernel has noticed all carriers and forwards.
func (o *office) ready(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		if strings.Count(o.gw.Run(t, "bridge link"), "state forwarding") == 2 &&
			strings.Contains(o.gw.Run(t, "ip link show br0"), "state UP") &&
			strings.Contains(o.h1.Run(t, "ip link show peer"), "state UP") &&
			strings.Contains(o.h2.Run(t, "ip link show peer"), "state UP") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the bridge never forwards")
		}
		time.Sleep(5 * time.Millisecond) // only polling shows it
	}
}

// run is a keeper at work and what it told.
type run struct {
	*Keeper
	changes chan []netip.Addr
	stop    context.CancelFunc
	done    chan error
}

// keep starts a keeper on a thread that is in the gateway for good.
func (o *office) keep(t *testing.T, exclude ...Range) *run {
	t.Helper()
	r := &run{changes: make(chan []netip.Addr, 64), done: make(chan error, 1)}
	k, err := New(Config{
		Link: "br0", LAN: lan, Exclude: append(exclude, One(gateway)),
		ProbeInterval: 100 * time.Millisecond, ProbeWait: 200 * time.Millisecond, Recheck: 100 * time.Millisecond,
		Changed: func(a []netip.Addr) { r.changes <- a }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Keeper = k
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go o.gw.Do(t, func() {
		runtime.LockOSThread()
		r.done <- k.Run(ctx)
		close(r.done)
	})
	t.Cleanup(func() {
		cancel()
		for range r.done {
		}
	})
	return r
}

// until waits for a change after which ok is true of the held addresses.
func (r *run) until(t *testing.T, what string, ok func([]netip.Addr) bool) []netip.Addr {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case a := <-r.changes:
			if ok(a) {
				return a
			}
		case err := <-r.done:
			t.Fatalf("%s: the keeper ended: %v", what, err)
		case <-timeout:
			t.Fatalf("%s: it never came, held are %v", what, r.Addresses())
		}
	}
}

func three(a []netip.Addr) bool { return len(a) == 3 }

func (r *run) end(t *testing.T) {
	t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
}

// dial connects from a host and returns the error.
func dial(t *testing.T, ns *nstest.NS, network, to string) (err error) {
	ns.Do(t, func() {
		var c net.Conn
		if c, err = net.DialTimeout(network, to, 10*time.Second); err == nil {
			c.Close()
		}
	})
	return err
}

func TestDecoysAnswerButServeNothing(t *testing.T) {
	o := newOffice(t)
	var web net.Listener
	var dns net.PacketConn
	o.gw.Do(t, func() {
		web, _ = net.Listen("tcp4", "0.0.0.0:80")
		dns, _ = net.ListenPacket("udp4", "0.0.0.0:53")
	})
	defer web.Close()
	defer dns.Close()
	r := o.keep(t)
	held := r.until(t, "three decoys", three)
	decoy := held[1].String()

	o.h1.Run(t, "ping -c 1 -W 5 "+decoy)
	if err := dial(t, o.h1, "tcp4", decoy+":80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the gateway's web server at the decoy: %v, want refused", err)
	}
	if err := dial(t, o.h1, "tcp4", "10.9.8.1:80"); err != nil {
		t.Errorf("the gateway's own address is disturbed: %v", err)
	}
	// The datagram to the decoy goes first; only the second may arrive.
	for _, to := range []string{decoy, "10.9.8.1"} {
		o.h1.Do(t, func() {
			c, err := net.Dial("udp4", to+":53")
			if err != nil {
				t.Error(err)
				return
			}
			c.Write([]byte(to))
			c.Close()
		})
	}
	buf := make([]byte, 100)
	dns.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, _, err := dns.ReadFrom(buf); err != nil || string(buf[:n]) != "10.9.8.1" {
		t.Errorf("the gateway's resolver got %q, %v", buf[:n], err)
	}
	rules := o.gw.Run(t, "nft list table ip sekisho_decoy")
	if n := strings.Count(rules, "counter packets 1 "); n != 3 {
		t.Errorf("one packet of each kind should be counted:\n%s", rules)
	}
	if out := o.gw.Run(t, "ip route get 10.9.8.11"); !strings.Contains(out, "src 10.9.8.1 ") {
		t.Errorf("the gateway talks from a decoy: %s", out)
	}
}

// A redirect sends to the first address of the interface. That is a decoy while
// there are some, whoever was called: an isolated host's help page and DNS.
func TestRedirectToTheGatewayIsNotADecoy(t *testing.T) {
	o := newOffice(t)
	var page net.Listener
	o.gw.Do(t, func() { page, _ = net.Listen("tcp4", "0.0.0.0:5880") })
	defer page.Close()
	o.gw.Run(t, "nft add table ip help")
	o.gw.Run(t, "nft add chain ip help prerouting { type nat hook prerouting priority -110 ; }")
	o.gw.Run(t, "nft add rule ip help prerouting ip saddr 10.9.8.11 tcp dport 80 redirect to :5880")
	r := o.keep(t)
	held := r.until(t, "three decoys", three)
	decoy := held[1].String()

	for _, called := range []string{"10.9.8.1:80", decoy + ":80"} {
		if err := dial(t, o.h1, "tcp4", called); err != nil {
			t.Errorf("what is redirected from %s: %v", called, err)
		}
		if err := dial(t, o.h2, "tcp4", called); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a host that is not redirected, at %s: %v, want refused", called, err)
		}
	}
	if err := dial(t, o.h1, "tcp4", decoy+":5880"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the page's own port at the decoy: %v, want refused", err)
	}
}

func TestOwnedAddressesAreNotTaken(t *testing.T) {
	o := newOffice(t)
	chosen := Choose(lan, 3, nil, func(a netip.Addr) bool { return a == gateway })
	o.h2.Run(t, "ip addr add "+chosen[1].String()+"/24 dev peer")
	held := o.keep(t).until(t, "three decoys", three)
	if slices.Contains(held, chosen[1]) || !slices.Contains(held, chosen[0]) {
		t.Errorf("%v belongs to a host, held are %v", chosen[1], held)
	}
}

func TestExcludedAddressesAreNotTaken(t *testing.T) {
	pool := Range{netip.MustParseAddr("10.9.8.100"), netip.MustParseAddr("10.9.8.199")}
	held := newOffice(t).keep(t, pool).until(t, "three decoys", three)
	if slices.ContainsFunc(held, pool.contains) {
		t.Errorf("held %v, the DHCP pool is %v", held, pool)
	}
}

func TestClaimedAddressIsGivenUpAndReplaced(t *testing.T) {
	o := newOffice(t)
	r := o.keep(t)
	before := r.until(t, "three decoys", three)
	r.Seen(before[0], r.kern.mac) // our own announcements mean nothing
	r.Seen(netip.MustParseAddr("10.9.8.11"), [6]byte{2, 9})
	if !slices.Equal(r.Addresses(), before) {
		t.Fatalf("given up without a claim: %v", r.Addresses())
	}
	r.Seen(before[0], [6]byte{2, 9})
	if slices.Contains(r.Addresses(), before[0]) {
		t.Fatal("the claimed address is still told as a decoy")
	}
	r.until(t, "given up", func(a []netip.Addr) bool { return len(a) == 2 })
	if out := o.gw.Run(t, "ip -4 addr show dev br0"); strings.Contains(out, before[0].String()+"/") {
		t.Errorf("the claimed address is still on the bridge:\n%s", out)
	}
	after := r.until(t, "replaced", three)
	if slices.Contains(after, before[0]) {
		t.Errorf("the claimed address came back: %v", after)
	}
}

func TestAddressClaimedWhileItIsProbedIsNotTaken(t *testing.T) {
	k, err := New(Config{Link: "br0", LAN: lan, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	k.kern = &kernel{mac: [6]byte{2, 1}}
	first := k.candidates()
	k.Seen(first[1], [6]byte{2, 9})
	second := k.candidates()
	if slices.Contains(second, first[1]) || !slices.Contains(second, first[0]) || len(second) != 3 {
		t.Errorf("%v was claimed, candidates are still %v", first[1], second)
	}
}

func TestCleanupTakesOnlyOurOwn(t *testing.T) {
	o := newOffice(t)
	o.gw.Run(t, "nft add table ip other")
	o.gw.Run(t, "ip addr add 10.9.8.2/32 dev br0")
	state := func() string {
		return o.gw.Run(t, "ip -o -4 addr show") + o.gw.Run(t, "nft list ruleset")
	}
	before := state()
	r := o.keep(t)
	r.until(t, "three decoys", three)
	if state() == before {
		t.Fatal("nothing was set up")
	}
	r.end(t)
	if after := state(); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
	if len(r.Addresses()) != 0 {
		t.Errorf("still told: %v", r.Addresses())
	}
}

func TestLeftoversOfACrashAreTakenOver(t *testing.T) {
	o := newOffice(t)
	o.gw.Run(t, "ip addr add 10.9.8.55/32 dev br0 label br0:dcy")
	o.gw.Run(t, "nft add table ip sekisho_decoy")
	o.gw.Run(t, "nft add chain ip sekisho_decoy old")
	r := o.keep(t)
	r.until(t, "three decoys", three)
	if out := o.gw.Run(t, "ip -4 addr show dev br0"); strings.Contains(out, "10.9.8.55/") || strings.Count(out, "br0:dcy") != 3 {
		t.Errorf("a leftover address stays:\n%s", out)
	}
	if out := o.gw.Run(t, "nft list table ip sekisho_decoy"); strings.Contains(out, "chain old") {
		t.Errorf("a leftover chain stays:\n%s", out)
	}
	r.end(t)
}

func TestLostStateIsRestored(t *testing.T) {
	o := newOffice(t)
	r := o.keep(t)
	held := r.until(t, "three decoys", three)
	o.gw.Run(t, "nft flush ruleset")
	o.gw.Run(t, "ip addr del "+held[2].String()+"/32 dev br0")
	for deadline := time.Now().Add(30 * time.Second); ; {
		addrs, rules := o.gw.Run(t, "ip -4 addr show dev br0"), o.gw.Run(t, "nft list ruleset")
		if strings.Contains(addrs, held[2].String()+"/") && strings.Contains(rules, "reject with tcp reset") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never restored:\n%s%s", addrs, rules)
		}
		time.Sleep(10 * time.Millisecond) // the kernel's state can only be polled
	}
}

func TestNewAndRunRefuseWhatCannotWork(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for want, cfg := range map[string]Config{
		"no logger":      {Link: "br0", LAN: lan},
		"interface name": {Link: "a-very-long-name", LAN: lan, Log: log},
		"IPv4 network":   {Link: "br0", LAN: netip.MustParsePrefix("fd00::/64"), Log: log},
		"count":          {Link: "br0", LAN: lan, Count: -1, Log: log},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
	k, err := New(Config{Link: "nobridge", LAN: lan, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	nstest.New(t).Do(t, func() { err = k.Run(context.Background()) })
	if err == nil || !strings.Contains(err.Error(), "nobridge") {
		t.Errorf("a missing bridge: %v", err)
	}
}

func TestClaimReadsARP(t *testing.T) {
	own, other := [6]byte{2, 1}, [6]byte{2, 2}
	a := netip.MustParseAddr("10.9.8.7")
	if got, ok := claim(probeFrame(other, a), own); !ok || got != a {
		t.Errorf("another machine's probe: %v %v", got, ok)
	}
	if _, ok := claim(probeFrame(own, a), own); ok {
		t.Error("our own probe is a claim")
	}
	reply := probeFrame(other, netip.MustParseAddr("10.9.8.1"))
	reply[21] = 2
	if _, ok := claim(reply, own); ok {
		t.Error("a reply without a sender is a claim")
	}
	copy(reply[28:], a.AsSlice())
	if got, ok := claim(reply, own); !ok || got != a {
		t.Errorf("a reply: %v %v", got, ok)
	}
	for n := range reply {
		if _, ok := claim(reply[:n], own); ok {
			t.Errorf("a frame of %d bytes is a claim", n)
		}
	}
}

func FuzzClaim(f *testing.F) {
	f.Add(probeFrame([6]byte{2, 2}, gateway))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := claim(b, [6]byte{2, 1})
		if ok && (!a.Is4() || len(b) < etherLen+arpLen) {
			t.Errorf("%v from %d bytes", a, len(b))
		}
	})
}

func TestABridgeThatIsMadeAnewHasItsDecoysAgain(t *testing.T) {
	o := newOffice(t)
	r := o.keep(t)
	before := r.until(t, "decoys", three)
	for _, c := range []string{
		"ip link del br0", "ip link add br0 address 02:00:00:00:0a:01 type bridge",
		"ip link set lan1 master br0", "ip link set lan2 master br0", "ip addr add 10.9.8.1/24 dev br0", "ip link set br0 up",
	} {
		o.gw.Run(t, c)
	}
	o.ready(t)
	r.until(t, "the loss to be told", func(a []netip.Addr) bool { return len(a) == 0 })
	after := r.until(t, "decoys on the new bridge", three)
	if !slices.Equal(after, before) {
		t.Errorf("%v became %v", before, after)
	}
	for _, a := range after { // the kernel answers for them
		if text := o.gw.Run(t, "ip addr show dev br0"); !strings.Contains(text, a.String()+"/32") {
			t.Errorf("%s is not on the new bridge:\n%s", a, text)
		}
	}
	// The bridge's own new address is nobody who claims a decoy.
	r.Seen(after[0], [6]byte{2, 0, 0, 0, 10, 1})
	if got := r.Addresses(); !slices.Equal(got, after) {
		t.Errorf("gave up to itself: %v", got)
	}
}
