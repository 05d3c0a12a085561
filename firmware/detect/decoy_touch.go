package detect

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// decoyTouch reports who calls an address that nobody uses and the gateway
// watches over, or asks for a name that no device has: baits, as honeytokens
// are (Spitzner, "Honeytokens: The Other Honeypot", 2003). No shortcut points
// there and no device ever had it, so a call has no ordinary reason.
//
// Confidence: a ping alone is low, of two decoys medium (network tools sweep);
// one TCP or UDP call is medium (a stale shortcut from another network is
// possible); TCP to two decoys, to more ports of one than a shortcut tries, or
// to a service by which hosts are taken over with the hand-shake completed, is
// high. A name alone, asked by DNS, LLMNR, NBNS or mDNS, is medium however
// often: it is where somebody has read it that is odd, and a backup or an
// inventory reads everything. ARP for a decoy is nothing, and group
// destinations never count. Limits: a scanner of the vendor looks the same. A
// name server that asks for its clients is low.
type decoyTouch struct {
	net    *network
	decoys map[netip.Addr]struct{}
	names  map[string]struct{}
	read   bool
	tab    *table[source, touching]
	out    []Finding
}

type touching struct {
	peers  peerSet
	tcp    peerSet
	ports  [decoyPorts]uint16 // different TCP ports, the first few
	nports int
	names  []string // decoy names asked for
	deep   bool     // completed hand-shake to a remoteControl service
	pinged bool
	called bool
	first  time.Time
	told   told

	toldNames told
}

const (
	// decoyPorts: Windows tries 445, 139 and 80 (WebDAV) for one stale share and
	// 5985 or 135 for management; five ports are no shortcut.
	decoyPorts = 5
	// decoyNames bounds what is remembered of one device.
	decoyNames = 16
)

func newDecoyTouch(n *network) *decoyTouch {
	return &decoyTouch{net: n, decoys: make(map[netip.Addr]struct{}), names: make(map[string]struct{}),
		tab: newTable[source, touching](n.MaxHosts, 0)}
}

func (d *decoyTouch) Name() string      { return "decoy_touch" }
func (d *decoyTouch) reads() kinds      { return onTick | onConn | onICMP | onDNS }
func (d *decoyTouch) size() int         { return d.tab.size() }
func (d *decoyTouch) evictions() uint64 { return d.tab.evicted }

func (d *decoyTouch) Observe(ev flow.Event) []Finding {
	if d.net.Decoys == nil && d.net.DecoyNames == nil {
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
	case *flow.DNS:
		if len(d.names) > 0 && !e.Response && e.Opcode == 0 {
			d.ask(e)
		}
	}
	return d.out
}

func (d *decoyTouch) reload() {
	d.read = true
	clear(d.decoys)
	clear(d.names)
	if d.net.Decoys != nil {
		for _, a := range d.net.Decoys() {
			d.decoys[a] = struct{}{}
		}
	}
	if d.net.DecoyNames != nil {
		for _, s := range d.net.DecoyNames() {
			if s = baitName(s); s != "" {
				d.names[s] = struct{}{}
			}
		}
	}
}

// baitName is the host's part of a name, as all the name protocols give it.
func baitName(s string) string {
	s, _, _ = strings.Cut(strings.ToLower(s), ".")
	return s[:min(len(s), 15)]
}

// ask takes a question for a name. Under a public domain it is somebody else's
// host of the same name.
func (d *decoyTouch) ask(e *flow.DNS) {
	name := baitName(e.QName)
	if _, ok := d.names[name]; !ok || e.Out || d.net.own(e.SrcMAC, e.Src.Addr()) {
		return
	}
	from := e.Src.Addr()
	if e.Proto == flow.NameDNS && strings.Contains(e.QName, ".") && d.net.names.split(e.QName).public ||
		!d.net.onLAN(from) && !from.IsLinkLocalUnicast() {
		return
	}
	src := d.net.source(e.SrcMAC, from)
	forwards, seen := d.net.forwarders.cause(src, e.QName, e.Time)
	s := d.tab.get(src)
	if seen || slices.Contains(s.names, name) || len(s.names) == decoyNames {
		return
	}
	s.names = append(s.names, strings.Clone(name))
	if s.first.IsZero() {
		s.first = e.Time
	}
	conf, score := Medium, 0.85
	if forwards || d.net.router(src.mac) {
		conf, score = Low, 0.3
	}
	if s.toldNames.more(len(s.names), conf) {
		d.out = append(d.out, d.named(e, s, conf, score))
	}
}

func (d *decoyTouch) named(e *flow.DNS, s *touching, conf Confidence, score float64) Finding {
	h := d.net.host(e.SrcMAC, e.Src.Addr())
	list := strings.Join(s.names, ", ")
	return Finding{
		Time: e.Time, Detector: d.Name(), Technique: "T1018", Host: h,
		Score: score, Confidence: conf, First: s.first, Last: e.Time,
		Title: Text{
			EN: fmt.Sprintf("%s asked for a decoy that nobody uses", h.label()),
			JA: fmt.Sprintf("%s が、だれも使っていないおとりの名前を問い合わせました", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s asked for %s: %s. No device has such a name, so nothing in the office has a reason to ask for it.",
				h.label(), plural(len(s.names), "decoy name"), list),
			JA: fmt.Sprintf("%s が、おとりの名前 %d 個（%s）を問い合わせました。この名前の機器は存在しないため、業務で問い合わせる理由がありません。",
				h.label(), len(s.names), list),
		},
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
		s.port(to.Port())
	}
	switch {
	case s.tcp.len() >= 2 || s.deep || s.nports == decoyPorts:
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

// port notes a TCP port, up to as many as matter.
func (s *touching) port(p uint16) {
	if s.nports < decoyPorts && !slices.Contains(s.ports[:s.nports], p) {
		s.ports[s.nports] = p
		s.nports++
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
