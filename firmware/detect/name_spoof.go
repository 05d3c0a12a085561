package detect

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// nameSpoof finds who answers for names that are not its own, to be taken for
// the server that somebody meant: by LLMNR (RFC 4795), NBNS (RFC 1002) and mDNS
// (RFC 6762) anybody may answer, and tools as Responder answer everything.
//
// The model is the protocols': a computer has one LLMNR name, the same cut to
// 15 characters in NBNS, and one host name in mDNS; it registers, announces or
// leases them. So names that lead to one address, asked of one device, are
// few. A name that another device claimed, and the two that Windows asks for by
// itself and its DNS server never gives out (wpad and isatap, the global query
// block list), are nobody else's to answer.
//
// Bands. Medium: three names besides the first that it answers for, which is
// taken for its own; or wpad or isatap alone. High: three, one of them another's
// or one of those two; or ten, not by mDNS alone, where a host may publish a name
// for each of its services. A single name of another device is low: machines
// are replaced. Answers that lead elsewhere, as a WINS server's, a reflector's
// or a sleep proxy's do, are counted for each address and never high.
//
// Limits. A tool that answers for one name only is low at most, and one that
// registers a name first owns it here; of two that answer for one name which
// nobody claimed, neither is blamed for that alone. Unicast answers between two devices of
// an unmanaged switch are not seen.
type nameSpoof struct {
	net    *network
	claims *table[string, claimants]
	asks   *table[string, time.Time] // mDNS names in question
	tab    *table[spoofKey, spoofing]
	out    []Finding
}

// spoofKey: target is zero for the device's own addresses.
type spoofKey struct {
	src    source
	target netip.Addr
}

type claimants struct {
	mac [4]flow.MAC // a computer with several interfaces, telephones with one name
	n   int
}

type spoofing struct {
	own      string // the first name that it answered for
	names    map[string]struct{}
	list     []string // the first few, for the text
	stolen   int
	reserved int
	victims  peerSet
	proto    [4]bool // flow.NameProto
	first    time.Time
	told     told
}

const (
	spoofMedium = 3
	// A file server that took over others has their names too; ten is more than
	// an office has servers.
	spoofHigh  = 10
	spoofNames = 64 // kept for one device
	spoofList  = 5

	// Answers to multicast questions come within a second (RFC 6762 section
	// 6.3: 500 ms at most, and questions are repeated after a second).
	questionOpen = 2 * time.Second

	nbRegister, nbRefresh, nbRefresh2, nbMultiHome = 5, 8, 9, 15 // RFC 1002 section 4.2.1.1
)

func newNameSpoof(n *network) *nameSpoof {
	return &nameSpoof{net: n, claims: newTable[string, claimants](8192, 0), asks: newTable[string, time.Time](1024, 0),
		tab: newTable[spoofKey, spoofing](n.MaxHosts, sweepBudget)}
}

func (d *nameSpoof) Name() string { return "name_spoof" }
func (d *nameSpoof) reads() kinds { return onDHCP | onDNS }
func (d *nameSpoof) size() int    { return d.tab.size() + d.claims.size() + d.asks.size() }
func (d *nameSpoof) evictions() uint64 {
	return d.tab.evicted + d.claims.evicted + d.asks.evicted
}

func (d *nameSpoof) Observe(ev flow.Event) []Finding {
	switch e := ev.(type) {
	case *flow.DHCP:
		if !e.FromServer && e.Hostname != "" {
			d.claim(e.ClientMAC, e.Hostname)
		}
	case *flow.DNS:
		if e.Proto != flow.NameDNS {
			d.out = d.out[:0]
			d.message(e)
			return d.out
		}
	}
	return nil
}

