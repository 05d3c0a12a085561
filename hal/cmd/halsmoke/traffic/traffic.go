// Package traffic writes down what goes between a panel and its parts, and plays it
// back where there are none.
//
// halsmoke records on a board; its tests play a recording back, so that a driver
// which sends something else than the one that worked is noticed. It must never
// change what it records.
package traffic

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"sekisho/hal/rpi"
)

// Event is one line of a recording.
type Event struct {
	At   time.Duration `json:"at"`             // since the beginning, ns
	Part string        `json:"part"`           // the line's name, "i2c-1", or "step"
	Op   string        `json:"op"`             // open, down, edge, set or tx; of a step its name
	Addr uint16        `json:"addr,omitempty"` // tx
	W    Bytes         `json:"w,omitempty"`    // tx: written
	R    Bytes         `json:"r,omitempty"`    // tx: read
	Lit  uint8         `json:"lit,omitempty"`  // set: the level
	Dim  bool          `json:"dim,omitempty"`  // set
	Down bool          `json:"down,omitempty"` // down, edge
	Err  string        `json:"err,omitempty"`  // what the part answered
}

// Bytes are written as hexadecimal digits.
type Bytes []byte

// MarshalText implements encoding.TextMarshaler.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(t []byte) (err error) {
	*b, err = hex.DecodeString(string(t))
	return err
}

// Bounds of a recording that is read.
const (
	maxLine   = 64 << 10
	maxEvents = 1 << 20
)

// Read reads a recording to its end. An error names the line; the events before it
// come along.
func Read(r io.Reader) ([]Event, error) {
	var events []Event
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for n := 1; s.Scan(); n++ {
		if n > maxEvents {
			return events, fmt.Errorf("line %d: a recording has %d events at most", n, maxEvents)
		}
		d := json.NewDecoder(bytes.NewReader(s.Bytes()))
		d.DisallowUnknownFields()
		var e Event
		if err := d.Decode(&e); err != nil {
			return events, fmt.Errorf("line %d: %w", n, err)
		}
		events = append(events, e)
	}
	return events, s.Err()
}

// Recorder is a board whose traffic is written down. Its methods may be called from
// any goroutine.
type Recorder struct {
	board rpi.Board
	now   func() time.Time

	mu    sync.Mutex
	w     *json.Encoder
	began time.Time
	err   error
}

var _ rpi.Board = (*Recorder)(nil)

// Record writes what goes over a board to w, one event a line.
func Record(board rpi.Board, w io.Writer, now func() time.Time) *Recorder {
	return &Recorder{board: board, w: json.NewEncoder(w), now: now, began: now()}
}

// Step marks where something new begins.
func (r *Recorder) Step(name string) { r.note(Event{Part: "step", Op: name}, nil) }

// Err is the first error of writing: the recording ends before it.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *Recorder) note(e Event, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.At == 0 {
		e.At = r.now().Sub(r.began)
	}
	if err != nil {
		e.Err = err.Error()
	}
	if r.err == nil {
		r.err = r.w.Encode(e)
	}
}

// OpenButton implements rpi.Board.
func (r *Recorder) OpenButton(line string, activeLow bool) (rpi.Button, error) {
	b, err := r.board.OpenButton(line, activeLow)
	r.note(Event{Part: line, Op: "open"}, err)
	if err != nil {
		return nil, err
	}
	return &recordedButton{b, r, line}, nil
}

type recordedButton struct {
	rpi.Button
	r    *Recorder
	line string
}

func (b *recordedButton) Down() (bool, error) {
	down, err := b.Button.Down()
	b.r.note(Event{Part: b.line, Op: "down", Down: down}, err)
	return down, err
}

func (b *recordedButton) Edges() ([]rpi.Edge, error) {
	edges, err := b.Button.Edges()
	now := b.r.now().Sub(b.r.began)
	for _, e := range edges {
		b.r.note(Event{At: now - e.Ago, Part: b.line, Op: "edge", Down: e.Down}, nil)
	}
	if err != nil {
		b.r.note(Event{Part: b.line, Op: "edge"}, err)
	}
	return edges, err
}

// OpenLight implements rpi.Board.
func (r *Recorder) OpenLight(line string, activeLow bool) (rpi.Light, error) {
	l, err := r.board.OpenLight(line, activeLow)
	r.note(Event{Part: line, Op: "open"}, err)
	if err != nil {
		return nil, err
	}
	return &recordedLight{l, r, line}, nil
}

type recordedLight struct {
	rpi.Light
	r    *Recorder
	line string
}

func (l *recordedLight) Set(s rpi.Shade) error {
	err := l.Light.Set(s)
	l.r.note(Event{Part: l.line, Op: "set", Lit: s.Level, Dim: s.Dim}, err)
	return err
}

// OpenBus implements rpi.Board.
func (r *Recorder) OpenBus(number int) (rpi.Bus, error) {
	name := busName(number)
	b, err := r.board.OpenBus(number)
	r.note(Event{Part: name, Op: "open"}, err)
	if err != nil {
		return nil, err
	}
	return &recordedBus{b, r, name}, nil
}

func busName(number int) string { return fmt.Sprintf("i2c-%d", number) }

type recordedBus struct {
	rpi.Bus
	r    *Recorder
	name string
}

func (b *recordedBus) Tx(addr uint16, w, r []byte) error {
	err := b.Bus.Tx(addr, w, r)
	b.r.note(Event{Part: b.name, Op: "tx", Addr: addr, W: bytes.Clone(w), R: bytes.Clone(r)}, err)
	return err
}

// ErrOtherwise is how a Playback answers what the recording does not have.
var ErrOtherwise = errors.New("the recording goes on otherwise")
