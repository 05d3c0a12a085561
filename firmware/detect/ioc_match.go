package detect

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// Indicator is an entry of a list that applies.
type Indicator struct {
	Value  string     // as listed
	Source string     // name of the list
	Trust  Confidence // the highest band that the owner lets the list reach
}

// Indicators answers look-ups in lists of what is known as bad. It must not
// block. Fingerprints are JA3, JA4 and certificate hashes in lower-case text.
type Indicators interface {
	Domain(name string, at time.Time) (Indicator, bool)
	Addr(a netip.Addr, at time.Time) (Indicator, bool)
	URL(host, path string, at time.Time) (Indicator, bool)
	Fingerprint(text string, at time.Time) (Indicator, bool)
}

// iocMatch reports a device that meets an entry of a list.
//
// Model. A list is somebody's word, and its false alarms are the device's: a
// shared address, a file host that also serves the office, a name looked up by
// a mail filter. So the band is that of the owner's trust in the list (medium
// unless set), and is reached only by talking: a connection that is answered, a
// request, a certificate. A look-up or an unanswered try stays one band below.
// A fingerprint alone is shared by all programs built on one library
// (Althouse et al., "JA3", 2017): one band below too, until the same device
// meets an entry of another kind.
//
// Limits. Names in encrypted DNS and encrypted ClientHello are not seen. What
// a stranger from a listed address does to a server of the office is low: it is
// the server that is visited, not infected. Resolvers and routers ask for
// others, and are not reported for look-ups.
type iocMatch struct {
	net *network
	tab *table[iocKey, iocSeen]
	met *table[source, iocKinds]
	out []Finding
}

type iocKey struct {
	src   source
	value string
	list  string
}

type iocSeen struct {
	first time.Time
	n     int
	told  told
}

// iocKinds is the set of kinds of entries that one device met, as bits.
type iocKinds uint8

const (
	iocName iocKinds = 1 << iota
	iocAddr
	iocPage
	iocPrint
)

// iocAct is how far a meeting went.
type iocAct uint8

const (
	iocAsked  iocAct = iota // looked the name up
	iocTried                // called it
	iocTalked               // and was answered
	iocVisited
)

func newIOCMatch(n *network) *iocMatch {
	return &iocMatch{net: n, tab: newTable[iocKey, iocSeen](2*n.MaxHosts, 0), met: newTable[source, iocKinds](n.MaxHosts, 0)}
}

func (d *iocMatch) Name() string      { return "ioc_match" }
func (d *iocMatch) reads() kinds      { return onConn | onDNS | onTLSHello | onTLSCert | onHTTP }
func (d *iocMatch) size() int         { return d.tab.size() + d.met.size() }
func (d *iocMatch) evictions() uint64 { return d.tab.evicted + d.met.evicted }

func (d *iocMatch) Observe(ev flow.Event) []Finding {
	if d.net.Indicators == nil {
		return nil
	}
	list := d.net.Indicators()
	if list == nil {
		return nil
	}
	d.out = d.out[:0]
	switch e := ev.(type) {
	case *flow.Conn:
		d.conn(list, e)
	case *flow.DNS:
		if !e.Response && e.Proto == flow.NameDNS && !e.Out && !d.net.own(e.SrcMAC, e.Src.Addr()) && !d.net.router(e.SrcMAC) {
			if i, ok := list.Domain(e.QName, e.Time); ok {
				d.meet(&e.Meta, e.SrcMAC, e.Src.Addr(), netip.Addr{}, i, iocName, iocAsked)
			}
		}
	case *flow.TLSHello:
		d.tls(list, e)
	case *flow.TLSCert:
		for _, text := range []string{hex.EncodeToString(e.SHA256[:]), hex.EncodeToString(e.SHA1[:])} {
			if i, ok := list.Fingerprint(text, e.Time); ok {
				d.meet(&e.Meta, e.DstMAC, e.Client.Addr(), e.Server.Addr(), i, iocPrint|iocName, iocTalked) // a certificate is one server's
			}
		}
	case *flow.HTTP:
		d.http(list, e)
	}
	return d.out
}

func (d *iocMatch) conn(list Indicators, e *flow.Conn) {
	act := iocTried
	switch {
	case e.Multicast || d.net.own(e.ClientMAC, e.Client.Addr()):
		return
	case e.State == flow.ConnEstablished:
		act = iocTalked
	case e.State != flow.ConnAttempt:
		return
	}
	if d.net.onLAN(e.Client.Addr()) {
		if d.net.onLAN(e.Server.Addr()) {
			return
		}
		if i, ok := list.Addr(e.Server.Addr(), e.Time); ok {
			d.meet(&e.Meta, e.ClientMAC, e.Client.Addr(), e.Server.Addr(), i, iocAddr, act)
		}
		return
	}
	if act == iocTalked { // strangers try all the time
		if i, ok := list.Addr(e.Client.Addr(), e.Time); ok {
			d.meet(&e.Meta, e.ClientMAC, e.Client.Addr(), e.Server.Addr(), i, iocAddr, iocVisited)
		}
	}
}

