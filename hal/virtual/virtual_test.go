package virtual

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"sekisho/hal"
	"sekisho/hal/panel"
)

func suspect(target string) hal.Status {
	return hal.Status{State: hal.Attention, Lang: "ja", Now: time.Date(2026, 4, 24, 14, 5, 0, 0, time.UTC), Suspect: hal.Device{Name: "経理PC-2"}, Target: target}
}

func TestWebPressNeedsTheTargetThatIsShown(t *testing.T) {
	p := New(Config{})
	p.Show(suspect("a"))
	if err := p.Press(hal.Short, "b"); !errors.Is(err, ErrTargetChanged) {
		t.Errorf("press for another target: %v", err)
	}
	if err := p.Press(hal.Hold3, "a"); !errors.Is(err, ErrNotAsked) {
		t.Errorf("approval that nobody asked for: %v", err)
	}
	if len(p.Presses()) != 0 {
		t.Fatal("a refused press came out")
	}
	if err := p.Press(hal.Short, "a"); err != nil {
		t.Fatal(err)
	}
	if got := <-p.Presses(); got.Gesture != hal.Short || got.Target != "a" || got.At.IsZero() {
		t.Errorf("got %+v", got)
	}
	if err := p.Press(hal.Hold8, "whatever"); err != nil {
		t.Errorf("a lockdown depends on no target: %v", err)
	}
}

func TestAnApprovalFromThePageIsForTheRequestThatWasShown(t *testing.T) {
	p := New(Config{})
	p.Show(hal.Status{State: hal.Normal, Lang: "ja", Approval: "あおばIT", ApprovalID: "g2"})
	if err := p.Press(hal.Hold3, "g1"); !errors.Is(err, ErrTargetChanged) {
		t.Errorf("approval of the request before: %v", err)
	}
	if err := p.Press(hal.Hold3, "g2"); err != nil {
		t.Fatal(err)
	}
	if got := <-p.Presses(); got.Gesture != hal.Hold3 || got.Target != "g2" || len(p.Presses()) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestPressWithoutTargetTurnsThePageAndAStateTurnsItBack(t *testing.T) {
	p := New(Config{})
	p.Show(hal.Status{State: hal.Normal, Lang: "en"})
	first := p.Frame()
	if err := p.Press(hal.Short, ""); err != nil {
		t.Fatal(err)
	}
	if f := p.Frame(); f.Page != 1 || f.Image == first.Image || f.Seq == first.Seq {
		t.Errorf("page %d, seq %d", f.Page, f.Seq)
	}
	p.Show(suspect("a"))
	if f := p.Frame(); f.Page != 0 || f.Status.Target != "a" {
		t.Errorf("page %d of the suspect", f.Page)
	}
}

func TestUntakenPressesAreRefusedAndNeverBlock(t *testing.T) {
	p := New(Config{})
	var err error
	for range 100 {
		err = p.Press(hal.Hold8, "")
	}
	if !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
}

func TestSubscriberHearsOfEveryShowAndNothingAfterItsEnd(t *testing.T) {
	p := New(Config{})
	c, stop := p.Subscribe()
	for range 5 {
		p.Show(suspect("a")) // nobody reads: Show must not block
	}
	<-c
	select {
	case <-c:
		t.Error("more than one token")
	default:
	}
	stop()
	p.Show(suspect("b"))
	if len(c) != 0 {
		t.Error("a token after the end")
	}
}

func TestLampRunsWithTheClockAndTheClockGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		p.Show(suspect("a"))
		if !p.Frame().Lamp.Lit() {
			t.Error("double blink begins dark")
		}
		time.Sleep(panel.Rest + 50*time.Millisecond)
		if p.Frame().Lamp.Lit() {
			t.Error("no gap between the blinks")
		}
		p.Show(hal.Status{State: hal.Normal, Lang: "en", Now: time.Date(2026, 4, 24, 14, 5, 0, 0, time.UTC)})
		time.Sleep(2 * time.Minute)
		if l := p.Frame().Lines[0]; !strings.Contains(l, "14:07") {
			t.Errorf("the clock stands still: %s", l)
		}
	})
}