func (d *nameSpoof) message(e *flow.DNS) {
	switch {
	case e.Response && e.RCode == 0:
		for i := range e.Answers {
			d.record(e, &e.Answers[i])
		}
	case e.Response:
	case e.Proto == flow.NameNBNS:
		switch e.Opcode {
		case nbRegister, nbRefresh, nbRefresh2, nbMultiHome:
			d.claim(e.SrcMAC, e.QName)
		}
	case e.Proto == flow.NameMDNS:
		for i := range e.Answers { // a probe proposes records, RFC 6762 section 8.1
			if r := &e.Answers[i]; r.Type == typeA || r.Type == typeAAAA {
				d.claim(e.SrcMAC, r.Name)
			}
		}
		if len(e.Answers) == 0 {
			*d.asks.get(hostName(e.QName)) = e.Time
		}
	}
}

// record reads one record of an answer.
func (d *nameSpoof) record(e *flow.DNS, r *flow.DNSRecord) {
	switch {
	case e.Proto == flow.NameNBNS && r.Type == 33: // node status: its own name
		d.claim(e.SrcMAC, r.Data)
		return
	case e.Proto == flow.NameNBNS && r.Type != 32, r.Group,
		e.Proto != flow.NameNBNS && r.Type != typeA && r.Type != typeAAAA:
		return
	}
	target, err := netip.ParseAddr(r.Data)
	name := hostName(r.Name)
	if err != nil || name == "" || reverse(name) || candidate(r.Name) {
		return
	}
	if e.Proto == flow.NameMDNS {
		if t := d.asks.peek(name); t == nil || e.Time.Sub(*t) > questionOpen {
			d.claim(e.SrcMAC, name) // said without being asked: an announcement
			return
		}
	}
	d.answer(e, name, target)
}

// hostName is a name as all three protocols would give it: cut to the length of
// NetBIOS.
func hostName(s string) string {
	s = strings.TrimSuffix(strings.ToLower(s), ".local")
	return s[:min(len(s), 15)]
}

// candidate is a name that a browser makes for one call, to hide its address
// (draft-ietf-mmusic-mdns-ice-candidates section 3.1.1): a UUID under local.
func candidate(name string) bool {
	const form = "00000000-0000-0000-0000-000000000000.local"
	if len(name) != len(form) || !strings.HasSuffix(name, ".local") {
		return false
	}
	for i := range len(form) - len(".local") {
		if (form[i] == '-') != (name[i] == '-') {
			return false
		}
	}
	return true
}

func (d *nameSpoof) claim(m flow.MAC, name string) {
	name = hostName(name)
	if m.IsZero() || name == "" || name == "*" {
		return
	}
	c := d.claims.peek(name)
	if c == nil {
		name = strings.Clone(name)
	}
	c = d.claims.get(name)
	for _, have := range c.mac[:c.n] {
		if have == m {
			return
		}
	}
	if c.n < len(c.mac) {
		c.mac[c.n] = m
		c.n++
	}
}

// owner says whether a name is this device's, or else somebody's.
func (d *nameSpoof) owner(m flow.MAC, name string) (own, others bool) {
	if a, ok := d.net.byMAC(m); ok && (a.NameFrom == "owner" || a.NameFrom == "dhcp") && hostName(a.Name) == name {
		return true, false
	}
	c := d.claims.peek(name)
	if c == nil {
		return false, false
	}
	for _, have := range c.mac[:c.n] {
		if have == m {
			return true, false
		}
	}
	return false, true
}

func (d *nameSpoof) answer(e *flow.DNS, name string, target netip.Addr) {
	from := e.Src.Addr()
	own, others := d.owner(e.SrcMAC, name)
	if own || e.Out || d.net.own(e.SrcMAC, from) {
		return
	}
	k := spoofKey{src: d.net.source(e.SrcMAC, from)}
	if !d.ownAddr(e, target) {
		k.target, others = target, false
	}
	s := d.tab.get(k)
	if s.first.IsZero() {
		s.first, s.names = e.Time, make(map[string]struct{}, 4)
	}
	bad := blocked(name)
	if s.own == "" && !bad && !others {
		s.own = strings.Clone(name)
	}
	if !s.note(e, name, bad, others) {
		return
	}
	d.tab.grow(k, 1)
	conf := s.band(!k.target.IsValid())
	if conf == "" || !d.net.onLAN(from) {
		return
	}
	if d.net.router(e.SrcMAC) {
		conf = atMost(conf, Medium) // home routers answer for several names of their maker
	}
	if s.told.more(len(s.names), conf) {
		d.out = append(d.out, d.finding(e, s, target, conf))
	}
}

