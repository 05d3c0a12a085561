package detect

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// dnsTunnel bounds what a device can tell the owner of a domain by the names
// that it asks: Paxson, Christodorescu, Javed, Rao, Sailer, Schales, Stoecklin,
// Thomas, Venema and Weaver, "Practical Comprehensive Bounds on Surreptitious
// Communication over DNS", USENIX Security 2013. Whatever the encoding and the
// tool, a channel of n bytes needs names of n bytes of information; ordinary
// look-ups repeat few names. The paper's bound is 4 kB a day for each client
// and domain. Here it is a bucket that drains that much in a day, so that a
// fast channel is found as soon as it has sent so much, and a slow one within
// the day.
//
// What differs from the paper: the length of an adaptive code takes the place
// of gzip (dns_code.go); types of questions are in the bound, their timing and
// the choice among names asked before are not, since both need the whole day
// in memory: a channel by those only is missed, at a few bits a question. The
// lists that the paper makes by hand are one list of look-up services
// (suffix.go), and three rules that need no list: names asked again mean a
// service (a channel must avoid caches), a domain that three devices feed is a
// product, and a name that is some other name with a search domain behind it
// counts only when it exists.
//
// Bands. Medium: above the bound, four of five questions new; or both directions
// together are, by questions whose answers carry what their sender likes (TXT,
// NULL, MX, CNAME, private types, or an alias without an address), a quarter of
// the bound in each at least.
// High: the latter, and a quarter of the bound within a minute of that day, 360
// times the rate of the paper: a mail server that asks for the senders' policies all day
// stays below it. Medium too: a name that begins as a file does
// (dns_file.go). The rest is low.
//
// Limits. Below 4 kB a day nothing is said. Names under .arpa are not looked
// at. DNS inside HTTPS or TLS, and DNS on ports other than 53, cannot be read.
// A forwarder inside the office is named only when the device that asked it
// cannot be seen.
type dnsTunnel struct {
	net  *network
	tab  *table[zoneKey, zone]
	fans *table[string, fans]
	said *table[source, told] // of names that are files
	out  []Finding
}

// zoneKey: domain is "" for names outside the internet's tree, which are kept
// by the server that answers them: a tool that talks to its own server straight
// needs no domain.
type zoneKey struct {
	src    source
	domain string
	server netip.Addr
}

type zone struct {
	seen     map[uint64]struct{} // names, questions and labels by hash
	code     nameCode
	types    [9]uint16
	up, down drain
	fast     drain
	hurried  time.Time // when fast was above its bound last
	sent     float64   // bytes of information in names, all time
	received float64
	fresh    int // questions asked for the first time
	repeats  int
	last     uint64 // question, with its port and number
	lastAt   time.Time
	bulk     int // of fresh: those whose answer carries what its sender likes
	label    string
	from     netip.Addr
	first    time.Time
	told     told
}

// fans are the devices that tell one domain a quarter of the bound.
type fans struct {
	src [3]source
	n   int
}

// drain is a bucket that loses bound bytes in the time over.
type drain struct {
	level float64
	at    time.Time
}

func (d *drain) add(by float64, t time.Time, bound float64, over time.Duration) {
	if dt := t.Sub(d.at); dt > 0 {
		d.level = max(0, d.level-bound*float64(dt)/float64(over))
		d.at = t
	} else if -dt > setBack { // nothing would drain until that time comes again
		d.level, d.at = 0, t
	}
	d.level += by
}

const (
	dayBound = 4096 // bytes: section 5 of the paper, for one client, domain and day
	day      = 24 * time.Hour
	quarter  = dayBound / 4
	// A name costs three or four entries; a channel reaches the bound with a
	// few hundred names. Beyond this all is forgotten and counted again.
	maxSeen    = 8192
	seenBudget = 1 << 18
)

func newDNSTunnel(n *network) *dnsTunnel {
	return &dnsTunnel{net: n, tab: newTable[zoneKey, zone](4*n.MaxHosts, seenBudget),
		fans: newTable[string, fans](n.MaxHosts, 0), said: newTable[source, told](n.MaxHosts, 0)}
}

func (d *dnsTunnel) Name() string      { return "dns_tunnel" }
func (d *dnsTunnel) reads() kinds      { return onDNS }
func (d *dnsTunnel) size() int         { return d.tab.size() + d.fans.size() + d.said.size() }
func (d *dnsTunnel) evictions() uint64 { return d.tab.evicted + d.fans.evicted + d.said.evicted }

func (d *dnsTunnel) Observe(ev flow.Event) []Finding {
	e, ok := ev.(*flow.DNS)
	if !ok || e.Proto != flow.NameDNS || e.Opcode != 0 || e.QName == "" || reverse(e.QName) {
		return nil
	}
	d.out = d.out[:0]
	if e.Response {
		d.answer(e)
	} else if src, ok := d.net.asker(e); ok {
		d.ask(e, src)
	}
	return d.out
}

