package gateway

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/netcontain/nstest"
)

// peerRounds is how often each takes its turn: others' work on the machine
// weighs on one round or another, and the least of a few is what counts.
const peerRounds = 3

// BenchmarkPeers offers the same traffic on the same kind of cable, as fast as
// the sender can, to our ring and spool, without and with the pipeline behind
// it, and to the programs that keep a ring of files elsewhere: dumpcap and
// tcpdump, with a kernel ring as large as ours. They take turns. x-spool and
// x-gateway are how many times the CPU time of ours, in the same round, a
// program needs for the same bits.
func BenchmarkPeers(b *testing.B) {
	for round := range peerRounds {
		var spool, gateway float64
		turn := func(name string, take func(b *testing.B) received) (perGbit float64) {
			b.Run(fmt.Sprintf("%s/%d", name, round+1), func(b *testing.B) {
				r := take(b)
				kept := r.bytes * (1 - r.share(r.ringLost+r.spoolLost)/100)
				perGbit = r.cpu.Seconds() / (kept * 8 / 1e9)
				b.ReportMetric(r.offered, "offered/s")
				b.ReportMetric(r.share(r.ringLost+r.spoolLost), "%lost")
				b.ReportMetric(kept/1e6/r.took.Seconds(), "kept-MB/s")
				b.ReportMetric(perGbit, "cpu-s/Gbit")
				if spool > 0 {
					b.ReportMetric(perGbit/spool, "x-spool")
				}
				if gateway > 0 {
					b.ReportMetric(perGbit/gateway, "x-gateway")
				}
			})
			return perGbit
		}
		spool = turn("spool", func(b *testing.B) received { return receiveOurs(b, 0, nil) })
		gateway = turn("spool+pipeline", func(b *testing.B) received { return receiveOurs(b, 0, NewPipeline(PipelineConfig{})) })
		turn("dumpcap", func(b *testing.B) received {
			return receivePeer(b, "File:", `Packets captured: (\d+)`, "dumpcap", "-q", "-i", "lan1", "-B", "64",
				"-b", "filesize:65536", "-b", "files:64", "-w", filepath.Join(b.TempDir(), "ring.pcapng"))
		})
		turn("tcpdump", func(b *testing.B) received {
			return receivePeer(b, "listening on", `(\d+) packets? captured`, "tcpdump", "-n", "-i", "lan1", "-B", "65536",
				"-C", "64", "-W", "64", "-Z", "root", "-w", filepath.Join(b.TempDir(), "ring.pcap"))
		})
	}
}

// receivePeer offers b.N frames to a program that says ready on its standard
// error when it captures, and at its end how many frames it has written.
func receivePeer(b *testing.B, ready, written, name string, args ...string) received {
	if _, err := exec.LookPath(name); err != nil {
		b.Fatalf("%v: apt-get install wireshark-common tcpdump", err)
	}
	office, host := nstest.New(b), nstest.New(b)
	s := newSender(b, plug(b, office, host), b.N, 0)
	cmd := exec.Command(name, args...)
	words, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	office.Do(b, func() {
		if err := cmd.Start(); err != nil {
			b.Error(err)
		}
	})
	if b.Failed() {
		b.FailNow()
	}
	b.Cleanup(func() { _ = cmd.Process.Kill() })
	rest := said(b, words, ready)
	b.ResetTimer()
	<-s.begin(b)
	idle(b, cmd.Process.Pid)
	b.StopTimer()
	if err := cmd.Process.Signal(unix.SIGINT); err != nil {
		b.Fatal(err)
	}
	told := rest()
	if err := cmd.Wait(); err != nil {
		b.Fatalf("%s: %v\n%s", name, err, told)
	}
	m := regexp.MustCompile(written).FindStringSubmatch(told)
	if m == nil {
		b.Fatalf("%s does not say how many frames it wrote:\n%s", name, told)
	}
	kept, _ := strconv.ParseFloat(m[1], 64) // digits only
	return received{
		sent: float64(s.sent), offered: s.offered(), bytes: float64(s.bytes), took: s.took, ringLost: float64(s.sent) - kept,
		cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(),
	}
}

// idle waits until a process has used no CPU time for a while: it has then
// taken out of its ring what was in it. A signal would make it leave that.
func idle(b *testing.B, pid int) {
	const while = 300 * time.Millisecond // dumpcap looks at its ring four times in a second
	for before := []byte(nil); ; {
		now, err := ticks(pid)
		if err != nil {
			b.Fatal(err)
		}
		if bytes.Equal(now, before) {
			return
		}
		before = now
		time.Sleep(while)
	}
}

// ticks is utime and stime of proc_pid_stat(5).
func ticks(pid int) ([]byte, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stat, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return bytes.Join(fields[11:13], []byte(" ")), nil
}
