package wifi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// control is a client of one hostapd: the protocol of hostapd_cli, a datagram
// for each command and one for its answer. After a time-out it stays broken: a
// late answer would be taken for that of the next command, and a hung hostapd
// must be waited for once, not once for each device.
type control struct {
	conn   *net.UnixConn
	ctx    context.Context
	broken error
}

// unreachableError says that hostapd cannot be asked: it is not running, or it
// is hung.
type unreachableError struct {
	err  error
	hung bool
}

func (e *unreachableError) Error() string {
	if e.hung {
		return fmt.Sprintf("hostapd does not answer (%v); the device may still be associated", e.err)
	}
	return fmt.Sprintf("hostapd does not run, or may not be asked (ctrl_interface in hostapd.conf): %v", e.err)
}

func (e *unreachableError) Unwrap() error { return e.err }

// clients numbers our ends of the sockets of this process. An abstract address
// needs no folder that can be written, and leaves no file behind; it must only
// differ from every other.
var clients atomic.Uint64

// dial opens the control socket at path. The caller closes it.
func dial(ctx context.Context, path string) (*control, error) {
	own := fmt.Sprintf("@sekisho-wifi-%d-%d", os.Getpid(), clients.Add(1))
	conn, err := net.DialUnix("unixgram", &net.UnixAddr{Name: own, Net: "unixgram"}, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, &unreachableError{err: err}
	}
	return &control{conn: conn, ctx: ctx}, nil
}

func (c *control) close() { _ = c.conn.Close() }

// ask sends one command and returns the answer, which may be empty. When the
// context ends it waits no longer: a press must not wait for a hung hostapd.
func (c *control) ask(command string) (answer string, err error) {
	if c.broken != nil {
		return "", c.broken
	}
	defer context.AfterFunc(c.ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })()
	if err = c.send(command); err == nil {
		answer, err = c.receive(replyTimeout)
	}
	c.broken = err
	return answer, err
}

func (c *control) send(command string) error {
	if err := c.conn.SetDeadline(c.until(replyTimeout)); err != nil {
		return err
	}
	if err := c.ctx.Err(); err != nil { // after the deadline was set: its end sets another
		return &unreachableError{err: err, hung: true}
	}
	if _, err := c.conn.Write([]byte(command)); err != nil {
		return unreachable(err)
	}
	return nil
}

// farewell sends a command whose answer nobody waits for, also when the context
// has ended.
func (c *control) farewell(command string) {
	if c.conn.SetWriteDeadline(time.Now().Add(replyTimeout)) == nil {
		_, _ = c.conn.Write([]byte(command)) // hostapd may be gone
	}
}

// receive returns the next datagram.
func (c *control) receive(timeout time.Duration) (string, error) {
	buf := make([]byte, 2*replyBytes) // more than hostapd ever sends: nothing is cut off unnoticed
	if err := c.conn.SetReadDeadline(c.until(timeout)); err != nil {
		return "", err
	}
	if err := c.ctx.Err(); err != nil {
		return "", &unreachableError{err: err, hung: true}
	}
	n, err := c.conn.Read(buf)
	if err != nil {
		return "", unreachable(err)
	}
	if n == len(buf) {
		return "", fmt.Errorf("an answer of more than %d bytes", n-1)
	}
	return string(buf[:n]), nil
}

func (c *control) until(timeout time.Duration) time.Time {
	at := time.Now().Add(timeout)
	if end, ok := c.ctx.Deadline(); ok && end.Before(at) {
		return end
	}
	return at
}

func unreachable(err error) error {
	return &unreachableError{err: err, hung: errors.Is(err, os.ErrDeadlineExceeded)}
}

// do sends a command that is answered with OK.
func (c *control) do(command string) error {
	answer, err := c.ask(command)
	if err != nil {
		return err
	}
	switch answer = strings.TrimSpace(answer); answer {
	case "OK":
		return nil
	case "UNKNOWN COMMAND":
		return fmt.Errorf("%s: this hostapd does not know the command; 2.7 or newer is needed", command)
	default:
		return fmt.Errorf("%s: hostapd answers %.40q", command, answer)
	}
}

// list reads DENY_ACL or ACCEPT_ACL.
func (c *control) list(name string) (list, error) {
	answer, err := c.ask(name + " SHOW")
	if err != nil {
		return list{}, err
	}
	l, err := parseList(answer)
	if err != nil {
		return list{}, fmt.Errorf("%s SHOW: %w", name, err)
	}
	return l, nil
}

// instance tells one run of hostapd from the next: it makes its socket anew.
type instance struct {
	inode  uint64
	sec    int64
	nanosc int64
}

func instanceOf(path string) (instance, error) {
	info, err := os.Stat(path)
	if err != nil {
		return instance{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return instance{}, &fs.PathError{Op: "stat", Path: path, Err: errors.ErrUnsupported}
	}
	return instance{inode: st.Ino, sec: int64(st.Ctim.Sec), nanosc: int64(st.Ctim.Nsec)}, nil
}
