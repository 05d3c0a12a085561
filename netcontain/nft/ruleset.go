package nft

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
)

// Our chains stand before everybody else's at their hook, so that no accept of
// another table comes first; a drop is final for all tables.
const (
	bridgePriority = -400
	inetForward    = -190 // after conntrack (-200)
	natPriority    = -110 // before the usual dstnat (-100)
)

// lockdownChain is jumped to by everything that is forwarded; it is empty, or
// has the one rule that drops.
const lockdownChain = "lockdown"

// rule is one line of a chain. The comment says what it is for, and is how a
// reader of `nft list` finds it here.
type rule struct {
	comment string
	exprs   []expr.Any
}

func line(comment string, parts ...[]expr.Any) rule {
	return rule{comment, slices.Concat(parts...)}
}

// chain is one chain; hook is nil for one that is only jumped to.
type chain struct {
	name  string
	hook  *nftables.ChainHook
	prio  nftables.ChainPriority
	kind  nftables.ChainType
	rules []rule
}

// table is one table as it is written to the kernel: static but for the
// elements of its sets and for the lockdown chain.
type table struct {
	nft    *nftables.Table
	sets   []*nftables.Set
	chains []chain
}

// levelSets are the sets of one containment level in one table. The names are
// what Observed reads.
type levelSets struct {
	mac, ip4, ip6, port *nftables.Set
}

func levelSetsOf(add func(string, nftables.SetDatatype, bool) *nftables.Set, l netcontain.Level) levelSets {
	return levelSets{
		mac:  add(l.String()+"_mac", nftables.TypeEtherAddr, false),
		ip4:  add(l.String()+"_ip4", nftables.TypeIPAddr, false),
		ip6:  add(l.String()+"_ip6", nftables.TypeIP6Addr, false),
		port: add(l.String()+"_port", nftables.TypeIFName, false),
	}
}

// addSets returns a function that adds a set to t. IDs are ours: the package's
// own counter is shared by all its users and not safe among goroutines.
func (t *table) addSets(nextID *uint32) func(string, nftables.SetDatatype, bool) *nftables.Set {
	return func(name string, kind nftables.SetDatatype, interval bool) *nftables.Set {
		*nextID++
		s := &nftables.Set{Table: t.nft, ID: *nextID, Name: name, KeyType: kind, Interval: interval}
		if kind == nftables.TypeIFName {
			s.KeyByteOrder = binaryutil.NativeEndian // nft shows empty names else, and would restore them
		}
		t.sets = append(t.sets, s)
		return s
	}
}

// allowSets are what a limited host may reach on the internet, in one table.
type allowSets struct {
	net4, net6   *nftables.Set // by the owner's prefixes
	name4, name6 *nftables.Set // by name: dnsmasq fills them
	near4, near6 *nftables.Set // where no name leads
}

func allowSetsOf(t *table, add func(string, nftables.SetDatatype, bool) *nftables.Set) allowSets {
	a := allowSets{
		net4: add("allow_ip4", nftables.TypeIPAddr, true), net6: add("allow_ip6", nftables.TypeIP6Addr, true),
		name4: add(namePrefix+"ip4", nftables.TypeIPAddr, false), name6: add(namePrefix+"ip6", nftables.TypeIP6Addr, false),
		near4: add("near_ip4", nftables.TypeIPAddr, true), near6: add("near_ip6", nftables.TypeIP6Addr, true),
	}
	for _, s := range []*nftables.Set{a.name4, a.name6} {
		s.HasTimeout, s.Timeout, s.Size = true, NameLife, maxNames
	}
	return a
}

// rules lets through what the lists allow of one end of the packets. The owner
// of a name decides where it points, and must not open the office with it; the
// owner's own prefixes may lead anywhere outside.
func (a allowSets) rules(end4, end6 field) (v4, v6 []rule) {
	accept, drop := verdict(expr.VerdictAccept), verdict(expr.VerdictDrop)
	v4 = []rule{
		line("allow list", in(end4, a.net4), accept),
		line("no name leads there", in(end4, a.near4), drop),
		line("allow list by name", in(end4, a.name4), accept),
	}
	v6 = []rule{
		line("allow list", in(end6, a.net6), accept),
		line("no name leads there", in(end6, a.near6), drop),
		line("allow list by name", in(end6, a.name6), accept),
	}
	return v4, v6
}

