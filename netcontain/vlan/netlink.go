package vlan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
)

// rtnetlink is the kernel, in the network namespace where it was opened.
type rtnetlink struct {
	h     *netlink.Handle
	ns    netns.NsHandle
	ports map[int]*nl.SocketHandle // for bridgePorts, by protocol
}

var _ kernel = (*rtnetlink)(nil)

func openNetlink() (*rtnetlink, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	ns, err := netns.Get()
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	k := &rtnetlink{h: h, ns: ns, ports: map[int]*nl.SocketHandle{}}
	s, err := k.socket()
	if err != nil {
		k.Close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	k.ports[unix.NETLINK_ROUTE] = &nl.SocketHandle{Socket: s}
	return k, nil
}

// socket opens one more, in the namespace in which openNetlink was called.
func (k *rtnetlink) socket() (*nl.NetlinkSocket, error) {
	in := k.ns
	if here, err := netns.Get(); err == nil {
		if here.Equal(k.ns) { // always so in the product, which may not be allowed to enter one
			in = netns.None()
		}
		here.Close()
	}
	return nl.GetNetlinkSocketAt(in, netns.None(), unix.NETLINK_ROUTE)
}

// Close implements kernel.
func (k *rtnetlink) Close() {
	k.h.Close()
	k.ns.Close()
	for _, s := range k.ports {
		s.Close()
	}
}

// attempts bounds how often a dump that something else changed meanwhile is
// read again.
const attempts = 5

// dump calls list again while the kernel says that what it listed has changed.
func dump[T any](list func() (T, error)) (out T, err error) {
	for range attempts {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, err
}

// read implements kernel.
func (k *rtnetlink) read(bridge string) (world, error) {
	w := world{ports: map[string]port{}}
	links, err := dump(k.h.LinkList)
	if err != nil {
		return w, fmt.Errorf("list devices: %w", err)
	}
	ports, err := dump(k.bridgePorts)
	if err != nil {
		return w, fmt.Errorf("list ports of bridges: %w", err)
	}
	index := -1
	for _, l := range links {
		if b, ok := l.(*netlink.Bridge); ok && b.Name == bridge {
			index = b.Index
			w.found = true
			w.filtering = b.VlanFiltering != nil && *b.VlanFiltering
			if b.VlanDefaultPVID != nil {
				w.defaultPVID = *b.VlanDefaultPVID
			}
			w.self = ports[index].vlans
		}
	}
	for _, l := range links {
		a := l.Attrs()
		if v, ok := l.(*netlink.Vlan); ok && index >= 0 && a.ParentIndex == index {
			d, err := k.device(v)
			if err != nil {
				return w, err
			}
			w.devices = append(w.devices, d)
			continue
		}
		p, listed := ports[a.Index]
		p.index, p.up, p.alias = a.Index, a.Flags&net.FlagUp != 0, a.Alias
		p.member = listed && index >= 0 && a.MasterIndex == index
		p.owner, p.note = parseNote(a.Alias)
		if p.member {
			p.wireless = wireless(a.Name)
		}
		if p.member || !p.note.zero() {
			w.ports[a.Name] = p
		}
	}
	w.fences, err = k.fences()
	return w, err
}

// fencePriority is that of our routing rules, and says that they are ours. It
// stands behind the table of local addresses (0) and before the main one
// (32766): a host in quarantine reaches the gateway, and nothing behind it, also
// while somebody has flushed the sets.
const fencePriority = 0x5e15

// families are what a fence has to be in. A kernel without routing rules or
// without IPv6 has nothing to show, and is not fenced there.
var families = []int{netlink.FAMILY_V4, netlink.FAMILY_V6}

func (k *rtnetlink) fences() (map[string]bool, error) {
	out := map[string]bool{}
	seen := map[string]int{}
	can := 0
	for _, family := range families {
		rules, err := dump(func() ([]netlink.Rule, error) { return k.h.RuleList(family) })
		if unsupported(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list routing rules: %w", err)
		}
		can++
		for _, r := range rules {
			if r.Priority == fencePriority && r.IifName != "" {
				seen[r.IifName]++
			}
		}
	}
	for name, n := range seen {
		out[name] = n == can
	}
	return out, nil
}

func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
}

// fenceOff adds or takes away the rules for a device, which need not be there.
// They drop in silence: an ICMP error would carry what the held host sent to
// whomever it named as its source.
func (k *rtnetlink) fenceOff(device string, on bool) error {
	var errs []error
	for _, family := range families {
		r := netlink.NewRule()
		r.Family, r.Priority, r.IifName, r.Type = family, fencePriority, device, unix.RTN_BLACKHOLE
		do, done := k.h.RuleAdd, unix.EEXIST
		if !on {
			do, done = k.h.RuleDel, unix.ENOENT
		}
		if err := do(r); err != nil && !errors.Is(err, done) && !unsupported(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// bridgePorts reads the VLANs of all bridges and of their ports, and the ports'
// flags, by index: one dump, where netlink.BridgeVlanList and LinkGetProtinfo
// take one and one for each port. A press waits while we look.
func (k *rtnetlink) bridgePorts() (map[int]port, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.Sockets = k.ports
	req.AddData(nl.NewIfInfomsg(unix.AF_BRIDGE))
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(uint32(nl.RTEXT_FILTER_BRVLAN))))
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, err
	}
	out := map[int]port{}
	for _, m := range messages {
		if len(m) < unix.SizeofIfInfomsg {
			continue
		}
		head := nl.DeserializeIfInfomsg(m)
		attrs, err := nl.ParseRouteAttr(m[head.Len():])
		if err != nil {
			return nil, err
		}
		var p port
		for _, a := range attrs {
			inner, err := nl.ParseRouteAttr(a.Value)
			switch {
			case a.Attr.Type == unix.IFLA_PROTINFO|unix.NLA_F_NESTED && err == nil:
				p.isolated = isolated(inner)
			case a.Attr.Type == unix.IFLA_AF_SPEC && err == nil:
				p.vlans = members(inner)
			}
		}
		out[int(head.Index)] = p
	}
	return out, nil
}

func isolated(attrs []syscall.NetlinkRouteAttr) bool {
	for _, a := range attrs {
		if a.Attr.Type == nl.IFLA_BRPORT_ISOLATED && len(a.Value) > 0 {
			return a.Value[0] != 0
		}
	}
	return false
}

func (k *rtnetlink) device(v *netlink.Vlan) (device, error) {
	d := device{name: v.Name, id: uint16(v.VlanId), up: v.Flags&net.FlagUp != 0, alias: v.Alias, made: v.Group == madeGroup}
	d.owner, d.note = parseDeviceNote(v.Alias)
	addrs, err := dump(func() ([]netlink.Addr, error) { return k.h.AddrList(v, netlink.FAMILY_ALL) })
	if err != nil {
		return d, fmt.Errorf("list addresses of %s: %w", v.Name, err)
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			ones, _ := a.Mask.Size()
			d.addrs = append(d.addrs, netip.PrefixFrom(ip.Unmap(), ones))
		}
	}
	return d, nil
}

