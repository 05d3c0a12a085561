package flow

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"sekisho/firmware/capture"
)

// Config says what a Tracker may spend and how long it waits. The zero value
// of each field stands for the default written beside it.
type Config struct {
	// LAN holds the office's own networks. The directed broadcast address of
	// each counts as a group address. Empty: none is known, only the link
	// layer's group bit tells.
	LAN []netip.Prefix

	// MaxConns bounds the connection table. Default 65,536, about 25 MB:
	// Linux itself tracks as many on a machine with 4 GB
	// (nf_conntrack_max, Documentation/networking/nf_conntrack-sysctl.rst).
	MaxConns int

	// UnansweredAfter is how long an attempt waits for an answer. Default 3 s:
	// RFC 6298 sends the second SYN after 1 s and the third after 3 s, so that
	// a lost SYN or SYN-ACK is not mistaken for silence.
	UnansweredAfter time.Duration

	// UDPIdle closes a UDP pair without a datagram. Default 120 s: RFC 4787
	// REQ-5 lets no NAT forget a mapping in less.
	UDPIdle time.Duration

	// TCPIdle closes an established connection without a segment. Default
	// 1 h: above the RFC 1122 keep-alive habits of office applications; RFC
	// 5382 REQ-5 asks NATs for 2 h 4 min, which a bounded table cannot give.
	TCPIdle time.Duration

	// Linger keeps a closed or failed connection, so that late segments and
	// retransmitted FINs do not look like a new one. Default 10 s.
	Linger time.Duration

	// MaxTicks bounds the Ticks that one jump of packet time emits one by
	// one; a larger jump arrives as one Tick. Default 3,600.
	MaxTicks int
}

// Stats counts since New. Every limit of this package that can be reached has
// its counter here.
type Stats struct {
	Packets         uint64
	Bytes           uint64 // captured
	UnsupportedLink uint64 // frames of link types that are not decoded
	NonIP           uint64 // frames that carry neither IP nor ARP
	Malformed       uint64 // frames and messages that could not be decoded
	Panics          uint64 // of Malformed: those where a deep parser panicked
	Truncated       uint64 // frames shorter than their packet (snap length)
	Fragments       uint64 // later fragments, counted to no connection
	Backwards       uint64 // frames with an earlier time than the one before
	Conns           uint64 // connections ever opened
	Live            uint64 // connections in the table now
	Evicted         uint64 // connections forgotten because the table was full
	DeepParsed      uint64 // payloads handed to a deep parser
	DeepSkipped     uint64 // stream heads given up: too long, gap, no slot
	DNS, DHCP       uint64 // messages decoded
	TLS, HTTP, SMB  uint64
	Banners         uint64
	IRC, SSDP       uint64
	Opaque          uint64
	RPC, Logins     uint64
	Kerberos, LDAP  uint64
}

// retrySYN is how long a failed TCP attempt is remembered: the longest pause
// between two SYNs of one attempt, 64 s (RFC 6298 doubles from 1 s; Linux
// stops after the sixth), with some room. A retry is no new attempt.
const retrySYN = 75 * time.Second

func (c *Config) defaults() {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&c.UnansweredAfter, 3*time.Second)
	set(&c.UDPIdle, 120*time.Second)
	set(&c.TCPIdle, time.Hour)
	set(&c.Linger, 10*time.Second)
	if c.MaxConns <= 0 {
		c.MaxConns = 1 << 16
	}
	if c.MaxTicks <= 0 {
		c.MaxTicks = 3600
	}
}

// Tracker turns frames into events. It is not safe for concurrent use; one
// goroutine owns it.
type Tracker struct {
	cfg        Config
	broadcasts []Addr // directed broadcast addresses of the LAN
	stats      Stats

	started   bool
	now       int64 // packet time; never goes back but for a stepped clock
	firstTime int64
	nextTick  int64
	behind    int // frames in a row from long before now
	wheel     wheel

	table     table
	lastID    uint64
	fragments [fragmentSlots]fragment
	streams   streams
	dialogues dialogues
	pdus      pduShared
	pduOut    pduOut
	pduUDP    pduConn
	krbAsks   krbAsks

	hdr   Header
	frame *capture.Frame // the one at hand, nil between calls
	ev    events
	said  said
	deep  deepDecoders
}

// events are the structs that are handed out, one of each kind, used again and
// again: what most frames mean must cost no allocation.
type events struct {
	tick  Tick
	arp   ARP
	ndp   NDP
	icmp  ICMP
	conn  Conn
	dhcp  DHCP
	dhcp6 DHCP6
	dns   DNS
	tls   TLSHello
	http  HTTP
	wrong Malformed

	activity Activity
	login    Login
	reply    HTTPReply
	banner   Banner
	irc      IRC
	ssdp     SSDP
	opaque   Opaque
}

