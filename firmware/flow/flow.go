// Package flow turns frames into typed events: it decodes headers without
// allocating, tracks connections in a bounded table, and hands the few packets
// that carry names and identities to deeper parsers.
//
// The gateway and `sekisho replay` call it with every frame; evidence and the
// containment probe use its header decoder alone. It knows packet time only,
// keeps no frame bytes, and must never panic or grow without bound, whatever
// the wire carries.
//
// # Which parser reads what
//
// Every packet goes through Decode, which is ours: a general packet library
// costs two to ten times as much, and on a small router every nanosecond of
// the hot path counts. Deeper messages are rare and are read by kept
// libraries: DHCP and the options of neighbour discovery by google/gopacket,
// whose decoders for those two need no packet object and reuse their memory;
// DNS, mDNS, LLMNR and NBNS by x/net/dns/dnsmessage; TLS hellos by
// x/crypto/cryptobyte. gopacket's decoders are not total (its DHCP panics on
// a hardware length above 227), so every deep parser runs inside one guard
// that turns a panic into a counted, malformed message. Protocols whose
// messages have a fixed place or end with their line are read directly.
//
// A TCP connection is recognised by the first bytes of each direction, on
// whatever port; only what begins alike (FTP and SMTP) or with a length (DNS,
// SMB) is believed by its port. Some are read at their head (TLS), some
// message by message (pdu.go: SMB, DCE/RPC, LDAP, Kerberos), the others as a
// dialogue (dialogue.go): HTTP, log-ins, IRC. A new protocol is one constant,
// a line in sniff and a case in hear. Secrets end in the parser that reads
// them.
//
// # Time
//
// Time-outs and ticks come from packet time, once a second: a time-out is
// reported at the first full second at which it has passed, before that
// second's Tick. Time never goes back, except when sixteen frames in a row lie
// a minute or more behind: then the clock that stamps them was set, and the
// Tracker follows it.
//
// # Memory
//
// With every pool in use, in MB: connections 25, heads that are put together 8,
// half messages of SMB and its like 40 (or half as much of log-ins), what they
// remember 40 and pipes 12, hellos of QUIC and certificates 2: less than 130,
// whatever arrives. The worst office that the tests know takes some 80.
//
// # What it does not do
//
// Fragments are not put together, and TCP streams only up to 8 KiB from their
// start (32 KiB for the certificates of a TLS server); behind that, messages
// that fill several segments are read when those arrive in order. Compressed
// or encrypted content is not looked into. Byte counts are payload as seen on
// the wire, retransmissions included. VLAN ids are no part of a connection's
// key, since the gateway sees routed packets on both sides. Sequence numbers of
// RST, FIN and SYN are not held against a window: an end that sends one which
// the other end ignores (RFC 5961) ends what is read of its connection, until
// that is met again as one whose opening was not seen. A capture of one
// direction only shows every attempt as unanswered.
package flow
