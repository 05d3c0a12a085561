package flow

import (
	"sync"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

// mix is made once for all benchmarks; they only read it.
var mix = sync.OnceValue(func() []capture.Frame { return flowtest.Mix(1_000_000, 1) })

func perPacket(b *testing.B, frames []capture.Frame, bytes int) {
	n := float64(b.N) * float64(len(frames))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/packet")
	b.ReportMetric(n/b.Elapsed().Seconds(), "packets/s")
	b.ReportMetric(float64(bytes)/float64(len(frames)), "B/packet")
}

func size(frames []capture.Frame) (n int) {
	for i := range frames {
		n += len(frames[i].Data)
	}
	return n
}

func BenchmarkHeader(b *testing.B) {
	frames := mix()
	var h Header
	b.ReportAllocs()
	for b.Loop() {
		for i := range frames {
			if Decode(frames[i].Link, frames[i].Data, &h) != nil {
				b.Fatal("the mix must decode")
			}
		}
	}
	perPacket(b, frames, size(frames))
}

// bareFlow is the least that a flow map keeps.
type bareFlow struct {
	last           int64
	packets, bytes [2]uint64
}

// BenchmarkHeaderPlusMap is the floor that the pipeline's target refers to: a
// header parse and a flow map, nothing else.
func BenchmarkHeaderPlusMap(b *testing.B) {
	frames := mix()
	b.ReportAllocs()
	for b.Loop() {
		headerPlusMap(frames)
	}
	perPacket(b, frames, size(frames))
}

func headerPlusMap(frames []capture.Frame) int {
	var h Header
	flows := make(map[key]*bareFlow)
	for i := range frames {
		if Decode(frames[i].Link, frames[i].Data, &h) != nil || h.Proto != ProtoTCP && h.Proto != ProtoUDP {
			continue
		}
		k, first := h.key()
		f := flows[k]
		if f == nil {
			f = &bareFlow{}
			flows[k] = f
		}
		dir := 0
		if first {
			dir = 1
		}
		f.last = frames[i].Time
		f.packets[dir]++
		f.bytes[dir] += uint64(h.PayloadLen)
	}
	return len(flows)
}

func BenchmarkTracker(b *testing.B) {
	frames := mix()
	events := 0
	emit := func(Event) { events++ }
	var live uint64
	b.ReportAllocs()
	for b.Loop() {
		t := New(Config{})
		for i := range frames {
			t.Frame(&frames[i], emit)
		}
		live = t.Stats().Live
	}
	perPacket(b, frames, size(frames))
	b.ReportMetric(float64(events)/float64(b.N)/float64(len(frames)), "events/packet")
	b.ReportMetric(float64(live), "live")
}

// BenchmarkTrackerWithoutPayload is the tracker on the same mix with payloads cut away, so
// that the share of the deep part can be read off in one run.
func BenchmarkTrackerWithoutPayload(b *testing.B) {
	full := mix()
	frames := make([]capture.Frame, len(full))
	for i, f := range full {
		var h Header
		if Decode(f.Link, f.Data, &h) != nil {
			b.Fatal("the mix must decode")
		}
		frames[i] = f
		frames[i].Data = f.Data[:len(f.Data)-len(h.Payload)]
	}
	emit := func(Event) {}
	for b.Loop() {
		t := New(Config{})
		for i := range frames {
			t.Frame(&frames[i], emit)
		}
	}
	perPacket(b, frames, size(frames))
}

// BenchmarkRatio measures floor and tracker in turns, pass by pass, so that a
// noisy machine weighs on both alike, and reports what the target is about:
// the tracker's time as a multiple of the floor's.
func BenchmarkRatio(b *testing.B) {
	frames := mix()
	emit := func(Event) {}
	var floor, full time.Duration
	for b.Loop() {
		start := time.Now()
		headerPlusMap(frames)
		middle := time.Now()
		t := New(Config{})
		for i := range frames {
			t.Frame(&frames[i], emit)
		}
		floor += middle.Sub(start)
		full += time.Since(middle)
	}
	b.ReportMetric(float64(full)/float64(floor), "x-floor")
}
