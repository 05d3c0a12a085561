package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
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
	usesName    = "uses.json" // who used whom as a server; damaged alone, it is lost alone
	memoryMost  = 64 << 20
	memoryEvery = 10 * time.Minute
)

// recall gives the detectors back what they knew. A damaged file is set aside:
// the learning begins anew, and that is said.
func (o *opening) recall(p *Pipeline) {
	dir := o.config.Storage.State
	var errs []error
	for _, part := range []struct {
		name    string
		restore func([]byte) error
	}{{memoryName, p.engine.Restore}, {usesName, p.uses.Restore}} {
		errs = append(errs, o.recallFile(filepath.Join(dir, part.name), part.restore))
	}
	if err := errors.Join(errs...); err != nil {
		o.faults.set("history", err)
	}
}

func (o *opening) recallFile(path string, restore func([]byte) error) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var data []byte
	if err == nil && info.Size() > memoryMost {
		err = fmt.Errorf("%s has %d bytes", path, info.Size())
	}
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err == nil {
		err = restore(data)
	}
	if err == nil {
		return nil
	}
	o.log.Error("what was learnt of the office is damaged", "file", path, "err", err)
	return errors.Join(fmt.Errorf("what was learnt of the office was damaged and set aside; learning begins anew: %w", err), setAside(path))
}

// memory carries snapshots from the watcher, which owns the detectors, to the
// disk, for which the watcher must not wait.
type memory struct {
	dir   string
	fresh chan learnt // room for one
	every time.Duration
	next  time.Time // owned by the watcher
}

// learnt is one snapshot: what each of the files is to hold.
type learnt struct{ detectors, uses []byte }

func newMemory(dir string) *memory {
	return &memory{dir: dir, fresh: make(chan learnt, 1), every: memoryEvery}
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
	detectors, err := p.engine.Snapshot()
	if err != nil {
		return err
	}
	uses, err := p.uses.Snapshot()
	if err != nil {
		return err
	}
	select {
	case <-m.fresh: // the disk is behind: the newer one counts
	default:
	}
	m.fresh <- learnt{detectors, uses}
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

func (g *Gateway) saveMemory(data learnt) {
	dir := g.watcher.memory.dir
	err := errors.Join(
		durable.WriteFile(filepath.Join(dir, memoryName), data.detectors, 0o600),
		durable.WriteFile(filepath.Join(dir, usesName), data.uses, 0o600))
	if err != nil {
		g.log.Error("what was learnt is not saved", "err", err)
		g.faults.set("memory", err)
		return
	}
	g.faults.clear("memory")
}

// suspects is the set of devices from which nothing is learnt, as the core last
// published it. Any goroutine reads it; Learning must not follow an attacker.
type suspects struct {
	set  atomic.Pointer[map[flow.MAC]bool]
	held atomic.Pointer[map[netip.Addr]time.Time]
	// drilled are the devices of drills, which are none of the office's.
	drilled atomic.Pointer[map[flow.MAC]string]
}

// since is when the device of an address was isolated, for the help page; zero
// when it is not, or is only limited.
func (s *suspects) since(a netip.Addr) time.Time {
	if held := s.held.Load(); held != nil {
		return (*held)[a]
	}
	return time.Time{}
}

func (s *suspects) has(m flow.MAC) bool {
	if drilled := s.drilled.Load(); drilled != nil {
		if _, is := (*drilled)[m]; is {
			return true
		}
	}
	set := s.set.Load()
	return set != nil && (*set)[m]
}

// publish takes every device that waits for a decision, is held, or came back
// lately.
func (s *suspects) publish(all []incident.Incident) {
	set, held := map[flow.MAC]bool{}, map[netip.Addr]time.Time{}
	for _, i := range all {
		if i.State.Held() && i.Level == incident.Isolate {
			for _, a := range host(i).Addrs { // under whichever of its Ethernet addresses
				held[a] = i.HeldFrom()
			}
		}
		if i.Waiting() || i.State.Held() || i.State == incident.Probation {
			set[i.Asset.MAC] = true
			for _, mac := range asset.Following(i.Asset.Kin) {
				set[mac] = true
			}
		}
	}
	s.held.Store(&held)
	if old := s.set.Load(); old != nil && len(*old) == 0 && len(set) == 0 {
		return
	}
	s.set.Store(&set)
}
