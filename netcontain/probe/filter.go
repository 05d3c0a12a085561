package probe

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
)

// seenBytes is how much of a frame is looked at: Ethernet, four VLAN tags and an
// IPv6 header are 70 bytes.
const seenBytes = 256

// maxFiltered bounds the program. A host with more addresses of one kind is
// recognised by sentBy alone, and the kernel hands over the whole kind.
const maxFiltered = 64

// filter is sentBy as a program for the kernel, so that the traffic of others
// wakes nobody. It may let through more than sentBy takes, never less.
func filter(h netcontain.Host) []bpf.Instruction {
	if len(h.MACs) > maxFiltered {
		return []bpf.Instruction{take()}
	}
	var prog []bpf.Instruction
	for _, mac := range h.MACs {
		prog = append(prog, isMAC(bpf.LoadAbsolute{Off: 6, Size: 4}, bpf.LoadAbsolute{Off: 10, Size: 2}, mac)...)
	}
	prog = append(prog, skipTags()...)
	var v4, v6, arp []bpf.Instruction
	for _, a := range h.Addrs {
		a = a.Unmap().WithZone("")
		if a.Is4() {
			four := a.As4()
			v4 = append(v4, isWord(26, binary.BigEndian.Uint32(four[:]), 0)...)
			arp = append(arp, isWord(28, binary.BigEndian.Uint32(four[:]), 0)...)
		}
		v6 = append(v6, isV6(a.As16())...) // IPv4 as its mapped address
	}
	if len(h.Addrs) > maxFiltered {
		v4, v6, arp = []bpf.Instruction{take()}, []bpf.Instruction{take()}, []bpf.Instruction{take()}
	}
	for _, mac := range h.MACs {
		arp = append(arp, isMAC(bpf.LoadIndirect{Off: 22, Size: 4}, bpf.LoadIndirect{Off: 26, Size: 2}, mac)...)
	}
	for _, s := range []struct {
		kind  uint32
		tests []bpf.Instruction
	}{{0x0800, v4}, {0x86dd, v6}, {0x0806, arp}} {
		prog = append(prog, bpf.LoadIndirect{Off: 12, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: s.kind, SkipTrue: 1},
			bpf.Jump{Skip: uint32(len(s.tests))})
		prog = append(prog, s.tests...)
	}
	return append(prog, bpf.RetConstant{Val: 0})
}

func take() bpf.Instruction { return bpf.RetConstant{Val: seenBytes} }

// skipTags sets X to the length of up to four VLAN tags. What looks for a tag
// in a frame that ends before it ends the program: there is no address in it.
func skipTags() []bpf.Instruction {
	const depth, each = 4, 4
	prog := []bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegX, Val: 0}}
	for n := range depth {
		rest := uint8((depth - 1 - n) * each)
		prog = append(prog, bpf.LoadAbsolute{Off: uint32(12 + 4*n), Size: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x8100, SkipTrue: 1},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x88a8, SkipTrue: rest + 1},
			bpf.LoadConstant{Dst: bpf.RegX, Val: uint32(4 * (n + 1))})
	}
	return prog
}

// isMAC takes the frame when the two loads give mac.
func isMAC(first, last bpf.Instruction, mac netcontain.MAC) []bpf.Instruction {
	return []bpf.Instruction{
		first, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(mac[:4]), SkipTrue: 3},
		last, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(binary.BigEndian.Uint16(mac[4:])), SkipTrue: 1},
		take(),
	}
}

// isWord goes on when the four bytes at X+off are val: to what takes the frame,
// or, when more has to be compared, past it.
func isWord(off, val uint32, more uint8) []bpf.Instruction {
	test := []bpf.Instruction{
		bpf.LoadIndirect{Off: off, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: val, SkipTrue: 1 + more},
	}
	if more > 0 {
		return test
	}
	return append(test, take())
}

func isV6(a [16]byte) []bpf.Instruction {
	var out []bpf.Instruction
	for n := range 4 {
		out = append(out, isWord(uint32(22+4*n), binary.BigEndian.Uint32(a[4*n:]), uint8(2*(3-n)))...)
	}
	return out
}

// attach puts the program on a packet socket. Called before bind, it leaves no
// frame that was not filtered.
func attach(fd int, prog []bpf.Instruction) error {
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}
