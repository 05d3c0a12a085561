package detect

import (
	"net/netip"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// places remembers what the office knows of the addresses that it calls: by
// which name they were found, how many devices use them, and what they gave.
// It is shared by the detectors of control channels; observe comes first.
type places struct {
	net   *network
	names *table[netip.Addr, string] // from answers of DNS
	used  *table[netip.Addr, place]
	crowd *table[string, users]            // by domain
	asker *table[source, struct{}]         // devices that were given addresses by DNS
	upnp  *table[netip.AddrPort, struct{}] // services announced by SSDP
}

// place is one address outside a device.
type place struct {
	users  users
	name   string    // SNI or Host by which it was called
	bare   bool      // HTTP named it by its address
	loaded string    // kind of program that it handed to a device, "" for none
	sure   bool      // it is one, by its first bytes or its name
	when   time.Time // when it did
	by     source    // to whom
	port   uint16    // on which port
}

// users counts distinct devices, up to its bound: more than a few are a crowd.
type users struct {
	who [4]source
	n   int
}

func (u *users) add(s source) {
	for i := range u.n {
		if u.who[i] == s {
			return
		}
	}
	if u.n < len(u.who) {
		u.who[u.n] = s
		u.n++
	}
}

func newPlaces(n *network) *places {
	return &places{
		net:   n,
		names: newTable[netip.Addr, string](16384, 0),
		used:  newTable[netip.Addr, place](16384, 0),
		crowd: newTable[string, users](8192, 0),
		asker: newTable[source, struct{}](n.MaxHosts, 0),
		upnp:  newTable[netip.AddrPort, struct{}](1024, 0),
	}
}

func (p *places) size() int {
	return p.names.size() + p.used.size() + p.crowd.size() + p.asker.size() + p.upnp.size()
}
func (p *places) evictions() uint64 {
	return p.names.evicted + p.used.evicted + p.crowd.evicted + p.asker.evicted + p.upnp.evicted
}

func (p *places) observe(ev flow.Event) {
	switch e := ev.(type) {
	case *flow.DNS:
		if e.Response && e.Proto == flow.NameDNS {
			p.answer(e)
		}
	case *flow.Conn:
		if e.State == flow.ConnEstablished && !e.Multicast {
			src := p.net.contact.src
			if !p.net.isContact {
				src = p.net.source(e.ClientMAC, e.Client.Addr())
			}
			p.used.get(e.Server.Addr()).users.add(src)
		}
	case *flow.TLSHello:
		if !e.FromServer && e.SNI != "" {
			p.called(&e.Meta, e.Client, e.Server, e.SNI)
		}
	case *flow.SSDP:
		if at, ok := locationAddr(e.Location); ok && at.Addr() == e.Src.Addr() {
			p.upnp.get(at)
		}
	case *flow.HTTP:
		p.http(e)
	}
}

// answer keeps the question's name for each address, so that a chain of
// aliases leads back to what was asked.
func (p *places) answer(e *flow.DNS) {
	asker := p.net.answerTo(e)
	if !p.net.forwarders.forwards(asker) && len(e.Answers) > 0 {
		p.asker.get(asker)
		p.uses(asker, e.QName)
	}
	for i := range e.Answers {
		r := &e.Answers[i]
		if r.Type != 1 && r.Type != 28 {
			continue
		}
		if a, err := netip.ParseAddr(r.Data); err == nil {
			if v := p.names.get(a); *v != e.QName {
				*v = strings.Clone(readable(e.QName))
			}
		}
	}
}

func (p *places) called(m *flow.Meta, client, server netip.AddrPort, name string) {
	if isAddr(name) {
		return
	}
	if v := p.used.get(server.Addr()); v.name != name {
		v.name = strings.Clone(readable(name))
	}
	src, _ := p.net.client(m, client.Addr(), false)
	p.uses(src, name)
}

// uses counts a device that uses names of a domain.
func (p *places) uses(src source, name string) {
	d := p.domain(name)
	u := p.crowd.use(d)
	if u == nil {
		u = p.crowd.get(strings.Clone(d))
	}
	u.add(src)
}

func (p *places) http(e *flow.HTTP) {
	if host := hostOnly(e.Host); host == "" || isAddr(host) {
		p.used.get(e.Server.Addr()).bare = true
	} else {
		p.called(&e.Meta, e.Client, e.Server, host)
	}
}

// load remembers that a device fetched what is, or looks like, a program.
func (p *places) load(src source, from netip.AddrPort, kind string, sure bool, now time.Time) {
	v := p.used.get(from.Addr())
	if v.by == src && v.sure && !sure {
		return
	}
	v.loaded, v.sure, v.when, v.port, v.by = kind, sure, now, from.Port(), src
}

// asks says that a device uses names.
func (p *places) asks(s source) bool { return p.asker.peek(s) != nil }

// announced says that a service was advertised by SSDP, which control points
// poll (UPnP Device Architecture 2.0, 3 and 4).
func (p *places) announced(a netip.AddrPort) bool { return p.upnp.peek(a) != nil }

// locationAddr reads "http://192.0.2.1:49152/description.xml".
func locationAddr(url string) (netip.AddrPort, bool) {
	rest, ok := strings.CutPrefix(url, "http://")
	if !ok {
		return netip.AddrPort{}, false
	}
	host, _, _ := strings.Cut(rest, "/")
	if !strings.Contains(host, ":") {
		host += ":80"
	}
	a, err := netip.ParseAddrPort(host)
	return a, err == nil
}

// name is by what an address was found, "" when nobody asked for it.
func (p *places) name(a netip.Addr) string {
	if v := p.used.peek(a); v != nil && v.name != "" {
		return v.name
	}
	if v := p.names.peek(a); v != nil {
		return *v
	}
	return ""
}

// alone says that src is the only device that uses the address and the domain.
func (p *places) alone(src source, a netip.Addr) bool {
	if v := p.used.peek(a); v != nil && v.users.n > 1 {
		return false
	}
	if name := p.name(a); name != "" {
		if u := p.crowd.peek(p.domain(name)); u != nil && u.n > 1 {
			return false
		}
	}
	return true
}

// loadedBy says what program src fetched from the address, "" for none, and
// what that is worth as evidence.
func (p *places) loadedBy(src source, a netip.Addr) (kind string, nats float64) {
	v := p.used.peek(a)
	switch {
	case v == nil || v.by != src || v.loaded == "":
		return "", 0
	case v.sure:
		return v.loaded, gaveProgram
	}
	return v.loaded, gaveBinary
}

// domain is what one party registered of a name, else the name.
func (p *places) domain(name string) string {
	if d := p.net.names.split(name).domain; d != "" {
		return d
	}
	return name
}

// readable is a name from the wire as a text may show it.
func readable(name string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, name)
}

