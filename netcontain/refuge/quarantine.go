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
	return &seat{name: "quarantine", on: z.q.Interface, here: z.here, log: z.log, find: z.find, prepare: z.address6, parts: z.parts, absent: true, open: map[string]running{}}
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
		case p == z.q.Prefix6:
			d.has6 = true
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

// parts are what is served on the device.
func (z *quarantine) parts(d device) []part {
	type link struct {
		index int
		mac   string
		local netip.Addr
	}
	at := link{d.Index, d.HardwareAddr.String(), d.local}
	called := func() (netip.Addr, netip.Addr) { return d.addr4, d.addr6 }
	front := func(httpPort, dnsPort uint16) func(context.Context) (opened, error) {
		return func(ctx context.Context) (opened, error) {
			return opens(listenFront(ctx, z.cfg, d, called, httpPort, dnsPort))
		}
	}
	out := []part{
		{name: pageAndDNS, key: d.Index, open: front(z.httpPort, z.dnsPort)},
		// The well-known ports too, where nobody else has them: then the page does
		// not depend on the redirect.
		{name: "page and DNS on 80 and 53", key: d.Index, open: front(80, 53), maybe: true},
		{name: "DHCP", key: d.Index, open: func(context.Context) (opened, error) {
			return opens(listenDHCP(d.Interface, z.leases, z.log))
		}},
	}
	if d.local.IsValid() { // else as soon as it has one
		out = append(out, part{name: "router", key: at, open: func(ctx context.Context) (opened, error) {
			return opens(listenRouter(ctx, d.Interface, advertisement(d.HardwareAddr, z.q.Prefix6, d.local), z.log))
		}})
	}
	return out
}

// address6 sets the gateway's address where it is missing. Nobody else can have it:
// duplicate detection would only delay the first answer.
func (z *quarantine) address6(d device) error {
	p := z.q.Prefix6
	if d.has6 || !p.IsValid() {
		return nil
	}
	err := z.here.link.AddrReplace(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: d.Index, Name: d.Name}}, &netlink.Addr{
		IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 128)}, Flags: unix.IFA_F_NODAD,
	})
	if err != nil {
		return fmt.Errorf("set %s on %s: %w", p, d.Name, err)
	}
	return nil
}
