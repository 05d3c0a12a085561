package refuge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
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
	cfg      Config
	http     net.Listener
	dnsTCP   net.Listener
	dnsUDP   net.PacketConn
	httpPort uint16
	dnsPort  uint16
}

// Listen opens the sockets in the network namespace of the caller. IPv4 and
// IPv6 are both served.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("refuge: %w", err)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{cfg: cfg}
	lc := net.ListenConfig{Control: toDevice(cfg.Interface)}
	var err error
	if s.http, err = lc.Listen(ctx, "tcp", port(cfg.HTTPPort)); err != nil {
		return nil, fmt.Errorf("refuge: help page: %w", err)
	}
	s.httpPort = uint16(s.http.Addr().(*net.TCPAddr).Port)
	if s.dnsUDP, err = lc.ListenPacket(ctx, "udp", port(cfg.DNSPort)); err != nil {
		s.Close()
		return nil, fmt.Errorf("refuge: DNS: %w", err)
	}
	s.dnsPort = uint16(s.dnsUDP.LocalAddr().(*net.UDPAddr).Port)
	if s.dnsTCP, err = lc.Listen(ctx, "tcp", port(s.dnsPort)); err != nil {
		s.Close()
		return nil, fmt.Errorf("refuge: DNS over TCP: %w", err)
	}
	return s, nil
}

// Ports returns where it listens, for nft.Refuge.
func (s *Server) Ports() (dns, http uint16) { return s.dnsPort, s.httpPort }

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

// Close gives the sockets back, also while Run runs.
func (s *Server) Close() error {
	var errs []error
	if s.http != nil {
		errs = append(errs, s.http.Close())
	}
	if s.dnsTCP != nil {
		errs = append(errs, s.dnsTCP.Close())
	}
	if s.dnsUDP != nil {
		errs = append(errs, s.dnsUDP.Close())
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends, and closes the sockets.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	web := &http.Server{
		Handler: Handler(s.cfg), ReadTimeout: ioTimeout, WriteTimeout: ioTimeout, IdleTimeout: ioTimeout, MaxHeaderBytes: maxRequest,
	}
	g.Go(func() error { return web.Serve(netutil.LimitListener(s.http, maxConns)) })
	g.Go(s.serveUDP)
	g.Go(func() error { return s.serveTCP(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		web.Close()
		s.Close()
		return nil
	})
	err := g.Wait()
	if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("refuge: %w", err)
	}
	return nil
}
