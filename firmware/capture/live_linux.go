package capture

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Live reads frames from the kernel by one AF_PACKET socket with a TPACKET_V3
// ring (Documentation/networking/packet_mmap.rst).
//
// Next and the Data that it hands out belong to one goroutine. Stats, Retap
// and Close may be called from any; after Close no Data may be touched.
type Live struct {
	cfg LiveConfig

	ring ring // owned by Next, guarded against Close by mu
	mu   sync.Mutex

	ctl    sync.Mutex // guards what follows
	fd     int        // -1 once closed
	bound  int        // ifindex, 0: all interfaces
	absent int        // taps without an interface
	sum    Stats      // drops and freezes so far

	packets, bytes atomic.Uint64
}

var _ Source = (*Live)(nil)

// OpenLive starts capturing. No frame is seen before the kernel filter for
// the taps is in place. The error wraps os.ErrPermission when CAP_NET_RAW is
// missing.
func OpenLive(cfg LiveConfig) (*Live, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("capture live: %w", err)
	}
	t, err := compile(cfg, false)
	if err != nil {
		return nil, fmt.Errorf("capture live: %w", err)
	}
	// Protocol 0: the socket receives nothing until it is bound.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			return nil, fmt.Errorf("capture live: %w: run as root, or give the program CAP_NET_RAW", err)
		}
		return nil, fmt.Errorf("capture live: open packet socket: %w", err)
	}
	l := &Live{cfg: cfg, fd: fd, bound: t.bind}
	if err := l.setup(t.filter); err != nil {
		l.Close()
		return nil, fmt.Errorf("capture live: %w", err)
	}
	return l, nil
}

func (c LiveConfig) check() error {
	if len(c.Taps) == 0 {
		return errors.New("no interface given")
	}
	if c.BlockSize < 0 || c.BlockSize%os.Getpagesize() != 0 || c.BlockSize < os.Getpagesize() {
		return fmt.Errorf("block size %d is not a multiple of the page size %d", c.BlockSize, os.Getpagesize())
	}
	if c.Blocks < 2 {
		return fmt.Errorf("a ring of %d blocks: at least 2 are needed", c.Blocks)
	}
	if int64(c.BlockSize)*int64(c.Blocks) > 1<<30 {
		return fmt.Errorf("a ring of %d blocks of %d bytes: at most 1 GiB is sensible", c.Blocks, c.BlockSize)
	}
	if c.PollInterval < time.Millisecond || c.PollInterval > time.Second {
		return fmt.Errorf("poll interval %v: choose 1 ms to 1 s", c.PollInterval)
	}
	if c.SnapLen < 64 {
		return fmt.Errorf("snap length %d: headers alone need more", c.SnapLen)
	}
	return nil
}

// setup does the steps in the order that keeps stray frames out: filter, ring,
// and only then bind.
func (l *Live) setup(filter []unix.SockFilter) error {
	if err := unix.SetsockoptInt(l.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("ask for TPACKET_V3: %w", err)
	}
	if err := unix.SetsockoptInt(l.fd, unix.SOL_PACKET, unix.PACKET_RESERVE, tagLen); err != nil {
		return fmt.Errorf("reserve room for the VLAN tag: %w", err)
	}
	if l.cfg.HardwareTime {
		if err := unix.SetsockoptInt(l.fd, unix.SOL_PACKET, unix.PACKET_TIMESTAMP, unix.SOF_TIMESTAMPING_RAW_HARDWARE); err != nil {
			return fmt.Errorf("ask for hardware time stamps: %w", err)
		}
	}
	first := filter
	if l.cfg.Fanout != nil { // bound but not yet in its group, it would see what the others see too
		first = []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	}
	if err := attach(l.fd, first); err != nil {
		return err
	}
	if err := l.ring.open(l.fd, l.cfg); err != nil {
		return err
	}
	if err := bindTo(l.fd, l.bound); err != nil {
		return err
	}
	if l.cfg.Fanout == nil {
		return nil
	}
	arg := int(l.cfg.Fanout.ID) | int(l.cfg.Fanout.Type)<<16
	if err := unix.SetsockoptInt(l.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, arg); err != nil {
		return fmt.Errorf("join fanout group %d: %w", l.cfg.Fanout.ID, err)
	}
	return attach(l.fd, filter)
}

