package refuge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
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
	has6         bool       // the quarantine's IPv6 address is set
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

// part is one thing that is served on a device.
type part struct {
	name string
	// key is what of the device it depends on, comparable. A socket is bound to a
	// device's index, and silent for good when a device of that name was made anew
	// (socket(7), SO_BINDTODEVICE); of its addresses most parts depend on none.
	key  any
	open func(context.Context) (opened, error)
	// maybe: that it cannot be opened is no trouble, and is tried once for each key.
	maybe bool
}

// opened is what runs, and gives its sockets back: what it has begun it may
// finish. No method is called twice but Close.
type opened interface {
	// serve ends with ctx, or when it is closed.
	serve(ctx context.Context) error
	Close() error
}

// running is a part that was opened, or one that may be missing and is.
type running struct {
	key   any
	open  opened // nil: missing
	stop  context.CancelFunc
	ended chan error // of serve; holds one
}

// seat serves on the device of one name whenever it is there. What is open stays
// open while what it depends on is the same: a browser that waits for a page must
// not be cut off because the device got one more address.
type seat struct {
	name string // of what is served, for the log
	on   string // the device
	here *here
	log  *slog.Logger
	find func() (device, error)
	// prepare sets what is missing on the device before it is served; nil: nothing.
	prepare func(device) error
	parts   func(device) []part
	absent  bool // the device comes and goes: that it is not there is no trouble

	now   atomic.Pointer[device] // as it was last found
	open  map[string]running     // by name; of run alone
	said  string                 // the trouble that was logged last: only a new one is
	ended sync.WaitGroup         // of all that serves
}

// called are the names that DNS and page have for the gateway here.
func (s *seat) called() (addr4, addr6 netip.Addr) {
	if d := s.now.Load(); d != nil {
		return d.addr4, d.addr6
	}
	return netip.Addr{}, netip.Addr{}
}

// run serves until ctx ends.
func (s *seat) run(ctx context.Context) {
	defer s.ended.Wait()
	defer s.leave(nil)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		s.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look makes what is open agree with the device as it is now. On one that is not
// ready, or that the kernel was too busy to tell of, it stays as it is.
func (s *seat) look(ctx context.Context) {
	d, err := s.find()
	gone := errors.As(err, new(netlink.LinkNotFoundError))
	switch {
	case err == nil:
		err = s.serve(ctx, d)
	case gone || errors.Is(err, errForeign):
		s.leave(nil)
	}
	if gone && s.absent {
		err = nil
	}
	if ctx.Err() == nil {
		s.trouble(err)
	}
}

// serve opens what is missing, then closes what is not wanted any more.
func (s *seat) serve(ctx context.Context, d device) error {
	if old := s.now.Swap(&d); old == nil || len(s.open) == 0 || old.Index != d.Index || old.addr4 != d.addr4 {
		s.log.Info("isolated hosts are served", "network", s.name, "device", s.on, "address", d.addr4)
	}
	var errs []error
	if s.prepare != nil {
		errs = append(errs, s.prepare(d))
	}
	parts := s.parts(d)
	for _, p := range parts {
		errs = append(errs, s.keep(ctx, p))
	}
	s.leave(parts)
	return errors.Join(errs...)
}

// keep has the part open for its present key. The new one is there before the old
// one goes.
func (s *seat) keep(ctx context.Context, p part) error {
	old, there := s.open[p.name]
	if there && old.key == p.key {
		select {
		case err := <-old.ended:
			delete(s.open, p.name) // opened again with the next look
			if over(err) {
				err = nil
			}
			return err
		default:
			return nil
		}
	}
	var o opened
	err := s.here.inside(func() (err error) {
		o, err = p.open(ctx)
		return err
	})
	switch {
	case err == nil:
		s.start(ctx, p.name, p.key, o)
	case p.maybe:
		s.log.Debug("not served", "part", p.name, "device", s.on, "err", err)
		s.open[p.name] = running{key: p.key, stop: func() {}}
	default:
		return err
	}
	if there {
		old.close()
	}
	return nil
}

// start serves what was opened.
func (s *seat) start(ctx context.Context, name string, key any, o opened) {
	ctx, stop := context.WithCancel(ctx)
	r := running{key: key, open: o, stop: stop, ended: make(chan error, 1)}
	s.open[name] = r
	s.ended.Go(func() {
		defer stop()
		r.ended <- o.serve(ctx)
	})
}

// close gives the sockets back; what has been begun is finished in the background.
func (r running) close() {
	r.stop()
	if r.open != nil {
		r.open.Close()
	}
}

// leave closes all but some parts.
func (s *seat) leave(but []part) {
	for name, r := range s.open {
		if !slices.ContainsFunc(but, func(p part) bool { return p.name == name }) {
			r.close()
			delete(s.open, name)
		}
	}
}

// trouble logs what keeps a device from being served, once each.
func (s *seat) trouble(err error) {
	if err == nil {
		s.said = ""
		return
	}
	if text := err.Error(); text != s.said {
		s.said = text
		s.log.Warn("isolated hosts are not served", "network", s.name, "device", s.on, "err", err)
	}
}
