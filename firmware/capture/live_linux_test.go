package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/netcontain/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

// office is a bridge with two ports, each with a host namespace behind it.
type office struct {
	gw, h1, h2         *nstest.NS
	br0, lan1, lan2    int
	br0MAC, mac1, mac2 net.HardwareAddr
}

func newOffice(t testing.TB) *office {
	o := &office{gw: nstest.New(t), h1: nstest.New(t), h2: nstest.New(t)}
	o.gw.Run(t, "ip link add br0 type bridge mcast_snooping 0")
	for i, h := range []*nstest.NS{o.h1, o.h2} {
		quiet(t, h)
		port := fmt.Sprintf("lan%d", i+1)
		o.gw.Run(t, "ip link add "+port+" type veth peer name peer")
		o.gw.Do(t, func() { moveTo(t, "peer", h) })
		quiet(t, o.gw)
		o.gw.Run(t, "ip link set "+port+" master br0")
		o.gw.Run(t, "ip link set "+port+" up")
		quiet(t, h)
		h.Run(t, "ip link set peer up")
	}
	quiet(t, o.gw)
	o.gw.Run(t, "ip link set br0 up")
	o.ready(t)
	o.br0, o.br0MAC = link(t, o.gw, "br0")
	o.lan1, _ = link(t, o.gw, "lan1")
	o.lan2, _ = link(t, o.gw, "lan2")
	_, o.mac1 = link(t, o.h1, "peer")
	_, o.mac2 = link(t, o.h2, "peer")
	return o
}

// ready waits until the kernel has noticed all carriers and forwards.
func (o *office) ready(t testing.TB) {
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

// quiet keeps the kernel from sending frames of its own (IPv6 autoconfiguration).
func quiet(t testing.TB, ns *nstest.NS) {
	ns.Do(t, func() {
		for _, scope := range []string{"default", "all"} {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+scope+"/disable_ipv6", []byte("1"), 0); err != nil {
				t.Error(err)
			}
		}
	})
}

func moveTo(t testing.TB, name string, ns *nstest.NS) {
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetNsFd(l, ns.FD())
	}
	if err != nil {
		t.Errorf("move %s: %v", name, err)
	}
}

func link(t testing.TB, ns *nstest.NS, name string) (index int, mac net.HardwareAddr) {
	ns.Do(t, func() {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		index, mac = ifi.Index, ifi.HardwareAddr
	})
	return
}

func (o *office) taps() []Tap {
	return []Tap{{Name: "lan1", In: true}, {Name: "lan2", In: true}, {Name: "br0", Out: true}}
}

