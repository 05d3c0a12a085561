package detect

import (
	"fmt"
	"net/netip"

	"sekisho/firmware/flow"
)

// cleartext finds passwords that cross a network readable by whoever listens
// (T1040; RFC 8314 section 3 for mail, RFC 4949 on cleartext). It is a weakness
// of the office, no attack: always low, with a score that adds nothing to an
// incident. Told once for each device, service and server; a device that does
// so with many servers is told again at twice as many.
//
// Limits. Only what the parser reads counts. A password in a web form is told
// only when it leaves the LAN: the settings pages of most printers and routers
// of an office have no other log-in. Anonymous FTP (RFC 1635) has no secret.
type cleartext struct {
	net *network
	tab *table[fanKey, weak]
	out []Finding
}

// weak is one device's weakness in one service.
type weak struct {
	peers peerSet
	told  told
}

// weakness is the score of what is no attack: even odds weigh nothing when an
// incident adds up.
const weakness = 0.5

// weakEach: servers of one service that are told one by one; more of them are
// one habit of the device, told when their number doubles.
const weakEach = 4

// news adds a peer and says whether it is to be told.
func (w *weak) news(a netip.Addr) bool {
	if !w.peers.add(a) {
		return false
	}
	doubled := w.told.more(w.peers.len(), Low)
	return doubled || w.peers.len() <= weakEach
}

func newCleartext(n *network) *cleartext {
	return &cleartext{net: n, tab: newTable[fanKey, weak](2*n.MaxHosts, sweepBudget)}
}

func (d *cleartext) Name() string      { return "cleartext_credentials" }
func (d *cleartext) reads() kinds      { return onLogin }
func (d *cleartext) size() int         { return d.tab.size() }
func (d *cleartext) evictions() uint64 { return d.tab.evicted }

func (d *cleartext) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	e, ok := ev.(*flow.Login)
	if !ok || !e.Cleartext || e.Service == "ftp" && anonymous(e.User) {
		return d.out
	}
	src, mac := d.net.client(&e.Meta, e.Client.Addr(), e.FromServer)
	away := !d.net.onLAN(e.Server.Addr())
	if d.net.own(mac, e.Client.Addr()) || e.Mechanism == "form" && !away {
		return d.out
	}
	k := fanKey{src, e.Service}
	w := d.tab.get(k)
	if !w.news(e.Server.Addr()) {
		return d.out
	}
	d.tab.grow(k, 1)
	d.out = append(d.out, d.finding(e, src, mac, w, away))
	return d.out
}

func anonymous(user string) bool { return nameKey(user) == keyAnonymous || nameKey(user) == keyFTP }

var keyAnonymous, keyFTP = nameKey("anonymous"), nameKey("ftp")

func (d *cleartext) finding(e *flow.Login, src source, mac flow.MAC, w *weak, away bool) Finding {
	if !src.mac.IsZero() {
		mac = src.mac
	}
	h, server := d.net.host(mac, e.Client.Addr()), d.net.peer(e.Server.Addr())
	svc := fmt.Sprintf("%s (tcp/%d)", protocolName(e.Service), e.Server.Port())
	t := Text{
		EN: fmt.Sprintf("%s sent a password to %s by %s, readable by anybody who listens on the way.", h.label(), server.label(), svc),
		JA: fmt.Sprintf("%s が %s へ %s でパスワードを送りました。経路上の誰でも読み取れます。", h.label(), server.label(), svc),
	}
	if e.User != "" {
		t = both(t, Text{EN: " User name: " + quoted(e.User) + ".", JA: "ユーザー名は " + quoted(e.User) + " です。"})
	}
	if away {
		t = both(t, Text{EN: " It left the office.", JA: "この通信は社外へ出ています。"})
	}
	if n := w.peers.len(); n > weakEach {
		t = both(t, Text{EN: fmt.Sprintf(" It does so with %d servers.", n), JA: fmt.Sprintf("同様の相手は %d 台あります。", n)})
	}
	return Finding{Time: e.Time, Detector: d.Name(), Technique: "T1040", Host: h, Peers: []Host{server},
		PeerCount: w.peers.len(), Score: weakness, Confidence: Low, First: e.Time, Last: e.Time,
		Title: Text{
			EN: fmt.Sprintf("%s sends passwords unprotected", h.label()),
			JA: fmt.Sprintf("%s がパスワードを暗号化せずに送っています", h.label()),
		}, Explain: t}
}