// bridgeTable is what stands between ports. Without NFT_BRIDGE_META a rule
// cannot name the bridge, so it holds on every bridge of the gateway: wider
// than asked, never narrower.
func bridgeTable(cfg Config, nextID *uint32) *table {
	t := &table{nft: &nftables.Table{Family: nftables.TableFamilyBridge, Name: Table}}
	add := t.addSets(nextID)
	gw4, gw6 := add("gateway_ip4", nftables.TypeIPAddr, false), add("gateway_ip6", nftables.TypeIP6Addr, false)
	own4, own6 := add("own_ip4", nftables.TypeIPAddr, false), add("own_ip6", nftables.TypeIP6Addr, false)
	allow := allowSetsOf(t, add)
	anyAddr := add("address_unknown", nftables.TypeEtherAddr, false)
	levelSetsOf(add, netcontain.Watch) // nothing blocked: only remembered
	limit, isolate := levelSetsOf(add, netcontain.Limit), levelSetsOf(add, netcontain.Isolate)
	s := services{gw4: gw4, gw6: gw6, own4: own4, own6: own6, allow: allow, anyAddr: anyAddr, refuge: cfg.Refuge.DNS != 0, quarantines: cfg.quarantines()}

	t.chains = append(t.chains, chain{name: lockdownChain})
	for _, l := range []struct {
		level netcontain.Level
		sets  levelSets
	}{{netcontain.Isolate, isolate}, {netcontain.Limit, limit}} {
		t.chains = append(t.chains, s.from(l.level, l.sets)...)
	}
	t.chains = append(t.chains, toIsolated())

	var pre, out []rule
	pre = append(pre, fromHeld(isolate, goTo("isolate_from"))...)
	pre = append(pre, fromHeld(limit, goTo("limit_from"))...)
	forward := []rule{line("office-wide lockdown", jump(lockdownChain))}
	for _, held := range []levelSets{isolate, limit} {
		forward = append(forward, fromHeld(held, verdict(expr.VerdictDrop))...)
		forward = append(forward, toHeld(held)...)
	}
	for _, f := range []struct {
		what string
		m    []expr.Any
	}{
		{"gateway to isolated MAC", in(etherDst, isolate.mac)},
		{"gateway to isolated IPv4", in(ip4Dst, isolate.ip4)},
		{"gateway to isolated IPv6", in(ip6Dst, isolate.ip6)},
	} {
		out = append(out, line(f.what, f.m, goTo("isolate_to")))
	}
	for _, q := range cfg.quarantines() {
		out = append(out, line("gateway to the quarantine", prefixed(dstOf(q), q.Masked()), goTo("isolate_to")))
	}
	for _, c := range []struct {
		name  string
		hook  *nftables.ChainHook
		rules []rule
	}{
		{"prerouting", nftables.ChainHookPrerouting, pre},
		{"forward", nftables.ChainHookForward, forward},
		{"output", nftables.ChainHookOutput, out},
	} {
		t.chains = append(t.chains, chain{c.name, c.hook, bridgePriority, nftables.ChainTypeFilter, c.rules})
	}
	return t
}

// fromHeld recognises what a held host sends: by MAC, by address (a changed
// MAC does not help), by what its ARP claims, by its own port.
func fromHeld(s levelSets, v []expr.Any) []rule {
	return []rule{
		line("from held MAC", in(etherSrc, s.mac), v),
		line("from held IPv4", in(ip4Src, s.ip4), v),
		line("from held IPv6", in(ip6Src, s.ip6), v),
		line("ARP of held MAC", in(arpSrcMAC, s.mac), v),
		line("ARP of held IPv4", in(arpSrcIP, s.ip4), v),
		line("from held port", metaIn(expr.MetaKeyIIFNAME, s.port), v),
	}
}

