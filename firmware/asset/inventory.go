package asset

import (
	"container/list"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"sekisho/firmware/flow"
)

// Config says what the inventory knows beforehand. The zero Config works.
type Config struct {
	LAN       []netip.Prefix            // the office's own networks; nil: DefaultLAN
	Self      []flow.MAC                // the gateway's own interfaces
	SelfAddrs []netip.Addr              // the gateway's own addresses: nobody else is ever given them
	PortName  func(iface uint32) string // nil: ports are unknown
	Max       int                       // most devices kept; 0: 4096
	// Shared says of a port that many devices use it by design, as an access
	// point's: being there says nothing. nil: none is known.
	Shared func(port string) bool
}

const (
	defaultMax = 4096
	maxAddrs   = 16 // per device: link-local, stable and seven temporary IPv6 (RFC 8981) fit
	// A host with a secondary IPv4 address announces it by ARP (RFC 5227); a
	// MAC that talks from this many which it never announced forwards for others.
	routerAfter = 3
	// An owner who spoke so recently is alive: a contradicting ARP claim does
	// not take the address from it. Hosts re-ask within this time (RFC 1122,
	// 2.3.2.1 gives one minute as order of magnitude; doubled for sleepers).
	ownerAlive = 2 * time.Minute
	// LastSeen alone is told to the store no more often than this.
	seenStep = time.Minute
)

// DefaultLAN is what counts as the office when nobody said otherwise: RFC 1918,
// RFC 3927 and RFC 4291/4193 local addresses.
func DefaultLAN() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("fc00::/7"),
	}
}

// Stats counts what the bounds cost.
type Stats struct {
	Assets  int
	Evicted uint64 // devices forgotten to make room
	Refused uint64 // devices not taken in: everything kept was protected
}

// Inventory is the set of known devices. It is safe for concurrent use.
type Inventory struct {
	mu      sync.RWMutex
	lan     Nets
	self    []flow.MAC
	mine    map[netip.Addr]bool
	port    func(uint32) string
	shared  func(string) bool
	max     int
	byID    map[ID]*entry
	byMAC   map[flow.MAC]*entry
	byAddr  map[netip.Addr]*entry
	fresh   list.List           // never confirmed, least recently seen first
	known   list.List           // confirmed, least recently seen first
	pinned  map[ID]bool         // see Pin
	byKey   map[string][]*entry // who claims a thing: at most maxClaims for each device
	paired  map[ID]*entry       // devices that keep turns
	sampled time.Time
	changed map[ID]struct{}
	epoch   uint64
	evicted uint64
	refused uint64
}

// entry is an Asset with what only the inventory needs.
type entry struct {
	Asset
	bound     []binding // of each of Addrs: few, so that looking through them is cheaper than a map
	unclaimed int       // IPv4 addresses proven, never announced
	confirmed bool
	kindRank  int
	toldSeen  time.Time
	told      bool          // Changed named it, or a restart brought it back
	elem      *list.Element // nil: never evicted
	home      *list.List
}

type binding struct {
	strong bool // announced
	proven bool // not announced, but held up a conversation
	last   time.Time
}

// New returns an empty inventory.
func New(c Config) *Inventory {
	if c.LAN == nil {
		c.LAN = DefaultLAN()
	}
	if c.Max <= 0 {
		c.Max = defaultMax
	}
	v := &Inventory{
		lan: NewNets(c.LAN), self: slices.Clone(c.Self), port: c.PortName, shared: c.Shared, max: c.Max,
		mine: make(map[netip.Addr]bool, len(c.SelfAddrs)),
	}
	for _, a := range c.SelfAddrs {
		v.mine[a] = true
	}
	v.reset()
	return v
}

// maxSelf bounds the gateway's own addresses, with those that it had: a bridge
// has one, and each port.
const maxSelf = 256

