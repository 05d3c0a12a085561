package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/durable"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
)

// What the detectors learnt of the office outlives a restart in a file beside
// the database: it is large, it is no record, and losing the last minutes of
// it costs nothing but those minutes.
const (
	memoryName  = "learnt.json"
	memoryMost  = 64 << 20
	memoryEvery = 10 * time.Minute
)

func memoryPath(dir string) string { return filepath.Join(dir, memoryName) }

// recall gives the detectors back what they knew. A damaged file is set aside:
// the learning begins anew, and that is said.
func (o *opening) recall(p *Pipeline) {
	path := memoryPath(o.config.Storage.State)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var data []byte
	if err == nil && info.Size() > memoryMost {
		err = fmt.Errorf("%s has %d bytes", path, info.Size())
	}
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err == nil {
		err = p.engine.Restore(data)
	}
	if err != nil {
		o.log.Error("what was learnt of the office is damaged", "err", err)
		o.faults.set("history", errors.Join(fmt.Errorf("what was learnt of the office was damaged and set aside; learning begins anew: %w", err), setAside(path)))
	}
}

// memory carries snapshots from the watcher, which owns the detectors, to the
// disk, for which the watcher must not wait.
type memory struct {
	path  string
	fresh chan []byte // room for one
	every time.Duration
	next  time.Time // owned by the watcher
}

func newMemory(dir string) *memory {
	return &memory{path: memoryPath(dir), fresh: make(chan []byte, 1), every: memoryEvery}
}

// take makes a snapshot when one is due. It runs between two frames.
func (m *memory) take(p *Pipeline, now time.Time) error {
	if m.next.IsZero() {
		m.next = now.Add(m.every)
	}
	if now.Before(m.next) {
		return nil
	}
	m.next = now.Add(m.every)
	return m.snapshot(p)
}

func (m *memory) snapshot(p *Pipeline) error {
	data, err := p.engine.Snapshot()
	if err != nil {
		return err
	}
	select {
	case <-m.fresh: // the disk is behind: the newer one counts
	default:
	}
	m.fresh <- data
	return nil
}

// keep writes snapshots until ctx ends.
func (g *Gateway) keepMemory(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case data := <-g.watcher.memory.fresh:
			g.saveMemory(data)
		}
	}
}

// lastMemory writes what the watcher left behind when it ended.
func (g *Gateway) lastMemory() {
	select {
	case data := <-g.watcher.memory.fresh:
		g.saveMemory(data)
	default:
	}
}

func (g *Gateway) saveMemory(data []byte) {
	if err := durable.WriteFile(g.watcher.memory.path, data, 0o600); err != nil {
		g.log.Error("what was learnt is not saved", "err", err)
		g.faults.set("memory", err)
		return
	}
	g.faults.clear("memory")
}

// suspects is the set of devices from which nothing is learnt, as the core last
// published it. Any goroutine reads it; Learning must not follow an attacker.
type suspects struct {
	set atomic.Pointer[map[flow.MAC]bool]
}

func (s *suspects) has(m flow.MAC) bool {
	set := s.set.Load()
	return set != nil && (*set)[m]
}

// publish takes every device that waits for a decision, is held, or came back
// lately.
func (s *suspects) publish(all []incident.Incident) {
	set := map[flow.MAC]bool{}
	for _, i := range all {
		if i.Waiting() || i.State.Held() || i.State == incident.Probation {
			set[i.Asset.MAC] = true
			for _, mac := range asset.Following(i.Asset.Kin) {
				set[mac] = true
			}
		}
	}
	if old := s.set.Load(); old != nil && len(*old) == 0 && len(set) == 0 {
		return
	}
	s.set.Store(&set)
}
