package capture

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// maxTaps keeps every jump of the filter within the 8 bits that it has.
const maxTaps = 200

// target is what a socket is told to capture: a kernel filter, and the
// interface to bind to.
type target struct {
	filter []unix.SockFilter
	bind   int // the only tap, or 0 for all interfaces
	absent int // taps that there is no interface for
}

// compile turns taps into a target. A tap without an interface is an error, or
// left out when some may be absent. A fanout socket cannot be bound anew later,
// so it is bound to all.
func compile(cfg LiveConfig, mayBeAbsent bool) (target, error) {
	all, err := net.Interfaces()
	if err != nil {
		return target{}, fmt.Errorf("list interfaces: %w", err)
	}
	var out target
	var taps []Tap
	var index []int
	for _, t := range cfg.Taps {
		if !t.In && !t.Out {
			return target{}, fmt.Errorf("interface %q: neither direction chosen", t.Name)
		}
		at := slices.IndexFunc(all, func(i net.Interface) bool { return i.Name == t.Name })
		switch {
		case at >= 0:
			taps, index = append(taps, t), append(index, all[at].Index)
		case mayBeAbsent:
			out.absent++
		default:
			return target{}, fmt.Errorf("interface %q: no such network interface (there are: %s)", t.Name, names(all))
		}
	}
	if out.filter, err = assemble(taps, index, cfg.SnapLen); err != nil {
		return target{}, err
	}
	if len(index) == 1 && len(cfg.Taps) == 1 && cfg.Fanout == nil {
		out.bind = index[0]
	}
	return out, nil
}

func names(all []net.Interface) string {
	out := make([]string, len(all))
	for i, ifi := range all {
		out[i] = ifi.Name
	}
	return strings.Join(out, ", ")
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