// open captures in ns; the ring is small so that tests are quick.
func open(t testing.TB, ns *nstest.NS, cfg LiveConfig) *Live {
	t.Helper()
	if cfg.BlockSize == 0 {
		cfg.BlockSize, cfg.Blocks = 1<<16, 8
	}
	cfg.PollInterval = 5 * time.Millisecond
	var l *Live
	var err error
	ns.Do(t, func() { l, err = OpenLive(cfg) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// sender is a raw socket on one interface.
type sender struct{ fd, index int }

func newSender(t testing.TB, ns *nstest.NS, name string) *sender {
	s := &sender{}
	s.index, _ = link(t, ns, name)
	var err error
	ns.Do(t, func() { s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

func (s *sender) send(t testing.TB, frame []byte) {
	t.Helper()
	if err := unix.Sendto(s.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: s.index, Protocol: htons(unix.ETH_P_ALL)}); err != nil {
		t.Fatal(err)
	}
}

const testType = 0x88B5 // local experimental EtherType, IEEE 802

// frame is a test frame that carries mark.
func frame(dst, src net.HardwareAddr, mark string) []byte {
	b := append(append([]byte{}, dst...), src...)
	b = binary.BigEndian.AppendUint16(b, testType)
	return append(b, fmt.Sprintf("%-50s", mark)...)
}

type sight struct {
	mark  string
	iface int
	out   bool
}

// sights reads until the marked frame "end", which sees to it that everything
// sent before has come, and then until the source is idle.
func sights(t testing.TB, l *Live) []sight {
	t.Helper()
	var all []sight
	var f Frame
	ended, deadline := false, time.Now().Add(20*time.Second)
	for time.Now().Before(deadline) {
		err := l.Next(&f)
		if err == ErrIdle {
			if ended {
				return all
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Data) < 14 || binary.BigEndian.Uint16(f.Data[12:]) != testType {
			continue
		}
		mark := strings.TrimSpace(string(f.Data[14:]))
		if mark == "end" {
			ended = true
			continue
		}
		all = append(all, sight{mark, int(f.Iface), f.Out})
	}
	t.Fatal("the end mark never came")
	return nil
}

func TestEveryBridgedFrameIsSeenOnceWithItsPort(t *testing.T) {
	o := newOffice(t)
	l := open(t, o.gw, LiveConfig{Taps: o.taps()})
	p1, p2, gw := newSender(t, o.h1, "peer"), newSender(t, o.h2, "peer"), newSender(t, o.gw, "br0")
	all := net.HardwareAddr{255, 255, 255, 255, 255, 255}

	p1.send(t, frame(all, o.mac1, "flooded from 1"))
	p2.send(t, frame(o.mac1, o.mac2, "2 to 1"))
	p1.send(t, frame(o.mac2, o.mac1, "1 to 2"))
	p1.send(t, frame(o.br0MAC, o.mac1, "1 to gateway"))
	gw.send(t, frame(o.mac2, o.br0MAC, "gateway to 2"))
	gw.send(t, frame(all, o.br0MAC, "gateway to all"))
	p1.send(t, frame(all, o.mac1, "end"))

	want := []sight{
		{"flooded from 1", o.lan1, false}, {"2 to 1", o.lan2, false}, {"1 to 2", o.lan1, false},
		{"1 to gateway", o.lan1, false}, {"gateway to 2", o.br0, true}, {"gateway to all", o.br0, true},
	}
	if have := sights(t, l); fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("seen:\n%v\nwant:\n%v", have, want)
	}
	s := l.Stats()
	if s.Packets < 7 || s.Drops != 0 || s.Bytes < 7*64 {
		t.Errorf("stats %+v", s)
	}
}

func TestVLANTagIsKept(t *testing.T) {
	o := newOffice(t)
	l := open(t, o.gw, LiveConfig{Taps: o.taps()})
	p := newSender(t, o.h1, "peer")
	plain := frame(o.br0MAC, o.mac1, "tagged")
	var sent [][]byte
	for _, tag := range [][]byte{{0x81, 0, 0x60, 7}, {0x88, 0xa8, 0, 9, 0x81, 0, 0, 5}} {
		b := append(append(append([]byte{}, plain[:12]...), tag...), plain[12:]...)
		sent = append(sent, b)
		p.send(t, b)
	}
	var f Frame
	for deadline := time.Now().Add(20 * time.Second); len(sent) > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d tagged frames never came as they were sent", len(sent))
		}
		before := time.Now().Add(-time.Minute).UnixNano()
		if err := l.Next(&f); err == nil && string(f.Data) == string(sent[0]) {
			if f.OrigLen != len(sent[0]) || f.Link != LinkEthernet || f.Time < before || f.Time > time.Now().UnixNano() {
				t.Errorf("length %d, link %d, time %d", f.OrigLen, f.Link, f.Time)
			}
			sent = sent[1:]
		}
	}
}

func TestRetapFollowsPorts(t *testing.T) {
	o := newOffice(t)
	l := open(t, o.gw, LiveConfig{Taps: []Tap{{Name: "lan1", In: true}}})
	p1, p2 := newSender(t, o.h1, "peer"), newSender(t, o.h2, "peer")
	all := net.HardwareAddr{255, 255, 255, 255, 255, 255}

	p2.send(t, frame(all, o.mac2, "not tapped"))
	p1.send(t, frame(all, o.mac1, "tapped"))
	p1.send(t, frame(all, o.mac1, "end"))
	if have := sights(t, l); fmt.Sprint(have) != fmt.Sprint([]sight{{"tapped", o.lan1, false}}) {
		t.Errorf("seen %v", have)
	}
	var err error
	o.gw.Do(t, func() { err = l.Retap([]Tap{{Name: "lan2", In: true}, {Name: "br0", Out: true}}) })
	if err != nil {
		t.Fatal(err)
	}
	p1.send(t, frame(all, o.mac1, "no longer"))
	p2.send(t, frame(all, o.mac2, "now tapped"))
	p2.send(t, frame(all, o.mac2, "end"))
	if have := sights(t, l); fmt.Sprint(have) != fmt.Sprint([]sight{{"now tapped", o.lan2, false}}) {
		t.Errorf("after Retap seen %v", have)
	}
	o.gw.Do(t, func() { err = l.Retap([]Tap{{Name: "lan1"}}) })
	if err == nil || !strings.Contains(err.Error(), "neither direction") {
		t.Errorf("a tap without a direction: %v", err)
	}
}

// replug deletes a port and makes it anew, as a USB network adapter does that is
// pulled and plugged in; the new one has another index.
func (o *office) replug(t *testing.T, port string, h *nstest.NS, whileGone func()) {
	t.Helper()
	o.gw.Run(t, "ip link del "+port)
	whileGone()
	o.gw.Run(t, "ip link add "+port+" type veth peer name peer")
	o.gw.Do(t, func() { moveTo(t, "peer", h) })
	o.gw.Run(t, "ip link set "+port+" master br0 up")
	h.Run(t, "ip link set peer up")
	o.ready(t)
}

func TestAPortThatGoesAwayIsCountedAndCapturedAgainWhenItIsBack(t *testing.T) {
	for name, taps := range map[string][]Tap{
		"one of several": {{Name: "lan1", In: true}, {Name: "lan2", In: true}, {Name: "br0", Out: true}},
		"the only one":   {{Name: "lan1", In: true}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			l := open(t, o.gw, LiveConfig{Taps: taps})
			retap := func(absent int) {
				t.Helper()
				var err error
				o.gw.Do(t, func() { err = l.Retap(taps) })
				if err != nil || l.Stats().Absent != absent {
					t.Errorf("%v, %d absent", err, l.Stats().Absent)
				}
			}
			all := net.HardwareAddr{255, 255, 255, 255, 255, 255}
			o.replug(t, "lan1", o.h1, func() {
				retap(1)
				p2 := newSender(t, o.h2, "peer")
				p2.send(t, frame(all, o.mac2, "meanwhile"))
				var f Frame
				for err := error(nil); err != ErrIdle; { // a port that is gone is no error
					if err = l.Next(&f); err != nil && err != ErrIdle {
						t.Fatal(err)
					}
				}
			})
			before := o.lan1
			if o.lan1, _ = link(t, o.gw, "lan1"); o.lan1 == before {
				t.Fatalf("the port has its old index %d", before)
			}
			retap(0)
			p1 := newSender(t, o.h1, "peer")
			p1.send(t, frame(all, o.mac1, "back"))
			p1.send(t, frame(all, o.mac1, "end"))
			if have := sights(t, l); fmt.Sprint(have) != fmt.Sprint([]sight{{"back", o.lan1, false}}) {
				t.Errorf("seen %v, the port is %d now", have, o.lan1)
			}
		})
	}
}

func TestNothingIsSeenBeforeTheFilterStands(t *testing.T) {
	o := newOffice(t)
	p2 := newSender(t, o.h2, "peer")
	all := net.HardwareAddr{255, 255, 255, 255, 255, 255}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				p2.send(t, frame(all, o.mac2, "stray"))
			}
		}
	}()
	p1 := newSender(t, o.h1, "peer")
	for range 10 {
		l := open(t, o.gw, LiveConfig{Taps: []Tap{{Name: "lan1", In: true}}})
		p1.send(t, frame(all, o.mac1, "end"))
		if have := sights(t, l); len(have) != 0 {
			t.Errorf("frames that the filter refuses: %v", have[0])
		}
		l.Close()
	}
	close(stop)
	<-done
}

