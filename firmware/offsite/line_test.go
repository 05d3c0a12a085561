package offsite

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// lineTo returns a connection of the line whose other end is drained.
func lineTo(l *Line) (net.Conn, net.Conn) {
	near, far := net.Pipe()
	open, end := context.WithCancel(context.Background())
	return &lineConn{Conn: near, line: l, open: open, end: end}, far
}

func TestAllCopiesTogetherLeaveTheOfficeItsLine(t *testing.T) {
	const rate, each, conns = 64 << 10, 1 << 20, 2
	for name, send := range map[string]func(conn, far net.Conn) error{
		"up":   func(conn, far net.Conn) error { _, err := conn.Write(make([]byte, each)); return err },
		"down": func(conn, far net.Conn) error { _, err := io.ReadFull(conn, make([]byte, each)); return err },
	} {
		synctest.Test(t, func(t *testing.T) {
			line, begin := NewLine(rate), time.Now()
			done := make(chan error, conns)
			for range conns {
				conn, far := lineTo(line)
				defer conn.Close()
				go func() {
					if name == "up" {
						_, _ = io.Copy(io.Discard, far)
					} else {
						_, _ = far.Write(make([]byte, each))
					}
				}()
				go func() { done <- send(conn, far) }()
			}
			for range conns {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			want := time.Duration(conns*each/rate) * time.Second
			if took := time.Since(begin); took < want-time.Second || took > want+time.Second {
				t.Errorf("%s: took %s, want about %s", name, took, want)
			}
		})
	}
}

func TestAWriteThatWaitsForItsTurnEndsWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, far := lineTo(NewLine(1))
		go func() { _, _ = io.Copy(io.Discard, far) }()
		done := make(chan error)
		go func() { _, err := conn.Write(make([]byte, 4*chunk)); done <- err }()
		synctest.Wait()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		wantError(t, <-done, net.ErrClosed)
	})
}

func TestAPeerThatStandsStillIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _ := lineTo(NewLine(0))
		defer conn.Close()
		for name, call := range map[string]func([]byte) (int, error){"write": conn.Write, "read": conn.Read} {
			begin := time.Now()
			_, err := call(make([]byte, 10))
			if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() || time.Since(begin) != stalled {
				t.Errorf("%s: %v after %s", name, err, time.Since(begin))
			}
		}
	})
}
