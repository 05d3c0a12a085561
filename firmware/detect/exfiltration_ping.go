package detect

import (
	"fmt"
	"math"
	"time"

	"sekisho/firmware/flow"
)

// pingChannel follows the echo messages of each pair of hosts.
type pingChannel struct {
	net *network
	tab *table[echoKey, pinging]
}

// pinging is what was seen of echoes that one host sends another.
type pinging struct {
	mac      flow.MAC
	first    time.Time
	open     [pingsOpen]pinged // requests not answered yet, ring
	next     int
	cut      int // length of the first reply that was shorter than its request
	requests int
	replies  int
	broken   int // replies whose data is not that of the request
	changes  int // requests unlike the one before, in size and in content
	lastSize int
	lastSum  uint32
	bytes    uint64 // payload of both directions
	told     told
}

type pinged struct {
	id, seq uint16
	size    int
	sum     uint32
	waiting bool
}

const (
	// Programs wait for a reply before they send again, floods keep few
	// under way; older requests than these are forgotten.
	pingsOpen = 16
	// sayBroken replies that do not return what they were sent: one may be a
	// damaged packet, or a request with the same number.
	sayBroken  = 8
	sureBroken = 64
	// fragmented: of a longer echo only the first fragment is read, and the two
	// directions may be cut at different sizes, never below the 1,280 bytes of
	// RFC 8200 section 5 less the headers.
	fragmented = 1200
	// sayChanged: size and content change with nearly every request. A person
	// who tries sizes for a path's MTU needs about 10 steps (1,500 bytes halve
	// 11 times).
	sayChanged = 32
	// sureBytes of changing data is a conversation, no diagnosis.
	sureBytes = 16 << 10
)

func newPingChannel(n *network) pingChannel {
	return pingChannel{net: n, tab: newTable[echoKey, pinging](8192, 0)}
}

func (c *pingChannel) observe(e *flow.ICMP) (Finding, bool) {
	request, reply := uint8(8), uint8(0)
	if e.V6 {
		request, reply = 128, 129
	}
	switch {
	case e.Dst.IsMulticast() || e.DstMAC.IsGroup():
	case e.Type == request && !c.net.own(e.SrcMAC, e.Src):
		return c.ask(e)
	case e.Type == reply:
		return c.answer(e)
	}
	return Finding{}, false
}

func (c *pingChannel) ask(e *flow.ICMP) (Finding, bool) {
	k := echoKey{e.Src, e.Dst}
	p := c.tab.get(k)
	if p.first.IsZero() {
		p.first = e.Time
	}
	p.mac = e.SrcMAC
	if p.requests > 0 && e.Length != p.lastSize && e.Sum != p.lastSum {
		p.changes++
	}
	p.lastSize, p.lastSum = e.Length, e.Sum
	p.requests++
	p.bytes += uint64(e.Length)
	p.open[p.next%pingsOpen] = pinged{e.ID, e.Seq, e.Length, e.Sum, true}
	p.next++
	return c.judge(k, p, e.Time)
}

func (c *pingChannel) answer(e *flow.ICMP) (Finding, bool) {
	k := echoKey{e.Dst, e.Src}
	p := c.tab.peek(k)
	if p == nil {
		return Finding{}, false
	}
	p.replies++
	p.bytes += uint64(e.Length)
	same, known := false, false
	for i := range p.open {
		q := &p.open[i]
		if q.waiting && q.id == e.ID && q.seq == e.Seq {
			known = true
			same = same || q.sum == e.Sum && (q.size == e.Length || min(q.size, e.Length) >= fragmented) || q.size > e.Length && p.truncated(e.Length)
		}
	}
	if !known || same {
		return Finding{}, false
	}
	p.broken++
	return c.judge(k, p, e.Time)
}

// truncated says that a reply is short as all short ones before it: large
// services return the first bytes of a long ping only, always as many, so that
// nobody has them send more than a forger of addresses did.
func (p *pinging) truncated(size int) bool {
	if p.cut == 0 {
		p.cut = size
	}
	return size > 0 && p.cut == size
}

func (c *pingChannel) judge(k echoKey, p *pinging, now time.Time) (Finding, bool) {
	changing := p.changes >= sayChanged && 2*p.changes >= p.requests
	if p.broken < sayBroken && !changing {
		return Finding{}, false
	}
	conf := Medium
	inside := c.net.onLAN(k.from)
	switch {
	case !inside || c.net.router(p.mac) && c.net.source(p.mac, k.from).mac == p.mac:
		conf = Low
	case p.broken >= sureBroken && p.bytes >= sureBytes:
		conf = High
	}
	if !p.told.more(p.requests, conf) {
		return Finding{}, false
	}
	return c.finding(k, p, conf, now), true
}

func (c *pingChannel) finding(k echoKey, p *pinging, conf Confidence, now time.Time) Finding {
	h := c.net.host(c.net.source(p.mac, k.from).mac, k.from)
	tEN, tJA := span(now.Sub(p.first))
	// One in a hundred "odd" pings is a channel; each broken reply is ten
	// times as likely in one.
	score := 1 / (1 + math.Exp(4.6-min(2.3*float64(p.broken)+0.3*float64(p.changes), 12)))
	return Finding{
		Time: now, Detector: "exfiltration", Technique: "T1048.003", Host: h,
		Peers: []Host{c.net.peer(k.to)}, PeerCount: 1, Score: score, Confidence: conf, First: p.first, Last: now,
		Title: Text{
			EN: fmt.Sprintf("%s carries data inside ping", h.label()),
			JA: fmt.Sprintf("%s が ping の中でデータをやり取りしています", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("Within %s, %s sent %s to %s; %d of %d replies did not return what was sent, %d requests differed in size and content from the one before, %s went through in all. A reply to a ping must return the same data (RFC 792).",
				tEN, h.label(), plural(p.requests, "ping"), k.to, p.broken, p.replies, p.changes, bytesText(p.bytes)),
			JA: fmt.Sprintf("%s が %s の間に %s へ %d 回の ping を送りました。応答 %d 回のうち %d 回は送った内容と異なり、%d 回は直前と大きさも内容も違いました（合計 %s）。ping の応答は、送られた内容をそのまま返す決まりです（RFC 792）。",
				h.label(), tJA, k.to, p.requests, p.replies, p.broken, p.changes, bytesText(p.bytes)),
		},
	}
}

func log2(n uint64) float64 { return math.Log2(float64(max(n, 1))) }

func exp2(x float64) uint64 { return uint64(math.Exp2(min(max(x, 0), 62))) }

// bytesText writes an amount of data with two digits.
func bytesText(n uint64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d B", n)
	case n < 10_000_000:
		return fmt.Sprintf("%d kB", n/1000)
	case n < 10_000_000_000:
		return fmt.Sprintf("%d MB", n/1_000_000)
	}
	return fmt.Sprintf("%d GB", n/1_000_000_000)
}
