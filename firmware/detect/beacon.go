package detect

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
)

// beacon reports a device that calls one destination by the clock. The series
// are exchanges of one device with one service: connections, and bursts after
// a pause inside a connection that is held open (by who began to speak). One
// more series per name follows a destination that changes its addresses, one
// the attempts that nobody answers, one the questions for new names of a domain
// (beacon_dns.go), and one pings that carry data (beacon_icmp.go).
//
// Whether a timer is at work is decided by the odds of regular.go. Most timers
// are honest: updates, telemetry, push, monitoring, cloud devices. So a timer
// that nobody else in the office shares is weighed by what else is odd about
// it, as a sum of log-likelihood ratios over a prior of one beacon among a
// hundred such series; the weights below are orders of magnitude, not fits:
// "ten times as common among control channels" is 2.3.
//
// Confidence: a probability of 5 % is worth a look (low), of one half medium.
// It is never high: a timer is no crime. What was worth no more than low in a
// device's learning time (history) is not told again.
//
// Limits. Sleeps longer than an hour need days. Jitter above 50 %, or sleeps
// drawn from an exponential law, are chance to this test. Ports of services
// that repeat by nature (regularService) are not judged, so control traffic
// over a real DNS, NTP or push port has to be found by its content.
type beacon struct {
	net    *network
	places *places
	past   *history
	live   *table[serviceSeries, beat]
	dead   *table[serviceSeries, beat]
	named  *table[nameSeries, beat]
	asked  *table[nameSeries, questions]
	told   *table[nameSeries, told]
	pings  *table[echoKey, pingData]
	out    []Finding
}

type serviceSeries struct {
	src        source
	to         netip.AddrPort
	proto      uint8
	fromServer bool
}

type nameSeries struct {
	src  source
	name string
}

// beat is one series and what its connections looked like.
type beat struct {
	rhythm
	mac      flow.MAC
	from     netip.Addr
	to       netip.AddrPort
	proto    uint8
	id       uint64 // connection that spoke last
	sent     uint64 // its payload so far
	app      app
	fresh    int // exchanges that began with a connection
	answered bool
}

// app is what was seen inside a series' connections.
type app uint8

const (
	appHTTP app = 1 << iota
	appTLS
	appQUIC
	appNoName // TLS without server name
	appOpaque // no protocol that we know
	appBanner // one that names itself
)

// Evidence for a control channel given a timer, natural logarithms.
const (
	priorBeacon  = -4.6 // one in a hundred rare timers
	byAddress    = 2.3  // public address that no name led to, of a device that does ask for names
	noNamesAtAll = 1.2  // the same of a device that was never seen asking: it may remember
	noServerName = 1.6  // TLS without SNI, HTTP by address: partly the same fact
	oddService   = 2.3  // unknown protocol, or a known one on a port not its own
	oddDatagrams = 1.2  // the same over UDP, where games, calls and cameras do it
	reconnects   = 1.2  // a connection each time, within a minute: keep-alive exists to avoid that
	hasty        = 2.3  // the same within ten seconds, when opening costs more than asking
	sameSize     = 0.7  // nothing to say, said in equal words
	gaveProgram  = 4.6  // the device fetched a program there
	gaveBinary   = 2.3  // or something that may be one
	neighbour    = -1.5 // inside the office: monitoring, displays, storage
	noAnswer     = -1.5 // a dead service retried
	someDoubt    = 0.05
	evenOdds     = 0.5
)

// retrying: a program whose server is busy tries again every second or two for
// up to a minute (the time-out of many HTTP libraries); that is no beacon yet.
const retrying = time.Minute

func newBeacon(n *network, p *places, h *history) *beacon {
	return &beacon{
		net: n, places: p, past: h,
		live:  newTable[serviceSeries, beat](16384, 0),
		dead:  newTable[serviceSeries, beat](4096, 0),
		named: newTable[nameSeries, beat](8192, 0),
		asked: newTable[nameSeries, questions](8192, 0),
		told:  newTable[nameSeries, told](4096, 0),
		pings: newTable[echoKey, pingData](8192, 0),
	}
}

func (d *beacon) Name() string { return "beacon" }

func (d *beacon) reads() kinds {
	return onConn | onActivity | onTLSHello | onHTTP | onOpaque | onBanner | onSSDP | onDNS | onICMP
}
func (d *beacon) size() int {
	return d.live.size() + d.dead.size() + d.named.size() + d.asked.size() + d.told.size() + d.pings.size() + d.places.size()
}
func (d *beacon) evictions() uint64 {
	return d.live.evicted + d.dead.evicted + d.named.evicted + d.asked.evicted + d.told.evicted + d.pings.evicted + d.places.evictions()
}

