package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"sekisho/firmware/config"
	"sekisho/firmware/flow"
	"sekisho/firmware/health"
)

// uplink watches the interface to the internet. It may be missing at the start, or
// be pulled out and come back as another one, and which network it is in is known
// only when its router has said so. All fields but quarantine are required.
type uplink struct {
	net        *Network
	lan        []netip.Prefix
	quarantine netip.Prefix        // where isolated devices are put; zero: nowhere
	own        func(flow.MAC)      // told every address that the gateway has
	report     func(string, error) // by check; nil: it is well
	log        *slog.Logger

	index int // of the interface; 0: it was not there
}

// uplinkEvery is how often it is looked at. Nothing waits for it: packets find the
// uplink by its name, in the kernel.
const uplinkEvery = time.Second

// Run looks until ctx ends.
func (u *uplink) Run(ctx context.Context) error {
	for {
		u.look()
		if err := sleep(ctx, uplinkEvery); err != nil {
			return err
		}
	}
}

func (u *uplink) look() {
	link, err := netlink.LinkByName(u.net.WAN)
	if err != nil {
		u.lost(err)
		return
	}
	if index := link.Attrs().Index; index != u.index {
		u.index = index
		u.own(macOf(link.Attrs()))
		u.net.turns.Add(1) // whoever watches the wire looks at this one, too
		u.log.Info("uplink is there", "interface", u.net.WAN)
	}
	u.report(checkWAN, nil)
	nets, err := networks(link)
	if err != nil {
		u.log.Debug("networks of the uplink", "err", err) // the kernel is busy; it is asked again
		return
	}
	u.report(checkQuarantine, u.overlap(nets))
}

func (u *uplink) lost(err error) {
	if !errors.As(err, new(netlink.LinkNotFoundError)) {
		u.log.Debug("look up the uplink", "err", err)
		return
	}
	u.index = 0
	u.report(checkQuarantine, nil)
	u.report(checkWAN, &health.Problem{
		Text: health.Text{
			EN: fmt.Sprintf("The interface %s, which leads to the internet, is not there.", u.net.WAN),
			JA: fmt.Sprintf("インターネットにつながるインターフェース %s が見つかりません。", u.net.WAN),
		},
		Err: fmt.Errorf("network.wan: %w", err),
	})
}

// networks are those that an interface leads to: its own, and those of its routes
// but the default one.
func networks(link netlink.Link) ([]netip.Prefix, error) {
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	routes, err := netlink.RouteList(link, netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	add := func(n *net.IPNet) {
		if n == nil {
			return
		}
		ip, _ := netip.AddrFromSlice(n.IP)
		bits, _ := n.Mask.Size()
		if p := netip.PrefixFrom(ip.Unmap(), bits).Masked(); p.IsValid() && bits > 0 && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	for _, a := range addrs {
		add(a.IPNet)
	}
	for _, r := range routes {
		add(r.Dst)
	}
	return out, nil
}

// overlap says that a held device would be given an address of the uplink's side:
// while one is held, this machine looks for the others there in the quarantine. The
// settings cannot know; they are checked against the office's own networks alone.
func (u *uplink) overlap(nets []netip.Prefix) error {
	if !u.quarantine.IsValid() {
		return nil
	}
	i := slices.IndexFunc(nets, u.quarantine.Overlaps)
	if i < 0 {
		return nil
	}
	p := &health.Problem{
		Text: health.Text{
			EN: fmt.Sprintf("The network for isolated devices (%s) overlaps %s on the internet side (%s).", u.quarantine.Masked(), nets[i], u.net.WAN),
			JA: fmt.Sprintf("隔離した機器のためのネットワーク（%s）が、インターネット側（%s）の %s と重なっています。", u.quarantine.Masked(), u.net.WAN, nets[i]),
		},
		Err: fmt.Errorf("network.quarantine = %q overlaps %s of %s", u.quarantine, nets[i], u.net.WAN),
	}
	if free, ok := config.FreeQuarantine(append(nets, u.lan...)); ok {
		p.Err = fmt.Errorf("%w; set it to %q, for example", p.Err, free)
	}
	return p
}
