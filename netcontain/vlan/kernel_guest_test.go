//go:build guest

package vlan

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
	"sekisho/netcontain/netcontaintest"
	"sekisho/netcontain/nft"
	"sekisho/netcontain/nstest"
	"sekisho/netcontain/plan"
)

// site is a gateway whose bridge br0 filters VLANs: the office is VLAN 10, with
// hosts 1 to 4 on lan1 to lan4, and a trunk on lan5 that carries 20 as well.
type site struct {
	gw    *nstest.NS
	hosts []*nstest.NS // from 1 on
	wires []*wire      // beside them
	clock *clock
	e     *Enforcer
	ends  int
}

func hostMAC(i int) netcontain.MAC { return netcontain.MAC{2, 0, 0, 0, 0, byte(i)} }

var (
	gatewayMAC = netcontain.MAC{2, 0, 0, 0, 0, 0xfe}
	broadcast  = netcontain.MAC{255, 255, 255, 255, 255, 255}
)

func newSite(t *testing.T) *site {
	t.Helper()
	inOrder(t)
	s := &site{gw: nstest.New(t), hosts: make([]*nstest.NS, 6), wires: make([]*wire, 6), clock: &clock{time.Unix(0, 0)}}
	s.gw.Run(t, "ip link set lo up")
	for i := 1; i <= 5; i++ {
		s.hosts[i] = nstest.New(t)
		s.plug(t, i)
	}
	s.bridge(t)
	s.gw.Run(t, "ip link set lan1 alias desk-1")
	for i := 1; i <= 5; i++ {
		s.wires[i] = tap(t, s.hosts[i], "eth0")
	}
	cfg := config(s.clock)
	cfg.Uplink = "lan4"
	s.gw.Do(t, func() {
		var err error
		if s.e, err = New(cfg); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { _ = s.e.Close() })
	return s
}

// plug makes port lan<i> and its cable to host i.
func (s *site) plug(t *testing.T, i int) {
	t.Helper()
	name := fmt.Sprintf("lan%d", i)
	s.gw.Do(t, func() {
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(s.hosts[i].FD())}); err != nil {
			t.Errorf("veth %s: %v", name, err)
		}
	})
	s.hosts[i].Run(t, "ip link set eth0 address "+hostMAC(i).String()+" up")
}

// bridge makes the bridge and takes the ports into it, as networkd does at boot.
func (s *site) bridge(t *testing.T) {
	t.Helper()
	s.gw.Run(t, "ip link add br0 address "+gatewayMAC.String()+" type bridge vlan_filtering 1 vlan_default_pvid 10 mcast_snooping 0 forward_delay 0")
	s.gw.Run(t, "ip link set br0 up")
	s.gw.Do(t, func() {
		for i := 1; i <= 5; i++ {
			l, err := netlink.LinkByName(fmt.Sprintf("lan%d", i))
			if err == nil {
				err = errors.Join(netlink.LinkSetMaster(l, &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}), netlink.LinkSetUp(l))
			}
			if err != nil {
				t.Errorf("lan%d: %v", i, err)
			}
		}
	})
	s.gw.Run(t, "bridge vlan add dev lan5 vid 20")
}

// dump is the bridge as iproute2 reads it: what release must bring back.
func (s *site) dump(t *testing.T) string {
	t.Helper()
	out := s.gw.Run(t, "bridge -j vlan show")
	for i := 1; i <= 5; i++ {
		var links []struct {
			Alias string `json:"ifalias"`
			Info  struct {
				Data struct {
					Isolated bool `json:"isolated"`
				} `json:"info_slave_data"`
			} `json:"linkinfo"`
			Flags []string `json:"flags"`
		}
		text := s.gw.Run(t, fmt.Sprintf("ip -j -d link show lan%d", i))
		if err := json.Unmarshal([]byte(text), &links); err != nil || len(links) != 1 {
			t.Fatalf("%v: %s", err, text)
		}
		out += fmt.Sprintf("lan%d %q isolated %t up %t\n", i, links[0].Alias, links[0].Info.Data.Isolated, slices.Contains(links[0].Flags, "UP"))
	}
	return out + s.gw.Run(t, "ip -br link show type vlan") + s.gw.Run(t, "ip -4 rule") + s.gw.Run(t, "ip -6 rule")
}

