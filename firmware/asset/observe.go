package asset

import (
	"net/netip"
	"strings"

	"sekisho/firmware/flow"
)

// Observe learns from one event. Announcements (ARP, NDP, DHCP) bind an
// address strongly; the source address of ordinary traffic only where nobody
// announced it.
func (v *Inventory) Observe(ev flow.Event) {
	switch ev.(type) {
	case *flow.Malformed, *flow.TLSHello, *flow.HTTP, *flow.SMB:
		return // nothing in them that the connection did not say
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch e := ev.(type) {
	case *flow.ARP:
		v.arp(e)
	case *flow.NDP:
		v.ndp(e)
	case *flow.DHCP:
		v.dhcp(e)
	case *flow.Conn:
		v.conn(e)
	case *flow.ICMP:
		v.source(e.SrcMAC, e.Src, &e.Meta)
	case *flow.DNS:
		v.dns(e)
	case *flow.DHCP6:
		v.dhcp6(e)
	case *flow.Tick:
		v.sample(e.Time)
	case *flow.Self:
		v.readdress(e.Addrs)
	}
}

// readdress takes up the gateway's own addresses of now. Nobody else keeps one of
// them, and those that it had are anybody's again.
func (v *Inventory) readdress(addrs []netip.Addr) {
	mine := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		mine[a] = true
		if owner := v.byAddr[a]; owner != nil && !owner.Gateway {
			v.take(owner, a)
		}
	}
	for a := range v.mine {
		if owner := v.byAddr[a]; !mine[a] && owner != nil && owner.Gateway {
			v.take(owner, a)
		}
	}
	v.mine = mine
}

func (v *Inventory) arp(e *flow.ARP) {
	mac := e.SenderMAC
	if mac.IsZero() {
		mac = e.SrcMAC
	}
	d := v.byMACOrNew(mac, &e.Meta)
	v.where(d, &e.Meta)
	if d != nil && usable(e.SenderIP) {
		v.claim(d, e.SenderIP, &e.Meta) // a probe (RFC 5227) has no sender address
	}
}

func (v *Inventory) ndp(e *flow.NDP) {
	d := v.byMACOrNew(e.SrcMAC, &e.Meta)
	v.where(d, &e.Meta)
	if d == nil {
		return
	}
	if usable(e.Src) && v.onLAN(e.Src) {
		v.claim(d, e.Src, &e.Meta)
	}
	switch e.Type {
	case 134: // router advertisement
		v.announced(d)
	case 136: // neighbour advertisement
		if usable(e.Target) {
			v.claim(d, e.Target, &e.Meta)
		}
		if e.Router {
			v.announced(d)
		}
	}
}

func (v *Inventory) dhcp(e *flow.DHCP) {
	if e.FromServer {
		v.lease(e)
		return
	}
	mac := e.ClientMAC
	if mac.IsZero() {
		mac = e.SrcMAC
	}
	d := v.byMACOrNew(mac, &e.Meta)
	if mac == e.SrcMAC { // not from a relay
		v.where(d, &e.Meta)
	}
	if d == nil {
		return
	}
	if usable(e.ClientIP) && v.onLAN(e.ClientIP) {
		v.claim(d, e.ClientIP, &e.Meta)
	}
	v.name(d, e.Hostname, "dhcp")
	v.kindByDHCP(d, e)
	if mac == e.SrcMAC {
		v.saysDHCP(d, e)
	}
}

// lease learns from a server: what an ACK grants is the client's, whoever had
// it before.
func (v *Inventory) lease(e *flow.DHCP) {
	if s := v.source(e.SrcMAC, e.Src, &e.Meta); s != nil {
		v.kind(s, KindNetwork, rankServed)
	}
	for _, r := range e.Routers {
		v.announced(v.byAddr[r])
	}
	if e.Type != 5 || !usable(e.YourIP) || v.mine[e.YourIP] {
		return
	}
	d := v.byMACOrNew(e.ClientMAC, &e.Meta)
	if d == nil {
		return
	}
	if o := v.byAddr[e.YourIP]; o != nil && o.Gateway && o != d {
		return
	}
	v.confirm(d)
	v.give(d, e.YourIP, binding{strong: true, last: e.Time})
	d.leased(e.YourIP)
}

func (v *Inventory) conn(e *flow.Conn) {
	c := v.source(e.ClientMAC, e.Client.Addr(), &e.Meta)
	if c != nil && e.SrcMAC == e.ClientMAC {
		v.where(c, &e.Meta)
	}
	if e.Multicast || e.RecvPackets == 0 && e.State != flow.ConnEstablished {
		return
	}
	s := v.source(e.ServerMAC, e.Server.Addr(), &e.Meta)
	if !v.onLAN(e.Server.Addr()) && !e.ServerMAC.IsZero() {
		// Answers from outside come through it: only a router does that. What
		// it sends as a client proves nothing, sources can be invented.
		v.router(v.byMAC[e.ServerMAC])
	}
	if e.State == flow.ConnEstablished && !e.MidStream {
		v.confirm(c)
		v.confirm(s)
		v.kindByService(s, e)
		v.proven(e.ClientMAC, e.Client.Addr())
		v.proven(e.ServerMAC, e.Server.Addr())
	}
}