func hostOnly(host string) string {
	if h, ok := strings.CutPrefix(host, "["); ok {
		h, _, _ = strings.Cut(h, "]")
		return h
	}
	h, _, _ := strings.Cut(host, ":")
	return h
}

// isAddr is netip.ParseAddr without its error, which allocates.
func isAddr(s string) bool {
	if s == "" || strings.IndexByte("0123456789abcdefABCDEF:", s[0]) < 0 {
		return false
	}
	if c := s[len(s)-1]; (c < '0' || c > '9') && !strings.Contains(s, ":") {
		return false
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}

// program names the kind of executable that data begins with: DOS/PE header
// (PE/COFF specification, 2), ELF (gABI chapter 4), Mach-O (loader.h), Java
// class (JVMS 4.1), Dalvik, a script for a Unix shell.
func program(data []byte) string {
	if len(data) < 8 {
		return ""
	}
	switch {
	case data[0] == 'M' && data[1] == 'Z':
		return "Windows"
	case string(data[:4]) == "\x7fELF":
		return "Linux"
	case string(data[:4]) == "\xcf\xfa\xed\xfe", string(data[:4]) == "\xce\xfa\xed\xfe":
		return "macOS"
	case string(data[:4]) == "\xca\xfe\xba\xbe":
		return "Java"
	case string(data[:4]) == "dex\n":
		return "Android"
	case string(data[:3]) == "#!/":
		return "script"
	}
	return ""
}