// apply applies, lets the links come up again, and checks that all is held.
func (s *site) apply(t *testing.T, hosts ...netcontain.Host) {
	t.Helper()
	mustApply(t, s.e, hosts...)
	s.settle(t, hosts...)
}

func (s *site) settle(t *testing.T, hosts ...netcontain.Host) {
	t.Helper()
	s.clock.now = s.clock.now.Add(DefaultFlap)
	mustApply(t, s.e, hosts...)
	for _, w := range s.wires[1:] {
		w.awaitCarrier(t)
	}
	var want []string
	for _, h := range hosts {
		want = append(want, h.ID)
	}
	if got, said := ids(t, s.e); !slices.Equal(got, want) || said != "" {
		t.Fatalf("observed %q, %q, want %q", got, said, want)
	}
}

// wire is a host's end of its cable.
type wire struct {
	ns     *nstest.NS
	device string
	fd     int
}

// tap opens a socket that sends any frame and receives every one, tags and all.
func tap(t *testing.T, ns *nstest.NS, device string) *wire {
	t.Helper()
	w := &wire{ns: ns, device: device, fd: -1}
	ns.Do(t, func() {
		l, err := netlink.LinkByName(device)
		if err != nil {
			t.Errorf("%s: %v", device, err)
			return
		}
		const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8 // network order
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
		if err == nil {
			err = errors.Join(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Attrs().Index}),
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20), // a flood fits
				unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30}))
		}
		if err != nil {
			t.Errorf("tap %s: %v", device, err)
			return
		}
		w.fd = fd
	})
	t.Cleanup(func() { _ = unix.Close(w.fd) })
	return w
}

// awaitCarrier waits until the cable is live: a link that was set up forwards
// only when the kernel has noticed it.
func (w *wire) awaitCarrier(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	w.ns.Do(t, func() {
		for {
			l, err := netlink.LinkByName(w.device)
			if err == nil && l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 {
				return
			}
			if err != nil || time.Now().After(deadline) {
				t.Errorf("no carrier on %s: %v", w.device, err)
				return
			}
			runtime.Gosched()
		}
	})
}

func (w *wire) send(t *testing.T, frame []byte) {
	t.Helper()
	if _, err := unix.Write(w.fd, frame); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// until reads what has come before the frame with the last word, and counts the
// frames by their word. What the host sent itself is not counted.
func (w *wire) until(t *testing.T, last string) map[string]int {
	t.Helper()
	out := map[string]int{}
	buf := make([]byte, 2048)
	for out[last] == 0 {
		n, from, err := unix.Recvfrom(w.fd, buf, 0)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
			continue
		}
		if err != nil {
			t.Fatalf("waiting for %q on %s: %v", last, w.device, err)
		}
		_, payload, ours := strings.Cut(string(buf[12:n]), kind)
		word, _, _ := strings.Cut(payload, "\x00")
		if ll, ok := from.(*unix.SockaddrLinklayer); ours && ok && ll.Pkttype != unix.PACKET_OUTGOING {
			out[word]++
		}
	}
	return out
}

// inOrder pins the test to one CPU: the kernel then delivers frames between
// namespaces in the order in which they were sent, and what comes before the
// last frame is all that came.
func inOrder(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	one.Set(0)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.SchedSetaffinity(0, &before)
		runtime.UnlockOSThread()
	})
}

// heard returns what each host but the first has heard of the others so far.
func (s *site) heard(t *testing.T) []map[string]int {
	t.Helper()
	s.ends++
	last := func(from int) string { return fmt.Sprintf("end %d of %d", s.ends, from) }
	out := make([]map[string]int, len(s.wires))
	for _, from := range []int{3, 4} {
		s.wires[from].send(t, frame(broadcast, hostMAC(from), last(from)))
	}
	for i := 2; i < len(s.wires); i++ {
		if i == 4 {
			out[i] = s.wires[i].until(t, last(3))
		} else {
			out[i] = s.wires[i].until(t, last(4))
		}
	}
	return out
}

