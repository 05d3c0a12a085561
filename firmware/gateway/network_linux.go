package gateway

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/firmware/config"
	"sekisho/firmware/drill/dummy"
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

	drill   []string         // ports that exist while a drill runs
	missing map[string]error // those of Ports, and WAN, that were not there, or not raised, at the start; with what to mend

	turns atomic.Uint64 // how often an interface came, went, or was made anew

	mu    sync.Mutex
	voice voice // of the bridge; the zero voice: not looked at since the start
	asked time.Time
}

// voice is what the gateway is called on the bridge.
type voice struct {
	MAC   flow.MAC
	Addrs []netip.Addr
}

// equal leaves the kernel's order of the addresses aside.
func (v voice) equal(o voice) bool {
	a, b := slices.Clone(v.Addrs), slices.Clone(o.Addrs)
	slices.SortFunc(a, netip.Addr.Compare)
	slices.SortFunc(b, netip.Addr.Compare)
	return v.MAC == o.MAC && slices.Equal(a, b)
}

// voiceFor bounds how often the kernel is asked what the bridge is called: every
// held host's watch wants to know, four times a second.
const voiceFor = time.Second

// Voice is what the gateway is called on the bridge as it is now, or was when it
// was there: one that was made anew may have another MAC, and gets its addresses
// later. Any goroutine may call it.
func (n *Network) Voice(now time.Time) voice {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.voice.MAC.IsZero() {
		n.voice = voice{n.BridgeMAC, n.Addrs}
	}
	if age := now.Sub(n.asked); age >= 0 && age < voiceFor {
		return n.voice
	}
	n.asked = now
	if bridge, err := netlink.LinkByName(n.Bridge); err == nil {
		if mac := macOf(bridge.Attrs()); !mac.IsZero() {
			n.voice.MAC = mac
		}
		if addrs, _, err := addressesOf(bridge); err == nil && len(addrs) > 0 {
			n.voice.Addrs = addrs
		}
	}
	return n.voice
}

// watched are the LAN ports, those of a drill among them.
func (n *Network) watched() []string { return append(slices.Clone(n.Ports), n.drill...) }

// present are those of watched that are there now, and the uplink if it is.
func (n *Network) present() []string { return slices.DeleteFunc(append(n.watched(), n.WAN), absent) }

// tapped are the ports to capture on: those of a drill only while they are there,
// because a tap without an interface is counted.
func (n *Network) tapped() []string {
	return append(slices.Clone(n.Ports), slices.DeleteFunc(slices.Clone(n.drill), absent)...)
}

func absent(name string) bool {
	_, err := netlink.LinkByName(name)
	return errors.As(err, new(netlink.LinkNotFoundError))
}

func macOf(a *netlink.LinkAttrs) (mac flow.MAC) {
	if len(a.HardwareAddr) == len(mac) {
		copy(mac[:], a.HardwareAddr)
	}
	return mac
}

// addressesOf are a bridge's addresses without its decoys, which have labels
// (firmware/decoy).
func addressesOf(bridge netlink.Link) (addrs []netip.Addr, prefixes []netip.Prefix, err error) {
	all, err := netlink.AddrList(bridge, netlink.FAMILY_ALL)
	if err != nil {
		return nil, nil, fmt.Errorf("list addresses of %s: %w", bridge.Attrs().Name, err)
	}
	for _, a := range all {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok || a.Label != "" && a.Label != bridge.Attrs().Name {
			continue
		}
		ones, _ := a.Mask.Size()
		addrs = append(addrs, ip.Unmap())
		prefixes = append(prefixes, netip.PrefixFrom(ip.Unmap(), ones).Masked())
	}
	return addrs, prefixes, nil
}

// Inspect looks the interfaces up. Its errors say which setting to mend. Of
// several ports some may be missing, and so may the uplink: an adapter that broke
// must not keep the whole office off the network. They are watched for; see ports
// and uplink.
func Inspect(c config.Network) (*Network, error) {
	n := &Network{Bridge: c.Bridge, WAN: c.WAN, Ports: c.Ports, WiFi: c.WiFi, drill: dummy.Ports(), missing: map[string]error{}}
	bridge, err := n.find("network.bridge", c.Bridge)
	problems := []error{err}
	if bridge != nil && bridge.Type() != "bridge" {
		problems = append(problems, fmt.Errorf("network.bridge: %q is of type %q, not a bridge", c.Bridge, bridge.Type()))
	}
	if bridge != nil {
		n.BridgeMAC = macOf(bridge.Attrs())
	}
	if _, err := n.find("network.wan", c.WAN); errors.As(err, new(netlink.LinkNotFoundError)) {
		n.missing[c.WAN] = err
	} else {
		problems = append(problems, err)
	}
	for i, name := range c.Ports {
		problems = append(problems, n.findPort(fmt.Sprintf("network.ports[%d]", i), name, bridge))
	}
	if len(n.there()) == 0 {
		problems = append(problems, n.incomplete())
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if n.Addrs, n.Prefixes, err = addressesOf(bridge); err != nil {
		return nil, err
	}
	if len(n.Addrs) == 0 {
		return nil, fmt.Errorf("network.bridge: %q has no address; the gateway needs one to serve DHCP, DNS and the help page", c.Bridge)
	}
	return n, nil
}

// find looks one interface up, and notes its MAC as the gateway's own.
func (n *Network) find(key, name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing):
		return nil, fmt.Errorf("%s: there is no interface %q; 'ip link' lists those of this machine: %w", key, name, err)
	case err != nil:
		return nil, fmt.Errorf("%s: look up interface %q: %w", key, name, err)
	}
	if mac := macOf(link.Attrs()); !mac.IsZero() {
		n.Self = append(n.Self, mac)
	}
	return link, nil
}

// findPort looks a LAN port up, for a bridge that is nil when there is none.
func (n *Network) findPort(key, name string, bridge netlink.Link) error {
	port, err := n.find(key, name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		n.missing[name] = err
		return nil
	}
	if err != nil {
		return err
	}
	n.learn(uint32(port.Attrs().Index), name)
	if bridge != nil && !n.isWiFi(name) && port.Attrs().MasterIndex != bridge.Attrs().Index {
		return fmt.Errorf("%s: %q is not a port of bridge %q", key, name, n.Bridge)
	}
	return nil
}

// there are the ports that were there at the start.
func (n *Network) there() []string {
	return slices.DeleteFunc(slices.Clone(n.Ports), func(name string) bool { return n.missing[name] != nil })
}

// incomplete names the ports that were not, and the uplink if it was not.
func (n *Network) incomplete() error {
	errs := []error{n.missing[n.WAN]}
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
