package impact

import (
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
)

// What counts as use. A port scan carries nothing, a banner grab carries little
// and comes once: neither must make somebody a server.
const (
	// usedAgain after the first time makes a relation count. Minutes separate two
	// deeds of a person; a scanner's retries come within seconds.
	usedAgain = time.Minute
	// usedMuch in one connection counts at once: more than a banner, a login page
	// or a session setup, less than any document.
	usedMuch = 16 << 10
	// Whoever begins to use this many servers of one class within fanTime tries
	// one after another. An office computer uses a handful of file servers or
	// printers; who manages them all is one client, and the loss of its access
	// stops no work of others.
	fanMost = 8
	fanTime = time.Hour
	// clockWrong is how far back an event may be from the latest use until the
	// clock is taken to have been wrong before.
	clockWrong = 24 * time.Hour
	// maxBegan bounds what is remembered of one client's last hour: several
	// classes side by side reach fanMost each.
	maxBegan = 4 * fanMost
)

const (
	defaultRelations = 16384
	defaultDevices   = 4096
)

// Usage is the memory of who used whom. Observe is for one goroutine; everything
// may be called from any.
type Usage struct {
	cfg Config
	lan asset.Nets

	mu      sync.Mutex
	servers map[flow.MAC]map[edge]*relation
	count   int
	fresh   list.List // relations that do not count yet, least recent first
	known   list.List // relations that count, least recent first
	users   map[flow.MAC]*user
	order   list.List // of users, least recent first
	since   int64     // first event ever, ns; 0: none
	watched stamps    // days with any traffic
	dayFrom int64     // ns: the day that day() was last asked for
	dayTo   int64
	dayNum  int32
	evicted uint64
	probing uint64
	lost    int64 // ns: when something that might have counted was last forgotten
}

// edge is how one client uses one server. The zero client is the internet.
type edge struct {
	class  class
	client flow.MAC
}

type relation struct {
	server flow.MAC
	edge
	first  int64 // ns
	when   stamps
	counts bool // used twice, or much
	doubt  bool // its client tried one server after another
	elem   *list.Element
	home   *list.List
}

// user is what one device used itself, and which relations it began lately.
type user struct {
	mac   flow.MAC
	used  [classCount]int64 // ns of the latest use; 0: never
	began []*relation       // within fanTime, at most maxBegan
	elem  *list.Element
}

// New returns an empty memory.
func New(c Config) *Usage {
	if c.LAN == nil {
		c.LAN = asset.DefaultLAN()
	}
	if c.MaxRelations <= 0 {
		c.MaxRelations = defaultRelations
	}
	if c.MaxDevices <= 0 {
		c.MaxDevices = defaultDevices
	}
	if c.Zone == nil {
		c.Zone = time.UTC
	}
	if c.Name == nil {
		c.Name = func(m flow.MAC) (asset.ID, string) { return asset.ID("mac:" + m.String()), m.String() }
	}
	u := &Usage{cfg: c, lan: asset.NewNets(c.LAN)}
	u.reset()
	return u
}

func (u *Usage) reset() {
	u.servers, u.users = map[flow.MAC]map[edge]*relation{}, map[flow.MAC]*user{}
	u.fresh.Init()
	u.known.Init()
	u.order.Init()
	u.count, u.since, u.watched, u.lost = 0, 0, stamps{}, 0
}

// use is one connection that carried something, or one lease.
type use struct {
	ns             int64
	class          class
	client, server netip.Addr
	cmac, smac     flow.MAC
	much           bool
}

