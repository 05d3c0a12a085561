package detect

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// arpSpoof follows which MAC claims which address (RFC 826, RFC 4861) and
// reports a claim against an owner who is alive.
//
// Model. One change of MAC is ordinary: a new lease, a new network card, a
// laptop taken from its dock. What is not ordinary is that the former owner
// goes on speaking afterwards. Poisoning must also repeat itself, because the
// owner's answers overwrite it: answers that nobody asked for, again and again
// (arpspoof sends one every 2 s, ettercap every 10 s).
//
//   - the gateway's own address (configured) claimed by another: medium at once,
//     since a router or a camera may be plugged in that has the same address by
//     its maker; high when it insists, by three unasked answers or by more
//     announcements than RFC 5227 lets a device make;
//   - owner alive after the claim and three unasked answers: high;
//   - owner alive after the claim: medium, as two devices with one address do;
//   - owner heard less than ownerLives before: low, said once;
//   - see arp_hearsay.go for what one host says in another's name.
//
// Never counted: leases granted by DHCP, virtual router MACs (VRRP and CARP
// 00:00:5e:00:01/02, HSRP 00:00:0c:07:ac and 00:00:0c:9f:f, GLBP 00:07:b4),
// and a device that answers for bridgeHosts and more when asked, as Wi-Fi
// bridges do: its addresses stay low. So do those of a sleep proxy, which says
// by mDNS that it answers for sleeping devices. Two interfaces of one machine
// tell each client another MAC, unasked (balance-alb in the kernel's bonding
// documentation, usual on storage boxes): that is medium, however often. Limits:
// poisoning by unicast on a switch port that we do not see; who takes a MAC
// next to its victim's is medium.
type arpSpoof struct {
	net   *network
	binds *table[netip.Addr, bind]
	asked *table[netip.Addr, time.Time]
	rival *table[flow.MAC, claims]
	proxy *table[flow.MAC, struct{}] // sleep proxies
	out   []Finding
}

type bind struct {
	owner     flow.MAC
	seen      time.Time // owner last heard
	rival     flow.MAC
	since     time.Time // first claim of the rival
	last      time.Time // last claim of the rival
	claims    int
	unasked   int
	contested int // times the owner spoke after a claim
	answered  bool
	insisted  int // unasked answers of the owner itself
	disowned  int // times the owner gave the address to the rival
	announced int // announcements of the rival faster than defendEvery
	announce  time.Time
	told      told
}

type claims struct{ addrs peerSet }

const (
	ownerLives  = time.Minute
	contestFor  = 5 * time.Minute
	askedFor    = 2 * time.Second
	sureUnasked = 3
	bridgeHosts = 4

	// RFC 5227 section 1.1: a device announces its address twice (ANNOUNCE_NUM),
	// and defends it by one more each ten seconds (DEFEND_INTERVAL).
	defendEvery   = 10 * time.Second
	sureAnnounced = 2 + sureUnasked
)

func newARPSpoof(n *network) *arpSpoof {
	return &arpSpoof{
		net:   n,
		binds: newTable[netip.Addr, bind](16384, 0),
		asked: newTable[netip.Addr, time.Time](4096, 0),
		rival: newTable[flow.MAC, claims](1024, 1<<14),
		proxy: newTable[flow.MAC, struct{}](64, 0),
	}
}

func (d *arpSpoof) Name() string { return "arp_spoof" }

func (d *arpSpoof) reads() kinds { return onARP | onNDP | onDHCP | onDNS | onConn }

func (d *arpSpoof) size() int {
	return d.binds.size() + d.asked.size() + d.rival.size() + d.proxy.size()
}
func (d *arpSpoof) evictions() uint64 {
	return d.binds.evicted + d.asked.evicted + d.rival.evicted + d.proxy.evicted
}

func (d *arpSpoof) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	switch e := ev.(type) {
	case *flow.ARP:
		d.arp(e)
	case *flow.NDP:
		if e.Type == 136 && !e.LinkAddr.IsZero() {
			d.claim(&e.Meta, e.LinkAddr, e.Target, answered)
		}
	case *flow.DHCP:
		if e.FromServer && e.Type == 5 && e.YourIP.IsValid() && !e.YourIP.IsUnspecified() && !d.gateway(e.YourIP) {
			*d.binds.get(e.YourIP) = bind{owner: e.ClientMAC, seen: e.Time}
		}
	case *flow.DNS:
		if e.Proto == flow.NameMDNS && e.Response {
			d.sleepProxy(e)
		}
	case *flow.Conn:
		d.alive(e.ClientMAC, e.Client.Addr(), e.Time)
	}
	return d.out
}

// sleepProxy notes who offers Apple's service of that name.
func (d *arpSpoof) sleepProxy(e *flow.DNS) {
	for i := range e.Answers {
		if strings.HasSuffix(e.Answers[i].Name, "_sleep-proxy._udp.local") && !e.SrcMAC.IsZero() {
			d.proxy.get(e.SrcMAC)
			return
		}
	}
}

// siblings says that two addresses were given by one maker next to each other,
// as those of the interfaces of one machine are.
func siblings(a, b flow.MAC) bool {
	const ports = 8 // of one machine
	distance := int(a[5]) - int(b[5])
	return a[0]&2 == 0 && [5]byte(a[:5]) == [5]byte(b[:5]) && distance < ports && -distance < ports
}

