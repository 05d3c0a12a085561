package detect

import (
	"fmt"
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// arpScan runs the test of trw.go on ARP questions: a host asks for addresses
// that it has a reason to call, and those mostly live. Time plays no part in
// the decision, so a scan of one address a minute is found as well.
//
// Limits. Routers ask for whatever the outside calls (the storms on cable
// networks): a device known to forward, one that asks with several addresses
// of its own, or from outside the LAN, is not judged. Smart speakers and
// network tools sweep a segment without being infected, so ARP alone is never
// more than medium; what the host does next decides.
type arpScan struct {
	net *network
	tab *table[flow.MAC, asking]
	out []Finding
}

type asking struct {
	from   netip.Addr
	many   bool // asks with several addresses of its own
	asked  peerSet
	dead   peerSet
	w      walk
	first  time.Time
	nearby int // questions for the address next to the one before
	last   netip.Addr
	told   told
	air    haste
}

// A laptop that comes from another network asks for what it knew there: its
// gateway, servers, printers, a handful. arpMedium is above any such handful.
const (
	arpLow    = 8
	arpMedium = 16
)

func newARPScan(n *network) *arpScan {
	return &arpScan{net: n, tab: newTable[flow.MAC, asking](n.MaxHosts, sweepBudget)}
}

func (d *arpScan) Name() string      { return "arp_scan" }
func (d *arpScan) reads() kinds      { return onARP }
func (d *arpScan) size() int         { return d.tab.size() + d.net.asks.size() }
func (d *arpScan) evictions() uint64 { return d.tab.evicted + d.net.asks.evictions() }

func (d *arpScan) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	if e, ok := ev.(*flow.ARP); ok {
		d.begun(e)
	}
	for _, a := range d.net.asked {
		d.ask(a)
	}
	return d.out
}

// begun counts questions for addresses at which nobody was ever heard, side by
// side, before the time for their answers is over: see haste.
func (d *arpScan) begun(e *flow.ARP) {
	if !d.net.asks.question(e) || d.net.router(e.SrcMAC) || d.net.asks.heard.peek(e.TargetIP) != nil {
		return
	}
	if _, known := d.net.byAddr(e.TargetIP); known {
		return
	}
	s := d.tab.get(e.SenderMAC)
	if s.from.IsValid() && s.from != e.SenderIP || s.many || !s.air.begin(e.TargetIP, e.Time) || !s.air.inRow() || !s.told.more(hasteMost, Low) {
		return
	}
	s.from = e.SenderIP
	if s.first.IsZero() {
		s.first = s.air.at[0]
	}
	h := d.net.host(e.SenderMAC, e.SenderIP)
	tEN, tJA := span(e.Time.Sub(s.air.at[0]))
	d.out = append(d.out, Finding{
		Time: e.Time, Detector: d.Name(), Technique: "T1018", Host: h, Peers: d.net.peers(s.air.targets[:s.air.n]), PeerCount: s.air.n,
		Score: 0.5, Confidence: Low, First: s.air.at[0], Last: e.Time,
		Title: Text{
			EN: fmt.Sprintf("%s is asking for many addresses at once", h.label()),
			JA: fmt.Sprintf("%s が多くのアドレスを一度に問い合わせています", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s asked for %d addresses within %s side by side by ARP, at which nobody was ever heard.", h.label(), s.air.n, tEN),
			JA: fmt.Sprintf("%s が %s の間に、機器が確認されていない、隣り合う %d 個のアドレスを ARP で問い合わせました。", h.label(), tJA, s.air.n),
		},
	})
}

func (d *arpScan) ask(a ask) {
	s := d.tab.get(a.mac)
	if s.from.IsValid() && s.from != a.from && s.asked.len() > 0 {
		s.many = true
	}
	s.from = a.from
	if !s.asked.add(a.target) {
		return
	}
	d.tab.grow(a.mac, 1)
	if s.first.IsZero() {
		s.first = a.at
	}
	if s.last.IsValid() && (s.last.Next() == a.target || a.target.Next() == s.last) {
		s.nearby++
	}
	s.last = a.target
	s.w.step(a.known)
	if a.known {
		return
	}
	s.dead.add(a.target)
	d.tab.grow(a.mac, 1)
	if a.router || s.many || !s.w.decided() || s.dead.len() < arpLow {
		return
	}
	conf := Low
	if s.dead.len() >= arpMedium {
		conf = Medium
	}
	if s.told.more(s.dead.len(), conf) {
		d.out = append(d.out, d.finding(a, s, conf))
	}
}

func (d *arpScan) finding(a ask, s *asking, conf Confidence) Finding {
	h := d.net.host(a.mac, a.from)
	nEN, nJA := count(s.asked.len(), s.asked.full)
	tEN, tJA := span(a.at.Sub(s.first))
	f := Finding{
		Time: a.done, Detector: d.Name(), Technique: "T1018", Host: h,
		Peers: d.net.peers(s.dead.first), PeerCount: s.asked.len(),
		Score: s.w.score(), Confidence: conf, First: s.first, Last: a.at,
		Title: Text{
			EN: fmt.Sprintf("%s is asking for every address of the office", h.label()),
			JA: fmt.Sprintf("%s が社内のアドレスを次々に問い合わせています", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s asked for %s different addresses within %s by ARP; nobody was ever heard at %d of them.", h.label(), nEN, tEN, s.dead.len()),
			JA: fmt.Sprintf("%s が %s の間に、%s 個の異なるアドレスを ARP で問い合わせました。うち %d 個には機器が確認されていません。", h.label(), tJA, nJA, s.dead.len()),
		},
	}
	if 2*s.nearby > s.asked.len() {
		f.Explain.EN += " They were asked for one after the other."
		f.Explain.JA += "アドレスの順に問い合わせています。"
	}
	return f
}
