package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/capture"
	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// sighting is a finding with what was known of its host at that moment.
type sighting struct {
	finding detect.Finding
	host    asset.Asset
}

// spool is what the watcher does with the packet ring.
type spool interface {
	Write(*capture.Frame)
	// Missed records frames that the kernel dropped between two times, ns.
	Missed(from, to int64, frames uint64)
}

// watcher owns source and pipeline. It spools every frame and hands findings
// over; it waits for nothing but a core that is behind.
type watcher struct {
	source   capture.Source
	spool    spool
	pipeline *Pipeline
	now      func() time.Time
	found    chan<- sighting
	flows    atomic.Pointer[flow.Stats] // for others to read
	memory   *memory
	log      *slog.Logger
}

// published is how often the counters are shown to the rest of the program.
const published = time.Second

// run reads until ctx ends or the source does, and leaves a last snapshot of
// what the detectors learnt.
func (w *watcher) run(ctx context.Context) error {
	err := w.read(ctx)
	w.remember(w.memory.snapshot(w.pipeline))
	return err
}

func (w *watcher) remember(err error) {
	if err != nil {
		w.log.Error("snapshot of what was learnt", "err", err)
	}
}

func (w *watcher) read(ctx context.Context) error {
	var f capture.Frame
	next := w.now()
	looked, drops := next, w.source.Stats().Drops
	for n := 0; ; n++ {
		err := w.source.Next(&f)
		var found []detect.Finding
		switch {
		case err == nil:
			w.spool.Write(&f)
			found = w.pipeline.Frame(&f)
		case errors.Is(err, capture.ErrIdle):
			found = w.pipeline.Advance(w.now().UnixNano())
		case errors.Is(err, io.EOF):
			return w.hand(ctx, w.pipeline.Flush())
		default:
			return fmt.Errorf("capture: %w", err)
		}
		if err := w.hand(ctx, found); err != nil {
			return err
		}
		// The clock is asked once in 256 frames: at full rate that is under a
		// millisecond, and when idle every turn counts.
		if err == nil && n&0xff != 0 {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if now := w.now(); !now.Before(next) {
			stats := w.pipeline.Flows()
			w.flows.Store(&stats)
			next = now.Add(published)
			if err := w.hand(ctx, w.pipeline.TakeUp()); err != nil {
				return err
			}
			if lost := w.source.Stats().Drops; lost > drops {
				w.spool.Missed(looked.UnixNano(), now.UnixNano(), lost-drops)
				drops = lost
			}
			looked = now
			w.remember(w.memory.take(w.pipeline, now))
		}
	}
}

// hand blocks when the core is behind: the kernel's ring then buffers, and
// counts what it must drop. A finding is never dropped.
func (w *watcher) hand(ctx context.Context, found []detect.Finding) error {
	for _, f := range found {
		select {
		case w.found <- sighting{finding: f, host: w.pipeline.Host(f)}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
