package detect

import (
	"time"

	"sekisho/firmware/flow"
)

// Types that the DNS detectors name (RFC 1035 3.2.2, 2782, 3403, 2535).
const (
	typeA     = 1
	typeCNAME = 5
	typeNULL  = 10
	typeMX    = 15
	typeTXT   = 16
	typeKEY   = 25
	typeAAAA  = 28
	typeSRV   = 33
	typeNAPTR = 35

	typePrivate = 65280 // RFC 6895 section 3.1: private use, to 65534

	noError  = 0
	nxDomain = 3
)

// carries says that an answer of this type holds what its sender likes.
func carries(t uint16) bool {
	switch t {
	case typeCNAME, typeNULL, typeMX, typeTXT, typeKEY, typeSRV, typeNAPTR:
		return true
	}
	return t >= typePrivate && t < 65535
}

// hash64 is FNV-1a: of names that strangers choose, so a collision costs a name
// that is not counted and nothing else.
func hash64(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// forwarders knows devices that answer questions of others, and who asked them
// last for a name: what a forwarder sends on has its cause in its client.
type forwarders struct {
	net    *network
	serves *table[source, struct{}]
	recent [4096]asked // by low bits of the name's hash
}

type asked struct {
	name uint64
	by   source
	at   time.Time
}

// forwardWait is how long a forwarder may take until it sends a question on:
// resolvers give up after about that (RFC 1035 section 7.2, BIND and dnsmasq
// retry for 10 s).
const forwardWait = 10 * time.Second

func newForwarders(n *network) *forwarders {
	return &forwarders{net: n, serves: newTable[source, struct{}](1024, 0)}
}

// observe learns a forwarder from an answer that it gives inside the office,
// and notes who asked for what.
func (f *forwarders) observe(ev flow.Event) {
	e, ok := ev.(*flow.DNS)
	if !ok || e.Proto != flow.NameDNS {
		return
	}
	if !e.Response {
		if src, ok := f.net.asker(e); ok && !f.forwards(src) {
			h := hash64(e.QName)
			f.recent[h%uint64(len(f.recent))] = asked{h, src, e.Time}
		}
		return
	}
	if e.Src.Port() == 53 && !e.SrcMAC.IsZero() && f.net.onLAN(e.Src.Addr()) && f.net.onLAN(e.Dst.Addr()) {
		f.serves.get(f.net.source(e.SrcMAC, e.Src.Addr()))
	}
}

// forwards says that a device answers questions of others.
func (f *forwarders) forwards(src source) bool {
	return f.serves.size() > 0 && f.serves.peek(src) != nil
}

// cause says whether src asks for others, and whether a client of it was just
// seen to ask for the name.
func (f *forwarders) cause(src source, name string, at time.Time) (forwards, seen bool) {
	if !f.forwards(src) {
		return false, false
	}
	h := hash64(name)
	r := &f.recent[h%uint64(len(f.recent))]
	return true, r.name == h && r.by != src && at.Sub(r.at) < forwardWait
}

// asker is who sent a question to a name server; ok is false for the gateway
// itself and for questions from outside to a server inside.
func (n *network) asker(e *flow.DNS) (source, bool) {
	from := e.Src.Addr()
	if e.Out || n.own(e.SrcMAC, from) {
		return source{}, false
	}
	if !n.onLAN(from) && n.onLAN(e.Dst.Addr()) {
		return source{}, false
	}
	return n.source(e.SrcMAC, from), true
}

// answerTo is who gets an answer, as asker named it.
func (n *network) answerTo(e *flow.DNS) source {
	mac := e.DstMAC
	if mac.IsGroup() {
		mac = flow.MAC{}
	}
	return n.source(mac, e.Dst.Addr())
}
