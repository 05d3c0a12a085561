package gateway

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"sekisho/firmware/drill"
	"sekisho/firmware/drill/dummy"
)

// drills lets devices of drills be plugged into the LAN bridge.
func (o *opening) drills(p *Parts) error {
	inventory, pool := p.Pipeline.inventory, o.config.Network.DHCPPool
	p.Dummies = dummies{
		wire: o.wire, config: dummy.Config{Bridge: o.network.Bridge, Now: time.Now, Log: o.log.With("component", "drill")},
		refuse: func(a netip.Addr) bool {
			_, known := inventory.ByAddr(a)
			leased := pool.First.IsValid() && pool.First.Compare(a) <= 0 && a.Compare(pool.Last) <= 0
			return known || leased || slices.Contains(o.held(), a)
		},
	}
	return nil
}

// dummies makes devices on the network as it is now.
type dummies struct {
	wire   *wire
	config dummy.Config
	refuse func(netip.Addr) bool // an address that somebody has, besides ours
}

var _ Dummies = dummies{}

func (d dummies) New() (Dummy, error) {
	bridge, err := netlink.LinkByName(d.config.Bridge)
	if err != nil {
		return nil, fmt.Errorf("bridge %s: %w", d.config.Bridge, err)
	}
	ours, prefixes, err := addressesOf(bridge)
	if err != nil {
		return nil, err
	}
	lan, ok := firstIPv4(prefixes)
	if !ok {
		return nil, fmt.Errorf("bridge %s has no IPv4 address: a drill needs one beside it", d.config.Bridge)
	}
	vlan, err := d.wire.officeVLAN()
	if err != nil {
		return nil, err
	}
	d.config.LAN, d.config.VLAN = lan, vlan
	d.config.Refuse = func(a netip.Addr) bool { return slices.Contains(ours, a) || d.refuse(a) }
	device, err := dummy.New(d.config)
	if err != nil {
		return nil, err
	}
	return plugged{device, d.wire.net}, nil
}

// officeVLAN is the untagged VLAN of the first port that has one; 0 where the bridge
// does not filter.
func (w *wire) officeVLAN() (uint16, error) {
	n, err := w.observed()
	if err != nil || !n.Filtering {
		return 0, err
	}
	for _, name := range w.net.Ports {
		if p := n.PortInfo[name]; p.PVID != 0 {
			return p.PVID, nil
		}
	}
	return 0, nil
}

// plugged is a device of which is known when it is watched.
type plugged struct {
	*dummy.Device
	net *Network
}

// Port is the same for every drill: there is one at a time.
func (plugged) Port() string { return dummy.Port }

// tapWithin is how long the ports take to be tapped; it is a matter of one event.
const tapWithin = 10 * time.Second

// Plug waits until what the device sends is captured, with its port.
func (p plugged) Plug(ctx context.Context) (drill.Device, error) {
	turn, mac := p.net.turns.Load(), p.MAC()
	if err := p.Device.Plug(ctx); err != nil {
		return drill.Device{}, err
	}
	out := drill.Device{MAC: net.HardwareAddr(mac[:]).String(), IP: p.Addr(), Port: dummy.Port}
	port, err := netlink.LinkByName(dummy.Port)
	if err != nil {
		return out, fmt.Errorf("find the drill's port: %w", err)
	}
	for end := time.Now().Add(tapWithin); time.Now().Before(end); {
		if p.net.turns.Load() != turn && p.net.PortName(uint32(port.Attrs().Index)) == dummy.Port {
			return out, nil
		}
		if err := sleep(ctx, lookAgain/10); err != nil {
			return out, err
		}
	}
	return out, fmt.Errorf("the drill's port %s is not watched", dummy.Port)
}
