package gateway

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/firmware/capture"
	"sekisho/firmware/evidence"
	"sekisho/netcontain/nstest"
)

// BenchmarkLivePath offers an office's mixed traffic on a veth pair to all that
// a gateway does with a frame: TPACKET_V3 ring, spool on disk, pipeline. The
// frames come at the rate that has to go without loss, and as fast as the
// sender can. It reports what was lost where, and the CPU time of the receiving
// process.
func BenchmarkLivePath(b *testing.B) {
	for _, c := range []struct {
		name string
		rate int
	}{{"400k", paceRate}, {"unpaced", 0}} {
		b.Run(c.name, func(b *testing.B) {
			r := receiveOurs(b, c.rate, NewPipeline(PipelineConfig{}))
			b.ReportMetric(r.offered, "offered/s")
			b.ReportMetric(r.share(r.ringLost), "%lost-ring")
			b.ReportMetric(r.share(r.spoolLost), "%lost-spool")
			b.ReportMetric(r.cpu.Seconds()/(r.sent-r.ringLost)*1e6, "cpu-s/Mframe")
		})
	}
}

// received is what became of the frames that were offered.
type received struct {
	sent, offered       float64 // frames; frames a second
	bytes               float64 // sent
	took                time.Duration
	ringLost, spoolLost float64 // frames
	cpu                 time.Duration
}

func (r received) share(lost float64) float64 { return 100 * lost / r.sent }

// receiveOurs offers b.N frames to ring, spool and, unless nil, pipeline.
func receiveOurs(b *testing.B, rate int, p *Pipeline) received {
	office, host := nstest.New(b), nstest.New(b)
	socket := plug(b, office, host)
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
	s := newSender(b, socket, b.N, rate)
	u := startUsage(b)
	done := s.begin(b)
	seen := receive(b, live, spool, p, s)
	if err := spool.Flush(); err != nil { // the disk's part belongs to it
		b.Error(err)
	}
	b.StopTimer()
	cpu := cpuTime(unix.RUSAGE_SELF) - u.cpu
	<-done
	return received{
		sent: float64(s.sent), offered: s.offered(), bytes: float64(s.bytes), took: s.took,
		ringLost: float64(s.sent) - float64(seen), spoolLost: float64(spool.Stats().Drops), cpu: cpu,
	}
}

// receive is the capture goroutine, until everything sent has come or is lost.
func receive(b *testing.B, live *capture.Live, spool *evidence.Spool, p *Pipeline, s *sender) (seen int) {
	var f capture.Frame
	for {
		err := live.Next(&f)
		if err == nil {
			spool.Write(&f)
			if p != nil {
				p.Frame(&f)
			}
			seen++
			continue
		}
		if !errors.Is(err, capture.ErrIdle) {
			b.Error(err)
			return seen
		}
		if s.ended.Load() {
			return seen
		}
	}
}