// toHeld drops what others send to a held host. Broadcasts are kept from it
// where its port is known to be its own.
func toHeld(s levelSets) []rule {
	drop := verdict(expr.VerdictDrop)
	return []rule{
		line("to held MAC", in(etherDst, s.mac), drop),
		line("to held IPv4", in(ip4Dst, s.ip4), drop),
		line("to held IPv6", in(ip6Dst, s.ip6), drop),
		line("ARP to held MAC", in(arpDstMAC, s.mac), drop),
		line("ARP for held IPv4", in(arpDstIP, s.ip4), drop),
		line("NDP for held IPv6", protocol(etherIP6), l4(unix.IPPROTO_ICMPV6), equal(icmpType, []byte{135}), in(ndTarget, s.ip6), drop),
		line("to held port", metaIn(expr.MetaKeyOIFNAME, s.port), drop),
	}
}

// services writes what a held host may still say to the gateway.
type services struct {
	gw4, gw6, own4, own6, anyAddr *nftables.Set
	allow                         allowSets
	refuge                        bool
	quarantines                   []netip.Prefix
}

var (
	linkLocal6  = netip.MustParsePrefix("fe80::/10")
	dhcpServers = netip.MustParseAddr("ff02::1:2") // RFC 8415, 7.1
)

// from returns the chains <level>_from, _svc4 and _svc6. Everything in them
// matches bytes on the wire, so VLAN-tagged frames fall through to the drop;
// so do later fragments, which carry no port. A held host may speak only for
// its own addresses, or it could poison the gateway's neighbour tables; where
// no address of it is known yet, any but the gateway's.
func (s services) from(l netcontain.Level, own levelSets) []chain {
	accept, drop := verdict(expr.VerdictAccept), verdict(expr.VerdictDrop)
	n := l.String()
	svc4, svc6 := goTo(n+"_svc4"), goTo(n+"_svc6")
	unspecified4, unspecified6 := make([]byte, 4), make([]byte, 16)
	udp, icmp6 := l4(unix.IPPROTO_UDP), l4(unix.IPPROTO_ICMPV6)
	from := []rule{
		line("gateway's address is not its own", wire(etherARP), in(arpSrcIP, s.gw4), drop),
		line("ARP probe", wire(etherARP), equal(arpSrcIP, unspecified4), in(arpDstIP, s.gw4), accept),
		line("ARP with the gateway", wire(etherARP), in(arpSrcIP, own.ip4), in(arpDstIP, s.gw4), accept),
		line("ARP, address unknown", wire(etherARP), in(etherSrc, s.anyAddr), in(arpDstIP, s.gw4), accept),
		line("own IPv4", wire(etherIP), in(ip4Src, own.ip4), svc4),
		line("no IPv4 yet", wire(etherIP), equal(ip4Src, unspecified4), svc4),
		line("IPv4, address unknown", wire(etherIP), in(etherSrc, s.anyAddr), svc4),
		line("own IPv6", wire(etherIP6), in(ip6Src, own.ip6), svc6),
		line("no IPv6 yet", wire(etherIP6), equal(ip6Src, unspecified6), svc6),
		line("link-local IPv6", wire(etherIP6), prefixed(ip6Src, linkLocal6), svc6),
		line("IPv6, address unknown", wire(etherIP6), in(etherSrc, s.anyAddr), svc6),
	}
	if l == netcontain.Isolate {
		from = append(from, s.quarantined(svc4, svc6)...)
	}
	from = append(from, line("nothing else", drop))
	v4 := []rule{
		line("DHCP broadcast", udp, equal(dstPort, be16(67)), equal(ip4Dst, []byte{255, 255, 255, 255}), accept),
		line("DHCP", udp, equal(dstPort, be16(67)), in(ip4Dst, s.gw4), accept),
	}
	v6 := []rule{
		line("DHCPv6", udp, equal(dstPort, be16(547)), equal(ip6Dst, dhcpServers.AsSlice()), accept),
		line("DHCPv6", udp, equal(dstPort, be16(547)), in(ip6Dst, s.gw6), accept),
		line("router solicitation", icmp6, equal(icmpType, []byte{133}), accept),
		line("neighbour solicitation", icmp6, equal(icmpType, []byte{135}), in(ndTarget, s.gw6), accept),
		line("neighbour advertisement", icmp6, equal(icmpType, []byte{136}), in(ndTarget, own.ip6), accept),
		line("neighbour advertisement", icmp6, equal(icmpType, []byte{136}), prefixed(ndTarget, linkLocal6), in(ip6Dst, s.gw6), accept),
		line("advertisement, unknown", icmp6, equal(icmpType, []byte{136}), in(etherSrc, s.anyAddr), in(ip6Dst, s.gw6), accept),
	}
	if l == netcontain.Isolate {
		v6 = append(v6, s.quarantineNDP()...)
		v4, v6 = append(v4, s.help(ip4Dst, s.gw4, s.own4)...), append(v6, s.help(ip6Dst, s.gw6, s.own6)...)
	} else {
		v4, v6 = append(v4, s.limited4()...), append(v6, s.limited6()...)
	}
	v4, v6 = append(v4, line("nothing else", drop)), append(v6, line("nothing else", drop))
	return []chain{{name: n + "_svc4", rules: v4}, {name: n + "_svc6", rules: v6}, {name: n + "_from", rules: from}}
}

