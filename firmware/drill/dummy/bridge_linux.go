package dummy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Names of the device's interfaces in its own namespace.
const (
	nearName = "eth0"
	sinkName = "sink0"
)

// plug makes both cables and brings them up.
func (d *Device) plug(ctx context.Context) error {
	bridge, err := netlink.LinkByName(d.cfg.Bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", d.cfg.Bridge, err)
	}
	for n, end := range []struct {
		port, name string
		mac        [6]byte
	}{{Port, nearName, d.mac}, {sinkPort, sinkName, d.sink}} {
		at := portMAC(n)
		cable := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: end.port, HardwareAddr: at[:], MTU: bridge.Attrs().MTU},
			PeerName:  end.name, PeerHardwareAddr: end.mac[:], PeerNamespace: netlink.NsFd(int(d.space)),
		}
		if err := netlink.LinkAdd(cable); err != nil {
			return fmt.Errorf("make port %s: %w", end.port, err)
		}
		d.ports = append(d.ports, cable.Index)
		if err := d.attach(bridge, cable); err != nil {
			return fmt.Errorf("set up port %s: %w", end.port, err)
		}
	}
	if err := d.inside(d.raise); err != nil {
		return err
	}
	return d.remember(ctx)
}

// attach makes a cable's end a port that gets nothing but what is meant for it,
// and raises it.
func (d *Device) attach(bridge netlink.Link, port *netlink.Veth) error {
	return errors.Join(
		netlink.LinkSetIP6AddrGenMode(port, nl.IN6_ADDR_GEN_MODE_NONE),
		netlink.LinkSetMaster(port, bridge),
		netlink.LinkSetFlood(port, false),
		d.member(port),
		netlink.LinkSetUp(port),
	)
}

// member gives a port the office's VLAN, in place of the bridge's default.
func (d *Device) member(port netlink.Link) error {
	if d.cfg.VLAN == 0 {
		return nil
	}
	all, err := netlink.BridgeVlanList()
	if err != nil {
		return err
	}
	for _, v := range all[int32(port.Attrs().Index)] {
		if v.Vid != d.cfg.VLAN {
			if err := netlink.BridgeVlanDel(port, v.Vid, false, false, false, true); err != nil {
				return err
			}
		}
	}
	return netlink.BridgeVlanAdd(port, d.cfg.VLAN, true, true, false, true)
}

// raise runs inside. Without link-local addresses IPv6 has nothing to say; the
// sink answers nobody's question.
func (d *Device) raise() error {
	for _, name := range []string{nearName, sinkName} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if name == nearName {
			d.near = link.Attrs().Index
		} else if err := netlink.LinkSetARPOff(link); err != nil {
			return err
		}
		if err := errors.Join(netlink.LinkSetIP6AddrGenMode(link, nl.IN6_ADDR_GEN_MODE_NONE), netlink.LinkSetUp(link)); err != nil {
			return fmt.Errorf("raise %s: %w", name, err)
		}
	}
	return nil
}

// forwardingAfter is how long a bridge with spanning tree looks at a new port
// before it forwards: twice the forward delay of IEEE 802.1D.
const forwardingAfter = 30 * time.Second

// remember tells the bridge for good where the sink is, so that it never floods a
// call to the whole office, and lets the ports forward: behind them there is no loop
// to look for.
func (d *Device) remember(ctx context.Context) error {
	for _, name := range Ports() {
		port, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if name == sinkPort {
			err := netlink.NeighAppend(&netlink.Neigh{
				LinkIndex: port.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER, State: netlink.NUD_NOARP, HardwareAddr: d.sink[:],
			})
			if err != nil {
				return fmt.Errorf("tell the bridge where the calls end: %w", err)
			}
		}
		switch err := forward(ctx, port); {
		case errors.Is(err, unix.EBUSY): // the bridge runs spanning tree
			if err := pause(ctx, forwardingAfter); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("let port %s forward: %w", name, err)
		}
	}
	return nil
}

// forward sets the port's state, as soon as the cable has carrier.
func forward(ctx context.Context, port netlink.Link) (err error) {
	const forwarding = 3 // BR_STATE_FORWARDING of linux/if_bridge.h
	for range 50 {
		msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
		msg.Index = int32(port.Attrs().Index)
		req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
		req.AddData(msg)
		br := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
		br.AddRtAttr(nl.IFLA_BRPORT_STATE, []byte{forwarding})
		req.AddData(br)
		if _, err = req.Execute(unix.NETLINK_ROUTE, 0); !errors.Is(err, unix.ENETDOWN) {
			return err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// gone says that a link was removed, by us or before.
func gone(err error) bool {
	return err == nil || errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, unix.ENODEV)
}

// Sweep removes the ports of a drill, if there are any: after a drill, and at the
// start, should one have survived the process that made it. An interface of that
// name that is not ours is left alone, and is an error.
func Sweep() error {
	var errs []error
	for n, name := range Ports() {
		link, err := netlink.LinkByName(name)
		if err != nil && gone(err) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("look up port %s: %w", name, err))
			continue
		}
		mac := portMAC(n)
		if link.Type() != "veth" || !bytes.Equal(link.Attrs().HardwareAddr, net.HardwareAddr(mac[:])) {
			errs = append(errs, fmt.Errorf("there is an interface %s that was not made for a drill; rename it", name))
			continue
		}
		if err := netlink.LinkDel(link); !gone(err) {
			errs = append(errs, fmt.Errorf("remove port %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
