// Package mirror is the front panel of a gateway that runs elsewhere: it is seen
// through the gateway's API, and pressed through it.
//
// sekisho panel draws it in a terminal, over SSH or not. It works the button as
// every panel does, so that a press here, too, counts for what was shown before
// the finger came down; whether it still may is the gateway's to say. It believes
// nothing that it is sent: what answers may be no gateway at all.
package mirror

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"sekisho/hal"
	"sekisho/hal/face"
	"sekisho/hal/panel"
)

// Config of a Mirror.
type Config struct {
	Page   *url.URL         // the gateway's page, such as http://127.0.0.1:8080/
	Lang   string           // "ja" or "en": of what the gateway says to a press, and of our own words
	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // nil: time.Now
	Retry  time.Duration    // until the first try after a loss, later ones take up to ten times as long; 0: 500 ms

	Dial func(ctx context.Context, network, addr string) (net.Conn, error) // nil: the network
}

// Mirror is the panel, and a Source for hal/virtual. All its methods may be called
// from any goroutine; Run only once.
type Mirror struct {
	*face.Face // of the button: what a press acts on, and what a hold is about to do
	cfg        Config
	client     *http.Client

	mu     sync.Mutex
	shown  shown
	since  time.Time // the lamp's rhythm began
	here   bool      // the gateway answers
	note   string
	noteAt time.Time
}

// New returns a Mirror that has seen nothing yet.
func New(cfg Config) *Mirror {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Retry <= 0 {
		cfg.Retry = 500 * time.Millisecond
	}
	m := &Mirror{
		Face: face.New(face.Config{Logger: cfg.Logger, Now: cfg.Now}), cfg: cfg,
		client: &http.Client{
			// No proxy: the gateway is here, or a tunnel leads to it.
			Transport:     &http.Transport{DialContext: cfg.Dial, ResponseHeaderTimeout: answerWithin, MaxResponseHeaderBytes: 64 << 10},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	m.lost()
	return m
}

// Frame is what the gateway's panel shows; during a hold here, what that is about
// to do. While the gateway does not answer nothing is shown: an old picture would
// be believed.
func (m *Mirror) Frame() panel.Frame {
	f, now := m.Face.Frame(), m.cfg.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	f.Rhythm, f.LampWords = m.shown.rhythm, m.shown.lampWords
	f.Lamp = panel.LampAt(m.shown.rhythm, now.Sub(m.since))
	if f.Hold.Phase == panel.HoldNone || !m.here {
		f.Image, f.Lines = m.shown.image, m.shown.lines
	}
	return f
}

// Look is what the lamp goes by.
func (m *Mirror) Look() face.Look {
	l, now := m.Face.Look(), m.cfg.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	l.Lamp, l.Left = panel.LampAt(m.shown.rhythm, now.Sub(m.since)), m.shown.rhythm.Left(now.Sub(m.since))
	return l
}

// noteFor is how long it is said what became of a press.
const noteFor = 8 * time.Second

// Note is one line of what became of the last press; empty when there is nothing
// to say.
func (m *Mirror) Note() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cfg.Now().Sub(m.noteAt) > noteFor {
		return ""
	}
	return m.note
}

func (m *Mirror) say(note string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.note, m.noteAt = note, m.cfg.Now()
}

// show takes what the gateway shows.
func (m *Mirror) show(s shown) {
	m.mu.Lock()
	if !sameRhythm(m.shown.rhythm, s.rhythm) {
		m.since = m.cfg.Now()
	}
	m.shown, m.here = s, true
	m.mu.Unlock()
	m.Face.Show(s.status)
}

// lost forgets what was shown.
func (m *Mirror) lost() {
	w := m.words()
	m.mu.Lock()
	if m.here {
		m.note = "" // what was said last is of a time before
	}
	m.here = false
	m.shown = shown{status: hal.Status{State: hal.Fault, Lang: m.cfg.Lang}, lines: []string{w.away, w.again}, lampWords: w.dark}
	m.mu.Unlock()
	m.Face.Show(hal.Status{State: hal.Fault, Lang: m.cfg.Lang})
}

// Run keeps the picture up to date and hands presses on, until ctx ends. A
// gateway that goes away is waited for.
func (m *Mirror) Run(ctx context.Context) error {
	defer m.client.CloseIdleConnections()
	var pressing sync.WaitGroup
	pressing.Go(func() { m.press(ctx) })
	defer pressing.Wait()
	wait := m.cfg.Retry
	for ctx.Err() == nil {
		seen, err := m.follow(ctx)
		m.lost()
		m.cfg.Logger.Debug("stream ended", "err", err)
		if seen {
			wait = m.cfg.Retry
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, 10*m.cfg.Retry)
	}
	return nil
}

// press hands on what the button did.
func (m *Mirror) press(ctx context.Context) {
	w := m.words()
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-m.Presses():
			if !m.answers() {
				m.say(w.notSent)
				continue
			}
			m.say(w.sending)
			err := m.send(ctx, p)
			var refused *Refused
			switch {
			case err == nil:
				m.say(w.sent)
			case errors.As(err, &refused) && refused.Message != "":
				m.say(refused.Message)
			default:
				m.cfg.Logger.Warn("press not sent", "err", err)
				m.say(w.unknown)
			}
		}
	}
}

func (m *Mirror) answers() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.here
}

// words are our own.
type words struct {
	away, again, dark               string
	sending, sent, notSent, unknown string
}

func (m *Mirror) words() words {
	if m.cfg.Lang == "ja" {
		return words{
			away: "本体から応答がありません", again: "つながるまで、自動でやり直します", dark: "本体につながっていません",
			sending: "送っています…", sent: "本体に伝えました。", notSent: "本体につながっていないため、何もしていません。",
			unknown: "本体に届いたか分かりません。画面の表示を確かめてください。",
		}
	}
	return words{
		away: "The gateway does not answer", again: "Trying again until it does", dark: "not connected to the gateway",
		sending: "Sending…", sent: "The gateway has been told.", notSent: "Not connected to the gateway; nothing was done.",
		unknown: "It is not known whether the gateway was told. See what the screen says.",
	}
}