// Observe learns from one event.
func (u *Usage) Observe(ev flow.Event) {
	switch e := ev.(type) {
	case *flow.Conn:
		if e.State == flow.ConnClosed && !e.Multicast && !e.Probe {
			u.conn(e.Time, e.Proto, e.Client, e.Server, e.ClientMAC, e.ServerMAC, e.Sent, e.Received, e.RecvPackets, e.MidStream)
		}
	case *flow.Activity:
		if !e.Multicast {
			u.conn(e.Time, e.Proto, e.Client, e.Server, e.ClientMAC, e.ServerMAC, e.Sent, e.Received, e.RecvPackets, true)
		}
	case *flow.DHCP:
		if e.FromServer && e.Type == 5 { // an ACK is a service done
			u.learn(use{ns: e.Time.UnixNano(), class: classNames, client: e.YourIP, server: e.Src, cmac: e.ClientMAC, smac: e.SrcMAC, much: true})
		}
	case *flow.Tick:
		u.mu.Lock()
		u.seen(e.Time.UnixNano())
		u.mu.Unlock()
	}
}

// conn judges a connection. unsure says that client and server may have been
// mistaken for each other, or that nobody knows how it began.
func (u *Usage) conn(at time.Time, proto uint8, client, server netip.AddrPort, cmac, smac flow.MAC, sent, received, answers uint64, unsure bool) {
	c, ok := classify(proto, client.Port(), server.Port())
	if !ok || unsure && c == classOther && client.Port() < handedOut {
		return
	}
	// A raw print job is data one way, which the printer acknowledges.
	job := c == classPrint && proto == protoTCP && sent > 0 && answers >= 2
	if !job && (sent == 0 || received == 0) {
		return
	}
	u.learn(use{
		ns: at.UnixNano(), class: c, client: client.Addr(), server: server.Addr(), cmac: cmac, smac: smac,
		much: proto == protoTCP && sent+received >= usedMuch,
	})
}

// learn finds the two devices of a use, and writes it down.
func (u *Usage) learn(d use) {
	if d.smac.IsZero() || d.cmac == d.smac {
		return
	}
	outside := !u.lan.Contains(d.server)
	client, ok := u.clientOf(d)
	if !ok {
		return
	}
	suspect := u.suspect(client)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen(d.ns)
	role := u.cfg.Assets.Role(d.smac, d.server)
	if !client.IsZero() && !suspect && (outside || role.Holds && !role.Gateway && d.class != classNames) {
		c := d.class
		if outside {
			c = classInternet
		}
		w := u.user(client)
		w.used[c] = max(w.used[c], d.ns)
	}
	switch {
	case role.Gateway:
		return // it is never isolated
	case role.Router && !role.Holds:
		d.class = classNetwork // what goes through it stops, too
	case outside || !role.Holds:
		return
	}
	if !suspect { // what a worm does to others is no use of them
		u.relate(d, client, u.suspect(d.smac))
	}
}

// clientOf is the device that asked; the zero MAC is somebody outside.
func (u *Usage) clientOf(d use) (flow.MAC, bool) {
	if d.cmac.IsZero() || d.cmac.IsGroup() {
		return flow.MAC{}, false
	}
	role := u.cfg.Assets.Role(d.cmac, d.client)
	switch {
	case role.Gateway && role.Holds:
		return flow.MAC{}, false // our own probes
	case !role.Gateway && (role.Holds || !role.Router):
		return d.cmac, true
	case !u.lan.Contains(d.client):
		return flow.MAC{}, true
	}
	a, ok := u.cfg.Assets.ByAddr(d.client) // in another network of the office
	return a.MAC, ok && !a.MAC.IsZero() && !a.Gateway
}

func (u *Usage) suspect(m flow.MAC) bool {
	return !m.IsZero() && u.cfg.Suspect != nil && u.cfg.Suspect(m)
}

// relate writes down that client used server. Of a server under suspicion only
// what was known before is kept up to date: whom it lures is not served, but a
// week of indecision must not look like a server that nobody uses.
func (u *Usage) relate(d use, client flow.MAC, suspect bool) {
	e := edge{d.class, client}
	r := u.servers[d.smac][e]
	day := u.day(d.ns)
	if r == nil {
		if suspect {
			return
		}
		r = u.begin(d, e)
	} else {
		again := d.ns-r.first >= int64(usedAgain)
		if !suspect && r.doubt && day != r.when.day {
			r.doubt = false // who comes back on another day is no scanner
		}
		r.counts = r.counts || again
	}
	r.counts = r.counts || d.much
	r.when.add(d.ns, day)
	u.move(r)
}

