package remote

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// maxPaced is how many sources are told apart in their pace of connecting.
// Beyond it all begin anew, still within the pace of all together.
const maxPaced = 256

// conns limits how many connections there are and how many are made a second,
// in all and from one source: each handshake costs a signature, and the
// processor belongs to capture and containment. What is too many is closed at
// once: a queue would only make the vendor wait behind whoever fills it.
type conns struct {
	l       limits
	max     int
	refused func(from, reason string)

	mu   sync.Mutex
	open int
	from map[string]int           // open ones; at most max
	pace *rate.Limiter            // of all, by the real clock
	each map[string]*rate.Limiter // by source
}

func newConns(limit int, l limits, refused func(from, reason string)) *conns {
	return &conns{l: l, max: limit, refused: refused, from: map[string]int{},
		pace: rate.NewLimiter(l.connects, l.connectsBurst), each: map[string]*rate.Limiter{}}
}

func (c *conns) take(from string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= c.max || c.from[from] >= c.l.connsEach {
		return false
	}
	pace := c.each[from]
	if pace == nil {
		if len(c.each) >= maxPaced {
			clear(c.each)
		}
		pace = rate.NewLimiter(c.l.connects/10, c.l.connectsBurst/4)
		c.each[from] = pace
	}
	if !pace.Allow() || !c.pace.Allow() {
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
