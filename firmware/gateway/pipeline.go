package gateway

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/capture"
	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
	"sekisho/firmware/impact"
)

// Pipeline is the pure part of the gateway, frames in and findings out. It is
// the same for a live network and for a replayed file. One goroutine feeds it;
// its inventory may be read from others.
type Pipeline struct {
	tracker   *flow.Tracker
	inventory *asset.Inventory
	engine    *detect.Engine
	uses      *impact.Usage
	emit      func(flow.Event) // bound once: a method value allocates
	found     []detect.Finding
	now       time.Time                    // of the last event: packet time
	self      atomic.Pointer[[]netip.Addr] // told, and not taken up yet
}

// PipelineConfig is what the pure part has to know of the network. The zero
// value is for a capture of an unknown office.
type PipelineConfig struct {
	LAN         []netip.Prefix            // the office's own networks; nil: private ranges
	Self        []flow.MAC                // the gateway's own interfaces
	SelfAddrs   []netip.Addr              // as of the start, see Readdress
	DHCPServers []netip.Addr              // known good besides the gateway; empty and no SelfAddrs: the first one seen
	PortName    func(iface uint32) string // nil: ports are unknown
	SharedPort  func(port string) bool    // many devices use it by design: an access point; nil: none
	Decoys      func() []netip.Addr       // nil: none
	DecoyNames  func() []string           // names that nobody has; nil: none
	// Indicators are the lists in force; nil: none.
	Indicators func() detect.Indicators
	// Suspect says that nothing is to be learnt from a device; nil: nobody is.
	Suspect func(flow.MAC) bool
	Learn   time.Duration // 0: the default of detect
	// Nowhere is where netcontain/neigh leads those that miss a held host; zero:
	// nowhere.
	Nowhere flow.MAC
	// Zone is where a day begins and ends; nil: UTC.
	Zone *time.Location
	// Seen is told every address that a device says it uses; it must not
	// block. May be nil.
	Seen func(netip.Addr, [6]byte)
}

// NewPipeline wires tracker, inventory and detectors together.
func NewPipeline(c PipelineConfig) *Pipeline {
	p := &Pipeline{
		tracker:   flow.New(flow.Config{LAN: c.LAN}),
		inventory: asset.New(asset.Config{LAN: c.LAN, Self: c.Self, SelfAddrs: c.SelfAddrs, PortName: c.PortName, Shared: c.SharedPort}),
	}
	p.engine = detect.New(detect.Config{
		Assets: p.inventory, LAN: c.LAN, Gateway: c.SelfAddrs, DHCPServers: c.DHCPServers, Decoys: c.Decoys,
		DecoyNames: c.DecoyNames, Indicators: c.Indicators, Suspect: c.Suspect, Learn: c.Learn, Nowhere: c.Nowhere,
	})
	p.uses = impact.New(impact.Config{Assets: p.inventory, LAN: c.LAN, Suspect: c.Suspect, Zone: c.Zone, Name: p.whose})
	p.emit = func(ev flow.Event) {
		p.now = ev.Head().Time
		if c.Seen != nil {
			tellSeen(ev, c.Seen)
		}
		p.inventory.Observe(ev)
		p.uses.Observe(ev)
		p.found = append(p.found, p.engine.Observe(ev)...)
	}
	return p
}

// tellSeen passes on who uses an address: senders of ARP, and leases.
func tellSeen(ev flow.Event, seen func(netip.Addr, [6]byte)) {
	switch ev := ev.(type) {
	case *flow.ARP:
		if ev.SenderIP.IsValid() && !ev.SenderIP.IsUnspecified() {
			seen(ev.SenderIP, ev.SenderMAC)
		} else if ev.Op == 1 { // an ARP probe (RFC 5227): somebody wants it
			seen(ev.TargetIP, ev.SenderMAC)
		}
	case *flow.DHCP:
		if ev.FromServer && ev.Type == 5 {
			seen(ev.YourIP, ev.ClientMAC)
		}
	}
}

// Frame takes one frame and returns what it led to, nearly always nothing. The
// slice is valid until the next call.
func (p *Pipeline) Frame(f *capture.Frame) []detect.Finding {
	p.found = p.found[:0]
	p.tracker.Frame(f, p.emit)
	return p.found
}

// Advance lets packet time reach ns without a packet.
func (p *Pipeline) Advance(ns int64) []detect.Finding {
	p.found = p.found[:0]
	p.tracker.Advance(ns, p.emit)
	return p.found
}

// Readdress tells the addresses that the gateway has by now, and may be called from
// any goroutine. It is an event like any other, in its place among the frames: see
// TakeUp. The networks of the office do not follow: they are the owner's word
// (network.lan), or whoever gives the gateway an address could make strangers of the
// office.
func (p *Pipeline) Readdress(addrs []netip.Addr) {
	addrs = slices.Clone(addrs)
	p.self.Store(&addrs)
}

// TakeUp lets pass, between two frames, what was told meanwhile.
func (p *Pipeline) TakeUp() []detect.Finding {
	p.found = p.found[:0]
	if addrs := p.self.Swap(nil); addrs != nil && len(*addrs) > 0 {
		p.emit(&flow.Self{Meta: flow.Meta{Time: p.now}, Addrs: *addrs})
	}
	return p.found
}

// Flush ends a capture: what was still open is closed.
func (p *Pipeline) Flush() []detect.Finding {
	p.found = p.found[:0]
	p.tracker.Flush(p.emit)
	return p.found
}

// Inventory may be read, and told the owner's words, from any goroutine.
func (p *Pipeline) Inventory() *asset.Inventory { return p.inventory }

// Flows counts what was decoded.
func (p *Pipeline) Flows() flow.Stats { return p.tracker.Stats() }

// Host returns the device that a finding is about, as far as it is known. A
// finding that names a MAC is never given to whoever owns its address: that may
// be the victim.
func (p *Pipeline) Host(f detect.Finding) asset.Asset {
	if f.Host.MAC.IsZero() {
		a, _ := p.inventory.ByAddr(f.Host.IP)
		return a
	}
	a, _ := p.inventory.ByMAC(f.Host.MAC)
	return a
}

// activeWithin is how long a silent device still counts as present: the
// default lease of dnsmasq (1 h, dnsmasq(8)), after which it would have asked
// for its address again.
const activeWithin = time.Hour

// active counts devices of the office seen lately, for the circuit breaker.
func (p *Pipeline) active(now time.Time) int { return p.inventory.Active(now.Add(-activeWithin)) }
