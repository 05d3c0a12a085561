package detect

import (
	"fmt"
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// exfiltration reports a device that sends out far more than it ever did, and
// data that rides on ping.
//
// Volume. After the learning time, an hour's upload is compared on a
// logarithmic scale with the device's own hours of the last week (median and
// median absolute deviation: uploads are near log-normal, and one backup must
// not move the measure) and with the largest hour of any other device. A
// destination that took an archive (uploadFloor) in the learning time is a
// backup and does not count. Before, a device is measured by what others of its
// role send, and where there is no such measure by physics alone: much to one
// destination, hardly anything back.
//
// Ping. RFC 792 has the reply return the data of the request, and programs
// send the same data each time but for a time stamp. A channel breaks both.
// Volumes over DNS are dns_tunnel's.
//
// Confidence: volume is medium at most, since a person may send a film to a
// customer; replies that contradict RFC 792 for long are high, because no
// stack can produce them.
//
// Limits. Slow leaks below the device's own custom, and copies to a service
// that is its custom, are not seen. What an hour's upload cannot tell from a
// video call (as much comes back) is left out.
type exfiltration struct {
	net    *network
	places *places
	past   *history
	conns  *table[uint64, uint64]      // payload sent of connections that are open
	flows  *table[uploadKey, upload]   // per destination
	peers  *table[source, busiestHour] // for comparison
	ping   pingChannel
	roles  roles
	out    []Finding
}

type uploadKey struct {
	src source
	to  netip.Addr
}

// upload is what one device sent to one destination within a day.
type upload struct {
	from           netip.Addr
	mac            flow.MAC
	first          time.Time
	sent, received uint64
	hour           int64
	inHour         uint64
	told           told
}

// busiestHour is the most that a device sent out in one hour.
type busiestHour struct{ bytes uint64 }

const (
	// A day after its first byte an upload begins anew.
	uploadSpan = 24 * time.Hour
	// oneWay: acknowledged bulk upload over TLS gives back well below 1 %; a
	// call or a game gives back as much as it sends.
	oneWay = 10
	// An hour with less than this is nobody's archive: some 60 office files of
	// 1 MB, or half a minute of a 20 Mbit/s line.
	uploadFloor = 64 << 20
	// Without history, to a destination that has a name: a camera roll or a
	// disk image. One GiB is half an hour of a 5 Mbit/s line, and more than the
	// documents of a small office write in a week.
	uploadNamed = 1 << 30
	// To an address that no name led to, which synchronisers never use:
	// medium at eight times the floor.
	uploadBareMedium = 8 * uploadFloor
	// Deviations above the median hour. 50 devices have 36,000 hours a month;
	// one false alarm a month is 4 deviations of a normal law. Uploads have a
	// heavier tail: 6, and twice the largest hour of the past (half: 1 bit).
	uploadDeviations = 6.0
	leastHours       = 24 // hours with traffic before a past is a measure
	// The deviation of a machine that always sends the same is not zero.
	leastDeviation = 0.5
)

func newExfiltration(n *network, p *places, h *history) *exfiltration {
	return &exfiltration{
		net: n, places: p, past: h,
		conns: newTable[uint64, uint64](16384, 0),
		flows: newTable[uploadKey, upload](8192, 0),
		peers: newTable[source, busiestHour](n.MaxHosts, 0),
		ping:  newPingChannel(n),
	}
}

func (d *exfiltration) Name() string { return "exfiltration" }
func (d *exfiltration) reads() kinds { return onActivity | onConn | onICMP }
func (d *exfiltration) size() int {
	return d.conns.size() + d.flows.size() + d.peers.size() + d.past.size() + d.ping.tab.size()
}
func (d *exfiltration) evictions() uint64 {
	return d.conns.evicted + d.flows.evicted + d.peers.evicted + d.past.evictions() + d.ping.tab.evicted
}

func (d *exfiltration) remember() ([]byte, error) { return d.past.remember() }
func (d *exfiltration) recall(b []byte) error     { return d.past.recall(b) }

func (d *exfiltration) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	switch e := ev.(type) {
	case *flow.Activity:
		if !e.Multicast && !elsewhere(e.Proto, e.Server.Port()) {
			d.volume(&e.Meta, e.ID, e.Client, e.Server, e.ClientMAC, e.ServerMAC, e.Sent, e.Received, false)
		}
	case *flow.Conn:
		if e.State == flow.ConnClosed && !e.Multicast && !elsewhere(e.Proto, e.Server.Port()) {
			d.volume(&e.Meta, e.ID, e.Client, e.Server, e.ClientMAC, e.ServerMAC, e.Sent, e.Received, true)
		}
	case *flow.ICMP:
		if f, ok := d.ping.observe(e); ok {
			d.out = append(d.out, f)
		}
	}
	return d.out
}

// elsewhere: what DNS carries is bounded by dns_tunnel.
func elsewhere(proto uint8, port uint16) bool { return proto == protoUDP && port == 53 }

