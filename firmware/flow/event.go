package flow

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// MAC is an IEEE 802 address. It is comparable and serves as a map key.
type MAC [6]byte

func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// MarshalText implements encoding.TextMarshaler; the zero MAC is empty.
func (m MAC) MarshalText() ([]byte, error) {
	if m.IsZero() {
		return nil, nil
	}
	return []byte(m.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MAC) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = MAC{}
		return nil
	}
	hw, err := net.ParseMAC(string(b))
	if err != nil || len(hw) != len(m) {
		return fmt.Errorf("%q is not a MAC address", b)
	}
	copy(m[:], hw)
	return nil
}

// IsZero says that no address is known, as on link types that carry none.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsGroup reports the I/G bit: broadcast or multicast.
func (m MAC) IsGroup() bool { return m[0]&1 != 0 }

// IsLocal reports the U/L bit: locally administered, as random addresses are.
func (m MAC) IsLocal() bool { return m[0]&2 != 0 }

// Event is one of the pointer types below. It, and everything it points to,
// is valid only during the call that delivers it; whoever keeps it copies it.
type Event interface {
	// Head is never nil.
	Head() *Meta
}

// Meta stands in every event: where and when it was seen. For a state that
// changed by time-out it is that of the client's packets, at the moment of the
// change.
type Meta struct {
	Time   time.Time // packet time, UTC; not before that of an earlier event, but for a clock set back
	SrcMAC MAC       // zero where the link type has none
	DstMAC MAC
	VLAN   uint16 // outermost VLAN id, 0 when untagged
	Iface  uint32 // see capture.Frame
	Out    bool   // sent by the gateway itself
}

// Head implements Event.
func (m *Meta) Head() *Meta { return m }

// Tick says that packet time has reached Time. Ticks come at every full second
// of packet time, also (once each) for seconds without a packet, up to a bound
// (Config.MaxTicks); a larger jump arrives as one tick. There is none for the
// second in which the capture begins. A tick comes after the time-outs of its
// second and before the frame that made time pass.
type Tick struct{ Meta }

// Self says which addresses the gateway itself has from now on, all of them. No frame
// says it: it comes from the gateway's own kernel, between two frames, and is no
// event of a replay. The tracker never makes one.
type Self struct {
	Meta
	Addrs []netip.Addr // never empty
}

// ARP is one ARP packet for IPv4 over Ethernet (RFC 826).
type ARP struct {
	Meta
	Op        uint16 // 1 request, 2 reply
	SenderMAC MAC
	SenderIP  netip.Addr
	TargetMAC MAC
	TargetIP  netip.Addr
}

// NDP is a neighbour discovery message (RFC 4861). Type is the ICMPv6 type:
// 133 router solicitation … 137 redirect.
type NDP struct {
	Meta
	Type     uint8
	Src, Dst netip.Addr
	Target   netip.Addr // NS, NA, redirect
	LinkAddr MAC        // source or target link-layer option, zero when absent
	Override bool       // NA
	Router   bool       // NA
	Lifetime uint16     // RA router lifetime, seconds
	Prefixes []netip.Prefix
	RDNSS    []netip.Addr
}

// ICMP is an ICMPv4 or ICMPv6 message other than NDP.
type ICMP struct {
	Meta
	Src, Dst   netip.Addr
	V6         bool
	Type, Code uint8
	ID, Seq    uint16 // echo only
	Length     int    // bytes of ICMP payload
	Sum        uint32 // echo only: hash of payload bytes 16 to 79; programs put a time stamp before that
}

// ConnState is how far a connection has come. It only moves forward, that is
// to a larger value, but may skip some: a refused or unanswered attempt whose
// retry is answered becomes established.
type ConnState uint8

// States of a connection as an observer on the path sees it.
const (
	ConnAttempt     ConnState = iota // first SYN (or FIN, NULL, Xmas probe), or first datagram of a pair
	ConnRefused                      // RST to the SYN, or ICMP port/admin unreachable
	ConnUnanswered                   // nothing came back in time, the client gave up, or ICMP host unreachable
	ConnEstablished                  // SYN-ACK (or any later segment of the server) seen, or a datagram answered
	ConnClosed                       // both FINs, RST after establishment, idle time-out, end of capture, or eviction
)

func (s ConnState) String() string {
	switch s {
	case ConnAttempt:
		return "attempt"
	case ConnRefused:
		return "refused"
	case ConnUnanswered:
		return "unanswered"
	case ConnEstablished:
		return "established"
	case ConnClosed:
		return "closed"
	}
	return "unknown"
}

