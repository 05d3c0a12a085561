package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Start listens on every port before it returns, so that no frame after it is
// missed. It must be called in the network namespace of the ports. Plain
// packet sockets do: the kernel hands over the headers of one host, and its own
// drop counter says when even these were too many.
func Start(ctx context.Context, cfg Config) (*Watch, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	w := &Watch{cfg: cfg, match: newMatcher(cfg.Host), speakers: newSpeakers(cfg), done: make(chan struct{})}
	prog := filter(cfg.Host)
	names := append(slices.Clone(cfg.Ports), cfg.HostPort)
	slices.Sort(names)
	bridge, err := netlink.LinkByName(cfg.Bridge)
	if err != nil {
		return nil, fmt.Errorf("probe: bridge %s: %w", cfg.Bridge, err)
	}
	for _, s := range w.speakers {
		if err := s.open(); err != nil {
			w.end()
			return nil, fmt.Errorf("probe: speak on %s: %w", s.device, err)
		}
	}
	for _, name := range slices.Compact(names) {
		if name == "" {
			continue
		}
		t, err := listen(name, bridge.Attrs().Index, prog)
		if err != nil {
			w.end()
			return nil, fmt.Errorf("probe: watch %s: %w", name, err)
		}
		w.taps = append(w.taps, t)
	}
	for _, t := range w.taps {
		w.readers.Add(1)
		go w.read(t)
	}
	w.forget = context.AfterFunc(ctx, w.end)
	return w, nil
}

func (c Config) validate() error {
	var errs []error
	if len(c.Ports) == 0 {
		errs = append(errs, errors.New("no Ports"))
	}
	if c.Bridge == "" {
		errs = append(errs, errors.New("no Bridge"))
	}
	if len(c.Host.MACs)+len(c.Host.Addrs) == 0 {
		errs = append(errs, errors.New("the host has neither MAC nor address"))
	}
	return errors.Join(errs...)
}

// Watch counts frames of one host until it is closed or its context ends.
type Watch struct {
	cfg     Config
	match   *matcher
	taps    []*tap
	forget  func() bool // takes the Watch out of the context that it was started with
	readers sync.WaitGroup
	once    sync.Once
	done    chan struct{} // closed when all sockets are

	speaking sync.Mutex
	speakers []*speaker

	mu     sync.Mutex
	ended  bool
	inward []time.Time // frames from the host at its own port, newest maxSeen
	leaked []leak      // newest maxSeen
	total  uint64      // leaked frames ever, also those no longer listed
	last   time.Time
	losses []loss
	blind  uint64 // ports whose socket has failed
}

// maxSeen bounds what a flooding host can make the probe remember.
const maxSeen = 1 << 16

type leak struct {
	at   time.Time
	port string
}

// loss is frames that the kernel could not keep, at the latest at that time.
type loss struct {
	at     time.Time
	frames uint64
}

const maxLosses = 1024

// socket is a packet socket that the runtime waits for: closing it wakes its
// reader, and it is not reused under a call that is under way.
type socket struct {
	*os.File
	raw syscall.RawConn
}

type tap struct {
	name   string
	index  int
	routed bool // not a port of the bridge: frames come here by routing, and through NAT
	*socket
	passed uint64 // frames that came through the filter; Watch.mu guards it
}

func newSocket(name string) (*socket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket (CAP_NET_RAW?): %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &socket{f, raw}, nil
}

