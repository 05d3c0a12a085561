package detect

import (
	"fmt"
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// haste counts first contacts that are in the air: begun, and not answered. A scanner is found by its failures, but a failure takes seconds
// to be one, and a fast scanner has called hundreds by then. Weaver, Staniford
// and Paxson (USENIX Security 2004, section 4) therefore count a contact as a
// miss when it begins, and take that back when the answer comes; Schechter,
// Jung and Berger ("Fast Detection of Scanning Worm Infections", RAID 2004)
// found that without it a worm is through the network before its first
// time-out. What is in the air proves nothing yet, so this is never more than
// low: a sign, which the outcome confirms or not.
type haste struct {
	targets [hasteMost]netip.Addr
	at      [hasteMost]time.Time
	n       int
}

// hasteMost is the number of distinct hosts in the air that is told: as many as
// the sequential test of trw.go needs failures (ln 99 / ln 4). An attempt that
// is not answered counts until the worm counter would forget it, so that a
// scanner that waits a second between two hosts is seen as well.
const (
	hasteMost   = 4
	hasteWindow = leakEvery
	hasteSpan   = 8 // ARP: as many addresses side by side hold those asked for
)

// begin notes an attempt, and says whether hasteMost are in the air now.
func (h *haste) begin(to netip.Addr, t time.Time) bool {
	kept := 0
	for i := range h.n {
		if h.targets[i] != to && t.Sub(h.at[i]) <= hasteWindow {
			h.targets[kept], h.at[kept] = h.targets[i], h.at[i]
			kept++
		}
	}
	if kept == hasteMost { // said already: the oldest makes room
		copy(h.targets[:], h.targets[1:])
		copy(h.at[:], h.at[1:])
		kept--
	}
	h.targets[kept], h.at[kept] = to, t
	h.n = kept + 1
	return h.n == hasteMost
}

// inRow says that the addresses in the air stand side by side, but for a few
// that are known, as scanners ask for them and nobody else does.
func (h *haste) inRow() bool {
	low, high := h.targets[0], h.targets[0]
	for _, a := range h.targets[1:h.n] {
		if a.Less(low) {
			low = a
		}
		if high.Less(a) {
			high = a
		}
	}
	for range hasteSpan {
		if low == high {
			return true
		}
		low = low.Next()
	}
	return false
}

// end takes back an attempt that was answered.
func (h *haste) end(to netip.Addr) {
	for i := range h.n {
		if h.targets[i] == to {
			copy(h.targets[i:], h.targets[i+1:h.n])
			copy(h.at[i:], h.at[i+1:h.n])
			h.n--
			return
		}
	}
}

// begun looks at attempts before anything is known of them. Pings count until
// they are old, answered or not, when nobody was heard at their target before:
// whoever pings many such at once is looking for them.
func (d *hostScan) begun(ev flow.Event) {
	switch e := ev.(type) {
	case *flow.Conn:
		if e.State != flow.ConnAttempt || e.Proto != protoTCP || e.Multicast || e.Out || d.net.own(e.ClientMAC, e.Client.Addr()) || !e.Server.Addr().IsValid() {
			return
		}
		d.hasty(contact{
			src: d.net.source(e.ClientMAC, e.Client.Addr()), mac: e.ClientMAC, from: e.Client.Addr(), to: e.Server.Addr(),
			port: e.Server.Port(), proto: protoTCP, at: e.Time, start: e.Start,
		})
	case *flow.ICMP:
		if request := e.Type == 8 && !e.V6 || e.Type == 128 && e.V6; !request || e.Dst.IsMulticast() || e.DstMAC.IsGroup() || e.Out || d.net.own(e.SrcMAC, e.Src) {
			return
		}
		if _, known := d.net.byAddr(e.Dst); known || d.net.asks.heard.peek(e.Dst) != nil {
			return // monitoring
		}
		d.hasty(contact{src: d.net.source(e.SrcMAC, e.Src), mac: e.SrcMAC, from: e.Src, to: e.Dst, proto: protoICMP, at: e.Time, start: e.Time})
	}
}

func (d *hostScan) hasty(c contact) {
	if d.elsewhere(c) {
		return
	}
	k := serviceKey{c.src, c.proto, c.port}
	s := d.tab.get(k)
	if _, met := s.peers.seen[c.to]; met || !s.air.begin(c.to, c.at) || !s.told.more(hasteMost, Low) {
		return
	}
	h, svc := d.net.host(c.src.mac, c.from), service(c.proto, c.port)
	first := s.air.at[0]
	tEN, tJA := span(c.at.Sub(first))
	d.out = append(d.out, Finding{
		Time: c.at, Detector: d.Name(), Technique: sweepTechnique(c.proto), Host: h,
		Peers: d.net.peers(s.air.targets[:s.air.n]), PeerCount: s.air.n,
		Score: 0.5, Confidence: Low, First: first, Last: c.at,
		Title: Text{
			EN: fmt.Sprintf("%s is calling many devices at once", h.label()),
			JA: fmt.Sprintf("%s が多くの機器を一度に呼び出しています", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s called %d devices that it had not called before, by %s within %s, without waiting for an answer.", h.label(), s.air.n, svc, tEN),
			JA: fmt.Sprintf("%s が %s の間に、これまで通信のなかった %d 台の機器を、応答を待たずに %s で呼び出しました。", h.label(), tJA, s.air.n, svc),
		},
	})
}

// elsewhere says that a contact is none of this detector's: towards the
// internet only services count that office hosts do not use there.
func (d *hostScan) elsewhere(c contact) bool {
	return d.net.onLAN(c.from) && !d.net.onLAN(c.to) && !(c.proto == protoTCP && remoteControl(c.port))
}

// sweepTechnique is what looking for hosts is called (MITRE ATT&CK).
func sweepTechnique(proto uint8) string {
	if proto == protoICMP {
		return "T1018"
	}
	return "T1046"
}
