package traffic

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"sekisho/hal/rpi"
)

// Playback is a board that answers as the recorded one did, each part in its own
// order. Its methods may be called from any goroutine.
type Playback struct {
	began time.Time

	mu    sync.Mutex
	parts map[string][]Event // what is still to come
	wrong []error
}

var _ rpi.Board = (*Playback)(nil)

// Play returns the board of a recording.
func Play(events []Event) *Playback {
	p := &Playback{parts: map[string][]Event{}, began: time.Now()}
	for _, e := range events {
		if e.Part != "step" {
			p.parts[e.Part] = append(p.parts[e.Part], e)
		}
	}
	return p
}

// Err says what was asked for otherwise than recorded, or not asked for at all.
func (p *Playback) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	errs := p.wrong
	for part, rest := range p.parts {
		if len(rest) > 0 {
			errs = append(errs, fmt.Errorf("%s: %d recorded events did not happen, the first is %+v", part, len(rest), rest[0]))
		}
	}
	return errors.Join(errs...)
}

// next takes the next event of a part, when it is what happens now. It returns what
// the part answered.
func (p *Playback) next(now Event) (Event, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := p.parts[now.Part]
	if len(rest) == 0 || !same(rest[0], now) {
		was := "nothing"
		if len(rest) > 0 {
			was = fmt.Sprintf("%+v", rest[0])
		}
		p.wrong = append(p.wrong, fmt.Errorf("%s: %+v, recorded was %s", now.Part, now, was))
		return Event{}, ErrOtherwise
	}
	p.parts[now.Part] = rest[1:]
	return rest[0], answer(rest[0])
}

// same says whether the same was asked for. What was answered is the recording's.
func same(was, now Event) bool {
	return was.Op == now.Op && was.Addr == now.Addr && bytes.Equal(was.W, now.W) && len(was.R) == len(now.R) && was.Lit == now.Lit && was.Dim == now.Dim
}

func answer(e Event) error {
	if e.Err == "" {
		return nil
	}
	return errors.New(e.Err)
}

// OpenButton implements rpi.Board.
func (p *Playback) OpenButton(line string, _ bool) (rpi.Button, error) {
	if _, err := p.next(Event{Part: line, Op: "open"}); err != nil {
		return nil, err
	}
	return &playedButton{p: p, line: line, closed: make(chan struct{})}, nil
}

type playedButton struct {
	p      *Playback
	line   string
	once   sync.Once
	closed chan struct{}
}

func (b *playedButton) Down() (bool, error) {
	e, err := b.p.next(Event{Part: b.line, Op: "down"})
	return e.Down, err
}

// Wait returns at once while there are recorded edges: a playback does not take the
// time that a person took.
func (b *playedButton) Wait() error {
	if e, ok := b.p.edge(b.line, false); ok {
		return answer(e)
	}
	<-b.closed
	return os.ErrClosed
}

func (b *playedButton) Edges() ([]rpi.Edge, error) {
	var edges []rpi.Edge
	for {
		e, ok := b.p.edge(b.line, true)
		if !ok || e.Err != "" {
			return edges, answer(e)
		}
		edges = append(edges, rpi.Edge{Ago: time.Since(b.p.began.Add(e.At)), Down: e.Down})
	}
}

func (b *playedButton) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// edge is the next event of a line if it is an edge, and takes it.
func (p *Playback) edge(line string, take bool) (Event, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := p.parts[line]
	if len(rest) == 0 || rest[0].Op != "edge" {
		return Event{}, false
	}
	if take {
		p.parts[line] = rest[1:]
	}
	return rest[0], true
}

// OpenLight implements rpi.Board.
func (p *Playback) OpenLight(line string, _ bool) (rpi.Light, error) {
	if _, err := p.next(Event{Part: line, Op: "open"}); err != nil {
		return nil, err
	}
	return playedLight{p, line}, nil
}

type playedLight struct {
	p    *Playback
	line string
}

func (l playedLight) Set(s rpi.Shade) error {
	_, err := l.p.next(Event{Part: l.line, Op: "set", Lit: s.Level, Dim: s.Dim})
	return err
}

func (playedLight) Close() error { return nil }

// OpenBus implements rpi.Board.
func (p *Playback) OpenBus(number int) (rpi.Bus, error) {
	name := busName(number)
	if _, err := p.next(Event{Part: name, Op: "open"}); err != nil {
		return nil, err
	}
	return playedBus{p, name}, nil
}

type playedBus struct {
	p    *Playback
	name string
}

func (b playedBus) Tx(addr uint16, w, r []byte) error {
	e, err := b.p.next(Event{Part: b.name, Op: "tx", Addr: addr, W: w, R: r})
	copy(r, e.R)
	return err
}

func (playedBus) Close() error { return nil }
