package detect

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sekisho/firmware/flow"
)

// rogueDHCP reports leases offered by a server other than the office's (RFC
// 2131: whoever answers first decides where a client sends its traffic). On
// the gateway the legitimate server is known and one offer is enough, but for one
// that names the gateway as router: the office's own server may have been left
// out of the settings, so that is medium. In a
// replay it is the first whose lease a client got, per VLAN, and which of two is the
// impostor is a guess: medium, unless the second names itself as router
// against the first, and both are there.
//
// Limits. An ACK to INFORM grants nothing and is ignored, whoever sends it
// (two directory servers do). A second server that hands out the same router
// and name servers is a failover pair: low. A server that answered before the
// capture began is unknown. Who invents another server for every answer is
// told of tellServers times in tellWindow; what comes beyond is counted.
type rogueDHCP struct {
	net   *network
	said  int                         // servers reported since since
	since time.Time                   // start of the present tellWindow
	over  uint64                      // servers not reported
	known map[uint16]*server          // by VLAN, the first one learnt
	early *table[rogueKey, flow.DHCP] // offers before the first ACK
	tab   *table[rogueKey, offers]
	out   []Finding
}

type server struct {
	mac     flow.MAC
	id      netip.Addr
	routers []netip.Addr
	dns     []netip.Addr
	acks    int
	spoke   time.Time // last
}

// One impostor is the rule, a handful a badly wired office.
const (
	tellServers = 32
	tellWindow  = 10 * time.Minute
)

// offersOpen is how long a client waits for further offers at most (RFC 2131
// section 4.4.1 leaves it to the client; section 4.1 has it ask again by then).
const offersOpen = 4 * time.Second

type rogueKey struct {
	mac flow.MAC
	id  netip.Addr
}

type offers struct {
	clients map[flow.MAC]struct{}
	first   time.Time
	told    told
}

func newRogueDHCP(n *network) *rogueDHCP {
	return &rogueDHCP{net: n, known: make(map[uint16]*server), tab: newTable[rogueKey, offers](256, 0), early: newTable[rogueKey, flow.DHCP](64, 0)}
}

func (d *rogueDHCP) Name() string      { return "rogue_dhcp" }
func (d *rogueDHCP) reads() kinds      { return onDHCP }
func (d *rogueDHCP) size() int         { return d.tab.size() + d.early.size() + len(d.known) } // 4,096 VLANs at most
func (d *rogueDHCP) evictions() uint64 { return d.tab.evicted + d.early.evicted + d.over }

func (d *rogueDHCP) Observe(ev flow.Event) []Finding {
	e, ok := ev.(*flow.DHCP)
	grants := ok && e.FromServer && (e.Type == 2 || e.Type == 5) && e.YourIP.IsValid() && !e.YourIP.IsUnspecified()
	if !grants || e.Out {
		return nil
	}
	id := e.ServerID
	if !id.IsValid() {
		id = e.Src
	}
	if len(d.net.Gateway)+len(d.net.DHCPServers) > 0 {
		return d.live(e, id)
	}
	return d.replay(e, id)
}

// replay takes the first server whose lease a client got for the office's:
// who merely offered, before or after, is the other one.
func (d *rogueDHCP) replay(e *flow.DHCP, id netip.Addr) []Finding {
	vlan := e.VLAN & 0xfff
	s := d.known[vlan]
	if s == nil && e.Type == 2 {
		o := d.early.get(rogueKey{e.SrcMAC, id})
		*o = *e
		o.Routers, o.DNS, o.ServerID = slices.Clone(e.Routers), slices.Clone(e.DNS), id
		return nil
	}
	if s == nil {
		s = &server{mac: e.SrcMAC, id: id, routers: slices.Clone(e.Routers), dns: slices.Clone(e.DNS), spoke: e.Time}
		d.known[vlan] = s
		var out []Finding
		for n := d.early.root.prev; n != &d.early.root; n = n.prev { // oldest first
			o := &n.val
			if o.VLAN&0xfff == vlan && o.ServerID != id && (o.SrcMAC != e.SrcMAC || o.SrcMAC.IsZero()) {
				late := *o
				late.Time = e.Time // decided now
				out = append(out, d.second(&late, o.ServerID, s)...)
			}
		}
		return out
	}
	if s.id == id || s.mac == e.SrcMAC && !s.mac.IsZero() {
		s.acks++ // one machine with two addresses, or a relay's copy
		s.spoke = e.Time
		return nil
	}
	return d.second(e, id, s)
}