// Conn is emitted at each change of a connection's state. Counts are so far:
// payload bytes as seen on the wire, retransmissions included.
//
// The first event of a connection is ConnAttempt, or ConnEstablished with
// MidStream. A half-open scan shows as attempt, established, closed with
// nothing sent. Multicast attempts are never unanswered, since nobody has to
// answer; they close when idle. A failed attempt is followed by ConnClosed
// only when more packets came after it had been reported.
type Conn struct {
	Meta                  // of the frame that caused the change
	ID             uint64 // unique within one Tracker
	State          ConnState
	Prev           ConnState // equal to State for the first event
	Proto          uint8     // IP protocol: 6 TCP, 17 UDP
	Client, Server netip.AddrPort
	ClientMAC      MAC // zero when unknown
	ServerMAC      MAC
	Start          time.Time
	Sent, Received uint64 // payload bytes client->server, server->client
	SentPackets    uint64
	RecvPackets    uint64
	MidStream      bool // the opening was not seen; client is a guess by port
	Multicast      bool // server is a group or broadcast address
	SeqIsServer    bool // the SYN's sequence number is the server's IPv4 address, as Mirai's scanner sets it (scanner.c, 2016)
	Probe          bool // TCP that began with neither SYN nor ACK, as no TCP does (RFC 9293, 3.10.7): FIN, NULL, Xmas
}

// Activity says that a connection carries payload: it comes with the first
// payload after at least ActivityEvery of packet time since the one before it,
// so that a long transfer shows while it runs, and a connection that is held
// open shows each time that it speaks. Counts are so far, as in Conn; the
// first comes no sooner than ActivityEvery after the start.
type Activity struct {
	Meta                  // of the packet that caused it
	ID             uint64 // of the connection
	Proto          uint8  // IP protocol: 6 TCP, 17 UDP
	Client, Server netip.AddrPort
	ClientMAC      MAC // zero when unknown
	ServerMAC      MAC
	FromServer     bool          // who sent that packet
	Idle           time.Duration // since the payload before it
	Start          time.Time
	Sent, Received uint64 // payload bytes, that packet included
	SentPackets    uint64
	RecvPackets    uint64
	Multicast      bool
}

// ActivityEvery is the least packet time between two Activity events of one
// connection.
const ActivityEvery = time.Second

// DHCP is a DHCPv4 message (RFC 2131, 2132).
type DHCP struct {
	Meta
	Src, Dst    netip.Addr
	Type        uint8 // option 53: 1 DISCOVER … 8 INFORM; 0 BOOTP
	XID         uint32
	ClientMAC   MAC
	ClientIP    netip.Addr // ciaddr
	YourIP      netip.Addr // yiaddr
	RequestedIP netip.Addr // option 50
	ServerID    netip.Addr // option 54
	Routers     []netip.Addr
	DNS         []netip.Addr
	Hostname    string // option 12 or 81, as sent, at most 255 bytes
	VendorClass string // option 60
	Params      []byte // option 55
	ClientID    []byte // option 61, at most 255 bytes; a client may claim any
	FromServer  bool   // BOOTREPLY
}

// DHCP6 is what a DHCPv6 client says of itself (RFC 8415). Messages of servers
// and relays are not read: they say nothing about who a client is that the
// client did not say.
type DHCP6 struct {
	Meta
	Src      netip.Addr
	Type     uint8  // 1 SOLICIT … 11 INFORMATION-REQUEST
	ClientID []byte // DUID of option 1, at most 130 bytes; a client may claim any
	Hostname string // option 39 (RFC 4704), at most 255 bytes
}

// NameProto says which protocol carried a DNS-format message.
type NameProto uint8

// Protocols that share the DNS message format.
const (
	NameDNS   NameProto = iota
	NameMDNS            // RFC 6762
	NameLLMNR           // RFC 4795
	NameNBNS            // RFC 1002
)

// DNSRecord is one resource record. Data is the address or the target name in
// text for A, AAAA, CNAME, PTR, SRV and NS; for others it is empty and Size
// tells how much was there. For NBNS it is the address of an NB record and the
// computer's name of a node status. For mDNS and NBNS the authority and
// additional records are listed too.
type DNSRecord struct {
	Name string
	Type uint16
	TTL  uint32
	Data string
	Size int
	// Group: an NB record of a name that many hosts hold (RFC 1002 section 4.2.1.3).
	Group bool
}

// DNS is a DNS, mDNS, LLMNR or NBNS message. Names are lower case without the
// final dot; NBNS names are decoded to their NetBIOS name without suffix.
type DNS struct {
	Meta
	Proto      NameProto
	Src, Dst   netip.AddrPort
	TCP        bool
	ID         uint16
	Response   bool
	Opcode     uint8 // 0 query; NBNS: 5 registration, 6 release, 8 refresh (the sender claims QName)
	RCode      uint8
	QName      string // first question
	QType      uint16
	Answers    []DNSRecord // at most 32
	MessageLen int
}

// Malformed says that a frame or a message in it could not be decoded.
type Malformed struct {
	Meta
	Layer  string // constant: "ipv4", "tcp", "dhcp", …
	Reason string // constant
}

var (
	_ Event = (*Tick)(nil)
	_ Event = (*ARP)(nil)
	_ Event = (*NDP)(nil)
	_ Event = (*ICMP)(nil)
	_ Event = (*Conn)(nil)
	_ Event = (*DHCP)(nil)
	_ Event = (*DHCP6)(nil)
	_ Event = (*DNS)(nil)
	_ Event = (*Activity)(nil)
	_ Event = (*Malformed)(nil)
)