// source finds whose an address is from the frame that carried it: the
// device of the MAC, or a device of its own behind a router.
func (v *Inventory) source(mac flow.MAC, a netip.Addr, h *flow.Meta) *entry {
	if !usable(a) || !v.onLAN(a) {
		if usable(a) || mac.IsZero() {
			return nil
		}
		return v.byMACOrNew(mac, h)
	}
	if mac.IsZero() || mac.IsGroup() {
		return v.unseen(a, h)
	}
	d := v.byMACOrNew(mac, h)
	if d == nil {
		return nil
	}
	if b := d.of(a); b != nil {
		b.last = h.Time
		return d
	}
	if owner := v.byAddr[a]; owner != nil {
		// Announced by another, or already known behind the router: traffic
		// alone moves nothing.
		v.touch(owner, h)
		return owner
	}
	if d.Router || v.mine[a] {
		if v.mine[a] {
			return d
		}
		return v.unseen(a, h)
	}
	v.give(d, a, binding{last: h.Time})
	return d
}

// proven notes that an address which its MAC never announced held up a
// conversation. Several of them mean a router; sources that were only sent
// from can be invented, and must not make an infected host look like one.
func (v *Inventory) proven(mac flow.MAC, a netip.Addr) {
	d := v.byMAC[mac]
	if d == nil || !a.Is4() {
		return
	}
	b := d.of(a)
	if b == nil || b.strong || b.proven {
		return
	}
	b.proven = true
	d.unclaimed++
	if d.unclaimed >= routerAfter {
		v.router(d)
	}
}

func (v *Inventory) unseen(a netip.Addr, h *flow.Meta) *entry {
	if d := v.byAddr[a]; d != nil {
		v.touch(d, h)
		return d
	}
	return v.byIPOrNew(a, h)
}

// claim binds an announced address, unless its owner is alive: who of the two
// is right is for the detectors to say, and an impostor must not be given the
// gateway's address, or isolating it would hit the gateway.
func (v *Inventory) claim(d *entry, a netip.Addr, h *flow.Meta) {
	if v.mine[a] && !d.Gateway {
		return
	}
	owner := v.byAddr[a]
	if owner != nil && owner != d {
		if b := owner.of(a); owner.Gateway || b != nil && b.strong && h.Time.Sub(b.last) < ownerAlive {
			return
		}
	}
	if owner != nil && owner != d && h.SrcMAC == d.MAC { // its own word, not another's about it
		v.took(d, owner, a, h.Time)
	}
	if b := d.of(a); b != nil && b.proven && d.unclaimed > 0 {
		d.unclaimed--
	}
	v.give(d, a, binding{strong: true, last: h.Time})
}

// announced takes a device's word for being a router, or a DHCP server's. Where
// this appliance is the gateway, that word is what an impostor says first: a
// rogue DHCP server must not become a device that is spared for it. There only
// forwarding that was seen makes a router.
func (v *Inventory) announced(d *entry) {
	if len(v.self) == 0 || d != nil && d.Gateway {
		v.router(d)
	}
}

// router marks a device that forwards: addresses that it never announced
// belong to devices behind it.
func (v *Inventory) router(d *entry) {
	if d == nil || d.Router {
		return
	}
	d.Router = true
	v.kind(d, KindNetwork, rankServed)
	v.mark(d)
	var moved []netip.Addr
	for i, a := range d.Addrs {
		if !d.bound[i].strong && a.Is4() {
			moved = append(moved, a)
		}
	}
	if len(moved) < 2 {
		return // a single unannounced address is its own
	}
	for _, a := range moved {
		h := flow.Meta{Time: d.of(a).last}
		v.take(d, a)
		v.byIPOrNew(a, &h)
	}
}

// where notes the port that the device's own frame came in by, and a change of
// it: the cable was moved, or somebody else sends with the device's address.
func (v *Inventory) where(d *entry, h *flow.Meta) {
	if d == nil || v.port == nil || h.Out || h.SrcMAC != d.MAC {
		return
	}
	if p := v.port(h.Iface); p != "" && p != d.Port {
		if d.Port != "" {
			d.Moved, d.MovedFrom = h.Time, d.Port
		}
		d.Port = p
		v.mark(d)
	}
}

func (v *Inventory) dns(e *flow.DNS) {
	d := v.source(e.SrcMAC, e.Src.Addr(), &e.Meta)
	if d == nil || e.Proto == flow.NameDNS {
		return
	}
	var text [64]byte // longer than any address without a zone
	own := e.Src.Addr().AppendTo(text[:0])
	for _, r := range e.Answers {
		if e.Proto == flow.NameMDNS {
			v.kindByName(d, r.Name)
		}
		if e.Proto != flow.NameNBNS && r.Data == string(own) && e.Response {
			// Only who answers for its own address names itself.
			v.name(d, strings.TrimSuffix(r.Name, ".local"), protoNames[e.Proto])
			v.hostClaim(d, r.Name, &e.Meta)
		}
		if e.Proto == flow.NameNBNS && e.Response && r.Type == nodeStatus {
			v.name(d, r.Data, "nbns")
			v.hostClaim(d, r.Data, &e.Meta)
		}
		// The computer's own name is registered first; workgroup names follow
		// from the same address, so the first one stays (RFC 1002, 4.2).
		if e.Proto == flow.NameNBNS && e.RCode == 0 && r.Data == string(own) && d.NameFrom != "nbns" {
			v.name(d, r.Name, "nbns")
		}
	}
}

// hostClaim takes a name that the device's own frame gave itself.
func (v *Inventory) hostClaim(d *entry, name string, h *flow.Meta) {
	if host := hostKey(name); host != "" && d.MAC == h.SrcMAC {
		v.claims(d, "host:"+host, h.Time)
	}
}

const nodeStatus = 33 // NBSTAT, RFC 1002, 4.2.17

var protoNames = [...]string{flow.NameMDNS: "mdns", flow.NameLLMNR: "llmnr", flow.NameNBNS: "nbns"}

// usable says that an address can be somebody's.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
