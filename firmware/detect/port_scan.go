package detect

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"sekisho/firmware/flow"
)

// portScan runs the sequential test over the ports of one host: each port that
// a source tries there first is a trial (Jung et al. 2004, as in trw.go). A
// refusal counts in full. Silence says little about the next port, because a
// dead host fails all of them at once: it counts with odds of 2 instead of 4.
//
// Limits. Traceroute's ports (UDP 33434-33534) do not count. UDP counts only
// when refused, and is never more than medium: media programs try many ports.
// FIN, NULL and Xmas probes are segments that no TCP sends first (RFC 9293):
// sureProbes of them on one host are medium, however few the ports. A probe
// that is answered by data is none. While an FTP session of two hosts is open,
// ports from 1024 on between them, either way, are no trials: the session
// names them (RFC 959, PORT and PASV), a new one for each file, and behind a
// badly set firewall they all fail. Inside TLS the session is known by its
// greeting, which a scanner that only opens the port does not wait for.
type portScan struct {
	net *network
	tab *table[pairKey, probing]
	ftp *table[ftpKey, uint64] // open FTP sessions: the latest one's connection
	out []Finding
}

type ftpKey struct{ client, server netip.Addr }

type pairKey struct {
	src source
	to  netip.Addr
}

type probing struct {
	tried   map[portKey]struct{}
	failed  []uint16 // the first maxPeers, for the text
	refused int
	silent  int
	open    int
	udp     int
	probes  int
	w       walk
	first   time.Time
	told    told
}

type portKey struct {
	proto uint8
	port  uint16
}

// A printer driver tries six ports (9100, 515, 631, 80, 443, 161), a file
// client three: low below portMedium. No office program tries portHigh closed
// ports of one host.
const (
	portMedium = 8
	portHigh   = 15
	sureProbes = 3 // a damaged segment happens, not on three ports
	maxPorts   = 4096
)

var stepSilent = math.Log(2)

func newPortScan(n *network) *portScan {
	return &portScan{net: n, tab: newTable[pairKey, probing](4*n.MaxHosts, sweepBudget), ftp: newTable[ftpKey, uint64](1024, 0)}
}

func (d *portScan) Name() string      { return "port_scan" }
func (d *portScan) reads() kinds      { return onBanner | onConn }
func (d *portScan) size() int         { return d.tab.size() + d.ftp.size() }
func (d *portScan) evictions() uint64 { return d.tab.evicted + d.ftp.evicted }

// greeted notes an FTP session that begins.
func (d *portScan) greeted(e *flow.Banner) {
	if e.FromServer && e.Service == "ftp" {
		*d.ftp.get(ftpKey{e.Client.Addr(), e.Server.Addr()}) = e.ConnID
	}
}

// ended forgets it.
func (d *portScan) ended(e *flow.Conn) {
	if e.State != flow.ConnClosed || d.ftp.size() == 0 {
		return
	}
	k := ftpKey{e.Client.Addr(), e.Server.Addr()}
	if id := d.ftp.peek(k); id != nil && *id == e.ID {
		d.ftp.remove(k)
	}
}

// agreed says that an FTP session may have named the port.
func (d *portScan) agreed(c contact) bool {
	return c.port >= 1024 && d.ftp.size() > 0 &&
		(d.ftp.peek(ftpKey{c.from, c.to}) != nil || d.ftp.peek(ftpKey{c.to, c.from}) != nil)
}

func (d *portScan) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	switch e := ev.(type) {
	case *flow.Banner:
		d.greeted(e)
	case *flow.Conn:
		d.ended(e)
	}
	c, ok := d.net.contact, d.net.isContact
	if !ok || d.agreed(c) || c.proto == protoUDP && (!c.refused && !c.ok || c.port >= 33434 && c.port <= 33534) {
		return d.out
	}
	k := pairKey{c.src, c.to}
	s := d.tab.get(k)
	pk := portKey{c.proto, c.port}
	if _, again := s.tried[pk]; again || len(s.tried) >= maxPorts {
		return d.out
	}
	if s.tried == nil {
		s.tried, s.first = make(map[portKey]struct{}, 2), c.start
	}
	s.tried[pk] = struct{}{}
	d.tab.grow(k, 1)
	d.step(c, s)
	n := s.refused + s.silent
	if c.ok || (!s.w.decided() || n < firstSay) && s.probes < sureProbes {
		return d.out
	}
	conf := d.confidence(c, s, n)
	if s.told.more(n, conf) {
		d.out = append(d.out, d.finding(c, s, conf))
	}
	return d.out
}

func (d *portScan) step(c contact, s *probing) {
	if c.proto == protoUDP {
		s.udp++
	}
	if c.ok {
		s.open++
		s.w.step(true)
		return
	}
	if c.probe {
		s.probes++
	}
	if len(s.failed) < maxPeers {
		s.failed = append(s.failed, c.port)
	}
	if c.refused {
		s.refused++
		s.w.step(false)
		return
	}
	s.silent++
	s.w += walk(stepSilent)
}

func (d *portScan) confidence(c contact, s *probing, n int) Confidence {
	conf := Low
	switch {
	case !d.net.onLAN(c.from), d.net.router(c.src.mac):
	case n-s.udp >= portHigh && n >= 3*s.open:
		conf = High
	case n >= portMedium, s.probes >= sureProbes:
		conf = Medium
	}
	return conf
}

func (d *portScan) finding(c contact, s *probing, conf Confidence) Finding {
	h, p := d.net.host(c.src.mac, c.from), d.net.peer(c.to)
	nEN, nJA := count(len(s.tried), len(s.tried) >= maxPorts)
	tEN, tJA := span(c.at.Sub(s.first))
	ports := slices.Clone(s.failed)
	slices.Sort(ports)
	list := fmt.Sprint(slices.Compact(ports))
	score := s.w.score()
	var probesEN, probesJA string
	if s.probes > 0 {
		probesEN = fmt.Sprintf(" %d of the tries had a form that only scanning tools send.", s.probes)
		probesJA = fmt.Sprintf("うち %d 個は、調査ツールだけが送る形式のものでした。", s.probes)
	}
	if s.probes >= sureProbes {
		score = max(score, 0.9)
	}
	return Finding{
		Time: c.at, Detector: d.Name(), Technique: "T1046", Host: h, Peers: []Host{p}, PeerCount: 1,
		Score: score, Confidence: conf, First: s.first, Last: c.at,
		Title: Text{
			EN: fmt.Sprintf("%s is trying the doors of %s", h.label(), p.label()),
			JA: fmt.Sprintf("%s が %s の入口（ポート）を次々に試しています", h.label(), p.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s tried %s different ports of %s within %s: %d refused, %d without answer, %d open. Among them %s.",
				h.label(), nEN, p.label(), tEN, s.refused, s.silent, s.open, list) + probesEN,
			JA: fmt.Sprintf("%s が %s の間に、%s の %s 個の異なるポートへ接続を試みました（拒否 %d、応答なし %d、接続可 %d）。試したポートの例は %s です。",
				h.label(), tJA, p.label(), nJA, s.refused, s.silent, s.open, list) + probesJA,
		},
	}
}
