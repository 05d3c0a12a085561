package virtual

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/hal"
	"sekisho/hal/panel"
)

// asPanel makes the test binary a program with a panel in its terminal.
const asPanel = "SEKISHO_TEST_AS_PANEL"

func TestMain(m *testing.M) {
	if os.Getenv(asPanel) != "" {
		panelProgram()
	}
	if socket := os.Getenv(asProxy); socket != "" {
		proxyProgram(socket)
	}
	os.Exit(m.Run())
}

// panelProgram tells a press by a new page, and ends as the gateway does.
func panelProgram() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	p := New(Config{In: os.Stdin, Out: os.Stdout, Quit: cancel})
	p.Show(suspect("a"))
	go func() {
		for pr := range p.Presses() {
			p.Show(hal.Status{State: hal.Isolated, Lang: "ja", Suspect: hal.Device{Name: "経理PC-2"}, VendorPhone: fmt.Sprint("pressed-", pr.Gesture)})
		}
	}()
	if err := p.Run(ctx); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func program(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// session is a program in a terminal of its own: a real one, of the kernel.
type session struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	cmd    *exec.Cmd
	before unix.Termios

	mu   sync.Mutex
	vt   *vt
	news *sync.Cond
	end  bool
}

// start runs a program in a terminal of a size.
func start(t *testing.T, cols, rows int, extra []string, argv ...string) *session {
	t.Helper()
	s := &session{t: t, vt: newVT(t, cols, rows)}
	s.news = sync.NewCond(&s.mu)
	var err error
	if s.master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.master.Close() })
	n, err := unix.IoctlGetInt(int(s.master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(s.master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		s.slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.slave.Close() })
	s.resize(cols, rows)
	s.before = s.mode()
	s.cmd = exec.Command(argv[0], argv[1:]...)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = s.slave, s.slave, s.slave
	s.cmd.Env = append(append(os.Environ(), asPanel+"=1", "TERM=xterm-256color", "COLORTERM=truecolor", "LC_ALL=C.UTF-8"), extra...)
	// A signal that is caught here is not ignored there, even where whoever started
	// the tests ignores it.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGTSTP)
	defer signal.Stop(caught)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill() }) //nolint:errcheck // it has mostly ended
	go s.listen()
	return s
}

func (s *session) listen() {
	buf := make([]byte, 1<<16)
	for {
		n, err := s.master.Read(buf)
		s.mu.Lock()
		s.vt.Write(buf[:n]) //nolint:errcheck // never fails
		s.end = err != nil
		s.news.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *session) resize(cols, rows int) {
	s.t.Helper()
	if err := unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(cols), Row: uint16(rows)}); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vt.cols != cols || s.vt.rows != rows {
		s.vt.late = true
		s.vt.resize(cols, rows)
	}
}

func (s *session) mode() unix.Termios {
	s.t.Helper()
	m, err := unix.IoctlGetTermios(int(s.slave.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return *m
}

func (s *session) typed(text string) {
	s.t.Helper()
	if _, err := s.master.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// patience bounds a wait on a busy machine.
const patience = 30 * time.Second

// until waits for what the terminal shows.
func (s *session) until(what string, holds func(v *vt) bool) {
	s.t.Helper()
	late := time.AfterFunc(patience, func() { s.mu.Lock(); s.end = true; s.news.Broadcast(); s.mu.Unlock() })
	defer late.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !holds(s.vt) {
		if s.end {
			s.t.Fatalf("never %s; the terminal shows\n%s", what, s.vt.text())
		}
		s.news.Wait()
	}
}

func (s *session) shows(words ...string) {
	s.t.Helper()
	s.until(fmt.Sprint("shown: ", words), func(v *vt) bool {
		text := v.text()
		return !v.late && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
	})
}

// left checks that the terminal is as it was found.
func (s *session) left() {
	s.t.Helper()
	s.until("left", func(v *vt) bool { return !v.other && !v.hidden && !v.marked })
	if s.mode() != s.before {
		s.t.Error("the terminal is left in another mode")
	}
}

func (s *session) ended(want int) {
	s.t.Helper()
	err := s.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if got := s.cmd.ProcessState.ExitCode(); got != want {
		s.t.Errorf("exit code %d, want %d", got, want)
	}
}

func TestATerminalShowsPressesResizesAndIsRestored(t *testing.T) {
	s := start(t, 140, 45, nil, program(t))
	s.shows("▀", "経理PC-2", "ランプ: 黄色、2回ずつ点滅", "q: 終了")
	s.until("amber", func(v *vt) bool { return v.penAt(3, 1) == "48;2;255;150;0" })
	for _, size := range [][2]int{{80, 24}, {40, 10}, {200, 60}, {12, 3}, {140, 45}, {80, 24}} {
		s.resize(size[0], size[1])
		p := New(Config{})
		p.Show(suspect("a"))
		f := p.Frame()
		l := look{trueColor, true, true, false}
		s.until("as drawn anew", func(v *vt) bool {
			for _, f.Lamp = range []panel.Color{{}, {R: 255, G: 150}} {
				if v.differs(painted(t, scene{frame: f, lang: "ja"}, l, size[0], size[1])) == "" {
					return true
				}
			}
			return false
		})
	}
	s.typed(" ")
	s.shows("pressed-0", "隔離完了")
	s.typed("q")
	s.ended(0)
	s.left()
}

func TestHoweverItEndsTheTerminalIsRestored(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		s := start(t, 80, 24, nil, program(t))
		s.shows("経理PC-2")
		if err := s.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		s.ended(0)
		s.left()
	}
}

// The shell is there so that the job can be continued: the kernel does not stop
// one that nobody could.
func TestCtrlZGivesTheTerminalBackAndFgTakesItAgain(t *testing.T) {
	s := start(t, 80, 24, nil, "/bin/bash", "-m", "-c", `"$0"; echo stopped with $?; read -r x; fg >/dev/null; echo ended with $?; read -r x`, program(t))
	s.shows("経理PC-2", "⣿")
	s.typed("\x1a")
	s.shows("stopped with 148") // 128 + SIGTSTP
	s.left()
	s.resize(60, 12) // meanwhile
	s.typed("\n")
	s.shows("経理PC-2", "Enter 押す")
	s.typed(" ")
	s.shows("pressed-0")
	s.typed("q")
	s.shows("ended with 0")
	s.left()
	s.typed("\n")
	s.ended(0)
}

func TestWhereNobodyCouldContinueItCtrlZDoesNotStop(t *testing.T) {
	s := start(t, 80, 24, nil, program(t)) // the terminal's own session: an orphan
	s.shows("経理PC-2")
	s.typed("\x1a")
	s.typed(" ")
	s.shows("pressed-0")
	s.typed("q")
	s.ended(0)
	s.left()
}

func TestAVanishedTerminalEndsNothing(t *testing.T) {
	s := start(t, 80, 24, nil, "/bin/bash", "-c", `trap "" HUP; "$0"; exit 7`, program(t))
	s.shows("経理PC-2")
	s.slave.Close()
	s.master.Close()
	pids, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.cmd.Process.Pid, s.cmd.Process.Pid))
	if err != nil {
		t.Skip("this kernel does not list children:", err)
	}
	var child int
	if _, err := fmt.Sscan(string(pids), &child); err != nil {
		t.Fatalf("the panel is gone: %q", pids)
	}
	if err := syscall.Kill(child, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.ended(7)
}
