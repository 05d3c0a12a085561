package capture

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// merged reads several sources as one capture. Only the heads are compared,
// so each file's own order is kept, and files given first win ties.
type merged struct {
	all     []*Reader
	heads   headHeap
	started bool
	damaged []error
	end     error

	packets, bytes atomic.Uint64
}

var _ Source = (*merged)(nil)

// head is the next frame of one file.
type head struct {
	frame Frame
	src   *Reader
	rank  int
}

// OpenFiles opens capture files and yields their frames merged in time order.
// A damaged file ends early and the others are read on; the damage is what
// Next returns at the very end, joined when several are damaged. Every file
// that cannot be opened is named in the error.
func OpenFiles(paths ...string) (Source, error) {
	if len(paths) == 1 {
		return OpenFile(paths[0])
	}
	m := &merged{}
	var errs []error
	for _, path := range paths {
		r, err := openSized(path, bufferMany)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m.all = append(m.all, r)
	}
	if len(errs) > 0 {
		m.Close()
		return nil, errors.Join(errs...)
	}
	return m, nil
}

// Next implements Source.
func (m *merged) Next(f *Frame) error {
	if m.end != nil {
		return m.end
	}
	if !m.started {
		m.started = true
		for rank, r := range m.all {
			h := &head{src: r, rank: rank}
			if m.advance(h) {
				m.heads = append(m.heads, h)
			}
		}
		heap.Init(&m.heads)
	} else if len(m.heads) > 0 { // the frame handed out last belongs to the top
		if m.advance(m.heads[0]) {
			heap.Fix(&m.heads, 0)
		} else {
			heap.Pop(&m.heads)
		}
	}
	if len(m.heads) == 0 {
		m.end = io.EOF
		if len(m.damaged) == 1 {
			m.end = m.damaged[0]
		} else if len(m.damaged) > 1 {
			m.end = errors.Join(m.damaged...)
		}
		return m.end
	}
	*f = m.heads[0].frame
	m.packets.Store(m.packets.Load() + 1)
	m.bytes.Store(m.bytes.Load() + uint64(len(f.Data)))
	return nil
}

func (m *merged) advance(h *head) bool {
	err := h.src.Next(&h.frame)
	if err != nil && err != io.EOF {
		m.damaged = append(m.damaged, err)
	}
	return err == nil
}

// Stats implements Source.
func (m *merged) Stats() Stats {
	s := Stats{Packets: m.packets.Load(), Bytes: m.bytes.Load()}
	for _, r := range m.all {
		s.Drops += r.drops.Load()
	}
	return s
}

// Close implements Source.
func (m *merged) Close() error {
	m.end = fmt.Errorf("read captures: %w", os.ErrClosed)
	var errs []error
	for _, r := range m.all {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

type headHeap []*head

func (h headHeap) Len() int { return len(h) }
func (h headHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if a.frame.Time != b.frame.Time {
		return a.frame.Time < b.frame.Time
	}
	return a.rank < b.rank
}
func (h headHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *headHeap) Push(x any)   { *h = append(*h, x.(*head)) }
func (h *headHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return x
}
