package gateway

import (
	"errors"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vishvananda/netlink"

	"sekisho/firmware/capture"
	"sekisho/firmware/evidence"
	"sekisho/firmware/flow/flowtest"
	"sekisho/netcontain/nstest"
)

// BenchmarkLivePath offers an office's mixed traffic at 400,000 frames a second
// on a veth pair to all that a gateway does with a frame: TPACKET_V3 ring,
// spool on disk, pipeline. It reports what was lost where, and the CPU time of
// the receiving side: that of this process without the sender's thread.
func BenchmarkLivePath(b *testing.B) {
	office := nstest.New(b)
	host := nstest.New(b)
	fd := plug(b, office, host)
	var live *capture.Live
	office.Do(b, func() {
		var err error
		if live, err = capture.OpenLive(capture.LiveConfig{Taps: []capture.Tap{{Name: "lan1", In: true}}}); err != nil {
			b.Error(err)
		}
	})
	if live == nil {
		b.FailNow()
	}
	defer live.Close()
	spool, err := evidence.OpenSpool(filepath.Join(b.TempDir(), "spool"), evidence.SpoolConfig{MaxBytes: 4 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer spool.Close()
	all := flowtest.Mix(200_000, 1)
	u := startUsage(b)
	s := sender{fd: fd}
	go s.send(all, b.N)
	seen := receive(b, live, spool, &s)
	b.StopTimer()
	sent := float64(s.sent.Load())
	cpu := cpuTime(unix.RUSAGE_SELF) - u.cpu - time.Duration(s.cpu.Load())
	b.ReportMetric(sent/s.took.Seconds(), "offered/s")
	b.ReportMetric(100*(sent-float64(seen))/sent, "%lost-ring")
	b.ReportMetric(100*float64(spool.Stats().Drops)/sent, "%lost-spool")
	b.ReportMetric(cpu.Seconds()/float64(seen)*1e6, "cpu-s/Mframe")
}

// receive is the capture goroutine, until everything sent has come or is lost.
func receive(b *testing.B, live *capture.Live, spool *evidence.Spool, s *sender) (seen int) {
	p := NewPipeline(PipelineConfig{})
	var f capture.Frame
	for {
		err := live.Next(&f)
		if err == nil {
			spool.Write(&f)
			p.Frame(&f)
			seen++
			continue
		}
		if !errors.Is(err, capture.ErrIdle) {
			b.Error(err)
			return seen
		}
		if s.ended.Load() {
			break
		}
	}
	if err := spool.Flush(); err != nil {
		b.Error(err)
	}
	return seen
}

// plug joins the two and returns a raw socket at the host's end.
func plug(b *testing.B, office, host *nstest.NS) (fd int) {
	office.Do(b, func() {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lan1"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(host.FD())}
		if err := netlink.LinkAdd(veth); err != nil {
			b.Error(err)
		}
	})
	for ns, link := range map[*nstest.NS]string{office: "lan1", host: "eth0"} {
		ns.Run(b, "sysctl -qw net.ipv6.conf."+link+".disable_ipv6=1") // the kernel would send frames of its own
		ns.Run(b, "ip link set "+link+" up")
	}
	host.Do(b, func() {
		link, err := netlink.LinkByName("eth0")
		if err == nil {
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		}
		if err == nil {
			err = errors.Join(
				unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1), // the cable has no queue worth the time
				unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index}))
		}
		if err != nil {
			b.Error(err)
		}
	})
	if b.Failed() {
		b.FailNow()
	}
	b.Cleanup(func() { unix.Close(fd) })
	return fd
}

// sender offers frames at paceRate. What it found may be read when it ended.
type sender struct {
	fd    int
	took  time.Duration
	sent  atomic.Int64
	cpu   atomic.Int64 // ns
	ended atomic.Bool
}

func (s *sender) send(all []capture.Frame, total int) {
	runtime.LockOSThread() // its CPU time is then its own
	before, start := cpuTime(unix.RUSAGE_THREAD), time.Now()
	const batch = 64
	type mmsghdr struct { // sendmmsg(2)
		hdr unix.Msghdr
		n   uint32
		_   [4]byte
	}
	msgs, iovs := make([]mmsghdr, batch), make([]unix.Iovec, batch)
	for n, next := 0, 0; n < total; {
		k := 0
		for ; k < batch && n+k < total; k++ {
			data := all[next].Data
			data = data[:min(len(data), 1514)] // the cable's longest
			next = (next + 1) % len(all)
			iovs[k].Base = &data[0]
			iovs[k].SetLen(len(data))
			msgs[k].hdr.Iov = &iovs[k]
			msgs[k].hdr.SetIovlen(1)
		}
		if ahead := time.Duration(n)*time.Second/paceRate - time.Since(start); ahead > 100*time.Microsecond {
			time.Sleep(ahead) // pacing is what this measures, not a wait for something
		}
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(k), 0, 0, 0)
		if errno != 0 {
			sent = 0
		}
		s.sent.Add(int64(sent))
		n += k // a frame that the socket refused was never offered
	}
	s.took = time.Since(start)
	s.cpu.Store(int64(cpuTime(unix.RUSAGE_THREAD) - before))
	s.ended.Store(true)
}
