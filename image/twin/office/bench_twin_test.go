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

// standsStill is how long a free host that sends must not be heard before the
// machine is taken to stand still; a busy builder needs a fraction of it.
const standsStill = 20 * time.Second

// releaseEvery is after how many presses one is released, and that measured too.
const releaseEvery = 10

// BenchmarkPress measures by this machine's clock, from the edge of the button,
// let go: to the lamp's lines, red alone; to the last byte of the first picture
// on the screen's bus that says so too; and to the last frame of the host at a
// neighbour. And from the request to release it to its first frame there. The
// gateway is emulated, and shares this machine's processors with whoever else
// works; it drives the bus by program, line by line, which boards have a
// controller for.
func BenchmarkPress(b *testing.B) {
	s := newSiege(b, withScreen)
	took := map[string][]time.Duration{}
	note := func(what string, from, to time.Time) { took[what] = append(took[what], to.Sub(from)) }
	for n := 0; b.Loop(); n++ {
		stop := s.asksAboutOneWhoIsHeard(b)
		says := s.confirmations(b)
		s.glass.forget()
		let := s.press(b)
		note("press", let, s.silent(b))
		lamp, screen := s.answered(b, says)
		note("lamp", let, lamp)
		note("screen", let, screen)
		if n%releaseEvery == 0 {
			i := s.awaitIncident(b, 1, "contained and proven", proven)
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

// asksAboutOneWhoIsHeard goes to where the panel asks about host 1, and has it
// send until stop. A guest that was set back may stand still, see the limits in
// image/README.md: then it is set back again, and that is told. Nothing is
// measured by then.
func (s *siege) asksAboutOneWhoIsHeard(b *testing.B) (stop func()) {
	b.Helper()
	frame := udp(hostMAC(1), broadcast, hostIP(1), netip.MustParseAddr("192.168.77.255"), 1, 'b')
	for range attempts {
		s.at(b, asked)
		// Not before: what was sent while the machine was being set back stands in its queue.
		stop = s.flood(b, 1, spacing, func(int) [][]byte { return [][]byte{frame} })
		s.asks(b)
		s.neighbour.reset()
		for begun := time.Now(); time.Since(begun) < standsStill; time.Sleep(spacing) {
			if s.neighbour.total(1) > 0 {
				return stop
			}
		}
		stop()
		var p panelView
		b.Logf("set back, and then host 1 was not heard for %v; of the gateway's page: %v", standsStill, s.get("/api/panel", &p))
	}
	b.Fatal("the machine stands still each time that it is set back")
	return nil
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
