package neigh

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"sekisho/netcontain"
)

// How often something is said. The figures come from what receivers do with it.
const (
	// Linux heeds no change of an ARP entry by an answer within a second after
	// the last (locktime, arp(7)): what has to hold is said again after that.
	settled = 1100 * time.Millisecond
	// Linux believes an entry for 15 to 45 s (base_reachable_time 30 s, RFC 4861,
	// 6.3.2), then asks: saying it again before means that nobody asks.
	repeatEvery = 10 * time.Second
	// Others' caches are not told more often, however noisy the held host is.
	neighbourGap = 500 * time.Millisecond
	// Rounds of the truth at the release, one settled apart.
	truthRounds = 3
	// A device that says nothing for so long is no longer on the port: the ageing
	// time of bridges (IEEE 802.1Q, table 8-6).
	ageing = 300 * time.Second
)

// framesPerSecond bounds what we send out of one port, once to neighbours, and
// once more to held hosts:
// 400 frames of 60 to 86 bytes are 0.3 % of 100 Mbit/s. What cannot be repeated
// at this rate within repeatEvery is not begun with.
const (
	framesPerSecond = 200
	maxClaims       = framesPerSecond * int(repeatEvery/time.Second)
	maxLearned      = 4 * maxNeighbours // devices learnt from one port
	maxAnswers      = 256               // questions of held hosts that wait to be answered again

	// rebuildGap keeps whoever invents a new device with every frame from
	// making us work: the first is taken up at once, the others together.
	rebuildGap = 100 * time.Millisecond

	// findsPerSecond bounds for how many unknown devices the gateway asks: each
	// that is not there costs three broadcasts (Linux: mcast_solicit).
	findsPerSecond = 5
)

// outgoing is one frame and the port that it leaves by.
type outgoing struct {
	port  string
	frame []byte
}

// entry is a claim and when it is due.
type entry struct {
	claim
	host    string    // netcontain.Host.ID
	next    time.Time // when to say it again
	said    time.Time // when it was said last
	firm    bool      // the next time in the form of a question too
	confirm bool      // once more, firmly, after the next time
}

// parting is a claim that is taken back.
type parting struct {
	claim
	next time.Time
	left int
}

// waiting is an answer to a held host about somebody who is not known.
type waiting struct {
	toAddr netip.Addr
	next   time.Time
	left   int
}

// book is who has to be told what, and when. It is pure: frames heard, the time
// and what is wanted go in, frames come out.
type book struct {
	nowhere netcontain.MAC // where everything claimed is said to be
	hosts   []netcontain.Host
	given   []Neighbour // by the caller
	no      never

	claims   map[key]*entry
	partings map[key]*parting
	answers  map[key]*waiting
	learned  map[string]map[netcontain.MAC]*learnt // by port
	own      map[string]*bucket                    // for neighbours, by port
	replies  map[string]*bucket                    // for held hosts, by port
	reports  map[string]Report                     // by Host.ID
	finds    bucket
	find     []netip.Addr // whom held hosts asked for and nobody knows: to be looked for
	stale    bool         // something was learnt since
	rebuilt  time.Time
	stats    Stats
}

// learnt is a device that spoke on a port.
type learnt struct {
	addrs []netip.Addr // the latest first
	at    time.Time
}

func newBook(nowhere netcontain.MAC) *book {
	return &book{
		nowhere: nowhere, claims: map[key]*entry{}, partings: map[key]*parting{}, answers: map[key]*waiting{},
		learned: map[string]map[netcontain.MAC]*learnt{}, own: map[string]*bucket{}, replies: map[string]*bucket{}, reports: map[string]Report{},
	}
}

// want sets what is wanted from now on. What was said before and is wanted no
// longer is taken back.
func (b *book) want(hosts []netcontain.Host, given []Neighbour, no never, now time.Time) {
	b.hosts, b.no = hosts, no.and(given, hosts)
	b.given = clean(byMAC(given), b.no)
	b.rebuild(now)
}

