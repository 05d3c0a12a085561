package capture

import (
	"fmt"
	"net"
	"strings"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// maxTaps keeps every jump of the filter within the 8 bits that it has.
const maxTaps = 200

// compile turns taps into the kernel filter and the interface to bind to: the
// only tap, or 0 for all interfaces. A fanout socket cannot be bound anew
// later, so it is bound to all.
func compile(cfg LiveConfig) ([]unix.SockFilter, int, error) {
	index := make([]int, len(cfg.Taps))
	for i, t := range cfg.Taps {
		ifi, err := net.InterfaceByName(t.Name)
		if err != nil {
			return nil, 0, fmt.Errorf("interface %q: %w (there are: %s)", t.Name, err, interfaces())
		}
		if !t.In && !t.Out {
			return nil, 0, fmt.Errorf("interface %q: neither direction chosen", t.Name)
		}
		index[i] = ifi.Index
	}
	filter, err := assemble(cfg.Taps, index, cfg.SnapLen)
	if err != nil {
		return nil, 0, err
	}
	bind := 0
	if len(index) == 1 && cfg.Fanout == nil {
		bind = index[0]
	}
	return filter, bind, nil
}

func interfaces() string {
	all, err := net.Interfaces()
	if err != nil {
		return "unknown"
	}
	names := make([]string, len(all))
	for i, ifi := range all {
		names[i] = ifi.Name
	}
	return strings.Join(names, ", ")
}

// assemble builds the filter: one comparison per tap of the frame's interface
// index, which jumps to the check of the direction.
func assemble(taps []Tap, index []int, snap int) ([]unix.SockFilter, error) {
	n := len(taps)
	if n > maxTaps {
		return nil, fmt.Errorf("%d interfaces: at most %d", n, maxTaps)
	}
	// After the comparisons: n+1 drop, n+2..4 only In, n+5..6 only Out.
	prog := []bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtInterfaceIndex}}
	for i, t := range taps {
		target := n + 7 // keep
		if !t.Out {
			target = n + 2
		} else if !t.In {
			target = n + 5
		}
		prog = append(prog, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(index[i]), SkipTrue: uint8(target - (i + 2))})
	}
	prog = append(prog,
		bpf.RetConstant{Val: 0},             // n+1
		bpf.LoadExtension{Num: bpf.ExtType}, // n+2
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipFalse: 3}, // n+3
		bpf.RetConstant{Val: 0},             // n+4
		bpf.LoadExtension{Num: bpf.ExtType}, // n+5
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 1}, // n+6
		bpf.RetConstant{Val: uint32(snap)},                                         // n+7
		bpf.RetConstant{Val: 0},                                                    // n+8
	)
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return nil, fmt.Errorf("assemble the kernel filter: %w", err)
	}
	out := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		out[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return out, nil
}

// attach installs or atomically replaces the socket's filter.
func attach(fd int, filter []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: unsafe.SliceData(filter)}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("attach the kernel filter: %w", err)
	}
	return nil
}
