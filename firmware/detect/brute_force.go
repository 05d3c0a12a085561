package detect

import (
	"math"
	"net/netip"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// bruteForce finds the guessing of passwords (T1110) by two evidences for each
// client and service of a server.
//
// Answers, where the protocol can be read. The sequential test of trw.go over
// log-ins: a failure speaks for a guesser, a success against. That alone does
// not tell a guesser from a stored password that is out of date, so what is
// said depends on what only a list of guesses does: it continues within a
// second of every refusal (failures.go), or it goes through names. Names are
// trials of their own: five that fail and none that works is what host_scan
// asks of addresses. One name, retried at leisure, is never more than low.
//
// SSH names nobody; its answers are inferred from lengths (flow/ssh.go). What
// only a list does there is to send several passwords on each of many
// connections, without a pause: a stored password is offered once on each.
//
// Shape, where it cannot (SSH, RDP, whatever is wrapped in TLS): connections
// that carry as much as a key exchange and a few refusals, and no session. The
// flow records of such attacks were described by Hellemons et al., "SSHCure",
// AIMS 2012, and Hofstede et al., "SSH Compromise Detection using
// NetFlow/IPFIX", ACM CCR 2014: nearly constant packets and bytes per flow.
// Here the sizes come from the protocol (brute_force_shape.go), and what is
// tested is their rate, by a CUSUM (rise). A session counts against.
//
// A source outside the LAN cannot be isolated, but the owner must know that a
// server of the office is open to it: medium, and told once for each server
// until twice as many sources guess there; the many that guess a few times each
// add up.
//
// Limits. What is told by shape alone is never high: automation that opens more than
// one short SSH session a minute, all of them slow, looks the same. One try a
// minute and less by shape is not seen, nor what a web form was answered.
// T1110.004 cannot be told from T1110.003: secrets are never kept.
type bruteForce struct {
	net     *network
	tab     *table[guessKey, guesses]
	servers *table[doorKey, door]
	fans    *table[fanKey, fan]
	known   *table[netip.AddrPort, lock]
	posted  *table[uint64, int64] // by connection: length of the last request, which a form's log-in follows
	ssh     *table[uint64, sshLogin]
	out     []Finding
}

// sshLogin is what was inferred of one connection by SSH.
type sshLogin struct {
	refused int
	let     bool
}

type guessKey struct {
	src     source
	server  netip.AddrPort
	service string
}

type guesses struct {
	failures
	tries
	shape  *shape
	told   told
	broken bool // said that it got in
	hinted bool // counted at its door or fan
}

const nameBudget = 1 << 17

func newBruteForce(n *network) *bruteForce {
	return &bruteForce{net: n,
		tab:     newTable[guessKey, guesses](4*n.MaxHosts, nameBudget),
		servers: newTable[doorKey, door](1024, sweepBudget),
		fans:    newTable[fanKey, fan](n.MaxHosts, sweepBudget),
		known:   newTable[netip.AddrPort, lock](4096, 0),
		posted:  newTable[uint64, int64](1024, 0),
		ssh:     newTable[uint64, sshLogin](4096, 0),
	}
}

func (d *bruteForce) Name() string { return "brute_force" }
func (d *bruteForce) reads() kinds { return onConn | onLogin | onHTTP | onBanner }
func (d *bruteForce) size() int {
	return d.tab.size() + d.servers.size() + d.fans.size() + d.known.size() + d.posted.size() + d.ssh.size()
}

// evictions leaves out lengths of requests and connections by SSH: those are forgotten all day.
func (d *bruteForce) evictions() uint64 {
	return d.tab.evicted + d.servers.evicted + d.fans.evicted + d.known.evicted
}

func (d *bruteForce) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	switch e := ev.(type) {
	case *flow.Conn:
		switch {
		case e.Proto != protoTCP || e.MidStream || e.Multicast:
		case e.State == flow.ConnClosed:
			d.closed(e)
		case e.State == flow.ConnEstablished && shapeOf(e.Server.Port()) != nil:
			d.known.get(e.Server).far(e.Time.Sub(e.Start))
		}
	case *flow.Login:
		d.login(e)
	case *flow.HTTP:
		if e.Length > 0 {
			*d.posted.get(e.ConnID) = e.Length
		} else if strings.IndexByte(e.Path, '?') >= 0 {
			*d.posted.get(e.ConnID) = int64(len(e.Path))
		}
	case *flow.Banner:
		if s := bannerShape(e.Service); s != nil && shapeOf(e.Server.Port()) != s {
			d.known.get(e.Server).shape = s
		}
	}
	return d.out
}

// attempt is one log-in as both evidences see it.
type attempt struct {
	key  guessKey
	mac  flow.MAC
	from netip.Addr
	at   time.Time
}

// nobody says that a log-in names no account, and so tries no password: guests
// of a share, anonymous binds. Kerberos inside SMB hides the name.
func nobody(e *flow.Login) bool {
	return e.User == "" && e.Mechanism != "kerberos" && (e.Service == "smb" || e.Service == "ldap")
}

func (d *bruteForce) login(e *flow.Login) {
	if nobody(e) {
		return
	}
	src, mac := d.net.client(&e.Meta, e.Client.Addr(), e.FromServer)
	if d.net.own(mac, e.Client.Addr()) {
		return
	}
	a := attempt{key: guessKey{src, e.Server, e.Service}, mac: mac, from: e.Client.Addr(), at: e.Time}
	if e.Mechanism == "form" {
		d.form(a, e)
		return
	}
	if e.Service == "ssh" && e.Result != flow.LoginTried {
		d.inferred(a, e)
	}
	d.answer(a, e.User, e.Result)
}

