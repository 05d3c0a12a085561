package asset_test

import (
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
