package ioc

import (
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

// peak is the most memory that was in use while f ran, in MB.
func peak(f func()) float64 {
	runtime.GC()
	read := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	before, most := read(), uint64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				most = max(most, read())
			}
		}
	}()
	f()
	close(stop)
	<-done
	return float64(max(most, before)-before) / (1 << 20)
}

// TestAListCannotGrowInMemory reads lists of elements that are small on disk
// and large when decoded: 3 MB of these once became hundreds.
func TestAListCannotGrowInMemory(t *testing.T) {
	const n = 1 << 20
	for name, c := range map[string]struct {
		format Format
		text   string
	}{
		"stix":       {STIX, `{"objects":[` + strings.Repeat(`{},`, n) + `{}]}`},
		"misp":       {MISP, `{"Attribute":[` + strings.Repeat(`{},`, n) + `{}]}`},
		"misp lists": {MISP, `{"Event":[` + strings.Repeat(`[],`, n) + `[]]}`},
		"deep":       {MISP, `{"Event":` + strings.Repeat(`[`, n) + strings.Repeat(`]`, n) + `}`},
		"deep, else": {STIX, `{"x":` + strings.Repeat(`[`, n) + strings.Repeat(`]`, n) + `}`},
	} {
		used := peak(func() {
			if list, _, err := Parse(strings.NewReader(c.text), c.format); err == nil {
				t.Errorf("%s: %d entries", name, len(list))
			}
		})
		t.Logf("%s: %.0f MB for %d", name, used, len(c.text)>>20)
		if used > 32 {
			t.Errorf("%s: %.0f MB for a list of %d MB", name, used, len(c.text)>>20)
		}
	}
}
