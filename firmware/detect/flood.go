package detect

import (
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// flood reports a device that sends more than its target can take in: openings
// of connections, pings, DHCP requests, or packets of one connection.
//
// Model. The non-parametric CUSUM of Wang, Zhang and Shin, "Detecting SYN
// Flooding Attacks", INFOCOM 2002: per source and service, openings add up,
// what becomes of them (data, a refusal, an orderly end) is taken off, and so is
// what an ordinary client has in the air. The sum stays near zero for whatever
// load is served, and grows without end under a flood. The paper normalises
// by the mean rate of its site; here the units are physical:
//
//   - floodSlack openings a second are forgiven: a browser has six connections
//     to a server at a time (RFC 9112 section 9.4 says why they limit
//     themselves), and tries anew each second;
//   - floodMedium: four times what a listener queues by default (128, the
//     SOMAXCONN of Linux until 5.4 and of most others; listen(2));
//   - floodHigh: more than any listener queues by default (4,096 since Linux
//     5.4): nothing that wants an answer sends that.
//
// UDP has no listener's queue, and much of it wants no answer: programs send
// measurements and logs from a new port each time (syslog, StatsD), and while
// the line is down a name server repeats the questions of the whole office. So
// UDP is medium at most, from floodHigh on, and questions for names are low.
//
// ICMP: ping -f sends 100 a second at least (ping(8)), which an administrator
// may do: low. DHCP: a client sends its DISCOVER at most five times a minute
// (RFC 2131 section 4.1); a device that sends dhcpMedium in ten seconds exhausts
// the leases, and so does one that asks for many others; the same request over
// and over (xid) is low, as a loop of cables multiplies every broadcast. Packets: see activity.
//
// Limits. Who invents another MAC with every frame is not one device: that
// shows as evictions of the inventory. A relay (DHCP) and routers are not
// judged. An attack from outside is reported low: nobody here can be isolated.
type flood struct {
	net  *network
	open *table[serviceAt, cusum]
	ping *table[pairKey, cusum]
	dhcp *table[flow.MAC, leaseAsks]
	conn *table[uint64, floodPace]
	out  []Finding
}

// serviceAt is one service of one server, as one source calls it.
type serviceAt struct {
	src   source
	to    netip.Addr
	port  uint16
	proto uint8
}

// cusum is the sum of what came to nothing, less slack for each second.
type cusum struct {
	sum   int
	total int
	at    time.Time
	first time.Time
	told  told
}

func (c *cusum) add(n, slack int, t time.Time) {
	if c.first.IsZero() || c.at.Sub(t) > setBack {
		c.sum, c.total, c.first, c.at = 0, 0, t, t
	}
	if s := int(t.Sub(c.at) / time.Second); s > 0 {
		c.sum = max(0, c.sum-s*slack)
		c.at = c.at.Add(time.Duration(s) * time.Second)
		if c.sum == 0 {
			c.first, c.total = t, 0
		}
	}
	c.sum = max(0, c.sum+n)
	if n > 0 {
		c.total += n
	}
}

// leaseAsks counts the DHCP requests of one sender within dhcpWindow.
type leaseAsks struct {
	n       int
	fresh   int // of n: with another number than the one before
	xid     uint32
	from    time.Time
	clients map[flow.MAC]struct{}
	told    told
}

// floodPace is how far one connection had come at its last Activity.
type floodPace struct {
	at      time.Time
	sent    uint64
	bytes   uint64
	recv    uint64
	seconds int // in a row above pacePackets
	first   time.Time
	told    told
}

const (
	floodSlack  = 16
	floodMedium = 4 * 128
	floodHigh   = 4096
	pingSlack   = 50 // half of what ping -f sends
	pingLow     = 10 * 100
	dhcpWindow  = 10 * time.Second
	dhcpMedium  = 50 // ten times what a client sends in a minute
	dhcpClients = 32 // distinct clients behind one sender

	// Voice sends 50 packets a second, a camera or a video call some hundred to
	// a thousand, answered by reports (RFC 3550 section 6.2: 5 % of the session).
	pacePackets = 10000
	paceSize    = 256 // bytes of payload: bulk transfers fill theirs
	paceSeconds = 3
)

func newFlood(n *network) *flood {
	return &flood{
		net: n, open: newTable[serviceAt, cusum](2*n.MaxHosts, 0), ping: newTable[pairKey, cusum](n.MaxHosts, 0),
		dhcp: newTable[flow.MAC, leaseAsks](n.MaxHosts, 1<<14), conn: newTable[uint64, floodPace](1024, 0),
	}
}

func (d *flood) Name() string { return "flood" }
func (d *flood) reads() kinds { return onConn | onICMP | onDHCP | onActivity }
func (d *flood) size() int {
	return d.open.size() + d.ping.size() + d.dhcp.size() + d.conn.size()
}
func (d *flood) evictions() uint64 {
	return d.open.evicted + d.ping.evicted + d.dhcp.evicted + d.conn.evicted
}

func (d *flood) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	switch e := ev.(type) {
	case *flow.Conn:
		d.opening(e)
	case *flow.ICMP:
		if (e.Type == 8 && !e.V6 || e.Type == 128 && e.V6) && !e.Out && !d.net.own(e.SrcMAC, e.Src) {
			d.echo(e)
		}
	case *flow.DHCP:
		if !e.FromServer && !e.Out {
			d.lease(e)
		}
	case *flow.Activity:
		d.activity(e)
	}
	return d.out
}

