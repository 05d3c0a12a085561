package evidence

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/firmware/capture"
)

// ringSizes are segments: 6, 50 and 200 GiB.
var ringSizes = []int{100, 800, 3200}

const segmentTime = time.Minute // of a segment in a ring that nobody wrote

// syntheticRing makes a folder of so many full segments, which hold nothing,
// with the sidecars of an office: 60 devices, some of them everywhere, 1,500
// addresses outside, 8,000 ports. rare is in every 50th segment.
func syntheticRing(b *testing.B, segments int, rare [6]byte) *Spool {
	b.Helper()
	const size = 64 << 20
	dir := b.TempDir()
	r := rand.New(rand.NewPCG(1, 1))
	if err := os.Mkdir(filepath.Join(dir, segmentFolder), 0o755); err != nil {
		b.Fatal(err)
	}
	for n := range segments {
		x := indexFor(size)
		for range maxSlices {
			x.begin()
			x.slices[len(x.slices)-1].times = span{base.Add(time.Duration(n) * segmentTime).UnixNano(), base.Add(time.Duration(n+1) * segmentTime).UnixNano()}
			x.size += size / maxSlices
		}
		x.first, x.last = x.slices[0].times.first, x.slices[0].times.last
		x.packets, x.bytes, x.size, x.control = 200_000, size, size, 1
		for i := range 60 {
			k := device(uint32(1000 + i))
			x.macs[k.macs[0]], x.addrs[k.addrs[0]] = r.Uint64(), r.Uint64()
		}
		for range 1500 {
			k := device(r.Uint32())
			x.addrs[k.addrs[0]] = 1 << r.IntN(64)
		}
		for range 8000 {
			x.ports.add(uint16(r.Uint32()))
		}
		if n%50 == 0 {
			x.macs[rare] = 1 << 9
		}
		path := filepath.Join(dir, segmentFolder, fmt.Sprintf(segmentName, n+1))
		if err := os.WriteFile(indexPath(path), x.encode(), 0o644); err != nil {
			b.Fatal(err)
		}
		f, err := os.Create(path)
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Truncate(size); err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
	}
	return mustSpool(b, dir, SpoolConfig{MaxBytes: int64(segments+3) * size, Now: func() time.Time { return base.Add(time.Duration(segments) * segmentTime) }}, systemDisk{})
}

// forget pushes the sidecars out of the page cache: names and inodes stay.
func forget(b *testing.B, s *Spool) {
	names, err := filepath.Glob(filepath.Join(s.dir, segmentFolder, "*.idx"))
	if err != nil || len(names) == 0 {
		b.Fatal(len(names), err)
	}
	for i, n := range names {
		f, err := os.Open(n)
		if err != nil {
			b.Fatal(err)
		}
		if i == 0 { // what is dirty stays
			if err := unix.Syncfs(int(f.Fd())); err != nil {
				b.Fatal(err)
			}
		}
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
	}
}

func perOp(b *testing.B) float64 { return float64(b.Elapsed().Microseconds()) / 1000 / float64(b.N) }

// BenchmarkFind looks up a host that is in every 50th segment of the whole ring,
// with the sidecars in memory and on disk (cold), in ms, beside the smallest
// ring of the same run (x-100).
func BenchmarkFind(b *testing.B) {
	smallest := map[bool]float64{}
	for _, n := range ringSizes {
		s := syntheticRing(b, n, victim)
		for _, cold := range []bool{false, true} {
			b.Run(fmt.Sprintf("segments=%d/cold=%t", n, cold), func(b *testing.B) {
				var found Found
				var err error
				for b.Loop() {
					if cold {
						b.StopTimer()
						forget(b, s)
						b.StartTimer()
					}
					if found, err = s.Find(b.Context(), wanted, base, base.Add(math.MaxInt64/2)); err != nil {
						b.Fatal(err)
					}
				}
				if found.Searched != n || found.Segments != n/50 || found.Slices != n/50 {
					b.Fatalf("found %+v", found)
				}
				if smallest[cold] == 0 {
					smallest[cold] = perOp(b)
				}
				gib := float64(n) / 16
				b.ReportMetric(perOp(b), "ms/find")
				b.ReportMetric(perOp(b)/smallest[cold], "x-100")
				b.ReportMetric(float64(found.IndexBytes)/gib/(1<<20), "index-MiB/GiB")
				b.ReportMetric(100*float64(found.Bytes)/(gib*(1<<30)), "%to-read")
			})
		}
	}
}

