package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"sekisho/firmware/health"
)

// addresses watches what the gateway is called on the bridge: its network may be
// renumbered while it runs. All fields are required.
type addresses struct {
	net    *Network
	lan    []netip.Prefix
	tell   func([]netip.Addr)  // whoever has to know, when they are others
	report func(string, error) // by check; nil: it is well
	log    *slog.Logger

	last voice
}

// addressesEvery is how soon a new address is known. Until then whoever claims it
// is taken for its owner.
const addressesEvery = time.Second

// Run looks until ctx ends.
func (a *addresses) Run(ctx context.Context) error {
	a.last.Addrs = a.net.Addrs
	for {
		a.look()
		if err := sleep(ctx, addressesEvery); err != nil {
			return err
		}
	}
}

// look tells nothing of a bridge that is not there, or has no address yet: it is
// being made anew, and is who it was.
func (a *addresses) look() {
	bridge, err := netlink.LinkByName(a.net.Bridge)
	if err != nil {
		return // ports tells
	}
	addrs, prefixes, err := addressesOf(bridge)
	if err != nil || len(addrs) == 0 {
		return
	}
	if now := (voice{Addrs: addrs}); !now.equal(a.last) {
		a.last = now
		a.log.Info("the gateway has other addresses", "addresses", addrs)
		a.tell(addrs)
	}
	a.report(checkLAN, unguarded(prefixes, a.lan))
}

// unguarded names networks of the bridge that the settings do not call the office's:
// to the detectors, devices there are strangers.
func unguarded(prefixes, lan []netip.Prefix) error {
	for _, p := range prefixes {
		inside := slices.ContainsFunc(lan, func(l netip.Prefix) bool { return l.Contains(p.Addr()) && l.Bits() <= p.Bits() })
		if p.Addr().Is4() && !p.Addr().IsLinkLocalUnicast() && !inside {
			return &health.Problem{
				Text: health.Text{
					EN: fmt.Sprintf("The office's network %s is not in the settings. Devices there are not guarded.", p),
					JA: fmt.Sprintf("社内で使われているネットワーク %s が、設定にありません。そこにある機器は見守られていません。", p),
				},
				Err: fmt.Errorf("the bridge is in %s, which network.lan does not have", p),
			}
		}
	}
	return nil
}
