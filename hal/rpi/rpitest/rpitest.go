// Package rpitest is a board of memory for hal/rpi: its parts can be pulled out and
// put back, and hang.
//
// Tests of hal/rpi and of hal/cmd/halsmoke use it.
package rpitest

import (
	"fmt"
	"os"
	"sync"
	"time"

	"sekisho/hal/rpi"
)

// Board implements rpi.Board. The zero Board has every line, dark and at rest, and no
// bus. All its methods may be called from any goroutine.
type Board struct {
	mu      sync.Mutex
	missing map[string]error
	slow    map[string]time.Duration
	lights  map[string]*lamp
	sets    map[string]int
	down    bool
	queue   []edge
	change  chan struct{} // closed when queue or missing change
	bus     Bus
	opened  int
}

var _ rpi.Board = (*Board)(nil)

// Bus is what hangs on the board's only I2C bus.
type Bus interface {
	Tx(addr uint16, w, r []byte) error
}

type edge struct {
	at   time.Time
	down bool
}

// Attach hangs a device on the bus; nil takes the bus away.
func (b *Board) Attach(d Bus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bus = d
}

// Lose has every call about a line fail from now on; nil mends it.
func (b *Board) Lose(line string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.missing == nil {
		b.missing = map[string]error{}
	}
	b.missing[line] = err
	b.changed()
}

// Slow has every setting of a light take so long.
func (b *Board) Slow(line string, d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slow = map[string]time.Duration{line: d}
}

// Push moves the button's line.
func (b *Board) Push(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down != down {
		b.down = down
		b.queue = append(b.queue, edge{time.Now(), down})
		b.changed()
	}
}

func (b *Board) changed() {
	if b.change != nil {
		close(b.change)
		b.change = nil
	}
}

// Light is how a light is driven; the zero Shade when it is not open.
func (b *Board) Light(line string) rpi.Shade {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.lights[line]; l != nil {
		return l.shade
	}
	return rpi.Shade{}
}

// Lit says whether a light on a line is on.
func (b *Board) Lit(line string) bool { return b.Light(line).Level >= 128 }

// Sets is how often a light was set.
func (b *Board) Sets(line string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sets[line]
}

// Open is how many parts are open.
func (b *Board) Open() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened
}

func (b *Board) open(line string) error {
	if err := b.missing[line]; err != nil {
		return fmt.Errorf("line %s: %w", line, err)
	}
	b.opened++
	return nil
}

func (b *Board) close(done *bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if *done {
		return os.ErrClosed
	}
	*done = true
	b.opened--
	b.changed()
	return nil
}

// OpenLight implements rpi.Board.
func (b *Board) OpenLight(line string, _ bool) (rpi.Light, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.open(line); err != nil {
		return nil, err
	}
	if b.lights == nil {
		b.lights, b.sets = map[string]*lamp{}, map[string]int{}
	}
	l := &lamp{b: b, line: line}
	b.lights[line] = l
	return l, nil
}

type lamp struct {
	b      *Board
	line   string
	shade  rpi.Shade
	closed bool
}

func (l *lamp) Set(s rpi.Shade) error {
	l.b.mu.Lock()
	slow := l.b.slow[l.line]
	l.b.mu.Unlock()
	time.Sleep(slow)
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.b.sets[l.line]++
	if err := l.b.missing[l.line]; err != nil {
		return err
	}
	if l.closed {
		return os.ErrClosed
	}
	l.shade = s
	return nil
}

func (l *lamp) Close() error { return l.b.close(&l.closed) }

// OpenButton implements rpi.Board. There is one, whatever the line is called.
func (b *Board) OpenButton(line string, _ bool) (rpi.Button, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.open(line); err != nil {
		return nil, err
	}
	b.queue = nil
	return &button{b: b, line: line}, nil
}

type button struct {
	b      *Board
	line   string
	closed bool
}

// fails is the reason why the line says nothing. The lock is held.
func (l *button) fails() error {
	if l.closed {
		return os.ErrClosed
	}
	return l.b.missing[l.line]
}

func (l *button) Down() (bool, error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	return l.b.down, l.fails()
}

func (l *button) Wait() error {
	for {
		l.b.mu.Lock()
		err, ready := l.fails(), len(l.b.queue) > 0
		if l.b.change == nil {
			l.b.change = make(chan struct{})
		}
		change := l.b.change
		l.b.mu.Unlock()
		if err != nil || ready {
			return err
		}
		<-change
	}
}

func (l *button) Edges() ([]rpi.Edge, error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if err := l.fails(); err != nil {
		return nil, err
	}
	var out []rpi.Edge
	for _, e := range l.b.queue {
		out = append(out, rpi.Edge{Ago: time.Since(e.at), Down: e.down})
	}
	l.b.queue = nil
	return out, nil
}

func (l *button) Close() error { return l.b.close(&l.closed) }

// OpenBus implements rpi.Board.
func (b *Board) OpenBus(number int) (rpi.Bus, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bus == nil {
		return nil, fmt.Errorf("there is no I2C bus %d", number)
	}
	b.opened++
	return &bus{Bus: b.bus, b: b}, nil
}

type bus struct {
	Bus
	b      *Board
	closed bool
}

// Tx goes to the device that hung there when the bus was opened, while it hangs there.
func (u *bus) Tx(addr uint16, w, r []byte) error {
	u.b.mu.Lock()
	gone := u.closed || u.b.bus != u.Bus
	u.b.mu.Unlock()
	if gone {
		return os.ErrClosed
	}
	return u.Bus.Tx(addr, w, r)
}

func (u *bus) Close() error { return u.b.close(&u.closed) }