func (d *rogueDHCP) second(e *flow.DHCP, id netip.Addr, s *server) []Finding {
	conf, score := Medium, 0.8
	switch {
	case slices.Equal(s.routers, e.Routers) && slices.Equal(s.dns, e.DNS) && len(e.Routers) > 0:
		conf, score = Low, 0.3
	case s.acks > 0 && d.both(e, id, s) && slices.Contains(e.Routers, id) && !slices.Contains(s.routers, id):
		conf, score = High, 0.97
	}
	return d.report(e, id, conf, score, s.id)
}

// both says that the known server is there beside the second one: it answered
// while a client collects offers, or since the second one began. Otherwise the
// router may have been replaced, or the capturing computer been carried away.
func (d *rogueDHCP) both(e *flow.DHCP, id netip.Addr, s *server) bool {
	if e.Time.Sub(s.spoke) <= offersOpen {
		return true
	}
	o := d.tab.peek(rogueKey{e.SrcMAC, id})
	return o != nil && s.spoke.After(o.first)
}

// live judges against what is configured. An answer in the gateway's name that
// the gateway did not send is an impostor too.
func (d *rogueDHCP) live(e *flow.DHCP, id netip.Addr) []Finding {
	if d.net.own(e.SrcMAC, netip.Addr{}) || slices.Contains(d.net.DHCPServers, id) {
		return nil
	}
	want := netip.Addr{}
	if len(d.net.Gateway) > 0 {
		want = d.net.Gateway[0]
	} else {
		want = d.net.DHCPServers[0]
	}
	conf, score := High, 0.95
	switch {
	case slices.Contains(d.net.Gateway, id): // in our name
	case len(e.Routers) > 0 && !slices.ContainsFunc(e.Routers, func(a netip.Addr) bool { return !slices.Contains(d.net.Gateway, a) }):
		conf, score = Medium, 0.8 // sends nobody elsewhere
	case slices.Contains(e.Routers, id) || slices.Contains(e.DNS, id):
		score = 0.99
	}
	return d.report(e, id, conf, score, want)
}

func (d *rogueDHCP) report(e *flow.DHCP, id netip.Addr, conf Confidence, score float64, want netip.Addr) []Finding {
	o := d.tab.get(rogueKey{e.SrcMAC, id})
	if o.clients == nil {
		o.clients, o.first = make(map[flow.MAC]struct{}), e.Time
	}
	if len(o.clients) < 256 {
		o.clients[e.ClientMAC] = struct{}{}
	}
	fresh := o.told.peers == 0
	if !o.told.more(len(o.clients), conf) || fresh && !d.mayTell(e.Time) {
		return nil
	}
	h := d.net.host(e.SrcMAC, id)
	client := Host{MAC: e.ClientMAC}
	if a, ok := d.net.byMAC(e.ClientMAC); ok {
		client = d.net.host(e.ClientMAC, netip.Addr{})
		client.Name = a.Name
	}
	router, dns := join(e.Routers), join(e.DNS)
	title := Text{
		EN: fmt.Sprintf("%s hands out addresses beside the office's own server", h.label()),
		JA: fmt.Sprintf("%s が、社内の DHCP サーバーとは別にアドレスを配っています", h.label()),
	}
	if conf == High {
		title = Text{
			EN: fmt.Sprintf("%s hands out addresses as if it were the office's gateway", h.label()),
			JA: fmt.Sprintf("%s がゲートウェイになりすましてアドレスを配っています", h.label()),
		}
	}
	d.out = append(d.out[:0], Finding{
		Time: e.Time, Detector: d.Name(), Technique: "T1557.003", Host: h, Peers: []Host{client}, PeerCount: len(o.clients),
		Score: score, Confidence: conf, First: o.first, Last: e.Time,
		Title: title,
		Explain: Text{
			EN: fmt.Sprintf("%s offered the address %s to %s, with router %s and name server %s. The office's own server is %s. Devices that accept send their traffic where this one says.",
				h.label(), e.YourIP, plural(len(o.clients), "device"), router, dns, want),
			JA: fmt.Sprintf("%s が %d 台の機器にアドレス %s を配ろうとしました（ルーター %s、DNS サーバー %s）。社内の正しい DHCP サーバーは %s です。受け取った機器の通信は、この機器の指定する先へ送られます。",
				h.label(), len(o.clients), e.YourIP, router, dns, want),
		},
	})
	return d.out
}

// mayTell spends one of the servers that may be reported for the first time.
func (d *rogueDHCP) mayTell(now time.Time) bool {
	if now.Sub(d.since) >= tellWindow || now.Before(d.since) {
		d.since, d.said = now, 0
	}
	if d.said >= tellServers {
		d.over++
		return false
	}
	d.said++
	return true
}

func join(list []netip.Addr) string {
	if len(list) == 0 {
		return "-"
	}
	s := ""
	for i, a := range list[:min(len(list), 3)] {
		if i > 0 {
			s += ", "
		}
		s += a.String()
	}
	return s
}