// frame is an Ethernet frame with tags, each a TPID and a VLAN, of an
// experimental type (IEEE 802, local experimental 0x88b5), with the word in it.
func frame(dst, src netcontain.MAC, word string, tags ...[2]uint16) []byte {
	b := slices.Concat(dst[:], src[:])
	for _, tag := range tags {
		b = append(b, byte(tag[0]>>8), byte(tag[0]), byte(tag[1]>>8), byte(tag[1]))
	}
	return append(append(append(b, kind...), word...), make([]byte, 50)...)
}

const kind = "\x88\xb5"

const (
	customer = 0x8100 // 802.1Q
	service  = 0x88a8 // 802.1ad
)

// attempts are ways for host 1 to reach somebody. passes says that a free host
// does: the control, without which a count of zero means nothing.
var tries = []struct {
	name   string
	dst    netcontain.MAC
	src    netcontain.MAC
	tags   [][2]uint16
	passes bool
}{
	{"broadcast", broadcast, hostMAC(1), nil, true},
	{"multicast", netcontain.MAC{0x33, 0x33, 0, 0, 0, 1}, hostMAC(1), nil, true},
	{"to a neighbour", hostMAC(3), hostMAC(1), nil, true},
	{"from a new MAC", broadcast, netcontain.MAC{2, 7, 7, 7, 7, 7}, nil, true},
	{"from a neighbour's MAC", broadcast, hostMAC(4), nil, true},
	{"from the gateway's MAC", broadcast, gatewayMAC, nil, true},
	{"tag of the office", broadcast, hostMAC(1), [][2]uint16{{customer, 10}}, true},
	{"tag of the office, to a neighbour", hostMAC(3), hostMAC(1), [][2]uint16{{customer, 10}}, true},
	{"tag of the office twice", broadcast, hostMAC(1), [][2]uint16{{customer, 10}, {customer, 10}}, true},
	{"tag 0", broadcast, hostMAC(1), [][2]uint16{{customer, 0}}, true},
	{"tag 0, then the office", broadcast, hostMAC(1), [][2]uint16{{customer, 0}, {customer, 10}}, true},
	{"tag of the trunk", broadcast, hostMAC(1), [][2]uint16{{customer, 20}}, false},
	{"tag of the quarantine", broadcast, hostMAC(1), [][2]uint16{{customer, 99}}, false},
	{"tag of the quarantine, then the office", broadcast, hostMAC(1), [][2]uint16{{customer, 99}, {customer, 10}}, false},
	{"tag of the quarantine, then the trunk", broadcast, hostMAC(1), [][2]uint16{{customer, 99}, {customer, 20}}, false},
	{"service tag of the office", broadcast, hostMAC(1), [][2]uint16{{service, 10}}, true},
	{"service tag, then the office", broadcast, hostMAC(1), [][2]uint16{{service, 10}, {customer, 10}}, true},
	{"tag 4095", broadcast, hostMAC(1), [][2]uint16{{customer, 4095}}, false},
}

const repeats = 20

// try sends every frame and returns how many of each arrived at others.
func (s *site) try(t *testing.T) map[string]int {
	t.Helper()
	s.wires[3].send(t, frame(broadcast, hostMAC(3), "here I am")) // so that the bridge knows where it is
	for i, c := range tries {
		for range repeats {
			s.wires[1].send(t, frame(c.dst, c.src, fmt.Sprintf("try-%02d", i), c.tags...))
		}
	}
	out := map[string]int{}
	for _, heard := range s.heard(t) {
		for i, c := range tries {
			out[c.name] += heard[fmt.Sprintf("try-%02d", i)]
		}
	}
	return out
}

