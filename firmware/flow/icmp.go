package flow

import (
	"encoding/binary"
	"net/netip"
)

// arp emits RFC 826 for IPv4 over Ethernet; other kinds are counted with what
// is not IP.
func (t *Tracker) arp(emit func(Event)) {
	p := t.hdr.Payload
	if binary.BigEndian.Uint16(p[0:2]) != 1 || binary.BigEndian.Uint16(p[2:4]) != EtherIPv4 || p[4] != 6 || p[5] != 4 {
		t.stats.NonIP++
		return
	}
	if len(p) < 28 {
		t.malformed(errARP, emit)
		return
	}
	t.ev.arp = ARP{
		Meta: t.here(), Op: binary.BigEndian.Uint16(p[6:8]),
		SenderMAC: MAC(p[8:14]), SenderIP: netip.AddrFrom4([4]byte(p[14:18])),
		TargetMAC: MAC(p[18:24]), TargetIP: netip.AddrFrom4([4]byte(p[24:28])),
	}
	emit(&t.ev.arp)
}

// ICMP error types that quote the packet they are about.
const (
	icmp4Unreachable = 3
	icmp6Unreachable = 1
)

// icmp handles both versions. h.Payload begins after the checksum.
func (t *Tracker) icmp(emit func(Event)) {
	h := &t.hdr
	if len(h.Payload) < 4 {
		if !h.Truncated {
			t.malformed(errICMPShort, emit)
		}
		return
	}
	v6 := h.IPVersion == 6
	if v6 && h.ICMPType >= 133 && h.ICMPType <= 137 {
		t.ndp(emit)
		return
	}
	e := &t.ev.icmp
	*e = ICMP{
		Meta: t.here(), Src: h.Src.Netip(), Dst: h.Dst.Netip(), V6: v6,
		Type: h.ICMPType, Code: h.ICMPCode, Length: max(h.PayloadLen-4, 0),
	}
	if h.ICMPType == 128 || h.ICMPType == 129 || !v6 && (h.ICMPType == 8 || h.ICMPType == 0) {
		e.ID = binary.BigEndian.Uint16(h.Payload[0:2])
		e.Seq = binary.BigEndian.Uint16(h.Payload[2:4])
		e.Sum = echoSum(h.Payload[4:])
	}
	emit(e)
	switch {
	case !v6 && h.ICMPType == icmp4Unreachable:
		t.unreachable(unreachable4(h.ICMPCode), emit)
	case v6 && h.ICMPType == icmp6Unreachable:
		t.unreachable(unreachable6(h.ICMPCode), emit)
	}
}

// echoSum hashes the data of an echo behind the time stamp that ping programs
// begin it with (a timeval of 8 or 16 bytes): FNV-1a over at most 64 bytes.
func echoSum(data []byte) uint32 {
	sum := uint32(2166136261)
	if len(data) <= 16 {
		return sum
	}
	for _, b := range data[16:min(len(data), 80)] {
		sum = (sum ^ uint32(b)) * 16777619
	}
	return sum
}

// unreachable4 reads the codes of RFC 792 and RFC 1812 section 5.2.7.1: a host
// or gateway that says no refuses; one that finds no way leaves unanswered.
func unreachable4(code uint8) ConnState {
	switch code {
	case 2, 3, 9, 10, 13: // protocol, port, net/host/communication prohibited
		return ConnRefused
	case 4: // fragmentation needed: the path works, with smaller packets
		return ConnAttempt
	}
	return ConnUnanswered
}

// unreachable6 reads RFC 4443 section 3.1.
func unreachable6(code uint8) ConnState {
	switch code {
	case 1, 4, 5, 6: // prohibited, port, source policy, reject route
		return ConnRefused
	}
	return ConnUnanswered
}

// unreachable ends the attempt that an ICMP error quotes. It must be an
// attempt of the host that the error is sent to, or anybody could end
// anybody's.
func (t *Tracker) unreachable(state ConnState, emit func(Event)) {
	var q Header
	if q.raw(t.hdr.Payload[4:]) != nil && q.SrcPort == 0 {
		return
	}
	if q.SrcPort|q.DstPort == 0 || q.Src != t.hdr.Dst {
		return
	}
	k, srcIsA := q.key()
	i, c := t.table.find(&k)
	if c == nil {
		return
	}
	if c.state != ConnAttempt || state <= c.state || srcIsA == c.clientIsB {
		return
	}
	t.become(i, c, state, emit)
}
