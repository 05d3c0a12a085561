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

// speaker is a Voice with its socket, nil while the device is not there.
type speaker struct {
	frames [][]byte
	device string
	index  int
	*socket
}

func newSpeakers(c Config) []*speaker {
	var out []*speaker
	for _, v := range c.Voices {
		out = append(out, &speaker{device: v.Device, frames: stimuli(v, c.Host)})
	}
	return out
}

// open looks for the device. That it is not there is no error: the quarantine
// VLAN comes and goes with those who are in it.
func (s *speaker) open() error {
	if s.socket != nil {
		return nil
	}
	dev, err := net.InterfaceByName(s.device)
	if err != nil {
		return nil
	}
	s.index = dev.Index
	s.socket, err = newSocket(s.device)
	return err
}

// stimulate asks every address of the host who has it, in the gateway's name,
// so that a host that is up must answer: ARP for IPv4, and neighbour
// solicitation for IPv6 including its link-local addresses.
func (w *Watch) stimulate() error {
	w.speaking.Lock()
	defer w.speaking.Unlock()
	var errs []error
	for _, s := range w.speakers {
		if err := s.open(); err != nil || s.socket == nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, s.speak())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stimulate: %w", err)
	}
	return nil
}

func (s *speaker) speak() error {
	for _, frame := range s.frames {
		err := s.control(func(fd int) error {
			return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: s.index, Halen: 6})
		})
		switch {
		case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENETDOWN):
			err = s.Close() // gone, or down; Prove asks again
			s.socket = nil
			return err
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS): // the queue is full; Prove asks again
		case err != nil:
			return err
		}
	}
	return nil
}

// stimuli is pure.
func stimuli(v Voice, h netcontain.Host) [][]byte {
	var gw4, gw6 netip.Addr
	for _, a := range v.Addrs {
		switch {
		case a.Unmap().Is4():
			gw4 = a.Unmap()
		case !gw6.IsValid() || a.IsLinkLocalUnicast():
			gw6 = a.WithZone("")
		}
	}
	addrs := append([]netip.Addr{}, h.Addrs...)
	for _, m := range h.MACs {
		addrs = append(addrs, LinkLocal(m))
	}
	var out [][]byte
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		dsts := h.MACs // unicast: nobody else is disturbed
		if len(dsts) == 0 {
			dsts = []netcontain.MAC{{255, 255, 255, 255, 255, 255}}
		}
		for _, dst := range dsts {
			if a.Is4() && gw4.IsValid() {
				out = append(out, arpRequest(v.MAC, dst, gw4, a))
			} else if a.Is6() && gw6.IsValid() {
				out = append(out, solicitation(v.MAC, dst, gw6, a))
			}
		}
	}
	return out
}

// LinkLocal is the modified EUI-64 address (RFC 4291, appendix A).
func LinkLocal(m netcontain.MAC) netip.Addr {
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