func TestKernelNoFrameOfAnIsolatedHostReachesAnybody(t *testing.T) {
	s := newSite(t)
	free := s.try(t)
	for _, c := range tries {
		if (free[c.name] > 0) != c.passes {
			t.Errorf("control: %s: %d frames of a free host arrived", c.name, free[c.name])
		}
	}
	s.apply(t, host("bad", "lan1"))
	held := s.try(t)
	total := 0
	for _, c := range tries {
		total += held[c.name]
		if held[c.name] != 0 {
			t.Errorf("%s: %d of %d frames leaked", c.name, held[c.name], repeats)
		}
	}
	sum := 0
	for _, n := range free {
		sum += n
	}
	t.Logf("%d frames sent; arrived elsewhere: free %d, isolated %d", repeats*len(tries), sum, total)

	for range repeats {
		s.wires[3].send(t, frame(broadcast, hostMAC(3), "to all"))
		s.wires[3].send(t, frame(hostMAC(1), hostMAC(3), "to it"))
	}
	tap(t, s.gw, "br0.99").send(t, frame(broadcast, gatewayMAC, "end"))
	if heard := s.wires[1].until(t, "end"); heard["to all"]+heard["to it"] != 0 {
		t.Errorf("the isolated host heard %v", heard)
	}
	if n := s.heard(t)[4]["to all"]; n != repeats {
		t.Errorf("the office heard %d of %d of its own broadcasts", n, repeats)
	}

	s.apply(t)
	after := s.try(t)
	for _, c := range tries {
		if (after[c.name] > 0) != c.passes {
			t.Errorf("after release: %s: %d frames arrived", c.name, after[c.name])
		}
	}
}

func TestKernelIsolatedHostsReachTheGatewayAndNotEachOther(t *testing.T) {
	s := newSite(t)
	s.apply(t, host("a", "lan1"), host("b", "lan2"))
	gateway := tap(t, s.gw, "br0.99")
	send := func(from, to int, word string) {
		s.wires[from].send(t, frame(broadcast, hostMAC(from), word))
		s.wires[from].send(t, frame(hostMAC(to), hostMAC(from), word))
		s.wires[from].send(t, frame(broadcast, hostMAC(from), word, [2]uint16{customer, 99}))
	}
	for range repeats {
		send(1, 2, "from a")
		send(2, 1, "from b")
	}
	gateway.send(t, frame(broadcast, gatewayMAC, "end"))
	if a, b := s.wires[1].until(t, "end"), s.wires[2].until(t, "end"); a["from b"]+b["from a"] != 0 {
		t.Errorf("isolated hosts heard each other: %v and %v", a, b)
	}
	s.wires[1].send(t, frame(broadcast, hostMAC(1), "last of a"))
	if heard := gateway.until(t, "last of a"); heard["from a"] < repeats || heard["from b"] < repeats {
		t.Errorf("control: the gateway heard %v in the quarantine VLAN", heard)
	}
	s.hosts[1].Run(t, "ip addr add 10.99.0.50/24 dev eth0")
	s.hosts[1].Run(t, "ip neigh flush all")
	s.gw.Run(t, "ip link set lo up")
	s.hosts[1].Do(t, func() {
		c, err := net.DialTimeout("tcp", "10.99.0.1:9", 5*time.Second)
		if err == nil {
			_ = c.Close()
		}
		if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("the gateway's address does not answer in quarantine: %v", err)
		}
	})
}

