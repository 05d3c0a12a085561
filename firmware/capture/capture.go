// Package capture reads frames: from a live AF_PACKET ring and from capture
// files. It knows nothing of what the bytes mean beyond the link type.
//
// The gateway, `sekisho replay` and the containment probe call it. It must
// never block on anything but its own source, and must never lose a frame
// without counting it.
package capture

import (
	"errors"
	"fmt"
)

// LinkType is a LINKTYPE_ value as registered for pcap files
// (draft-ietf-opsawg-pcaplinktype).
type LinkType uint16

// The link types that are decoded. Every other one is read, counted and
// reported as unsupported by flow.
const (
	LinkNull      LinkType = 0   // BSD loopback, host byte order family
	LinkEthernet  LinkType = 1   // IEEE 802.3
	LinkRaw       LinkType = 101 // IPv4 or IPv6, by version nibble
	LinkIEEE80211 LinkType = 105 // named, not decoded
	LinkLoop      LinkType = 108 // OpenBSD loopback, network byte order
	LinkSLL       LinkType = 113 // Linux cooked v1
	LinkRadiotap  LinkType = 127 // named, not decoded
	LinkIPv4      LinkType = 228
	LinkIPv6      LinkType = 229
	LinkSLL2      LinkType = 276 // Linux cooked v2
)

// String names the link types that people meet; others are named by number.
func (l LinkType) String() string {
	switch l {
	case LinkNull, LinkLoop:
		return "loopback"
	case LinkEthernet:
		return "Ethernet"
	case LinkRaw, LinkIPv4, LinkIPv6:
		return "raw IP"
	case LinkIEEE80211, LinkRadiotap:
		return "IEEE 802.11 (Wi-Fi monitor mode)"
	case LinkSLL, LinkSLL2:
		return "Linux cooked"
	}
	return fmt.Sprintf("link type %d", uint16(l))
}

// Frame is one captured frame.
//
// Data belongs to the Source and is valid only until the next call of Next;
// whoever keeps bytes copies them.
type Frame struct {
	Time    int64    // nanoseconds since the Unix epoch, UTC
	Data    []byte   // captured bytes, from the link header on
	OrigLen int      // length on the wire, >= len(Data)
	Link    LinkType // how to read Data
	Iface   uint32   // live: kernel ifindex; file: interface of the section
	Out     bool     // live: sent by this machine; files: false
}

// Source yields frames in the order in which they were captured.
type Source interface {
	// Next fills f. It returns io.EOF at a clean end, a *DamageError when a
	// file is truncated or damaged (everything readable came before), and
	// ErrIdle when a live source saw nothing for its poll interval.
	Next(f *Frame) error
	// Stats may be called from another goroutine.
	Stats() Stats
	Close() error
}

// ErrNotCapture says that a file is neither pcap nor pcapng.
var ErrNotCapture = errors.New("not a capture file (pcap or pcapng)")

// ErrIdle says that a live source had nothing within its poll interval. It is
// no failure: the caller lets time pass and calls Next again.
var ErrIdle = errors.New("capture: idle")

// Stats counts since the source was opened. Drops are frames that the kernel
// had no room for; they never reached Next. For files they are what the
// capturing machine wrote down as dropped (pcapng interface statistics).
type Stats struct {
	Packets uint64
	Bytes   uint64
	Drops   uint64
	Freezes uint64 // live: how often the ring was full and the kernel stopped
	Absent  int    // live: taps that there is no interface for now
}

// DamageError names the place where a capture file stops making sense.
type DamageError struct {
	File   string
	Offset int64 // bytes from the start of the file; of the content, if gzipped
	Reason string
	Err    error // the reader's error, nil when the bytes themselves are wrong
}

// Unwrap returns the reader's error.
func (e *DamageError) Unwrap() error { return e.Err }

func (e *DamageError) Error() string {
	return fmt.Sprintf("read capture %s: damaged at byte %d: %s", e.File, e.Offset, e.Reason)
}
