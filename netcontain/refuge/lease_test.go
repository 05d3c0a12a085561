package refuge

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"pgregory.net/rapid"

	"sekisho/netcontain"
)

var quarantineNet = netip.MustParsePrefix("172.30.66.1/24")

func hw(n int) netcontain.MAC { return netcontain.MAC{2, 0, 0, 0, byte(n >> 8), byte(n)} }

// clock is a time that a test moves.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func pool(prefix netip.Prefix) (*leases, *clock) {
	c := &clock{time.Date(2026, 4, 24, 14, 0, 0, 0, time.UTC)}
	return newLeases(prefix, c.now), c
}

// say sends one message as a client does and returns the kind of the reply and
// the address in it.
func say(t testing.TB, l *leases, n int, kind dhcpv4.MessageType, with ...dhcpv4.Modifier) (dhcpv4.MessageType, netip.Addr) {
	t.Helper()
	mac := hw(n)
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(mac[:]), dhcpv4.WithMessageType(kind)}, with...)...)
	if err != nil {
		t.Fatal(err)
	}
	r := l.answer(m, mac)
	if r == nil {
		return dhcpv4.MessageTypeNone, netip.Addr{}
	}
	return r.MessageType(), addrOf(r.YourIPAddr)
}

func wish(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(a.AsSlice()))
}
func has(a netip.Addr) dhcpv4.Modifier { return dhcpv4.WithClientIP(a.AsSlice()) }
func server(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(a.AsSlice()))
}

const (
	discover = dhcpv4.MessageTypeDiscover
	request  = dhcpv4.MessageTypeRequest
	offer    = dhcpv4.MessageTypeOffer
	ack      = dhcpv4.MessageTypeAck
	nak      = dhcpv4.MessageTypeNak
	nothing  = dhcpv4.MessageTypeNone
)

func TestAHostGetsAShortLeaseThatPointsAtTheGatewayOnly(t *testing.T) {
	l, _ := pool(quarantineNet)
	kind, addr := say(t, l, 1, discover)
	if kind != offer || !quarantineNet.Contains(addr) || addr == quarantineNet.Addr() {
		t.Fatalf("%v %v", kind, addr)
	}
	mac := hw(1)
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(mac[:]), dhcpv4.WithMessageType(request), wish(addr), server(l.own))
	if err != nil {
		t.Fatal(err)
	}
	r := l.answer(m, mac)
	own := net.IP(l.own.AsSlice())
	if r == nil || r.MessageType() != ack || addrOf(r.YourIPAddr) != addr || r.TransactionID != m.TransactionID ||
		r.IPAddressLeaseTime(0) != leaseTime || !r.Router()[0].Equal(own) || len(r.DNS()) != 1 || !r.DNS()[0].Equal(own) ||
		net.IP(r.SubnetMask()).String() != "255.255.255.0" || !r.ServerIdentifier().Equal(own) {
		t.Errorf("%v", r)
	}
}

func TestAMovedHostGivesUpItsOfficeAddressAtOnce(t *testing.T) {
	office := netip.MustParseAddr("192.168.10.23")
	l, _ := pool(quarantineNet)
	for name, with := range map[string]dhcpv4.Modifier{"after its link came back": wish(office), "while it renews": has(office)} {
		if kind, addr := say(t, l, 1, request, with); kind != nak || addr.IsValid() {
			t.Errorf("%s: %v %v", name, kind, addr)
		}
	}
	if kind, _ := say(t, l, 1, discover, wish(office)); kind != offer {
		t.Errorf("then it asks anew: %v", kind)
	}
}

