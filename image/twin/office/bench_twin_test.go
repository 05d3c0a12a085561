//go:build twin

package office

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// quiet is how long nothing of the host must arrive before its last frame is
// taken for the last; its frames come every spacing, which is also how finely
// the wire is measured.
const (
	quiet   = 700 * time.Millisecond
	spacing = 5 * time.Millisecond
)

// releaseEvery is after how many presses one is released, and that measured too.
const releaseEvery = 5

// BenchmarkPress measures by this machine's clock, from the edge of the button,
// let go: to the lamp's lines, red alone; to the last byte of the first picture
// on the screen's bus that says so too; and to the last frame of the host at a
// neighbour. And from the request to release it to its first frame there. The
// gateway is emulated, and shares this machine's processors with whoever else
// works; it drives the bus by program, line by line, which boards have a
// controller for.
func BenchmarkPress(b *testing.B) {
	s := newSiege(b, withScreen)
	frame := udp(hostMAC(1), broadcast, hostIP(1), netip.MustParseAddr("192.168.77.255"), 1, 'b')
	took := map[string][]time.Duration{}
	note := func(what string, from, to time.Time) { took[what] = append(took[what], to.Sub(from)) }
	for n := 0; b.Loop(); n++ {
		s.at(b, asked)
		// Not before: what was sent while the machine was being set back stands in its queue.
		stop := s.flood(b, 1, spacing, func(int) [][]byte { return [][]byte{frame} })
		i := s.asks(b)
		says := s.confirmations(b)
		s.heard(b, time.Now())
		s.glass.forget()
		let := s.press(b)
		note("press", let, s.silent(b))
		lamp, screen := s.answered(b, says)
		note("lamp", let, lamp)
		note("screen", let, screen)
		if n%releaseEvery == 0 {
			s.awaitIncident(b, 1, "contained and proven", proven)
			asked := time.Now()
			s.release(b, i.ID)
			note("release", asked, s.heard(b, asked))
		}
		stop()
	}
	b.ReportMetric(0, "ns/op")
	for name, all := range took {
		slices.Sort(all)
		b.ReportMetric(quantile(all, 50), name+"-ms-median")
		b.ReportMetric(quantile(all, 99), name+"-ms-p99")
	}
}

// quantile of sorted times, in ms, by nearest rank.
func quantile(sorted []time.Duration, percent int) float64 {
	return sorted[(len(sorted)*percent+99)/100-1].Seconds() * 1e3
}

// silent waits until host 1 is not heard any more, and returns when it last was.
func (s *siege) silent(t testing.TB) (last time.Time) {
	t.Helper()
	await(t, "a host that is silent", func() bool {
		_, _, last = s.neighbour.seen(1)
		return time.Since(last) > quiet
	})
	return last
}

// heard waits for a frame of host 1 after that time, and returns when it came.
func (s *siege) heard(t testing.TB, after time.Time) (first time.Time) {
	t.Helper()
	s.neighbour.reset()
	await(t, "a host that is heard", func() bool {
		_, first, _ = s.neighbour.seen(1)
		return first.After(after)
	})
	return first
}