// rebuild makes the claims anew from what is known.
func (b *book) rebuild(now time.Time) {
	b.stale, b.rebuilt = false, now
	seen := b.seen(now)
	reports := map[string]Report{}
	var wanted []entry
	for _, h := range b.hosts {
		all, left := claims(h, seen, b.no)
		r := Report{Left: left, Spoke: b.reports[h.ID].Spoke}
		told := map[netcontain.MAC]bool{}
		for _, c := range all {
			if !c.toHeld {
				told[c.to] = true
			}
			wanted = append(wanted, entry{claim: c, host: h.ID})
		}
		r.Told = len(told)
		reports[h.ID] = r
	}
	b.reports = reports
	// Those to the held hosts first: they keep its frames from the others.
	slices.SortStableFunc(wanted, func(x, y entry) int {
		if x.toHeld != y.toHeld {
			return map[bool]int{true: -1, false: 1}[x.toHeld]
		}
		return x.compare(y.key)
	})
	b.adopt(wanted, now)
}

// adopt goes from the claims that there are to those wanted.
func (b *book) adopt(wanted []entry, now time.Time) {
	next, onPort := map[key]*entry{}, map[string]int{}
	b.stats.Left = 0
	for _, w := range wanted {
		if next[w.key] != nil {
			continue // two held hosts: each is told of the other once
		}
		if onPort[w.port]++; onPort[w.port] > maxClaims {
			b.stats.Left++
			continue
		}
		e := b.claims[w.key]
		if e == nil {
			e = &entry{next: now, firm: true, confirm: true}
		}
		e.claim, e.host = w.claim, w.host
		next[w.key] = e
		delete(b.partings, w.key)
	}
	for k, e := range b.claims {
		if next[k] == nil && !e.said.IsZero() {
			b.partings[k] = &parting{e.claim, now, truthRounds}
		}
	}
	b.claims = next
}

// seen joins what the caller gave and what was learnt from the wire. The caller
// knows better: of a device that it places elsewhere, and of addresses that it
// gives to another or that a held host has, nothing is learnt.
func (b *book) seen(now time.Time) []Neighbour {
	placed, owned := map[netcontain.MAC]string{}, map[netip.Addr]netcontain.MAC{}
	for _, n := range b.given {
		placed[n.MAC] = n.Port
		for _, a := range n.Addrs {
			owned[a] = n.MAC
		}
	}
	var heard []Neighbour
	for port, devices := range b.learned {
		for mac, d := range devices {
			if now.Sub(d.at) > ageing {
				delete(devices, mac)
				continue
			}
			if p, known := placed[mac]; known && p != port {
				continue
			}
			n := Neighbour{MAC: mac, Port: port}
			for _, a := range d.addrs {
				if m, taken := owned[a]; (!taken || m == mac) && (!b.belongsToHeld(a) || b.holds(mac) != "") {
					n.Addrs = append(n.Addrs, a)
				}
			}
			heard = append(heard, n)
		}
	}
	// Invented devices must not crowd out those that the caller knows.
	return clean(append(slices.Clone(b.given), byMAC(heard)...), b.no)
}

func (b *book) belongsToHeld(a netip.Addr) bool {
	return slices.ContainsFunc(b.hosts, func(h netcontain.Host) bool { return slices.Contains(h.Addrs, a) })
}

// holds names the held host that has the MAC.
func (b *book) holds(mac netcontain.MAC) string {
	for _, h := range b.hosts {
		if slices.Contains(h.MACs, mac) {
			return h.ID
		}
	}
	return ""
}

// due returns what has to be said now, and when there is something next: the
// zero time when never.
func (b *book) due(now time.Time) (out []outgoing, next time.Time) {
	if b.stale {
		if at := b.rebuilt.Add(rebuildGap); at.After(now) {
			next = at
		} else {
			b.rebuild(now)
		}
	}
	var ripe []*entry
	for _, e := range b.claims {
		if e.next.After(now) {
			next = earlier(next, e.next)
		} else {
			ripe = append(ripe, e)
		}
	}
	for _, e := range inOrder(ripe) {
		if b.rate(e).take(now, e.frames()) {
			out = append(out, b.say(e, now)...)
		}
		next = earlier(next, notBefore(e.next, now))
	}
	for k, p := range b.partings {
		if !p.next.After(now) && b.own[k.port].take(now, 2) {
			out = append(out, b.truth(p.claim)...)
			if p.next, p.left = now.Add(settled), p.left-1; p.left == 0 {
				delete(b.partings, k)
				continue
			}
		}
		next = earlier(next, notBefore(p.next, now))
	}
	for k, w := range b.answers {
		if !w.next.After(now) && b.replies[k.port].take(now, 1) {
			out = append(out, outgoing{k.port, ask(b.nowhere, k.to, k.addr, b.nowhere, w.toAddr)})
			if w.next, w.left = now.Add(settled), w.left-1; w.left == 0 {
				delete(b.answers, k)
				continue
			}
		}
		next = earlier(next, notBefore(w.next, now))
	}
	b.stats.Sent += uint64(len(out))
	return out, next
}

