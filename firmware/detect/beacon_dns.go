package detect

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// questions are those of one device for names of one domain. A name that is
// asked again when its time to live is over is a cache at work; a control
// channel over DNS needs a name that no cache has, each time.
type questions struct {
	rhythm
	recent  [8]uint64 // hashes of names, ring
	fresh   int       // names that were not among them
	carried int       // questions of a type whose answer holds text or binary data
}

// Evidence beside the timer; the amount of data is judged by dns_tunnel.
const (
	freshNames  = 2.3 // never the same name
	carriesData = 1.2 // mail and web look-ups do not ask for these by the clock
)

// oftenAsked: programs that check something by a name made for the purpose
// (versions of signatures, reputation) do it a few times an hour at most; what
// asks as rarely as that is left to the bound of dns_tunnel.
const oftenAsked = 5 * time.Minute

func (d *beacon) question(e *flow.DNS) {
	src, ok := d.net.asker(e)
	if !ok || d.net.forwarders.forwards(src) || strings.HasSuffix(e.QName, ".arpa") {
		return
	}
	parts := d.net.names.split(e.QName)
	if parts.domain == "" || parts.appended {
		return
	}
	k := nameSeries{src, parts.domain}
	q := d.asked.use(k)
	if q == nil {
		k.name = strings.Clone(k.name)
		q = d.asked.get(k)
	}
	if !q.note(e.Time, uint64(len(e.QName))) {
		return
	}
	h := hash64(e.QName)
	seen := false
	for _, r := range q.recent {
		seen = seen || r == h
	}
	if !seen {
		q.fresh++
		q.recent[q.n%len(q.recent)] = h
	}
	if carries(e.QType) && e.QType != typeSRV {
		q.carried++
	}
	if e.Time.Sub(q.first) >= retrying && float64(q.fresh) >= timerHolds*float64(q.n) && q.due() {
		d.asksByTheClock(k, q, e)
	}
}

func (d *beacon) asksByTheClock(k nameSeries, q *questions, e *flow.DNS) {
	c := q.read()
	if u := d.places.crowd.peek(k.name); c.odds < sureOdds || c.period > oftenAsked.Seconds() || u != nil && u.n > 1 {
		return
	}
	if d.past.familiar(k.src, e.SrcMAC, "beacon "+k.name, e.Time) {
		return
	}
	r := reasons{sum: priorBeacon + freshNames}
	if float64(q.carried) >= timerHolds*float64(q.n) {
		r.sum += carriesData
	}
	p := 1 / (1 + math.Exp(-r.sum))
	if !d.told.get(nameSeries{k.src, k.name}).more(1, Low) {
		return
	}
	h := d.net.host(k.src.mac, e.Src.Addr())
	eEN, eJA := span(time.Duration(c.period * float64(time.Second)))
	d.out = append(d.out, Finding{
		Time: e.Time, Detector: d.Name(), Technique: "T1071.004", Host: h, Peers: d.net.peers([]netip.Addr{e.Dst.Addr()}), PeerCount: 1,
		Score: p, Confidence: Low, First: q.first, Last: e.Time,
		Title: Text{
			EN: fmt.Sprintf("%s asks for new names of one domain by the clock", h.label()),
			JA: fmt.Sprintf("%s が一定の間隔で、同じドメインの新しい名前を問い合わせています", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s asked for a name under %s every %s, %d times, and for a new one %d times. A cache would have answered for a name that was asked before.",
				h.label(), readable(k.name), eEN, q.n, q.fresh),
			JA: fmt.Sprintf("%s が %s の下の名前を約 %s ごとに %d 回問い合わせ、うち %d 回は新しい名前でした。以前と同じ名前であれば、キャッシュが答えるはずです。",
				h.label(), readable(k.name), eJA, q.n, q.fresh),
		},
	})
}
