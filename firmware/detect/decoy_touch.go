package detect

import (
	"fmt"
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// decoyTouch reports who calls an address that nobody uses and the gateway
// watches over. No name points there and no device ever had it, so a call has
// no ordinary reason.
//
// Confidence: a ping alone is low, of two decoys medium (network tools sweep);
// one TCP or UDP call is medium (a stale shortcut from another network is
// possible); TCP to two decoys, or to a service by which hosts are taken over
// with the hand-shake completed, is high. ARP for a decoy is nothing, and group
// destinations never count. Limit: a scanner of the vendor looks the same.
type decoyTouch struct {
	net    *network
	decoys map[netip.Addr]struct{}
	read   bool
	tab    *table[source, touching]
	out    []Finding
}

type touching struct {
	peers  peerSet
	tcp    peerSet
	deep   bool // completed hand-shake to a remoteControl service
	pinged bool
	called bool
	first  time.Time
	told   told
}

func newDecoyTouch(n *network) *decoyTouch {
	return &decoyTouch{net: n, decoys: make(map[netip.Addr]struct{}), tab: newTable[source, touching](n.MaxHosts, 0)}
}

func (d *decoyTouch) Name() string      { return "decoy_touch" }
func (d *decoyTouch) size() int         { return d.tab.size() }
func (d *decoyTouch) evictions() uint64 { return d.tab.evicted }

func (d *decoyTouch) Observe(ev flow.Event) []Finding {
	if d.net.Decoys == nil {
		return nil
	}
	if _, tick := ev.(*flow.Tick); tick || !d.read {
		d.reload()
	}
	d.out = d.out[:0]
	switch e := ev.(type) {
	case *flow.Conn:
		if !e.Multicast && !e.MidStream && (e.State == flow.ConnAttempt || e.State == flow.ConnEstablished) {
			deep := e.Proto == protoTCP && e.State == flow.ConnEstablished && remoteControl(e.Server.Port())
			d.touch(&e.Meta, e.ClientMAC, e.Client.Addr(), e.Server, e.Proto, deep)
		}
	case *flow.ICMP:
		if e.Type == 8 && !e.V6 || e.Type == 128 && e.V6 {
			d.touch(&e.Meta, e.SrcMAC, e.Src, netip.AddrPortFrom(e.Dst, 0), protoICMP, false)
		}
	}
	return d.out
}

func (d *decoyTouch) reload() {
	d.read = true
	clear(d.decoys)
	for _, a := range d.net.Decoys() {
		d.decoys[a] = struct{}{}
	}
}

func (d *decoyTouch) touch(m *flow.Meta, mac flow.MAC, from netip.Addr, to netip.AddrPort, proto uint8, deep bool) {
	if _, ok := d.decoys[to.Addr()]; !ok || m.DstMAC.IsGroup() || m.Out && proto == protoICMP {
		return
	}
	if !d.net.onLAN(from) || d.net.own(mac, from) {
		return
	}
	s := d.tab.get(d.net.source(mac, from))
	if s.first.IsZero() {
		s.first = m.Time
	}
	s.peers.add(to.Addr())
	s.deep = s.deep || deep
	conf, score := Low, 0.5
	if proto == protoICMP {
		s.pinged = true
	} else {
		s.called = true
	}
	if proto == protoTCP {
		s.tcp.add(to.Addr())
	}
	switch {
	case s.tcp.len() >= 2 || s.deep:
		conf, score = High, 0.98
	case s.called, s.peers.len() >= 2:
		conf, score = Medium, 0.85
	}
	if d.net.router(mac) && d.net.source(mac, from).mac == mac {
		conf, score = Low, 0.3
	}
	if s.told.more(s.peers.len(), conf) {
		d.out = append(d.out, d.finding(m, mac, from, to, proto, s, conf, score))
	}
}

func (d *decoyTouch) finding(m *flow.Meta, mac flow.MAC, from netip.Addr, to netip.AddrPort, proto uint8, s *touching, conf Confidence, score float64) Finding {
	h := d.net.host(mac, from)
	svc := service(proto, to.Port())
	tech := "T1046"
	if !s.called {
		tech = "T1018"
	}
	return Finding{
		Time: m.Time, Detector: d.Name(), Technique: tech, Host: h, Peers: d.net.peers(s.peers.first), PeerCount: s.peers.len(),
		Score: score, Confidence: conf, First: s.first, Last: m.Time,
		Title: Text{
			EN: fmt.Sprintf("%s called a decoy that nobody uses", h.label()),
			JA: fmt.Sprintf("%s が、だれも使っていないおとりのアドレスに接続しました", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s called %s by %s; %s so far. No device has these addresses, so nothing in the office has a reason to call them.",
				h.label(), to.Addr(), svc, decoys(s.peers.len())),
			JA: fmt.Sprintf("%s が %s に %s で接続を試みました（おとりのアドレスはこれまでに %d 個）。このアドレスの機器は存在しないため、業務で接続する理由がありません。",
				h.label(), to.Addr(), svc, s.peers.len()),
		},
	}
}

func decoys(n int) string {
	if n == 1 {
		return "1 decoy address"
	}
	return fmt.Sprintf("%d decoy addresses", n)
}