func (d *beacon) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	switch e := ev.(type) {
	case *flow.Conn:
		d.places.observe(ev)
		d.conn(e)
	case *flow.Activity:
		d.activity(e)
	case *flow.TLSHello:
		d.places.observe(ev)
		if !e.FromServer {
			d.hello(e)
		}
	case *flow.HTTP:
		d.places.observe(ev)
		d.mark(&e.Meta, e.Client, e.Server, false, appHTTP)
		d.name(&e.Meta, e.Client, e.Server, hostOnly(e.Host))
	case *flow.Opaque:
		d.mark(&e.Meta, e.Client, e.Server, e.FromServer, appOpaque)
	case *flow.Banner:
		d.mark(&e.Meta, e.Client, e.Server, e.FromServer, appBanner)
	case *flow.SSDP:
		d.places.observe(ev)
	case *flow.ICMP:
		d.echo(e)
	case *flow.DNS:
		d.places.observe(ev)
		if !e.Response && e.Proto == flow.NameDNS {
			d.question(e)
		}
	}
	return d.out
}

// watched says whether exchanges of client with server are judged: a device of
// the office calls, and not what every device calls all day. Two addresses
// outside are an office with public addresses, in a capture by others. It is
// asked for every connection and burst, so who the two are is asked in judge.
func (d *beacon) watched(client netip.Addr, server netip.AddrPort, proto uint8) bool {
	to := server.Addr()
	if regularService(proto, server.Port()) || to.IsMulticast() || to.IsLinkLocalUnicast() || to.IsLoopback() {
		return false
	}
	return d.net.onLAN(client) || !d.net.onLAN(to)
}

// infrastructure is what all devices of an office call by the clock.
func (n *network) infrastructure(a netip.Addr) bool {
	if !n.onLAN(a) {
		return false
	}
	dev, ok := n.byAddr(a)
	return slices.Contains(n.Gateway, a) ||
		ok && (dev.Gateway || dev.Router || dev.Kind == asset.KindPrinter || dev.Kind == asset.KindNetwork)
}

// regularService names services that repeat by their nature, from their
// protocols: DNS, DHCP, NTP, NetBIOS, SNMP, syslog, IKE, mDNS, LLMNR, SSDP,
// WS-Discovery, STUN/TURN, SIP; mail that is polled; push of Apple and Google
// (5223, 5228 to 5230); MQTT with its keep-alive; Kerberos, LDAP, RPC and SMB
// of a domain; printing.
func regularService(proto uint8, port uint16) bool {
	switch port {
	case 53, 67, 68, 123, 137, 138, 161, 162, 500, 514, 546, 547, 1900, 3478, 3479, 3702, 4500, 5060, 5061, 5349, 5353, 5355:
		return true
	case 25, 110, 143, 465, 587, 993, 995, 853, 1883, 8883, 5223, 5228, 5229, 5230, 88, 135, 139, 389, 445, 515, 631, 636, 3268, 9100:
		return proto == protoTCP || port == 88 || port == 389
	}
	return false
}

func (d *beacon) conn(c *flow.Conn) {
	if !d.net.isContact && c.State != flow.ConnClosed || c.Multicast || c.MidStream || !d.watched(c.Client.Addr(), c.Server, c.Proto) {
		return
	}
	k := serviceSeries{src: d.net.contact.src, to: c.Server, proto: c.Proto}
	switch c.State {
	case flow.ConnEstablished:
		b := d.begin(d.live, k, c.ClientMAC, c.Client.Addr())
		b.id, b.sent, b.answered = c.ID, c.Sent, true
		if b.note(c.Start, c.Sent) {
			b.fresh++
			d.judge(k, b, c.Time)
		}
	case flow.ConnRefused, flow.ConnUnanswered:
		b := d.begin(d.dead, k, c.ClientMAC, c.Client.Addr())
		if b.note(c.Start, c.Sent) {
			b.fresh++
			d.judge(k, b, c.Time)
		}
	case flow.ConnClosed:
		k.src = d.net.source(c.ClientMAC, c.Client.Addr())
		if b := d.live.peek(k); b != nil {
			b.add(b.more(c.ID, c.Sent))
		}
	}
}

func (d *beacon) begin(t *table[serviceSeries, beat], k serviceSeries, mac flow.MAC, from netip.Addr) *beat {
	b := t.get(k)
	b.mac, b.from, b.to, b.proto = mac, from, k.to, k.proto
	return b
}

// more is what a connection has sent since it was last looked at.
func (b *beat) more(id, sent uint64) uint64 {
	had := b.sent
	if b.id != id || sent < had {
		had = 0
	}
	b.id, b.sent = id, sent
	return sent - had
}