func TestWhatAClientSaysIsAnsweredAsTheRFCAsks(t *testing.T) {
	for _, c := range []struct {
		name string
		play func(l *leases, now *clock) (dhcpv4.MessageType, netip.Addr)
		want dhcpv4.MessageType
	}{
		{"an offer of another server was chosen", func(l *leases, _ *clock) (dhcpv4.MessageType, netip.Addr) {
			_, a := say(t, l, 1, discover)
			return say(t, l, 1, request, wish(a), server(netip.MustParseAddr("192.0.2.7")))
		}, nothing},
		{"it renews, and we have started anew meanwhile", func(l *leases, _ *clock) (dhcpv4.MessageType, netip.Addr) {
			return say(t, l, 1, request, has(netip.MustParseAddr("172.30.66.9")))
		}, ack},
		{"another's address", func(l *leases, _ *clock) (dhcpv4.MessageType, netip.Addr) {
			_, a := say(t, l, 1, discover)
			say(t, l, 1, request, wish(a), server(l.own))
			return say(t, l, 2, request, wish(a))
		}, nak},
		{"another's address, after its lease", func(l *leases, now *clock) (dhcpv4.MessageType, netip.Addr) {
			_, a := say(t, l, 1, discover)
			say(t, l, 1, request, wish(a), server(l.own))
			now.t = now.t.Add(leaseTime)
			return say(t, l, 2, request, wish(a))
		}, ack},
		{"another's address, given back", func(l *leases, _ *clock) (dhcpv4.MessageType, netip.Addr) {
			_, a := say(t, l, 1, discover)
			say(t, l, 1, request, wish(a), server(l.own))
			say(t, l, 1, dhcpv4.MessageTypeRelease, has(a))
			return say(t, l, 2, request, wish(a))
		}, ack},
		{"the gateway's own address", func(l *leases, _ *clock) (dhcpv4.MessageType, netip.Addr) { return say(t, l, 1, request, wish(l.own)) }, nak},
		{"the network's address", func(l *leases, _ *clock) (dhcpv4.MessageType, netip.Addr) {
			return say(t, l, 1, request, wish(netip.MustParseAddr("172.30.66.0")))
		}, nak},
		{"the broadcast address", func(l *leases, _ *clock) (dhcpv4.MessageType, netip.Addr) {
			return say(t, l, 1, request, wish(netip.MustParseAddr("172.30.66.255")))
		}, nak},
		{"a request for nothing", func(l *leases, _ *clock) (dhcpv4.MessageType, netip.Addr) { return say(t, l, 1, request) }, nak},
		{"settings only", func(l *leases, _ *clock) (dhcpv4.MessageType, netip.Addr) {
			return say(t, l, 1, dhcpv4.MessageTypeInform, has(netip.MustParseAddr("172.30.66.9")))
		}, ack},
		{"settings only, from elsewhere", func(l *leases, _ *clock) (dhcpv4.MessageType, netip.Addr) {
			return say(t, l, 1, dhcpv4.MessageTypeInform, has(netip.MustParseAddr("10.0.0.9")))
		}, nothing},
		{"another server's offer", func(l *leases, _ *clock) (dhcpv4.MessageType, netip.Addr) { return say(t, l, 1, offer) }, nothing},
		{"through a relay", func(l *leases, _ *clock) (dhcpv4.MessageType, netip.Addr) {
			return say(t, l, 1, discover, func(m *dhcpv4.DHCPv4) { m.GatewayIPAddr = net.IPv4(10, 0, 0, 1) })
		}, nothing},
		{"in another's name", func(l *leases, _ *clock) (dhcpv4.MessageType, netip.Addr) {
			mac := hw(9)
			return say(t, l, 1, discover, dhcpv4.WithHwAddr(mac[:]))
		}, nothing},
		{"with a long hardware address", func(l *leases, _ *clock) (dhcpv4.MessageType, netip.Addr) {
			return say(t, l, 1, discover, dhcpv4.WithHwAddr(make([]byte, 16)))
		}, nothing},
	} {
		l, now := pool(quarantineNet)
		if kind, _ := c.play(l, now); kind != c.want {
			t.Errorf("%s: %v, want %v", c.name, kind, c.want)
		}
	}
}

func TestAnAddressThatIsInUseIsAvoidedForAWhile(t *testing.T) {
	l, now := pool(quarantineNet)
	_, a := say(t, l, 1, discover)
	say(t, l, 2, dhcpv4.MessageTypeDecline, wish(a)) // not his to decline
	if _, again := say(t, l, 1, discover); again != a {
		t.Errorf("moved by somebody else's word from %v to %v", a, again)
	}
	say(t, l, 1, dhcpv4.MessageTypeDecline, wish(a))
	if _, b := say(t, l, 1, discover); b == a {
		t.Errorf("%v was declined and is offered again", a)
	}
	now.t = now.t.Add(declinedTime)
	if kind, _ := say(t, l, 3, request, wish(a)); kind != ack {
		t.Errorf("%v is avoided for ever", a)
	}
}

