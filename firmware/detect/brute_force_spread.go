package detect

import (
	"net/netip"
	"time"
)

// door is one service of the office that strangers outside the LAN try.
type door struct {
	sources peerSet // that failed or looked like it
	n       int     // their tries
	sure    int     // sources that are decided by themselves
	first   time.Time
	told    told
}

type doorKey struct {
	server  netip.AddrPort
	service string
}

// fan is one client that tries many servers.
type fan struct {
	servers peerSet // that refused it, or looked like it
	good    peerSet // that ever let it in
	names   nameSet
	n       int
	read    int // of n, how many were read as refusals
	w       walk
	rise    rise
	told    told
	at      attempt // the first
}

type fanKey struct {
	src     source
	service string
}

// Many sources of few tries: ten strangers with a person's patience of tries
// between them are more than people who mistyped the address.
const crowd = 10

// knock notes a decided source at a door and says whether that is news there.
func (d *bruteForce) knock(a attempt, g *guesses, conf Confidence) bool {
	o := d.servers.get(doorKey{a.key.server, a.key.service})
	if !g.hinted {
		g.hinted = true
		o.sure++
	}
	return o.told.more(o.sure, conf) || o.sure == 1
}

// spread follows one try beyond its pair of client and server.
func (d *bruteForce) spread(a attempt, g *guesses, failed bool, user string) {
	if !d.net.onLAN(a.from) {
		if failed && d.net.onLAN(a.key.server.Addr()) {
			d.crowd(a)
		}
		return
	}
	k := fanKey{a.key.src, a.key.service}
	f := d.fans.peek(k)
	if f == nil && !failed {
		return // a client that is let in has nothing to explain
	}
	f = d.fans.get(k)
	server := a.key.server.Addr()
	if !failed {
		if f.good.add(server) {
			d.fans.grow(k, 1)
			f.w.step(true)
		}
		return
	}
	f.n++
	if g.tries.n == 0 {
		f.read++
	}
	if f.n == 1 {
		f.at = a
	}
	before := f.servers.len() + f.names.len()
	if user != "" {
		f.names.add(nameKey(user))
	}
	_, let := f.good.seen[server]
	if !let && f.servers.add(server) {
		f.w.step(false)
		f.rise.add(fastRate, 0, a.at)
		d.fans.grow(k, f.servers.len()+f.names.len()-before)
		d.judgeFan(a, f)
	}
}

func (d *bruteForce) judgeFan(a attempt, f *fan) {
	n := f.servers.len()
	if n < firstSay || !f.w.decided() {
		return
	}
	conf := Low
	switch {
	case f.read == 0 && (n < strikes || f.rise.s < riseDecided || f.good.len() > 0):
		return // short sessions with many servers: monitoring does that
	case f.read > 0 && n >= sureAfter && !d.net.router(a.key.src.mac):
		conf = Medium
	}
	if f.told.more(n, conf) {
		d.out = append(d.out, d.fanFinding(a, f, conf))
	}
}

func (d *bruteForce) crowd(a attempt) {
	k := doorKey{a.key.server, a.key.service}
	o := d.servers.get(k)
	if o.n++; o.n == 1 {
		o.first = a.at
	}
	if !o.sources.add(a.from) {
		return
	}
	d.servers.grow(k, 1)
	n := o.sources.len()
	if n < crowd || o.n < n+2*crowd {
		return
	}
	if o.told.more(n, Medium) {
		d.out = append(d.out, d.crowdFinding(a, o))
	}
}
