package gateway

import (
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/firmware/capture"
	"sekisho/firmware/evidence"
	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
)

// mixed plays an office's traffic for n frames. Each round comes later in
// packet time, so that connections end and begin as they do in life.
func mixed(all []capture.Frame, n int) *frames {
	return &frames{all: all, left: n, span: all[len(all)-1].Time - all[0].Time + int64(time.Minute)}
}

// floor is the least that anything of this kind must do: a header parse and a
// map from the five-tuple to a counter.
func floor(src *frames) {
	type key struct {
		src, dst flow.Addr
		ports    uint32
		proto    uint8
	}
	flows := map[key]*uint64{}
	var f capture.Frame
	var h flow.Header
	for src.Next(&f) == nil {
		if flow.Decode(f.Link, f.Data, &h) != nil {
			continue
		}
		k := key{h.Src, h.Dst, uint32(h.SrcPort)<<16 | uint32(h.DstPort), h.Proto}
		n := flows[k]
		if n == nil {
			n = new(uint64)
			flows[k] = n
		}
		*n += uint64(f.OrigLen)
	}
}

// bytes is how many bytes of frames were handed out.
func (s *frames) bytes() uint64 {
	var round uint64
	for i := range s.all {
		round += uint64(len(s.all[i].Data))
	}
	n := round * uint64(s.round)
	for i := range s.next {
		n += uint64(len(s.all[i].Data))
	}
	return n
}

// usage is what a part of a benchmark took of the machine.
type usage struct {
	at  time.Time
	cpu time.Duration
}

func startUsage(b *testing.B) usage {
	runtime.GC() // what others left behind is not ours
	b.ReportAllocs()
	b.ResetTimer()
	return usage{time.Now(), cpuTime(unix.RUSAGE_SELF)}
}

// report writes the CPU time of all threads, garbage collector and writer
// included, and the rate of frames of the given bytes. It returns the CPU time
// a frame in nanoseconds.
func (u usage) report(b *testing.B, bytes uint64) float64 {
	b.StopTimer()
	cpu := float64((cpuTime(unix.RUSAGE_SELF) - u.cpu).Nanoseconds()) / float64(b.N)
	b.ReportMetric(cpu, "cpu-ns/frame")
	b.ReportMetric(float64(bytes)/1e6/time.Since(u.at).Seconds(), "MB/s")
	return cpu
}

func cpuTime(who int) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// paceRate is what the live capture has to take without loss (frames a second).
const paceRate = 400_000

// pace waits until frame n is due at paceRate; 0 means not at all.
func pace(start time.Time, n, rate int) {
	if rate == 0 || n%512 != 0 {
		return
	}
	if ahead := time.Duration(n)*time.Second/time.Duration(rate) - time.Since(start); ahead > 0 {
		time.Sleep(ahead) // pacing is what this measures, not a wait for something
	}
}

// BenchmarkPipeline is the whole way from frame to finding, without and with
// the spool, beside the floor of the same run (x-floor: times its CPU time).
// The spool never waits for the disk, so its frames are offered twice: at the
// rate that has to go without loss, and as fast as the pipeline is, where the
// loss shows what the disk takes (kept-MB/s).
func BenchmarkPipeline(b *testing.B) {
	all := flowtest.Mix(200_000, 1)
	var least float64
	ratio := func(b *testing.B, cpu float64) {
		if least > 0 {
			b.ReportMetric(cpu/least, "x-floor")
		}
	}
	b.Run("floor", func(b *testing.B) {
		src := mixed(all, b.N)
		u := startUsage(b)
		floor(src)
		least = u.report(b, src.bytes())
	})
	b.Run("pipeline", func(b *testing.B) {
		src := mixed(all, b.N)
		u := startUsage(b)
		p := NewPipeline(PipelineConfig{})
		var f capture.Frame
		for src.Next(&f) == nil {
			p.Frame(&f)
		}
		ratio(b, u.report(b, src.bytes()))
	})
	for _, c := range []struct {
		name string
		rate int
	}{{"pipeline+spool/400k", paceRate}, {"pipeline+spool/unpaced", 0}} {
		b.Run(c.name, func(b *testing.B) {
			spool, err := evidence.OpenSpool(filepath.Join(b.TempDir(), "spool"), evidence.SpoolConfig{MaxBytes: 4 << 30})
			if err != nil {
				b.Fatal(err)
			}
			src := mixed(all, b.N)
			u := startUsage(b)
			p := NewPipeline(PipelineConfig{})
			var f capture.Frame
			for n := 0; src.Next(&f) == nil; n++ {
				pace(u.at, n, c.rate)
				spool.Write(&f)
				p.Frame(&f)
			}
			if err := spool.Flush(); err != nil { // the disk's part belongs to it
				b.Fatal(err)
			}
			ratio(b, u.report(b, src.bytes()))
			s := spool.Stats()
			b.ReportMetric(100*float64(s.Drops)/float64(b.N), "%lost")
			b.ReportMetric(float64(s.Bytes-s.DropBytes)/1e6/b.Elapsed().Seconds(), "kept-MB/s")
			if err := spool.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
