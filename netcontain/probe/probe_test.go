package probe

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
	"sekisho/netcontain/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

var (
	hostMAC = netcontain.MAC{2, 0, 0, 0, 0, 1}
	gwMAC   = netcontain.MAC{2, 0, 0, 0, 0, 0xfe}
)

func config() Config {
	return Config{
		Ports: []string{"p1", "p2"}, HostPort: "p1", Bridge: "br0",
		Voices: []Voice{{Device: "br0", MAC: gwMAC, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}}},
		Host: netcontain.Host{
			ID: "h", MACs: []netcontain.MAC{hostMAC},
			Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::11")},
		},
		Settle: 50 * time.Millisecond, Limit: time.Second,
	}
}

// lan is a gateway with two hosts on p1 and p2.
func lan(t *testing.T) (gw, host, other *nstest.NS) {
	t.Helper()
	gw, host, other = nstest.New(t), nstest.New(t), nstest.New(t)
	for _, ns := range []*nstest.NS{gw, host, other} {
		ns.Run(t, "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0")
	}
	gw.Run(t, "ip link add br0 address "+gwMAC.String()+" type bridge mcast_snooping 0 forward_delay 0")
	gw.Run(t, "ip addr add 192.0.2.1/24 dev br0")
	gw.Run(t, "ip addr add 2001:db8::1/64 dev br0 nodad")
	gw.Run(t, "ip link set br0 up")
	for i, ns := range []*nstest.NS{host, other} {
		name := fmt.Sprintf("p%d", i+1)
		gw.Do(t, func() {
			err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns.FD())})
			if err != nil {
				t.Errorf("veth: %v", err)
			}
		})
		gw.Run(t, "ip link set "+name+" master br0 up")
		ns.Run(t, fmt.Sprintf("ip link set eth0 address 02:00:00:00:00:%02d up", i+1))
		ns.Run(t, fmt.Sprintf("ip addr add 192.0.2.%d/24 dev eth0", i+11))
		ns.Run(t, fmt.Sprintf("ip addr add 2001:db8::%d/64 dev eth0 nodad", i+11))
	}
	return gw, host, other
}