func TestKeysMakeTheGesturesOfTheRealButton(t *testing.T) {
	for _, c := range []struct {
		name string
		keys map[time.Duration]byte
		want string
	}{
		{"enter", map[time.Duration]byte{time.Second: '\r'}, "[0 a]"},
		{"8 held", map[time.Duration]byte{time.Second: '8'}, "[2 a]"},
		{"8 let go in the countdown", map[time.Duration]byte{time.Second: '8', 7 * time.Second: ' '}, "[]"},
		{"3 held with nothing to approve", map[time.Duration]byte{time.Second: '3'}, "[0 a]"},
		{"before the finger could have seen it", map[time.Duration]byte{100 * time.Millisecond: ' '}, "[0 ]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := New(Config{})
				p.Show(suspect("a"))
				counted := false
				for at := time.Duration(0); at < 12*time.Second; at += redraw / 2 {
					if k, ok := c.keys[at]; ok {
						p.handle(k)
					}
					p.tick()
					counted = counted || p.Frame().Hold.Phase == panel.HoldCountdown
					time.Sleep(redraw / 2)
				}
				got := []string{}
				for len(p.Presses()) > 0 {
					pr := <-p.Presses()
					got = append(got, fmt.Sprint(pr.Gesture, " ", pr.Target))
				}
				if fmt.Sprint(got) != c.want {
					t.Errorf("got %v, want %s", got, c.want)
				}
				if _, eight := c.keys[time.Second]; eight && c.keys[time.Second] == '8' && !counted {
					t.Error("no countdown was shown")
				}
			})
		})
	}
}

func TestHeadlessRunEndsWithTheContextAndClosesPresses(t *testing.T) {
	p := New(Config{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, open := <-p.Presses(); open {
		t.Error("presses still open")
	}
	if err := p.Press(hal.Hold8, ""); !errors.Is(err, ErrBusy) {
		t.Errorf("press after the end: %v", err)
	}
}

// pty opens a pseudo-terminal of the given size.
func pty(t *testing.T, cols, rows uint16) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows}); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

func TestTerminalShowsPressesAndIsRestored(t *testing.T) {
	master, slave := pty(t, 140, 45)
	before, err := term.GetState(int(slave.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := New(Config{In: slave, Out: slave, Quit: cancel})
	p.Show(suspect("a"))
	var mu sync.Mutex
	var seen strings.Builder
	drawn := make(chan struct{})
	go func() {
		buf := make([]byte, 1<<16)
		once := sync.OnceFunc(func() { close(drawn) })
		for {
			n, err := master.Read(buf)
			mu.Lock()
			seen.Write(buf[:n])
			ready := strings.Contains(seen.String(), "q: 終了")
			mu.Unlock()
			if ready {
				once()
			}
			if err != nil {
				return
			}
		}
	}()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	<-drawn
	if _, err := master.Write([]byte(" ")); err != nil {
		t.Fatal(err)
	}
	if pr := <-p.Presses(); pr.Gesture != hal.Short {
		t.Errorf("got %+v", pr)
	}
	if _, err := master.Write([]byte("q")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	after, err := term.GetState(int(slave.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if *before != *after {
		t.Error("the terminal is left in another mode")
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(seen.String(), "▀") || !strings.Contains(seen.String(), "38;2;255;150;0") {
		t.Error("no picture or no amber lamp")
	}
}

func TestWordsStandBesideTheLampAndNeverWrap(t *testing.T) {
	lines := []string{"隔離完了 02:14", "keiri-pc", "電源は切らないで下さい"}
	for _, c := range []struct {
		cells int
		want  string
	}{{100, "隔離完了 02:14 | keiri-pc | 電源は切らないで下さい"}, {30, "隔離完了 02:14 | keiri-pc | 電"}, {14, "隔離完了 02:14"}, {9, "隔離完了 "}, {1, ""}, {-3, ""}} {
		if got := inWords(lines, c.cells); got != c.want {
			t.Errorf("%d cells: %q", c.cells, got)
		}
	}
}

func TestPictureFitsTheTerminal(t *testing.T) {
	p := New(Config{})
	s := suspect("a")
	s.Suspect.Name = "\x1b]0;owned\x07PC"
	p.Show(s)
	f := p.Frame()
	for _, c := range []struct {
		cols, rows int
		has        string
	}{{140, 45, "▀"}, {80, 24, "⣿"}, {30, 8, "PC"}, {20, 8, "PC"}} {
		const page = "http://127.0.0.1:8080/"
		text := picture(f, page, c.cols, c.rows)
		if strings.Contains(text, page) != (c.cols >= len(page)+2) {
			t.Errorf("%dx%d: the page's address is left out, or wraps", c.cols, c.rows)
		}
		if !strings.Contains(text, c.has) {
			t.Errorf("%dx%d lacks %s", c.cols, c.rows, c.has)
		}
		if strings.Contains(text, "\x1b]0") || strings.Contains(text, "\x07") {
			t.Error("a device's name steers the terminal")
		}
		if n := strings.Count(text, "\r\n"); n >= c.rows {
			t.Errorf("%dx%d: %d lines scroll", c.cols, c.rows, n+1)
		}
	}
}
