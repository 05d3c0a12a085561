package remote

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// conns limits how many connections there are, in all and from one source. What
// is too many is closed at once: a queue would only make the vendor wait behind
// whoever fills it.
type conns struct {
	all, each int
	refused   func(from, reason string)

	mu   sync.Mutex
	open int
	from map[string]int // open ones; at most all
}

func newConns(all, each int, refused func(from, reason string)) *conns {
	return &conns{all: all, each: each, refused: refused, from: map[string]int{}}
}

func (c *conns) take(from string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= c.all || c.from[from] >= c.each {
		return false
	}
	c.open++
	c.from[from]++
	return true
}

func (c *conns) give(from string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if c.from[from]--; c.from[from] == 0 {
		delete(c.from, from)
	}
}

// listener hands out connections within the limits.
type listener struct {
	net.Listener
	conns *conns
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := source(addrOf(nc.RemoteAddr()))
		if l.conns.take(from) {
			c := &conn{Conn: nc, from: from, conns: l.conns}
			c.pending.Store(true)
			return c, nil
		}
		l.conns.refused(from, reasonTooMany)
		reset(nc)
	}
}

func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// reset closes a connection without a trace: what the kernel still holds for it
// is thrown away instead of sent.
func reset(nc net.Conn) {
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = nc.Close()
}

// conn is one connection within the limits.
type conn struct {
	net.Conn
	from    string
	conns   *conns
	pending atomic.Bool // something was begun that has not become a request
	once    sync.Once
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.conns.give(c.from)
		if c.pending.Load() {
			c.conns.refused(c.from, reasonSilent)
		}
	})
	return err
}

// abort closes at once; what was written and not yet sent stays here.
func (c *conn) abort() {
	reset(c.Conn)
	_ = c.Close()
}

// under is the conn below a connection of the HTTP server.
func under(nc net.Conn) *conn {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, _ := nc.(*conn)
	return c
}

// watchState is http.Server's ConnState: a connection that has begun to send a
// request owes one.
func watchState(nc net.Conn, s http.ConnState) {
	if c := under(nc); c != nil && s == http.StateActive {
		c.pending.Store(true)
	}
}
