package detect

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// dga finds devices that try one invented domain after another until one
// exists, as infected ones look for their master. It is the sequential test of
// Krishnan, Taylor, Monrose and McHugh, "Crossing the Threshold: Detecting
// Network Malfeasance via Sequential Hypothesis Testing", DSN 2013, which
// takes the test of trw.go to registered domains that do not exist, each
// counted once. What is ours: only domains whose name looks drawn at random are
// trials at all (Yadav, Reddy, Reddy and Ranjan, IMC 2010, tell them by the
// distribution of characters; here a trigram model, ngram.go). Domains that
// people or products made are typed wrong, expire and are blocked in every
// office; random ones that ordinary devices ask exist.
//
// Bands, by a count in the last hour: see dgaMedium.
//
// Limits. Generators that join words look like people's names and are missed,
// as are those below a dynamic DNS provider's domain (names that providers give
// out are random in every office), top-level domains that are not the
// internet's, and those that ask less than some eight times an hour. A server
// for mail asks for whatever strangers invent and is never more than low.
type dga struct {
	net *network
	tab *table[source, guesser]
	out []Finding
}

type guesser struct {
	seen    map[uint64]struct{} // registered domains
	w       walk
	hits    int
	missing int
	names   []string       // the first few, for the text
	recent  [dgaHigh]int64 // when, Unix seconds; ring
	from    netip.Addr
	mail    bool
	first   time.Time
	told    told
}

const (
	// One random name that does not exist in an hour is more than an ordinary
	// device asks. Were it one, eight within an hour would be a Poisson tail of
	// 1e-5: one in three months for 50 devices. Advertising has such names too
	// (pop-up networks change them to escape filters), and a filter that answers
	// that they do not exist makes some dozens in an hour of one person's
	// pages. Generators ask for hundreds at a time: Conficker A for 250 a day,
	// CryptoLocker and Gameover Zeus for 1,000 (Plohmann et al., "A
	// Comprehensive Measurement Study of Domain Generating Malware", USENIX
	// Security 2016). High lies between.
	dgaMedium = 8
	dgaHigh   = 100
	dgaWindow = time.Hour

	// randomBits: by Markov's inequality at most one name in 2^20 that follows
	// the model of made names is so much likelier as a random one.
	randomBits = 20
	// Below seven characters a random name has less than about 20 bits to tell
	// itself by, and short names are abbreviations.
	dgaMinLabel = 7

	dgaSeen   = 4096
	dgaSample = 4
)

func newDGA(n *network) *dga {
	return &dga{net: n, tab: newTable[source, guesser](n.MaxHosts, seenBudget)}
}

func (d *dga) Name() string      { return "dga" }
func (d *dga) reads() kinds      { return onDNS }
func (d *dga) size() int         { return d.tab.size() }
func (d *dga) evictions() uint64 { return d.tab.evicted }

func (d *dga) Observe(ev flow.Event) []Finding {
	e, ok := ev.(*flow.DNS)
	if !ok || e.Proto != flow.NameDNS || !e.Response || e.RCode != noError && e.RCode != nxDomain {
		return nil
	}
	if e.QType == typeMX {
		if g := d.tab.peek(d.net.answerTo(e)); g != nil {
			g.mail = true
		}
		return nil
	}
	p := d.net.names.split(e.QName)
	if !guessed(p) {
		return nil
	}
	d.out = d.out[:0]
	d.answer(e, p.domain)
	return d.out
}

// guessed says that a name's registered label looks random, and that it is
// asked as a generator does: for the domain itself or one label below.
func guessed(p *nameParts) bool {
	if !p.icann || len(p.domain) < dgaMinLabel || strings.IndexByte(p.prefix, '.') >= 0 || reverse(p.name) {
		return false
	}
	label, _, _ := strings.Cut(p.domain, ".")
	return len(label) >= dgaMinLabel && !strings.HasPrefix(label, "xn--") && randomness(label) >= randomBits
}

func (d *dga) answer(e *flow.DNS, domain string) {
	src := d.net.answerTo(e)
	forwards, seen := d.net.forwarders.cause(src, e.QName, e.Time)
	if seen || e.Out || d.net.own(e.DstMAC, e.Dst.Addr()) {
		return
	}
	g := d.tab.get(src)
	if !d.note(src, g, hash64(domain)) {
		return
	}
	if g.first.IsZero() {
		g.first = e.Time
	}
	g.from = e.Dst.Addr()
	g.w.step(e.RCode == noError)
	if e.RCode == noError {
		g.hits++
		return
	}
	g.recent[g.missing%dgaHigh] = e.Time.Unix()
	g.missing++
	if len(g.names) < dgaSample {
		g.names = append(g.names, strings.Clone(domain))
	}
	conf := g.band(e.Time)
	if conf == "" || !g.w.decided() {
		return
	}
	if forwards || g.mail || !d.net.onLAN(g.from) || d.net.router(src.mac) {
		conf = Low
	}
	if g.told.more(g.missing, conf) {
		d.out = append(d.out, d.finding(e, g, conf))
	}
}

// band counts back from the newest of the names that do not exist.
func (g *guesser) band(now time.Time) Confidence {
	within := func(n int) bool {
		return g.missing >= n && now.Sub(time.Unix(g.recent[(g.missing-n)%dgaHigh], 0)).Abs() <= dgaWindow
	}
	switch {
	case within(dgaHigh):
		return High
	case within(dgaMedium):
		return Medium
	}
	return ""
}

// note reports whether a domain is new to its source.
func (d *dga) note(src source, g *guesser, h uint64) bool {
	if _, ok := g.seen[h]; ok {
		return false
	}
	if g.seen == nil {
		g.seen = make(map[uint64]struct{}, 4)
	}
	if len(g.seen) >= dgaSeen {
		d.tab.grow(src, -len(g.seen))
		clear(g.seen)
	}
	g.seen[h] = struct{}{}
	d.tab.grow(src, 1)
	return true
}

func (d *dga) finding(e *flow.DNS, g *guesser, conf Confidence) Finding {
	mac := e.DstMAC
	if mac.IsGroup() {
		mac = flow.MAC{}
	}
	h := d.net.host(mac, g.from)
	tEN, tJA := span(e.Time.Sub(g.first))
	list := strings.Join(g.names, ", ")
	return Finding{
		Time: e.Time, Detector: d.Name(), Technique: "T1568.002", Host: h,
		Peers: []Host{d.net.peer(e.Src.Addr())}, PeerCount: 1,
		Score: g.w.score(), Confidence: conf, First: g.first, Last: e.Time,
		Title: Text{
			EN: fmt.Sprintf("%s is looking for a hidden server by guessing names", h.label()),
			JA: fmt.Sprintf("%s が、名前を次々に試して隠れたサーバーを探しています", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("Within %s, %s asked for %s with names like drawn at random that do not exist (%s, …); %d such existed.",
				tEN, h.label(), plural(g.missing, "domain"), list, g.hits),
			JA: fmt.Sprintf("%s が %s の間に、でたらめな文字列のようで実在しないドメインを %d 個問い合わせました（%s など）。実在したものは %d 個でした。",
				h.label(), tJA, g.missing, list, g.hits),
		},
	}
}
