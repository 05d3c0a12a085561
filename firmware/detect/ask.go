package detect

import (
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// ask is an ARP question whose time to be answered is over.
type ask struct {
	mac    flow.MAC
	from   netip.Addr
	target netip.Addr
	known  bool // the target has spoken, before or since
	router bool
	at     time.Time // when it was asked
	done   time.Time // when it was given up
}

// asks follows ARP questions until they are answered or not. Answers are sent
// to one host and a sensor need not see them, so "alive" is whoever was ever
// heard: as ARP sender here, or in any traffic by the inventory.
type asks struct {
	net     *network
	heard   *table[netip.Addr, struct{}]
	pending *table[askKey, time.Time]
	queue   queue[ask]
	out     []ask
}

type askKey struct {
	mac    flow.MAC
	target netip.Addr
}

// answerWait: a living host answers ARP within milliseconds; whoever asks
// repeats the question after 1 s (RFC 1122, 2.3.2.1; arp(7), retrans_time).
const answerWait = time.Second

const maxAsks = 16384

func newAsks(n *network) *asks {
	return &asks{net: n, heard: newTable[netip.Addr, struct{}](65536, 0), pending: newTable[askKey, time.Time](maxAsks, 0)}
}

func (a *asks) size() int         { return a.heard.size() + a.pending.size() }
func (a *asks) evictions() uint64 { return a.heard.evicted + a.pending.evicted }

func (a *asks) observe(ev flow.Event) []ask {
	a.out = a.out[:0]
	if e, ok := ev.(*flow.ARP); ok {
		a.arp(e)
	}
	if a.queue.len() > 0 {
		a.expire(ev.Head().Time)
	}
	return a.out
}

func (a *asks) arp(e *flow.ARP) {
	if e.SenderIP.IsValid() && !e.SenderIP.IsUnspecified() {
		a.heard.get(e.SenderIP)
	}
	if !a.question(e) {
		return
	}
	k := askKey{e.SenderMAC, e.TargetIP}
	if a.pending.peek(k) != nil || a.queue.len() >= maxAsks {
		return
	}
	*a.pending.get(k) = e.Time
	a.queue.push(ask{mac: e.SenderMAC, from: e.SenderIP, target: e.TargetIP, at: e.Time})
}

// question says that a device of the office looks for another one. A probe or
// an announcement asks for the sender's own address (RFC 5227).
func (a *asks) question(e *flow.ARP) bool {
	own := !e.SenderIP.IsValid() || e.SenderIP.IsUnspecified() || e.SenderIP == e.TargetIP
	return e.Op == 1 && !own && !e.Out && !a.net.own(e.SenderMAC, e.SenderIP) && a.net.onLAN(e.SenderIP)
}

func (a *asks) expire(now time.Time) {
	for a.queue.len() > 0 && now.Sub(a.queue.front().at) >= answerWait {
		q := a.queue.pop()
		a.pending.remove(askKey{q.mac, q.target})
		_, known := a.net.byAddr(q.target)
		q.known = known || a.heard.peek(q.target) != nil
		q.router, q.done = a.net.router(q.mac), now
		a.out = append(a.out, q)
	}
}