// notBefore keeps what waits for the rate from making a caller spin.
func notBefore(t, now time.Time) time.Time {
	if least := now.Add(time.Second / framesPerSecond); t.Before(least) {
		return least
	}
	return t
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// inOrder puts those to held hosts first, then the longest unsaid, so that none
// starves at the rate.
func inOrder(all []*entry) []*entry {
	slices.SortFunc(all, func(x, y *entry) int {
		if x.toHeld != y.toHeld {
			return map[bool]int{true: -1, false: 1}[x.toHeld]
		}
		return cmp.Or(x.said.Compare(y.said), x.compare(y.key))
	})
	return all
}

// rate is whose account a claim goes on: noise around a held host must not keep
// its neighbours from being told.
func (b *book) rate(e *entry) *bucket {
	if e.toHeld {
		return b.replies[e.port]
	}
	return b.own[e.port]
}

func (e *entry) frames() int {
	if e.firm {
		return 2
	}
	return 1
}

// say makes the frames of one claim and puts it off.
func (b *book) say(e *entry, now time.Time) (out []outgoing) {
	if e.firm {
		out = append(out, outgoing{e.port, ask(b.nowhere, e.to, e.addr, b.nowhere, e.toAddr)})
	}
	out = append(out, outgoing{e.port, tell(b.nowhere, e.to, e.addr, b.nowhere, e.toAddr, false)})
	e.said, e.firm, e.next = now, false, now.Add(repeatEvery)
	if e.confirm {
		e.confirm, e.firm, e.next = false, true, now.Add(settled)
	}
	return out
}

// truth tells where the address really is, in both forms.
func (b *book) truth(c claim) []outgoing {
	return []outgoing{
		{c.port, ask(b.nowhere, c.to, c.addr, c.truth, c.toAddr)},
		{c.port, tell(b.nowhere, c.to, c.addr, c.truth, c.toAddr, false)},
	}
}

// farewell takes everything back once, without regard to the rate of repeats:
// there is no later.
func (b *book) farewell() (out []outgoing) {
	for _, e := range inOrder(slices.Collect(maps.Values(b.claims))) {
		if !e.said.IsZero() {
			out = append(out, b.truth(e.claim)...)
		}
	}
	for _, p := range b.partings {
		out = append(out, b.truth(p.claim)...)
	}
	b.stats.Sent += uint64(len(out))
	return out
}

// bucket lets framesPerSecond pass, and as many at once after a pause. A nil
// bucket lets nothing pass.
type bucket struct {
	tokens float64
	at     time.Time
}

func (k *bucket) take(now time.Time, n int) bool {
	return k != nil && k.takeOf(now, n, framesPerSecond)
}

func (k *bucket) takeOf(now time.Time, n int, perSecond float64) bool {
	if d := now.Sub(k.at); d > 0 {
		k.tokens = min(perSecond, k.tokens+d.Seconds()*perSecond)
		k.at = now
	}
	if k.tokens < float64(n) {
		return false
	}
	k.tokens -= float64(n)
	return true
}

// open lets a port be spoken on. What was said before it was opened may not have
// arrived, and is said again.
func (b *book) open(port string, now time.Time) {
	if b.own[port] == nil {
		b.own[port] = &bucket{framesPerSecond, now}
		b.replies[port] = &bucket{framesPerSecond, now}
	}
	for _, e := range b.claims {
		if e.port == port {
			e.next, e.firm, e.confirm = now, true, true
		}
	}
}

// close forgets a port on which nothing is said any more.
func (b *book) close(port string) {
	delete(b.own, port)
	delete(b.replies, port)
	delete(b.learned, port)
	for k := range b.answers {
		if k.port == port {
			delete(b.answers, k)
		}
	}
}

// parting says that something is still to be taken back on a port.
func (b *book) parting(port string) bool {
	for k := range b.partings {
		if k.port == port {
			return true
		}
	}
	return false
}