// control calls fn with the descriptor.
func (s *socket) control(fn func(fd int) error) error {
	var failed error
	if err := s.raw.Control(func(fd uintptr) { failed = fn(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// listen opens a packet socket on one device. It has protocol 0 until it is
// bound to the device: no frame of another one, or unfiltered, comes in before.
func listen(name string, bridge int, prog []bpf.Instruction) (*tap, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	dev := link.Attrs()
	s, err := newSocket(name)
	if err != nil {
		return nil, err
	}
	err = s.control(func(fd int) error {
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20),
			attach(fd, prog),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: dev.Index}))
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &tap{name: name, index: dev.Index, routed: dev.MasterIndex != bridge, socket: s}, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (w *Watch) read(t *tap) {
	defer w.readers.Done()
	frame, oob := make([]byte, seenBytes), make([]byte, 128)
	for {
		var n, oobn int
		var from unix.Sockaddr
		var failed error
		err := t.raw.Read(func(fd uintptr) bool {
			n, oobn, _, from, failed = unix.Recvmsg(int(fd), frame, oob, 0)
			if !errors.Is(failed, unix.EAGAIN) {
				return true
			}
			w.sample(t, int(fd)) // all is read: what was lost was lost before now
			return false
		})
		if err != nil { // closed
			return
		}
		if errors.Is(failed, unix.EINTR) {
			continue
		}
		if errors.Is(failed, unix.ENETDOWN) {
			continue // as when its link flaps: it comes back to this socket, or is gone
		}
		if failed != nil {
			w.mu.Lock()
			w.blind++ // blind here from now on
			w.mu.Unlock()
			return
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok || !w.match.sentBy(frame[:n]) {
			continue
		}
		w.record(t.name, ll.Pkttype == unix.PACKET_OUTGOING, stamp(oob[:oobn]))
	}
}

// gone says that the device went away: the kernel then unbinds the socket, and
// wakes nobody for it (net/packet/af_packet.c, packet_notifier).
func (t *tap) gone() bool {
	bound := true
	err := t.control(func(fd int) error {
		addr, err := unix.Getsockname(fd)
		ll, ok := addr.(*unix.SockaddrLinklayer)
		bound = err == nil && ok && ll.Ifindex == t.index
		return err
	})
	return err == nil && !bound
}

// Blind says that a port went away, so that nothing more is proven until a new
// Watch begins.
func (w *Watch) Blind() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.blinded() > 0
}

// blinded counts ports of which nothing is seen any more. It wants mu held.
func (w *Watch) blinded() uint64 {
	n := w.blind
	for _, t := range w.taps {
		if t.gone() {
			n++
		}
	}
	return n
}

func (w *Watch) sample(t *tap, fd int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sampleLocked(t, fd)
}

// sampleLocked wants mu held: reading resets the kernel's counters.
func (w *Watch) sampleLocked(t *tap, fd int) {
	s, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return
	}
	t.passed += uint64(s.Packets)
	if s.Drops > 0 {
		w.lose(loss{time.Now(), uint64(s.Drops)})
	}
}

// lose remembers a loss; of very many the oldest are told as one, at their latest.
func (w *Watch) lose(l loss) {
	if len(w.losses) == maxLosses {
		for _, old := range w.losses[:maxLosses/2-1] {
			w.losses[maxLosses/2-1].frames += old.frames
		}
		w.losses = slices.Delete(w.losses, 0, maxLosses/2-1)
	}
	w.losses = append(w.losses, l)
}

// lost wants mu held.
func (w *Watch) lost(since time.Time) uint64 {
	n := w.blinded()
	for _, l := range w.losses {
		if l.at.After(since) {
			n += l.frames
		}
	}
	return n
}

func (w *Watch) record(port string, out bool, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case out && port != w.cfg.HostPort:
		w.total++
		if at.After(w.last) {
			w.last = at
		}
		if len(w.leaked) == maxSeen {
			w.leaked = slices.Delete(w.leaked, 0, maxSeen/2)
		}
		w.leaked = append(w.leaked, leak{at, port})
	case !out && (port == w.cfg.HostPort || w.cfg.HostPort == ""):
		if len(w.inward) == maxSeen {
			w.inward = slices.Delete(w.inward, 0, maxSeen/2)
		}
		w.inward = append(w.inward, at)
	}
}

// stamp is the kernel's time of the frame, or now when it gave none.
func stamp(oob []byte) time.Time {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err == nil {
		for _, m := range msgs {
			if m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
				return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
			}
		}
	}
	return time.Now()
}

// end closes the sockets, which wakes the readers, and waits for them.
func (w *Watch) end() {
	w.once.Do(func() {
		w.mu.Lock()
		w.ended = true
		w.mu.Unlock()
		for _, t := range w.taps {
			_ = t.Close()
		}
		w.speaking.Lock()
		for _, s := range w.speakers {
			if s.socket != nil {
				_ = s.Close()
			}
		}
		w.speaking.Unlock()
		w.readers.Wait()
		close(w.done)
	})
}

// Close ends the Watch and waits until its sockets are closed.
func (w *Watch) Close() error {
	w.forget() // a context that lives on must not keep the Watch
	w.end()
	<-w.done
	return nil
}
