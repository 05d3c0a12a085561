package detect

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sekisho/firmware/flow"
)

// hostScan runs the test of trw.go per source and service: first contacts with
// different hosts on one port. Splitting by port is ours: peer-to-peer
// programs fail often too, but on a port of each peer's own choice.
//
// Limits. Towards the internet only services that office hosts do not use
// there count: when the line is down, every web contact of every host fails.
// A router relays the contacts of others and is never more than low; a source
// outside the LAN cannot be isolated and is always low. UDP needs no answer,
// so its silence is weak. A scan of living hosts with the service open leaves
// no failures and is not seen here.
type hostScan struct {
	net     *network
	ping    *echoes
	unasked *strangers
	tab     *table[serviceKey, sweep]
	out     []Finding
}

type serviceKey struct {
	src   source
	proto uint8
	port  uint16
}

type sweep struct {
	peers, dead peerSet
	hits        int
	air         haste
	w           walk
	first       time.Time
	told        told
	recent      [pingBurst]time.Time // of the last new peers, ring by peers.len
}

// An ordinary host pings its router and now and then a neighbour. Were it one
// new neighbour in 10 s, far above that, ten within 10 s would be a Poisson
// tail of 1e-7: such a sweep is reported though everybody answers.
const (
	pingBurst  = 10
	pingWindow = 10 * time.Second
)

// Bounds: what all sources together may remember, about 64 bytes each.
const sweepBudget = 1 << 18

// firstSay is the least number of failed first contacts. ln 99 / ln 4 says
// four; one more keeps four dead shortcuts on a desktop quiet, and is the
// "about five" that the paper observes.
const firstSay = 5

// sureAfter failures in a row leave a posterior below 0.2 % for "ordinary".
const sureAfter = 8

// sureAnywhere: by services that no worm enters by, programs call neighbours of
// whom the internet told them (Delivery Optimization of Windows, tcp/7680), and
// whose owners sleep or have a firewall. More than the office that the bands
// are made for has devices is no such thing.
const sureAnywhere = 50

func newHostScan(n *network, p *places) *hostScan {
	return &hostScan{net: n, ping: newEchoes(n), unasked: newStrangers(n, p), tab: newTable[serviceKey, sweep](4*n.MaxHosts, sweepBudget)}
}

func (d *hostScan) Name() string { return "host_scan" }
func (d *hostScan) size() int {
	return d.tab.size() + d.ping.pending.size() + d.unasked.tab.size()
}
func (d *hostScan) evictions() uint64 {
	return d.tab.evicted + d.ping.pending.evicted + d.unasked.tab.evicted
}

func (d *hostScan) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	if e, ok := ev.(*flow.Conn); ok {
		d.strange(e)
	}
	if d.net.isContact {
		d.contact(d.net.contact)
		return d.out
	}
	d.begun(ev)
	for _, c := range d.ping.observe(ev) {
		d.contact(c)
	}
	return d.out
}

func (d *hostScan) contact(c contact) {
	if d.elsewhere(c) {
		return
	}
	k := serviceKey{c.src, c.proto, c.port}
	s := d.tab.get(k)
	if c.proto == protoTCP && c.ok {
		s.air.end(c.to)
	}
	if !s.peers.add(c.to) {
		s.revise(c)
		return
	}
	d.tab.grow(k, 1)
	if s.first.IsZero() {
		s.first = c.start
	}
	s.w.step(c.ok)
	oldest := s.recent[s.peers.len()%pingBurst]
	s.recent[s.peers.len()%pingBurst] = c.at
	burst := c.proto == protoICMP && s.peers.len() > pingBurst && c.at.Sub(oldest) <= pingWindow
	if c.ok {
		s.hits++
	} else {
		s.dead.add(c.to)
		d.tab.grow(k, 1)
	}
	failing := !c.ok && s.w.decided() && s.dead.len() >= firstSay
	if !burst && !failing {
		return
	}
	conf := d.confidence(c, s)
	if s.told.more(s.peers.len(), conf) {
		d.out = append(d.out, d.finding(c, s, conf))
	}
}

// revise takes back a failure whose retry was answered.
func (s *sweep) revise(c contact) {
	if _, failed := s.dead.seen[c.to]; !failed || !c.ok {
		return
	}
	delete(s.dead.seen, c.to)
	s.dead.first = slices.DeleteFunc(s.dead.first, func(a netip.Addr) bool { return a == c.to })
	s.hits++
	s.w += walk(stepHit - stepFail)
}

func (d *hostScan) confidence(c contact, s *sweep) Confidence {
	conf := Medium
	sure := sureAfter
	if !remoteControl(c.port) {
		sure = sureAnywhere
	}
	if s.dead.len() >= sure && s.dead.len() >= 3*s.hits {
		conf = High
	}
	switch {
	case !d.net.onLAN(c.from), d.net.router(c.src.mac):
		return Low
	case c.proto == protoUDP && s.dead.len() < 2*sureAfter:
		return Low
	case c.proto != protoTCP, d.net.lineDoubt(c):
		return atMost(conf, Medium) // monitoring and printer discovery ping and query whole networks; or the line is down
	}
	return conf
}

func (d *hostScan) finding(c contact, s *sweep, conf Confidence) Finding {
	h := d.net.host(c.src.mac, c.from)
	svc := service(c.proto, c.port)
	peers, score := s.dead.first, s.w.score()
	if !s.w.decided() { // a burst of pings
		peers, score = s.peers.first, 0.9
	}
	return Finding{
		Time: c.at, Detector: d.Name(), Technique: sweepTechnique(c.proto), Host: h,
		Peers: d.net.peers(peers), PeerCount: s.peers.len(),
		Score: score, Confidence: conf, First: s.first, Last: c.at,
		Title: Text{
			EN: fmt.Sprintf("%s is looking for other devices", h.label()),
			JA: fmt.Sprintf("%s がほかの機器を探し回っています", h.label()),
		},
		Explain: s.explain(h, c, svc),
	}
}

func (s *sweep) explain(h Host, c contact, svc string) Text {
	nEN, nJA := count(s.peers.len(), s.peers.full)
	tEN, tJA := span(c.at.Sub(s.first))
	t := Text{
		EN: fmt.Sprintf("%s tried to reach %s different devices by %s within %s;", h.label(), nEN, svc, tEN),
		JA: fmt.Sprintf("%s が %s の間に、%s で %s 台の異なる機器へ接続を試み", h.label(), tJA, svc, nJA),
	}
	switch dead := s.dead.len(); {
	case dead == 0:
		t.EN += " all of them answered."
		t.JA += "、すべてから応答がありました。"
	case c.proto == protoICMP:
		t.EN += fmt.Sprintf(" %d of them did not answer.", dead)
		t.JA += fmt.Sprintf("、うち %d 台からは応答がありませんでした。", dead)
	default:
		t.EN += fmt.Sprintf(" %d of them did not accept.", dead)
		t.JA += fmt.Sprintf("、%d 台に受け付けられませんでした。", dead)
	}
	t.EN += " An ordinary device knows whom it calls."
	t.JA += "通常の機器は、接続先をあらかじめ知っています。"
	return t
}
