package wifi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sekisho/netcontain"
)

// Kind is what an Event tells.
type Kind uint8

// Kinds of events. Up comes whenever the Watcher begins to hear an access
// point, so that what its stations did before has to be looked at.
const (
	Connected    Kind = iota + 1 // a station has its keys and may send
	Disconnected                 // a station has left
	Up                           // an access point is there
	Down                         // hostapd has ended, hangs, or has switched the access point off
)

func (k Kind) String() string {
	switch k {
	case Connected:
		return "connected"
	case Disconnected:
		return "disconnected"
	case Up:
		return "up"
	case Down:
		return "down"
	}
	return "unknown"
}

// Event is something that happened on an access point. Up and Down have no MAC.
type Event struct {
	AP    string
	Kind  Kind
	MAC   netcontain.MAC
	KeyID string // see Station
}

// Watcher hears what happens on the access points: a device that was denied
// may come back under another MAC, and hostapd may start anew without our
// entries.
type Watcher struct {
	cfg     Config
	events  chan Event
	changes chan struct{}
	lost    atomic.Uint64
}

const (
	maxEvents = 256              // waiting; a reader that is so far behind looks at Stations instead
	pingEvery = time.Second      // a hostapd that died does not say so
	waitRetry = time.Second / 10 // until a hostapd is looked for again: it must not come back unnoticed
)

// NewWatcher opens nothing yet.
func NewWatcher(cfg Config) (*Watcher, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("wifi watcher: %w", err)
	}
	return &Watcher{cfg: cfg, events: make(chan Event, maxEvents), changes: make(chan struct{}, 1)}, nil
}

// Events is what happened, in order for each access point. It is never closed.
func (w *Watcher) Events() <-chan Event { return w.events }

// Changes says that a look at who is held is due: a station came, or an access
// point did. It fits netcontain.Config.Changes and is never closed.
func (w *Watcher) Changes() <-chan struct{} { return w.changes }

// Lost counts events that nobody took in time.
func (w *Watcher) Lost() uint64 { return w.lost.Load() }

// Run listens until ctx ends, and returns nil then. An access point that is not
// there is waited for.
func (w *Watcher) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, name := range w.cfg.Interfaces {
		a := newAccessPoint(w.cfg, name)
		g.Go(func() error {
			for ctx.Err() == nil {
				w.hear(ctx, a)
				select {
				case <-ctx.Done():
				case <-time.After(waitRetry):
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// hear listens to one run of hostapd.
func (w *Watcher) hear(ctx context.Context, a *accessPoint) {
	c, err := dial(ctx, a.socket)
	if err != nil {
		return // not there: nothing new
	}
	defer c.close()
	if err := c.do("ATTACH"); err != nil {
		return
	}
	defer c.farewell("DETACH")
	defer context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) })() // ends a read
	w.tell(Event{AP: a.name, Kind: Up})
	err = w.listen(c, a.name)
	if ctx.Err() == nil {
		a.log.Warn("access point is not heard any more", "err", err)
		w.tell(Event{AP: a.name, Kind: Down})
	}
}

var errEnded = errors.New("hostapd ended")

func (w *Watcher) listen(c *control, name string) error {
	for waiting := false; ; {
		text, err := c.receive(pingEvery)
		var gone *unreachableError
		switch {
		case err == nil:
			waiting = waiting && text != "PONG\n" // anything else may come before it
		case errors.As(err, &gone) && gone.hung && !waiting:
			if err := c.send("PING"); err != nil {
				return err
			}
			waiting = true
			continue
		default:
			return err
		}
		e, ended := parseEvent(text)
		if ended {
			return errEnded
		}
		if e.Kind != 0 {
			e.AP = name
			w.tell(e)
		}
	}
}

func (w *Watcher) tell(e Event) {
	select {
	case w.events <- e:
	default:
		w.lost.Add(1)
	}
	if e.Kind != Connected && e.Kind != Up {
		return
	}
	select {
	case w.changes <- struct{}{}:
	default: // one is waiting already
	}
}

// parseEvent reads what hostapd sends unasked: "<3>AP-STA-CONNECTED
// 02:00:00:00:01:00 keyid=desk". What it does not know has Kind 0.
func parseEvent(text string) (e Event, ended bool) {
	level, rest, ok := strings.Cut(text, ">")
	if !ok || !strings.HasPrefix(level, "<") {
		return Event{}, false
	}
	words := strings.Fields(rest)
	if len(words) == 0 {
		return Event{}, false
	}
	switch words[0] {
	case "CTRL-EVENT-TERMINATING":
		return Event{}, true
	case "AP-ENABLED":
		return Event{Kind: Up}, false
	case "AP-DISABLED":
		return Event{Kind: Down}, false
	case "AP-STA-CONNECTED":
		e.Kind = Connected
	case "AP-STA-DISCONNECTED":
		e.Kind = Disconnected
	}
	if e.Kind == 0 || len(words) < 2 {
		return Event{}, false
	}
	if e.MAC, ok = parseMAC(words[1]); !ok {
		return Event{}, false
	}
	for _, w := range words[2:] {
		if id, ok := strings.CutPrefix(w, "keyid="); ok {
			e.KeyID = id[:min(len(id), maxKeyID)]
		}
	}
	return e, false
}
