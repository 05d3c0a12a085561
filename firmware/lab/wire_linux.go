package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// wire makes namespaces, cables and addresses. Cables are made in the
// namespace of the gateway, and their other ends moved away.
func (o *Office) wire() (err error) {
	if o.Gateway, err = o.newHost("gateway", ""); err != nil {
		return err
	}
	if o.Internet, err = o.newHost("internet", ""); err != nil {
		return err
	}
	o.Gateway.Iface = o.Bridge
	for i, s := range staff {
		h, err := o.newHost(s.name, s.role)
		if err != nil {
			return err
		}
		h.Port, h.MAC = fmt.Sprintf("lan%d", i+1), hwAddr(byte(0x10+i))
		o.Hosts, o.Ports = append(o.Hosts, h), append(o.Ports, h.Port)
	}
	o.Gateway.MAC, o.Internet.MAC = hwAddr(0x01), hwAddr(0xf1)
	if err := o.Gateway.Do(o.wireGateway); err != nil {
		return fmt.Errorf("wire the gateway: %w", err)
	}
	if err := o.Internet.Do(o.wireInternet); err != nil {
		return fmt.Errorf("wire the internet: %w", err)
	}
	for _, h := range o.Hosts {
		if err := h.Do(h.plugIn); err != nil {
			return fmt.Errorf("wire %s: %w", h.Name, err)
		}
	}
	return nil
}

func (o *Office) newHost(name string, role Role) (*Host, error) {
	h, err := newHost(name, role)
	if err != nil {
		return nil, err
	}
	o.closeLater(h.close)
	return h, nil
}

func sysctl(key, value string) error {
	return os.WriteFile("/proc/sys/"+strings.ReplaceAll(key, ".", "/"), []byte(value), 0)
}

func (o *Office) wireGateway() error {
	for _, key := range []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"} {
		if err := sysctl(key, "1"); err != nil {
			return err
		}
	}
	bridge := &netlink.Bridge{LinkAttrs: attrs(o.Bridge, o.Gateway.MAC)}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add the bridge: %w", err)
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return err
	}
	for _, p := range []netip.Prefix{netip.PrefixFrom(gatewayLAN, 24), netip.PrefixFrom(gatewayLAN6, 64)} {
		if err := addAddr(bridge, p); err != nil {
			return err
		}
	}
	for i, h := range o.Hosts {
		port, err := cable(h.Port, hwAddr(byte(0x90+i)), h)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(port, bridge); err != nil {
			return fmt.Errorf("enslave %s: %w", h.Port, err)
		}
		if o.config.HoldPorts {
			continue
		}
		if err := netlink.LinkSetUp(port); err != nil {
			return err
		}
	}
	wan, err := cable(o.WAN, hwAddr(0x02), o.Internet)
	if err != nil {
		return err
	}
	if err := addAddr(wan, netip.PrefixFrom(gatewayWAN, 24)); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(wan); err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: wan.Attrs().Index, Gw: ispRouter.AsSlice()})
}

func attrs(name string, mac net.HardwareAddr) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name, a.HardwareAddr = name, mac
	return a
}

// cable makes a veth pair and moves its far end, named eth0, to a machine.
func cable(near string, mac net.HardwareAddr, far *Host) (netlink.Link, error) {
	veth := &netlink.Veth{
		LinkAttrs: attrs(near, mac), PeerName: far.Iface, PeerHardwareAddr: far.MAC,
		PeerNamespace: netlink.NsFd(int(far.handle)),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("add cable %s: %w", near, err)
	}
	return netlink.LinkByName(near)
}

func (h *Host) plugIn() error {
	link, err := netlink.LinkByName(h.Iface)
	if err != nil {
		return err
	}
	// Duplicate address detection costs a second in which nothing happens.
	for _, key := range []string{"accept_dad", "dad_transmits"} {
		if err := sysctl("net.ipv6.conf."+h.Iface+"."+key, "0"); err != nil {
			return err
		}
	}
	// A neighbour entry that an attack poisoned is believed for 15 to 45 s as
	// the kernel comes, and then probed; here that is over ten times faster, so
	// that "the others work again" is seen within the time of a demonstration.
	for key, value := range map[string]string{"base_reachable_time_ms": "2000", "delay_first_probe_time": "1"} {
		if err := sysctl("net.ipv4.neigh."+h.Iface+"."+key, value); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

func (o *Office) wireInternet() error {
	link, err := netlink.LinkByName(o.Internet.Iface)
	if err != nil {
		return err
	}
	if err := addAddr(link, netip.PrefixFrom(ispRouter, 24)); err != nil {
		return err
	}
	for _, a := range []netip.Addr{webServer, dnsServer, ntpServer, dropServer} {
		if err := addAddr(link, netip.PrefixFrom(a, 32)); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}
