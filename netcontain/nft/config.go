// Package nft holds hosts with nftables: mechanism `mac`, bridge-family sets
// by MAC and by address, and an inet table for what is routed.
//
// The gateway's reconciler calls it. It must never touch a table that is not
// its own ("bridge sekisho" and "inet sekisho"), and never hold the gateway or
// its uplink router.
package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sekisho/netcontain"
)

// Table is the name of our two tables, in the families bridge and inet.
const Table = "sekisho"

// Mark is put on the DNS and HTTP packets of isolated hosts that are
// redirected to the refuge.
const Mark = 0x5e15

// Refuge says where netcontain/refuge listens. With zero ports an isolated
// host reaches the gateway's own DNS and HTTP (ports 53 and 80) instead.
type Refuge struct {
	DNS  uint16 // UDP and TCP
	HTTP uint16
}

// Config says where and what the Enforcer guards.
type Config struct {
	// Bridge is the LAN bridge, required. While it is gone the sets hold on
	// whatever other bridge there is; until it was there once, Apply says so.
	Bridge string
	WAN    string // the uplink device, required; it need not exist yet

	// Never adds to what may never be held. The addresses of this machine's
	// devices and its default routers are always in it. It is asked at every
	// Apply, and may be nil.
	Never func() ([]netcontain.MAC, []netip.Addr)

	Refuge Refuge

	// Quarantine is the gateway's address with its network in the quarantine
	// VLAN, IPv4, and Quarantine6 the same for IPv6; zero when there is none. An
	// isolated host may speak from any other address of it to DHCP, DNS and the
	// help page; nothing is ever routed to it or from it.
	Quarantine, Quarantine6 netip.Prefix
}

func (c Config) validate() error {
	var errs []error
	if c.Bridge == "" || len(c.Bridge) > 15 {
		errs = append(errs, errors.New("bridge: not a device name"))
	}
	if c.WAN == "" || len(c.WAN) > 15 || c.WAN == c.Bridge {
		errs = append(errs, errors.New("uplink (WAN): not a device name other than the bridge"))
	}
	if (c.Refuge.DNS == 0) != (c.Refuge.HTTP == 0) {
		errs = append(errs, errors.New("refuge: name both ports or none"))
	}
	for name, q := range map[string]netip.Prefix{"quarantine": c.Quarantine, "quarantine6": c.Quarantine6} {
		four := name == "quarantine"
		if q != (netip.Prefix{}) && (!q.IsValid() || q.Addr().Unmap().Is4() != four || q.Bits() == 0 || q.Addr() == q.Masked().Addr()) {
			errs = append(errs, fmt.Errorf("%s: %s is not an address of that family with its network", name, q))
		}
	}
	return errors.Join(errs...)
}

// quarantines are those that there are.
func (c Config) quarantines() []netip.Prefix {
	return slices.DeleteFunc([]netip.Prefix{c.Quarantine, c.Quarantine6}, func(q netip.Prefix) bool { return !q.IsValid() })
}