// activity takes a burst after a pause. Bursts of the server are a series of
// their own, or an answer that takes its time would blur the client's.
func (d *beacon) activity(e *flow.Activity) {
	if e.Multicast || e.Idle < mergeGap || !d.watched(e.Client.Addr(), e.Server, e.Proto) {
		return
	}
	k := serviceSeries{d.net.source(e.ClientMAC, e.Client.Addr()), e.Server, e.Proto, e.FromServer}
	t := d.live
	if e.RecvPackets == 0 {
		t = d.dead
	}
	b := d.begin(t, k, e.ClientMAC, e.Client.Addr())
	b.answered = e.RecvPackets > 0
	if b.n == 0 && e.FromServer { // what was spoken was seen when the client began
		k.fromServer = false
		if other := d.live.peek(k); other != nil {
			b.app = other.app
		}
		k.fromServer = true
	}
	sent := e.Sent
	if e.FromServer {
		sent = e.Received
	}
	if b.note(e.Time, b.more(e.ID, sent)) {
		d.judge(k, b, e.Time)
	}
}

func (d *beacon) hello(e *flow.TLSHello) {
	a, proto := appTLS, uint8(protoTCP)
	if e.QUIC {
		a, proto = appQUIC, protoUDP
	}
	if e.SNI == "" {
		a |= appNoName
	}
	src, mac := d.net.client(&e.Meta, e.Client.Addr(), false)
	k := serviceSeries{src: src, to: e.Server, proto: proto}
	if e.QUIC && d.watched(e.Client.Addr(), e.Server, proto) { // it says hello in its first packet
		d.begin(d.live, k, mac, e.Client.Addr())
	}
	d.see(k, a)
	d.name(&e.Meta, e.Client, e.Server, e.SNI)
}

func (d *beacon) mark(m *flow.Meta, client, server netip.AddrPort, fromServer bool, a app) {
	src, _ := d.net.client(m, client.Addr(), fromServer)
	d.see(serviceSeries{src: src, to: server, proto: protoTCP}, a)
}

// see remembers an application for both series of a service.
func (d *beacon) see(k serviceSeries, a app) {
	for _, fromServer := range [...]bool{false, true} {
		k.fromServer = fromServer
		if b := d.live.peek(k); b != nil {
			b.app |= a
		}
	}
}

// name follows a destination by the name that it was called by.
func (d *beacon) name(m *flow.Meta, client, server netip.AddrPort, name string) {
	if name == "" || isAddr(name) || !d.watched(client.Addr(), server, protoTCP) {
		return
	}
	src, mac := d.net.client(m, client.Addr(), false)
	k := nameSeries{src, name}
	b := d.named.use(k)
	if b == nil {
		k.name = strings.Clone(name)
		b = d.named.get(k)
	}
	moved := b.to.IsValid() && b.to != server
	b.mac, b.from, b.to, b.proto = mac, client.Addr(), server, protoTCP
	b.app |= appTLS // it has a name: nothing is odd but the clock
	b.answered = true
	if b.note(m.Time, 0) && moved {
		b.fresh++
		d.judge(serviceSeries{src: src, to: server, proto: protoTCP}, b, m.Time)
	}
}

// judge decides about a series that has just grown.
func (d *beacon) judge(k serviceSeries, b *beat, now time.Time) {
	if now.Sub(b.first) < retrying || !b.due() {
		return
	}
	c := b.read()
	if c.odds < sureOdds || b.unread() || !d.places.alone(k.src, k.to.Addr()) {
		return
	}
	if d.net.own(b.mac, b.from) || d.net.infrastructure(k.to.Addr()) || d.places.announced(k.to) {
		return
	}
	label := d.places.name(k.to.Addr())
	if label == "" {
		label = k.to.Addr().String()
	}
	said := nameSeries{k.src, label}
	why := d.weigh(k, b, c)
	p := 1 / (1 + math.Exp(-why.sum))
	conf := Low
	switch {
	case p < someDoubt:
		return
	case p >= evenOdds && !d.net.router(k.src.mac):
		conf = Medium
	}
	if d.past.quiets(k.src, b.mac, "beacon "+label, conf, now) {
		return
	}
	if d.told.get(said).more(1, conf) {
		d.out = append(d.out, d.finding(k, b, c, why, label, conf, p, now))
	}
}

// unread says that a connection was answered and nothing is known of what was
// spoken: a protocol with a parser of its own, or no payload at all.
func (b *beat) unread() bool { return b.proto == protoTCP && b.app == 0 && b.answered }

// reasons is the sum of the evidence and what of it a person should read.
type reasons struct {
	sum    float64
	en, ja []string
}

func (r *reasons) add(nats float64, en, ja string) {
	r.sum += nats
	if en != "" {
		r.en, r.ja = append(r.en, en), append(r.ja, ja)
	}
}

