package twin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// ControlPort names the virtio-serial port by which we ask the guest. Requests
// and answers are JSON objects, one a line, of at most MaxMessage bytes.
const (
	ControlPort = "sekisho.control"
	MaxMessage  = longestLine
)

// Request asks the guest's program for something.
type Request struct {
	ID   uint64          `json:"id"`
	Op   string          `json:"op"`
	Body json.RawMessage `json:"body,omitempty"`
}

// Answer has the Request's ID. Error is empty when it was done.
type Answer struct {
	ID    uint64          `json:"id"`
	Error string          `json:"error,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
}

// SetClock is an operation that every guest knows; its body is a time.
const SetClock = "clock"

// control is our end of the port.
type control struct {
	conn net.Conn
	send sync.Mutex

	mu      sync.Mutex
	number  uint64
	waiting map[uint64]chan Answer
	ended   chan struct{}
}

func newControl(c net.Conn) *control {
	k := &control{conn: c, waiting: map[uint64]chan Answer{}, ended: make(chan struct{})}
	go k.listen()
	return k
}

// listen hands answers out. What is no answer, or answers nobody who still
// waits, is left out: the guest may have been put back in time.
func (k *control) listen() {
	defer close(k.ended)
	read := newLineReader(k.conn)
	for {
		line, err := read.next()
		if errors.Is(err, errLong) {
			continue
		}
		if err != nil {
			return
		}
		var a Answer
		if json.Unmarshal(line, &a) != nil {
			continue
		}
		k.mu.Lock()
		if to := k.waiting[a.ID]; to != nil {
			to <- a
			delete(k.waiting, a.ID)
		}
		k.mu.Unlock()
	}
}

func (k *control) call(ctx context.Context, op string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	to := make(chan Answer, 1)
	k.mu.Lock()
	k.number++
	id := k.number
	k.waiting[id] = to
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		delete(k.waiting, id)
		k.mu.Unlock()
	}()
	if err := k.write(ctx, Request{ID: id, Op: op, Body: body}); err != nil {
		return err
	}
	select {
	case a := <-to:
		if a.Error != "" {
			return errors.New(a.Error)
		}
		if out == nil {
			return nil
		}
		return json.Unmarshal(a.Body, out)
	case <-k.ended:
		return errors.New("the machine ended")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write begins with the end of a line: half a request may stand before it when
// the guest was put back in time.
func (k *control) write(ctx context.Context, r Request) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(text) > MaxMessage {
		return errLong
	}
	k.send.Lock()
	defer k.send.Unlock()
	_ = k.conn.SetWriteDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = k.conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err = k.conn.Write(append(append([]byte{'\n'}, text...), '\n'))
	return errors.Join(ctx.Err(), err)
}

// Call asks the guest's program, which has to run guest.Serve, for an
// operation; Config.Control has to be set. The answer is decoded into out
// unless that is nil. An error of the operation comes back as one.
func (m *Machine) Call(ctx context.Context, op string, in, out any) error {
	if m.control == nil {
		return fmt.Errorf("call %s: the machine was started without a control port", op)
	}
	if err := m.control.call(ctx, op, in, out); err != nil {
		return fmt.Errorf("call %s: %w", op, err)
	}
	return nil
}
