package detect

import (
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// lateral reports a device that works its way into others by the means of
// remote administration (MITRE ATT&CK TA0008 and what goes with it). It reads
// operations, not tools: the operation numbers of the published interfaces
// (MS-SCMR, MS-TSCH, MS-RRP, MS-WMI, MS-DCOM, MS-DRSR, MS-NRPC, MS-SAMR, MS-SRVS,
// MS-LSAD), administrative shares, Kerberos, LDAP and WinRM, and the shape of
// what follows. An exploit that is seen at work (exploit_smb1.go, Zerologon) has
// no other use and is high whatever else is known.
//
// What an administrator can do as well is low or medium alone. Acts of one
// client on one server within tradeTime make one picture, and the pictures of
// known attacks are high: picture lists them. As administrators come in teams
// of one in small offices, two things hold that back: a habit (the same act on
// the same server over Learn, on three days) goes one band down; and a picture
// that an administrator could draw too is no more than medium until the office
// has been watched for Learn, since nobody's habits are known before.
//
// Limits. Sealed RPC (WMI and COM mostly) shows its operation, not its
// content; encrypted SMB3 and LDAPS show nothing here. A server behind the
// same unmanaged switch as its client is not seen at all.
type lateral struct {
	net    *network
	start  time.Time
	now    time.Time // of the last event
	pairs  *table[tradeKey, trade]
	habits *table[habitKey, habit]
	trees  *table[treeKey, shareKind]
	fans   *table[source, fanning]
	kerb   *table[netip.Addr, ticketing]
	dcs    *table[netip.Addr, struct{}]
	served *table[netip.AddrPort, struct{}]
	smb1   *table[uint64, smb1Conn]
	out    []Finding
}

type tradeKey struct{ client, server netip.Addr }

// trade is what one client did to one server.
type trade struct {
	mac       flow.MAC
	first     time.Time
	last      [actCount]int64 // Unix nanoseconds; 0: never
	touched   int64           // the last remote operation of any kind
	kit       int64           // the last pipe of a tool that only attackers have
	oversized int64           // since when negotiate requests are absurdly long, and how many were
	groomed   int
	empty     int       // proofs of nothing but zeros
	idle      int       // remote desktops without input
	idleSince time.Time // the first of them
	asked     time.Time // when managed was found out,
	acts      uint64    // and for which acts, by their numbers
	managed   bool
	said      time.Time // when it was told
	told      told
}

// tradeTime is how long acts belong together: interactive work on one host.
// Impacket's and Sysinternals' tools need seconds, a person minutes.
const tradeTime = 10 * time.Minute

func newLateral(n *network) *lateral {
	return &lateral{
		net:    n,
		pairs:  newTable[tradeKey, trade](n.MaxHosts, 0),
		habits: newTable[habitKey, habit](4*n.MaxHosts, 0),
		trees:  newTable[treeKey, shareKind](4096, 0),
		fans:   newTable[source, fanning](n.MaxHosts, fanBudget),
		kerb:   newTable[netip.Addr, ticketing](n.MaxHosts, 0),
		dcs:    newTable[netip.Addr, struct{}](256, 0),
		served: newTable[netip.AddrPort, struct{}](8192, 0),
		smb1:   newTable[uint64, smb1Conn](4096, 0),
	}
}

func (d *lateral) Name() string { return "lateral_movement" }

func (d *lateral) size() int {
	return d.pairs.size() + d.habits.size() + d.trees.size() + d.fans.size() + d.kerb.size() + d.dcs.size() + d.served.size() + d.smb1.size()
}

func (d *lateral) evictions() uint64 {
	return d.pairs.evicted + d.habits.evicted + d.trees.evicted + d.fans.evicted + d.kerb.evicted + d.dcs.evicted + d.served.evicted + d.smb1.evicted
}

func (d *lateral) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	d.clock(ev.Head().Time)
	switch e := ev.(type) {
	case *flow.SMB:
		d.smb(e)
	case *flow.RPC:
		d.rpc(e)
	case *flow.Conn:
		d.conn(e)
	case *flow.HTTP:
		d.http(e)
	case *flow.Opaque:
		d.opaque(e)
	case *flow.Login:
		d.login(e)
	case *flow.Kerberos:
		d.kerberos(e)
	case *flow.LDAP:
		d.ldap(e)
	}
	return d.out
}

