package detect

import (
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
)

// Assets answers who is who. *asset.Inventory does.
type Assets interface {
	ByMAC(flow.MAC) (asset.Asset, bool)
	ByAddr(netip.Addr) (asset.Asset, bool)
	Role(flow.MAC, netip.Addr) asset.Role
}

var _ Assets = (*asset.Inventory)(nil)

// Config says what is known of the network. Assets may be nil.
type Config struct {
	Assets      Assets
	LAN         []netip.Prefix      // nil: asset.DefaultLAN
	Gateway     []netip.Addr        // the gateway's own addresses; empty in a replay
	Nowhere     flow.MAC            // where netcontain/neigh sends those that miss a held host; answers to it were asked for
	DHCPServers []netip.Addr        // known good besides the gateway; empty and no Gateway: the first one seen
	Decoys      func() []netip.Addr // addresses that nobody uses, read every second; nil: none
	DecoyNames  func() []string     // names that no device has, read every second; nil: none
	MaxHosts    int                 // sources that one detector keeps; 0: 4096

	// Indicators returns the lists in force; nil, or a nil result: none.
	Indicators func() Indicators

	// Suspect says that nothing is to be learnt from a device now. It must not
	// block; nil: nobody is suspect.
	Suspect func(flow.MAC) bool
	// Learn is how long a device is watched before its own history is a
	// measure, in packet time; 0: a week, the shortest span with every weekday.
	Learn time.Duration
}

// Stats counts what the bounds cost. A counter that moves means that somebody
// invents addresses, and that a slow scan may have been forgotten.
type Stats struct {
	Evicted map[string]uint64 // by detector
	Entries map[string]int    // by detector: keys held now
}

// Engine runs the detectors in a fixed order. It is not safe for concurrent use.
type Engine struct {
	net  *network
	list []Detector
	by   [kindCount][]Detector // of list, those that read a kind
	out  []Finding
}

// bounded is a detector that keeps keys which strangers choose.
type bounded interface {
	size() int
	evictions() uint64
}

// New wires the detectors. Their order is the order of findings of one event.
func New(c Config) *Engine {
	if c.LAN == nil {
		c.LAN = asset.DefaultLAN()
	}
	if c.MaxHosts <= 0 {
		c.MaxHosts = 4096
	}
	if c.Learn <= 0 {
		c.Learn = 7 * 24 * time.Hour
	}
	n := &network{Config: c, lan: asset.NewNets(c.LAN)}
	n.asks = newAsks(n)
	n.forwarders = newForwarders(n)
	places, past := newPlaces(n), newHistory(n)
	devices := newNewAsset(n)
	e := &Engine{net: n, list: []Detector{
		newDecoyTouch(n),
		newSMBRansom(n),
		newLateral(n),
		newARPSpoof(n),
		newRogueDHCP(n),
		newWorm(n),
		newHostScan(n, places),
		newPortScan(n),
		newARPScan(n),
		newFlood(n),
		newMACConflict(n),
		newRogueRA(n),
		newIOCMatch(n),
		newDNSTunnel(n),
		newDGA(n),
		newNameSpoof(n),
		newBeacon(n, places, past),
		newC2Channel(n, places, past),
		newTLSAnomaly(n, places, past),
		newExfiltration(n, places, past),
		newBruteForce(n),
		newCleartext(n),
		newPolicy(n),
		devices,
		newNewService(n, devices),
	}}
	e.by = readers(e.list)
	return e
}

// Observe hands one event to every detector that reads its kind. The slice
// is valid until the next call; the findings in it are the caller's.
func (e *Engine) Observe(ev flow.Event) []Finding {
	e.out = e.out[:0]
	if self, ok := ev.(*flow.Self); ok {
		e.net.Gateway = self.Addrs
		return nil
	}
	e.net.contact, e.net.isContact = e.net.contactOf(ev)
	e.net.asked = e.net.asks.observe(ev)
	e.net.forwarders.observe(ev)
	e.net.listen(ev)
	list := e.by[bits.TrailingZeros32(uint32(kindOf(ev)))]
	if len(e.net.asked) > 0 {
		list = e.list // they come with whatever lets time pass
	}
	for _, d := range list {
		if found := d.Observe(ev); len(found) > 0 {
			e.out = append(e.out, found...)
		}
	}
	e.net.roleCount = 0
	return e.out
}

// Names lists the detectors by their contract names, in the order in which they
// speak.
func (e *Engine) Names() []string {
	var out []string
	for _, d := range e.list {
		out = append(out, d.Name())
	}
	return out
}

// Stats reports what the detectors hold and what they forgot.
func (e *Engine) Stats() Stats {
	s := Stats{Evicted: map[string]uint64{}, Entries: map[string]int{}}
	for _, d := range e.list {
		if b, ok := d.(bounded); ok {
			s.Evicted[d.Name()], s.Entries[d.Name()] = b.evictions(), b.size()
		}
	}
	return s
}

