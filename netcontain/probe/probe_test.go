package probe

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

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
		Ports: []string{"p1", "p2"}, HostPort: "p1", Bridge: "br0", GatewayMAC: gwMAC,
		GatewayAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
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
	}
	if m.sentBy(arpRequest(gwMAC, hostMAC, netip.MustParseAddr("192.0.2.1"), v4)) {
		t.Error("a frame to the host was taken for one of it")
	}
}

func FuzzSentBy(f *testing.F) {
	f.Add(arpRequest(hostMAC, gwMAC, netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("192.0.2.1")))
	f.Add([]byte{11: 0, 12: 0x81, 13: 0})
	m := newMatcher(config().Host)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := m.sentBy(b); got && len(b) < 14 {
			t.Error("recognised a frame without a header")
		}
	})
}
