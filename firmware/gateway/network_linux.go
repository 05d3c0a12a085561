package gateway

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/firmware/config"
	"sekisho/firmware/flow"
)

// Network is what the kernel says of the interfaces that the settings name.
type Network struct {
	Bridge, WAN string
	Ports       []string
	WiFi        []string                          // those of Ports that hostapd raises, and takes into the bridge
	names       atomic.Pointer[map[uint32]string] // ifindex -> port, of now and before
	Self        []flow.MAC                        // the gateway's own
	BridgeMAC   flow.MAC
	Addrs       []netip.Addr   // on the bridge
	Prefixes    []netip.Prefix // of the bridge's addresses

	missing map[string]error // those of Ports that were not there, or not raised, at the start; with what to mend
}

// Inspect looks the interfaces up. Its errors say which setting to mend. Of
// several ports one may be missing: an adapter that broke must not keep the whole
// office off the network. It is watched for; see ports.
func Inspect(c config.Network) (*Network, error) {
	n := &Network{Bridge: c.Bridge, WAN: c.WAN, Ports: c.Ports, WiFi: c.WiFi, missing: map[string]error{}}
	var problems []error
	find := func(key, name string) netlink.Link {
		link, err := netlink.LinkByName(name)
		var missing netlink.LinkNotFoundError
		switch {
		case errors.As(err, &missing):
			err := fmt.Errorf("%s: there is no interface %q; 'ip link' lists those of this machine", key, name)
			if slices.Contains(c.Ports, name) {
				n.missing[name] = err
			} else {
				problems = append(problems, err)
			}
			return nil
		case err != nil:
			problems = append(problems, fmt.Errorf("%s: look up interface %q: %w", key, name, err))
			return nil
		}
		var mac flow.MAC
		if copy(mac[:], link.Attrs().HardwareAddr) == len(mac) {
			n.Self = append(n.Self, mac)
		}
		return link
	}
	bridge := find("network.bridge", c.Bridge)
	if bridge != nil && bridge.Type() != "bridge" {
		problems = append(problems, fmt.Errorf("network.bridge: %q is of type %q, not a bridge", c.Bridge, bridge.Type()))
	}
	if len(n.Self) > 0 {
		n.BridgeMAC = n.Self[0]
	}
	find("network.wan", c.WAN)
	for i, name := range c.Ports {
		port := find(fmt.Sprintf("network.ports[%d]", i), name)
		if port == nil {
			continue
		}
		n.learn(uint32(port.Attrs().Index), name)
		if bridge != nil && !n.isWiFi(name) && port.Attrs().MasterIndex != bridge.Attrs().Index {
			problems = append(problems, fmt.Errorf("network.ports[%d]: %q is not a port of bridge %q", i, name, c.Bridge))
		}
	}
	if len(n.there()) == 0 {
		problems = append(problems, n.incomplete())
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	addrs, err := netlink.AddrList(bridge, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", c.Bridge, err)
	}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok || a.Label != "" && a.Label != c.Bridge { // labelled addresses are decoys, see firmware/decoy
			continue
		}
		ones, _ := a.Mask.Size()
		n.Addrs = append(n.Addrs, ip.Unmap())
		n.Prefixes = append(n.Prefixes, netip.PrefixFrom(ip.Unmap(), ones).Masked())
	}
	if len(n.Addrs) == 0 {
		return nil, fmt.Errorf("network.bridge: %q has no address; the gateway needs one to serve DHCP, DNS and the help page", c.Bridge)
	}
	return n, nil
}

// there are the ports that were there at the start.
func (n *Network) there() []string {
	return slices.DeleteFunc(slices.Clone(n.Ports), func(name string) bool { return n.missing[name] != nil })
}

// incomplete names the ports that were not.
func (n *Network) incomplete() error {
	var errs []error
	for _, name := range n.Ports {
		errs = append(errs, n.missing[name])
	}
	return errors.Join(errs...)
}

// PortName names the bridge port that has, or had, that ifindex, or "". Any
// goroutine may call it.
func (n *Network) PortName(ifindex uint32) string {
	if names := n.names.Load(); names != nil {
		return (*names)[ifindex]
	}
	return ""
}

// maxNames bounds the indexes of ports that came and went; the kernel counts
// up, so that the lowest is the oldest.
const maxNames = 1024

// learn adds the index of a port. What it had before stays: frames from then are
// still in the ring and in the spool. One goroutine at a time may call it.
func (n *Network) learn(ifindex uint32, name string) {
	names := map[uint32]string{}
	if old := n.names.Load(); old != nil {
		if (*old)[ifindex] == name {
			return
		}
		maps.Copy(names, *old)
	}
	if len(names) >= maxNames {
		delete(names, slices.Min(slices.Collect(maps.Keys(names))))
	}
	names[ifindex] = name
	n.names.Store(&names)
}

// isWiFi says that hostapd has charge of the port: it may start later than this
// program, and an interface that is taken down under it ends the access point.
func (n *Network) isWiFi(port string) bool { return slices.Contains(n.WiFi, port) }

// Raise brings the LAN ports up. It is called only after the containment
// policy is in the kernel: until then no port forwards a frame. One that cannot be
// raised is counted as missing, which keeps no other down; no port at all is an
// error.
func (n *Network) Raise() error {
	raised, failed := false, false
	for _, name := range n.there() {
		if n.isWiFi(name) {
			continue
		}
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err != nil {
			n.missing[name] = fmt.Errorf("raise port %s: %w", name, permission(err))
		}
		raised, failed = raised || err == nil, failed || err != nil
	}
	if failed && !raised {
		return n.incomplete()
	}
	return nil
}

func permission(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w (start sekisho as root, or with CAP_NET_ADMIN and CAP_NET_RAW)", err)
	}
	return err
}