func (d *iocMatch) tls(list Indicators, e *flow.TLSHello) {
	mac := e.SrcMAC
	if e.FromServer {
		mac = e.DstMAC
	}
	client, server := e.Client.Addr(), e.Server.Addr()
	if e.SNI != "" {
		if i, ok := list.Domain(e.SNI, e.Time); ok {
			d.meet(&e.Meta, mac, client, server, i, iocName, iocTalked)
		}
	}
	for _, text := range [...]string{e.JA3, e.JA4} {
		if text == "" {
			continue
		}
		if i, ok := list.Fingerprint(text, e.Time); ok {
			d.meet(&e.Meta, mac, client, server, i, iocPrint, iocTalked)
		}
	}
}

func (d *iocMatch) http(list Indicators, e *flow.HTTP) {
	client, server := e.Client.Addr(), e.Server.Addr()
	host := e.Host
	if host == "" {
		host = server.String()
	}
	if i, ok := list.URL(host, e.Path, e.Time); ok {
		d.meet(&e.Meta, e.SrcMAC, client, server, i, iocPage, iocTalked)
	}
	if i, ok := list.Domain(host, e.Time); ok {
		d.meet(&e.Meta, e.SrcMAC, client, server, i, iocName, iocTalked)
	}
}

// meet judges one meeting, and tells it once for each entry and band.
func (d *iocMatch) meet(m *flow.Meta, mac flow.MAC, from, to netip.Addr, i Indicator, kind iocKinds, act iocAct) {
	if mac.IsGroup() {
		mac = flow.MAC{}
	}
	src := d.net.source(mac, from)
	kinds := d.met.get(src)
	*kinds |= kind
	conf := i.Trust
	switch {
	case act == iocVisited:
		conf = Low
	case act != iocTalked, kind == iocPrint && *kinds == iocPrint:
		conf = below(i.Trust)
	}
	s := d.tab.get(iocKey{src, i.Value, i.Source})
	if s.n == 0 {
		s.first = m.Time
	}
	if s.n++; s.told.conf != "" && rank(conf) <= rank(s.told.conf) {
		return
	}
	s.told.conf = conf
	d.out = append(d.out, d.finding(m, mac, from, to, i, s, conf, act))
}

// below is one band lower.
func below(c Confidence) Confidence {
	if c == High {
		return Medium
	}
	return Low
}

// bandScore is what a list's word is worth: the middle of its band (incident,
// the evidence model).
func bandScore(c Confidence) float64 {
	switch c {
	case High:
		return 0.99
	case Medium:
		return 0.85
	}
	return 0.5
}

func (d *iocMatch) finding(m *flow.Meta, mac flow.MAC, from, to netip.Addr, i Indicator, s *iocSeen, conf Confidence, act iocAct) Finding {
	h := d.net.host(mac, from)
	f := Finding{
		Time: m.Time, Detector: d.Name(), Technique: "T1071", Host: h, Score: bandScore(conf), Confidence: conf, First: s.first, Last: m.Time,
		Title: Text{
			EN: fmt.Sprintf("%s met something that is on a list of known dangers", h.label()),
			JA: fmt.Sprintf("%s が、危険な接続先の一覧にあるものと通信しました", h.label()),
		},
	}
	if to.IsValid() {
		f.Peers, f.PeerCount = []Host{d.net.peer(to)}, 1
	}
	switch act {
	case iocAsked:
		f.Title = Text{
			EN: fmt.Sprintf("%s looked for something that is on a list of known dangers", h.label()),
			JA: fmt.Sprintf("%s が、危険な接続先の一覧にあるものを探しています", h.label()),
		}
		f.Explain = Text{
			EN: fmt.Sprintf("%s asked for the address of %q.", h.label(), i.Value),
			JA: fmt.Sprintf("%s が「%s」のアドレスを問い合わせました。", h.label(), i.Value),
		}
	case iocTried:
		f.Explain = Text{
			EN: fmt.Sprintf("%s tried to reach %s.", h.label(), to),
			JA: fmt.Sprintf("%s が %s への接続を試みました。", h.label(), to),
		}
	case iocVisited:
		f.Technique = "T1190"
		f.Explain = Text{
			EN: fmt.Sprintf("%s connected to %s from outside, and was answered.", h.label(), d.net.peer(to).label()),
			JA: fmt.Sprintf("外部の %s が %s に接続し、応答を受けました。", h.label(), d.net.peer(to).label()),
		}
	default:
		f.Explain = Text{
			EN: fmt.Sprintf("%s exchanged data with %s.", h.label(), to),
			JA: fmt.Sprintf("%s が %s と通信しました。", h.label(), to),
		}
	}
	f.Explain.EN += fmt.Sprintf(" The list %q has the entry %q.", i.Source, i.Value)
	f.Explain.JA += fmt.Sprintf("一覧「%s」に「%s」が載っています。", i.Source, i.Value)
	return f
}
