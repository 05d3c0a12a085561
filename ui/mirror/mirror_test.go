package mirror_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/hal"
	"sekisho/hal/face"
	"sekisho/hal/panel"
	"sekisho/ui"
	"sekisho/ui/mirror"
)

// box is a gateway's panel behind its real API, without a network: connections
// are pipes, and time is the bubble's.
type box struct {
	*face.Face
	t     *testing.T
	mu    sync.Mutex
	conns []net.Conn
	queue chan net.Conn // nil: nobody listens
	serve http.Handler
	srv   *http.Server
}

// gateway is as much of one as the panel needs.
type gateway struct{ ui.Gateway }

func (gateway) Subscribe() (<-chan struct{}, func()) { return make(chan struct{}), func() {} }

func newBox(t *testing.T, guard ui.Guard) *box {
	b := &box{t: t, Face: face.New(face.Config{})}
	h, err := ui.New(ui.Config{Gateway: gateway{}, Panel: b.Face, Guard: guard, Lang: "ja"})
	if err != nil {
		t.Fatal(err)
	}
	b.serve = h
	b.up()
	return b
}

func (b *box) up() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = make(chan net.Conn)
	b.srv = &http.Server{Handler: b.serve}
	go b.srv.Serve(listener{b.queue}) //nolint:errcheck // ends with the queue
}

// down is a gateway that is switched off.
func (b *box) down() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queue == nil {
		return
	}
	close(b.queue)
	b.queue = nil
	b.srv.Close() //nolint:errcheck // of pipes
	for _, c := range b.conns {
		c.Close()
	}
	b.conns = nil
}

func (b *box) dial(context.Context, string, string) (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queue == nil {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	b.conns = append(b.conns, here, there)
	b.queue <- there
	return here, nil
}

type listener struct{ queue <-chan net.Conn }

func (l listener) Accept() (net.Conn, error) {
	if c, ok := <-l.queue; ok {
		return loopback{c}, nil
	}
	return nil, net.ErrClosed
}
func (listener) Close() error   { return nil }
func (listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080} }

// loopback is a pipe from this machine.
type loopback struct{ net.Conn }

func (loopback) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000} }

// watch runs a mirror of the box, with somebody who lets its time pass.
func (b *box) watch(lang string) (m *mirror.Mirror, end func()) {
	page, _ := url.Parse("http://127.0.0.1:8080/")
	m = mirror.New(mirror.Config{Page: page, Lang: lang, Dial: b.dial})
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { m.Run(ctx) }) //nolint:errcheck // ends with ctx
	m.Edge(false)
	all.Go(func() {
		for ctx.Err() == nil {
			m.Tick()
			time.Sleep(20 * time.Millisecond)
		}
	})
	time.Sleep(time.Second)
	return m, func() {
		cancel()
		b.down()
		all.Wait()
	}
}

func tap(m *mirror.Mirror, held time.Duration) {
	m.Edge(true)
	time.Sleep(held)
	m.Edge(false)
	time.Sleep(time.Second)
}

func suspect(target string) hal.Status {
	return hal.Status{State: hal.Attention, Lang: "ja", Suspect: hal.Device{Name: "経理PC-" + target}, Target: target}
}

func (b *box) pressed() (all []hal.Press) {
	for len(b.Presses()) > 0 {
		p := <-b.Presses()
		p.At = time.Time{}
		all = append(all, p)
	}
	return all
}

func TestTheMirrorShowsWhatTheGatewayShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, nil)
		b.Show(suspect("a"))
		m, end := b.watch("en")
		defer end()
		for _, s := range []hal.Status{
			suspect("a"), {State: hal.Isolating, Lang: "ja", Drill: true}, {State: hal.NotIsolated, Lang: "en", Cable: "Port 3"},
			{State: hal.Normal, Lang: "ja", Lockdown: true}, {State: hal.Isolated, Lang: "ja", VendorOnline: true}, {State: hal.Normal, Lang: "en", Now: time.Date(2026, 4, 24, 14, 5, 0, 0, time.UTC)},
		} {
			b.Show(s)
			time.Sleep(90 * time.Second) // the picture's own time passes too
			got, want := m.Frame(), b.Frame()
			if got.Image != want.Image || !slices.Equal(got.Lines, want.Lines) || !slices.Equal(got.Rhythm, want.Rhythm) || got.LampWords != panel.LampWords(s, "en") {
				t.Errorf("%v: shows %v, %v, %q", want.Lines, got.Lines, got.Rhythm, got.LampWords)
			}
		}
		b.Press(hal.Short, "") //nolint:errcheck // turns the page
		time.Sleep(time.Second)
		if m.Frame().Image != b.Frame().Image {
			t.Error("not the page that was turned to")
		}
	})
}

func TestTheLampRunsInBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, nil)
		b.Show(hal.Status{State: hal.Isolating, Lang: "ja"})
		m, end := b.watch("ja")
		defer end()
		changes, last := 0, m.Look().Lamp
		for range 340 { // 3.4 s: ten cycles of 170 ms on and 170 ms off
			time.Sleep(10 * time.Millisecond)
			if l := m.Look().Lamp; l != last {
				changes, last = changes+1, l
			}
		}
		if changes < 19 || changes > 21 {
			t.Errorf("%d changes", changes)
		}
	})
}

func TestAPressIsForWhatThePersonSaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, nil)
		b.Show(suspect("a"))
		m, end := b.watch("ja")
		defer end()
		tap(m, 100*time.Millisecond)
		if got := b.pressed(); !slices.Equal(got, []hal.Press{{Gesture: hal.Short, Target: "a", Page: true}}) || !strings.Contains(m.Note(), "伝えました") {
			t.Errorf("pressed %+v, said %q", got, m.Note())
		}
		b.Show(suspect("b"))
		time.Sleep(50 * time.Millisecond) // nobody can have read it
		tap(m, 100*time.Millisecond)
		if got := b.pressed(); len(got) != 0 || !strings.Contains(m.Note(), "何もしていません") {
			t.Errorf("pressed %+v, said %q", got, m.Note())
		}
		time.Sleep(10 * time.Second)
		if m.Note() != "" {
			t.Errorf("still said: %q", m.Note())
		}
	})
}

func TestHoldsAllowAndLockDownAndShowWhatTheyAreAboutToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, nil)
		b.Show(hal.Status{State: hal.Normal, Lang: "ja", Approval: "あおばIT", ApprovalID: "g1"})
		m, end := b.watch("ja")
		defer end()
		tap(m, panel.HoldShort+100*time.Millisecond)
		m.Edge(true)
		time.Sleep((panel.HoldCount + panel.HoldLong) / 2)
		if f := m.Frame(); f.Hold.Phase != panel.HoldCountdown || f.Image == b.Frame().Image || !strings.Contains(strings.Join(f.Lines, " "), "離すと中止") {
			t.Errorf("in the countdown: %v", f.Lines)
		}
		m.Edge(false)
		time.Sleep(time.Second)
		tap(m, panel.HoldLong+100*time.Millisecond)
		if got := b.pressed(); len(got) != 2 || got[0] != (hal.Press{Gesture: hal.Hold3, Target: "g1", Page: true}) || got[1].Gesture != hal.Hold8 {
			t.Errorf("pressed %+v", got)
		}
	})
}

func TestAGatewayThatGoesAwayIsWaitedForAndNothingOldIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, nil)
		b.Show(suspect("a"))
		m, end := b.watch("ja")
		defer end()
		b.down()
		time.Sleep(time.Second)
		f := m.Frame()
		if f.Image != (panel.Image{}) || f.Lamp.Lit() || !strings.Contains(f.Lines[0], "応答がありません") {
			t.Errorf("without a gateway: %v, lamp %v", f.Lines, f.Lamp)
		}
		tap(m, 100*time.Millisecond)
		if !strings.Contains(m.Note(), "何もしていません") {
			t.Errorf("said %q", m.Note())
		}
		time.Sleep(time.Hour)
		b.up()
		time.Sleep(10 * time.Second)
		if m.Frame().Image != b.Frame().Image {
			t.Errorf("after it is back: %v", m.Frame().Lines)
		}
		if got := b.pressed(); len(got) != 0 {
			t.Errorf("a press of before arrived: %+v", got)
		}
	})
}

// A connection whose other end is gone without a word, as behind a router that
// forgets.
func TestAStreamThatFallsSilentIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, nil)
		hung := make(chan struct{})
		real, streams := b.serve, 0
		b.down()
		b.serve = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/events" {
				if streams++; streams == 1 {
					w.Write([]byte(": here\n\n")) //nolint:errcheck // the reader tells
					http.NewResponseController(w).Flush()
					<-hung
					return
				}
			}
			real.ServeHTTP(w, r)
		})
		b.up()
		b.Show(suspect("a"))
		m, end := b.watch("ja")
		defer end()
		defer close(hung)
		time.Sleep(time.Minute)
		if m.Frame().Image != b.Frame().Image {
			t.Errorf("shows %v after %d streams", m.Frame().Lines, streams)
		}
	})
}

func TestWhyNothingCanBeSeenIsSaid(t *testing.T) {
	page := func(code int, body string) func(*box) {
		return func(b *box) {
			b.down()
			b.serve = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); w.Write([]byte(body)) }) //nolint:errcheck
			b.up()
		}
	}
	for name, c := range map[string]struct {
		change func(*box)
		is     func(error) bool
	}{
		"nobody answers":  {func(b *box) { b.down() }, func(err error) bool { return strings.Contains(err.Error(), "refused") }},
		"another page":    {page(200, "<html>It works!</html>"), func(err error) bool { return errors.Is(err, mirror.ErrNoPanel) }},
		"a page without":  {page(404, "404 page not found"), func(err error) bool { var r *mirror.Refused; return errors.As(err, &r) && r.Status == 404 }},
		"leads elsewhere": {page(302, ""), func(err error) bool { var r *mirror.Refused; return errors.As(err, &r) && r.Status == 302 }},
		"who may not look": {func(b *box) {
			h, err := ui.New(ui.Config{Gateway: gateway{}, Panel: b.Face, Guard: func(*http.Request) error { return errors.New("no") }})
			if err != nil {
				b.t.Fatal(err)
			}
			b.down()
			b.serve = h
			b.up()
		}, func(err error) bool {
			var r *mirror.Refused
			return errors.As(err, &r) && strings.Contains(r.Message, "not open this page")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBox(t, nil)
				c.change(b)
				page, _ := url.Parse("http://127.0.0.1:8080/")
				m := mirror.New(mirror.Config{Page: page, Lang: "en", Dial: b.dial})
				err := m.Fetch(t.Context())
				if err == nil || !c.is(err) {
					t.Errorf("got %v", err)
				}
				if f := m.Frame(); f.Image != (panel.Image{}) {
					t.Error("something is shown")
				}
				b.down()
			})
		})
	}
}
