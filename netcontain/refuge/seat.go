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

// lookEvery is how often a device is looked for. A moved host asks for an
// address one to several seconds after its link came back, and again 4 s later
// (RFC 2131, 4.1); whoever waits for a page gives up later than that.
const lookEvery = 250 * time.Millisecond

// here is the network namespace in which Listen was called.
type here struct {
	ns     netns.NsHandle
	link   *netlink.Handle // in ns
	closed sync.Once
}

func newHere() (*here, error) {
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	link, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, err
	}
	return &here{ns: ns, link: link}, nil
}

func (h *here) Close() (err error) {
	h.closed.Do(func() {
		h.link.Close()
		err = h.ns.Close()
	})
	return err
}

// inside runs fn in the namespace: sockets belong to that of the thread which
// opens them.
func (h *here) inside(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		now, err := netns.Get()
		if err != nil {
			done <- err
			return // the thread ends with the goroutine
		}
		defer now.Close()
		if now.Equal(h.ns) {
			defer runtime.UnlockOSThread()
		} else if err := netns.Set(h.ns); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

// device is a device as it is now.
type device struct {
	net.Interface
	local        netip.Addr // link-local IPv6 to advertise from; invalid until the kernel has one
	addr4, addr6 netip.Addr // what the DNS calls the gateway here
}

// same says that what was opened on d still serves. A socket that was bound to a
// device stays bound to its index, and is silent for good when a device of that
// name was made anew (socket(7), SO_BINDTODEVICE).
func (d device) same(now device) bool {
	return d.Index == now.Index && d.HardwareAddr.String() == now.HardwareAddr.String() &&
		d.local == now.local && d.addr4 == now.addr4 && d.addr6 == now.addr6
}

// look returns a device and its addresses.
func (h *here) look(name string) (*netlink.LinkAttrs, []netlink.Addr, error) {
	link, err := h.link.LinkByName(name)
	if err != nil {
		return nil, nil, err
	}
	addrs, err := h.link.AddrList(link, netlink.FAMILY_ALL)
	return link.Attrs(), addrs, err
}

// service is what was opened on a device.
type service struct {
	device  device
	run     []func(context.Context) error
	closers []func() error
}

func (s *service) Close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// serveUntil serves until ctx ends, and closes everything.
func (s *service) serveUntil(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range s.run {
		g.Go(func() error { return f(ctx) })
	}
	g.Go(func() error {
		<-ctx.Done()
		s.Close() // a second time, perhaps: whoever runs has closed its own
		return nil
	})
	return g.Wait()
}

// seat serves on the device of one name whenever it is there, and anew when it
// is another one.
type seat struct {
	name string // of what is served, for the log
	on   string // the device
	here *here
	log  *slog.Logger
	find func() (device, error)
	// open opens everything on a device. What it returns with an error has to be
	// closed all the same.
	open   func(context.Context, device) (*service, error)
	absent bool   // the device comes and goes: that it is not there is no trouble
	said   string // the trouble that was logged last: only a new one is
}

// run serves until ctx ends, first what is open already, if anything is.
func (s *seat) run(ctx context.Context, ready *service) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		d, err := s.find()
		if err == nil {
			if err = s.serve(ctx, d, ready); err == nil && ctx.Err() == nil {
				ready = nil
				continue // it changed: at once, hosts are there
			}
			ready = nil
			s.trouble(err)
		} else if !s.absent || !errors.As(err, new(netlink.LinkNotFoundError)) {
			s.trouble(err)
		}
		select {
		case <-ctx.Done():
			if ready != nil {
				ready.Close()
			}
			return
		case <-tick.C:
		}
	}
}

// trouble logs what keeps a device from being served, once each.
func (s *seat) trouble(err error) {
	if err == nil || over(err) {
		s.said = ""
		return
	}
	if text := err.Error(); text != s.said {
		s.said = text
		s.log.Warn("isolated hosts are not served", "network", s.name, "device", s.on, "err", err)
	}
}

// serve serves one device until it changes: with what is ready, if that was
// opened on it.
func (s *seat) serve(ctx context.Context, d device, ready *service) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if ready != nil && !ready.device.same(d) {
		ready.Close()
		ready = nil
	}
	if ready == nil {
		err := s.here.inside(func() (err error) {
			ready, err = s.open(ctx, d)
			return err
		})
		if err != nil {
			if ready != nil {
				ready.Close()
			}
			return err
		}
	}
	s.log.Info("isolated hosts are served", "network", s.name, "device", s.on, "address", d.addr4)
	s.said = ""
	var watched sync.WaitGroup
	watched.Go(func() {
		defer cancel()
		s.unchanged(ctx, d)
	})
	err := ready.serveUntil(ctx)
	cancel()
	watched.Wait()
	if over(err) {
		return nil
	}
	return err
}

// unchanged returns when the device is another one, or ctx has ended.
func (s *seat) unchanged(ctx context.Context, d device) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now, err := s.find(); err != nil || !d.same(now) {
			return
		}
	}
}