// Own tells an Ethernet address that the gateway has by now: of an adapter that
// was replaced, or a bridge that was made anew. It must come from the gateway's
// own kernel: whoever has it is spared for it.
func (v *Inventory) Own(m flow.MAC) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if m.IsZero() || m.IsGroup() || slices.Contains(v.self, m) {
		return
	}
	if len(v.self) >= maxSelf {
		v.self = slices.Delete(v.self, 0, 1)
	}
	v.self = append(v.self, m)
	if e := v.byMAC[m]; e != nil { // its first frames came before we knew
		v.appliance(e)
		v.place(e)
		v.mark(e)
	}
}

// appliance marks a device as this appliance itself.
func (v *Inventory) appliance(e *entry) {
	e.Gateway, e.Router, e.Kind, e.kindRank = true, true, KindNetwork, rankCertain
}

func (v *Inventory) reset() {
	v.byID = make(map[ID]*entry)
	v.byMAC = make(map[flow.MAC]*entry)
	v.byAddr = make(map[netip.Addr]*entry)
	v.byKey = make(map[string][]*entry)
	v.paired = make(map[ID]*entry)
	v.changed = make(map[ID]struct{})
	v.fresh.Init()
	v.known.Init()
}

// Get returns the device with that ID.
func (v *Inventory) Get(id ID) (Asset, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.byID[id].snapshot()
}

// ByMAC returns the device with that Ethernet address.
func (v *Inventory) ByMAC(m flow.MAC) (Asset, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.byMAC[m].snapshot()
}

// ByAddr returns the device that holds an IP address now.
func (v *Inventory) ByAddr(a netip.Addr) (Asset, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.byAddr[a].snapshot()
}

// Role is what a detector asks of every connection; it costs no allocation.
type Role struct {
	Gateway bool // this appliance itself
	Router  bool
	Holds   bool // the address is one of the device's own
}

// Role says what the device of a MAC is, and whether it holds an address.
func (v *Inventory) Role(m flow.MAC, a netip.Addr) Role {
	v.mu.RLock()
	defer v.mu.RUnlock()
	e := v.byMAC[m]
	if e == nil {
		return Role{}
	}
	return Role{Gateway: e.Gateway, Router: e.Router, Holds: e.of(a) != nil}
}

// All returns every device, ordered by ID.
func (v *Inventory) All() []Asset {
	v.mu.RLock()
	defer v.mu.RUnlock()
	all := make([]Asset, 0, len(v.byID))
	for _, e := range v.byID {
		a, _ := e.snapshot()
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Asset) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return all
}

// Active counts the devices seen since t, without this appliance itself.
func (v *Inventory) Active(t time.Time) int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	n := 0
	for _, e := range v.byID {
		if !e.Gateway && !e.LastSeen.Before(t) {
			n++
		}
	}
	return n
}

// Stats reports the size and what the bound cost.
func (v *Inventory) Stats() Stats {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return Stats{Assets: len(v.byID), Evicted: v.evicted, Refused: v.refused}
}

// Changed drains the IDs of devices that changed since the last call, in
// order: also those forgotten, for which Get says false.
func (v *Inventory) Changed() []ID {
	v.mu.Lock()
	defer v.mu.Unlock()
	ids := make([]ID, 0, len(v.changed))
	for id := range v.changed {
		ids = append(ids, id)
		if e := v.byID[id]; e != nil {
			e.told = true
		}
	}
	slices.Sort(ids)
	clear(v.changed)
	return ids
}

// SetProtected marks a device that only a person may isolate. It reports
// whether the device is known.
func (v *Inventory) SetProtected(id ID, on bool) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.byID[id]
	if e == nil {
		return false
	}
	e.Protected = on
	v.place(e)
	v.mark(e)
	return true
}

// SetName gives a device the owner's name for it, which nothing learnt
// replaces; an empty name takes it back.
func (v *Inventory) SetName(id ID, name string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.byID[id]
	if e == nil {
		return false
	}
	e.Name, e.NameFrom = cleanName(name), "owner"
	if e.Name == "" {
		e.NameFrom = ""
	}
	v.place(e)
	v.mark(e)
	return true
}