// Nothing but the VLAN holds here: no sets, as after somebody flushed them, and a
// gateway that routes.
func TestKernelNothingIsRoutedOutOfTheQuarantine(t *testing.T) {
	s := newSite(t)
	s.gw.Do(t, func() {
		for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+name, []byte("1"), 0o644); err != nil {
				t.Error(err)
			}
		}
	})
	for _, line := range []string{"ip addr add 10.10.0.1/24 dev br0", "ip -6 addr add fd10::1/64 dev br0 nodad"} {
		s.gw.Run(t, line)
	}
	s.hosts[3].Run(t, "ip addr add 10.10.0.3/24 dev eth0")
	s.hosts[3].Run(t, "ip -6 addr add fd10::3/64 dev eth0 nodad")
	s.apply(t, host("bad", "lan1"))
	s.gw.Run(t, "ip -6 addr add fd99::1/64 dev br0.99 nodad")
	s.hosts[3].Run(t, "ip route add default via 10.10.0.1")
	s.hosts[3].Run(t, "ip route add default via fd10::1")
	for _, line := range []string{"ip addr add 10.99.0.50/24 dev eth0", "ip -6 addr add fd99::50/64 dev eth0 nodad",
		"ip route add default via 10.99.0.1", "ip route add default via fd99::1"} {
		s.hosts[1].Run(t, line)
	}
	office := []string{"10.10.0.3:9", "[fd10::3]:9"}
	reaches := func(to string) (yes bool) {
		s.hosts[1].Do(t, func() { // nobody listens there: a refusal has come all the way
			c, err := net.DialTimeout("tcp", to, 3*time.Second)
			if err == nil {
				_ = c.Close()
			}
			yes = err == nil || errors.Is(err, unix.ECONNREFUSED)
		})
		return yes
	}
	for _, to := range office {
		if reaches(to) {
			t.Errorf("%s is reached from the quarantine", to)
		}
	}
	for _, to := range []string{"10.99.0.1:9", "[fd99::1]:9"} {
		if !reaches(to) {
			t.Errorf("the gateway at %s is not reached", to)
		}
	}
	s.gw.Run(t, "ip -4 rule del pref 24085")
	s.gw.Run(t, "ip -6 rule del pref 24085")
	for _, to := range office {
		if !reaches(to) {
			t.Errorf("control: without our rule %s is not reached either", to)
		}
	}
	if _, said := ids(t, s.e); said == "" {
		t.Error("nobody misses the rule")
	}
	s.apply(t, host("bad", "lan1"))
	for _, to := range office {
		if reaches(to) {
			t.Errorf("%s is reached after the rule was put back", to)
		}
	}
	s.gw.Run(t, "ip link del br0.99") // by somebody else: the rule outlives its device
	s.apply(t)
	if rules := s.gw.Run(t, "ip -4 rule") + s.gw.Run(t, "ip -6 rule"); strings.Contains(rules, "24085") {
		t.Errorf("left behind: %s", rules)
	}
}

