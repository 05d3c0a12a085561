package gateway

import (
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"sekisho/firmware/capture"
)

// leaky is a wire on which nothing comes, but the kernel says that it lost
// frames: drops, one number a second.
type leaky struct {
	drops []uint64
	at    time.Time
}

func (l *leaky) Next(*capture.Frame) error {
	if len(l.drops) == 1 {
		return io.EOF
	}
	l.drops, l.at = l.drops[1:], l.at.Add(time.Second)
	return capture.ErrIdle
}

func (l *leaky) Stats() capture.Stats { return capture.Stats{Drops: l.drops[0]} }
func (l *leaky) Close() error         { return nil }

type gap struct {
	from, to int64 // seconds after start
	frames   uint64
}

type gaps []gap

func (g *gaps) Write(*capture.Frame) {}

func (g *gaps) Missed(from, to int64, frames uint64) {
	after := func(ns int64) int64 { return (ns - start.UnixNano()) / int64(time.Second) }
	*g = append(*g, gap{after(from), after(to), frames})
}

func TestWhatTheKernelDroppedIsAGapOfTheSecondInWhichItHappened(t *testing.T) {
	wire := &leaky{drops: []uint64{5, 5, 9, 9, 12}, at: start} // the first 5 are of before
	var got gaps
	w := &watcher{
		source: wire, spool: &got, pipeline: NewPipeline(PipelineConfig{}), now: func() time.Time { return wire.at },
		memory: newMemory(t.TempDir()), log: slog.New(slog.DiscardHandler),
	}
	if err := w.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := (gaps{{1, 2, 4}, {3, 4, 3}}); !slices.Equal(got, want) {
		t.Errorf("gaps %v, want %v", got, want)
	}
}
