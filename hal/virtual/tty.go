package virtual

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// tty is a terminal of this machine, or of another one at the end of SSH.
type tty struct {
	in, out int // file descriptors
	own     bool
	before  *term.State // nil while the terminal is as we found it
}

// openTTY returns ErrNoTerminal where in or out is none.
func openTTY(in, out *os.File) (*tty, error) {
	if in == nil || out == nil || !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return nil, ErrNoTerminal
	}
	t := &tty{in: int(in.Fd()), out: int(out.Fd())}
	// Opened once more, so that a terminal that takes nothing (a connection that
	// hangs) does not hold us up, and whoever shares out with us sees no
	// O_NONBLOCK. Where that is not allowed, as after su(1), it can.
	if fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", t.out), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err == nil {
		t.out, t.own = fd, true
	}
	return t, nil
}

func (t *tty) close() {
	if t.own {
		unix.Close(t.out) //nolint:errcheck // nothing is buffered there
	}
}

// size is that of the terminal in cells. A line that does not know it, such as a
// serial one, has that of the first terminals.
func (t *tty) size() (cols, rows int, err error) {
	cols, rows, err = term.GetSize(t.out)
	if err == nil && (cols <= 0 || rows <= 0) {
		cols, rows = 80, 24
	}
	return cols, rows, err
}

// write hands over as much as the terminal takes at once.
func (t *tty) write(p []byte) (int, error) {
	n, err := unix.Write(t.out, p)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		err = nil
	}
	return max(n, 0), err
}

// read waits so long for what is typed; nothing is no error.
func (t *tty) read(p []byte, wait time.Duration) (int, error) {
	fds := []unix.PollFd{{Fd: int32(t.in), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(wait/time.Millisecond))
	if errors.Is(err, unix.EINTR) || (err == nil && n == 0) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err = unix.Read(t.in, p)
	switch {
	case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
		return 0, nil
	case err == nil && n == 0:
		return 0, io.EOF
	}
	return max(n, 0), err
}

// foreground says whether the terminal is ours: a job in the background must
// neither change it (it would be stopped) nor write into what another one shows.
// A process that has no job control has it always.
func (t *tty) foreground() bool {
	group, err := unix.IoctlGetInt(t.in, unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// raw takes the terminal; it may be called again after another one had it.
func (t *tty) raw() error {
	state, err := term.MakeRaw(t.in)
	if err == nil && t.before == nil {
		t.before = state
	}
	return err
}

// restore gives the terminal back as it was found.
func (t *tty) restore() error {
	if t.before == nil {
		return nil
	}
	err := term.Restore(t.in, t.before)
	t.before = nil
	return err
}
