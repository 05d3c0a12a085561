package detect

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"sekisho/firmware/flow"
)

// newAsset tells when a device joins that the office has never seen (T1200):
// a MAC whose first answered connection comes after the office has been
// watched for Config.Learn. Nothing is new before that, and in a replay,
// which begins without a past, not until that much of it has gone by. Watched
// is time with packets in it: a gap of a year is no year of watching.
//
// Where many join, they are one event: each day the first few are told one by
// one, then when their number doubles. A random MAC (the U/L bit, IEEE 802c) is
// a phone that comes back as somebody else: one finding a day for all of
// them, and no weight.
//
// Limits. Whoever copies the MAC of a known device is not new here
// (mac_conflict, arp_spoof). A device that only listens is never seen, nor one
// that hides behind a router. Answered connections, since frames cost nothing:
// a flood of invented addresses opens none.
type newAsset struct {
	net     *network
	last    time.Time                       // tick
	watched time.Duration                   // in all
	known   *table[flow.MAC, time.Duration] // watched when it was first seen
	today   [2]arrivals                     // by random
	out     []Finding
}

// watchedGap: an office is silent for an hour at night, hardly for longer;
// what goes beyond is an outage, or a capture that was joined from pieces.
const watchedGap = time.Hour

type arrivals struct {
	day  int64
	n    int
	told told
}

func newNewAsset(n *network) *newAsset {
	return &newAsset{net: n, known: newTable[flow.MAC, time.Duration](4*n.MaxHosts, 0)}
}

func (d *newAsset) Name() string      { return "new_asset" }
func (d *newAsset) reads() kinds      { return onTick | onConn }
func (d *newAsset) size() int         { return d.known.size() }
func (d *newAsset) evictions() uint64 { return d.known.evicted }

func (d *newAsset) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	switch e := ev.(type) {
	case *flow.Tick:
		if !d.last.IsZero() {
			d.watched += min(max(e.Time.Sub(d.last), 0), watchedGap)
		}
		d.last = e.Time
	case *flow.Conn:
		if e.State == flow.ConnEstablished && !e.Multicast {
			d.see(d.net.source(e.ClientMAC, e.Client.Addr()), e)
			d.see(d.net.source(e.ServerMAC, e.Server.Addr()), e)
		}
	}
	return d.out
}

// age is for how long a device has been watched, less than nothing for one
// that is not known.
func (d *newAsset) age(m flow.MAC) time.Duration {
	if t := d.known.peek(m); t != nil {
		return d.watched - *t
	}
	return -1
}

func (d *newAsset) see(s source, c *flow.Conn) {
	if s.mac.IsZero() || s.mac.IsGroup() {
		return
	}
	if d.known.peek(s.mac) != nil {
		d.known.get(s.mac) // most recent again
		return
	}
	*d.known.get(s.mac) = d.watched
	addr := c.Client.Addr()
	if s.mac == c.ServerMAC {
		addr = c.Server.Addr()
	}
	if d.watched < d.net.Learn || d.net.own(s.mac, addr) {
		return
	}
	h := d.net.host(s.mac, addr)
	a := &d.today[0]
	if s.mac.IsLocal() {
		a = &d.today[1]
	}
	if day := c.Time.Unix() / 86400; day != a.day {
		*a = arrivals{day: day}
	}
	a.n++
	doubled := a.told.more(a.n, Low)
	if !doubled && (s.mac.IsLocal() || a.n > weakEach) {
		return
	}
	d.out = append(d.out, d.finding(h, s.mac, a.n, c.Time))
}

func (d *newAsset) finding(h Host, m flow.MAC, n int, at time.Time) Finding {
	tEN, tJA := span(d.watched)
	f := Finding{Time: at, Detector: d.Name(), Technique: "T1200", Host: h, Score: 0.6, Confidence: Low, First: at, Last: at,
		Title: Text{
			EN: fmt.Sprintf("A device joined that was never seen before: %s", h.label()),
			JA: fmt.Sprintf("初めて見る機器が接続されました: %s", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s (%s) first answered or called today; this office has been watched for %s.", h.label(), m, tEN),
			JA: fmt.Sprintf("%s（%s）が初めて通信しました。このネットワークの監視期間は %s です。", h.label(), m, tJA),
		}}
	if a, ok := d.net.byMAC(m); ok && a.Vendor != "" {
		f.Explain = both(f.Explain, Text{EN: " Maker: " + a.Vendor + ".", JA: "メーカーは " + a.Vendor + " です。"})
	}
	if m.IsLocal() {
		f.Score = weakness
		f.Explain = both(f.Explain, Text{
			EN: " Its address is a random one, as phones use: it may be an old acquaintance.",
			JA: "アドレスはスマートフォンなどが使うランダムなもので、以前からある機器の可能性もあります。",
		})
	}
	if n > 1 {
		f.Explain = both(f.Explain, Text{
			EN: fmt.Sprintf(" It is number %d of its kind today.", n),
			JA: fmt.Sprintf("同じ種類の新しい機器は今日 %d 台目です。", n),
		})
	}
	return f
}

const newcomerVersion = 1

type newcomerFile struct {
	Version int        `json:"version"`
	Watched int64      `json:"watched"` // seconds
	Known   []seenFile `json:"known"`   // least recently seen first
}

type seenFile struct {
	MAC   flow.MAC `json:"mac"`
	Since int64    `json:"since"` // seconds watched by then
}

func (d *newAsset) remember() ([]byte, error) {
	f := newcomerFile{Version: newcomerVersion, Watched: int64(d.watched / time.Second), Known: make([]seenFile, 0, d.known.size())}
	for n := d.known.root.prev; n != &d.known.root; n = n.prev {
		f.Known = append(f.Known, seenFile{n.key, int64(n.val / time.Second)})
	}
	return json.Marshal(f)
}

func (d *newAsset) recall(data []byte) error {
	var f newcomerFile
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("read devices: %w", err)
	}
	if f.Version != newcomerVersion {
		return fmt.Errorf("read devices: version %d is not known", f.Version)
	}
	const most = int64(100 * 365 * 24 * time.Hour / time.Second)
	if f.Watched < 0 || f.Watched > most || slices.ContainsFunc(f.Known, func(s seenFile) bool {
		return s.MAC.IsZero() || s.MAC.IsGroup() || s.Since < 0 || s.Since > f.Watched
	}) {
		return fmt.Errorf("read devices: %w", errHistory)
	}
	d.known = newTable[flow.MAC, time.Duration](d.known.max, 0)
	for _, s := range f.Known {
		*d.known.get(s.MAC) = time.Duration(s.Since) * time.Second
	}
	d.watched = time.Duration(f.Watched) * time.Second
	return nil
}