func TestDropsOfAFullRingAreCounted(t *testing.T) {
	o := newOffice(t)
	l := open(t, o.gw, LiveConfig{Taps: o.taps(), BlockSize: 1 << 14, Blocks: 2})
	p := newSender(t, o.h1, "peer")
	const n = 5000
	for range n {
		p.send(t, frame(o.br0MAC, o.mac1, "flood"))
	}
	seen := 0
	var f Frame
	for {
		err := l.Next(&f)
		if err == ErrIdle {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		seen++
	}
	s := l.Stats()
	if s.Drops == 0 || s.Freezes == 0 || uint64(seen) != s.Packets || s.Packets+s.Drops != n {
		t.Errorf("sent %d, seen %d, stats %+v", n, seen, s)
	}
	l.Close()
	if after := l.Stats(); after != s {
		t.Errorf("closing changed the counts from %+v to %+v", s, after)
	}
}

// udp is a frame of a flow of its own for each port.
func udp(dst, src net.HardwareAddr, port uint16) []byte {
	b := append(append([]byte{}, dst...), src...)
	b = append(b, 8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2)
	b = binary.BigEndian.AppendUint16(b, port)
	b = append(b, 0, 9, 0, 26, 0, 0)
	return append(b, make([]byte, 18)...)
}

func TestFanoutSeesEachFrameInOneSocket(t *testing.T) {
	o := newOffice(t)
	cfg := LiveConfig{Taps: o.taps(), Fanout: &Fanout{ID: 77, Type: FanoutHash}}
	group := []*Live{open(t, o.gw, cfg), open(t, o.gw, cfg)}
	p := newSender(t, o.h1, "peer")
	const flows, each = 100, 3
	for range each {
		for i := range flows {
			p.send(t, udp(o.br0MAC, o.mac1, uint16(1000+i)))
		}
	}
	where := map[uint16]int{} // flow to socket
	share := [2]int{}
	var f Frame
	for i, l := range group {
		for {
			if err := l.Next(&f); err == ErrIdle {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			port := binary.BigEndian.Uint16(f.Data[34:])
			if at, ok := where[port]; ok && at != i {
				t.Errorf("flow %d went to both sockets", port)
			}
			where[port] = i
			share[i]++
		}
	}
	if len(where) != flows || share[0]+share[1] != flows*each || share[0] == 0 || share[1] == 0 {
		t.Errorf("%d flows, shares %v, want %d flows and %d frames in two parts", len(where), share, flows, flows*each)
	}
}

func TestIdleCloseAndLinkDown(t *testing.T) {
	o := newOffice(t)
	l := open(t, o.gw, LiveConfig{Taps: []Tap{{Name: "lan1", In: true}}})
	var f Frame
	if err := l.Next(&f); err != ErrIdle {
		t.Errorf("a silent link gave %v", err)
	}
	o.gw.Run(t, "ip link set lan1 down")
	for range 3 {
		if err := l.Next(&f); err != ErrIdle {
			t.Errorf("a link that is down gave %v", err)
		}
	}
	o.gw.Run(t, "ip link set lan1 up")
	o.ready(t)
	p := newSender(t, o.h1, "peer")
	p.send(t, frame(o.br0MAC, o.mac1, "again"))
	p.send(t, frame(o.br0MAC, o.mac1, "end"))
	if have := sights(t, l); len(have) != 1 {
		t.Errorf("after the link came up: %v", have)
	}
	done := make(chan error)
	go func() {
		for {
			var f Frame
			if err := l.Next(&f); err != ErrIdle {
				done <- err
				return
			}
		}
	}()
	l.Close()
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := l.Retap(o.taps()); err == nil {
		t.Error("Retap after Close succeeded")
	}
}

func TestOpenLiveErrorsSayWhatToDo(t *testing.T) {
	ns := nstest.New(t)
	for want, cfg := range map[string]LiveConfig{
		"no interface given":      {},
		"there are: lo":           {Taps: []Tap{{Name: "eth9", In: true}}},
		"neither direction":       {Taps: []Tap{{Name: "lo"}}},
		"multiple of the page":    {Taps: []Tap{{Name: "lo", In: true}}, BlockSize: 1000},
		"at least 2":              {Taps: []Tap{{Name: "lo", In: true}}, Blocks: 1},
		"choose 1 ms":             {Taps: []Tap{{Name: "lo", In: true}}, PollInterval: time.Hour},
		"headers alone need more": {Taps: []Tap{{Name: "lo", In: true}}, SnapLen: 5},
		"at most 1 GiB":           {Taps: []Tap{{Name: "lo", In: true}}, Blocks: 1 << 20},
	} {
		ns.Do(t, func() {
			l, err := OpenLive(cfg)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q", cfg, err, want)
			}
			if err == nil {
				l.Close()
			}
		})
	}
}

func TestMissingPermissionSaysWhatToDo(t *testing.T) {
	ns := nstest.New(t)
	var err error
	ns.Do(t, func() { // the thread loses its capabilities, and ends with fn
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err = unix.Capset(&head, &none[0]); err == nil {
			_, err = OpenLive(LiveConfig{Taps: []Tap{{Name: "lo", In: true}}})
		}
	})
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_RAW") {
		t.Errorf("without CAP_NET_RAW: %v", err)
	}
}

func TestSnapLenCutsAndKeepsTheLength(t *testing.T) {
	o := newOffice(t)
	l := open(t, o.gw, LiveConfig{Taps: o.taps(), SnapLen: 64})
	p := newSender(t, o.h1, "peer")
	long := append(frame(o.br0MAC, o.mac1, "long"), make([]byte, 1000)...)
	p.send(t, long)
	var f Frame
	for deadline := time.Now().Add(20 * time.Second); ; {
		err := l.Next(&f)
		if err == nil {
			break
		}
		if err != ErrIdle || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if len(f.Data) != 64 || f.OrigLen != len(long) {
		t.Errorf("%d bytes of %d, want 64 of %d", len(f.Data), f.OrigLen, len(long))
	}
}
