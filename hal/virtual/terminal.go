package virtual

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/hal/face"
	"sekisho/hal/panel"
)

// redraw is how often the terminal is looked after: often enough for the lamp's
// shortest stretch. The picture is drawn anew when it has changed, and by its own
// clock, which texts in turn and bars follow, no more often than still.
const (
	redraw = 40 * time.Millisecond
	still  = 200 * time.Millisecond
)

// ErrNoTerminal is returned where there is none to draw in.
var ErrNoTerminal = errors.New("no terminal")

// Source is the panel that a terminal shows and whose button it works.
type Source interface {
	Frame() panel.Frame
	Look() face.Look                      // of which the lamp's light now is used
	Subscribe() (<-chan struct{}, func()) // a token after every change of the frame
	Edge(down bool)                       // the button's level
	Lost()                                // the press in progress is none
	Tick()                                // lets the button's time pass
}

// Operate shows a panel in the terminal of cfg until ctx ends or the terminal is
// gone, and leaves the terminal as it was. It returns ErrNoTerminal at once
// where there is none.
func Operate(ctx context.Context, cfg Config, on Source) error {
	device, err := openTTY(cfg.In, cfg.Out)
	if err != nil {
		return err
	}
	defer device.close()
	resumed := make(chan os.Signal, 1)
	signal.Notify(resumed, unix.SIGCONT)
	defer signal.Stop(resumed)
	t := newTerminal(cfg.filled(), on, device)
	t.stop = func() { stopSelf(resumed) }
	return t.run(ctx, resumed)
}

// stopSelf stops the whole job, as Ctrl-Z does where a terminal handles it, and
// returns when it goes on. The kernel does not stop a job that no shell could
// continue; then it goes on at once. SIGTSTP must not be caught anywhere in the
// program: Go would not give it back its meaning (runtime, sigInstallGoHandler).
func stopSelf(resumed <-chan os.Signal) {
	unix.Kill(0, unix.SIGTSTP) //nolint:errcheck // our own group
	select {
	case <-resumed:
	case <-time.After(100 * time.Millisecond): // also passes while stopped
	}
}

// device is a terminal; *tty is the real one.
type device interface {
	size() (cols, rows int, err error)
	write([]byte) (int, error)
	read(p []byte, wait time.Duration) (int, error)
	foreground() bool
	raw() error
	restore() error
}

// terminal draws a panel and reads keys.
type terminal struct {
	cfg    Config
	on     Source
	device device
	term   look
	stop   func() // suspends the program

	changed <-chan struct{}
	frame   panel.Frame
	framed  time.Time // when frame was taken

	open    bool   // the terminal is ours and raw
	shown   *sheet // what stands there once pending is written
	next    *sheet
	pending []byte // what the terminal has not taken yet
	said    string // the last line where lines cannot be replaced

	decoder decoder
	finger  finger
	down    bool // the level that on knows
}

func newTerminal(cfg Config, on Source, d device) *terminal {
	return &terminal{cfg: cfg, on: on, device: d, term: lookOf(cfg.Env), shown: &sheet{}, next: &sheet{}, stop: func() {}}
}

// run draws and reads keys until ctx ends. The other screen of the terminal is
// used, so that what the person had there comes back.
func (t *terminal) run(ctx context.Context, resumed <-chan os.Signal) error {
	defer t.leave()
	changed, stop := t.on.Subscribe()
	defer stop()
	t.changed = changed
	t.on.Edge(false)
	for ctx.Err() == nil {
		select {
		case <-resumed:
			t.open = false // whoever had the terminal meanwhile, it is not as we left it
		default:
		}
		t.tick()
		if !t.device.foreground() {
			t.open = false
			time.Sleep(redraw)
			continue
		}
		if err := t.turn(); err != nil {
			t.on.Lost() // with the terminal, the finger on its key
			return fmt.Errorf("panel in the terminal: %w", err)
		}
	}
	return nil
}

