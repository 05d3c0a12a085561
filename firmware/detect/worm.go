package detect

import (
	"fmt"
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// worm is the containment counter of Weaver, Staniford and Paxson, "Very Fast
// Containment of Scanning Worms", USENIX Security 2004, section 4: per source,
// first contacts that miss count up, hits count down, and a host above the
// threshold is to be blocked. Three things are ours:
//
//   - one counter per service, over services that worms enter by: sharing one
//     such port is what lets the threshold be 5 instead of the paper's 10;
//   - a miss is forgotten each minute, so that a few dead shortcuts, retried
//     over the day, never add up;
//   - a first contact counts as a miss when it is tried, and is taken back when
//     it is answered, as in the paper's section 4.2: but only for services
//     that no office calls in the internet (neverOutside). For the others, and
//     inside, a burst of good calls may be on its way: their miss counts when
//     it is known;
//   - on the office's own segment a dead address shows as an ARP question
//     without answer, never as a SYN: those count for the service that the
//     same host contacts in the same minutes, once two contacts named it.
//
// Limits. A worm that only hits (it was given a list) leaves no misses. A
// vulnerability scanner of the vendor looks the same; it is to be marked as
// protected. While nothing answers from the internet, misses there are medium at
// most, but for services that no office calls there: the line may be down. A
// router is never reported: it relays for others.
type worm struct {
	net *network
	tab *table[source, outbreak]
	out []Finding
}

type outbreak struct {
	services map[uint16]*spread
	silent   peerSet // ARP targets that never answered
	arp      leak
	asked    time.Time
	marked   peerSet // called with Mirai's mark
	mark     told
}

type spread struct {
	peers peerSet
	dead  map[netip.Addr]struct{} // of peers: missed so far
	leak  leak
	hits  int
	miss  int
	first time.Time
	doubt bool // the last miss may be the line's fault
	told  told
}

// leak is a counter that loses one each minute.
type leak struct {
	n    int
	last time.Time
}

func (l *leak) add(by int, t time.Time) {
	if m := int(t.Sub(l.last) / leakEvery); m > 0 && !l.last.IsZero() {
		l.n = max(0, l.n-m)
		l.last = l.last.Add(time.Duration(m) * leakEvery)
	}
	if l.last.IsZero() || l.n == 0 || t.Before(l.last) { // or the clock was set back, and nothing would be forgotten
		l.last = t
	}
	l.n = max(wormFloor, l.n+by)
}

const (
	leakEvery     = time.Minute
	wormThreshold = 5
	// The paper's Cmin keeps a busy server from saving up hits; a client of
	// this product saves two at most.
	wormFloor = -2
)

// remoteControl names TCP services by which hosts are taken over, from the
// worms that used them: Conficker and WannaCry (139, 445), Blaster (135), SQL
// Slammer's kin (1433), Mirai and heirs (22, 23, 2323, 5555, 7547, 37215,
// 52869, 9527), Morto (3389), VNC and database guessing (5900, 3306, 5432,
// 6379), MikroTik's Meris (8291), WinRM (5985).
func remoteControl(port uint16) bool {
	switch port {
	case 22, 23, 135, 139, 445, 1433, 2323, 3306, 3389, 5432, 5555, 5900, 5985, 6379, 7547, 8291, 9527, 37215, 52869:
		return true
	}
	return false
}

// neverOutside names services that an office does not call in the internet:
// SMB and RPC, which providers filter, and the ports of Mirai and its heirs.
func neverOutside(port uint16) bool {
	switch port {
	case 23, 135, 139, 445, 2323, 5555, 7547, 9527, 37215, 52869:
		return true
	}
	return false
}

func newWorm(n *network) *worm {
	return &worm{net: n, tab: newTable[source, outbreak](n.MaxHosts, sweepBudget)}
}

func (d *worm) Name() string      { return "worm" }
func (d *worm) reads() kinds      { return onConn }
func (d *worm) size() int         { return d.tab.size() }
func (d *worm) evictions() uint64 { return d.tab.evicted }

func (d *worm) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	if c, ok := ev.(*flow.Conn); ok && c.State == flow.ConnAttempt {
		if c.SeqIsServer {
			d.marked(c)
		}
		d.attempt(c)
		return d.out
	}
	for _, a := range d.net.asked {
		if !a.known && !a.router {
			d.silent(a)
		}
	}
	c, ok := d.net.contact, d.net.isContact
	if ok && c.proto == protoTCP && remoteControl(c.port) && d.net.onLAN(c.from) && !d.net.router(c.src.mac) {
		d.contact(c)
	}
	return d.out
}

