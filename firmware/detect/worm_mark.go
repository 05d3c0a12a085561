package detect

import (
	"fmt"

	"sekisho/firmware/flow"
)

// sureMarks: one SYN in 2^32 has its target's address as sequence number by
// chance, an office of a million connections a day would see one in ten years.
// Two targets of one device do not come from chance.
const sureMarks = 2

// marked takes a SYN whose sequence number is the address that it calls: the
// scanner of Mirai and its heirs sends those, so that it needs no memory for
// whom it called (Antonakakis et al., "Understanding the Mirai Botnet", USENIX
// Security 2017, section 3.1).
func (d *worm) marked(e *flow.Conn) {
	from := e.Client.Addr()
	src := d.net.source(e.ClientMAC, from)
	if e.Out || e.Multicast || !d.net.onLAN(from) || d.net.own(e.ClientMAC, from) || d.net.router(src.mac) {
		return
	}
	o := d.tab.get(src)
	if !o.marked.add(e.Server.Addr()) {
		return
	}
	d.tab.grow(src, 1)
	n := o.marked.len()
	if n < sureMarks || !o.mark.more(n, High) {
		return
	}
	h, svc := d.net.host(src.mac, from), service(e.Proto, e.Server.Port())
	nEN, nJA := count(n, o.marked.full)
	d.out = append(d.out, Finding{
		Time: e.Time, Detector: d.Name(), Technique: "T1210", Host: h, Peers: d.net.peers(o.marked.first), PeerCount: n,
		Score: 0.999, Confidence: High, First: e.Time, Last: e.Time,
		Title: Text{
			EN: fmt.Sprintf("%s is spreading like a worm over %s", h.label(), svc),
			JA: fmt.Sprintf("%s が %s でワームのように広がろうとしています", h.label(), svc),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s called %s devices, the last by %s, with a mark that only the worm Mirai and its relatives send.", h.label(), nEN, svc),
			JA: fmt.Sprintf("%s が %s 台の機器へ接続を試みました（最後は %s）。ワーム Mirai とその亜種だけが送る印が付いています。", h.label(), nJA, svc),
		},
	})
}
