package detect

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// c2Channel reports by what a connection does that somebody outside commands a
// device: a shell handed out, a program fetched and then obeyed, a page that
// is polled but never looked at, code loaded by a look-up (Log4Shell), stages
// of common kits, orders over IRC, and the protocols of coin miners and IoT
// bots. When a device calls is beacon's; here it is what is said. See c2_http.go
// and c2_raw.go for each model.
//
// Confidence: high only for what no honest program sends: a shell prompt to the
// outside by the side that opened the connection, the banner of a shell without
// terminal, code loaded by a directory look-up. Everything that is weighed is
// medium at most: sums of log-likelihood ratios over a prior of one in a
// hundred, low from 5 %, medium from one half.
//
// Limits. Inside TLS nothing of this is seen; beacon and tls_anomaly are. Only
// the first payload of each direction of an unknown protocol is read.
type c2Channel struct {
	net    *network
	places *places
	past   *history
	talks  *table[talkKey, talk]
	jndi   *table[source, lookup]
	irc    *table[talkKey, chat]
	coin   *table[coinKey, peerSet]
	stages *table[uint64, stage]
	told   *table[causeKey, told]
	out    []Finding
}

type talkKey struct {
	src source
	to  netip.AddrPort
}

type causeKey struct {
	src   source
	to    netip.Addr
	cause string // constant
}

// priorC2 is one in a hundred of what catches the eye.
const priorC2 = -4.6

func newC2Channel(n *network, p *places, h *history) *c2Channel {
	return &c2Channel{
		net: n, places: p, past: h,
		talks:  newTable[talkKey, talk](8192, 0),
		jndi:   newTable[source, lookup](n.MaxHosts, 0),
		irc:    newTable[talkKey, chat](1024, 0),
		coin:   newTable[coinKey, peerSet](1024, 1<<14),
		stages: newTable[uint64, stage](1024, 0),
		told:   newTable[causeKey, told](8192, 0),
	}
}

func (d *c2Channel) Name() string { return "c2_channel" }

func (d *c2Channel) reads() kinds {
	return onHTTP | onHTTPReply | onOpaque | onTLSHello | onLDAP | onConn | onActivity | onIRC
}
func (d *c2Channel) size() int {
	return d.talks.size() + d.jndi.size() + d.irc.size() + d.coin.size() + d.stages.size() + d.told.size()
}
func (d *c2Channel) evictions() uint64 {
	return d.talks.evicted + d.jndi.evicted + d.irc.evicted + d.coin.evicted + d.stages.evicted + d.told.evicted
}

func (d *c2Channel) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	switch e := ev.(type) {
	case *flow.HTTP:
		d.request(e)
	case *flow.HTTPReply:
		d.reply(e)
	case *flow.Opaque:
		d.opaque(e)
	case *flow.TLSHello:
		if !e.FromServer && e.SNI == "" && !e.QUIC {
			src, mac := d.net.client(&e.Meta, e.Client.Addr(), false)
			d.callsBack(src, mac, e.Client.Addr(), e.Server, calledTLS, e.Time)
			d.hello(e, src, mac)
		}
	case *flow.LDAP:
		if e.Op == 0 && !e.Connectionless {
			d.directory(&e.Meta, e.Client, e.Server)
		}
	case *flow.Conn:
		d.coins(e)
		if e.State == flow.ConnClosed {
			d.delivered(&e.Meta, e.ID, e.Client, e.Server, e.ClientMAC, e.ServerMAC, e.Sent, e.Received, e.Start)
			d.stages.remove(e.ID)
		}
	case *flow.Activity:
		if d.stages.size() > 0 {
			d.delivered(&e.Meta, e.ID, e.Client, e.Server, e.ClientMAC, e.ServerMAC, e.Sent, e.Received, e.Start)
		}
	case *flow.IRC:
		d.chat(e)
	}
	return d.out
}

// accusation is what say makes a finding of.
type accusation struct {
	cause    string // constant, one finding for each
	once     bool   // whatever the destinations
	tech     string
	src      source
	mac      flow.MAC
	from     netip.Addr
	to       netip.AddrPort
	conf     Confidence
	score    float64
	first    time.Time
	now      time.Time
	title    Text // %s is the device
	explain  Text // complete
	familiar string
}

// say reports once for each device, destination and cause, and again when it
// is surer.
func (d *c2Channel) say(a accusation) {
	if d.net.own(a.mac, a.from) {
		return
	}
	if a.familiar != "" && d.past.quiets(a.src, a.mac, a.familiar, a.conf, a.now) {
		return
	}
	if !d.net.onLAN(a.from) {
		a.conf = atMost(a.conf, Medium) // not ours to isolate
	}
	k := causeKey{src: a.src, cause: a.cause}
	if !a.once {
		k.to = a.to.Addr()
	}
	if t := d.told.get(k); t.peers > 0 && rank(a.conf) <= rank(t.conf) || !t.more(1, a.conf) {
		return
	}
	h := d.net.host(a.src.mac, a.from)
	d.out = append(d.out, Finding{
		Time: a.now, Detector: d.Name(), Technique: a.tech, Host: h, Peers: []Host{d.net.peer(a.to.Addr())}, PeerCount: 1,
		Score: a.score, Confidence: a.conf, First: a.first, Last: a.now,
		Title:   Text{EN: fmt.Sprintf(a.title.EN, h.label()), JA: fmt.Sprintf(a.title.JA, h.label())},
		Explain: Text{EN: fmt.Sprintf(a.explain.EN, h.label()), JA: fmt.Sprintf(a.explain.JA, h.label())},
	})
}

// weigh turns a sum of evidence into a probability and a band.
func weigh(sum float64) (float64, Confidence) {
	p := 1 / (1 + math.Exp(-sum))
	switch {
	case p >= evenOdds:
		return p, Medium
	case p >= someDoubt:
		return p, Low
	}
	return p, ""
}