// blocked: names that a Windows DNS server does not give out, since devices ask
// for them by themselves and believe whoever answers ([MS-DNSP] section
// 3.1.1.1.2, GlobalQueryBlockList).
func blocked(name string) bool {
	first, _, _ := strings.Cut(name, ".")
	return first == "wpad" || first == "isatap"
}

func (d *nameSpoof) ownAddr(e *flow.DNS, target netip.Addr) bool {
	if target == e.Src.Addr() {
		return true
	}
	a, ok := d.net.byAddr(target)
	return ok && a.MAC == e.SrcMAC && !e.SrcMAC.IsZero()
}

// note counts a name and says whether it is new.
func (s *spoofing) note(e *flow.DNS, name string, bad, others bool) bool {
	s.proto[e.Proto&3] = true
	if !e.DstMAC.IsGroup() && !e.Dst.Addr().IsMulticast() {
		s.victims.add(e.Dst.Addr())
	}
	if _, ok := s.names[name]; ok || name == s.own || len(s.names) >= spoofNames {
		return false
	}
	name = strings.Clone(name)
	s.names[name] = struct{}{}
	if len(s.list) < spoofList {
		s.list = append(s.list, name)
	}
	if bad {
		s.reserved++
	}
	if others {
		s.stolen++
	}
	return true
}

func (s *spoofing) band(own bool) Confidence {
	n := len(s.names)
	switch {
	case own && (n >= spoofHigh && (s.proto[flow.NameLLMNR] || s.proto[flow.NameNBNS]) || n >= spoofMedium && s.reserved+s.stolen > 0):
		return High
	case n >= spoofMedium, s.reserved > 0:
		return Medium
	case s.stolen > 0:
		return Low
	}
	return ""
}

func (d *nameSpoof) finding(e *flow.DNS, s *spoofing, target netip.Addr, conf Confidence) Finding {
	h := d.net.host(e.SrcMAC, e.Src.Addr())
	score := map[Confidence]float64{Low: 0.4, Medium: 0.85, High: 0.98}[conf]
	tEN, tJA := span(e.Time.Sub(s.first))
	via := s.protocols()
	list := strings.Join(s.list, ", ")
	t := Text{
		EN: fmt.Sprintf("Within %s, %s said by %s that %s (%s) can be reached at %s.", tEN, h.label(), via, plural(len(s.names), "other name"), list, target),
		JA: fmt.Sprintf("%s が %s の間に、自分のものではない %d 個の名前（%s）の宛先は %s だと %s で応答しました。", h.label(), tJA, len(s.names), list, target, via),
	}
	if s.stolen > 0 {
		t.EN += fmt.Sprintf(" %d of them belong to other devices.", s.stolen)
		t.JA += fmt.Sprintf("うち %d 個はほかの機器の名前です。", s.stolen)
	}
	if s.reserved > 0 {
		t.EN += " Computers ask for wpad and isatap by themselves; no device should answer."
		t.JA += "wpad と isatap はパソコンが自動で問い合わせる名前で、通常は応答する機器がありません。"
	}
	return Finding{
		Time: e.Time, Detector: d.Name(), Technique: "T1557.001", Host: h,
		Peers: d.net.peers(s.victims.first), PeerCount: s.victims.len(),
		Score: score, Confidence: conf, First: s.first, Last: e.Time,
		Title: Text{
			EN: fmt.Sprintf("%s pretends to be other computers", h.label()),
			JA: fmt.Sprintf("%s が、ほかのコンピューターになりすましています", h.label()),
		},
		Explain: t,
	}
}

func (s *spoofing) protocols() string {
	var via []string
	for p, name := range [...]string{flow.NameLLMNR: "LLMNR", flow.NameNBNS: "NBNS", flow.NameMDNS: "mDNS"} {
		if s.proto[p] {
			via = append(via, name)
		}
	}
	return strings.Join(via, "/")
}