// turn is one look at the terminal: what it shows, and what was typed.
func (t *terminal) turn() error {
	if !t.open {
		if err := t.enter(); err != nil {
			return err
		}
	}
	if err := t.draw(); err != nil {
		return err
	}
	var in [256]byte
	n, err := t.device.read(in[:], redraw)
	if err != nil {
		return err
	}
	keys := t.decoder.feed(in[:n])
	if n == 0 {
		if k, ok := t.decoder.idle(); ok {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		t.handle(k)
	}
	return nil
}

func (t *terminal) handle(k key) {
	switch k {
	case keyQuit:
		if t.cfg.Quit != nil {
			t.cfg.Quit()
		}
	case keySuspend:
		if t.finger.down { // no press goes on while nobody looks
			t.finger.stroke(k, t.cfg.Now())
			return
		}
		t.suspend()
	case keyRedraw:
		t.shown.clear(0, 0)
	default:
		t.finger.stroke(k, t.cfg.Now())
	}
}

// tick lets the button's time pass.
func (t *terminal) tick() {
	down, void := t.finger.level(t.cfg.Now())
	if void {
		t.on.Lost()
	}
	if down != t.down || void {
		t.down = down
		t.on.Edge(down)
	}
	t.on.Tick()
}

// Sequences of xterm that its kin know: the other screen, the cursor, and marks
// around what is pasted.
const (
	entering = "\x1b[?1049h\x1b[?25l\x1b[?2004h"
	leaving  = "\x1b[0m\x1b[?2004l\x1b[?25h\x1b[?1049l"
)

// enter takes the terminal, for the first time or again.
func (t *terminal) enter() error {
	if err := t.device.raw(); err != nil {
		return err
	}
	t.open = true
	t.shown.clear(0, 0)
	t.pending = nil
	if !t.term.lines {
		t.pending = []byte(entering)
	}
	return nil
}

// leave gives the terminal back. One that takes nothing keeps us only so long.
func (t *terminal) leave() {
	if !t.open {
		return
	}
	t.open = false
	if !t.term.lines {
		t.pending = append(t.pending, leaving...)
	}
	for range 10 {
		if err := t.flush(); err != nil || len(t.pending) == 0 {
			break
		}
		time.Sleep(redraw)
	}
	if err := t.device.restore(); err != nil {
		t.cfg.Logger.Error("terminal not restored", "err", err)
	}
}

func (t *terminal) suspend() {
	t.leave()
	t.stop()
}

// draw writes what differs from what stands there.
func (t *terminal) draw() error {
	if err := t.flush(); err != nil || len(t.pending) > 0 {
		return err // half a sequence may stand there: it has to end first
	}
	t.look()
	sc := scene{frame: t.frame, page: t.cfg.Page, watch: t.cfg.Watch, lang: cmp.Or(t.cfg.Lang, t.frame.Status.Lang)}
	if t.cfg.Note != nil {
		sc.note = t.cfg.Note()
	}
	if t.term.lines {
		return t.say(sc)
	}
	cols, rows, err := t.device.size()
	if err != nil {
		return err
	}
	t.next.clear(cols, rows)
	sc.paint(t.next, t.term)
	t.pending = t.next.update(t.shown, t.term.depth)
	t.shown, t.next = t.next, t.shown
	return t.flush()
}

// look takes the panel's frame where it may have changed, and its lamp.
func (t *terminal) look() {
	now := t.cfg.Now()
	select {
	case <-t.changed:
		t.framed = time.Time{}
	default:
	}
	if now.Sub(t.framed) >= still {
		t.frame, t.framed = t.on.Frame(), now
	}
	t.frame.Lamp = t.on.Look().Lamp
}

// clocks are left out of what counts as news where nothing can be replaced.
var clocks = regexp.MustCompile(`\d\d:\d\d`)

// say adds a line when there is something new.
func (t *terminal) say(sc scene) error {
	text := strings.Join(append([]string{lampLine(sc, t.term)}, words(sc.frame, t.term)...), " | ")
	if sc.note != "" {
		text += " | " + readable(sc.note, t.term)
	}
	news := clocks.ReplaceAllString(text, "")
	if news == t.said {
		return nil
	}
	if t.said == "" {
		t.pending = append(t.pending, keysFor(sc, t.term, maxCols)+"\r\n"...)
	}
	t.said = news
	t.pending = append(t.pending, Harmless(text)+"\r\n"...)
	return t.flush()
}

// Harmless is what a terminal can be given of a text that a stranger wrote.
func Harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if r, cells := drawn(r); cells > 0 {
			return r
		}
		return -1
	}, text)
}

// flush writes what the terminal takes now.
func (t *terminal) flush() error {
	for len(t.pending) > 0 {
		n, err := t.device.write(t.pending)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		t.pending = t.pending[n:]
	}
	return nil
}

// filled is a Config without nil.
func (c Config) filled() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Env == nil {
		c.Env = os.Getenv
	}
	return c
}
