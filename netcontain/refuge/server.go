package refuge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Bounds on what isolated hosts can make the gateway do at once.
const (
	maxConns   = 64
	maxTCPDNS  = 16
	ioTimeout  = 5 * time.Second
	drainFor   = time.Second // for those who are being answered when the sockets go
	maxRequest = 8 << 10     // bytes of HTTP header
)

// Server is the refuge, listening.
type Server struct {
	cfg    Config
	here   *here
	office *seat
	away   *seat // nil: there is no quarantine

	httpPort, dnsPort uint16
	on                int // index of the device on which ready was opened

	mu    sync.Mutex
	ready *front             // nil: Run has it, or it is closed
	stop  context.CancelFunc // nil: Run does not run
	ended chan struct{}      // closed when Run has ended
}

// Listen opens the sockets in the network namespace of the caller. IPv4 and
// IPv6 are both served. The quarantine's device need not be there yet.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("refuge: %w", err)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h, err := newHere()
	if err != nil {
		return nil, fmt.Errorf("refuge: %w", err)
	}
	s := &Server{cfg: cfg, here: h, httpPort: cfg.HTTPPort, dnsPort: cfg.DNSPort}
	if err := s.listen(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("refuge: %w", err), h.Close())
	}
	if cfg.Quarantine != (Quarantine{}) {
		s.away = newQuarantine(cfg, h, s.httpPort, s.dnsPort).seat()
	}
	return s, nil
}

// listen opens the office's part, which from then on has the ports that it got.
func (s *Server) listen(ctx context.Context) error {
	d, err := s.find()
	if err != nil {
		return fmt.Errorf("device %s: %w", s.cfg.Interface, err)
	}
	s.office = &seat{name: "office", on: s.cfg.Interface, here: s.here, log: s.cfg.Log, find: s.find, open: map[string]running{}}
	s.office.now.Store(&d)
	s.office.parts = func(d device) []part {
		return []part{{name: pageAndDNS, key: d.Index, open: func(ctx context.Context) (opened, error) {
			return opens(listenFront(ctx, s.cfg, d, s.office.called, s.httpPort, s.dnsPort))
		}}}
	}
	s.ready, err = listenFront(ctx, s.cfg, d, s.office.called, s.httpPort, s.dnsPort)
	if err != nil {
		return err
	}
	s.on, s.httpPort, s.dnsPort = d.Index, s.ready.httpPort, s.ready.dnsPort
	return nil
}

// opens keeps a nil pointer from becoming an opened that is not nil.
func opens[T opened](o T, err error) (opened, error) {
	if err != nil {
		return nil, err
	}
	return o, nil
}

// find looks the office's device up. Its MAC is left out: it may change with
// every port, and nothing that is open here depends on it.
func (s *Server) find() (device, error) {
	d := device{addr4: s.cfg.Addr4, addr6: s.cfg.Addr6}
	if s.cfg.Interface == "" {
		return d, nil
	}
	a, addrs, err := s.here.look(s.cfg.Interface)
	if err != nil {
		return device{}, err
	}
	d.Interface = net.Interface{Index: a.Index, Name: a.Name}
	d.addr4 = called(addrs, a.Name, d.addr4, netip.Addr.Is4)
	d.addr6 = called(addrs, a.Name, d.addr6, func(a netip.Addr) bool { return a.Is6() && !a.IsLinkLocalUnicast() })
	return d, nil
}

// called is what the gateway is called on a device: as the settings have it
// while the device has that address, or none of the family (it was just made
// anew), else by the first that it has. Labelled addresses are decoys.
func called(addrs []netlink.Addr, name string, known netip.Addr, fits func(netip.Addr) bool) netip.Addr {
	first := known
	for _, a := range addrs {
		ip, _ := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); ip == known {
			return known
		}
		if first == known && fits(ip) && (a.Label == "" || a.Label == name) {
			first = ip
		}
	}
	return first
}

// Ports returns where it listens, for nft.Refuge.
func (s *Server) Ports() (dns, http uint16) { return s.dnsPort, s.httpPort }

// Close gives the sockets back. While Run runs it ends that, and waits for it.
func (s *Server) Close() error {
	s.mu.Lock()
	stop, ended, ready := s.stop, s.ended, s.ready
	s.ready = nil
	s.mu.Unlock()
	if stop != nil {
		stop()
		<-ended
	}
	var err error
	if ready != nil {
		err = ready.Close()
	}
	return errors.Join(err, s.here.Close())
}