// wireless asks for the folder that the kernel gives to 802.11 devices
// (Documentation/ABI/testing/sysfs-class-net). Names of devices have no slash.
func wireless(name string) bool {
	_, err := os.Stat(filepath.Join("/sys/class/net", name, "phy80211"))
	return err == nil
}

// members reads struct bridge_vlan_info (linux/if_bridge.h): flags and VLAN, 16
// bits each.
func members(attrs []syscall.NetlinkRouteAttr) membership {
	var m membership
	for _, a := range attrs {
		if a.Attr.Type != nl.IFLA_BRIDGE_VLAN_INFO || len(a.Value) < 4 {
			continue
		}
		flags, id := binary.NativeEndian.Uint16(a.Value), binary.NativeEndian.Uint16(a.Value[2:])
		if flags&nl.BRIDGE_VLAN_INFO_PVID != 0 {
			m.pvid = id
		}
		if flags&nl.BRIDGE_VLAN_INFO_UNTAGGED != 0 {
			m.untagged = append(m.untagged, id)
		} else {
			m.tagged = append(m.tagged, id)
		}
	}
	slices.Sort(m.untagged)
	slices.Sort(m.tagged)
	return m
}

// do implements kernel.
func (k *rtnetlink) do(o op) error {
	switch o.kind {
	case newDevice:
		return k.newDevice(o)
	case fence, unfence:
		return k.fenceOff(o.device, o.kind == fence)
	}
	l, err := k.h.LinkByName(o.device)
	if err != nil {
		return err
	}
	switch o.kind {
	case setAlias:
		return k.h.LinkSetAlias(l, o.text)
	case isolate:
		return k.h.LinkSetIsolated(l, o.on)
	case addVLAN:
		return k.h.BridgeVlanAdd(l, o.vid, o.pvid, o.untagged, false, false)
	case delVLAN:
		return k.h.BridgeVlanDel(l, o.vid, false, false, false, false)
	case addSelf:
		return k.h.BridgeVlanAdd(l, o.vid, false, false, true, false)
	case delSelf:
		return k.h.BridgeVlanDel(l, o.vid, false, false, true, false)
	case linkDown:
		return k.h.LinkSetDown(l)
	case linkUp:
		return k.h.LinkSetUp(l)
	case delDevice:
		return k.h.LinkDel(l)
	case addAddr:
		return k.h.AddrReplace(l, addrOf(o.address))
	case delAddr:
		return k.h.AddrDel(l, addrOf(o.address))
	}
	return fmt.Errorf("operation %q is not known", o.kind)
}

