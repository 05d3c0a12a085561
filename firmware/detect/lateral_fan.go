package detect

import (
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// fanKind is one act that says more when it is done to many hosts.
type fanKind uint8

const (
	fanServices fanKind = iota
	fanSessions
	fanShares
	fanWinRM
	fanAdmin
	fanRDP
	fanNTLM
	fanCount
)

// fanning is what one device does to how many others.
type fanning struct {
	sets      [fanCount]fanSet
	exploited fanSet
	user      uint64 // of fanNTLM, hashed
}

type fanSet struct {
	peers peerSet
	first time.Time
	told  told
}

// A person works on one host at a time and needs minutes for it; a tool takes
// a list. Three hosts in ten minutes are low (a small office has one or two
// servers), five are medium: our own assumption, as no paper gives rates for
// offices of this size. Listing shares is what file managers do: one band less.
const (
	fanWindow = 10 * time.Minute
	fanLow    = 3
	fanMedium = 5
	fanBudget = 1 << 16 // hosts remembered of all devices, about 64 bytes each
)

// fan counts a host to which something was done. Who does it as a matter of
// course to the same hosts is not counted.
func (d *lateral) fan(m *flow.Meta, client, server netip.AddrPort, fromServer bool, k fanKind) {
	src, mac := d.net.client(m, client.Addr(), fromServer)
	if !d.net.onLAN(client.Addr()) || d.net.own(mac, client.Addr()) || client.Addr() == server.Addr() {
		return
	}
	if d.usual(client.Addr(), server.Addr(), mac, actCount+act(k), m.Time) {
		return
	}
	f := d.fans.get(src)
	s := &f.sets[k]
	if m.Time.Sub(s.first) > fanWindow {
		d.fans.grow(src, -s.peers.len())
		*s = fanSet{first: m.Time, told: s.told}
	}
	if !s.peers.add(server.Addr()) {
		return
	}
	d.fans.grow(src, 1)
	conf := Confidence("")
	switch n := s.peers.len(); {
	case n >= fanMedium:
		conf = Medium
	case n >= fanLow:
		conf = Low
	}
	if k == fanShares {
		conf = lower(conf)
	}
	if conf != "" && s.told.more(s.peers.len(), conf) {
		d.out = append(d.out, d.fanFinding(m, client.Addr(), mac, s, k, conf))
	}
}

// login counts hosts that one account of one device was let into by NTLM: the
// shape of passing a stolen hash around. Kerberos needs no second look: its
// tickets are asked for one by one.
func (d *lateral) login(e *flow.Login) {
	if e.Mechanism != "ntlm" || e.Result != flow.LoginOK || e.User == "" || e.User[len(e.User)-1] == '$' {
		return
	}
	src, _ := d.net.client(&e.Meta, e.Client.Addr(), e.FromServer)
	f := d.fans.get(src)
	if u := splitPath(e.User).hash; u != f.user {
		d.fans.grow(src, -f.sets[fanNTLM].peers.len())
		f.user, f.sets[fanNTLM] = u, fanSet{told: f.sets[fanNTLM].told}
	}
	d.fan(&e.Meta, e.Client, e.Server, e.FromServer, fanNTLM)
}