// Run serves until ctx ends, and closes the sockets; once only. What fails is
// logged and tried again: a device that somebody made anew, for one.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	s.mu.Lock()
	ready := s.ready
	if ready == nil {
		s.mu.Unlock()
		return nil // closed
	}
	s.ready, s.stop, s.ended = nil, cancel, ended
	s.mu.Unlock()
	defer close(ended)
	var both sync.WaitGroup
	s.office.start(ctx, pageAndDNS, s.on, ready)
	both.Go(func() { s.office.run(ctx) })
	if s.away != nil {
		both.Go(func() { s.away.run(ctx) })
	}
	both.Wait()
	return s.here.Close()
}

// over says that an error is only the end of the service.
func over(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) || errors.Is(err, context.Canceled)
}

// pageAndDNS is the part that is a front, on the ports that the redirect names.
const pageAndDNS = "page and DNS"

// names are what the gateway is called where somebody asks, and at that moment.
type names func() (addr4, addr6 netip.Addr)

// front is the help page and the DNS on one device. It listens for every address
// that the device has or gets.
type front struct {
	cfg      Config
	called   names
	http     net.Listener
	dnsTCP   net.Listener
	dnsUDP   net.PacketConn
	httpPort uint16
	dnsPort  uint16
}

func listenFront(ctx context.Context, cfg Config, d device, called names, httpPort, dnsPort uint16) (*front, error) {
	f := &front{cfg: cfg, called: called}
	lc := net.ListenConfig{Control: toDevice(d.Interface)}
	var err error
	if f.http, err = lc.Listen(ctx, "tcp", port(httpPort)); err != nil {
		return nil, fmt.Errorf("help page: %w", err)
	}
	f.httpPort = uint16(f.http.Addr().(*net.TCPAddr).Port)
	if f.dnsUDP, err = lc.ListenPacket(ctx, "udp", port(dnsPort)); err == nil {
		err = asked(f.dnsUDP.(*net.UDPConn))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("DNS: %w", err)
	}
	f.dnsPort = uint16(f.dnsUDP.LocalAddr().(*net.UDPAddr).Port)
	if f.dnsTCP, err = lc.Listen(ctx, "tcp", port(f.dnsPort)); err != nil {
		f.Close()
		return nil, fmt.Errorf("DNS over TCP: %w", err)
	}
	return f, nil
}

func port(p uint16) string { return ":" + strconv.Itoa(int(p)) }

// toDevice binds to one device, so that nobody on the uplink finds a DNS
// server that answers everything. By its index: another one may have its name by
// now.
func toDevice(d net.Interface) func(network, address string, c syscall.RawConn) error {
	if d.Index == 0 {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var inner error
		err := c.Control(func(fd uintptr) {
			inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, d.Index)
		})
		if err = errors.Join(err, inner); err != nil {
			return fmt.Errorf("bind to device %s: %w", d.Name, err)
		}
		return nil
	}
}

// Close gives the sockets back, also while serve runs.
func (f *front) Close() error {
	var errs []error
	if f.http != nil {
		errs = append(errs, f.http.Close())
	}
	if f.dnsTCP != nil {
		errs = append(errs, f.dnsTCP.Close())
	}
	if f.dnsUDP != nil {
		errs = append(errs, f.dnsUDP.Close())
	}
	return errors.Join(errs...)
}

// serve ends with ctx, closes the sockets, and gives those who wait for a page a
// moment to get it.
func (f *front) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		f.Close()
		return nil
	})
	g.Go(f.servePage)
	g.Go(f.serveUDP)
	g.Go(func() error { return f.serveTCP(ctx) })
	return g.Wait()
}

// servePage ends when its socket is closed. http.Server.Shutdown would hang up on
// a request that is read after it was called; here nobody keeps a connection for
// a second request.
func (f *front) servePage() error {
	var open sync.WaitGroup
	web := &http.Server{
		Handler: handler(f.cfg, f.called), ReadTimeout: ioTimeout, WriteTimeout: ioTimeout, IdleTimeout: ioTimeout, MaxHeaderBytes: maxRequest,
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed:
				open.Done()
			}
		},
	}
	err := web.Serve(netutil.LimitListener(f.http, maxConns))
	late := time.AfterFunc(drainFor, func() { web.Close() })
	open.Wait()
	late.Stop()
	web.Close()
	return err
}