// inferred notes the answer on a connection whose shape is judged too.
func (d *bruteForce) inferred(a attempt, e *flow.Login) {
	l := d.ssh.get(e.ConnID)
	if e.Result == flow.LoginOK {
		l.let = true
		return
	}
	if l.refused++; l.refused == offered {
		d.tab.get(a.key).lists++
	}
}

// form counts a web form that was sent; its answer cannot be told.
func (d *bruteForce) form(a attempt, e *flow.Login) {
	n := d.posted.peek(e.ConnID)
	if n == nil {
		return
	}
	size := uint64(max(*n, 0)) //nolint:gosec // not negative
	g := d.tab.get(a.key)
	g.shape = &shapeForm
	if g.lengths.add(size) {
		d.tab.grow(a.key, 1)
	}
	if g.tries.count(0, size, a.at, a.at) {
		d.judge(a, g)
	}
}

func (d *bruteForce) answer(a attempt, user string, result flow.LoginResult) {
	if result == flow.LoginTried {
		if g := d.tab.peek(a.key); g != nil {
			g.begin(a.at)
		}
		return
	}
	g := d.tab.get(a.key)
	before := g.dead.len() + g.good.len()
	broke := false
	if result == flow.LoginFailed {
		g.fail(user, a.at)
	} else {
		broke = g.succeed(user)
	}
	d.tab.grow(a.key, g.dead.len()+g.good.len()-before)
	if result == flow.LoginFailed || broke {
		d.judge(a, g)
	}
	d.spread(a, g, result == flow.LoginFailed, user)
}

func (d *bruteForce) closed(c *flow.Conn) {
	s := shapeOf(c.Server.Port())
	var trip time.Duration
	if v := d.known.peek(c.Server); v != nil {
		trip = v.trip
		if v.shape != nil {
			s = v.shape
		}
	}
	if s == nil || c.Received == 0 || d.net.own(c.ClientMAC, c.Client.Addr()) {
		return
	}
	kind := s.kind(c)
	var read sshLogin
	if l := d.ssh.peek(c.ID); l != nil {
		if read = *l; read.let {
			kind = aSession // however short
		}
	}
	if kind == noTry {
		return
	}
	name := s.name
	if name == "" {
		name = "tls"
	}
	src := d.net.source(c.ClientMAC, c.Client.Addr())
	a := attempt{key: guessKey{src, c.Server, name}, mac: c.ClientMAC, from: c.Client.Addr(), at: c.Time}
	g := d.tab.peek(a.key)
	if kind == aSession {
		d.spread(a, g, false, "")
		if g == nil {
			return // nothing to be held against
		}
	}
	g = d.tab.get(a.key)
	g.shape = s
	if g.tries.add(s, c, trip, kind) {
		d.judge(a, g)
	}
	if kind == aTry && read.refused == 0 {
		d.spread(a, g, true, "")
	}
}

// oneByOne names the services whose clients show each refusal to a person and
// do not retry by themselves.
func oneByOne(service string) bool {
	switch service {
	case "ftp", "ssh", "telnet", "vnc", "rdp":
		return true
	}
	return false
}

// onBehalf names the services that programs ask with what others gave them: a
// mail server asks the directory, a web server in front passes requests on, a
// page for mail opens mailboxes. When strangers guess there, it is them.
func onBehalf(service string) bool {
	switch service {
	case "ldap", "http", "imap", "pop3", "smtp":
		return true
	}
	return false
}

// band says how sure both evidences are together; "" is not at all.
func (g *guesses) band(service string) Confidence {
	c := g.answered(service)
	listed := g.shape != &shapeForm || g.lengths.len() >= firstSay
	if listed && g.tries.decided() && rank(g.shape.limit) > rank(c) {
		c = g.shape.limit
	}
	return c
}

func (g *guesses) answered(service string) Confidence {
	if g.failures.n < mistyped || !g.w.decided() {
		return ""
	}
	row := retried
	if oneByOne(service) {
		row = strikes
	}
	fast := g.streak >= row
	many := g.dead.len() >= firstSay && g.names.decided() && g.failures.n >= strikes
	list := many && g.streak >= strikes
	relay := onBehalf(service) || g.good.len() >= firstSay
	switch {
	case relay && many, relay && fast:
		return Medium
	case g.lists >= strikes && g.streak >= retried && (g.good.len() == 0 || g.inside != ""):
		return High
	case list && g.dead.len() >= max(strikes, 3*g.good.len()), list && g.inside != "":
		return High
	case many, fast:
		return Medium
	}
	return Low
}

func (d *bruteForce) judge(a attempt, g *guesses) {
	conf := g.band(a.key.service)
	if conf == "" {
		return
	}
	if d.net.router(a.key.src.mac) {
		conf = atMost(conf, Medium) // it may be relaying for many
	}
	inside := d.net.onLAN(a.from)
	if !inside {
		conf = atMost(conf, Medium)
	}
	// The root: a long attack is told again at four times its size, not at twice.
	news := g.told.more(int(math.Sqrt(float64(max(g.failures.n, g.tries.n)))), conf)
	if g.inside != "" && !g.broken && conf != Low {
		g.broken, news = true, true
	}
	if !inside && d.net.onLAN(a.key.server.Addr()) && !g.broken {
		news = news && d.knock(a, g, conf)
	}
	if news {
		d.out = append(d.out, d.finding(a, g, conf))
	}
}