func TestAHostGetsTheSameAddressAfterARestart(t *testing.T) {
	before, _ := pool(quarantineNet)
	after, _ := pool(quarantineNet)
	for n := range 20 {
		_, a := say(t, before, n, discover)
		say(t, before, n, request, wish(a), server(before.own))
		if _, b := say(t, after, n, discover); n == 0 && a != b {
			t.Errorf("%v became %v", a, b)
		}
	}
}

func TestAFullNetworkRefusesAndOffersLapse(t *testing.T) {
	l, now := pool(netip.MustParsePrefix("10.9.9.1/29")) // five addresses
	for n := range 5 {
		if kind, _ := say(t, l, n, discover); kind != offer {
			t.Fatalf("host %d: %v", n, kind)
		}
	}
	if kind, _ := say(t, l, 5, discover); kind != nothing || l.refused != 1 {
		t.Errorf("a sixth: %v, refused %d", kind, l.refused)
	}
	now.t = now.t.Add(offerTime)
	if kind, _ := say(t, l, 5, discover); kind != offer {
		t.Errorf("offers that nobody took stay taken: %v", kind)
	}
}

func TestTheTableIsBoundedInALargeNetwork(t *testing.T) {
	l, _ := pool(netip.MustParsePrefix("10.0.0.1/8"))
	for n := range 4 * maxLeases {
		say(t, l, n, discover)
	}
	if len(l.by) > maxLeases || len(l.owner) > maxLeases || l.refused == 0 {
		t.Errorf("%d hosts, %d addresses, %d refused", len(l.by), len(l.owner), l.refused)
	}
}

// Whatever clients say: no two of them have one address, and nobody has the
// gateway's.
func TestNoTwoHostsHaveOneAddress(t *testing.T) {
	kinds := []dhcpv4.MessageType{discover, request, dhcpv4.MessageTypeDecline, dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeInform}
	rapid.Check(t, func(r *rapid.T) {
		l, now := pool(netip.MustParsePrefix("10.9.9.1/28"))
		has := map[int]netip.Addr{} // by acknowledgement
		until := map[int]time.Time{}
		for range rapid.IntRange(1, 80).Draw(r, "messages") {
			n := rapid.IntRange(0, 20).Draw(r, "host")
			a := netip.AddrFrom4([4]byte{10, 9, 9, byte(rapid.IntRange(0, 17).Draw(r, "address"))})
			with := []dhcpv4.Modifier{}
			if rapid.Bool().Draw(r, "requested") {
				with = append(with, wish(a))
			} else {
				with = append(with, dhcpv4.WithClientIP(a.AsSlice()))
			}
			if rapid.Bool().Draw(r, "names us") {
				with = append(with, server(l.own))
			}
			what := rapid.SampledFrom(kinds).Draw(r, "kind")
			kind, got := say(t, l, n, what, with...)
			if what == request || what == dhcpv4.MessageTypeDecline || what == dhcpv4.MessageTypeRelease {
				if l.by[hw(n)].addr != has[n] {
					delete(has, n)
				}
			}
			if what == request && kind == ack {
				has[n], until[n] = got, now.t.Add(leaseTime)
			}
			now.t = now.t.Add(time.Duration(rapid.Int64Range(0, int64(leaseTime)/2).Draw(r, "later")))
			holders := map[netip.Addr]int{}
			for host, addr := range has {
				if !now.t.Before(until[host]) {
					continue
				}
				if other, taken := holders[addr]; taken {
					r.Fatalf("hosts %d and %d have %v", host, other, addr)
				}
				holders[addr] = host
				if addr == l.own || !l.prefix.Contains(addr) {
					r.Fatalf("host %d has %v", host, addr)
				}
			}
			if len(l.by) != len(l.owner) {
				r.Fatalf("%d hosts, %d addresses", len(l.by), len(l.owner))
			}
		}
	})
}
