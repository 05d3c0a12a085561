package refuge

import (
	"encoding/binary"
	"hash/fnv"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"sekisho/netcontain"
)

// Times of a lease (RFC 2131, 4.4.5).
const (
	// leaseTime is short because a released host has to give its address up:
	// should its link not flap, because of a dock or a converter in between, it
	// asks again after half of this and is back in the office after all of it.
	leaseTime = time.Minute
	// offerTime is how long an offer is kept for somebody: clients answer at
	// once, and a retransmission comes after 4 s (RFC 2131, 4.1).
	offerTime = 10 * time.Second
	// declinedTime is how long an address that a host found in use is avoided.
	declinedTime = 10 * time.Minute
	// maxLeases bounds the table. 250 hosts are the largest office.
	maxLeases = 256
)

// leases hands out the addresses of the quarantine network. They live in
// memory only: after a restart a host that renews gets the address that it has,
// unless somebody else got it meanwhile, and no other server can disagree.
type leases struct {
	own    netip.Addr
	prefix netip.Prefix
	now    func() time.Time

	mu    sync.Mutex // of what follows: two servers, while one takes over from the other
	by    map[netcontain.MAC]lease
	owner map[netip.Addr]netcontain.MAC // zero MAC: declined, see declined
	bad   map[netip.Addr]time.Time      // declined until

	refused uint64 // nothing was free
}

type lease struct {
	addr netip.Addr
	ends time.Time
}

// newLeases serves the network of p, whose address is the gateway's.
func newLeases(p netip.Prefix, now func() time.Time) *leases {
	return &leases{own: p.Addr(), prefix: p.Masked(), now: now, by: map[netcontain.MAC]lease{},
		owner: map[netip.Addr]netcontain.MAC{}, bad: map[netip.Addr]time.Time{}}
}

// answer returns the reply to one message of a client, or nil when it deserves
// none. from is who sent the frame: whoever asks for another gets nothing, so
// that one host cannot use up the addresses in the names of many.
func (l *leases) answer(m *dhcpv4.DHCPv4, from netcontain.MAC) *dhcpv4.DHCPv4 {
	if m.OpCode != dhcpv4.OpcodeBootRequest || m.HWType != iana.HWTypeEthernet || len(m.ClientHWAddr) != len(from) ||
		netcontain.MAC(m.ClientHWAddr) != from || from[0]&1 != 0 || from == (netcontain.MAC{}) || !m.GatewayIPAddr.Equal(net.IPv4zero) {
		return nil // no relay stands in this network
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire()
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		if addr, ok := l.choose(from, addrOf(m.RequestedIPAddress())); ok && l.take(from, addr, offerTime) {
			return l.reply(m, dhcpv4.MessageTypeOffer, addr)
		}
		l.refused++
	case dhcpv4.MessageTypeRequest:
		return l.request(m, from)
	case dhcpv4.MessageTypeDecline:
		if addr := addrOf(m.RequestedIPAddress()); l.owner[addr] == from {
			l.drop(from)
			l.bad[addr] = l.now().Add(declinedTime)
		}
	case dhcpv4.MessageTypeRelease:
		if l.by[from].addr == addrOf(m.ClientIPAddr) {
			l.drop(from)
		}
	case dhcpv4.MessageTypeInform:
		if l.prefix.Contains(addrOf(m.ClientIPAddr)) {
			return l.reply(m, dhcpv4.MessageTypeAck, netip.Addr{})
		}
	}
	return nil
}

// request grants what was offered, or what the host still has. A host that was
// moved here asks for its office address first: it is told no at once, and need
// not wait until it gives up (RFC 2131, 4.3.2, INIT-REBOOT).
func (l *leases) request(m *dhcpv4.DHCPv4, from netcontain.MAC) *dhcpv4.DHCPv4 {
	if sid := m.ServerIdentifier(); sid != nil && addrOf(sid) != l.own {
		if l.by[from].ends.Sub(l.now()) <= offerTime {
			l.drop(from) // it chose another server's offer
		}
		return nil
	}
	want := addrOf(m.RequestedIPAddress())
	if !want.IsValid() {
		want = addrOf(m.ClientIPAddr)
	}
	if had := l.by[from]; had.addr.IsValid() && had.addr != want || !l.free(want, from) {
		l.drop(from)
		return l.reply(m, dhcpv4.MessageTypeNak, netip.Addr{})
	}
	if !l.take(from, want, leaseTime) {
		l.refused++
		return nil
	}
	return l.reply(m, dhcpv4.MessageTypeAck, want)
}