// New returns a Tracker with an empty table.
func New(cfg Config) *Tracker {
	cfg.defaults()
	t := &Tracker{cfg: cfg, table: newTable(cfg.MaxConns)}
	t.pdus.pipes.budget = pipeBudget
	for _, p := range cfg.LAN {
		if a, ok := broadcast(p); ok {
			t.broadcasts = append(t.broadcasts, a)
		}
	}
	return t
}

// broadcast is the directed broadcast address of an IPv4 network.
func broadcast(p netip.Prefix) (Addr, bool) {
	if !p.IsValid() || !p.Addr().Is4() || p.Bits() > 30 {
		return Addr{}, false
	}
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return AddrFrom(netip.AddrFrom4(b)), true
}

func utc(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// Frame decodes one frame and emits what it means, in order, before it
// returns. f and its Data are not kept; events are valid during emit only.
func (t *Tracker) Frame(f *capture.Frame, emit func(Event)) {
	t.stats.Packets++
	t.stats.Bytes += uint64(len(f.Data))
	t.observe(f.Time, emit)
	t.frame = f
	h := &t.hdr
	if err := Decode(f.Link, f.Data, h); err != nil {
		if err == ErrUnsupportedLink {
			t.stats.UnsupportedLink++
		} else {
			t.malformed(err.(*Error), emit)
		}
		t.frame = nil
		return
	}
	if h.Truncated || f.OrigLen > len(f.Data) {
		t.stats.Truncated++
	}
	switch {
	case h.LaterFrag:
		t.laterFragment()
	case h.Proto == ProtoTCP && h.IPVersion != 0:
		t.tcp(emit)
	case h.Proto == ProtoUDP && h.IPVersion != 0:
		t.udp(emit)
	default:
		t.rest(emit)
	}
	t.frame = nil
}

// rest handles what is neither TCP nor UDP.
func (t *Tracker) rest(emit func(Event)) {
	h := &t.hdr
	switch {
	case h.EtherType == EtherARP:
		t.arp(emit)
	case h.IPVersion == 0:
		t.stats.NonIP++
	case h.HeaderCut:
	case h.IPVersion == 4 && h.Proto == ProtoICMP, h.IPVersion == 6 && h.Proto == ProtoICMPv6:
		t.icmp(emit)
	}
}

// Advance lets packet time reach ns (nanoseconds since the Unix epoch) without
// a packet: time-outs fire and ticks come. A time that is already past does
// nothing.
func (t *Tracker) Advance(ns int64, emit func(Event)) {
	if !t.started || ns > t.now {
		t.observe(ns, emit)
	}
}

// Flush ends a capture: attempts whose time-out has passed become unanswered,
// everything else that is open is closed, oldest first. Failed connections
// were reported already. The table is empty afterwards.
func (t *Tracker) Flush(emit func(Event)) {
	open := make([]uint32, 0, t.table.live)
	for i := uint32(1); i <= t.table.used; i++ {
		if t.table.at(i).live {
			open = append(open, i)
		}
	}
	slices.SortFunc(open, func(x, y uint32) int {
		return cmp.Compare(t.table.at(x).id, t.table.at(y).id)
	})
	for _, i := range open {
		c := t.table.at(i)
		if c.state == ConnAttempt && !c.multicast && t.due(c) <= t.now {
			t.late(c, t.now)
			t.change(c, ConnUnanswered, emit)
		}
		t.forget(i, c, t.now, emit)
	}
}

// Stats returns the counters so far.
func (t *Tracker) Stats() Stats {
	s := t.stats
	s.Live = uint64(t.table.live)
	return s
}

// UnsupportedLink is that of Stats, for who asks at every frame.
func (t *Tracker) UnsupportedLink() uint64 { return t.stats.UnsupportedLink }

// here fills the Meta of an event that the frame at hand causes.
func (t *Tracker) here() Meta {
	return Meta{
		Time: utc(t.now), SrcMAC: t.hdr.SrcMAC, DstMAC: t.hdr.DstMAC, VLAN: t.hdr.VLAN,
		Iface: t.frame.Iface, Out: t.frame.Out,
	}
}

func (t *Tracker) malformed(err *Error, emit func(Event)) {
	t.stats.Malformed++
	t.ev.wrong = Malformed{Meta: t.here(), Layer: err.Layer, Reason: err.Reason}
	emit(&t.ev.wrong)
}
