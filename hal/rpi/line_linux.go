package rpi

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags of a line (linux/gpio.h, GPIO_V2_LINE_FLAG_…).
const (
	lineActiveLow = 1 << 1
	lineInput     = 1 << 2
	lineRising    = 1 << 4
	lineFalling   = 1 << 5
	linePullUp    = 1 << 8
	linePullDown  = 1 << 9
)

// KernelDebounce is how long the kernel wants the line to stand still: longer than
// a good switch bounces, so that it does not interrupt for nothing. It is short
// enough that the hum of a wire without a pull comes through to panel.Button, which
// tells a broken line from a finger.
const KernelDebounce = 5 * time.Millisecond

// line is a button's line, requested from the kernel's character device itself.
// periph.io's gpioioctl (v3.8.5) finds it, but cannot set the kernel's debounce,
// drops the time and the direction of an edge, and neither ends a wait without a
// race nor tells one that ran out from one that failed.
type line struct {
	f    *os.File // of the line; pollable
	conn interface {
		Control(func(fd uintptr)) error
		Read(func(fd uintptr) bool) error
	}
	last uint32 // sequence number of the last edge
}

var _ Button = (*line)(nil)

// requestLine takes a line of a chip for input. The kernel debounces and pulls it
// to its level at rest, where it can; else the board has to, and panel.Button
// debounces alone.
func requestLine(chip string, number uint32, activeLow bool, debounce time.Duration) (*line, error) {
	c, err := os.OpenFile(chip, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	flags, pull := uint64(lineInput|lineRising|lineFalling), uint64(linePullDown)
	if activeLow {
		flags, pull = flags|lineActiveLow, linePullUp
	}
	fd := -1
	for _, try := range []struct {
		pull     uint64
		debounce time.Duration
	}{{pull, debounce}, {0, debounce}, {pull, 0}, {0, 0}} {
		fd, err = getLine(c, number, flags|try.pull, try.debounce)
		if err == nil || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EPERM) {
			break
		}
	}
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("is in use by something else (see gpioinfo): %w", err)
	case err != nil:
		return nil, fmt.Errorf("does not tell of edges: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that os.File polls
		unix.Close(fd)
		return nil, err
	}
	l := &line{f: os.NewFile(uintptr(fd), "gpio line")}
	if l.conn, err = l.f.SyscallConn(); err != nil {
		l.f.Close()
		return nil, err
	}
	return l, nil
}

func getLine(chip *os.File, number uint32, flags uint64, debounce time.Duration) (int, error) {
	r := unix.GPIOV2LineRequest{Num_lines: 1}
	r.Offsets[0] = number
	copy(r.Consumer[:], "sekisho panel")
	r.Config.Flags = flags
	if debounce > 0 {
		r.Config.Num_attrs = 1
		a := &r.Config.Attrs[0]
		a.Mask, a.Attr.Id = 1, unix.GPIO_V2_LINE_ATTR_ID_DEBOUNCE
		*(*uint32)(unsafe.Pointer(&a.Attr.Flags)) = uint32(debounce.Microseconds()) // a union: debounce_period_us
	}
	if err := ioctl(chip.Fd(), unix.GPIO_V2_GET_LINE_IOCTL, unsafe.Pointer(&r)); err != nil {
		return -1, err
	}
	unix.CloseOnExec(int(r.Fd))
	return int(r.Fd), nil
}

func ioctl(fd uintptr, request uint, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(arg)); e != 0 {
		return e
	}
	return nil
}

// Down implements Button.
func (l *line) Down() (bool, error) {
	v := unix.GPIOV2LineValues{Mask: 1}
	var err error
	if e := l.conn.Control(func(fd uintptr) { err = ioctl(fd, unix.GPIO_V2_LINE_GET_VALUES_IOCTL, unsafe.Pointer(&v)) }); e != nil {
		return false, e
	}
	return v.Bits&1 == 1, err
}

// Wait implements Button.
func (l *line) Wait() error {
	var gone error
	err := l.conn.Read(func(fd uintptr) bool {
		// The runtime forgets what it was told before this call.
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		if err == nil && n > 0 && p[0].Revents&unix.POLLIN == 0 {
			gone = unix.ENODEV
		}
		return n > 0
	})
	return errors.Join(err, gone)
}

// Edges implements Button. When the kernel had no room for all, the level now
// takes the place of those that are missing.
func (l *line) Edges() ([]Edge, error) {
	var edges []Edge
	lost := false
	var err error
	if e := l.conn.Control(func(fd uintptr) { edges, lost, err = l.read(int(fd)) }); e != nil {
		return nil, e
	}
	if lost && err == nil {
		var down bool
		if down, err = l.Down(); err == nil {
			edges = append(edges, Edge{Down: down})
		}
	}
	return edges, err
}

// maxEdges bounds one look; the kernel keeps 16 (GPIO_V2_LINE_REQUEST's default),
// the rest comes with the next.
const maxEdges = 64

func (l *line) read(fd int) (edges []Edge, lost bool, err error) {
	var e unix.GPIOV2LineEvent
	b := unsafe.Slice((*byte)(unsafe.Pointer(&e)), unsafe.Sizeof(e))
	for len(edges) < maxEdges {
		n, err := unix.Read(fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return edges, lost, nil
		case err != nil:
			return edges, lost, err
		case n != len(b):
			return edges, lost, fmt.Errorf("an edge of %d bytes", n)
		}
		lost = lost || e.Line_seqno != l.last+1
		l.last = e.Line_seqno
		edges = append(edges, Edge{Ago: ago(e.Timestamp_ns), Down: e.Id == unix.GPIO_V2_LINE_EVENT_RISING_EDGE})
	}
	return edges, lost, nil
}

// ago is how long before now the kernel's monotonic clock showed ns.
func ago(ns uint64) time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	return max(0, time.Duration(uint64(now.Nano())-ns))
}

// Close implements Button. It ends a Wait.
func (l *line) Close() error { return l.f.Close() }
