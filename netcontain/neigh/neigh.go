// Package neigh speaks ARP (RFC 826) and NDP (RFC 4861) on behalf of
// containment. The gateway calls it; it must never say where an address of the
// gateway or a router is other than in truth, and never send to a router.
//
// Heal repairs neighbour tables after a host that spoofed ARP was isolated:
// ours, by forgetting what it made us believe, and the others', by announcing
// the gateway's own addresses (RFC 5227, section 2.3). It never touches
// permanent entries. Limits: IPv4 announcements only; IPv6 neighbours find the
// gateway again by neighbour unreachability detection (RFC 4861, section 7.3),
// in about half a minute.
//
// Segment is mechanism `segment`: a held host behind a switch that nobody
// manages talks to its neighbours there without passing us. It is told that they
// are, and they are told that it is, at a MAC of ours that no machine has. The
// switch learns that MAC at our port, so what they send each other comes to us:
// the sets of netcontain/nft drop it, capture keeps it as evidence, and no other
// cable carries it. The gateway's own MAC would do so too, but its IP stack would
// then answer with redirects (RFC 1812, 5.2.7.2), and a MAC that is nowhere would
// make the switch send every frame to everybody.
//
// It is gentle: unicast only, on shared ports only, at a bounded rate (book.go),
// and taken back at the release. When the program dies, caches heal by
// themselves: Linux believes an entry for up to 45 s, then waits 5 s and probes
// three times (base_reachable_time, delay_first_probe_time, ucast_solicit), in
// all up to 53 s in which host and neighbours miss each other, and nobody else.
//
// It is best effort, and always said to be: a host with static entries, or one
// that sends frames of its own making to MACs that it knows, reaches its
// neighbours with them, though their answers go nowhere; one that floods keeps us
// from hearing its neighbours, and only the repetition remains. The first frame to a
// neighbour that was never heard may pass, for its answer and ours race.
// Switches that inspect ARP (DHCP snooping) may drop what we say.
package neigh

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
)

// Heal forgets every neighbour of the bridge that is believed to be at one of
// the given MACs, and announces the bridge's own addresses to all ports. It
// takes milliseconds, and may be repeated.
func Heal(bridge string, isolated []netcontain.MAC) error {
	link, err := netlink.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("heal neighbours on %s: %w", bridge, err)
	}
	if err := errors.Join(forget(link, isolated), announce(link)); err != nil {
		return fmt.Errorf("heal neighbours on %s: %w", bridge, err)
	}
	return nil
}

func forget(link netlink.Link, isolated []netcontain.MAC) error {
	entries, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	var errs []error
	for _, n := range entries {
		if n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0 || !at(isolated, n) {
			continue
		}
		if err := netlink.NeighDel(&n); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("forget %s: %w", n.IP, err))
		}
	}
	return errors.Join(errs...)
}

func at(macs []netcontain.MAC, n netlink.Neigh) bool {
	for _, m := range macs {
		if string(m[:]) == string(n.HardwareAddr) {
			return true
		}
	}
	return false
}

func announce(link netlink.Link) error {
	var own netcontain.MAC
	if copy(own[:], link.Attrs().HardwareAddr) != len(own) {
		return errors.New("the device has no Ethernet address")
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var errs []error
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP.To4())
		if !ok {
			continue
		}
		for _, op := range []byte{1, 2} { // some hosts heed only the one, some only the other
			frame := announcement(own, ip, op)
			errs = append(errs, unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Halen: 6}))
		}
	}
	return errors.Join(errs...)
}

// announcement is a gratuitous ARP packet (RFC 826, op 1 request or 2 reply):
// sender and target address are the announced one. It is padded to the least
// size of an Ethernet frame, 60 bytes without checksum.
func announcement(own netcontain.MAC, ip netip.Addr, op byte) []byte {
	const least = 60
	b := []byte{255, 255, 255, 255, 255, 255}
	b = append(b, own[:]...)
	b = append(b, 8, 6, 0, 1, 8, 0, 6, 4, 0, op)
	b = append(append(b, own[:]...), ip.AsSlice()...)
	if op == 1 {
		b = append(b, make([]byte, 6)...)
	} else {
		b = append(b, own[:]...)
	}
	b = append(b, ip.AsSlice()...)
	return append(b, make([]byte, least-len(b))...)
}
