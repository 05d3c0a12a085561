package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// field is a place in a frame, and what must hold for it to be there.
type field struct {
	guard []expr.Any
	base  expr.PayloadBase
	off   uint32
	len   uint32
}

// Ethertypes. A guard with protocol looks at what the frame carries inside a
// VLAN tag too (used for dropping); wire looks at the bytes on the wire, so
// that a tagged frame never matches (used for accepting).
const (
	etherIP  = 0x0800
	etherARP = 0x0806
	etherIP6 = 0x86dd
)

func protocol(etherType uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: be16(etherType)},
	}
}

func wire(etherType uint16) []expr.Any { return equal(etherKind, be16(etherType)) }

var (
	etherDst  = field{base: expr.PayloadBaseLLHeader, off: 0, len: 6}
	etherSrc  = field{base: expr.PayloadBaseLLHeader, off: 6, len: 6}
	etherKind = field{base: expr.PayloadBaseLLHeader, off: 12, len: 2}

	ip4Src = field{guard: protocol(etherIP), base: expr.PayloadBaseNetworkHeader, off: 12, len: 4}
	ip4Dst = field{guard: protocol(etherIP), base: expr.PayloadBaseNetworkHeader, off: 16, len: 4}
	ip6Src = field{guard: protocol(etherIP6), base: expr.PayloadBaseNetworkHeader, off: 8, len: 16}
	ip6Dst = field{guard: protocol(etherIP6), base: expr.PayloadBaseNetworkHeader, off: 24, len: 16}

	arpSrcMAC = field{guard: protocol(etherARP), base: expr.PayloadBaseNetworkHeader, off: 8, len: 6}
	arpSrcIP  = field{guard: protocol(etherARP), base: expr.PayloadBaseNetworkHeader, off: 14, len: 4}
	arpDstMAC = field{guard: protocol(etherARP), base: expr.PayloadBaseNetworkHeader, off: 18, len: 6}
	arpDstIP  = field{guard: protocol(etherARP), base: expr.PayloadBaseNetworkHeader, off: 24, len: 4}

	srcPort  = field{base: expr.PayloadBaseTransportHeader, off: 0, len: 2}
	dstPort  = field{base: expr.PayloadBaseTransportHeader, off: 2, len: 2}
	tcpFlags = field{base: expr.PayloadBaseTransportHeader, off: 13, len: 1} // RFC 9293, 3.1
	icmpType = field{base: expr.PayloadBaseTransportHeader, off: 0, len: 1}
	ndTarget = field{base: expr.PayloadBaseTransportHeader, off: 8, len: 16} // RFC 4861, 4.3 and 4.4
)

func (f field) load() []expr.Any {
	return append(append([]expr.Any{}, f.guard...),
		&expr.Payload{DestRegister: 1, Base: f.base, Offset: f.off, Len: f.len})
}

func equal(f field, value []byte) []expr.Any {
	return append(f.load(), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value})
}

// in matches when the field is an element of the set.
func in(f field, s *nftables.Set) []expr.Any {
	return append(f.load(), &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID})
}

// prefixed matches the field's leading bits; the prefix is of the field's size.
func prefixed(f field, p netip.Prefix) []expr.Any {
	mask := make([]byte, f.len)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return append(f.load(),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: f.len, Mask: mask, Xor: make([]byte, f.len)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()})
}

const (
	tcpSyn   = 0x02
	tcpReset = 0x04
)

// has matches when one of the bits is set in a field of one byte.
func has(f field, bits byte) []expr.Any {
	return append(f.load(),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{bits}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0}})
}

func metaIn(key expr.MetaKey, s *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID},
	}
}

func metaIs(key expr.MetaKey, op expr.CmpOp, value []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: value}}
}

// l4 matches a transport protocol by what the kernel parsed, also behind IPv6
// extension headers.
func l4(proto byte) []expr.Any { return metaIs(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{proto}) }

func setMark(mark uint32) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(mark)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
	}
}

func redirectTo(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: be16(port)},
		&expr.Redir{RegisterProtoMin: 1, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED},
	}
}

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

func jump(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}

func goTo(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}}
}

func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

// ifname is a device name as the kernel compares it: padded to 16 bytes.
func ifname(name string) []byte {
	b := make([]byte, 16)
	copy(b, name)
	return b
}

func markBytes() []byte { return binaryutil.NativeEndian.PutUint32(Mark) }
