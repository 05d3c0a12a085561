package gateway

import (
	"path/filepath"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/evidence"
	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
)

// mixed plays an office's traffic for b.N frames. Each round comes later in
// packet time, so that connections end and begin as they do in life.
func mixed(n int) *frames {
	all := flowtest.Mix(200_000, 1)
	return &frames{all: all, left: n, span: all[len(all)-1].Time - all[0].Time + int64(time.Minute)}
}

// floor is the least that anything of this kind must do: a header parse and a
// map from the five-tuple to a counter.
func floor(src *frames) {
	type key struct {
		src, dst flow.Addr
		ports    uint32
		proto    uint8
	}
	flows := map[key]*uint64{}
	var f capture.Frame
	var h flow.Header
	for src.Next(&f) == nil {
		if flow.Decode(f.Link, f.Data, &h) != nil {
			continue
		}
		k := key{h.Src, h.Dst, uint32(h.SrcPort)<<16 | uint32(h.DstPort), h.Proto}
		n := flows[k]
		if n == nil {
			n = new(uint64)
			flows[k] = n
		}
		*n += uint64(f.OrigLen)
	}
}

// BenchmarkPipeline is the whole way from frame to finding, without and with
// the spool, beside the floor of the same run. Compare ns/op.
func BenchmarkPipeline(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		src := mixed(b.N)
		b.ReportAllocs()
		b.ResetTimer()
		floor(src)
	})
	b.Run("pipeline", func(b *testing.B) {
		src := mixed(b.N)
		b.ReportAllocs()
		b.ResetTimer()
		p := NewPipeline(PipelineConfig{})
		var f capture.Frame
		for src.Next(&f) == nil {
			p.Frame(&f)
		}
	})
	b.Run("pipeline+spool", func(b *testing.B) {
		spool, err := evidence.OpenSpool(filepath.Join(b.TempDir(), "spool"), evidence.SpoolConfig{MaxBytes: 4 << 30})
		if err != nil {
			b.Fatal(err)
		}
		src := mixed(b.N)
		b.ReportAllocs()
		b.ResetTimer()
		p := NewPipeline(PipelineConfig{})
		var f capture.Frame
		for src.Next(&f) == nil {
			spool.Write(&f)
			p.Frame(&f)
		}
		b.StopTimer()
		b.ReportMetric(float64(spool.Stats().Drops), "drops")
		if err := spool.Close(); err != nil {
			b.Fatal(err)
		}
	})
}
