package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/hal"
	"sekisho/hal/face"
	"sekisho/ui"
)

// noGateway is as much of a gateway as the panel's API needs.
type noGateway struct{ ui.Gateway }

func (noGateway) Subscribe() (<-chan struct{}, func()) { return make(chan struct{}), func() {} }

// box serves a panel as a gateway does.
func box(t *testing.T) (*face.Face, *httptest.Server) {
	t.Helper()
	f := face.New(face.Config{})
	f.Show(hal.Status{State: hal.Attention, Lang: "ja", Suspect: hal.Device{Name: "経理PC-2", Place: "ポート3"}, Target: "in-1"})
	h, err := ui.New(ui.Config{Gateway: noGateway{}, Panel: f})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return f, srv
}

func TestThePanelWithoutATerminalIsSaidOnce(t *testing.T) {
	f, srv := box(t)
	want := strings.Join(f.Frame().Lines, "\n") + "\n"
	s := sekisho(t, "panel", "--page", srv.URL, "--lang", "ja")
	if s.code != 0 || s.out != "ランプ: 黄色、2回ずつ点滅\n"+want || s.err != "" {
		t.Errorf("%+v", s)
	}
	file := settings(t, func(text string) string {
		return strings.Replace(text, "127.0.0.1:0", strings.TrimPrefix(srv.URL, "http://"), 1)
	})
	if s := sekisho(t, "panel", "--config", file); s.code != 0 || s.out != "Lamp: amber, double blink\n"+want {
		t.Errorf("by its settings: %+v", s)
	}
}

func TestThePanelSaysWhyItCannotBeSeen(t *testing.T) {
	_, gone := box(t)
	gone.Close()
	other := httptest.NewServer(nil)
	defer other.Close()
	sekisho(t, "panel", "--page", gone.URL).refuses(t, 1, "no gateway answers at "+gone.URL, "--config", "connection refused")
	sekisho(t, "panel", "--page", gone.URL, "--lang", "ja").refuses(t, 1, "応答がありません", "--page")
	sekisho(t, "panel", "--page", other.URL).refuses(t, 1, "no Sekisho gateway", "404")
	sekisho(t, "panel", "--page", "gateway").refuses(t, exitUsage, "no page", "http://")
	sekisho(t, "panel", "--config", "/nowhere").refuses(t, exitUsage, "does not exist")
	sekisho(t, "panel", "--config", "/nowhere", "--page", gone.URL).refuses(t, exitUsage, "--config", "--page")
}

func TestTheAddressWhereTheGatewayListensLeadsToItsPage(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080/", ":80": "http://127.0.0.1:80/", "0.0.0.0:80": "http://127.0.0.1:80/",
		"[::]:8080": "http://127.0.0.1:8080/", "[fd00::1]:8080": "http://[fd00::1]:8080/", "192.168.10.1:80": "http://192.168.10.1:80/",
	} {
		if u, err := pageOf(listen); err != nil || u.String() != want {
			t.Errorf("%s: %v, %v", listen, u, err)
		}
	}
}

// terminal is one of the kernel, and what stood on it.
type terminal struct {
	master, slave *os.File
	mu            sync.Mutex
	text          bytes.Buffer
	more          *sync.Cond
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	open := func(name string) *os.File {
		f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	x := &terminal{master: open("/dev/ptmx")}
	x.more = sync.NewCond(&x.mu)
	n, err := unix.IoctlGetInt(int(x.master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(x.master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(x.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 80, Row: 24})
	}
	if err != nil {
		t.Fatal(err)
	}
	x.slave = open(fmt.Sprintf("/dev/pts/%d", n))
	go func() {
		var buf [4096]byte
		for {
			n, err := x.master.Read(buf[:])
			x.mu.Lock()
			x.text.Write(buf[:n])
			x.more.Broadcast()
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return x
}

// until waits for a text; ctx bounds it.
func (x *terminal) until(t *testing.T, ctx context.Context, text string) {
	t.Helper()
	stop := context.AfterFunc(ctx, x.more.Broadcast)
	defer stop()
	x.mu.Lock()
	defer x.mu.Unlock()
	for !strings.Contains(x.text.String(), text) {
		if ctx.Err() != nil {
			t.Fatalf("never %q in %q", text, x.text.String())
		}
		x.more.Wait()
	}
	x.text.Reset()
}

// The whole way: a key in a terminal, over the API, is the press of what the box
// shows; and its answer comes back.
func TestThePanelIsSeenAndPressedInATerminal(t *testing.T) {
	f, srv := box(t)
	x := newTerminal(t)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := program(ctx, "panel", "--page", srv.URL, "--lang", "ja")
	cmd.Env = append(cmd.Env, "LC_ALL=C.UTF-8", "TERM=xterm-256color")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = x.slave, x.slave, x.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	x.until(t, ctx, "q: 閉じる")
	// A press before the person can have seen the name is refused by the box; the
	// next one is not.
	for pressed := false; !pressed; {
		if _, err := x.master.WriteString(" "); err != nil {
			t.Fatal(err)
		}
		select {
		case p := <-f.Presses():
			if pressed = true; p.Gesture != hal.Short || p.Target != "in-1" {
				t.Errorf("pressed %+v", p)
			}
		case <-time.After(time.Second):
		case <-ctx.Done():
			t.Fatal("no press arrived")
		}
	}
	f.Show(hal.Status{State: hal.Isolated, Lang: "ja", Suspect: hal.Device{Name: "経理PC-2"}})
	x.until(t, ctx, "隔離完了")
	srv.CloseClientConnections()
	srv.Listener.Close()
	x.until(t, ctx, "応答がありません")
	if _, err := x.master.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	x.until(t, ctx, "\x1b[?1049l")
	if n := len(f.Presses()); n != 0 {
		t.Errorf("the box was pressed %d times more", n)
	}
}
