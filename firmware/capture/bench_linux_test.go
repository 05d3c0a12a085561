package capture

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// flood sends total copies of frame at about pps a second, in batches, and
// returns how many went out.
func flood(s *sender, frame []byte, total, pps int) int {
	const batch = 64
	to := unix.RawSockaddrLinklayer{Family: unix.AF_PACKET, Ifindex: int32(s.index)}
	iov := unix.Iovec{Base: &frame[0]}
	iov.SetLen(len(frame))
	msgs := make([]mmsghdr, batch)
	for i := range msgs {
		h := &msgs[i].hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&to)), unix.SizeofSockaddrLinklayer
		h.Iov = &iov
		h.SetIovlen(1)
	}
	start, sent := time.Now(), 0
	for sent < total {
		if due := int(time.Since(start).Seconds() * float64(pps)); due < sent {
			time.Sleep(50 * time.Microsecond) // pacing is what this measures, not a wait for something
			continue
		}
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(min(batch, total-sent)), 0, 0, 0)
		if errno != 0 && errno != unix.ENOBUFS && errno != unix.EAGAIN {
			break
		}
		if errno == 0 {
			sent += int(n)
		}
	}
	return sent
}

// BenchmarkLiveRing offers 400,000 packets a second on a veth pair and
// reports what arrives, what is lost, and the receiver's CPU time.
func BenchmarkLiveRing(b *testing.B) {
	o := newOffice(b)
	cfg := LiveConfig{Taps: []Tap{{Name: "lan1", In: true}}, BlockSize: 1 << 20, Blocks: 32}
	l := open(b, o.gw, cfg)
	s := newSender(b, o.h1, "peer")
	data := frame(o.br0MAC, o.mac1, "load")
	const pps = 400_000
	var sent atomic.Int64
	sent.Store(-1)
	b.ResetTimer()
	start := time.Now()
	go func() { sent.Store(int64(flood(s, data, b.N, pps))) }()
	seen, cpu := receive(b, l, &sent)
	b.StopTimer()
	total := float64(sent.Load())
	b.ReportMetric(total/time.Since(start).Seconds(), "offered/s")
	b.ReportMetric(100*(total-float64(seen))/total, "%lost")
	b.ReportMetric(float64(l.Stats().Drops), "drops")
	b.ReportMetric(cpu.Seconds()/float64(seen)*1e6, "cpu-s/Mpkt")
}

// receive reads until all that was sent is seen or dropped, and the thread's
// CPU time for that.
func receive(b *testing.B, l *Live, sent *atomic.Int64) (seen int64, cpu time.Duration) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // its CPU time is then ours alone
		before := threadCPU()
		var f Frame
		for {
			err := l.Next(&f)
			if err == nil {
				seen++
				continue
			}
			if err != ErrIdle {
				b.Error(err)
				return
			}
			if sent.Load() >= 0 {
				break
			}
		}
		cpu = threadCPU() - before
	}()
	<-done
	return seen, cpu
}

func threadCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