// madeGroup is the device group (IFLA_GROUP) of what we make. A group is given
// in the request that makes a device, which an alias cannot be: there is no
// moment in which it does not say whose it is. The number is that of nft.Mark.
const madeGroup = 0x5e15

// newDevice makes the VLAN device; it is named after its bridge.
func (k *rtnetlink) newDevice(o op) error {
	name, ok := parentOf(o)
	if !ok {
		return fmt.Errorf("device %s is not named after a bridge", o.device)
	}
	parent, err := k.h.LinkByName(name)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.Group = o.device, parent.Attrs().Index, madeGroup
	return k.h.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: int(o.vid), VlanProtocol: netlink.VLAN_PROTOCOL_8021Q})
}

// parentOf is the bridge in "<bridge>.<vlan>".
func parentOf(o op) (string, bool) {
	suffix := "." + number(o.vid)
	if len(o.device) <= len(suffix) || o.device[len(o.device)-len(suffix):] != suffix {
		return "", false
	}
	return o.device[:len(o.device)-len(suffix)], true
}

func addrOf(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
}

// forwarding implements kernel.
func (k *rtnetlink) forwarding(w world) ([]sighting, error) {
	names := map[int]string{}
	for name, p := range w.ports {
		if p.member {
			names[p.index] = name
		}
	}
	var out []sighting
	_, err := dump(func() (struct{}, error) {
		out = nil
		return struct{}{}, k.neighbours(func(n *netlink.Neigh) {
			name := names[n.LinkIndex]
			if name == "" || len(n.HardwareAddr) != 6 || n.State&netlink.NUD_PERMANENT != 0 {
				return
			}
			m := netcontain.MAC(n.HardwareAddr)
			if m != (netcontain.MAC{}) && m[0]&1 == 0 {
				out = append(out, sighting{mac: m, port: name, vid: uint16(n.Vlan)})
			}
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list forwarding table: %w", err)
	}
	return out, nil
}

// maxForwarding bounds how much of the forwarding table is read, in entries. A
// host that sends from ever new addresses fills it with hundreds of thousands in
// a second, the kernel walks it from the beginning for every part that it hands
// over (200,000 entries: 9 s, and a press waits), and shows the newest first. An
// office of 250 devices has a few hundred; whom the rest hides, the inventory knows.
const maxForwarding = 4096

// neighbours calls fn for the newest entries of all forwarding tables. The
// request cannot be taken back but by closing the socket.
func (k *rtnetlink) neighbours(fn func(*netlink.Neigh)) error {
	s, err := k.socket()
	if err != nil {
		return err
	}
	defer s.Close()
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
	req.AddData(&netlink.Ndmsg{Family: unix.AF_BRIDGE})
	if err := s.Send(req); err != nil {
		return err
	}
	for left := maxForwarding; left > 0; {
		messages, from, err := s.Receive()
		if err != nil {
			return err
		}
		if from.Pid != nl.PidKernel {
			continue
		}
		for _, m := range messages {
			switch {
			case m.Header.Flags&unix.NLM_F_DUMP_INTR != 0:
				return netlink.ErrDumpInterrupted
			case m.Header.Type == unix.NLMSG_DONE:
				return nil
			case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
				return unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
			case m.Header.Type == unix.RTM_NEWNEIGH:
				n, err := netlink.NeighDeserialize(m.Data)
				if err != nil {
					return err
				}
				fn(n)
				left--
			}
		}
	}
	return nil
}
