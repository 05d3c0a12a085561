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
	maxRequest = 8 << 10 // bytes of HTTP header
)

// Server is the refuge, listening.
type Server struct {
	cfg    Config
	here   *here
	office *seat
	away   *seat // nil: there is no quarantine

	httpPort, dnsPort uint16

	mu    sync.Mutex
	ready *service           // nil: Run has it, or it is closed
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
	f, err := listenFront(ctx, s.cfg, d, s.httpPort, s.dnsPort)
	if err != nil {
		return err
	}
	s.httpPort, s.dnsPort = f.httpPort, f.dnsPort
	s.ready = f.service(d)
	s.office = &seat{name: "office", on: s.cfg.Interface, here: s.here, log: s.cfg.Log, find: s.find, open: func(ctx context.Context, d device) (*service, error) {
		f, err := listenFront(ctx, s.cfg, d, s.httpPort, s.dnsPort)
		if err != nil {
			return nil, err
		}
		return f.service(d), nil
	}}
	return nil
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
	both.Go(func() { s.office.run(ctx, ready) })
	if s.away != nil {
		both.Go(func() { s.away.run(ctx, nil) })
	}
	both.Wait()
	return s.here.Close()
}

// over says that an error is only the end of the service.
func over(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) || errors.Is(err, context.Canceled)
}

// front is the help page and the DNS on one device.
type front struct {
	cfg          Config
	addr4, addr6 netip.Addr // the gateway as the DNS names it here
	http         net.Listener
	dnsTCP       net.Listener
	dnsUDP       net.PacketConn
	httpPort     uint16
	dnsPort      uint16
}

func listenFront(ctx context.Context, cfg Config, d device, httpPort, dnsPort uint16) (*front, error) {
	f := &front{cfg: cfg, addr4: d.addr4, addr6: d.addr6}
	lc := net.ListenConfig{Control: toDevice(d.Name)}
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
// server that answers everything.
func toDevice(name string) func(network, address string, c syscall.RawConn) error {
	if name == "" {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var inner error
		err := c.Control(func(fd uintptr) { inner = unix.BindToDevice(int(fd), name) })
		if err = errors.Join(err, inner); err != nil {
			return fmt.Errorf("bind to device %s: %w", name, err)
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

func (f *front) service(d device) *service {
	return &service{device: d, run: []func(context.Context) error{f.serve}, closers: []func() error{f.Close}}
}

// serve ends with ctx, and closes the sockets.
func (f *front) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	web := &http.Server{
		Handler: handler(f.cfg, f.addr4, f.addr6), ReadTimeout: ioTimeout, WriteTimeout: ioTimeout, IdleTimeout: ioTimeout, MaxHeaderBytes: maxRequest,
	}
	g.Go(func() error { return web.Serve(netutil.LimitListener(f.http, maxConns)) })
	g.Go(f.serveUDP)
	g.Go(func() error { return f.serveTCP(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		web.Close()
		f.Close()
		return nil
	})
	return g.Wait()
}
