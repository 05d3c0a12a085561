package decoy

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	arpLen      = 28
	arpRequest  = 1
	etherLen    = 14
	readTimeout = 20 * time.Millisecond // how soon the end of ctx is noticed
)

// Probe sends ARP probes for the addresses, all at once, from an interface in the
// name of mac, and returns those that somebody owns or is about to take (RFC
// 5227, section 2.1.1). interval is the time between two probes, and wait how
// long it listens after the last. The random delays of the RFC are left out: they
// keep a room of hosts from probing in step after a power cut, and there is one
// gateway. The interface is one of the calling thread's network namespace.
func Probe(ctx context.Context, ifindex int, mac [6]byte, addrs []netip.Addr, interval, wait time.Duration) (map[netip.Addr]bool, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	defer unix.Close(fd)
	tv := unix.NsecToTimeval(readTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return nil, fmt.Errorf("set receive timeout: %w", err)
	}
	to := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ARP), Ifindex: ifindex}
	if err := unix.Bind(fd, to); err != nil {
		return nil, fmt.Errorf("bind packet socket: %w", err)
	}
	wanted := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		wanted[a] = false
	}
	for n := range probes {
		for _, a := range addrs {
			if err := unix.Sendto(fd, probeFrame(mac, a), 0, to); err != nil {
				return nil, fmt.Errorf("send ARP probe for %s: %w", a, err)
			}
		}
		pause := interval
		if n == probes-1 {
			pause = wait
		}
		if err := listen(ctx, fd, mac, wanted, pause); err != nil {
			return nil, err
		}
	}
	for a, owned := range wanted {
		if !owned {
			delete(wanted, a)
		}
	}
	return wanted, nil
}

// listen marks the wanted addresses that are claimed during d.
func listen(ctx context.Context, fd int, own [6]byte, wanted map[netip.Addr]bool, d time.Duration) error {
	end := time.Now().Add(d)
	buf := make([]byte, 128)
	for time.Now().Before(end) {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive ARP: %w", err)
		}
		if a, ok := claim(buf[:n], own); ok {
			if _, ours := wanted[a]; ours {
				wanted[a] = true
			}
		}
	}
	return nil
}

// claim reads an Ethernet frame and returns the address that another machine
// uses (as ARP sender) or probes for (sender 0.0.0.0).
func claim(frame []byte, own [6]byte) (netip.Addr, bool) {
	if len(frame) < etherLen+arpLen {
		return netip.Addr{}, false
	}
	arp := frame[etherLen:]
	if binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_ARP || binary.BigEndian.Uint16(arp[2:]) != unix.ETH_P_IP ||
		arp[4] != 6 || arp[5] != 4 || [6]byte(arp[8:14]) == own {
		return netip.Addr{}, false
	}
	if sender := netip.AddrFrom4([4]byte(arp[14:18])); !sender.IsUnspecified() {
		return sender, true
	}
	if binary.BigEndian.Uint16(arp[6:]) != arpRequest {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(arp[24:28])), true
}

// probeFrame asks for a without claiming it: the sender address is 0.0.0.0.
func probeFrame(own [6]byte, a netip.Addr) []byte {
	f := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	f = append(f, own[:]...)
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_ARP)
	f = binary.BigEndian.AppendUint16(f, 1) // Ethernet
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_IP)
	f = append(f, 6, 4, 0, arpRequest)
	f = append(f, own[:]...)
	f = append(f, 0, 0, 0, 0)
	f = append(f, 0, 0, 0, 0, 0, 0)
	return append(f, a.AsSlice()...)
}