// quarantined lets a host that was just moved to the quarantine VLAN speak from
// its new lease, which nobody knows as its own yet. These rules see the frame
// before the bridge gives it a VLAN, so it comes without a tag.
func (s services) quarantined(svc4, svc6 []expr.Any) []rule {
	var out []rule
	for _, q := range s.quarantines {
		if q.Addr().Is4() {
			out = append(out,
				line("gateway's address is not its own", wire(etherIP), in(ip4Src, s.gw4), verdict(expr.VerdictDrop)),
				line("ARP, lease of the quarantine", wire(etherARP), prefixed(arpSrcIP, q.Masked()), in(arpDstIP, s.gw4), verdict(expr.VerdictAccept)),
				line("IPv4, lease of the quarantine", wire(etherIP), prefixed(ip4Src, q.Masked()), svc4))
			continue
		}
		out = append(out,
			line("gateway's address is not its own", wire(etherIP6), in(ip6Src, s.gw6), verdict(expr.VerdictDrop)),
			line("IPv6, address in the quarantine", wire(etherIP6), prefixed(ip6Src, q.Masked()), svc6))
	}
	return out
}

// quarantineNDP lets it advertise its address there, and not the gateway's.
func (s services) quarantineNDP() []rule {
	var out []rule
	advertisement := slices.Concat(l4(unix.IPPROTO_ICMPV6), equal(icmpType, []byte{136}))
	for _, q := range s.quarantines {
		if q.Addr().Is6() {
			out = append(out,
				line("gateway's address is not its own", advertisement, in(ndTarget, s.gw6), verdict(expr.VerdictDrop)),
				line("advertisement in the quarantine", advertisement, prefixed(ndTarget, q.Masked()), in(ip6Dst, s.gw6), verdict(expr.VerdictAccept)))
		}
	}
	return out
}

func srcOf(q netip.Prefix) field {
	if q.Addr().Is4() {
		return ip4Src
	}
	return ip6Src
}

func dstOf(q netip.Prefix) field {
	if q.Addr().Is4() {
		return ip4Dst
	}
	return ip6Dst
}

var helpPorts = []struct {
	name  string
	proto byte
	port  uint16
}{{"DNS", unix.IPPROTO_UDP, 53}, {"DNS", unix.IPPROTO_TCP, 53}, {"help page", unix.IPPROTO_TCP, 80}}

