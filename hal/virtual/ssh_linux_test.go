package virtual

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// asProxy makes the test binary the way from ssh(1) to the server: no network is
// needed.
const asProxy = "SEKISHO_TEST_AS_PROXY"

func proxyProgram(socket string) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go io.Copy(c, os.Stdin) //nolint:errcheck // the other way ends it
	io.Copy(os.Stdout, c)   //nolint:errcheck
	os.Exit(0)
}

// far is a machine at the end of SSH, that runs one program in a terminal.
type far struct {
	t      *testing.T
	socket string
	conn   chan net.Conn
	ended  chan error // of the program
}

func newFar(t *testing.T) *far {
	t.Helper()
	f := &far{t: t, socket: filepath.Join(t.TempDir(), "ssh"), conn: make(chan net.Conn, 1), ended: make(chan error, 1)}
	l, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		f.conn <- c
		f.ended <- f.serve(c, config)
	}()
	return f
}

// serve does for one session what sshd does (RFC 4254, section 6).
func (f *far) serve(c net.Conn, config *ssh.ServerConfig) error {
	_, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return err
	}
	go ssh.DiscardRequests(requests)
	ch, asked, err := (<-channels).Accept()
	if err != nil {
		return err
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer master.Close()
	size := func(cols, rows uint32) {
		unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(cols), Row: uint16(rows)}) //nolint:errcheck // the picture tells
	}
	var term string
	done := make(chan error, 1)
	for {
		select {
		case r, ok := <-asked:
			if !ok {
				asked = nil
				continue
			}
			switch r.Type {
			case "pty-req":
				var in struct {
					Term                string
					Cols, Rows, PxW, Px uint32
					Modes               string
				}
				err = ssh.Unmarshal(r.Payload, &in)
				term = in.Term
				size(in.Cols, in.Rows)
			case "window-change":
				var in struct{ Cols, Rows, PxW, Px uint32 }
				err = ssh.Unmarshal(r.Payload, &in)
				size(in.Cols, in.Rows)
			case "shell":
				err = f.program(master, ch, term, done)
			}
			if r.WantReply {
				r.Reply(err == nil, nil) //nolint:errcheck
			}
			if err != nil {
				return err
			}
		case err := <-done:
			code := struct{ Status uint32 }{}
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				code.Status = uint32(exit.ExitCode())
			}
			ch.SendRequest("exit-status", false, ssh.Marshal(code)) //nolint:errcheck
			ch.Close()
			return err
		}
	}
}

// program starts the panel in the terminal that ssh asked for. It knows of the
// person's own terminal only what SSH hands on: TERM, and no COLORTERM.
func (f *far) program(master *os.File, ch ssh.Channel, term string, done chan<- error) error {
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		return err
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer slave.Close()
	cmd := exec.Command(program(f.t))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.Env = []string{asPanel + "=1", "TERM=" + term, "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		io.Copy(master, ch) //nolint:errcheck // ends with the connection
		cmd.Process.Signal(syscall.SIGHUP)
	}()
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		io.Copy(ch, master) //nolint:errcheck // ends with the program
	}()
	go func() {
		err := cmd.Wait()
		<-shown
		done <- err
	}()
	return nil
}

func (f *far) connect(cols, rows int) *session {
	f.t.Helper()
	client, err := exec.LookPath("ssh")
	if err != nil {
		f.t.Fatal("ssh(1) is needed: ", err)
	}
	return start(f.t, cols, rows, []string{asPanel + "=", asProxy + "=" + f.socket}, client, "-tt", "-F", "none", "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ProxyCommand="+program(f.t), "panel@far")
}

func TestOverSSHItIsSeenResizedPressedAndLeft(t *testing.T) {
	f := newFar(t)
	s := f.connect(140, 45)
	s.shows("▀", "経理PC-2", "ランプ: 黄色、2回ずつ点滅")
	s.until("amber, of 256 colours", func(v *vt) bool { return v.penAt(3, 1) == "48;5;208" })
	s.resize(80, 24)
	s.shows("⣿", "経理PC-2")
	s.resize(40, 10)
	s.shows("経理PC-2", "Enter 押す")
	s.typed("\x1b[18~") // F7
	s.typed(" ")
	s.shows("pressed-0", "隔離完了")
	s.typed("q")
	s.ended(0)
	s.left()
	if err := <-f.ended; err != nil {
		t.Error(err)
	}
}

func TestAConnectionThatIsCutEndsTheProgramAtItsEnd(t *testing.T) {
	f := newFar(t)
	s := f.connect(80, 24)
	s.shows("経理PC-2")
	s.typed("8")
	s.shows("あと3秒")
	s.mu.Lock()
	s.vt.late = true // ssh writes what it thinks of that wherever the cursor is
	s.mu.Unlock()
	(<-f.conn).Close()
	s.ended(255)
	if err := <-f.ended; err != nil && !strings.Contains(err.Error(), "exit status 0") {
		t.Error(err)
	}
}
