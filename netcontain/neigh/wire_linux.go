package neigh

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// port is a packet socket on one bridge port. Frames that are sent by it leave
// by the port without passing the bridge, its rules, or a tap that listens
// inwards.
type port struct {
	name  string
	index int
	*os.File
	raw syscall.RawConn
}

// seenBytes is how much of a frame is looked at: a message with a few options.
const seenBytes = 256

// listen opens a port, in the namespace ns. The filter is in place before the
// socket is bound.
func listen(ns netns.NsHandle, name string, index int) (*port, error) {
	fd := -1
	err := inside(ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("packet socket (CAP_NET_RAW?): %w", err)
	}
	p := &port{name: name, index: index, File: os.NewFile(uintptr(fd), name)}
	if p.raw, err = p.SyscallConn(); err == nil {
		err = errors.Join(attach(fd), unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}))
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// inside runs fn in a network namespace.
func inside(ns netns.NsHandle, fn func() error) error {
	if here, err := netns.Get(); err == nil {
		same := here.Equal(ns)
		here.Close()
		if same { // always so in the product
			return fn()
		}
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(ns); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

// attach lets through ARP, neighbour solicitations and advertisements that
// come in. Everything else wakes nobody.
func attach(fd int) error {
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 8},
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherARP, SkipTrue: 7},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv6, SkipTrue: 5},
		bpf.LoadAbsolute{Off: 20, Size: 1}, // next header
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 54, Size: 1}, // ICMPv6 type
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: solicitation, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: advertisement, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: seenBytes},
	})
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

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (p *port) send(frame []byte) error {
	var failed error
	err := p.raw.Control(func(fd uintptr) {
		failed = unix.Sendto(int(fd), frame, unix.MSG_DONTWAIT, &unix.SockaddrLinklayer{Ifindex: p.index, Halen: 6})
	})
	return errors.Join(err, failed)
}

// Reading is bounded: a host that floods with questions may fill its socket's
// buffer, not our processor. readPerSecond is ten times what a /24 scan sends.
const (
	readPerSecond = 2000
	readPause     = 50 * time.Millisecond
)

func (s *Segment) read(p *port) {
	frame := make([]byte, seenBytes)
	budget := bucket{readPerSecond, time.Now()}
	for {
		var n int
		var failed error
		err := p.raw.Read(func(fd uintptr) bool {
			n, _, failed = unix.Recvfrom(int(fd), frame, 0)
			return !errors.Is(failed, unix.EAGAIN)
		})
		if err != nil { // closed
			return
		}
		if failed != nil { // the link went down; it may come up again
			time.Sleep(readPause)
			continue
		}
		for !budget.takeOf(time.Now(), 1, readPerSecond) {
			s.skipped()
			time.Sleep(readPause)
		}
		s.heard(p.name, frame[:n])
	}
}

func (s *Segment) skipped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book.stats.Skipped++
}