func (d *arpSpoof) arp(e *flow.ARP) {
	if e.SenderIP.IsValid() && !e.SenderIP.IsUnspecified() {
		how := answered
		if e.SenderIP == e.TargetIP {
			how = announced
		} else if e.Op == 2 && !d.toNowhere(e) {
			if t := d.asked.peek(e.SenderIP); t == nil || e.Time.Sub(*t) > askedFor {
				how = unasked
			}
		}
		if hearsay(e) {
			d.hearsay(e, how == unasked)
		} else {
			d.claim(&e.Meta, e.SenderMAC, e.SenderIP, how)
		}
	}
	if e.Op == 1 && e.SenderIP != e.TargetIP {
		*d.asked.get(e.TargetIP) = e.Time
	}
}

// toNowhere says that an answer goes to where netcontain/neigh asks from, by the
// port alone, so that the question was not seen. No machine takes such a frame:
// to call it asked for hides no poisoning.
func (d *arpSpoof) toNowhere(e *flow.ARP) bool {
	return !d.net.Nowhere.IsZero() && e.DstMAC == d.net.Nowhere
}

func (d *arpSpoof) gateway(a netip.Addr) bool { return slices.Contains(d.net.Gateway, a) }

// said is how an address was claimed.
type said uint8

const (
	answered  said = iota // or by asking for somebody else
	unasked               // an answer to nobody's question
	announced             // to everybody
)

func (d *arpSpoof) claim(m *flow.Meta, mac flow.MAC, a netip.Addr, how said) {
	if mac.IsZero() || mac.IsGroup() || virtualRouter(mac) || !a.IsValid() || a.IsMulticast() {
		return
	}
	b := d.binds.get(a)
	if d.gateway(a) {
		d.claimGateway(m, mac, a, b, how)
		return
	}
	switch {
	case b.owner.IsZero():
		b.owner, b.seen = mac, m.Time
		b.insist(how)
	case b.owner == mac:
		d.ownerSpeaks(b, a, m)
		b.insist(how)
	case m.Time.Sub(b.seen) > contestFor && b.contested == 0:
		*b = bind{owner: mac, seen: m.Time} // the former owner has gone
	default:
		d.rivalClaims(m, mac, a, b, how)
	}
}

func (b *bind) insist(how said) {
	if how == unasked {
		b.insisted++
	}
}

// alive takes traffic as a sign that the owner of an address is there.
func (d *arpSpoof) alive(mac flow.MAC, a netip.Addr, t time.Time) {
	if mac.IsZero() {
		return
	}
	if b := d.binds.peek(a); b != nil && b.owner == mac && t.After(b.seen) {
		d.ownerSpeaks(b, a, &flow.Meta{Time: t, SrcMAC: mac})
	}
}

func (d *arpSpoof) ownerSpeaks(b *bind, a netip.Addr, m *flow.Meta) {
	b.seen = m.Time
	if b.rival.IsZero() || b.answered || m.Time.Sub(b.last) > contestFor {
		return
	}
	b.answered = true
	b.contested++
	d.judge(m.Time, a, b)
}

func (d *arpSpoof) rivalClaims(m *flow.Meta, mac flow.MAC, a netip.Addr, b *bind, how said) {
	if b.rival != mac {
		b.rival, b.since, b.claims, b.unasked, b.contested, b.disowned = mac, m.Time, 0, 0, 0, 0
	}
	b.last, b.answered = m.Time, false
	b.claims++
	if how == unasked {
		b.unasked++
	}
	if d.rival.get(mac).addrs.add(a) {
		d.rival.grow(mac, 1)
	}
	d.judge(m.Time, a, b)
}

func (d *arpSpoof) judge(now time.Time, a netip.Addr, b *bind) {
	passes := d.rival.get(b.rival).addrs.len() >= bridgeHosts || d.proxy.peek(b.rival) != nil
	bridge := passes && b.unasked < sureUnasked
	conf, score := Low, 0.3
	switch {
	case b.contested == 0 && b.since.Sub(b.seen) > ownerLives:
		return
	case bridge || b.contested == 0:
	case b.unasked >= sureUnasked && !siblings(b.owner, b.rival):
		conf, score = High, 0.98
	default:
		conf, score = Medium, 0.75
	}
	if b.told.conf != "" && rank(conf) <= rank(b.told.conf) {
		return
	}
	b.told.conf = conf
	d.out = append(d.out, d.finding(now, a, b, conf, score))
}

func (d *arpSpoof) claimGateway(m *flow.Meta, mac flow.MAC, a netip.Addr, b *bind, how said) {
	if m.Out || d.net.role(mac, a).Gateway {
		b.owner, b.seen = mac, m.Time
		return
	}
	switch {
	case b.rival != mac:
		*b = bind{owner: b.owner, seen: b.seen, rival: mac, since: m.Time}
	case m.Time.Sub(b.last) > contestFor: // another day
		*b = bind{owner: b.owner, seen: b.seen, rival: mac, since: m.Time, told: b.told}
	}
	switch how {
	case unasked:
		b.unasked++
	case announced:
		if m.Time.Sub(b.announce) >= defendEvery {
			b.announced = 0
		}
		b.announced++
		b.announce = m.Time
	}
	b.claims++
	b.last = m.Time
	conf, score := Medium, 0.85
	if b.unasked >= sureUnasked || b.announced >= sureAnnounced {
		conf, score = High, 0.99
	}
	if rank(conf) > rank(b.told.conf) {
		b.told.conf = conf
		d.out = append(d.out, d.finding(m.Time, a, b, conf, score))
	}
}

func virtualRouter(m flow.MAC) bool {
	switch {
	case m[0] == 0 && m[1] == 0 && m[2] == 0x5e && m[3] == 0 && (m[4] == 1 || m[4] == 2):
		return true
	case m[0] == 0 && m[1] == 0 && m[2] == 0x0c && (m[3] == 0x07 && m[4] == 0xac || m[3] == 0x9f && m[4]>>4 == 0xf):
		return true
	}
	return m[0] == 0 && m[1] == 0x07 && m[2] == 0xb4
}
