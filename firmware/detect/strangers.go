package detect

import (
	"fmt"
	"net/netip"

	"sekisho/firmware/flow"
)

// strangers counts calls into the internet, on whatever port, to addresses
// that no name led to and that do not answer. Programs call by name: Whyte,
// Kranakis and van Oorschot, "DNS-based Detection of Scanning Worms in an
// Enterprise Network" (NDSS 2005), found that a host which calls addresses it
// never asked for is scanning. An infected device that changes port with every
// call is seen by nothing else.
//
// Limits. Peer-to-peer programs and devices with built-in addresses do so too,
// and a capture does not show what was asked before it began: never more than
// low.
type strangers struct {
	net    *network
	places *places
	tab    *table[source, calls]
}

type calls struct {
	air  haste
	told bool
}

func newStrangers(n *network, p *places) *strangers {
	return &strangers{net: n, places: p, tab: newTable[source, calls](n.MaxHosts, 0)}
}

// outward says that a connection leaves the office for an ordinary address.
func (s *strangers) outward(e *flow.Conn) bool {
	to := e.Server.Addr()
	return !e.Multicast && !e.MidStream && !e.Out && s.net.onLAN(e.Client.Addr()) && !s.net.onLAN(to) && to.IsGlobalUnicast() && !to.IsPrivate() &&
		!s.net.own(e.ClientMAC, e.Client.Addr())
}

// observe returns the addresses in the air when there are enough to be told.
func (s *strangers) observe(e *flow.Conn) []netip.Addr {
	if e.State != flow.ConnAttempt && e.State != flow.ConnEstablished || !s.outward(e) {
		return nil
	}
	src, to := s.net.source(e.ClientMAC, e.Client.Addr()), e.Server.Addr()
	if e.State == flow.ConnEstablished {
		if c := s.tab.peek(src); c != nil {
			c.air.end(to)
		}
		return nil
	}
	switch e.Server.Port() {
	case 53, 123, 853, 3478, 5353: // resolvers, clocks and STUN are built in
		return nil
	case 80, 443: // what a browser remembers, when the line is down
		return nil
	}
	if s.places.name(to) != "" || s.net.router(src.mac) {
		return nil
	}
	c := s.tab.get(src)
	if !c.air.begin(to, e.Time) || c.told {
		return nil
	}
	c.told = true
	return c.air.targets[:c.air.n]
}

// strange tells of a device that calls strangers.
func (d *hostScan) strange(e *flow.Conn) {
	targets := d.unasked.observe(e)
	if targets == nil {
		return
	}
	h := d.net.host(e.ClientMAC, e.Client.Addr())
	first := d.unasked.tab.peek(d.net.source(e.ClientMAC, e.Client.Addr())).air.at[0]
	tEN, tJA := span(e.Time.Sub(first))
	d.out = append(d.out, Finding{
		Time: e.Time, Detector: d.Name(), Technique: "T1595.001", Host: h, Peers: d.net.peers(targets), PeerCount: len(targets),
		Score: 0.5, Confidence: Low, First: first, Last: e.Time,
		Title: Text{
			EN: fmt.Sprintf("%s is calling addresses in the internet at random", h.label()),
			JA: fmt.Sprintf("%s がインターネット上のアドレスを手当たり次第に呼び出しています", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s called %d addresses in the internet within %s; no name led to them, and none has answered.", h.label(), len(targets), tEN),
			JA: fmt.Sprintf("%s が %s の間に、名前の問い合わせなしで、インターネット上の %d 個のアドレスを呼び出しました。応答はまだありません。", h.label(), tJA, len(targets)),
		},
	})
}
