package detect

import (
	"math"
	"net/netip"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// tlsAnomaly adds up what is odd about one device's TLS connections to one
// server. The features are those by which Anderson, Paul and McGrew tell
// malware's use of TLS from an office's without decrypting it ("Deciphering
// Malware's use of TLS (without Decryption)", J. Computer Virology 14, 2018):
// certificate, its validity and names, server name, port, and the client's
// offer, here as JA4.
//
// Model. Each oddity is worth -ln of how often an ordinary pair of device and
// server shows it; independent ones add up. Those that come together in ordinary life, because a
// device's maker or an owner runs servers with certificates of his own, count
// with their share among such servers. The limits of the bands follow from
// what the bands mean and how many new pairs an office of 50 has a month: some
// 1,000 for each of 30 desks to the internet, some 20 a device to private
// addresses behind a router. The shares are orders of magnitude, not measured
// to the digit; so is the outcome, and it is never more than medium.
//
// Limits. Servers with a real certificate, a name that was asked for and port
// 443 show nothing here, also when they are an attacker's; TLS 1.3 hides the
// certificate. Servers on the office's own segment are not judged: printers
// and file servers make their own certificates. An address that nobody asked
// for is odd only where the device's DNS can be seen for a while.
type tlsAnomaly struct {
	net    *network
	places *places
	past   *history
	pairs  *table[tlsPair, tlsServer]
	asking *table[source, time.Time] // since when a device's DNS answers are seen
	out    []Finding
}

type tlsPair struct {
	src    source
	server netip.AddrPort
}

// tlsServer is what one device has seen of one server.
type tlsServer struct {
	odd         [tlsOddities]bool
	madeUp      float64 // nats
	quic        bool
	sni, ja4    string
	cn, org     string
	authority   string
	until       time.Time
	years       int
	connections int
	first       time.Time
	told        told
}

// tlsOddity is one thing that ordinary connections rarely show.
type tlsOddity int

const (
	tlsSelfSigned  tlsOddity = iota
	tlsStrangeCA             // signed by an authority of random letters
	tlsTooLong               // valid for longer than a public authority signs
	tlsExpired               // or not valid yet
	tlsPlaceholder           // names that tools fill in
	tlsMadeUp                // an organisation of random letters
	tlsNoName                // the client names no server, and asked for none
	tlsOtherName             // the certificate is for another one
	tlsClearPort             // port of a protocol without encryption
	tlsOddPort               // port that nobody registered for TLS
	tlsUnasked               // an address that came by no DNS answer
	tlsNewClient             // a client program that is new to the device
	tlsOddities
)

// tlsShare is one in how many pairs shows an oddity: on the internet, on the
// internet among servers with a certificate of their own, and at private
// addresses behind a router, where most have one.
var tlsShare = [tlsOddities][3]float64{
	tlsSelfSigned:  {1000, 1000, 5}, // browsers refuse them; what remains is devices, tunnels and peers
	tlsStrangeCA:   {1000, 1000, 5}, // as rare as none at all: who runs an authority gives it a name
	tlsTooLong:     {100, 3, 2},     // makers' own authorities sign for decades
	tlsExpired:     {500, 10, 5},
	tlsPlaceholder: {1000, 10, 5},
	tlsNoName:      {50, 5, 3}, // old clients, and servers that a program carries as addresses
	tlsOtherName:   {200, 2, 2},
	tlsClearPort:   {300, 30, 30},
	tlsOddPort:     {30, 5, 5},
	tlsUnasked:     {20, 5, 2}, // encrypted DNS, addresses kept for long
	tlsNewClient:   {20, 20, 20},
}

// tlsNoNameQUIC is the same for QUIC, whose clients are browsers in the main.
const tlsNoNameQUIC = 500

// madeUpMost bounds what an organisation's name is worth: foreign words and
// acronyms look random to a model of English; one of 30 may.
var madeUpMost = math.Log(30)

// Pairs a month: see above. Low is twenty of them, medium one.
const (
	pairsOutside = 30 * 1000
	pairsInside  = 50 * 20
	lowAMonth    = 20
)

// dnsKnown is how long a device's DNS is watched before an address that came
// by none is odd. Answers live for an hour or less, but for a few.
const dnsKnown = time.Hour

func newTLSAnomaly(n *network, p *places, h *history) *tlsAnomaly {
	return &tlsAnomaly{
		net: n, places: p, past: h,
		pairs:  newTable[tlsPair, tlsServer](16384, 0),
		asking: newTable[source, time.Time](n.MaxHosts, 0),
	}
}

func (d *tlsAnomaly) Name() string      { return "tls_anomaly" }
func (d *tlsAnomaly) reads() kinds      { return onDNS | onTLSHello | onTLSCert }
func (d *tlsAnomaly) size() int         { return d.pairs.size() + d.asking.size() }
func (d *tlsAnomaly) evictions() uint64 { return d.pairs.evicted + d.asking.evicted }

// Observe runs after the detector that keeps places.
func (d *tlsAnomaly) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	switch e := ev.(type) {
	case *flow.DNS:
		if e.Response && e.Proto == flow.NameDNS && len(e.Answers) > 0 {
			src, _ := d.net.client(&e.Meta, e.Dst.Addr(), true)
			if since := d.asking.get(src); since.IsZero() {
				*since = e.Time
			}
		}
	case *flow.TLSHello:
		if e.FromServer {
			d.serverHello(e)
		} else {
			d.clientHello(e)
		}
	case *flow.TLSCert:
		d.cert(e)
	}
	return d.out
}

