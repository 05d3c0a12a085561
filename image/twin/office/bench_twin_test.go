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

// BenchmarkPress measures by this machine's clock, on the wire outside: from the
// edge of the button, let go, to the last frame of the host at a neighbour; and
// from the request to release it to its first frame there. The gateway is
// emulated, and shares this machine's processors with whoever else works.
func BenchmarkPress(b *testing.B) {
	s := newSiege(b)
	frame := udp(hostMAC(1), broadcast, hostIP(1), netip.MustParseAddr("192.168.77.255"), 1, 'b')
	var press, release []time.Duration
	for b.Loop() {
		s.at(b, asked)
		// Not before: what was sent while the machine was being set back stands in its queue.
		stop := s.flood(b, 1, spacing, func(int) [][]byte { return [][]byte{frame} })
		i := s.asks(b)
		s.heard(b, time.Now())
		let := s.press(b)
		press = append(press, s.silent(b).Sub(let))
		s.awaitIncident(b, 1, "contained and proven", proven)
		asked := time.Now()
		s.release(b, i.ID)
		release = append(release, s.heard(b, asked).Sub(asked))
		stop()
	}
	b.ReportMetric(0, "ns/op")
	for name, all := range map[string][]time.Duration{"press": press, "release": release} {
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