// attempt counts a call to the internet before its outcome is known.
func (d *worm) attempt(e *flow.Conn) {
	to := e.Server.Addr()
	if e.Proto != protoTCP || !neverOutside(e.Server.Port()) || e.Multicast || e.MidStream || e.Out || d.net.onLAN(to) || !d.net.onLAN(e.Client.Addr()) {
		return
	}
	src := d.net.source(e.ClientMAC, e.Client.Addr())
	if d.net.own(e.ClientMAC, e.Client.Addr()) || d.net.router(src.mac) || to.IsUnspecified() {
		return
	}
	d.contact(contact{src: src, mac: e.ClientMAC, from: e.Client.Addr(), to: to, port: e.Server.Port(), proto: protoTCP, at: e.Time, start: e.Start})
}

func (d *worm) contact(c contact) {
	o := d.tab.get(c.src)
	if o.services == nil {
		o.services = make(map[uint16]*spread, 1) // at most as many as remoteControl names
	}
	s := o.services[c.port]
	if s == nil {
		s = &spread{first: c.start}
		o.services[c.port] = s
	}
	if !s.peers.add(c.to) {
		if _, missed := s.dead[c.to]; missed && c.ok { // the retry was answered
			delete(s.dead, c.to)
			s.miss--
			s.hits++
			s.leak.add(-2, c.at)
		}
		return
	}
	d.tab.grow(c.src, 2)
	if c.ok {
		s.hits++
		s.leak.add(-1, c.at)
		return
	}
	if s.dead == nil {
		s.dead = make(map[netip.Addr]struct{}, 4)
	}
	s.dead[c.to] = struct{}{}
	s.miss++
	s.leak.add(1, c.at)
	s.doubt = d.net.lineDoubt(c)
	d.judge(c.src, o, s, c.port, c.from, c.at)
}

// silent counts an ARP question that nobody answered.
func (d *worm) silent(a ask) {
	k := source{mac: a.mac}
	o := d.tab.get(k)
	if !o.silent.add(a.target) {
		return
	}
	d.tab.grow(k, 1)
	o.arp.add(1, a.at)
	o.asked = a.at
	var port uint16
	for p := range o.services {
		if o.services[p].peers.len() > 0 && (port == 0 || o.services[p].peers.len() > o.services[port].peers.len() ||
			o.services[p].peers.len() == o.services[port].peers.len() && p < port) {
			port = p
		}
	}
	if port != 0 {
		d.judge(k, o, o.services[port], port, a.from, a.done)
	}
}

func (d *worm) judge(k source, o *outbreak, s *spread, port uint16, from netip.Addr, at time.Time) {
	n, misses := s.leak.n, s.miss
	if s.peers.len() >= 2 && at.Sub(o.asked) < leakEvery && at.Sub(s.leak.last) < 5*leakEvery {
		o.arp.add(0, at)
		n += o.arp.n
		misses += o.silent.len()
	}
	if n < wormThreshold || misses < wormThreshold {
		return
	}
	all, conf := misses+s.hits, High
	if s.doubt {
		conf = Medium
	}
	if !s.told.more(all, conf) {
		return
	}
	f := d.finding(k, o, s, port, from, at, all, misses, n)
	f.Confidence = conf
	d.out = append(d.out, f)
}

func (d *worm) finding(k source, o *outbreak, s *spread, port uint16, from netip.Addr, at time.Time, all, misses, n int) Finding {
	h := d.net.host(k.mac, from)
	peers := s.peers.first
	if misses > s.miss {
		peers = append(peers[:len(peers):len(peers)], o.silent.first...)
		peers = peers[:min(len(peers), maxPeers)]
	}
	svc := service(protoTCP, port)
	nEN, nJA := count(all, s.peers.full || o.silent.full)
	tEN, tJA := span(at.Sub(s.first))
	return Finding{
		Time: at, Detector: d.Name(), Technique: "T1210", Host: h, Peers: d.net.peers(peers), PeerCount: all,
		Score: walk(float64(n) * stepFail).score(), Confidence: High, First: s.first, Last: at,
		Title: Text{
			EN: fmt.Sprintf("%s is spreading like a worm over %s", h.label(), svc),
			JA: fmt.Sprintf("%s が %s でワームのように広がろうとしています", h.label(), svc),
		},
		Explain: Text{
			EN: fmt.Sprintf("Within %s, %s called %s different devices, all for the same service %s; %d of them have not answered, or refused.",
				tEN, h.label(), nEN, svc, misses),
			JA: fmt.Sprintf("%s が %s の間に、同じサービス %s を求めて %s 台の異なる機器へ接続を試みました。うち %d 台は応答していないか、接続を拒否しました。",
				h.label(), tJA, svc, nJA, misses),
		},
	}
}
