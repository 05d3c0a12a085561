package detect

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sekisho/firmware/flow"
)

// rogueRA reports router advertisements by somebody who is not the office's
// router (RFC 6104, "Rogue IPv6 Router Advertisement Problem Statement"): every
// device follows them, and prefers IPv6 from then on.
//
// Model. On the gateway the legitimate senders are known: itself, and devices
// known to route. In a replay it is the first sender on each VLAN. Only an
// advertisement that draws traffic counts: one with a router lifetime or with
// name servers. Thread border routers and smart speakers announce prefixes of
// their own with lifetime 0 (RFC 4191 section 2.3), and are left alone.
//
//   - in the name of the known router's link-local address by another MAC, be it
//     to draw traffic or to take the router away (lifetime 0): high. In a replay
//     it is medium until the known one speaks again: routers are replaced, and
//     many makers use fe80::1;
//   - raFlood different prefixes or senders' addresses by one MAC in a minute
//     (flood_router6 exhausts hosts with them): high;
//   - a second router: medium. RFC 6104 section 2.2 has it that most are
//     mistakes: a shared Internet connection, a router plugged in wrongly.
//
// Limits. Two routers in a replay, both the office's, give one medium finding.
// RAs behind fragments and extension headers (RFC 7113) are seen only where the
// decoder reads them.
type rogueRA struct {
	net   *network
	known map[uint16]*raSender // by VLAN; at most 4,096
	tab   *table[flow.MAC, raSender]
	out   []Finding
}

type raSender struct {
	mac      flow.MAC
	addr     netip.Addr
	prefixes map[netip.Prefix]struct{} // of the last minute, at most raFlood
	addrs    map[netip.Addr]struct{}
	minute   time.Time
	first    time.Time
	n        int
	rivalled bool // of the known router: another has spoken in its name,
	alive    bool // and it spoke again after that
	told     told
}

// raFlood: a router announces the handful of prefixes that its link has.
const raFlood = 16

func newRogueRA(n *network) *rogueRA {
	return &rogueRA{net: n, known: make(map[uint16]*raSender), tab: newTable[flow.MAC, raSender](256, 0)}
}

func (d *rogueRA) Name() string      { return "rogue_ra" }
func (d *rogueRA) reads() kinds      { return onNDP }
func (d *rogueRA) size() int         { return d.tab.size() + len(d.known) }
func (d *rogueRA) evictions() uint64 { return d.tab.evicted }

func (d *rogueRA) Observe(ev flow.Event) []Finding {
	e, ok := ev.(*flow.NDP)
	if !ok || e.Type != 134 || e.SrcMAC.IsZero() || virtualRouter(e.SrcMAC) {
		return nil
	}
	d.out = d.out[:0]
	live := len(d.net.Gateway) > 0
	vlan := e.VLAN & 0xfff
	k := d.known[vlan]
	if e.Out || d.net.own(e.SrcMAC, e.Src) {
		d.known[vlan] = &raSender{mac: e.SrcMAC, addr: e.Src}
		return nil
	}
	if k == nil && !live && e.Lifetime > 0 {
		k = &raSender{mac: e.SrcMAC, addr: e.Src}
		d.known[vlan] = k
	}
	s := d.tab.get(e.SrcMAC)
	s.count(e)
	impostor := k != nil && e.Src == k.addr && e.SrcMAC != k.mac
	flooding := len(s.prefixes) >= raFlood || len(s.addrs) >= raFlood
	draws := e.Lifetime > 0 || len(e.RDNSS) > 0
	conf, score := Medium, 0.8
	if k != nil && k.mac == e.SrcMAC {
		k.alive = k.alive || k.rivalled
	}
	switch {
	case impostor:
		k.rivalled = true
		if live || k.alive {
			conf, score = High, 0.98
		}
	case flooding:
		conf, score = High, 0.97
	case !draws, k != nil && k.mac == e.SrcMAC, live && d.net.router(e.SrcMAC):
		return nil
	}
	if s.told.more(1, conf) {
		d.out = append(d.out, d.finding(e, s, k, conf, score, impostor))
	}
	return d.out
}

func (s *raSender) count(e *flow.NDP) {
	if s.first.IsZero() {
		s.first = e.Time
	}
	s.n++
	if s.prefixes == nil || e.Time.Sub(s.minute) > time.Minute || e.Time.Before(s.minute) {
		s.minute, s.prefixes, s.addrs = e.Time, map[netip.Prefix]struct{}{}, map[netip.Addr]struct{}{}
	}
	for _, p := range e.Prefixes {
		if len(s.prefixes) < raFlood {
			s.prefixes[p] = struct{}{}
		}
	}
	if len(s.addrs) < raFlood {
		s.addrs[e.Src] = struct{}{}
	}
}

func (d *rogueRA) finding(e *flow.NDP, s, known *raSender, conf Confidence, score float64, impostor bool) Finding {
	h := d.net.host(e.SrcMAC, netip.Addr{})
	if !h.IP.IsValid() && !impostor {
		h.IP, h.IPs = e.Src, []netip.Addr{e.Src}
	}
	if impostor { // the address is its victim's
		h.IPs = slices.DeleteFunc(slices.Clone(h.IPs), func(a netip.Addr) bool { return a == e.Src })
		if h.IP == e.Src {
			h.IP = shown(h.IPs)
		}
	}
	f := Finding{
		Time: e.Time, Detector: d.Name(), Technique: "T1557", Host: h, Score: score, Confidence: conf, First: s.first, Last: e.Time,
		Title: Text{
			EN: fmt.Sprintf("%s announces itself as the office's IPv6 router", h.label()),
			JA: fmt.Sprintf("%s が社内の IPv6 ルーターを名乗っています", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s sent %s for every device to follow (lifetime %d s, prefix %s, name server %s).", h.label(),
				plural(s.n, "router advertisement"), e.Lifetime, firstPrefix(e.Prefixes), join(e.RDNSS)),
			JA: fmt.Sprintf("%s が、すべての機器に向けてルーター広告を %d 回送りました（有効期間 %d 秒、プレフィックス %s、DNS サーバー %s）。", h.label(),
				s.n, e.Lifetime, firstPrefix(e.Prefixes), join(e.RDNSS)),
		},
	}
	switch {
	case impostor:
		f.Explain.EN += fmt.Sprintf(" It did so with the address of the real router, %s.", e.Src)
		f.Explain.JA += fmt.Sprintf("本物のルーターのアドレス %s を騙っています。", e.Src)
	case known != nil && known.mac != e.SrcMAC:
		f.Explain.EN += fmt.Sprintf(" The office's router is %s.", known.addr)
		f.Explain.JA += fmt.Sprintf("社内の正しいルーターは %s です。", known.addr)
	}
	return f
}

func firstPrefix(list []netip.Prefix) string {
	if len(list) == 0 {
		return "-"
	}
	return list[0].String()
}