// closedPort is where HTTPS of an isolated host is redirected to: nothing
// listens there (tcpmux), so that the kernel refuses the connection at once. A
// browser would otherwise wait for minutes before it shows anything.
const closedPort = 1

// help lets an isolated host's DNS and HTTP reach the gateway. With a refuge
// every destination will do: the mark makes the inet table redirect it. HTTPS
// is for being refused, to the gateway too: our DNS leads every name there. Only
// what opens a connection can be redirected; the rest of one that was open to
// the panel is dropped.
func (s services) help(dst field, gw, own *nftables.Set) []rule {
	var out []rule
	if s.refuge {
		https := slices.Concat(l4(unix.IPPROTO_TCP), equal(dstPort, be16(443)))
		out = append(out,
			line("HTTPS, to be refused", https, has(tcpFlags, tcpSyn), setMark(Mark), verdict(expr.VerdictAccept)),
			line("the gateway's own HTTPS", https, in(dst, own), verdict(expr.VerdictDrop)),
			line("HTTPS, to be refused", https, setMark(Mark), verdict(expr.VerdictAccept)))
	}
	for _, h := range helpPorts {
		if s.refuge {
			out = append(out, line(h.name, l4(h.proto), equal(dstPort, be16(h.port)), setMark(Mark), verdict(expr.VerdictAccept)))
		} else {
			out = append(out, line(h.name, l4(h.proto), equal(dstPort, be16(h.port)), in(dst, gw), verdict(expr.VerdictAccept)))
		}
	}
	return out
}

// gatewayPorts is what a limited host may use of the gateway itself.
var gatewayPorts = []struct {
	name  string
	proto byte
	port  uint16
}{
	{"DNS", unix.IPPROTO_UDP, 53}, {"DNS", unix.IPPROTO_TCP, 53}, {"NTP", unix.IPPROTO_UDP, 123},
	{"panel", unix.IPPROTO_TCP, 80}, {"panel", unix.IPPROTO_TCP, 443},
}

func (s services) limited4() []rule {
	list, _ := s.allow.rules(ip4Dst, ip6Dst)
	return s.limited(ip4Dst, s.gw4, s.own4, unix.IPPROTO_ICMP, 8, list)
}

func (s services) limited6() []rule {
	_, list := s.allow.rules(ip4Dst, ip6Dst)
	return s.limited(ip6Dst, s.gw6, s.own6, unix.IPPROTO_ICMPV6, 128, list)
}

// limited lets a limited host use some services of the gateway, and of the rest
// only what is on the list: whatever the list says, the gateway's other
// addresses and ports are not.
func (s services) limited(dst field, gw, own *nftables.Set, icmp, echo byte, list []rule) []rule {
	accept := verdict(expr.VerdictAccept)
	out := []rule{line("echo", l4(icmp), equal(icmpType, []byte{echo}), in(dst, gw), accept)}
	for _, p := range gatewayPorts {
		out = append(out, line(p.name, l4(p.proto), equal(dstPort, be16(p.port)), in(dst, gw), accept))
	}
	out = append(out, line("the gateway itself", in(dst, own), verdict(expr.VerdictDrop)))
	return append(out, list...)
}

// toIsolated is what the gateway may still send to an isolated host, itself or
// on behalf of others: only answers of the services above.
func toIsolated() chain {
	accept := verdict(expr.VerdictAccept)
	rules := []rule{
		line("ARP", wire(etherARP), accept),
		line("refusal of HTTPS", l4(unix.IPPROTO_TCP), equal(srcPort, be16(443)), has(tcpFlags, tcpReset), accept),
	}
	for _, p := range []struct {
		name  string
		proto byte
		port  uint16
	}{{"DHCP", unix.IPPROTO_UDP, 67}, {"DHCPv6", unix.IPPROTO_UDP, 547}} {
		rules = append(rules, line(p.name, l4(p.proto), equal(srcPort, be16(p.port)), accept))
	}
	for _, h := range helpPorts {
		rules = append(rules, line(h.name, l4(h.proto), equal(srcPort, be16(h.port)), accept))
	}
	for _, kind := range []byte{134, 135, 136} { // RFC 4861: advertisements and solicitation
		rules = append(rules, line("NDP", l4(unix.IPPROTO_ICMPV6), equal(icmpType, []byte{kind}), accept))
	}
	return chain{name: "isolate_to", rules: append(rules, line("nothing else", verdict(expr.VerdictDrop)))}
}

