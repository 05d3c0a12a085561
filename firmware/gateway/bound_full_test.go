//go:build !race

package gateway

import "testing"

// TestTenMillionStrangersStayUnderTheBound is the whole of
// TestStrangersDoNotFillTheMemory. It takes minutes, and a quarter of an hour
// under the race detector: make test runs it by itself.
func TestTenMillionStrangersStayUnderTheBound(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	p, most, findings := flood(10_000_000)
	t.Logf("%d MB live, %d findings", most>>20, findings)
	if most > heapMost {
		t.Errorf("%d MB live, at most %d", most>>20, heapMost>>20)
	}
	if s := p.Flows(); s.Packets != 10_000_000 || s.Evicted == 0 {
		t.Errorf("flow: %+v", s)
	}
}