// clock keeps the time since which the office is watched. A leap of more than
// two learning times is a clock that was set, and no watching.
func (d *lateral) clock(now time.Time) {
	leap := now.Sub(d.now)
	switch {
	case d.start.IsZero():
		d.start = now
	case !d.now.IsZero() && leap.Abs() > 2*d.net.Learn:
		d.start = d.start.Add(leap)
	}
	d.now = now
}

// trader finds what is known of a client and a server, and who the client is;
// nil when they are not to be judged.
func (d *lateral) trader(m *flow.Meta, client, server netip.AddrPort, fromServer bool) *trade {
	_, mac := d.net.client(m, client.Addr(), fromServer)
	if client.Addr() == server.Addr() || d.net.own(mac, client.Addr()) {
		return nil
	}
	p := d.pairs.get(tradeKey{client.Addr(), server.Addr()})
	p.mac = mac
	return p
}

// did records one act and tells what the picture has become.
func (d *lateral) did(m *flow.Meta, client, server netip.AddrPort, fromServer bool, a act) {
	p := d.trader(m, client, server, fromServer)
	if p == nil {
		return
	}
	now := m.Time.UnixNano()
	if p.first.IsZero() || m.Time.Sub(p.first) > tradeTime && p.recent(now) == 0 {
		p.first = m.Time
	}
	p.last[a], p.touched = now, now
	usual := d.usual(client.Addr(), server.Addr(), p.mac, a, m.Time)
	conf := d.combine(d.net.source(p.mac, client.Addr()), p, a, usual, m.Time)
	if !d.net.onLAN(client.Addr()) {
		conf = atMost(conf, Medium) // cannot be isolated
	}
	if a.exploit() && conf == High && d.spreads(m, client.Addr(), server.Addr(), p) {
		return // told as a worm
	}
	if m.Time.Sub(p.said) > d.net.Learn {
		p.told = told{}
	}
	if conf != "" && p.told.more(1, conf) { // again only in a higher band
		p.said = m.Time
		d.out = append(d.out, d.finding(m, client.Addr(), server.Addr(), p, a, conf))
	}
}

// recent counts the acts within tradeTime.
func (p *trade) recent(now int64) int {
	n := 0
	for a := range p.last {
		if p.within(act(a), now) {
			n++
		}
	}
	return n
}

func (p *trade) within(a act, now int64) bool {
	return p.last[a] != 0 && now-p.last[a] <= int64(tradeTime) && p.last[a]-now <= int64(tradeTime)
}

// combine judges an act in the light of the others: the act's own band, more
// when the acts of tradeTime draw the picture of an attack.
func (d *lateral) combine(client source, p *trade, a act, usual bool, at time.Time) Confidence {
	conf := deeds[a].band
	switch {
	case a == actZerologon && p.empty >= zerologonTries:
		conf = High
	case a == actCallback && p.recent(at.UnixNano()) == 1: // after browsing, not after an act
		conf = Low
	}
	if usual {
		return lower(conf)
	}
	if conf == High || !p.picture(at.UnixNano()) {
		return conf
	}
	if d.ripe(at) && !d.manages(client, p, at) {
		return High
	}
	return Medium
}

// manages says that the client does all of this as a matter of course, if not
// to this server: it looks after computers, and a new one has come.
func (d *lateral) manages(client source, p *trade, at time.Time) bool {
	var acts uint64
	for a := range p.last {
		if p.within(act(a), at.UnixNano()) {
			acts |= 1 << a
		}
	}
	if p.acts == acts && at.Sub(p.asked).Abs() < time.Minute {
		return p.managed
	}
	p.acts, p.asked, p.managed = acts, at, true
	for a := range p.last {
		if acts>>a&1 != 0 && d.accustomed(client, act(a), at) < manyServers {
			p.managed = false
		}
	}
	return p.managed
}

