package nft

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
	"sekisho/netcontain/nstest"
)

// guarded is an office with a reconciler that listens for changes, and nothing
// but changes: its ticker is too slow to be of help.
type guarded struct {
	*office
	checks atomic.Int64
	drifts atomic.Int64
}

func guard(t *testing.T, p netcontain.Policy) *guarded {
	t.Helper()
	g := &guarded{office: newOffice(t)}
	var changes *Changes
	var err error
	g.gw.Do(t, func() { changes, err = NewChanges() })
	if err != nil {
		t.Fatal(err)
	}
	r, err := netcontain.NewReconciler(netcontain.Config{
		Enforcer: counted{g.enforcer, &g.checks}, Log: slog.New(slog.DiscardHandler), Every: time.Hour, Changes: changes.C(),
		OnDrift: func(netcontain.Drift, error) { g.drifts.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := changes.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() { r.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	if err := r.Set(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return g
}

// counted counts the looks of a reconciler.
type counted struct {
	netcontain.Enforcer
	looks *atomic.Int64
}

func (c counted) Observed(ctx context.Context) (netcontain.Policy, error) {
	defer c.looks.Add(1)
	return c.Enforcer.Observed(ctx)
}

// until waits for a condition.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// leaks takes the kernel's time of every frame of the flood that arrives at
// some hosts.
type leaks struct {
	mu    sync.Mutex
	times []time.Time
}

const floodKind = 0x88b5 // an ethertype for experiments (IEEE 802)

func listenForLeaks(t *testing.T, on ...*nstest.NS) *leaks {
	t.Helper()
	l := &leaks{}
	for _, ns := range on {
		fd := -1
		ns.Do(t, func() {
			var err error
			kind := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, floodKind))
			if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(kind)); err != nil {
				t.Errorf("packet socket: %v", err)
			}
		})
		wait := unix.NsecToTimeval((50 * time.Millisecond).Nanoseconds())
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) != nil || unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait) != nil {
			t.Fatal("socket options")
		}
		var ended atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.read(fd, &ended)
		}()
		t.Cleanup(func() {
			ended.Store(true)
			<-done
			unix.Close(fd)
		})
	}
	return l
}

func (l *leaks) read(fd int, ended *atomic.Bool) {
	b, control := make([]byte, 2048), make([]byte, 128)
	for !ended.Load() {
		_, n, _, _, err := unix.Recvmsg(fd, b, control, 0)
		if err != nil {
			continue // nothing for 50 ms
		}
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil || len(messages) == 0 || len(messages[0].Data) < int(unsafe.Sizeof(unix.Timespec{})) {
			continue
		}
		stamp := (*unix.Timespec)(unsafe.Pointer(&messages[0].Data[0]))
		l.mu.Lock()
		l.times = append(l.times, time.Unix(stamp.Unix()))
		l.mu.Unlock()
	}
}

// after returns how many frames arrived since, and the time of the last one.
func (l *leaks) after(since time.Time) (n int, first, last time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.times {
		if at.After(since) {
			if n++; n == 1 {
				first = at
			}
			last = at
		}
	}
	return n, first, last
}

// floodPaced sends a frame every 50 µs or so from eth0 of a host, to a device
// that may go and come back under the same name.
func floodPaced(t *testing.T, ns *nstest.NS, frame []byte) (sent func() uint64) {
	t.Helper()
	fd := -1
	ns.Do(t, func() {
		var err error
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			t.Errorf("flood: %v", err)
		}
	})
	var n atomic.Uint64
	var ended atomic.Bool
	done := make(chan struct{})
	go ns.Do(t, func() {
		defer close(done)
		for !ended.Load() {
			dev, err := net.InterfaceByName("eth0")
			for i := 0; err == nil && i < 1000 && !ended.Load(); i++ {
				if err = unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: dev.Index}); err == nil {
					n.Add(1)
				}
				time.Sleep(50 * time.Microsecond)
			}
		}
	})
	t.Cleanup(func() {
		ended.Store(true)
		<-done
		unix.Close(fd)
	})
	return n.Load
}