func start(t *testing.T, gw *nstest.NS, cfg Config) *Watch {
	t.Helper()
	var w *Watch
	gw.Do(t, func() {
		var err error
		if w, err = Start(t.Context(), cfg); err != nil {
			t.Errorf("start: %v", err)
		}
	})
	if w == nil {
		t.FailNow()
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func prove(t *testing.T, w *Watch, since time.Time) Result {
	t.Helper()
	r, err := w.Prove(t.Context(), since)
	if err != nil {
		t.Fatal(err)
	}
	if r.Text.EN == "" || r.Text.JA == "" {
		t.Errorf("%s has no text", r.Verdict)
	}
	return r
}

// isolate drops what the host sends to another port.
func isolate(t *testing.T, gw *nstest.NS) {
	t.Helper()
	gw.Run(t, "nft add table bridge test")
	gw.Run(t, "nft add chain bridge test f { type filter hook forward priority 0 ; }")
	gw.Run(t, "nft add rule bridge test f iifname p1 drop")
}

func TestQuietIsolatedHostIsMadeToSpeakAndProven(t *testing.T) {
	gw, _, _ := lan(t)
	isolate(t, gw)
	w := start(t, gw, config())
	r := prove(t, w, time.Now())
	if r.Verdict != Proven || r.FramesFromHost == 0 || r.FramesLeaked != 0 {
		t.Errorf("%+v", r)
	}
}

func TestIPv6OnlyHostIsMadeToSpeak(t *testing.T) {
	gw, host, _ := lan(t)
	host.Run(t, "ip addr del 192.0.2.11/24 dev eth0")
	isolate(t, gw)
	w := start(t, gw, config())
	if r := prove(t, w, time.Now()); r.Verdict != Proven {
		t.Errorf("%+v", r)
	}
}

func TestLeakIsFoundWhenTheRuleIsGone(t *testing.T) {
	gw, host, _ := lan(t)
	isolate(t, gw)
	w := start(t, gw, config())
	if r := prove(t, w, time.Now()); r.Verdict != Proven {
		t.Fatalf("%+v", r)
	}
	gw.Run(t, "nft delete table bridge test")
	since := time.Now()
	host.Run(t, "ping -c 1 -W 1 192.0.2.12")
	r := prove(t, w, since)
	if r.Verdict != NotIsolated || r.FramesLeaked == 0 || len(r.LeakPorts) != 1 || r.LeakPorts[0] != "p2" || !r.LastLeak.After(since) {
		t.Errorf("%+v", r)
	}
	isolate(t, gw)
	if r := prove(t, w, time.Now()); r.Verdict != Proven || r.LastLeak.IsZero() {
		t.Errorf("leaks before the given time were held against it: %+v", r)
	}
}

func TestSilentHostIsNotCalledProven(t *testing.T) {
	gw, host, _ := lan(t)
	host.Run(t, "ip link set eth0 down")
	w := start(t, gw, config())
	if r := prove(t, w, time.Now()); r.Verdict != BestEffort || r.FramesFromHost != 0 {
		t.Errorf("%+v", r)
	}
}

func TestSharedPortIsBestEffort(t *testing.T) {
	gw, _, _ := lan(t)
	isolate(t, gw)
	cfg := config()
	cfg.Shared = true
	if r := prove(t, start(t, gw, cfg), time.Now()); r.Verdict != BestEffort || r.FramesFromHost == 0 {
		t.Errorf("%+v", r)
	}
}

func TestTheUplinkIsNamedApartFromTheLANPorts(t *testing.T) {
	gw, _, _ := lan(t)
	isolate(t, gw)
	gw.Run(t, "ip link add wan0 type veth peer name far0")
	gw.Run(t, "ip link set wan0 up")
	gw.Run(t, "ip link set far0 up")
	cfg := config()
	r := prove(t, start(t, gw, cfg), time.Now())
	if len(r.Routed) != 0 || !strings.Contains(r.Text.EN, "the 1 other LAN port(s)") || strings.Contains(r.Text.EN, "wan0") {
		t.Errorf("without an uplink: %+v", r)
	}
	cfg.Ports = append(cfg.Ports, "wan0")
	r = prove(t, start(t, gw, cfg), time.Now())
	if r.Verdict != Proven || !slices.Equal(r.Watched, []string{"p1", "p2"}) || !slices.Equal(r.Routed, []string{"wan0"}) {
		t.Errorf("%+v", r)
	}
	for _, text := range []string{r.Text.EN, r.Text.JA} {
		if !strings.Contains(text, "wan0") || !strings.Contains(text, "IPv4") {
			t.Errorf("the uplink's limit is not told: %s", text)
		}
	}
	if !strings.Contains(r.Text.EN, "the 1 other LAN port(s)") || !strings.Contains(r.Text.JA, "1 個") {
		t.Errorf("the uplink was counted as proven: %s / %s", r.Text.EN, r.Text.JA)
	}
}

func TestTheTrafficOfOthersNeverReachesTheProbe(t *testing.T) {
	gw, _, other := lan(t)
	isolate(t, gw)
	w := start(t, gw, config())
	other.Run(t, "ping -c 3 -i 0.01 192.0.2.1")
	if r := prove(t, w, time.Now()); r.Verdict != Proven {
		t.Errorf("%+v", r)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	passed := map[string]uint64{}
	for _, tap := range w.taps {
		passed[tap.name] = tap.passed
	}
	if passed["p1"] == 0 || passed["p2"] != 0 {
		t.Errorf("frames that passed the filter: %v", passed)
	}
}

func TestOneOverloadSpoilsOnlyTheProofsThatItFallsInto(t *testing.T) {
	gw, host, _ := lan(t)
	isolate(t, gw)
	w := start(t, gw, config())
	began := time.Now()
	buffer := func(size int) {
		t.Helper()
		for _, tap := range w.taps {
			if err := tap.control(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	buffer(1)   // the kernel makes it the smallest that there is
	w.mu.Lock() // nobody reads
	host.Run(t, "ping -c 30 -i 0.002 192.0.2.1")
	w.mu.Unlock()
	if r, err := w.Stats(began); err != nil || r.Drops == 0 || r.Verdict != BestEffort {
		t.Fatalf("the overload was not noticed: %+v, %v", r, err)
	}
	buffer(4 << 20)
	if r := prove(t, w, time.Now()); r.Verdict != Proven || r.Drops != 0 {
		t.Errorf("after the overload: %+v", r)
	}
	if r, err := w.Stats(began); err != nil || r.Drops == 0 {
		t.Errorf("the overload was forgotten: %+v, %v", r, err)
	}
}

func TestManyLossesAreToldInBoundedMemory(t *testing.T) {
	w, at := &Watch{}, time.Unix(0, 0)
	const n = 3*maxLosses + 7
	for i := range n {
		w.lose(loss{at.Add(time.Duration(i)), 1})
	}
	if got := w.lost(time.Time{}); got != n || len(w.losses) > maxLosses {
		t.Errorf("%d frames in %d losses", got, len(w.losses))
	}
	if got := w.lost(at.Add(n - 11)); got != 10 {
		t.Errorf("%d of the last 10 frames", got)
	}
}

// A reader that is not woken would end this test at its time limit.
func TestAClosedWatchIsLetGoByItsContext(t *testing.T) {
	gw, _, _ := lan(t)
	ctx := &keptContext{Context: t.Context(), done: make(chan struct{})}
	gw.Do(t, func() {
		w, err := Start(ctx, config())
		if err != nil {
			t.Errorf("start: %v", err)
			return
		}
		if ctx.kept != 1 {
			t.Errorf("the context holds %d", ctx.kept)
		}
		if err := w.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if _, err := w.Prove(ctx, time.Now()); err == nil {
			t.Error("a closed watch gave a proof")
		}
	})
	if ctx.kept != 0 {
		t.Errorf("the context still holds %d", ctx.kept)
	}
}

// keptContext never ends, and counts who waits for it: context.AfterFunc asks
// its method. A Done of its own keeps it from asking the context inside.
type keptContext struct {
	context.Context
	done chan struct{}
	kept int
}

func (c *keptContext) Done() <-chan struct{} { return c.done }

func (c *keptContext) AfterFunc(func()) func() bool {
	c.kept++
	return func() bool { c.kept--; return true }
}

func TestSourceIsFoundInEveryKindOfFrame(t *testing.T) {
	m := newMatcher(config().Host)
	other := netcontain.MAC{2, 0, 0, 0, 0, 9}
	v4, v6 := netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::11")
	arp, ns := arpRequest(other, gwMAC, v4, netip.MustParseAddr("192.0.2.1")), solicitation(other, gwMAC, v6, v6)
	tagged := append(append(append([]byte{}, ns[:12]...), 0x88, 0xa8, 0, 1, 0x81, 0, 0, 2), ns[12:]...)
	for name, b := range map[string][]byte{"MAC": arpRequest(hostMAC, gwMAC, netip.MustParseAddr("192.0.2.9"), v4), "ARP sender": arp, "IPv6": ns, "two VLAN tags": tagged} {
		if !m.sentBy(b) {
			t.Errorf("%s: not recognised", name)
		}
		if !passes(t, config().Host, b) {
			t.Errorf("%s: the kernel would keep it back", name)
		}
	}
	if passes(t, config().Host, arpRequest(gwMAC, hostMAC, netip.MustParseAddr("192.0.2.1"), v4)) {
		t.Error("the kernel would let a frame to the host through")
	}
	if m.sentBy(arpRequest(gwMAC, hostMAC, netip.MustParseAddr("192.0.2.1"), v4)) {
		t.Error("a frame to the host was taken for one of it")
	}
}

// passes runs the kernel's program.
func passes(t *testing.T, h netcontain.Host, b []byte) bool {
	t.Helper()
	vm, err := bpf.NewVM(filter(h))
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(b)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

func TestAHostOfManyAddressesIsNeverKeptBack(t *testing.T) {
	v4, v6 := netip.MustParseAddr("198.51.100.0"), netip.MustParseAddr("2001:db8:7::")
	for _, n := range []int{maxFiltered, maxFiltered + 1} {
		var byAddr, byMAC netcontain.Host
		byMAC.Addrs = config().Host.Addrs
		a4, a6 := v4, v6
		for i := range n {
			byMAC.MACs = append(byMAC.MACs, netcontain.MAC{2, 1, 0, 0, 0, byte(i)})
			if i%2 == 0 {
				a4 = a4.Next()
				byAddr.Addrs = append(byAddr.Addrs, a4)
			} else {
				a6 = a6.Next()
				byAddr.Addrs = append(byAddr.Addrs, a6)
			}
		}
		byAddr.MACs = byMAC.MACs[:n/2]
		for name, b := range map[string][]byte{
			"IPv4": arpRequest(gwMAC, gwMAC, a4, v4), "IPv6": solicitation(gwMAC, gwMAC, a6, v6),
		} {
			if !passes(t, byAddr, b) {
				t.Errorf("%d addresses, %s: kept back", n, name)
			}
		}
		if !passes(t, byMAC, arpRequest(byMAC.MACs[n-1], gwMAC, v4, v4)) {
			t.Errorf("%d MACs: kept back", n)
		}
		for _, h := range []netcontain.Host{byAddr, byMAC} {
			if raw, err := bpf.Assemble(filter(h)); err != nil || len(raw) > 4096 {
				t.Errorf("%d instructions, %v", len(raw), err)
			}
		}
	}
}

func FuzzSentBy(f *testing.F) {
	f.Add(arpRequest(hostMAC, gwMAC, netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("192.0.2.1")))
	v6 := netip.MustParseAddr("2001:db8::11")
	ns := solicitation(gwMAC, gwMAC, v6, v6)
	f.Add(append(append(append([]byte{}, ns[:12]...), 0x88, 0xa8, 0, 1, 0x81, 0, 0, 2), ns[12:]...))
	f.Add([]byte{11: 0, 12: 0x81, 13: 0})
	m, h := newMatcher(config().Host), config().Host
	f.Fuzz(func(t *testing.T, b []byte) {
		got := m.sentBy(b)
		if got && len(b) < 14 {
			t.Error("recognised a frame without a header")
		}
		if got && !passes(t, h, b) {
			t.Error("the kernel would keep back what the host sent")
		}
	})
}

func TestAPortWhoseLinkFlapsIsWatchedOnAndOneThatGoesAwayIsTold(t *testing.T) {
	gw, host, _ := lan(t)
	isolate(t, gw)
	w := start(t, gw, config())
	gw.Run(t, "ip link set p1 down")
	gw.Run(t, "ip link set p1 up")
	host.Run(t, "ip addr replace 192.0.2.11/24 dev eth0")
	if r := prove(t, w, time.Now()); r.Verdict != Proven || w.Blind() {
		t.Errorf("after a flap: %+v", r)
	}
	gw.Run(t, "ip link del p2")
	for deadline := time.Now().Add(10 * time.Second); !w.Blind(); {
		if time.Now().After(deadline) {
			t.Fatal("the port is gone, and nobody says so")
		}
		time.Sleep(time.Millisecond)
	}
	if r := prove(t, w, time.Now()); r.Verdict != BestEffort || r.Drops == 0 {
		t.Errorf("without a port: %+v", r)
	}
}

func TestAHostInAnotherNetworkIsAskedFromThereAsSoonAsItExists(t *testing.T) {
	gw, host, _ := lan(t)
	isolate(t, gw)
	host.Run(t, "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1") // it says nothing by itself
	cfg := config()
	quarantine := netip.MustParseAddr("198.51.100.1")
	cfg.Host.Addrs = append(cfg.Host.Addrs, netip.MustParseAddr("198.51.100.9"))
	cfg.Voices = []Voice{{Device: "q0", MAC: netcontain.MAC{2, 0, 0, 0, 0, 0xfd}, Addrs: []netip.Addr{quarantine}}}
	w := start(t, gw, cfg)
	if r := prove(t, w, time.Now()); r.Verdict != BestEffort {
		t.Errorf("nobody could ask it, and it was quiet: %+v", r)
	}
	gw.Run(t, "ip link add link br0 name q0 address 02:00:00:00:00:fd type macvlan mode private")
	gw.Run(t, "ip addr add 198.51.100.1/24 dev q0")
	gw.Run(t, "ip link set q0 up")
	host.Run(t, "ip addr add 198.51.100.9/24 dev eth0")
	gw.Do(t, func() { // the device is looked for where the ports are
		if r := prove(t, w, time.Now()); r.Verdict != Proven {
			t.Errorf("asked from q0: %+v", r)
		}
	})
}

func TestTheCableToPullIsNamed(t *testing.T) {
	cfg := config()
	for shared, want := range map[bool]string{false: "the cable at port p1", true: "the device's network cable"} {
		cfg.Shared = shared
		r := (&Watch{cfg: cfg}).judge(Result{FramesLeaked: 3, LeakPorts: []string{"p2"}})
		if r.Verdict != NotIsolated || !strings.Contains(r.Text.EN, want) || !strings.Contains(r.Text.EN, "left by p2") {
			t.Errorf("%s", r.Text.EN)
		}
	}
}