// volume counts what a connection sent out since it was last looked at. Of a
// connection from outside, that is what the server inside sent.
func (d *exfiltration) volume(m *flow.Meta, id uint64, client, server netip.AddrPort, clientMAC, serverMAC flow.MAC, sent, received uint64, closed bool) {
	from, to, mac := client.Addr(), server.Addr(), clientMAC
	out, in := sent, received
	switch fromIn, toIn := d.net.onLAN(from), d.net.onLAN(to); {
	case fromIn == toIn:
		return
	case toIn:
		from, to, mac, out, in = to, from, serverMAC, received, sent
	}
	if out == 0 {
		return
	}
	before := uint64(0)
	if !closed {
		had := d.conns.get(id)
		before, *had = *had, out
	} else if had := d.conns.remove(id); had != nil {
		before = *had
	}
	if out > before {
		d.count(d.net.source(mac, from), mac, from, to, out-before, in, m.Time)
	}
}

func (d *exfiltration) count(src source, mac flow.MAC, from, to netip.Addr, bytes, in uint64, now time.Time) {
	p := d.past.sent(src, mac, bytes, now)
	if b := d.peers.get(src); p.inHour > b.bytes {
		b.bytes = p.inHour
	}
	u := d.flows.get(uploadKey{src, to})
	if u.first.IsZero() || now.Sub(u.first) > uploadSpan {
		*u = upload{first: now, told: u.told}
	}
	if hour := now.Unix() / 3600; hour != u.hour {
		u.hour, u.inHour = hour, 0
	}
	u.from, u.mac = from, mac
	u.sent += bytes
	u.inHour += bytes
	u.received = max(u.received, in) // of one connection: the sum would count each look again
	if u.sent >= uploadFloor && u.sent >= oneWay*u.received {
		d.judge(uploadKey{src, to}, u, p, now)
	}
}

func (d *exfiltration) judge(k uploadKey, u *upload, p *past, now time.Time) {
	name := d.places.name(k.to)
	label := name
	if label == "" {
		label = k.to.String()
	}
	conf, why, quiet := Low, Text{}, false
	us := p.usualHour()
	role, alike := d.role(k.src, now)
	switch {
	case d.past.learnt(k.src, now) && us.n >= leastHours:
		quiet = !us.exceeded(u.inHour)
		why = us.text(u.inHour)
		if u.inHour > 2*d.busiestOther(k.src) {
			conf = Medium
		}
	case name == "" && u.sent >= uploadBareMedium && d.places.alone(k.src, k.to):
		conf = Medium
	case alike:
		quiet = !role.exceeded(u.inHour)
	case name != "":
		quiet = u.sent < uploadNamed
	}
	if d.net.own(u.mac, u.from) {
		return
	}
	if d.net.router(k.src.mac) {
		conf = Low
	}
	if d.past.quiets(k.src, u.mac, "upload "+label, conf, now) || quiet {
		return
	}
	if u.told.more(int(u.sent>>20), conf) {
		d.out = append(d.out, d.finding(k, u, label, name == "", why, conf, now))
	}
}

// exceeded says that an hour's bytes stand out of the past.
func (u usual) exceeded(bytes uint64) bool {
	x := log2(bytes)
	return x > u.median+uploadDeviations*max(u.deviation, leastDeviation) && x > u.max+1
}

func (d *exfiltration) busiestOther(s source) uint64 {
	var most uint64
	for k, n := range d.peers.m {
		if k != s {
			most = max(most, n.val.bytes)
		}
	}
	return most
}

func (u usual) text(bytes uint64) Text {
	return Text{
		EN: fmt.Sprintf(" In this hour alone it was %s; half of its hours stay below %s, and the largest of the last week was %s.",
			bytesText(bytes), bytesText(exp2(u.median)), bytesText(exp2(u.max))),
		JA: fmt.Sprintf("この 1 時間だけで %s です。ふだんの 1 時間は半数が %s 以下で、過去 1 週間の最大は %s でした。",
			bytesText(bytes), bytesText(exp2(u.median)), bytesText(exp2(u.max))),
	}
}

func (d *exfiltration) finding(k uploadKey, u *upload, label string, bare bool, why Text, conf Confidence, now time.Time) Finding {
	h := d.net.host(k.src.mac, u.from)
	tEN, tJA := span(now.Sub(u.first))
	t := Text{
		EN: fmt.Sprintf("%s sent %s to %s within %s and got %s back at most.%s", h.label(), bytesText(u.sent), label, tEN, bytesText(u.received), why.EN),
		JA: fmt.Sprintf("%s が %s の間に %s へ %s を送りました（受け取ったのは多くても %s）。%s", h.label(), tJA, label, bytesText(u.sent), bytesText(u.received), why.JA),
	}
	if bare {
		t.EN += " No name was looked up for that address."
		t.JA += "このアドレスを指す名前の問い合わせはありません。"
	}
	tech, score := "T1048", 0.3
	if !bare {
		tech = "T1567"
	}
	if conf == Medium {
		score = 0.7
	}
	return Finding{
		Time: now, Detector: d.Name(), Technique: tech, Host: h, Peers: []Host{d.net.peer(k.to)}, PeerCount: 1,
		Score: score, Confidence: conf, First: u.first, Last: now,
		Title: Text{
			EN: fmt.Sprintf("%s sends out an unusual amount of data", h.label()),
			JA: fmt.Sprintf("%s が通常より大量のデータを外部へ送っています", h.label()),
		},
		Explain: t,
	}
}