// inetTable is what stands between networks: routed and translated traffic.
func inetTable(cfg Config, nextID *uint32) *table {
	t := &table{nft: &nftables.Table{Family: nftables.TableFamilyINet, Name: Table}}
	add := t.addSets(nextID)
	allow := allowSetsOf(t, add)
	limit, isolate := levelSetsOf(add, netcontain.Limit), levelSetsOf(add, netcontain.Isolate)
	drop := verdict(expr.VerdictDrop)
	// "From" and "to" as routed has them: the far end is the other one.
	listed := func(name string, far expr.MetaKey, end4, end6 field) chain {
		v4, v6 := allow.rules(end4, end6)
		rules := []rule{line("the internet only", metaIs(far, expr.CmpOpNeq, ifname(cfg.WAN)), drop)}
		return chain{name: name, rules: append(slices.Concat(rules, v4, v6), line("nothing else", drop))}
	}
	t.chains = append(t.chains, chain{name: lockdownChain},
		listed("limit_from", expr.MetaKeyOIFNAME, ip4Dst, ip6Dst),
		listed("limit_to", expr.MetaKeyIIFNAME, ip4Src, ip6Src))
	forward := []rule{line("office-wide lockdown", jump(lockdownChain))}
	if len(cfg.quarantines()) > 0 {
		device := add("quarantine_device", nftables.TypeIFName, false)
		forward = append(forward,
			line("from the quarantine's device", metaIn(expr.MetaKeyIIFNAME, device), drop),
			line("to the quarantine's device", metaIn(expr.MetaKeyOIFNAME, device), drop))
	}
	for _, q := range cfg.quarantines() {
		forward = append(forward,
			line("from the quarantine", prefixed(srcOf(q), q.Masked()), drop),
			line("to the quarantine", prefixed(dstOf(q), q.Masked()), drop))
	}
	forward = append(forward, routed(isolate, drop, drop)...)
	forward = append(forward, routed(limit, goTo("limit_from"), goTo("limit_to"))...)
	t.chains = append(t.chains, chain{"forward", nftables.ChainHookForward, inetForward, nftables.ChainTypeFilter, forward})
	if cfg.Refuge.DNS != 0 {
		t.chains = append(t.chains, redirects(cfg.Refuge))
	}
	return t
}

func routed(s levelSets, from, to []expr.Any) []rule {
	ethernet := metaIs(expr.MetaKeyIIFTYPE, expr.CmpOpEq, []byte{1, 0}) // ARPHRD_ETHER, host order
	return []rule{
		line("from held MAC", ethernet, in(etherSrc, s.mac), from),
		line("from held IPv4", in(ip4Src, s.ip4), from),
		line("from held IPv6", in(ip6Src, s.ip6), from),
		line("to held IPv4", in(ip4Dst, s.ip4), to),
		line("to held IPv6", in(ip6Dst, s.ip6), to),
	}
}

func redirects(r Refuge) chain {
	c := chain{name: "prerouting", hook: nftables.ChainHookPrerouting, prio: natPriority, kind: nftables.ChainTypeNAT}
	marked := metaIs(expr.MetaKeyMARK, expr.CmpOpEq, markBytes())
	for _, h := range helpPorts {
		to := r.DNS
		if h.port == 80 {
			to = r.HTTP
		}
		c.rules = append(c.rules, line(h.name, marked, l4(h.proto), equal(dstPort, be16(h.port)), redirectTo(to)))
	}
	c.rules = append(c.rules, line("HTTPS, to be refused", marked, l4(unix.IPPROTO_TCP), equal(dstPort, be16(443)), redirectTo(closedPort)))
	return c
}
