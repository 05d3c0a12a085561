// Package refuge is what an isolated host still gets from the gateway: a help
// page that explains what happened, and a DNS that names only the gateway.
//
// The gateway runs it beside the enforcer (netcontain/nft redirects an
// isolated host's DNS and HTTP here). It must never forward, resolve or fetch
// anything: an isolated host cannot reach beyond it, and nothing that the host
// sends comes back to it unescaped.
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

	Vendor      string // whom to call, as the owner wrote it
	VendorPhone string

	Log *slog.Logger     // required
	Now func() time.Time // time.Now when nil
}

func (c Config) validate() error {
	var errs []error
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
