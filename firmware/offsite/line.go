package offsite

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/time/rate"
)

const (
	chunk   = 16 << 10        // bytes a write: what the line is taken for at one time
	stalled = 3 * time.Minute // without one byte, a connection is given up
)

// Line is the office's line as far as copies may use it: every connection that
// it dials shares one rate, each way. The limit stands at the connection, below
// TLS and SSH, so that no buffer above it can send a burst.
type Line struct {
	up, down *rate.Limiter
	dialer   net.Dialer
}

// NewLine allows so many bytes a second up, and as many down; 0 is no limit.
func NewLine(bytesPerSecond int64) *Line {
	limit := rate.Inf
	if bytesPerSecond > 0 {
		limit = rate.Limit(bytesPerSecond)
	}
	return &Line{up: rate.NewLimiter(limit, chunk), down: rate.NewLimiter(limit, chunk),
		dialer: net.Dialer{Timeout: 30 * time.Second}}
}

// Dial connects as net.Dialer does; http.Transport takes it as DialContext.
func (l *Line) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := l.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoAddress, err)
	}
	// Its own context: the one of dialing may end long before the connection.
	open, end := context.WithCancel(context.Background())
	return &lineConn{Conn: conn, line: l, open: open, end: end}, nil
}

type lineConn struct {
	net.Conn
	line *Line
	open context.Context // until Close: a write that waits for its turn ends then
	end  context.CancelFunc
}

func (c *lineConn) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		part := p[done:min(len(p), done+chunk)]
		if err := c.line.up.WaitN(c.open, len(part)); err != nil {
			return done, net.ErrClosed
		}
		if err := c.SetWriteDeadline(time.Now().Add(stalled)); err != nil {
			return done, err
		}
		n, err := c.Conn.Write(part)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Read pays after it has read: how much comes is not known before, and the
// sender is slowed by the window that fills.
func (c *lineConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(stalled)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p[:min(len(p), chunk)])
	if n > 0 && c.line.down.WaitN(c.open, n) != nil && err == nil {
		err = net.ErrClosed
	}
	return n, err
}

func (c *lineConn) Close() error {
	c.end()
	return c.Conn.Close()
}
