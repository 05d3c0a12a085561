package flow

import (
	"net/netip"
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
}

// Tracker turns frames into events. It is not safe for concurrent use; one
// goroutine owns it.
type Tracker struct {
	cfg   Config
	stats Stats
}

// New returns a Tracker with an empty table.
func New(cfg Config) *Tracker { return &Tracker{cfg: cfg} }

// Frame decodes one frame and emits what it means, in order, before it
// returns. f and its Data are not kept; events are valid during emit only.
func (t *Tracker) Frame(f *capture.Frame, emit func(Event)) {}

// Advance lets packet time reach ns (nanoseconds since the Unix epoch) without
// a packet: time-outs fire and ticks come. A time that is already past does
// nothing.
func (t *Tracker) Advance(ns int64, emit func(Event)) {}

// Flush ends a capture: attempts whose time-out has passed become unanswered,
// everything else that is open is closed. The Tracker is empty afterwards.
func (t *Tracker) Flush(emit func(Event)) {}

// Stats returns the counters so far.
func (t *Tracker) Stats() Stats { return t.stats }
