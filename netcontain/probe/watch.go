package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Start listens on every port before it returns, so that no frame after it is
// missed. It must be called in the network namespace of the ports. Plain
// packet sockets do: what is counted is headers of one host, and the kernel's
// own drop counter says when even these were too many.
func Start(ctx context.Context, cfg Config) (*Watch, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	w := &Watch{cfg: cfg, match: newMatcher(cfg.Host), stimulus: -1, done: make(chan struct{})}
	names := append(slices.Clone(cfg.Ports), cfg.HostPort)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if name == "" {
			continue
		}
		t, err := listen(name)
		if err != nil {
			w.end()
			return nil, fmt.Errorf("probe: watch %s: %w", name, err)
		}
		w.taps = append(w.taps, t)
	}
	if err := w.openStimulus(); err != nil {
		w.end()
		return nil, fmt.Errorf("probe: speak on %s: %w", cfg.Bridge, err)
	}
	for _, t := range w.taps {
		w.readers.Add(1)
		go w.read(t)
	}
	context.AfterFunc(ctx, w.end)
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
	cfg      Config
	match    *matcher
	taps     []*tap
	stimulus int // packet socket on the bridge
	bridge   int // its ifindex
	readers  sync.WaitGroup
	once     sync.Once
	done     chan struct{} // closed when all sockets are

	mu     sync.Mutex
	ended  bool
	inward []time.Time // frames from the host at its own port, newest maxSeen
	leaked []leak      // newest maxSeen
	total  uint64      // leaked frames ever, also those no longer listed
	last   time.Time
	drops  uint64
}

// maxSeen bounds what a flooding host can make the probe remember.
const maxSeen = 1 << 16

type leak struct {
	at   time.Time
	port string
}

type tap struct {
	name string
	fd   int
}

// listen opens a packet socket on one device. Binding to protocol 0 first, and
// to the device and all protocols afterwards, keeps other devices' frames out.
func listen(name string) (*tap, error) {
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket (CAP_NET_RAW?): %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: dev.Index}))
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &tap{name: name, fd: fd}, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (w *Watch) read(t *tap) {
	defer w.readers.Done()
	frame, oob := make([]byte, 256), make([]byte, 128)
	for {
		n, oobn, _, from, err := unix.Recvmsg(t.fd, frame, oob, 0)
		if w.closed() {
			return
		}
		if err != nil {
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			w.mu.Lock()
			w.drops++ // the device is gone or down: blind here from now on
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

func (w *Watch) closed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended
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

// end makes every reader stop within its receive timeout, then closes the
// sockets: a descriptor is never closed under a reader.
func (w *Watch) end() {
	w.once.Do(func() {
		w.mu.Lock()
		w.ended = true
		w.mu.Unlock()
		go func() {
			w.readers.Wait()
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, t := range w.taps {
				unix.Close(t.fd)
			}
			if w.stimulus >= 0 {
				unix.Close(w.stimulus)
			}
			close(w.done)
		}()
	})
}

// Close ends the Watch and waits until its sockets are closed.
func (w *Watch) Close() error {
	w.end()
	<-w.done
	return nil
}
