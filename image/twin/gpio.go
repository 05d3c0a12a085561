package twin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Lines is how many lines the machine's GPIO controller, a PL061, has. On line
// PowerKey is the power button of the virt machine; the others are free.
const (
	Lines    = 8
	PowerKey = 3
)

// maxEdges is how many edges wait for whoever reads them; further ones are
// counted and left out. A lamp that blinks at 5 Hz fills it in a minute.
const maxEdges = 1024

// Edge is a change of a line that the guest drives.
type Edge struct {
	Line int
	High bool
	At   time.Time // of this machine, when QEMU said so
}

// GPIO is the guest's lines, seen from outside. All methods may be called from
// several goroutines.
type GPIO struct {
	conn    net.Conn
	path    string
	edges   chan Edge
	dropped atomic.Int64

	asking  sync.Mutex
	answers chan string
	mu      sync.Mutex
	levels  [Lines]bool
	ended   chan struct{}
}

// GPIO finds the controller and begins to listen; Config.GPIO has to be set.
// What the guest drove before is not known: begin before it starts to.
func (m *Machine) GPIO(ctx context.Context) (*GPIO, error) {
	if m.qtest == nil {
		return nil, errors.New("GPIO: the machine was started without")
	}
	path, err := m.qmp.find(ctx, "pl061")
	if err != nil {
		return nil, fmt.Errorf("GPIO: %w", err)
	}
	g := newGPIO(m.qtest, path)
	if err := g.command(ctx, "irq_intercept_out "+path); err != nil {
		return nil, fmt.Errorf("GPIO: %w", err)
	}
	return g, nil
}

func newGPIO(c net.Conn, path string) *GPIO {
	g := &GPIO{conn: c, path: path, edges: make(chan Edge, maxEdges), answers: make(chan string, 1), ended: make(chan struct{})}
	go g.listen()
	return g
}

// listen takes lines of the qtest protocol (system/qtest.c of QEMU) apart: "IRQ
// raise 6" comes by itself, "OK" and "FAIL …" answer a command.
func (g *GPIO) listen() {
	defer close(g.ended)
	read := newLineReader(g.conn)
	for {
		line, err := read.next()
		if errors.Is(err, errLong) {
			continue
		}
		if err != nil {
			return
		}
		if e, ok := parseEdge(string(line)); ok {
			e.At = time.Now()
			g.note(e)
		} else if !strings.HasPrefix(string(line), "IRQ ") {
			select {
			case g.answers <- string(line):
			default: // nobody asked
			}
		}
	}
}

func parseEdge(line string) (Edge, bool) {
	var verb string
	var n int
	if _, err := fmt.Sscanf(line, "IRQ %s %d", &verb, &n); err != nil || n < 0 || n >= Lines || (verb != "raise" && verb != "lower") {
		return Edge{}, false
	}
	return Edge{Line: n, High: verb == "raise"}, true
}

func (g *GPIO) note(e Edge) {
	g.mu.Lock()
	g.levels[e.Line] = e.High
	g.mu.Unlock()
	select {
	case g.edges <- e:
	default:
		g.dropped.Add(1)
	}
}

// Set drives a line from outside, and returns the time of this machine just
// before.
func (g *GPIO) Set(ctx context.Context, line int, high bool) (time.Time, error) {
	if line < 0 || line >= Lines {
		return time.Time{}, fmt.Errorf("set line %d: there are lines 0 to %d", line, Lines-1) // QEMU would abort
	}
	level := 0
	if high {
		level = 1
	}
	at := time.Now()
	if err := g.command(ctx, fmt.Sprintf("set_irq_in %s unnamed-gpio-in %d %d", g.path, line, level)); err != nil {
		return time.Time{}, fmt.Errorf("set line %d: %w", line, err)
	}
	return at, nil
}

func (g *GPIO) command(ctx context.Context, line string) error {
	g.asking.Lock()
	defer g.asking.Unlock()
	select {
	case <-g.answers: // of one who gave up
	default:
	}
	if _, err := g.conn.Write([]byte(line + "\n")); err != nil {
		return err
	}
	select {
	case answer := <-g.answers:
		if answer != "OK" {
			return fmt.Errorf("%s: %.200s", line, answer)
		}
		return nil
	case <-g.ended:
		return errors.New("the machine ended")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Edges are those of lines that the guest drives, in order.
func (g *GPIO) Edges() <-chan Edge { return g.edges }

// Dropped is how many edges found no room among those that wait.
func (g *GPIO) Dropped() int64 { return g.dropped.Load() }

// High says how the guest drove a line last; false when it never did. It is
// not put back by Machine.Load.
func (g *GPIO) High(line int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return line >= 0 && line < Lines && g.levels[line]
}
