package refuge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// quarantine is the refuge on the device of the quarantine VLAN, which comes
// and goes.
type quarantine struct {
	cfg      Config
	q        Quarantine
	log      *slog.Logger
	here     *here
	leases   *leases // outlive the device
	httpPort uint16
	dnsPort  uint16
}

func newQuarantine(cfg Config, h *here, httpPort, dnsPort uint16) *quarantine {
	return &quarantine{cfg: cfg, q: cfg.Quarantine, log: cfg.Log, here: h,
		leases: newLeases(cfg.Quarantine.Prefix, cfg.Now), httpPort: httpPort, dnsPort: dnsPort}
}

func (z *quarantine) seat() *seat {
	return &seat{name: "quarantine", on: z.q.Interface, here: z.here, log: z.log, find: z.find, open: z.open, absent: true}
}

// errForeign refuses a device on which a DHCP server could be a rogue.
var errForeign = errors.New("it is a bridge port, or has other IPv4 addresses than the quarantine's")

// find looks the device up. It is served only when it is nobody else's: no
// port of a bridge, and with the quarantine's address and no other.
func (z *quarantine) find() (device, error) {
	a, addrs, err := z.here.look(z.q.Interface)
	if err != nil {
		return device{}, err
	}
	d := device{
		Interface: net.Interface{Index: a.Index, MTU: a.MTU, Name: a.Name, HardwareAddr: a.HardwareAddr, Flags: a.Flags},
		addr4:     z.q.Prefix.Addr(), addr6: z.q.Prefix6.Addr(),
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

// open opens everything on the device. What it returns with an error has to be
// closed all the same.
func (z *quarantine) open(ctx context.Context, d device) (*service, error) {
	s := &service{device: d}
	add := func(f *front) {
		s.run, s.closers = append(s.run, f.serve), append(s.closers, f.Close)
	}
	if z.q.Prefix6.IsValid() {
		if err := z.address6(d); err != nil {
			return s, err
		}
	}
	f, err := listenFront(ctx, z.cfg, d, z.httpPort, z.dnsPort)
	if err != nil {
		return s, err
	}
	add(f)
	// The well-known ports too, where nobody else has them: then the page does
	// not depend on the redirect.
	if f, err := listenFront(ctx, z.cfg, d, 80, 53); err == nil {
		add(f)
	} else {
		z.log.Debug("ports 53 and 80 are another's; the redirect serves", "device", d.Name, "err", err)
	}
	c, err := listenDHCP(d.Interface)
	if err != nil {
		return s, err
	}
	s.closers = append(s.closers, c.Close)
	s.run = append(s.run, func(context.Context) error { return serveDHCP(c, z.leases, z.log) })
	if !d.local.IsValid() {
		return s, nil // found again as soon as it has one
	}
	r, err := listenRouter(ctx, d.Interface, advertisement(d.HardwareAddr, z.q.Prefix6, d.local), z.log)
	if err != nil {
		return s, err
	}
	s.closers = append(s.closers, r.conn.Close)
	s.run = append(s.run, r.announce, func(context.Context) error { return r.solicited() })
	return s, nil
}

// address6 sets the gateway's address. Nobody else can have it: duplicate
// detection would only delay the first answer.
func (z *quarantine) address6(d device) error {
	p := z.q.Prefix6
	err := z.here.link.AddrReplace(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: d.Index, Name: d.Name}}, &netlink.Addr{
		IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 128)}, Flags: unix.IFA_F_NODAD,
	})
	if err != nil {
		return fmt.Errorf("set %s on %s: %w", p, d.Name, err)
	}
	return nil
}