// watched says whether a pair is judged: a device of the office calls a server
// that is not on its own segment. Private addresses of two of the blocks of
// RFC 1918 share no network: whatever the frames' addresses say, something
// stands between them.
func (d *tlsAnomaly) watched(m *flow.Meta, client, server netip.Addr) bool {
	if !d.net.onLAN(client) || server.IsLoopback() || server.IsMulticast() || server.IsLinkLocalUnicast() {
		return false
	}
	if !d.net.onLAN(server) || privateBlock(client) != privateBlock(server) {
		return true
	}
	far := d.net.role(m.DstMAC, server)
	return far.Router && !far.Holds
}

// privateBlock numbers the blocks of RFC 1918 by their first byte; 0 for other
// addresses.
func privateBlock(a netip.Addr) byte {
	if a = a.Unmap(); a.Is4() && a.IsPrivate() {
		return a.As4()[0]
	}
	return 0
}

func (d *tlsAnomaly) clientHello(e *flow.TLSHello) {
	if !d.watched(&e.Meta, e.Client.Addr(), e.Server.Addr()) {
		return
	}
	src, mac := d.net.client(&e.Meta, e.Client.Addr(), false)
	s := d.pairs.get(tlsPair{src, e.Server})
	if s.first.IsZero() {
		s.first = e.Time
		s.odd[tlsClearPort], s.odd[tlsOddPort] = tlsPort(e.Server.Port())
		s.odd[tlsUnasked] = e.SNI != "" && d.unasked(src, e.Server.Addr(), e.Time)
	}
	s.connections++
	s.quic = s.quic || e.QUIC
	s.odd[tlsNoName] = e.SNI == "" && (s.connections == 1 || s.odd[tlsNoName]) && d.places.names.peek(e.Server.Addr()) == nil
	if e.SNI != s.sni {
		s.sni = strings.Clone(e.SNI)
	}
	if e.JA4 != s.ja4 {
		s.ja4 = strings.Clone(e.JA4)
		known := d.past.familiar(src, mac, "ja4:"+e.JA4, e.Time)
		s.odd[tlsNewClient] = !known && d.past.learnt(src, e.Time)
	}
	if e.QUIC { // its server's answer is not read
		d.judge(src, mac, s, e.Head(), e.Client.Addr(), e.Server)
	}
}

// unasked says that an address came by no answer, though the device asks.
func (d *tlsAnomaly) unasked(src source, a netip.Addr, now time.Time) bool {
	since := d.asking.peek(src)
	return since != nil && now.Sub(*since) >= dnsKnown && d.places.names.peek(a) == nil
}

// serverHello judges what shows no certificate.
func (d *tlsAnomaly) serverHello(e *flow.TLSHello) {
	if e.Version < 0x0304 {
		return
	}
	src, mac := d.net.client(&e.Meta, e.Client.Addr(), true)
	if s := d.pairs.peek(tlsPair{src, e.Server}); s != nil {
		d.judge(src, mac, s, e.Head(), e.Client.Addr(), e.Server)
	}
}