// TestAFloodingHostIsHeldAgainWithinASecond lets an isolated host flood while
// somebody else changes the kernel, counts its frames on the wires of the
// others, and takes the kernel's own time of the last one.
func TestAFloodingHostIsHeldAgainWithinASecond(t *testing.T) {
	for _, event := range []struct {
		name    string
		open    bool // the change itself lets frames through until it is repaired
		happens func(t *testing.T, g *guarded)
	}{
		{"nft flush ruleset", true, func(t *testing.T, g *guarded) { g.gw.Run(t, "nft flush ruleset") }},
		{"our bridge table deleted", true, func(t *testing.T, g *guarded) { g.gw.Run(t, "nft delete table bridge sekisho") }},
		{"an accept put before our rules", true, func(t *testing.T, g *guarded) {
			g.gw.Run(t, "nft insert rule bridge sekisho prerouting accept ; insert rule bridge sekisho forward accept")
		}},
		{"the bridge deleted and rebuilt", false, func(t *testing.T, g *guarded) {
			g.gw.Run(t, "ip link del br0")
			g.gw.Run(t, "ip link add br0 address 02:00:00:00:00:fe type bridge mcast_snooping 0 forward_delay 0")
			for i := 1; i <= 4; i++ {
				g.gw.Run(t, fmt.Sprintf("ip link set p%d master br0 up", i))
			}
			g.gw.Run(t, "ip link set br0 up")
			g.gw.Run(t, "ip addr add 192.0.2.1/24 dev br0")
		}},
		{"the bridge rebuilt by systemd-networkd", false, func(t *testing.T, g *guarded) {
			g.gw.Run(t, "ip link del br0")
			networkd(t, g.gw)
		}},
		{"the port unplugged and back", false, func(t *testing.T, g *guarded) {
			g.gw.Run(t, "ip link del p1")
			g.pair(t, g.hosts[1], "p1", mac(1).String())
			g.gw.Run(t, "ip link set p1 master br0 up")
		}},
	} {
		t.Run(event.name, func(t *testing.T) {
			p := policyOf(held(1, netcontain.Isolate))
			g := guard(t, p)
			l := listenForLeaks(t, g.hosts[2], g.hosts[3], g.hosts[4], g.inet)
			sent := floodPaced(t, g.hosts[1], frame(broadcast, mac(1), floodKind>>8, floodKind&0xff))
			until(t, "flood", func() bool { return sent() > 200 })
			if n, _, _ := l.after(time.Time{}); n != 0 {
				t.Fatalf("%d frames leaked before anything happened", n)
			}
			before := time.Now()
			event.happens(t, g)
			done := time.Now()
			until(t, "held again", func() bool {
				got, err := g.enforcer.Observed(t.Context())
				return err == nil && netcontain.Diff(p, got).Empty()
			})
			mark := sent()
			until(t, "flood goes on", func() bool { return sent() > mark+200 })
			n, first, last := l.after(before)
			switch {
			case event.open && n == 0:
				t.Error("nothing leaked: the test does not see what it is about")
			case !event.open && n > 0:
				t.Errorf("%d frames leaked, although the sets stood all the time", n)
			case last.Sub(before) >= time.Second:
				t.Errorf("the last of %d frames leaked %v after the change", n, last.Sub(before))
			}
			t.Logf("%d frames leaked within %v; the change took %v; %d looks", n, last.Sub(first), done.Sub(before), g.checks.Load())
			// The wires carry: a host that is let go is heard.
			if err := g.enforcer.Apply(t.Context(), netcontain.Policy{}); err != nil {
				t.Fatal(err)
			}
			released := time.Now()
			g.gw.Run(t, "nft delete table bridge sekisho") // it will be repaired, too
			until(t, "the flood of a released host", func() bool { n, _, _ := l.after(released); return n > 0 })
		})
	}
}

