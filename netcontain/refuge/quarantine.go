package refuge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// lookEvery is how often the quarantine's device is looked for. A moved host
// asks for an address one to several seconds after its link came back, and
// again 4 s later (RFC 2131, 4.1).
const lookEvery = 250 * time.Millisecond

// quarantine is the refuge on the device of the quarantine VLAN, which comes
// and goes.
type quarantine struct {
	cfg      Config
	q        Quarantine
	log      *slog.Logger
	ns       netns.NsHandle  // where Listen was called
	link     *netlink.Handle // in ns
	leases   *leases         // outlive the device
	httpPort uint16
	dnsPort  uint16
	closed   sync.Once
	said     string // the trouble that was logged last: only a new one is
}

func newQuarantine(cfg Config, httpPort, dnsPort uint16) (*quarantine, error) {
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("quarantine: network namespace: %w", err)
	}
	link, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("quarantine: %w", err)
	}
	return &quarantine{cfg: cfg, q: cfg.Quarantine, log: cfg.Log, ns: ns, link: link,
		leases: newLeases(cfg.Quarantine.Prefix, cfg.Now), httpPort: httpPort, dnsPort: dnsPort}, nil
}

func (z *quarantine) Close() (err error) {
	z.closed.Do(func() {
		z.link.Close()
		err = z.ns.Close()
	})
	return err
}

// device is the quarantine's device as it is now.
type device struct {
	net.Interface
	local netip.Addr // link-local IPv6; invalid until the kernel has one
}

// same says that what was opened on d still serves.
func (d device) same(now device) bool {
	return d.Index == now.Index && d.HardwareAddr.String() == now.HardwareAddr.String() && d.local == now.local
}

// errForeign refuses a device on which a DHCP server could be a rogue.
var errForeign = errors.New("it is a bridge port, or has other IPv4 addresses than the quarantine's")

// find looks the device up. It is served only when it is nobody else's: no
// port of a bridge, and with the quarantine's address and no other.
func (z *quarantine) find() (device, error) {
	link, err := z.link.LinkByName(z.q.Interface)
	if err != nil {
		return device{}, err
	}
	a := link.Attrs()
	d := device{Interface: net.Interface{Index: a.Index, MTU: a.MTU, Name: a.Name, HardwareAddr: a.HardwareAddr, Flags: a.Flags}}
	addrs, err := z.link.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return d, err
	}
	own := false
	for _, addr := range addrs {
		ip, _ := netip.AddrFromSlice(addr.IP)
		ones, _ := addr.Mask.Size()
		switch p := netip.PrefixFrom(ip.Unmap(), ones); {
		case p == z.q.Prefix:
			own = true
		case p.Addr().Is4():
			return d, errForeign
		case p.Addr().IsLinkLocalUnicast() && addr.Flags&unix.IFA_F_TENTATIVE == 0:
			d.local = p.Addr()
		}
	}
	switch {
	case a.MasterIndex != 0:
		return d, errForeign
	case !own:
		return d, errors.New("its address is not set yet")
	case a.Flags&net.FlagUp == 0:
		return d, errors.New("it is down")
	}
	return d, nil
}

// run serves whenever the device is there, until ctx ends.
func (z *quarantine) run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		d, err := z.find()
		if err == nil {
			if err = z.serve(ctx, d); err == nil && ctx.Err() == nil {
				continue // it changed: at once, hosts are there
			}
			z.trouble(err)
		} else if !errors.As(err, new(netlink.LinkNotFoundError)) {
			z.trouble(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// trouble logs what keeps the quarantine from being served, once each.
func (z *quarantine) trouble(err error) {
	if err == nil || over(err) {
		z.said = ""
		return
	}
	if text := err.Error(); text != z.said {
		z.said = text
		z.log.Warn("quarantine network is not served", "device", z.q.Interface, "err", err)
	}
}

// serve serves one device until it changes.
func (z *quarantine) serve(ctx context.Context, d device) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var run []func(context.Context) error
	var closers []func() error
	shut := func() {
		for _, c := range closers {
			c()
		}
	}
	err := z.inside(func() (err error) {
		run, closers, err = z.open(ctx, d)
		return err
	})
	if err != nil {
		shut()
		return err
	}
	z.log.Info("quarantine network is served", "device", d.Name, "address", z.q.Prefix)
	z.said = ""
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range run {
		g.Go(func() error { return f(ctx) })
	}
	g.Go(func() error {
		<-ctx.Done()
		shut()
		return nil
	})
	g.Go(func() error { // until the device is another one
		defer cancel()
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			if now, err := z.find(); err != nil || !d.same(now) {
				return nil
			}
		}
	})
	return g.Wait()
}

// open opens everything on the device. What it returns with an error has to be
// closed all the same.
func (z *quarantine) open(ctx context.Context, d device) (run []func(context.Context) error, closers []func() error, err error) {
	add := func(f *front) {
		f.addr4 = z.q.Prefix.Addr()
		if z.q.Prefix6.IsValid() {
			f.addr6 = z.q.Prefix6.Addr()
		}
		run, closers = append(run, f.serve), append(closers, f.Close)
	}
	if z.q.Prefix6.IsValid() {
		if err := z.address6(d); err != nil {
			return run, closers, err
		}
	}
	f, err := listenFront(ctx, z.cfg, d.Name, z.httpPort, z.dnsPort)
	if err != nil {
		return run, closers, err
	}
	add(f)
	// The well-known ports too, where nobody else has them: then the page does
	// not depend on the redirect.
	if f, err := listenFront(ctx, z.cfg, d.Name, 80, 53); err == nil {
		add(f)
	} else {
		z.log.Debug("ports 53 and 80 are another's; the redirect serves", "device", d.Name, "err", err)
	}
	c, err := listenDHCP(d.Interface)
	if err != nil {
		return run, closers, err
	}
	closers = append(closers, c.Close)
	run = append(run, func(context.Context) error { return serveDHCP(c, z.leases, z.log) })
	if !d.local.IsValid() {
		return run, closers, nil // found again as soon as it has one
	}
	r, err := listenRouter(ctx, d.Interface, advertisement(d.HardwareAddr, z.q.Prefix6, d.local), z.log)
	if err != nil {
		return run, closers, err
	}
	closers = append(closers, r.conn.Close)
	run = append(run, r.announce, func(context.Context) error { return r.solicited() })
	return run, closers, nil
}

// address6 sets the gateway's address. Nobody else can have it: duplicate
// detection would only delay the first answer.
func (z *quarantine) address6(d device) error {
	p := z.q.Prefix6
	err := z.link.AddrReplace(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: d.Index, Name: d.Name}}, &netlink.Addr{
		IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 128)}, Flags: unix.IFA_F_NODAD,
	})
	if err != nil {
		return fmt.Errorf("set %s on %s: %w", p, d.Name, err)
	}
	return nil
}

// inside runs fn in the namespace in which Listen was called: sockets belong
// to that of the thread which opens them.
func (z *quarantine) inside(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		here, err := netns.Get()
		if err != nil {
			done <- err
			return // the thread ends with the goroutine
		}
		defer here.Close()
		if here.Equal(z.ns) {
			defer runtime.UnlockOSThread()
		} else if err := netns.Set(z.ns); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}