func bindTo(fd, ifindex int) error {
	addr := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifindex}
	if err := unix.Bind(fd, addr); err != nil {
		return fmt.Errorf("bind packet socket to interface %d: %w", ifindex, err)
	}
	return nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 } // all Linux ports of the product are little-endian

// Next implements Source. It returns ErrIdle after PollInterval without a
// frame, and an error wrapping os.ErrClosed after Close.
func (l *Live) Next(f *Frame) error {
	l.mu.Lock()
	if l.ring.take(f) { // nearly always, so no defer stands in its way
		l.mu.Unlock()
		return nil
	}
	defer l.mu.Unlock()
	for {
		l.packets.Store(l.ring.packets)
		l.bytes.Store(l.ring.bytes)
		if l.ring.mem == nil {
			return fmt.Errorf("capture live: %w", os.ErrClosed)
		}
		if l.ring.ready() {
			if l.ring.take(f) {
				return nil
			}
			continue
		}
		if err := l.wait(); err != nil {
			return err
		}
	}
}

// wait blocks until the kernel hands over a block.
func (l *Live) wait() error {
	fds := []unix.PollFd{{Fd: int32(l.ring.fd), Events: unix.POLLIN | unix.POLLERR}}
	n, err := unix.Poll(fds, int(l.cfg.PollInterval/time.Millisecond))
	switch {
	case err != nil && !errors.Is(err, unix.EINTR):
		return fmt.Errorf("capture live: poll: %w", err)
	case n == 0 && err == nil:
		return ErrIdle
	case err == nil && fds[0].Revents&unix.POLLERR != 0:
		return l.clearError()
	}
	return nil
}

// clearError reads the pending socket error. A link that goes down is no
// failure: capturing resumes when it comes up.
func (l *Live) clearError() error {
	code, err := unix.GetsockoptInt(l.ring.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("capture live: read socket error: %w", err)
	}
	switch errno := unix.Errno(code); errno {
	case 0:
		return nil
	case unix.ENETDOWN:
		return ErrIdle
	default:
		return fmt.Errorf("capture live: %w", errno)
	}
}

// Retap replaces what is captured, when ports come and go or come back under
// a new index. A tap that there is no interface for is left out and counted in
// Stats.Absent, until a later Retap finds one of its name: the caller listens
// for that. Frames that are already in the ring still arrive. Between one tap and
// several the socket is bound anew and may miss frames meanwhile. After an
// error, taps that still exist go on.
func (l *Live) Retap(taps []Tap) error {
	cfg := l.cfg
	cfg.Taps = taps
	if len(taps) == 0 {
		return errors.New("change taps: no interface given")
	}
	t, err := compile(cfg, true)
	if err != nil {
		return fmt.Errorf("change taps: %w", err)
	}
	l.ctl.Lock()
	defer l.ctl.Unlock()
	if l.fd < 0 {
		return fmt.Errorf("change taps: %w", os.ErrClosed)
	}
	if t.bind != l.bound {
		if err := bindTo(l.fd, t.bind); err != nil {
			return fmt.Errorf("change taps: %w", err)
		}
		l.bound = t.bind
	}
	if err := attach(l.fd, t.filter); err != nil {
		return fmt.Errorf("change taps: %w", err)
	}
	l.absent = t.absent
	return nil
}

// Stats implements Source. Packets and bytes lag by at most one ring block
// while frames flow.
func (l *Live) Stats() Stats {
	l.ctl.Lock()
	defer l.ctl.Unlock()
	l.collect()
	s := l.sum
	s.Absent = l.absent
	s.Packets, s.Bytes = l.packets.Load(), l.bytes.Load()
	return s
}

// collect adds the kernel's counters, which reading resets.
func (l *Live) collect() {
	if l.fd < 0 {
		return
	}
	if st, err := unix.GetsockoptTpacketStatsV3(l.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		l.sum.Drops += uint64(st.Drops)
		l.sum.Freezes += uint64(st.Freeze_q_cnt)
	}
}

// Close implements Source. It waits for a Next that runs, at most
// PollInterval.
func (l *Live) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ctl.Lock()
	defer l.ctl.Unlock()
	if l.fd < 0 {
		return nil
	}
	l.collect()
	l.packets.Store(l.ring.packets)
	l.bytes.Store(l.ring.bytes)
	err := errors.Join(l.ring.close(), unix.Close(l.fd))
	l.fd = -1
	return err
}
