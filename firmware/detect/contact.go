package detect

import (
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// contact is the outcome of one attempt to reach a service, or to ping a host.
type contact struct {
	src     source
	mac     flow.MAC
	from    netip.Addr
	to      netip.Addr
	port    uint16 // 0 for ICMP echo
	proto   uint8  // 6, 17, or 1 for echo
	ok      bool   // answered
	refused bool   // the host is alive, the service is not
	probe   bool   // a segment that no TCP sends first
	at      time.Time
	start   time.Time
}

const (
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17
)

// contactOf reads an outcome from a connection's change of state. Group
// destinations, connections whose opening was not seen, and the gateway's own
// are none.
func (n *network) contactOf(ev flow.Event) (contact, bool) {
	c, isConn := ev.(*flow.Conn)
	if !isConn || c.Multicast || c.MidStream || c.Out && c.State == flow.ConnAttempt {
		return contact{}, false
	}
	switch {
	case c.State == flow.ConnRefused, c.State == flow.ConnUnanswered:
	case c.State == flow.ConnEstablished:
	default:
		return contact{}, false
	}
	to := c.Server.Addr()
	if n.own(c.ClientMAC, c.Client.Addr()) || to.IsMulticast() || to.IsUnspecified() {
		return contact{}, false
	}
	return contact{
		src: n.source(c.ClientMAC, c.Client.Addr()), mac: c.ClientMAC, from: c.Client.Addr(),
		to: to, port: c.Server.Port(), proto: c.Proto,
		ok: c.State == flow.ConnEstablished, refused: c.State == flow.ConnRefused, probe: c.Probe,
		at: c.Time, start: c.Start,
	}, true
}

// echoes turns ICMP echo requests and replies into contacts. A request that
// is not answered within pingWait has failed.
type echoes struct {
	net     *network
	pending *table[echoKey, echo]
	queue   queue[echoKey] // in order of time
	out     []contact
}

type echoKey struct{ from, to netip.Addr }

type echo struct {
	mac flow.MAC
	at  time.Time
}

// pingWait: only hosts of the office are judged, a round trip there takes
// milliseconds, and sweeping tools wait about as long (nmap: 1 s at most).
const pingWait = time.Second

func newEchoes(n *network) *echoes {
	return &echoes{net: n, pending: newTable[echoKey, echo](16384, 0)}
}

func (p *echoes) observe(ev flow.Event) []contact {
	p.out = p.out[:0]
	if e, ok := ev.(*flow.ICMP); ok {
		request, reply := uint8(8), uint8(0)
		if e.V6 {
			request, reply = 128, 129
		}
		switch e.Type {
		case request:
			p.ask(e)
		case reply:
			p.answer(e)
		}
	}
	if p.queue.len() > 0 {
		p.expire(ev.Head().Time)
	}
	return p.out
}

func (p *echoes) ask(e *flow.ICMP) {
	if e.Dst.IsMulticast() || e.DstMAC.IsGroup() || e.Out || p.net.own(e.SrcMAC, e.Src) {
		return
	}
	k := echoKey{e.Src, e.Dst}
	if p.pending.peek(k) != nil {
		return
	}
	*p.pending.get(k) = echo{mac: e.SrcMAC, at: e.Time}
	if p.queue.len() >= 2*p.pending.max {
		p.queue.pop() // long answered or evicted: pending holds the newest
	}
	p.queue.push(k)
}

func (p *echoes) answer(e *flow.ICMP) {
	k := echoKey{e.Dst, e.Src}
	if q := p.pending.peek(k); q != nil {
		p.out = append(p.out, p.contact(k, *q, true, e.Time))
		p.pending.remove(k)
	}
}

func (p *echoes) expire(now time.Time) {
	for p.queue.len() > 0 {
		k := p.queue.front()
		q := p.pending.peek(k)
		if q != nil && now.Sub(q.at) < pingWait {
			return
		}
		p.queue.pop()
		if q != nil {
			p.out = append(p.out, p.contact(k, *q, false, now))
			p.pending.remove(k)
		}
	}
}

func (p *echoes) contact(k echoKey, q echo, ok bool, now time.Time) contact {
	return contact{src: p.net.source(q.mac, k.from), mac: q.mac, from: k.from, to: k.to,
		proto: protoICMP, ok: ok, at: now, start: q.at}
}

// peerSet holds distinct addresses in order of arrival, up to a bound.
type peerSet struct {
	seen  map[netip.Addr]struct{}
	first []netip.Addr // the first maxPeers, for the finding
	full  bool
}

const (
	maxPeers    = 16   // listed in a finding
	maxDistinct = 4096 // counted; the text says "at least" beyond
)

// add reports whether a is new. Beyond the bound nothing is.
func (s *peerSet) add(a netip.Addr) bool {
	if _, ok := s.seen[a]; ok {
		return false
	}
	if len(s.seen) >= maxDistinct {
		s.full = true
		return false
	}
	if s.seen == nil {
		s.seen = make(map[netip.Addr]struct{}, 4)
	}
	s.seen[a] = struct{}{}
	if len(s.first) < maxPeers {
		s.first = append(s.first, a)
	}
	return true
}

func (s *peerSet) len() int { return len(s.seen) }