// Pin keeps devices from being forgotten to make room, until the next call: those
// that are held, whose flood of invented addresses must not wash away what they
// are known by. A quarter of the inventory can be pinned at most.
func (v *Inventory) Pin(ids []ID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.pinned
	v.pinned = make(map[ID]bool, len(ids))
	for _, id := range ids[:min(len(ids), v.max/4)] {
		v.pinned[id] = true
	}
	for id := range before {
		if e := v.byID[id]; e != nil && !v.pinned[id] {
			v.place(e)
		}
	}
	for id := range v.pinned {
		if e := v.byID[id]; e != nil && !before[id] {
			v.place(e)
		}
	}
}

// Forget drops a device; should it speak again, it is a new one. The gateway
// itself stays. It reports whether a device was dropped.
func (v *Inventory) Forget(id ID) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.byID[id]
	if e == nil || e.Gateway {
		return false
	}
	v.remove(e)
	for _, o := range v.byID { // what others keep of it names it, too
		taken, verdicts := len(o.Identity.Taken), len(o.Identity.Verdicts)
		o.Identity.Taken = slices.DeleteFunc(o.Identity.Taken, func(t Taken) bool { return t.From == id })
		o.Identity.Verdicts = slices.DeleteFunc(o.Identity.Verdicts, func(d Verdict) bool { return d.With == id })
		if len(o.Identity.Taken) != taken || len(o.Identity.Verdicts) != verdicts {
			v.place(o)
			v.mark(o)
		}
	}
	return true
}

// Restore replaces the content by what All returned before a restart.
func (v *Inventory) Restore(all []Asset) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reset()
	order := slices.Clone(all)
	slices.SortStableFunc(order, func(a, b Asset) int { return a.LastSeen.Compare(b.LastSeen) })
	for _, a := range order {
		v.restore(a)
	}
	clear(v.changed)
}

func (v *Inventory) restore(a Asset) {
	if a.MAC.IsZero() {
		a.MAC = macOf(a.ID) // the JSON form does not repeat it
	}
	a.Addrs, a.Identity, a.Kin = slices.Clone(a.Addrs), a.Identity.clone(), nil
	e := &entry{Asset: a, confirmed: true, toldSeen: a.LastSeen, told: true}
	if a.Kind != KindUnknown {
		e.kindRank = rankRestored
	}
	if !v.room() {
		v.refused++
		return
	}
	v.byID[a.ID] = e
	if !a.MAC.IsZero() {
		v.byMAC[a.MAC] = e
	}
	for _, ip := range a.Addrs {
		e.bound = append(e.bound, binding{strong: true, last: a.LastSeen})
		if v.byAddr[ip] == nil || !v.byAddr[ip].LastSeen.After(a.LastSeen) {
			v.byAddr[ip] = e
		}
	}
	for _, c := range a.Identity.Claims {
		v.byKey[c.Key] = append(v.byKey[c.Key], e)
	}
	if len(a.Identity.Turns) > 0 {
		v.paired[a.ID] = e
	}
	v.place(e)
}

// of is how an address is bound to the device, nil when it is not.
func (e *entry) of(a netip.Addr) *binding {
	if i := slices.Index(e.Addrs, a); i >= 0 {
		return &e.bound[i]
	}
	return nil
}

func (e *entry) snapshot() (Asset, bool) {
	if e == nil {
		return Asset{}, false
	}
	a := e.Asset
	a.Addrs, a.Identity = slices.Clone(a.Addrs), a.Identity.clone()
	return a, true
}

func (v *Inventory) onLAN(a netip.Addr) bool { return v.lan.Contains(a) }

func (v *Inventory) mark(e *entry) {
	v.changed[e.ID] = struct{}{}
	v.epoch++
}

// Epoch grows with every change of what is known of any device. Whoever keeps
// something that was made of the inventory asks it whether to make that anew.
func (v *Inventory) Epoch() uint64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.epoch
}