// BenchmarkPin freezes a whole ring, in ms, beside the smallest of the same run
// (x-100); the links of the pin before are being made meanwhile.
func BenchmarkPin(b *testing.B) {
	var smallest float64
	for _, n := range ringSizes {
		b.Run(fmt.Sprintf("segments=%d", n), func(b *testing.B) {
			s := syntheticRing(b, n, victim)
			worst, i := time.Duration(0), 0
			for b.Loop() {
				i++
				began := time.Now()
				if err := s.Pin(fmt.Sprintf("P%d", i), time.Unix(0, 0)); err != nil {
					b.Fatal(err)
				}
				worst = max(worst, time.Since(began))
				b.StopTimer()
				if err := s.Unpin(fmt.Sprintf("P%d", i-1)); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			if st := s.Stats(); st.PinnedBytes != int64(n)*64<<20 {
				b.Fatalf("pinned %+v", st)
			}
			if smallest == 0 {
				smallest = perOp(b)
			}
			b.ReportMetric(perOp(b), "ms/pin")
			b.ReportMetric(perOp(b)/smallest, "x-100")
			b.ReportMetric(float64(worst.Microseconds())/1000, "ms-worst")
		})
	}
}

// BenchmarkSpoolWrite writes full-size and small frames of 256 flows.
func BenchmarkSpoolWrite(b *testing.B) {
	for _, size := range []int{64, 400, 1500} {
		b.Run(fmt.Sprintf("frame=%d", size), func(b *testing.B) {
			s := mustSpool(b, b.TempDir(), SpoolConfig{MaxBytes: 1 << 30}, systemDisk{})
			var frames []*capture.Frame
			for i := range 256 {
				frames = append(frames, frameAt(0, segmentFrame(i%20, uint16(40000+i), size-34)))
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			before := cpuTime(b)
			for n := 0; b.Loop(); n++ {
				f := frames[bits.Reverse8(uint8(n))]
				f.Time = base.UnixNano() + int64(n)*1000
				s.Write(f)
				if n%(5<<20/size) == 0 { // before the buffers are full: what is measured includes the disk
					if err := s.Flush(); err != nil {
						b.Fatal(err)
					}
				}
			}
			if err := s.Flush(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(s.Stats().Drops)/float64(b.N), "drops/frame")
			b.ReportMetric((cpuTime(b)-before)/float64(b.N)*1e6, "cpu-s/Mframe")
		})
	}
}

// cpuTime of this process, in seconds.
func cpuTime(b *testing.B) float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkExtract extracts a host from 256 MiB: MB/s are of the ring that was
// covered, and read-MB/s of what was read for it.
func BenchmarkExtract(b *testing.B) {
	s := mustSpool(b, b.TempDir(), SpoolConfig{MaxBytes: 1 << 30}, systemDisk{})
	everywhere, rare := segmentFrame(1, 1000, 400), segmentFrame(5, 1000, 400)
	for i := 0; s.Stats().DiskBytes < 256<<20; i++ {
		data := everywhere
		if i%100_000 == 50_000 {
			data = rare
		}
		s.Write(frameAt(i, data))
		if i%10_000 == 0 {
			if err := s.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := s.Pin("A", base); err != nil {
		b.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		host int
	}{{"host=few-slices", 5}, {"host=everywhere", 1}} {
		b.Run(tc.name, func(b *testing.B) {
			b.SetBytes(s.Stats().DiskBytes)
			var x Extraction
			var err error
			for b.Loop() {
				x, err = s.Extract(b.Context(), "A", Match{MACs: [][6]byte{hostMAC(tc.host)}}, base, base.Add(1e3*time.Hour), discard{}, nil)
				if err != nil || x.Packets == 0 {
					b.Fatal(x, err)
				}
			}
			b.ReportMetric(float64(x.Read)*float64(b.N)/1e6/b.Elapsed().Seconds(), "read-MB/s")
			b.ReportMetric(100*float64(x.Read)/float64(s.Stats().DiskBytes), "%read")
		})
	}
}