func (d *beacon) weigh(k serviceSeries, b *beat, c cadence) reasons {
	r := reasons{sum: priorBeacon}
	to := k.to.Addr()
	inside := d.net.onLAN(to)
	named := d.places.name(to) != ""
	if inside {
		r.add(neighbour, "", "")
	} else if !named {
		nats := noNamesAtAll
		if d.places.asks(k.src) {
			nats = byAddress
		}
		r.add(nats, "no name was looked up for that address", "このアドレスを指す名前の問い合わせがありません")
	}
	if v := d.places.used.peek(to); b.app&appNoName != 0 && !named || b.app&appHTTP != 0 && v != nil && v.bare {
		r.add(noServerName, "it calls the server by its bare address", "サーバーを名前ではなくアドレスで呼び出しています")
	}
	switch {
	case k.proto == protoICMP:
		r.add(changedData, "each ping carried other data", "ping ごとに異なるデータを載せています")
	case !oddPort(b.app, k.proto, k.to.Port()):
	case k.proto == protoUDP:
		r.add(oddDatagrams, "no known service uses that port", "一般的なサービスが使わないポートです")
	default:
		r.add(oddService, "no known service speaks like this on that port", "そのポートで通常使われる通信方式ではありません")
	}
	if k.proto == protoTCP && c.period <= 60 && 2*b.fresh > b.n {
		nats := reconnects
		if c.period <= 10 {
			nats = hasty
		}
		r.add(nats, "it connects anew each time", "毎回新しく接続し直しています")
	}
	if c.alike >= timerHolds && c.size > 0 {
		r.add(sameSize, "it sends the same amount each time", "毎回ほぼ同じ量を送っています")
	}
	if kind, nats := d.places.loadedBy(k.src, to); kind != "" {
		t := programText(kind)
		r.add(nats, "it fetched a program ("+t.EN+") from there", "そこからプログラム（"+t.JA+"）を取得しました")
	}
	if k.proto == protoTCP && !b.answered {
		r.add(noAnswer, "nobody answered", "応答は一度もありませんでした")
	}
	return r
}

// oddPort says that what was spoken does not belong to the port.
func oddPort(a app, proto uint8, port uint16) bool {
	if proto == protoUDP {
		return a&appQUIC == 0 && port != 443 && port != 80
	}
	switch {
	case a&appBanner != 0:
		return false
	case a&appTLS != 0:
		return port < 1024 && port != 443 || remoteControl(port)
	case a&appHTTP != 0:
		return !webPort(port)
	}
	return a&appOpaque != 0 || port != 443 && !webPort(port)
}

// webPort: 80 and the alternates that IANA lists for HTTP (591, 8008, 8080),
// with the neighbours that products use for their own pages.
func webPort(port uint16) bool {
	switch port {
	case 80, 443, 591, 3128, 8000, 8008, 8080, 8081, 8443:
		return true
	}
	return false
}

func (d *beacon) finding(k serviceSeries, b *beat, c cadence, why reasons, label string, conf Confidence, p float64, now time.Time) Finding {
	h := d.net.host(k.src.mac, b.from)
	svc := service(k.proto, k.to.Port())
	eEN, eJA := span(time.Duration(c.period * float64(time.Second)))
	tEN, tJA := span(now.Sub(b.first))
	t := Text{
		EN: fmt.Sprintf("%s called %s (%s) every %s: %d of %d intervals lie within %d %% of it, over %s (regularity %.2f of 1). No other device here calls that destination.",
			h.label(), label, svc, eEN, c.within, c.gaps, int(100*c.width), tEN, c.score()),
		JA: fmt.Sprintf("%s が %s（%s）へ約 %s ごとに通信しています。%s の間の %d 回の間隔のうち %d 回が ±%d %% に収まっています（規則性 %.2f／1）。ほかの機器はこの相手と通信していません。",
			h.label(), label, svc, eJA, tJA, c.gaps, c.within, int(100*c.width), c.score()),
	}
	if len(why.en) > 0 {
		t.EN += " Odd about it: " + strings.Join(why.en, "; ") + "."
		t.JA += "不審な点: " + strings.Join(why.ja, "。") + "。"
	}
	return Finding{
		Time: now, Detector: d.Name(), Technique: technique(b.app, k.proto), Host: h,
		Peers: []Host{d.net.peer(k.to.Addr())}, PeerCount: 1,
		Score: p, Confidence: conf, First: b.first, Last: now,
		Title: Text{
			EN: fmt.Sprintf("%s calls the same place by the clock", h.label()),
			JA: fmt.Sprintf("%s が一定の間隔で同じ相手と通信しています", h.label()),
		},
		Explain: t,
	}
}

func technique(a app, proto uint8) string {
	switch {
	case a&(appTLS|appQUIC) != 0:
		return "T1573"
	case a&appHTTP != 0:
		return "T1071.001"
	case proto == protoTCP:
		return "T1571"
	}
	return "T1095"
}
