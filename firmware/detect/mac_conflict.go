package detect

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// macConflict reports one MAC address that two machines use, as somebody does
// who borrows the address of an admitted device. (Two MACs at one IP address
// are arp_spoof's.)
//
// Model. A machine is in one place and is one machine:
//
//   - place: the MAC speaks on one port of the gateway, then on another, and
//     back. A laptop that is carried over, or roams between access points, does
//     so now and then; conflictMoves in conflictWindow means that both are there
//     at once, for a switch learns an address anew with every frame (IEEE
//     802.1Q section 8.8). Only where the gateway sees its own ports.
//   - identity: DHCP requests of one MAC name two hosts (option 12) in turn,
//     conflictTurns times. Only names count: a machine has one, but several
//     programs that ask, with other options each: firmware that boots from
//     the network, the loader of a small device, two DHCP clients at once.
//     What does not name itself (option 12 may be left out, RFC 2132 section
//     3.14) or says that it is firmware (PXE 2.1, section 2.2.2) says nothing.
//
// Limits. When many addresses move together a cable makes a loop: that is no
// conflict, and is left out beyond loopMoves movers in the window. Who clones
// everything, and waits until its victim is off, is not noticed. Never more
// than medium: either of the two may be the victim.
type macConflict struct {
	net    *network
	tab    *table[flow.MAC, doubles]
	movers int // addresses that moved since
	since  time.Time
	out    []Finding
}

type doubles struct {
	placed bool
	iface  uint32
	other  uint32
	moves  turns
	named  uint64 // the name in its last DHCP request, hashed; 0: not known
	former uint64
	names  [2]string
	turns  turns
	told   told
}

// turns counts changes from one of two values to the other, within the window.
type turns struct {
	n    int
	from time.Time
}

func (c *turns) add(t time.Time) int {
	if t.Sub(c.from) > conflictWindow || t.Before(c.from) {
		c.n, c.from = 0, t
	}
	c.n++
	return c.n
}

const (
	conflictWindow = 10 * time.Minute
	// Roaming along the edge of two access points gives a few; 802.11r aims at
	// none in normal use. The count is there and back, four times.
	conflictMoves = 8
	conflictTurns = 4
	loopMoves     = 8
)

func newMACConflict(n *network) *macConflict {
	return &macConflict{net: n, tab: newTable[flow.MAC, doubles](n.MaxHosts, 0)}
}

func (d *macConflict) Name() string      { return "mac_conflict" }
func (d *macConflict) reads() kinds      { return onARP | onConn | onDHCP }
func (d *macConflict) size() int         { return d.tab.size() }
func (d *macConflict) evictions() uint64 { return d.tab.evicted }

func (d *macConflict) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	switch e := ev.(type) {
	case *flow.ARP:
		d.place(&e.Meta)
	case *flow.Conn:
		if e.State == flow.ConnAttempt {
			d.place(&e.Meta)
		}
	case *flow.DHCP:
		if !e.FromServer && !e.Out && !e.ClientMAC.IsZero() && (e.Type == 1 || e.Type == 3) {
			d.identity(e)
		}
	}
	return d.out
}

// place follows the port. Without addresses of its own there is no gateway
// here, and two interfaces of a capture may be two ends of one path.
func (d *macConflict) place(m *flow.Meta) {
	if len(d.net.Gateway) == 0 || m.Out || m.SrcMAC.IsZero() || virtualRouter(m.SrcMAC) {
		return
	}
	s := d.tab.get(m.SrcMAC)
	if !s.placed || s.iface == m.Iface {
		s.placed, s.iface = true, m.Iface
		return
	}
	if s.moves.n > 0 && s.other != m.Iface { // a third place: carried about
		s.moves = turns{}
	}
	s.other, s.iface = s.iface, m.Iface
	if d.moved(m.Time, s.moves.n == 0) || d.net.router(m.SrcMAC) {
		return
	}
	if n := s.moves.add(m.Time); n >= conflictMoves && s.told.more(n, Medium) {
		d.out = append(d.out, d.finding(m, s, Text{
			EN: fmt.Sprintf("It was seen on two ports of the gateway in turn, %d times within %s.", n, "10 min"),
			JA: fmt.Sprintf("10分以内に、ゲートウェイの 2 つのポートに %d 回、交互に現れました。", n),
		}))
	}
}

// moved counts addresses that began to move, and says that there are too many.
func (d *macConflict) moved(t time.Time, begins bool) bool {
	if t.Sub(d.since) > conflictWindow || t.Before(d.since) {
		d.movers, d.since = 0, t
	}
	if begins {
		d.movers++
	}
	return d.movers > loopMoves
}

func (d *macConflict) identity(e *flow.DHCP) {
	if e.Hostname == "" || strings.HasPrefix(e.VendorClass, "PXEClient") {
		return
	}
	s := d.tab.get(e.ClientMAC)
	now := hash64(e.Hostname)
	back := s.former == now && s.named != now
	if s.named == now {
		return
	}
	s.former, s.named = s.named, now
	s.names[0], s.names[1] = s.names[1], strings.Clone(e.Hostname)
	if !back {
		s.turns = turns{}
		return
	}
	if n := s.turns.add(e.Time); n >= conflictTurns && s.told.more(n, Medium) {
		d.out = append(d.out, d.finding(&e.Meta, s, Text{
			EN: fmt.Sprintf("It asked for an address as %s and as %s in turn, %d times within 10 min.", quoted(s.names[0]), quoted(s.names[1]), n),
			JA: fmt.Sprintf("10分以内に、%s と %s という名前で %d 回、交互にアドレスを要求しました。", quoted(s.names[0]), quoted(s.names[1]), n),
		}))
	}
}

func (d *macConflict) finding(m *flow.Meta, s *doubles, what Text) Finding {
	mac := m.SrcMAC
	h := d.net.host(mac, netip.Addr{})
	first := s.moves.from
	if first.IsZero() || !s.turns.from.IsZero() && s.turns.from.Before(first) {
		first = s.turns.from
	}
	return Finding{
		Time: m.Time, Detector: d.Name(), Technique: "T1036", Host: h, Score: 0.75, Confidence: Medium, First: first, Last: m.Time,
		Title: Text{
			EN: fmt.Sprintf("Two machines use the address of %s", h.label()),
			JA: fmt.Sprintf("%s のアドレスを 2 台の機器が使っています", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("The hardware address %s belongs to one machine. %s Somebody may have borrowed it.", mac, what.EN),
			JA: fmt.Sprintf("ハードウェアアドレス %s は 1 台の機器だけのものです。%s 別の機器がこのアドレスを借りているおそれがあります。", mac, what.JA),
		},
	}
}