func (d *dnsTunnel) ask(e *flow.DNS, src source) {
	forwards, seen := d.net.forwarders.cause(src, e.QName, e.Time)
	if seen {
		return
	}
	p := d.net.names.split(e.QName)
	if p.prefix == "" || lookupServices[p.domain] {
		return
	}
	if kind := fileIn(p.prefix); kind != "" {
		d.file(e, src, p.prefix, kind)
	}
	if p.appended {
		return
	}
	k := keyOf(p, src, e.Dst.Addr())
	if z := d.question(e, k, p.prefix, e.Src.Addr()); z != nil {
		d.judge(e, k, z, e.SrcMAC, forwards)
	}
}

// keyOf finds the channel that a name would belong to.
func keyOf(p *nameParts, src source, server netip.Addr) zoneKey {
	if !p.public {
		return zoneKey{src: src, server: server}
	}
	return zoneKey{src: src, domain: p.domain}
}

// copyWithin: a mirror port that shows a frame twice does so within its queue,
// some milliseconds; who asks again waits for an answer first.
const copyWithin = 10 * time.Millisecond

// question counts what a question tells; nil when it was asked before.
func (d *dnsTunnel) question(e *flow.DNS, k zoneKey, prefix string, from netip.Addr) *zone {
	z := d.tab.use(k)
	if z == nil {
		k.domain = strings.Clone(k.domain)
		z = d.tab.get(k)
		*z = zone{seen: make(map[uint64]struct{}, 4), first: e.Time, label: nameOf(k, e.QName)}
	}
	name := hash64(e.QName)
	port := e.Src.Port()
	if e.Response {
		port = e.Dst.Port()
	}
	asked := name + uint64(e.QType)<<32 + uint64(port)<<16 + uint64(e.ID)
	copied := z.last == asked && e.Time.Sub(z.lastAt) < copyWithin
	z.last, z.lastAt = asked, e.Time
	if !d.note(k, z, name+uint64(e.QType)*0x9e3779b97f4a7c15) {
		if !copied {
			z.repeats++
		}
		return nil
	}
	z.from = from
	z.fresh++
	if carries(e.QType) && !attributeName(prefix) {
		z.bulk++
	}
	bits := z.typeBits(e.QType)
	if d.note(k, z, name) {
		bits += z.code.bits(prefix, len(z.seen), func(label string) bool { return !d.note(k, z, hash64(label)) })
		if k.domain == "" {
			z.label = commonSuffix(z.label, e.QName)
		}
	}
	z.up.add(bits/8, e.Time, dayBound, day)
	z.fast.add(bits/8, e.Time, quarter, time.Minute)
	if z.fast.level >= quarter {
		z.hurried = e.Time
	}
	z.sent += bits / 8
	return z
}

// note reports whether a hash is new.
func (d *dnsTunnel) note(k zoneKey, z *zone, h uint64) bool {
	if _, ok := z.seen[h]; ok {
		return false
	}
	if len(z.seen) >= maxSeen {
		d.tab.grow(k, -len(z.seen))
		clear(z.seen)
	}
	z.seen[h] = struct{}{}
	d.tab.grow(k, 1)
	return true
}

// typeBits is what the choice of a question's type tells, coded as the names.
func (z *zone) typeBits(t uint16) float64 {
	i := 0
	switch t {
	case typeA:
		i = 1
	case typeAAAA:
		i = 2
	case typeCNAME:
		i = 3
	case typeMX:
		i = 4
	case typeTXT:
		i = 5
	case typeNULL:
		i = 6
	case typeSRV:
		i = 7
	case 65: // HTTPS, RFC 9460
		i = 8
	}
	total := 0.0
	for _, n := range z.types {
		total += float64(n)
	}
	bits := -math.Log2((float64(z.types[i]) + 0.5) / (total + float64(len(z.types))/2))
	if z.types[i]++; z.types[i] == math.MaxUint16 {
		for j := range z.types {
			z.types[j] /= 2
		}
	}
	if i == 0 {
		bits += 16
	}
	return bits
}

// answer counts what came back, once for each question.
func (d *dnsTunnel) answer(e *flow.DNS) {
	if e.RCode != noError || len(e.Answers) == 0 {
		return
	}
	p := d.net.names.split(e.QName)
	size := carried(e)
	if size == 0 && !p.appended || p.prefix == "" || lookupServices[p.domain] || d.net.own(e.DstMAC, e.Dst.Addr()) {
		return
	}
	src := d.net.answerTo(e)
	k := keyOf(p, src, e.Src.Addr())
	if p.appended && d.question(e, k, p.prefix, e.Dst.Addr()) == nil {
		return
	}
	z := d.tab.peek(k)
	if z == nil || size == 0 || !d.note(k, z, ^hash64(e.QName)-uint64(e.QType)) {
		return
	}
	if !carries(e.QType) {
		z.bulk++
	}
	z.down.add(float64(size), e.Time, dayBound, day)
	z.received += float64(size)
	d.judge(e, k, z, e.DstMAC, d.net.forwarders.forwards(src))
}