func (u *Usage) begin(d use, e edge) *relation {
	r := &relation{server: d.smac, edge: e, first: d.ns}
	u.insert(r)
	if !e.client.IsZero() {
		u.fan(r)
	}
	return r
}

func (u *Usage) insert(r *relation) {
	if u.count >= u.cfg.MaxRelations {
		u.evict()
	}
	of := u.servers[r.server]
	if of == nil {
		of = map[edge]*relation{}
		u.servers[r.server] = of
	}
	of[r.edge] = r
	u.count++
}

// fan doubts what a client began when it began too much of one kind.
func (u *Usage) fan(r *relation) {
	w := u.user(r.client)
	w.began = slices.DeleteFunc(w.began, func(old *relation) bool { return r.first-old.first > int64(fanTime) })
	if len(w.began) == maxBegan {
		w.began = slices.Delete(w.began, 0, 1)
	}
	w.began = append(w.began, r)
	same := 0
	for _, began := range w.began {
		if began.class == r.class {
			same++
		}
	}
	if same < fanMost {
		return
	}
	for _, began := range w.began {
		if began.class == r.class && !began.doubt {
			began.doubt = true
			u.probing++
			if began.elem != nil { // it may have been evicted, and r stands nowhere yet
				u.move(began)
			}
		}
	}
}

// user returns what is known of a client, most recent last.
func (u *Usage) user(m flow.MAC) *user {
	w := u.users[m]
	if w != nil {
		u.order.MoveToBack(w.elem)
		return w
	}
	if len(u.users) >= u.cfg.MaxDevices {
		old := u.order.Remove(u.order.Front()).(*user)
		delete(u.users, old.mac)
		u.evicted++
	}
	w = &user{mac: m}
	w.elem = u.order.PushBack(w)
	u.users[m] = w
	return w
}

// move puts a relation at the recent end of its queue. Those that do not count
// go first when memory is full: inventing clients must not push out real ones.
func (u *Usage) move(r *relation) {
	home := &u.fresh
	if r.counts && !r.doubt {
		home = &u.known
	}
	if r.elem != nil && r.home == home {
		home.MoveToBack(r.elem)
		return
	}
	if r.elem != nil {
		r.home.Remove(r.elem)
	}
	r.home, r.elem = home, home.PushBack(r)
}

func (u *Usage) evict() {
	front := u.fresh.Front()
	if front == nil {
		front = u.known.Front()
	}
	if front == nil {
		return
	}
	r := front.Value.(*relation)
	u.remove(r)
	if r.when.within(u.watched.last) { // else nobody asks for it any more
		u.evicted++
		u.lost = u.watched.last
	}
}

func (u *Usage) remove(r *relation) {
	r.home.Remove(r.elem)
	r.elem = nil
	of := u.servers[r.server]
	delete(of, r.edge)
	if len(of) == 0 {
		delete(u.servers, r.server)
	}
	u.count--
}

// Forget drops everything that names a device, as client and as server.
func (u *Usage) Forget(m flow.MAC) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, of := range u.servers {
		for _, r := range of { // deleting during a range is allowed
			if r.server == m || r.client == m && !m.IsZero() {
				u.remove(r)
			}
		}
	}
	if w := u.users[m]; w != nil {
		u.order.Remove(w.elem)
		delete(u.users, m)
	}
}

// seen remembers that there was traffic at all.
func (u *Usage) seen(ns int64) {
	if u.since == 0 || ns < u.since {
		u.since = ns
	}
	u.watched.add(ns, u.day(ns))
}

// Stats reports size and losses.
func (u *Usage) Stats() Stats {
	u.mu.Lock()
	defer u.mu.Unlock()
	return Stats{Relations: u.count, Devices: len(u.users), Evicted: u.evicted, Probing: u.probing}
}