const _ = uint(64 - actCount) // trade.acts holds them all

// manyServers make a role: whoever does it to one or two has their service.
const manyServers = 3

// accustomed counts the servers to which a client does this usually.
func (d *lateral) accustomed(client source, a act, at time.Time) (servers int) {
	for k, h := range d.habits.m {
		if k.client == client && k.act == a && d.settled(&h.val, at) {
			servers++
		}
	}
	return servers
}

// picture says that the acts of tradeTime together are what an attack looks
// like. To put a program onto a share and run it as a service is none: PsExec
// does that, and so does every tool that installs its agent on a new computer
// (antivirus, backup, software distribution), some of which fetch what it wrote.
// Nor is to ask for the domain's passwords alone: a new domain controller does,
// and any server that becomes the bridge to a directory in the cloud.
func (p *trade) picture(now int64) bool {
	seen := func(list ...act) bool {
		for _, a := range list {
			if p.within(a, now) {
				return true
			}
		}
		return false
	}
	runs := seen(actServiceCreate, actServiceStart, actTaskCreate, actTaskRun, actWMIExec, actDCOMExec, actWinRM)
	switch {
	case p.kit != 0 && now-p.kit <= int64(tradeTime) && seen(actServiceCreate, actServiceStart, actAdminProgram): // RemCom, beacons over SMB
		return true
	case seen(actTaskCreate) && seen(actTaskRun) && seen(actTaskDelete): // atexec: leaves nothing behind
		return true
	case seen(actServiceCreate) && seen(actServiceStart) && seen(actServiceControl) && seen(actAdminRead) && !seen(actAdminProgram): // smbexec
		return true
	case seen(actWMIExec, actTaskRun) && seen(actAdminRead) && seen(actAdminShare): // wmiexec fetches its output
		return true
	case seen(actRegistrySave) && seen(actAdminRead): // secretsdump
		return true
	case seen(actReplicate) && (runs || seen(actAdminShare, actRegistrySave, actSecrets, actRC4Login)): // DCSync of whoever broke in
		return true
	case seen(actCallback) && (runs || seen(actProbe17010)): // what was started calls back
		return true
	}
	return false
}

// ripe says that the office was watched long enough to know its habits.
func (d *lateral) ripe(at time.Time) bool { return at.Sub(d.start) >= d.net.Learn }

func lower(c Confidence) Confidence {
	switch c {
	case High:
		return Medium
	case Medium:
		return Low
	}
	return ""
}

// habitKey names the client by its MAC where it has one: an address that
// another device gets later brings no habits with it.
type habitKey struct {
	client source
	server netip.Addr
	act    act
}

type habit struct {
	first, last time.Time
	days        int
}

// usual says that the client does this to the server as a matter of course:
// since Learn or longer, on at least three days; what began in the first Learn
// is a habit from its end on, or a task of every night would be none in the
// hour before its own week is over. Nothing is learnt from a device while it is
// suspect, and exploits are no habit.
func (d *lateral) usual(client, server netip.Addr, mac flow.MAC, a act, at time.Time) bool {
	if a.exploit() || a == actShell {
		return false
	}
	k := habitKey{d.net.source(mac, client), server, a}
	if d.net.suspect(mac) {
		h := d.habits.peek(k)
		return h != nil && d.settled(h, at)
	}
	h := d.habits.get(k)
	settled := d.settled(h, at)
	if h.first.IsZero() {
		h.first = at
	}
	if h.days == 0 || at.Sub(h.last) >= 12*time.Hour {
		h.days++
		h.last = at
	}
	return settled
}

func (d *lateral) settled(h *habit, at time.Time) bool {
	old := at.Sub(h.first) >= d.net.Learn || d.ripe(at) && h.first.Sub(d.start) < d.net.Learn
	return h.days >= 3 && old
}
