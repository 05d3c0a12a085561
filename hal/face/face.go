// Package face is what every front panel does between a Status and a gesture:
// it knows which page is shown, since when the lamp's rhythm runs, and what a
// press in progress acts on.
//
// Panels are built on it: hal/virtual adds a terminal, hal/rpi lines of GPIO. It
// never touches a device and never decides what a gesture leads to.
package face

import (
	"log/slog"
	"sync"
	"time"

	"sekisho/hal"
	"sekisho/hal/panel"
)

// Config of a Face. The zero Config will do.
type Config struct {
	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // nil: time.Now
	// Lag is how long after Show a picture may take until it stands on the
	// screen. A press counts for what stood there, not for what was on its way.
	Lag time.Duration
}

// Face implements hal.Panel but for Run. All its methods may be called from
// any goroutine.
type Face struct {
	log     *slog.Logger
	now     func() time.Time
	lag     time.Duration
	presses chan hal.Press

	mu      sync.Mutex
	closed  bool // presses is closed
	status  hal.Status
	shownAt time.Time // when status was given
	light   panel.Light
	page    int
	seq     uint64
	button  panel.Button
	taken   uint64
	hold    panel.Hold
	frozen  *panel.Shown // what the screen goes on to name; nil: it follows
	subs    map[chan struct{}]struct{}
}

// New returns a Face that shows nothing yet.
func New(cfg Config) *Face {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Face{
		log: cfg.Logger, now: cfg.Now, lag: cfg.Lag, presses: make(chan hal.Press, 16),
		subs: map[chan struct{}]struct{}{},
	}
}

// Show implements hal.Panel. It never blocks.
func (f *Face) Show(s hal.Status) {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !panel.Continues(f.status, s) {
		f.page = 0
	}
	f.light.Play(now, panel.Lamp(s))
	f.status, f.shownAt = s, now
	f.shows(now.Add(f.lag))
	f.changed()
}

// shows tells the button what the screen names from a time on. The lock is held.
func (f *Face) shows(at time.Time) {
	shown := panel.Shows(f.status)
	if f.frozen != nil {
		shown = *f.frozen
	}
	f.button.Show(at, shown)
}

// Frozen says that the screen takes no more pictures, and what it last showed: one
// whose wire came off may stay lit for days. While it may name somebody, a press means
// that one and nobody else. It ends with Thawed.
func (f *Face) Frozen(last panel.Shown) {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if last.Target != "" || last.Approve != "" {
		f.frozen = &last
		f.shows(now)
	}
}

// Thawed says that the screen takes pictures, and what the one that it has just taken
// names. A status that came too late for that one counts when it can stand there.
func (f *Face) Thawed(drawn panel.Shown) {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen == nil {
		return
	}
	f.frozen = nil
	f.button.Show(now, drawn)
	if due := f.shownAt.Add(f.lag); due.After(now) {
		f.shows(due)
	} else {
		f.shows(now)
	}
}

// changed wakes the subscribers. The lock is held.
func (f *Face) changed() {
	f.seq++
	for c := range f.subs {
		select {
		case c <- struct{}{}:
		default: // it has a token already
		}
	}
}

// Presses implements hal.Panel.
func (f *Face) Presses() <-chan hal.Press { return f.presses }

// Frame returns what is shown now.
func (f *Face) Frame() panel.Frame {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	lamp, _ := f.light.At(now)
	s := f.status
	if !s.Now.IsZero() { // the clock goes on between two calls of Show
		s.Now = s.Now.Add(now.Sub(f.shownAt))
	}
	return panel.Frame{
		Seq: f.seq, Image: *panel.RenderHold(s, f.page, f.hold),
		Lamp: lamp, Rhythm: panel.Lamp(s), LampWords: panel.LampWords(s, s.Lang),
		Lines: panel.Lines(s, f.page, f.hold), Status: s, Hold: f.hold, Page: f.page,
	}
}

// Subscribe returns a channel that holds a token after every change of what
// is shown (not of the lamp's blinking), and a function that ends it.
func (f *Face) Subscribe() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	f.mu.Lock()
	f.subs[c] = struct{}{}
	f.mu.Unlock()
	return c, func() {
		f.mu.Lock()
		delete(f.subs, c)
		f.mu.Unlock()
	}
}

// Press is a gesture from the web page or the command line, with the target
// that the person saw. It returns panel.ErrTargetChanged when the screen names
// something else by now, so nothing is ever done to a device that appeared
// while the press was on its way.
func (f *Face) Press(g hal.Gesture, target string) error {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	shown := panel.Shows(f.status)
	switch {
	case g == hal.Hold8: // a lockdown concerns the whole office, whatever the screen names
	case g == hal.Hold3 && shown.Approve == "":
		return panel.ErrNotAsked
	case g == hal.Hold3 && shown.Approve != target, g == hal.Short && shown.Target != target:
		return panel.ErrTargetChanged
	}
	return f.emit(hal.Press{Gesture: g, Target: target, At: now, Again: g == hal.Short && shown.Again, Page: true})
}

// emit hands a press on, or turns the page. The lock is held.
func (f *Face) emit(pr hal.Press) error {
	if f.closed {
		return panel.ErrBusy
	}
	select {
	case f.presses <- pr:
	default:
		return panel.ErrBusy
	}
	if pr.Gesture == hal.Short && pr.Target == "" && f.status.Target == "" {
		f.page = (f.page + 1) % panel.Pages(f.status)
		f.changed()
	}
	return nil
}

// Close ends Presses. Later gestures are refused as panel.ErrBusy.
func (f *Face) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.presses)
	}
}

// Edge takes a raw level of the button, true when pressed. The first one only
// says how it stands.
func (f *Face) Edge(down bool) { f.EdgeAt(f.now(), down) }

// EdgeAt is Edge for a line whose edges carry their own time. They come in their
// order; then TickAt says up to when all of them have come.
func (f *Face) EdgeAt(at time.Time, down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.take(f.button.Edge(at, down))
}

// Tick lets the button's time pass. It is to be called at least every 50 ms
// while the button is down, for the countdown and the debounce.
func (f *Face) Tick() { f.TickAt(f.now()) }

// TickAt lets the button's time pass up to a moment. No edge from before it comes
// later, or a finger that moves too fast is seen wrong.
func (f *Face) TickAt(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.take(f.button.Advance(now))
	if h := f.button.Hold(now); h != f.hold {
		f.hold = h
		f.changed()
	}
}

// Lost says that the button's line no longer tells its level. A press in progress
// ends as none: what the line says next is how it stands, not a finger let go.
func (f *Face) Lost() {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.button = panel.Button{}
	f.shows(now.Add(f.lag))
	if f.hold != (panel.Hold{}) {
		f.hold = panel.Hold{}
		f.changed()
	}
}

// Look is what a lamp and a buzzer go by, without the picture.
type Look struct {
	Status hal.Status
	Hold   panel.Hold
	Taken  uint64 // gestures of the button, so far
	Lamp   panel.Color
	Left   time.Duration // how long the lamp stays so
}

// Look returns what is shown at this moment.
func (f *Face) Look() Look {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	lamp, left := f.light.At(now)
	return Look{f.status, f.hold, f.taken, lamp, left}
}

func (f *Face) take(pr hal.Press, ok bool) {
	if !ok {
		return
	}
	if err := f.emit(pr); err != nil {
		f.log.Error("press lost", "gesture", int(pr.Gesture), "target", pr.Target, "err", err)
		return
	}
	f.taken++
}
