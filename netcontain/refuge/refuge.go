// Package refuge is what an isolated host still gets from the gateway: a help
// page that explains what happened, a DNS that names only the gateway, and in
// the quarantine VLAN an address (DHCP, and router advertisements for IPv6).
//
// The gateway runs it beside the enforcer (netcontain/nft redirects an
// isolated host's DNS and HTTP here). It must never forward, resolve or fetch
// anything: an isolated host cannot reach beyond it, and nothing that the host
// sends comes back to it unescaped. It must never speak DHCP anywhere but on
// the quarantine's own device: in the office it would be a rogue server.
package refuge

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"
)

// Config says what the refuge offers.
type Config struct {
	Interface string // listen only on this device (the bridge); empty: on every one
	HTTPPort  uint16 // the nft redirect must name the same port; 0: any free one
	DNSPort   uint16 // the nft redirect must name the same port; 0: any free one

	Addr4 netip.Addr // the gateway's address as DNS answers it, IPv4
	Addr6 netip.Addr // IPv6, may be invalid

	Quarantine Quarantine // the network of hosts that are held by VLAN; zero: none

	// Since says when the host of an address was isolated; zero: not known, and
	// the page says nothing of it. It must not block. May be nil.
	Since func(netip.Addr) time.Time

	Vendor      string // whom to call, as the owner wrote it
	VendorPhone string

	Log *slog.Logger     // required
	Now func() time.Time // time.Now when nil
}

// Quarantine is the network that nobody but isolated hosts is in. Its device
// exists only while somebody is held there; the refuge waits for it.
type Quarantine struct {
	Interface string       // the VLAN device, never the bridge
	Prefix    netip.Prefix // the gateway's IPv4 address with its network; whoever makes the device sets it
	// Prefix6 is the gateway's IPv6 address in a /64 of its own, see UniqueLocal;
	// the refuge sets it on the device. Zero: hosts have link-local addresses only.
	Prefix6 netip.Prefix
}

func (q Quarantine) validate(bridge string) error {
	var errs []error
	check := func(ok bool, problem string) {
		if !ok {
			errs = append(errs, errors.New("quarantine: "+problem))
		}
	}
	check(q.Interface != bridge, "its interface is the office's")
	check(q.Prefix.Addr().Is4() && q.Prefix.Bits() >= 8 && q.Prefix.Bits() <= 30, "its prefix is no IPv4 network of 4 addresses or more")
	check(q.Prefix.Addr() != q.Prefix.Masked().Addr(), "its prefix names the network, not the gateway's address in it")
	check(q.Prefix6 == netip.Prefix{} || q.Prefix6.Addr().Is6() && q.Prefix6.Bits() == 64, "its IPv6 prefix is no /64")
	return errors.Join(errs...)
}

func (c Config) validate() error {
	var errs []error
	if c.Quarantine != (Quarantine{}) {
		errs = append(errs, c.Quarantine.validate(c.Interface))
	}
	if c.Log == nil {
		errs = append(errs, errors.New("no Log"))
	}
	if !c.Addr4.Is4() {
		errs = append(errs, errors.New("Addr4 is not an IPv4 address"))
	}
	if c.Addr6.IsValid() && !c.Addr6.Is6() {
		errs = append(errs, errors.New("Addr6 is not an IPv6 address"))
	}
	return errors.Join(errs...)
}
