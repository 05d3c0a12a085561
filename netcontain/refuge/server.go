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
	cfg   Config
	front *front
	away  *quarantine // nil: there is none

	mu      sync.Mutex
	running bool
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
	s := &Server{cfg: cfg}
	var err error
	if s.front, err = listenFront(ctx, cfg, cfg.Interface, cfg.HTTPPort, cfg.DNSPort); err != nil {
		return nil, fmt.Errorf("refuge: %w", err)
	}
	if cfg.Quarantine != (Quarantine{}) {
		if s.away, err = newQuarantine(cfg, s.front.httpPort, s.front.dnsPort); err != nil {
			s.front.Close()
			return nil, fmt.Errorf("refuge: %w", err)
		}
	}
	return s, nil
}

// Ports returns where it listens, for nft.Refuge.
func (s *Server) Ports() (dns, http uint16) { return s.front.dnsPort, s.front.httpPort }

// Close gives the sockets back, also while Run runs.
func (s *Server) Close() error {
	err := s.front.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil && !s.running { // else Run does: it ends with the front
		err = errors.Join(err, s.away.Close())
	}
	return err
}

// Run serves until ctx ends, and closes the sockets. What fails in the
// quarantine is logged and tried again: the office's part goes on.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.front.serve(ctx) })
	if s.away != nil {
		g.Go(func() error { return s.away.run(ctx) })
	}
	err := g.Wait()
	s.mu.Lock()
	s.running = false
	s.mu.Unlock()
	if s.away != nil {
		s.away.Close()
	}
	if err != nil && !over(err) {
		return fmt.Errorf("refuge: %w", err)
	}
	return nil
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

func listenFront(ctx context.Context, cfg Config, device string, httpPort, dnsPort uint16) (*front, error) {
	f := &front{cfg: cfg, addr4: cfg.Addr4, addr6: cfg.Addr6}
	lc := net.ListenConfig{Control: toDevice(device)}
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