func TestKernelPortAndAliasComeBackExactly(t *testing.T) {
	s := newSite(t)
	before := s.dump(t)
	s.apply(t, host("bad", "lan1"), host("worse", "lan2"))
	once := s.dump(t)
	if !strings.Contains(once, "desk-1 sekisho vlan=99 pvid=10 untagged=10 host=bad") || once == before {
		t.Errorf("held:\n%s", once)
	}
	s.apply(t, host("bad", "lan1"), host("worse", "lan2"))
	if twice := s.dump(t); twice != once {
		t.Errorf("once:\n%s\ntwice:\n%s", once, twice)
	}
	s.apply(t)
	if after := s.dump(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestKernelTrunkUplinkAndStrangersAreRefused(t *testing.T) {
	s := newSite(t)
	before := s.dump(t)
	err := s.e.Apply(t.Context(), policy(host("a", "lan5"), host("b", "lan4"), host("c", "br0"), host("d", "lo")))
	if r := Refused(err); len(r) != 4 {
		t.Errorf("refused %d: %v", len(r), err)
	}
	if after := s.dump(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestKernelTheHostSeesItsLinkGoAndComeBack(t *testing.T) {
	s := newSite(t)
	live := func() bool { return strings.Contains(s.hosts[1].Run(t, "ip -br link show eth0"), "LOWER_UP") }
	if !live() {
		t.Fatal("control: no carrier before")
	}
	mustApply(t, s.e, host("bad", "lan1"))
	if live() {
		t.Error("the link did not go down")
	}
	s.settle(t, host("bad", "lan1")) // waits for the carrier
	mustApply(t, s.e)
	if live() {
		t.Error("the link did not go down on release")
	}
	s.settle(t)
}

func TestKernelNothingPassesOnceApplyHasReturned(t *testing.T) {
	s := newSite(t)
	var applied atomic.Bool
	var late atomic.Int32
	stop, done := make(chan struct{}), make(chan int)
	go func() { // "early" until Apply has returned, "late" from then on
		sent := 0
		for {
			select {
			case <-stop:
				done <- sent
				return
			default:
			}
			word := "early"
			if applied.Load() {
				word = "late!"
			}
			if _, err := unix.Write(s.wires[1].fd, frame(broadcast, hostMAC(1), word, [2]uint16{customer, 10})); err == nil && word == "late!" {
				sent++
				late.Add(1)
			}
			time.Sleep(100 * time.Microsecond) // a rate, not a wait: the test has to get a turn
		}
	}()
	// The flap would stop the host by itself.
	s.e.cfg.Flap = 0
	begun := time.Now()
	mustApply(t, s.e, host("bad", "lan1"))
	took := time.Since(begun)
	applied.Store(true)
	for late.Load() < 500 {
		time.Sleep(time.Millisecond) // bounded by the test's time limit
	}
	close(stop)
	sent := <-done
	for i, heard := range s.heard(t) {
		if i == 3 && heard["early"] == 0 {
			t.Error("control: nothing arrived before")
		}
		if n := heard["late!"]; n != 0 {
			t.Errorf("%d frames arrived at host %d that were sent after Apply had returned", n, i)
		}
	}
	t.Logf("Apply took %v; %d frames sent afterwards, none arrived", took, sent)
}

func TestKernelARebuiltBridgeIsMissedAndHeldAgain(t *testing.T) {
	s := newSite(t)
	s.apply(t, host("bad", "lan1"))
	s.gw.Run(t, "ip link del br0")
	if got, said := ids(t, s.e); slices.Contains(got, "bad") {
		t.Errorf("without a bridge: observed %q, %q", got, said)
	}
	if err := s.e.Apply(t.Context(), policy(host("bad", "lan1"))); err == nil {
		t.Error("applied without a bridge")
	}
	s.bridge(t)
	if got, _ := ids(t, s.e); slices.Contains(got, "bad") {
		t.Error("the rebuilt bridge is not missed")
	}
	s.apply(t, host("bad", "lan1"))
	for name, n := range s.try(t) {
		if n != 0 {
			t.Errorf("%s: %d frames leaked", name, n)
		}
	}
	s.apply(t)
	if out := s.gw.Run(t, "bridge -j vlan show dev lan1"); !strings.Contains(out, `"vlan":10`) || strings.Contains(out, "99") {
		t.Errorf("after release: %s", out)
	}
	if out := s.gw.Run(t, "ip -j link show lan1"); !strings.Contains(out, `"ifalias":"desk-1"`) {
		t.Errorf("after release: %s", out)
	}
}

func TestKernelAPortUnpluggedAndBackIsHeldAgain(t *testing.T) {
	s := newSite(t)
	s.apply(t, host("bad", "lan1"))
	s.gw.Run(t, "ip link del lan1")
	if got, _ := ids(t, s.e); slices.Contains(got, "bad") {
		t.Error("a port that is gone counts as held")
	}
	err := s.e.Apply(t.Context(), policy(host("bad", "lan1")))
	if r := Refused(err); len(r) != 1 || r[0].Port != "lan1" {
		t.Errorf("error %v", err)
	}
	s.plug(t, 1)
	s.gw.Run(t, "ip link set lan1 master br0 up")
	s.wires[1] = tap(t, s.hosts[1], "eth0")
	if got, _ := ids(t, s.e); slices.Contains(got, "bad") {
		t.Error("the new port counts as held")
	}
	s.apply(t, host("bad", "lan1"))
	for name, n := range s.try(t) {
		if n != 0 {
			t.Errorf("%s: %d frames leaked", name, n)
		}
	}
}

func TestKernelTheBridgeForgetsWhereTheHostWas(t *testing.T) {
	s := newSite(t)
	s.wires[1].send(t, frame(broadcast, hostMAC(1), "hello"))
	s.wires[4].send(t, frame(broadcast, hostMAC(4), "hello"))
	s.heard(t)
	b, err := s.e.Observe()
	office, quarantine := b.Office, b.Quarantine
	if err != nil || office[hostMAC(1)] != "lan1" || office[hostMAC(4)] != "lan4" || len(quarantine) != 0 {
		t.Fatalf("control: office %v, quarantine %v, %v", office, quarantine, err)
	}
	s.apply(t, host("bad", "lan1"))
	s.wires[1].send(t, frame(broadcast, hostMAC(4), "I am 4"))
	tap(t, s.gw, "br0.99").send(t, frame(broadcast, gatewayMAC, "end"))
	s.wires[1].until(t, "end")
	b, err = s.e.Observe()
	office, quarantine = b.Office, b.Quarantine
	if err != nil || office[hostMAC(1)] != "" || office[hostMAC(4)] != "lan4" || quarantine[hostMAC(4)] != "lan1" {
		t.Errorf("office %v, quarantine %v, %v", office, quarantine, err)
	}
}

func TestKernelWithoutFilteringSaysSo(t *testing.T) {
	s := newSite(t)
	s.gw.Run(t, "ip link set br0 type bridge vlan_filtering 0")
	err := s.e.Apply(t.Context(), policy(host("bad", "lan1")))
	if r := Refused(err); len(r) != 1 || !strings.Contains(r[0].Why, "does not filter VLANs") {
		t.Errorf("error %v", err)
	}
	if b, err := s.e.Observe(); err != nil || b.Filtering || len(b.Ports) != 5 {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestKernelConforms(t *testing.T) {
	s := newSite(t)
	s.e.cfg.Flap = 0
	netcontaintest.ConformLayer(t, netcontaintest.Layer{
		Enforcer: s.e, By: netcontain.ByVLAN, Hosts: []netcontain.Host{host("a", "lan1"), host("b", "lan2")},
		Lose: func() { s.gw.Run(t, "bridge vlan add dev lan1 vid 10 pvid untagged") },
	})
}

// together is the gateway's containment as it is wired: sets, VLAN, plan and
// reconciler.
type together struct {
	*site
	r    *netcontain.Reconciler
	vlan uint16 // that plan may use
}

func newTogether(t *testing.T) *together {
	t.Helper()
	s := &together{site: newSite(t), vlan: 99}
	var sets *nft.Enforcer
	s.gw.Do(t, func() {
		var err error
		if sets, err = nft.New(nft.Config{Bridge: "br0", WAN: "wan0"}); err != nil {
			t.Error(err)
		}
	})
	if sets == nil {
		t.FailNow()
	}
	t.Cleanup(func() { _ = sets.Close() })
	var previous plan.Plan
	var err error
	s.r, err = netcontain.NewReconciler(netcontain.Config{
		Log:      discard,
		Enforcer: netcontain.Layers{Base: sets, More: map[netcontain.Mechanism]netcontain.Enforcer{netcontain.ByVLAN: s.e}},
		Refine: func(p netcontain.Policy) (netcontain.Policy, error) {
			n, err := s.network()
			if err != nil {
				return p, err
			}
			previous = plan.Make(p, n, previous)
			return previous.Policy, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *together) network() (plan.Network, error) {
	b, err := s.e.Observe()
	n := plan.Network{VLAN: s.vlan, Ports: b.Office, Quarantine: b.Quarantine, Filtering: b.Filtering, PortInfo: map[string]plan.Port{}}
	for name, p := range b.Ports {
		n.PortInfo[name] = plan.Port{PVID: p.PVID, Untagged: len(p.Untagged), Tagged: len(p.Tagged), Wireless: p.Wireless, Held: p.Held}
	}
	return n, err
}

func (s *together) by(t *testing.T) string {
	t.Helper()
	out := s.gw.Run(t, "bridge -j vlan show dev lan1")
	if strings.Contains(out, `"vlan":99`) && !strings.Contains(out, `"vlan":10`) {
		return "vlan"
	}
	return "sets"
}

// check looks until nothing is to be repaired, but not for ever.
func (s *together) check(t *testing.T) {
	t.Helper()
	for range 5 {
		s.clock.now = s.clock.now.Add(DefaultFlap)
		if d, err := s.r.Check(t.Context()); err != nil {
			t.Fatal(err)
		} else if d.Empty() {
			return
		}
	}
	t.Fatal("is repaired again and again")
}

func TestKernelMovingBetweenMechanismsLeavesNoGap(t *testing.T) {
	s := newTogether(t)
	s.e.cfg.Flap = 0 // a link that is down would hide a gap
	s.wires[1].send(t, frame(broadcast, hostMAC(1), "here I am"))
	s.heard(t)
	bad := policy(netcontain.Host{ID: "bad", MACs: []netcontain.MAC{hostMAC(1)}, Level: netcontain.Isolate})

	stop, done := make(chan struct{}), make(chan int)
	var applied atomic.Bool
	go func() {
		late := 0
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- late
				return
			default:
			}
			word, src := "early", hostMAC(1)
			if applied.Load() {
				word = "late!"
				late++
			}
			if i%2 == 0 && word == "late!" {
				src = netcontain.MAC{2, 7, 7, 7, 7, byte(i)}
			}
			if i%3 == 0 {
				_, _ = unix.Write(s.wires[1].fd, frame(broadcast, src, word, [2]uint16{customer, 10}))
			} else {
				_, _ = unix.Write(s.wires[1].fd, frame(broadcast, src, word))
			}
			time.Sleep(200 * time.Microsecond) // a rate, not a wait: the receivers' queues must not overflow
		}
	}()
	s.wires[3].until(t, "early") // the control: it arrives before
	if err := s.r.Set(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	applied.Store(true)
	leaked := func(step, by string) {
		t.Helper()
		if got := s.by(t); got != by {
			t.Errorf("%s: held by %s, want %s", step, got, by)
		}
		for i, heard := range s.heard(t) {
			if n := heard["late!"]; n != 0 {
				t.Errorf("%s: %d frames leaked to host %d", step, n, i)
			}
		}
	}
	s.check(t)
	leaked("isolated", "vlan")
	s.vlan = 0 // as when the owner takes the quarantine network out of the settings
	s.check(t)
	leaked("moved back, and held by sets", "sets")
	s.vlan = 99
	s.check(t)
	leaked("moved again", "vlan")
	s.gw.Run(t, "nft flush ruleset")
	leaked("somebody flushed the rules", "vlan")
	s.check(t)
	s.gw.Run(t, "bridge vlan add dev lan1 vid 10 pvid untagged")
	leaked("somebody moved the port back", "sets")
	s.check(t)
	leaked("repaired", "vlan")
	close(stop)
	sent := <-done
	if err := s.r.Set(t.Context(), netcontain.Policy{}); err != nil {
		t.Fatal(err)
	}
	s.check(t)
	s.wires[1].send(t, frame(broadcast, hostMAC(1), "free!"))
	if n := s.heard(t)[3]["free!"]; n != 1 || s.by(t) != "sets" {
		t.Errorf("control: after release %d frames arrived, port %s", n, s.by(t))
	}
	t.Logf("%d frames sent while isolated, by its own and by new MACs, tagged and not; none arrived", sent)
}

// TestKernelHowLongItTakes reports; emulated, a CPU is some ten times slower.
func TestKernelHowLongItTakes(t *testing.T) {
	s := newSite(t)
	s.e.cfg.Flap = 0
	var hold, look, free []time.Duration
	took := func(to *[]time.Duration, f func()) {
		begun := time.Now()
		f()
		*to = append(*to, time.Since(begun))
	}
	for range 20 {
		took(&hold, func() { mustApply(t, s.e, host("bad", "lan1")) })
		took(&look, func() { ids(t, s.e) })
		took(&free, func() { mustApply(t, s.e) })
	}
	for _, l := range [][]time.Duration{hold, look, free} {
		slices.Sort(l)
	}
	t.Logf("median of %d: hold %v, look %v, let go %v", len(hold), hold[10], look[10], free[10])
}
