package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Meter watches the cables from outside of the product: one packet socket in
// every machine. It counts what the attacker sends and what of that arrives.
type Meter struct {
	office   *Office
	scenario Scenario
	mac      [6]byte
	addrs    []netip.Addr

	mu       sync.Mutex
	first    time.Time // first attack frame that left the attacker
	reached  map[string]time.Time
	arrivals []Arrival
	lost     uint64 // arrivals beyond the bound
	files    []*os.File
	wg       sync.WaitGroup
}

// Arrival is one frame of the attacker that another machine received.
type Arrival struct {
	At   time.Time // kernel time of arrival
	Host string
	What string // enough of the frame to see what it was
}

// maxArrivals bounds the memory; beyond it arrivals are counted only.
const maxArrivals = 200_000

// Measure starts to watch. The attacker must have its address.
func (o *Office) Measure(s Scenario) (*Meter, error) {
	m := &Meter{office: o, scenario: s, mac: [6]byte(o.Attacker().MAC), reached: map[string]time.Time{}}
	var err error
	if m.addrs, err = o.Attacker().Addrs(); err != nil {
		return nil, fmt.Errorf("list the attacker's addresses: %w", err)
	}
	for _, h := range append(slices.Clone(o.Hosts), o.Internet) {
		if err := m.watch(h); err != nil {
			return nil, errors.Join(fmt.Errorf("watch %s: %w", h.Name, err), m.Close())
		}
	}
	return m, nil
}

// Close ends the watch.
func (m *Meter) Close() error {
	var errs []error
	for _, f := range m.files {
		errs = append(errs, f.Close())
	}
	m.wg.Wait()
	return errors.Join(errs...)
}

// ethPAll is ETH_P_ALL in network byte order, as packet(7) wants it.
const ethPAll = uint16(unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8)

func (m *Meter) watch(h *Host) error {
	var f *os.File
	err := h.Do(func() error {
		iface, err := net.InterfaceByName(h.Iface)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(ethPAll))
		if err != nil {
			return os.NewSyscallError("open a packet socket", err)
		}
		f = os.NewFile(uintptr(fd), "packet")
		if err := errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		); err != nil && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20) != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ethPAll, Ifindex: iface.Index})
	})
	if f != nil {
		m.files = append(m.files, f)
	}
	if err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		buf, oob := make([]byte, 2048), make([]byte, 128)
		for {
			var n, noob int
			var from unix.Sockaddr
			var err error
			if raw.Read(func(fd uintptr) bool {
				n, noob, _, from, err = unix.Recvmsg(int(fd), buf, oob, 0)
				return !errors.Is(err, unix.EAGAIN)
			}) != nil || err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENETDOWN) {
				return // closed
			}
			if ll, ok := from.(*unix.SockaddrLinklayer); ok && err == nil {
				m.see(h, buf[:n], ll.Pkttype == unix.PACKET_OUTGOING, stamp(oob[:noob]))
			}
		}
	}()
	return nil
}

func stamp(oob []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now()
	}
	for _, c := range messages {
		if c.Header.Type == unix.SO_TIMESTAMPNS && len(c.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(c.Data)), int64(binary.NativeEndian.Uint64(c.Data[8:])))
		}
	}
	return time.Now()
}

func (m *Meter) see(h *Host, data []byte, out bool, at time.Time) {
	f, ok := parse(data)
	if !ok {
		return
	}
	attacker := h == m.office.Attacker()
	if attacker && !out || !attacker && out {
		return
	}
	mine := f.src == m.mac || slices.Contains(m.addrs, f.srcIP) || h == m.office.Internet && f.dstIP == dropServer
	if !mine {
		return
	}
	attack := m.scenario.isAttack(m.office, f)
	m.mu.Lock()
	defer m.mu.Unlock()
	if attacker {
		if attack && m.first.IsZero() {
			m.first = at
		}
		return
	}
	if attack && f.dst == [6]byte(h.MAC) {
		if _, known := m.reached[h.Name]; !known {
			m.reached[h.Name] = at
		}
	}
	if len(m.arrivals) >= maxArrivals {
		m.lost++
		return
	}
	m.arrivals = append(m.arrivals, Arrival{at, h.Name, f.String()})
}

// First is when the first attack frame left the attacker; zero before that.
func (m *Meter) First() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.first
}

// Reached counts machines that an attack frame addressed to them had reached
// by then.
func (m *Meter) Reached(by time.Time) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, at := range m.reached {
		if !at.After(by) {
			n++
		}
	}
	return n
}

// After lists the attacker's frames that arrived anywhere after t. When the
// bound was passed it says so by an error.
func (m *Meter) After(t time.Time) ([]Arrival, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Arrival
	for _, a := range m.arrivals {
		if a.At.After(t) {
			out = append(out, a)
		}
	}
	if m.lost > 0 {
		return out, fmt.Errorf("%d arrivals were counted but not kept", m.lost)
	}
	return out, nil
}

// Last is when the attacker's last frame arrived anywhere; zero when none did.
func (m *Meter) Last() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	var last time.Time
	for _, a := range m.arrivals {
		if a.At.After(last) {
			last = a.At
		}
	}
	return last
}