// network is what the detectors ask about the office, and what several of them
// read out of the present event.
type network struct {
	Config
	lan        asset.Nets // of Config.LAN
	asks       *asks
	forwarders *forwarders
	names      nameCache
	contact    contact // when isContact
	isContact  bool
	roles      [4]roleOf // answers during the present event
	roleCount  int
	line       line
	asked      []ask // ARP questions whose time is over
}

// roleOf is what a device was at the present event.
type roleOf struct {
	mac  flow.MAC
	addr netip.Addr
	role asset.Role
}

// role asks once for each event: several detectors want to know the same of
// its two ends, and the inventory learns between events only.
func (n *network) role(m flow.MAC, a netip.Addr) asset.Role {
	if n.Assets == nil || m.IsZero() {
		return asset.Role{}
	}
	for i := range n.roles[:n.roleCount] {
		if r := &n.roles[i]; r.mac == m && r.addr == a {
			return r.role
		}
	}
	r := n.Assets.Role(m, a)
	if n.roleCount < len(n.roles) {
		n.roles[n.roleCount] = roleOf{m, a, r}
		n.roleCount++
	}
	return r
}

func (n *network) onLAN(a netip.Addr) bool { return n.lan.Contains(a) }

func (n *network) byMAC(m flow.MAC) (asset.Asset, bool) {
	if n.Assets == nil || m.IsZero() {
		return asset.Asset{}, false
	}
	return n.Assets.ByMAC(m)
}

func (n *network) byAddr(a netip.Addr) (asset.Asset, bool) {
	if n.Assets == nil {
		return asset.Asset{}, false
	}
	return n.Assets.ByAddr(a)
}

// own says that a frame's source is the gateway itself.
func (n *network) own(m flow.MAC, a netip.Addr) bool {
	if slices.Contains(n.Gateway, a) {
		return true
	}
	return n.role(m, a).Gateway
}

// source is who sent: a device on our own wire by its MAC, so that neither
// changing addresses nor invented ones split it; anybody behind a router, or
// where no MAC is seen, by address.
type source struct {
	mac flow.MAC
	ip  netip.Addr
}

func (n *network) source(m flow.MAC, a netip.Addr) source {
	if m.IsZero() || !n.onLAN(a) {
		return source{ip: a}
	}
	if r := n.role(m, a); r.Router && !r.Holds {
		return source{ip: a}
	}
	return source{mac: m}
}

// client is who opened the connection that an application event belongs to:
// m is the event's, fromServer says that the server's packet caused it.
func (n *network) client(m *flow.Meta, addr netip.Addr, fromServer bool) (source, flow.MAC) {
	mac := m.SrcMAC
	if fromServer {
		mac = m.DstMAC
	}
	if mac.IsGroup() {
		mac = flow.MAC{}
	}
	return n.source(mac, addr), mac
}

// suspect says that nothing may be learnt from a device.
func (n *network) suspect(m flow.MAC) bool { return n.Suspect != nil && n.Suspect(m) }

// host describes one device for a finding; a is the address it is about.
func (n *network) host(m flow.MAC, a netip.Addr) Host {
	h := Host{MAC: m, IP: a}
	d, ok := n.byMAC(m)
	if m.IsZero() || ok && d.Router && a.IsValid() && !slices.Contains(d.Addrs, a) {
		h.MAC = flow.MAC{}
		d, ok = n.byAddr(a) // behind a router: the router's MAC is not its own
		if ok {
			h.MAC = d.MAC
		}
	}
	if ok {
		h.Name, h.IPs = d.Name, d.Addrs
	}
	if !h.IP.IsValid() {
		h.IP = shown(h.IPs)
	}
	if h.IP.IsValid() && !slices.Contains(h.IPs, h.IP) {
		h.IPs = append([]netip.Addr{h.IP}, h.IPs...)
	}
	return h
}

// shown picks the address by which people know a device: an IPv4 one, else any
// that is not link-local; the most recent of them.
func shown(list []netip.Addr) netip.Addr {
	var best netip.Addr
	for _, a := range list {
		switch {
		case a.Is4() && !a.IsLinkLocalUnicast():
			return a
		case !best.IsValid(), best.IsLinkLocalUnicast() && !a.IsLinkLocalUnicast():
			best = a
		}
	}
	return best
}

func (n *network) peer(a netip.Addr) Host {
	h := Host{IP: a, IPs: []netip.Addr{a}}
	if d, ok := n.byAddr(a); ok {
		h.MAC, h.Name, h.IPs = d.MAC, d.Name, d.Addrs
	}
	return h
}

func (n *network) peers(list []netip.Addr) []Host {
	hosts := make([]Host, 0, len(list))
	for _, a := range list {
		hosts = append(hosts, n.peer(a))
	}
	return hosts
}

// router says that a device forwards for others: what it asks or sends has
// causes that lie elsewhere.
func (n *network) router(m flow.MAC) bool {
	return n.role(m, netip.Addr{}).Router
}
