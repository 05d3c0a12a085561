package refuge

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Router advertisements (RFC 4861, 6.2.1). The times are short for the same
// reason as a lease's: a released host must forget this router.
const (
	advertEvery   = 10 * time.Second
	routerLife    = 3 * advertEvery // the RFC's default ratio
	addressLife   = 2 * time.Minute // of an address formed here; RFC 4862 lets nobody shorten it later
	advertsAtOnce = 20              // answers to solicitations a second, for all hosts
)

// UniqueLocal is a /64 for the quarantine network made from what is this
// gateway's alone, such as its MAC, as RFC 4193, 3.2.2 makes one; its address
// is the gateway's in it.
func UniqueLocal(seed []byte) netip.Prefix {
	h := sha256.Sum256(append([]byte("sekisho quarantine\x00"), seed...))
	b := [16]byte{0: 0xfd, 15: 1}
	copy(b[1:6], h[:5])
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

// advertisement is the body of a router advertisement after the ICMPv6 header
// (RFC 4861, 4.2; RFC 8106, 5.1). prefix may be invalid. dns is the gateway's
// link-local address: it is valid before any other is.
func advertisement(mac net.HardwareAddr, prefix netip.Prefix, dns netip.Addr) []byte {
	b := []byte{64, 0} // hop limit; neither managed nor other configuration
	b = binary.BigEndian.AppendUint16(b, uint16(routerLife/time.Second))
	b = append(b, make([]byte, 8)...) // reachable and retransmission time: as the host likes
	if len(mac) == 6 {
		b = append(append(b, 1, 1), mac...)
	}
	if prefix.IsValid() {
		b = append(b, 3, 4, uint8(prefix.Bits()), 0xc0) // on link, autonomous
		b = binary.BigEndian.AppendUint32(b, uint32(addressLife/time.Second))
		b = binary.BigEndian.AppendUint32(b, uint32(addressLife/time.Second))
		b = append(append(b, 0, 0, 0, 0), prefix.Masked().Addr().AsSlice()...)
	}
	b = append(b, 25, 3, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(routerLife/time.Second))
	return append(b, dns.AsSlice()...)
}

var (
	allNodes   = net.ParseIP("ff02::1")
	allRouters = net.ParseIP("ff02::2")
)

// router advertises the gateway on one device.
type router struct {
	conn   *ipv6.PacketConn
	device net.Interface
	body   []byte
	log    *slog.Logger
	limit  *rate.Limiter
}

// listenRouter opens a raw ICMPv6 socket that is bound to the device and takes
// router solicitations only.
func listenRouter(ctx context.Context, device net.Interface, body []byte, log *slog.Logger) (*router, error) {
	lc := net.ListenConfig{Control: toDevice(device)}
	c, err := lc.ListenPacket(ctx, "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("router advertisements on %s: %w", device.Name, err)
	}
	p := ipv6.NewPacketConn(c)
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterSolicitation)
	for _, set := range []func() error{
		func() error { return p.SetICMPFilter(&only) },
		func() error { return p.SetMulticastInterface(&device) },
		func() error { return p.SetMulticastHopLimit(255) }, // RFC 4861, 6.1.2
		func() error { return p.SetHopLimit(255) },
		func() error { return p.SetMulticastLoopback(false) },
		func() error { return p.SetControlMessage(ipv6.FlagHopLimit, true) },
		func() error { return p.JoinGroup(&device, &net.IPAddr{IP: allRouters}) },
	} {
		if err := set(); err != nil {
			p.Close()
			return nil, fmt.Errorf("router advertisements on %s: %w", device.Name, err)
		}
	}
	return &router{conn: p, device: device, body: body, log: log, limit: rate.NewLimiter(advertsAtOnce, advertsAtOnce)}, nil
}

func (r *router) Close() error { return r.conn.Close() }

// serve advertises until ctx ends.
func (r *router) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.announce(ctx) })
	g.Go(r.solicited)
	g.Go(func() error {
		<-ctx.Done()
		return r.Close()
	})
	return g.Wait()
}

// announce tells everybody, now and then until ctx ends.
func (r *router) announce(ctx context.Context) error {
	tick := time.NewTicker(advertEvery)
	defer tick.Stop()
	for {
		r.send(allNodes)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// solicited answers those who ask, each for itself.
func (r *router) solicited() error {
	buf := make([]byte, maxDHCP)
	for {
		_, cm, from, err := r.conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if cm == nil || cm.HopLimit != 255 || !r.limit.Allow() {
			continue // it did not come from this link, or they are too many: the ticker serves them
		}
		to := allNodes
		if a, ok := from.(*net.IPAddr); ok && !a.IP.IsUnspecified() {
			to = a.IP
		}
		r.send(to)
	}
}

func (r *router) send(to net.IP) {
	m := icmp.Message{Type: ipv6.ICMPTypeRouterAdvertisement, Body: &icmp.RawBody{Data: r.body}}
	b, err := m.Marshal(nil) // the kernel fills in the checksum
	if err == nil {
		// The zone is a number: names are looked up in the thread's namespace.
		_, err = r.conn.WriteTo(b, nil, &net.IPAddr{IP: to, Zone: strconv.Itoa(r.device.Index)})
	}
	if err != nil {
		r.log.Debug("send router advertisement", "err", err)
	}
}
