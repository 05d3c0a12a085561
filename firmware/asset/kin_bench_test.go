package asset_test

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// A held device has filled the inventory with addresses that carry its identity.
func BenchmarkKinOfADeviceThatInventsAddresses(b *testing.B) {
	s := newScene()
	s.use(sign, printer, wired)
	s.v.Pin(list(wired))
	for n := range 5000 {
		s.now += 10 * time.Millisecond
		s.ask(wired.as(1000+n, 1))
	}
	q := query(wired)
	for b.Loop() {
		s.v.Kin(q)
	}
}

// The pipeline writes into the inventory with every frame, and waits while
// somebody reads it.
func BenchmarkPipelineBesideKin(b *testing.B) {
	s := newScene()
	s.use(sign, printer, wired)
	s.v.Pin(list(wired))
	for n := range 5000 {
		s.now += 10 * time.Millisecond
		s.ask(wired.as(1000+n, 1))
	}
	q, stop := query(wired), make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.v.Kin(q)
			}
		}
	})
	var waits []time.Duration
	for n := 0; b.Loop(); n++ {
		s.now += time.Millisecond
		began := time.Now()
		s.ask(wired.as(1000+n%5000, 1))
		waits = append(waits, time.Since(began))
		time.Sleep(100 * time.Microsecond) // let it ask
	}
	close(stop)
	asking.Wait()
	slices.Sort(waits)
	b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-wait-µs")
	b.ReportMetric(float64(waits[len(waits)-1].Microseconds()), "worst-wait-µs")
}
