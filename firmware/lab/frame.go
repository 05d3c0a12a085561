package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// frame is the little that the meter has to know. It is parsed by code of its
// own, so that a fault of the product's decoder cannot hide a leak.
type frame struct {
	dst, src     [6]byte
	etherType    uint16
	srcIP, dstIP netip.Addr // IP only
	tcpSYN, udp  bool
	srcPort      uint16
	dstPort      uint16
	arpOp        uint16 // 0: no ARP
	arpSenderIP  netip.Addr
}

func (f frame) String() string {
	return fmt.Sprintf("%s > %s type %#04x %s:%d > %s:%d arp %d", net.HardwareAddr(f.src[:]), net.HardwareAddr(f.dst[:]),
		f.etherType, f.srcIP, f.srcPort, f.dstIP, f.dstPort, f.arpOp)
}

// parse is total: ok is false only when there is no Ethernet header.
func parse(b []byte) (f frame, ok bool) {
	if len(b) < 14 {
		return f, false
	}
	f.dst, f.src, f.etherType = [6]byte(b), [6]byte(b[6:]), binary.BigEndian.Uint16(b[12:])
	b = b[14:]
	switch {
	case f.etherType == 0x0806 && len(b) >= 28:
		f.arpOp = binary.BigEndian.Uint16(b[6:])
		f.arpSenderIP = netip.AddrFrom4([4]byte(b[14:]))
	case f.etherType == 0x0800 && len(b) >= 20:
		f.srcIP, f.dstIP = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		if n := int(b[0]&15) * 4; n >= 20 && len(b) >= n {
			f.transport(b[9], b[n:])
		}
	case f.etherType == 0x86dd && len(b) >= 40:
		f.srcIP, f.dstIP = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		f.transport(b[6], b[40:])
	}
	return f, true
}

func (f *frame) transport(proto uint8, b []byte) {
	if len(b) < 8 {
		return
	}
	switch proto {
	case 6:
		f.srcPort, f.dstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		f.tcpSYN = len(b) >= 14 && b[13]&0x12 == 0x02
	case 17:
		f.udp = true
		f.srcPort, f.dstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	}
}