// choose prefers what the host has, then what it wishes, then an address that
// follows from its MAC, so that it gets the same one after a restart.
func (l *leases) choose(from netcontain.MAC, wish netip.Addr) (netip.Addr, bool) {
	if had, ok := l.by[from]; ok && l.free(had.addr, from) {
		return had.addr, true
	}
	if l.free(wish, from) {
		return wish, true
	}
	size := l.size()
	h := fnv.New32a()
	h.Write(from[:])
	start := h.Sum32() % size
	for n := range min(size, 4*maxLeases) {
		if addr := l.nth((start + n) % size); l.free(addr, from) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// size is how many addresses the network has, at most 2^16.
func (l *leases) size() uint32 { return 1 << min(32-l.prefix.Bits(), 16) }

func (l *leases) nth(n uint32) netip.Addr {
	b := l.prefix.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+n)
	return netip.AddrFrom4(b)
}

// free says whether an address may be from's: of this network, not the
// gateway's, neither its first nor its last, and nobody else's.
func (l *leases) free(a netip.Addr, from netcontain.MAC) bool {
	if !a.Is4() || !l.prefix.Contains(a) || a == l.own || a == l.prefix.Addr() || a == l.broadcast() {
		return false
	}
	owner, taken := l.owner[a]
	return (!taken || owner == from) && l.bad[a].IsZero()
}

func (l *leases) broadcast() netip.Addr {
	b := l.prefix.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|^uint32(0)>>l.prefix.Bits())
	return netip.AddrFrom4(b)
}

// take books an address; false when the table is full.
func (l *leases) take(from netcontain.MAC, a netip.Addr, d time.Duration) bool {
	ends := l.now().Add(d)
	if had, ok := l.by[from]; ok && had.addr == a && had.ends.After(ends) {
		ends = had.ends // a new offer does not shorten a lease
	}
	l.drop(from)
	if len(l.by) >= maxLeases {
		return false
	}
	l.by[from], l.owner[a] = lease{a, ends}, from
	return true
}

func (l *leases) drop(from netcontain.MAC) {
	if had, ok := l.by[from]; ok {
		delete(l.owner, had.addr)
		delete(l.by, from)
	}
}

// expire runs over the whole table: it is small, and messages are few.
func (l *leases) expire() {
	now := l.now()
	for mac, had := range l.by {
		if !now.Before(had.ends) {
			l.drop(mac)
		}
	}
	for a, until := range l.bad {
		if !now.Before(until) {
			delete(l.bad, a)
		}
	}
}

// reply is an offer, an acknowledgement or a refusal with what RFC 2131, table
// 3, puts in it. addr is invalid where none is given.
func (l *leases) reply(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType, addr netip.Addr) *dhcpv4.DHCPv4 {
	own := net.IP(l.own.AsSlice())
	with := []dhcpv4.Modifier{dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(own))}
	if kind == dhcpv4.MessageTypeNak {
		with = append(with, dhcpv4.WithOption(dhcpv4.OptMessage("isolated: ask again")))
	} else {
		with = append(with, dhcpv4.WithNetmask(net.CIDRMask(l.prefix.Bits(), 32)), dhcpv4.WithRouter(own), dhcpv4.WithDNS(own))
	}
	if addr.IsValid() {
		with = append(with, dhcpv4.WithYourIP(addr.AsSlice()), dhcpv4.WithLeaseTime(uint32(leaseTime/time.Second)))
		if m.MessageType() == dhcpv4.MessageTypeRequest {
			with = append(with, dhcpv4.WithClientIP(m.ClientIPAddr))
		}
	}
	out, err := dhcpv4.NewReplyFromRequest(m, with...)
	if err != nil {
		return nil // only a modifier can fail, and none of these does
	}
	return out
}

// addrOf is invalid for what is no IPv4 address or 0.0.0.0.
func addrOf(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip.To4())
	if !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}