func (d *tlsAnomaly) cert(e *flow.TLSCert) {
	src, mac := d.net.client(&e.Meta, e.Client.Addr(), true)
	s := d.pairs.peek(tlsPair{src, e.Server})
	if s == nil {
		return
	}
	s.odd[tlsSelfSigned] = e.SelfSigned
	s.odd[tlsStrangeCA] = !e.SelfSigned && madeUpName(e.Issuer) >= madeUpMost
	s.odd[tlsTooLong] = !e.NotAfter.IsZero() && (e.NotAfter.Sub(e.NotBefore) > tlsLongest || !e.NotAfter.After(e.NotBefore))
	s.odd[tlsExpired] = !e.NotAfter.IsZero() && (e.Time.After(e.NotAfter) || e.Time.Before(e.NotBefore.Add(-24*time.Hour)))
	s.odd[tlsOtherName] = s.sni != "" && !certFor(e, s.sni)
	s.odd[tlsPlaceholder] = placeholderCert(e)
	s.madeUp = madeUpName(e.Subject)
	s.odd[tlsMadeUp] = s.madeUp > 0
	s.until, s.years = e.NotAfter, int(e.NotAfter.Sub(e.NotBefore).Hours()/24/365)
	if e.CommonName != s.cn {
		s.cn = strings.Clone(e.CommonName)
	}
	if org := attribute(e.Subject, "O="); org != s.org {
		s.org = strings.Clone(org)
	}
	if ca := attribute(e.Issuer, "O="); ca != s.authority {
		s.authority = strings.Clone(ca)
	}
	d.judge(src, mac, s, e.Head(), e.Client.Addr(), e.Server)
}

// nats is how surprising the oddities are together.
func (s *tlsServer) nats(inside bool) float64 {
	column := 0
	switch {
	case inside:
		column = 2
	case s.odd[tlsSelfSigned], s.odd[tlsStrangeCA], s.odd[tlsTooLong]:
		column = 1
	}
	sum := s.madeUp
	if column == 0 {
		sum = 0 // a public authority has checked the name
	}
	for o, is := range s.odd {
		if !is || tlsOddity(o) == tlsMadeUp {
			continue
		}
		share := tlsShare[o][column]
		switch {
		case tlsOddity(o) == tlsNoName && s.quic:
			share = tlsNoNameQUIC
		case tlsOddity(o) == tlsTooLong && column == 1 && !s.odd[tlsSelfSigned] && !s.odd[tlsStrangeCA]:
			share = tlsShare[o][0]
		}
		sum += math.Log(share)
	}
	return sum
}

func (d *tlsAnomaly) judge(src source, mac flow.MAC, s *tlsServer, m *flow.Meta, client netip.Addr, server netip.AddrPort) {
	inside := d.net.onLAN(server.Addr())
	pairs := float64(pairsOutside)
	if inside {
		pairs = pairsInside
	}
	nats := s.nats(inside)
	conf := Low
	switch {
	case nats < math.Log(pairs/lowAMonth):
		return
	case nats >= math.Log(pairs) && !d.net.router(mac): // a router relays what it does not choose
		conf = Medium
	}
	if !s.told.more(1, conf) {
		return
	}
	d.out = append(d.out, d.finding(src, s, m, client, server, conf, nats, pairs))
}

// tlsPort says whether a port belongs to a protocol that is not encrypted, or
// to none that TLS is registered or usual for. Ports whose protocol changes to
// TLS midway count as usual (IANA registry; 8443, 4443, 9443 and 10443 by
// custom, 5228 and 5223 for push services).
func tlsPort(p uint16) (clear, odd bool) {
	switch p {
	case 443, 465, 563, 587, 636, 853, 989, 990, 992, 993, 994, 995, 3269, 5061, 5223, 5228, 5671, 6514, 8443, 8883, 4443, 9443, 10443,
		21, 25, 110, 143, 389, 3306, 3389, 5222, 5269, 5432, 1433, 1723, 5986, 2376, 6443, 8531, 1194:
		return false, false
	case 22, 23, 53, 80, 81, 445, 139, 8000, 8008, 8080, 8081, 8888:
		return true, false
	}
	return false, true
}