// carried is how many bytes an answer holds of what its sender likes. The name
// that an address question leads to is followed by its address (RFC 1034
// section 4.3.2, step 3a), so one without is not there to be followed; for
// AAAA that is ordinary, since many names have no such address.
func carried(e *flow.DNS) int {
	want := e.QType
	if want == typeA {
		want = typeCNAME
	} else if !carries(want) {
		return 0
	}
	size := 0
	for i := range e.Answers {
		switch r := &e.Answers[i]; {
		case r.Type == typeA:
			return 0
		case r.Type == want:
			size += r.Size
		}
	}
	return size
}

func (d *dnsTunnel) judge(e *flow.DNS, k zoneKey, z *zone, mac flow.MAC, forwards bool) {
	if z.up.level < quarter {
		return
	}
	shared := d.shared(k)
	both := 2*z.bulk >= z.fresh && z.down.level >= quarter && z.up.level+z.down.level >= dayBound
	if z.up.level < dayBound && !both {
		return
	}
	conf, score := Medium, 0.9
	switch {
	case both && !shared && !z.hurried.IsZero() && e.Time.Sub(z.hurried).Abs() < day:
		conf, score = High, 0.99
	case shared && !both:
		conf, score = Low, 0.3
	case shared: // an unknown product's look-ups, or a tunnel of three
	}
	if 4*z.repeats > z.fresh || forwards || !d.net.onLAN(z.from) || d.net.router(k.src.mac) {
		conf, score = Low, 0.3
	}
	if z.told.more(int(z.sent)+int(z.received), conf) {
		d.out = append(d.out, d.finding(e, k, z, mac, conf, score))
	}
}

// shared says that at least three devices tell this domain much.
func (d *dnsTunnel) shared(k zoneKey) bool {
	if k.domain == "" {
		return false
	}
	f := d.fans.get(k.domain)
	for _, s := range f.src[:f.n] {
		if s == k.src {
			return f.n == len(f.src)
		}
	}
	if f.n < len(f.src) {
		f.src[f.n] = k.src
		f.n++
	}
	return f.n == len(f.src)
}

func (d *dnsTunnel) finding(e *flow.DNS, k zoneKey, z *zone, mac flow.MAC, conf Confidence, score float64) Finding {
	if mac.IsGroup() {
		mac = flow.MAC{}
	}
	h := d.net.host(mac, z.from)
	server := e.Dst.Addr()
	if e.Response {
		server = e.Src.Addr()
	}
	tEN, tJA := span(e.Time.Sub(z.first))
	underEN, underJA := "under "+z.label, z.label+" の下の名前"
	if z.label == "" {
		underEN, underJA = "for names of no domain on the internet", "インターネットのどのドメインにも属さない名前"
	}
	t := Text{
		EN: fmt.Sprintf("Within %s, %s asked %d different questions %s, %d of them for text or other data; the names alone hold up to %s.",
			tEN, h.label(), z.fresh, underEN, z.bulk, kilobytes(z.sent)),
		JA: fmt.Sprintf("%s が %s の間に、%sについて %d 種類の問い合わせ（うち %d 件は文字列などのデータの要求）を行いました。名前だけで最大 %s の情報を運べます。",
			h.label(), tJA, underJA, z.fresh, z.bulk, kilobytes(z.sent)),
	}
	if z.received > 0 {
		t.EN += fmt.Sprintf(" %s of data came back.", kilobytes(z.received))
		t.JA += fmt.Sprintf("応答として %s のデータが返されています。", kilobytes(z.received))
	}
	return Finding{
		Time: e.Time, Detector: d.Name(), Technique: "T1071.004", Host: h,
		Peers: []Host{d.net.peer(server)}, PeerCount: 1,
		Score: score, Confidence: conf, First: z.first, Last: e.Time,
		Title: Text{
			EN: fmt.Sprintf("%s is sending data out hidden in DNS names", h.label()),
			JA: fmt.Sprintf("%s が DNS の名前に隠してデータを送り出しています", h.label()),
		},
		Explain: t,
	}
}

func kilobytes(n float64) string {
	if n < 1024 {
		return fmt.Sprintf("%.0f B", n)
	}
	return fmt.Sprintf("%.1f kB", n/1024)
}

// nameOf is how a text calls the domain of a channel.
func nameOf(k zoneKey, name string) string {
	if k.domain != "" {
		return k.domain
	}
	return strings.Clone(name)
}

// commonSuffix is the labels by which both names end, "" for none.
func commonSuffix(a, b string) string {
	for a != "" && !under(b, a) {
		_, a, _ = strings.Cut(a, ".")
	}
	return a
}
