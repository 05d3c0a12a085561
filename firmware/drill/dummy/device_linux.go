package dummy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sekisho/firmware/decoy"
)

// Device is the device of one drill. Its methods may be called from any goroutine.
type Device struct {
	cfg       Config
	mac, sink [6]byte
	addr      netip.Addr
	near      int // index of its interface, in its namespace
	space     netns.NsHandle

	plugging sync.Mutex // held while it is being plugged in, or out
	ports    []int      // indexes of the bridge's ends, guarded by plugging

	mu     sync.Mutex
	closed bool
}

// New draws the addresses of a device. Nothing is made yet, and nothing sent.
func New(c Config) (*Device, error) {
	c, err := c.filled()
	if err != nil {
		return nil, fmt.Errorf("the drill's device: %w", err)
	}
	d := &Device{cfg: c, space: netns.None()}
	if d.mac, d.sink, err = draw(); err != nil {
		return nil, fmt.Errorf("the drill's device: %w", err)
	}
	return d, nil
}

// Plug plugs the device into the bridge, once, silent but for the question who has
// its address. It returns when the address is its own, after some five seconds. On
// an error nothing is left behind.
func (d *Device) Plug(ctx context.Context) error {
	d.plugging.Lock()
	defer d.plugging.Unlock()
	err := Sweep() // of a drill that ended badly
	if err == nil {
		err = d.make()
	}
	if err == nil {
		err = d.plug(ctx)
	}
	if err == nil {
		err = d.settle(ctx)
	}
	if err != nil {
		return fmt.Errorf("make the drill's device: %w", errors.Join(err, d.unplug()))
	}
	return nil
}

// make makes the namespace, unless the device was closed meanwhile.
func (d *Device) make() (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return net.ErrClosed
	}
	if d.space, err = newSpace(); err != nil {
		return fmt.Errorf("make a network namespace: %w (it needs CAP_SYS_ADMIN)", err)
	}
	return nil
}

// draw makes the addresses of one drill: they differ in the last bit.
func draw() (device, sink [6]byte, err error) {
	copy(device[:], prefix[:])
	if _, err := rand.Read(device[3:]); err != nil {
		return device, sink, err
	}
	device[5] &^= 1
	sink = device
	sink[5] |= 1
	return device, sink, nil
}

// MAC is the device's Ethernet address.
func (d *Device) MAC() [6]byte { return d.mac }

// Addr is the device's IPv4 address, once it is plugged in.
func (d *Device) Addr() netip.Addr { return d.addr }

// newSpace makes a namespace that goes when the process does, or its handle.
func newSpace() (space netns.NsHandle, err error) {
	onThread(func() { space, err = netns.New() })
	return space, err
}

// inside runs fn with its thread in the device's namespace. Sockets opened in fn
// belong to it for good; goroutines started in it do not.
func (d *Device) inside(fn func() error) (err error) {
	onThread(func() {
		d.mu.Lock()
		err = net.ErrClosed
		if !d.closed {
			err = netns.Set(d.space)
		}
		d.mu.Unlock()
		if err == nil {
			err = fn()
		}
	})
	return err
}

// onThread runs fn on a thread that ends with it. The runtime never ends the first
// thread of the process, which would stay where fn led it, and with it the namespace
// and what /proc/net shows: fn gets another one while that is held.
func onThread(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked but here: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			onThread(fn)
			return
		}
		fn()
	}()
	<-done
}

// settle finds the device an address, and gives it what it needs to call others.
func (d *Device) settle(ctx context.Context) error {
	for _, a := range candidates(d.cfg.LAN, d.mac, d.cfg.Refuse) {
		var used map[netip.Addr]bool
		err := d.inside(func() (err error) {
			used, err = decoy.Probe(ctx, d.near, d.mac, []netip.Addr{a}, d.cfg.ProbeInterval, d.cfg.ProbeWait)
			return err
		})
		if err != nil {
			return err
		}
		if used[a] {
			d.cfg.Log.Info("an address for the drill is in use", "addr", a)
			continue
		}
		d.addr = a
		return d.inside(d.configure)
	}
	return fmt.Errorf("no unused address was found in %s", d.cfg.LAN)
}

// configure runs inside. The neighbours are set for good: the device never has to
// ask who has an address, and nobody hears a question.
func (d *Device) configure() error {
	link, err := netlink.LinkByIndex(d.near)
	if err != nil {
		return err
	}
	own := &net.IPNet{IP: d.addr.AsSlice(), Mask: net.CIDRMask(d.cfg.LAN.Bits(), 32)}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: own}); err != nil {
		return fmt.Errorf("give it %s: %w", own, err)
	}
	calls := &net.IPNet{IP: testNet.Addr().AsSlice(), Mask: net.CIDRMask(testNet.Bits(), 32)}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: d.near, Dst: calls, Scope: netlink.SCOPE_LINK}); err != nil {
		return fmt.Errorf("route %s: %w", calls, err)
	}
	for n := range targets {
		err := netlink.NeighSet(&netlink.Neigh{
			LinkIndex: d.near, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: target(n).AsSlice(), HardwareAddr: d.sink[:],
		})
		if err != nil {
			return fmt.Errorf("name the owner of %s: %w", target(n), err)
		}
	}
	return d.announce()
}

// announce runs inside. It tells the gateway, too, who has the address.
func (d *Device) announce() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, announcement(d.mac, d.addr), 0, &unix.SockaddrLinklayer{Ifindex: d.near})
}

// Run behaves like a worm until ctx ends, and calls began once, with the time of
// the first call. That calls fail is their point; they end with nil.
func (d *Device) Run(ctx context.Context, began func(time.Time)) error {
	tick := time.NewTicker(d.cfg.Pace)
	defer tick.Stop()
	for n := 0; ; n++ {
		at := d.cfg.Now()
		err := d.inside(func() error { return d.call(ctx, target(n)) })
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("the drill's device: %w", err)
		case n == 0:
			began(at)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// call runs inside: one TCP connection that nobody answers, given up before the
// kernel repeats its first segment after a second.
func (d *Device) call(ctx context.Context, to netip.Addr) error {
	conn, err := (&net.Dialer{Timeout: d.cfg.Pace}).DialContext(ctx, "tcp4", net.JoinHostPort(to.String(), strconv.Itoa(service)))
	if err == nil {
		return errors.Join(fmt.Errorf("%s answered", to), conn.Close())
	}
	var late net.Error
	if errors.As(err, &late) && late.Timeout() || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.EHOSTUNREACH) {
		return nil // also while its port is moved or held down
	}
	return err
}

// Close unplugs the device, and nothing that was made since. It may be called again;
// end the context of Plug first, it waits for that.
func (d *Device) Close() error {
	d.plugging.Lock()
	defer d.plugging.Unlock()
	return d.unplug()
}

func (d *Device) unplug() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	var errs []error
	for _, index := range d.ports {
		link, err := netlink.LinkByIndex(index)
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if !gone(err) {
			errs = append(errs, fmt.Errorf("remove port %d: %w", index, err))
		}
	}
	if d.space.IsOpen() {
		errs = append(errs, d.space.Close())
	}
	return errors.Join(errs...)
}
