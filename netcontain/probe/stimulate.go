package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"sekisho/netcontain"
)

func (w *Watch) openStimulus() error {
	dev, err := net.InterfaceByName(w.cfg.Bridge)
	if err != nil {
		return err
	}
	w.bridge = dev.Index
	w.stimulus, err = newSocket(w.cfg.Bridge)
	return err
}

// stimulate asks every address of the host who has it, in the gateway's name,
// so that a host that is up must answer: ARP for IPv4, and neighbour
// solicitation for IPv6 including its link-local addresses.
func (w *Watch) stimulate() error {
	var errs []error
	for _, frame := range stimuli(w.cfg) {
		errs = append(errs, w.stimulus.control(func(fd int) error {
			err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.bridge, Halen: 6})
			if errors.Is(err, unix.EAGAIN) {
				return nil // the queue is full; Prove asks again
			}
			return err
		}))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stimulate: %w", err)
	}
	return nil
}

// stimuli is pure.
func stimuli(cfg Config) [][]byte {
	var gw4, gw6 netip.Addr
	for _, a := range cfg.GatewayAddrs {
		switch {
		case a.Unmap().Is4():
			gw4 = a.Unmap()
		case !gw6.IsValid() || a.IsLinkLocalUnicast():
			gw6 = a.WithZone("")
		}
	}
	addrs := append([]netip.Addr{}, cfg.Host.Addrs...)
	for _, m := range cfg.Host.MACs {
		addrs = append(addrs, linkLocal(m))
	}
	var out [][]byte
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		dsts := cfg.Host.MACs // unicast: nobody else is disturbed
		if len(dsts) == 0 {
			dsts = []netcontain.MAC{{255, 255, 255, 255, 255, 255}}
		}
		for _, dst := range dsts {
			if a.Is4() && gw4.IsValid() {
				out = append(out, arpRequest(cfg.GatewayMAC, dst, gw4, a))
			} else if a.Is6() && gw6.IsValid() {
				out = append(out, solicitation(cfg.GatewayMAC, dst, gw6, a))
			}
		}
	}
	return out
}

// linkLocal is the modified EUI-64 address (RFC 4291, appendix A).
func linkLocal(m netcontain.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// arpRequest is RFC 826.
func arpRequest(src, dst netcontain.MAC, from, target netip.Addr) []byte {
	b := append(append(append([]byte{}, dst[:]...), src[:]...), 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	b = append(append(b, src[:]...), from.AsSlice()...)
	b = append(append(b, make([]byte, 6)...), target.AsSlice()...)
	return append(b, make([]byte, 60-len(b))...)
}

// solicitation is RFC 4861, section 4.3, with the source link-layer option.
func solicitation(src, dst netcontain.MAC, from, target netip.Addr) []byte {
	icmp := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target.AsSlice()...)
	icmp = append(append(icmp, 1, 1), src[:]...)
	ip := append([]byte{0x60, 0, 0, 0, 0, byte(len(icmp)), unix.IPPROTO_ICMPV6, 255}, from.AsSlice()...)
	ip = append(ip, target.AsSlice()...)
	binary.BigEndian.PutUint16(icmp[2:], checksum(ip, icmp))
	b := append(append(append([]byte{}, dst[:]...), src[:]...), 0x86, 0xdd)
	return append(append(b, ip...), icmp...)
}

// checksum is that of ICMPv6 over its pseudo-header (RFC 8200, section 8.1).
func checksum(ip, icmp []byte) uint16 {
	sum := uint32(len(icmp)) + unix.IPPROTO_ICMPV6
	for _, part := range [][]byte{ip[8:40], icmp} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