// networkd runs the real one inside a namespace of network and mounts until the
// test ends, with settings as in the image, and waits for its bridge.
func networkd(t *testing.T, ns *nstest.NS) {
	t.Helper()
	settings := t.TempDir()
	for name, text := range map[string]string{
		"br0.netdev":    "[NetDev]\nName=br0\nKind=bridge\nMACAddress=02:00:00:00:00:fe\n[Bridge]\nSTP=no\nForwardDelaySec=0\n",
		"br0.network":   "[Match]\nName=br0\n[Network]\nAddress=192.0.2.1/24\nConfigureWithoutCarrier=yes\nLinkLocalAddressing=no\n",
		"ports.network": "[Match]\nName=p*\n[Network]\nBridge=br0\n",
	} {
		if err := os.WriteFile(filepath.Join(settings, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Without a writable /sys it does not wait for udev.
	script := `mount --make-rprivate / && mount -t sysfs -o ro sysfs /sys && mount -t tmpfs tmpfs /run &&
mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp && cp "$0"/* /run/systemd/network/ &&
exec /usr/lib/systemd/systemd-networkd`
	cmd := exec.Command("bash", "-c", script, settings)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	ns.Do(t, func() {
		if err := cmd.Start(); err != nil {
			t.Errorf("networkd: %v", err)
		}
	})
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("networkd:\n%s", &said)
		}
	})
	until(t, "networkd's bridge", func() bool {
		var links, addrs []byte
		ns.Do(t, func() {
			links, _ = exec.Command("bridge", "link", "show").Output()
			addrs, _ = exec.Command("ip", "addr", "show", "br0").Output()
		})
		return strings.Count(string(links), "master br0 state forwarding") == 4 && strings.Contains(string(addrs), "192.0.2.1/24")
	})
}

func TestOurOwnChangesMakeNoLoopOfLooks(t *testing.T) {
	g := guard(t, policyOf(held(1, netcontain.Isolate)))
	settled := func() int64 { // a look follows our own change; then no more
		for {
			n := g.checks.Load()
			time.Sleep(25 * changesPace)
			if g.checks.Load() == n {
				return n
			}
		}
	}
	before := settled()
	for i := range 10 {
		if err := g.enforcer.Apply(t.Context(), policyOf(held(1+i%2, netcontain.Isolate))); err != nil {
			t.Fatal(err)
		}
	}
	if n := settled() - before; n > 40 {
		t.Errorf("%d looks after ten changes", n)
	}
	before = settled()
	for i := range 20 { // as dnsmasq does all day
		g.gw.Run(t, fmt.Sprintf("nft add element inet sekisho allow_name_ip4 { 203.0.113.%d }", i))
	}
	g.gw.Run(t, "nft add table ip another")
	g.gw.Run(t, "nft add chain ip another forward")
	if n := settled() - before; n != 0 {
		t.Errorf("%d looks for what is not about us", n)
	}
}

func TestManyChangesAreFewTokensAndLostEventsAreOne(t *testing.T) {
	o := newOffice(t)
	var c *Changes
	var err error
	o.gw.Do(t, func() { c, err = NewChanges() })
	if err != nil {
		t.Fatal(err)
	}
	// Nobody reads yet: more than the socket's buffer holds.
	for i := range 30 {
		o.apply(t, many(250, 50+i%2))
		o.enforcer.giveUp()
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	<-c.C() // the kernel says ENOBUFS, or the first of what it kept
	tokens := 1
	for quiet := false; !quiet; {
		select {
		case <-c.C():
			tokens++
		case <-time.After(20 * changesPace):
			quiet = true
		}
	}
	o.gw.Run(t, "ip addr add 192.0.2.88/32 dev br0")
	<-c.C()
	o.apply(t, many(250, 51))
	<-c.C() // still listening after the loss
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	t.Logf("%d tokens for 30 changes of 250 hosts", tokens)
}

func TestRunSaysWhenItCanHearNoMore(t *testing.T) {
	c, err := NewChanges()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Run(t.Context()) }()
	c.rules.Close()
	if err := <-done; err == nil {
		t.Error("no error")
	}
}

// FuzzOfOurTables: whatever a notification holds, reading it ends.
func FuzzOfOurTables(f *testing.F) {
	name := append([]byte{12, 0, 1, 0}, "sekisho\x00"...)
	f.Add(uint16(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_DELTABLE), append([]byte{1, 0, 0, 0}, name...))
	f.Add(uint16(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWSETELEM), slices.Concat([]byte{1, 0, 0, 0}, name, []byte{20, 0, 2, 0}, []byte("allow_name_ip4\x00\x00")))
	f.Add(uint16(0), []byte{1, 0, 0, 0, 3, 0})
	f.Fuzz(func(t *testing.T, kind uint16, b []byte) {
		if ofOurTables(netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(kind)}, Data: b}) && !bytes.Contains(b, []byte(Table)) {
			t.Error("ours, without our name")
		}
	})
}