// opening counts attempts, and takes off what became of them. A connection
// that was accepted and never used stays counted: that is a SYN flood against
// a listener that answers with cookies (RFC 4987 section 3.6).
func (d *flood) opening(e *flow.Conn) {
	if e.Multicast || e.MidStream || d.net.own(e.ClientMAC, e.Client.Addr()) {
		return
	}
	k := serviceAt{d.net.source(e.ClientMAC, e.Client.Addr()), e.Server.Addr(), e.Server.Port(), e.Proto}
	var c *cusum
	switch {
	case e.State == flow.ConnAttempt:
		c = d.open.get(k)
		c.add(1, floodSlack, e.Time)
	case e.State == flow.ConnRefused, e.State == flow.ConnEstablished && e.Proto == protoUDP,
		e.State == flow.ConnClosed && e.Prev == flow.ConnEstablished && e.Sent > 0 && e.Proto == protoTCP:
		if c = d.open.peek(k); c != nil {
			c.add(-1, floodSlack, e.Time)
		}
		return
	default:
		return
	}
	if c.sum < floodMedium {
		return
	}
	conf := openingBand(c.sum, e.Proto, e.Server.Port())
	if conf = d.limit(conf, k.src, e.Client.Addr()); c.told.more(c.sum, conf) {
		d.out = append(d.out, d.openings(e, c, conf))
	}
}

// openingBand says what a sum of openings means.
func openingBand(sum int, proto uint8, port uint16) Confidence {
	switch high := sum >= floodHigh; {
	case proto == protoTCP && high:
		return High
	case proto == protoTCP, high && port != 53:
		return Medium
	}
	return Low
}

// limit lowers the band where the sender is not known or relays for others.
func (d *flood) limit(conf Confidence, src source, from netip.Addr) Confidence {
	if !d.net.onLAN(from) && src.mac.IsZero() || d.net.router(src.mac) {
		return Low
	}
	return conf
}

func (d *flood) echo(e *flow.ICMP) {
	k := pairKey{d.net.source(e.SrcMAC, e.Src), e.Dst}
	c := d.ping.get(k)
	if c.add(1, pingSlack, e.Time); c.sum < pingLow {
		return
	}
	conf := Low
	if c.sum >= 10*pingLow { // a hundred seconds of ping -f, or no such thing
		conf = Medium
	}
	if conf = d.limit(conf, k.src, e.Src); c.told.more(c.sum, conf) {
		d.out = append(d.out, d.pings(e, c, conf))
	}
}

func (d *flood) lease(e *flow.DHCP) {
	if e.SrcMAC.IsZero() || d.net.router(e.SrcMAC) || e.Type != 1 && e.Type != 3 {
		return
	}
	a := d.dhcp.get(e.SrcMAC)
	if e.Time.Sub(a.from) > dhcpWindow || e.Time.Before(a.from) {
		d.dhcp.grow(e.SrcMAC, -len(a.clients))
		a.n, a.fresh, a.from, a.clients = 0, 0, e.Time, nil
	}
	if a.n++; a.n == 1 || e.XID != a.xid {
		a.fresh++
	}
	a.xid = e.XID
	if a.clients == nil {
		a.clients = make(map[flow.MAC]struct{}, 1)
	}
	if _, known := a.clients[e.ClientMAC]; !known && len(a.clients) < maxDistinct {
		a.clients[e.ClientMAC] = struct{}{}
		d.dhcp.grow(e.SrcMAC, 1)
	}
	if a.n < dhcpMedium && len(a.clients) < dhcpClients {
		return
	}
	conf := Low // the same request over and over: a loop of cables shows it so
	if a.fresh >= dhcpMedium || len(a.clients) >= dhcpClients {
		conf = Medium
	}
	if a.told.more(a.n, conf) {
		d.out = append(d.out, d.leases(e, a, conf))
	}
}

// activity finds a flood of packets inside one connection: small ones, many,
// and hardly an answer, seconds on end.
func (d *flood) activity(e *flow.Activity) {
	if e.FromServer || e.SentPackets < pacePackets {
		return
	}
	p := d.conn.get(e.ID)
	since := e.Time.Sub(p.at)
	packets, bytes, answers := e.SentPackets-p.sent, e.Sent-p.bytes, e.RecvPackets-p.recv
	whole := !p.at.IsZero() && since > 0
	p.at, p.sent, p.bytes, p.recv = e.Time, e.SentPackets, e.Sent, e.RecvPackets
	if !whole {
		return
	}
	if float64(packets) < pacePackets*since.Seconds() || bytes >= packets*paceSize || answers*20 > packets {
		p.seconds = 0
		return
	}
	if p.seconds == 0 {
		p.first = e.Time.Add(-since)
	}
	p.seconds++
	src := d.net.source(e.ClientMAC, e.Client.Addr())
	if p.seconds < paceSeconds || d.net.own(e.ClientMAC, e.Client.Addr()) {
		return
	}
	if conf := d.limit(Medium, src, e.Client.Addr()); p.told.more(p.seconds, conf) {
		d.out = append(d.out, d.packets(e, p, packets, since, conf))
	}
}
