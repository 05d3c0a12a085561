package flow

import "encoding/binary"

// portDHCP6 is where servers and relays listen (RFC 8415, 7.2).
const portDHCP6 = 547

// Options of RFC 8415 (section 21.2) and RFC 4704.
const (
	dhcp6ClientID = 1
	dhcp6FQDN     = 39
)

// maxDUID is the longest DUID: a type and at most 128 bytes (RFC 8415, 11.1).
const maxDUID = 130

var (
	errDHCP6Short  = &Error{"dhcp6", "shorter than its header"}
	errDHCP6Option = &Error{"dhcp6", "option ends beyond the message"}
	errDHCP6DUID   = &Error{"dhcp6", "client identifier of a length that no DUID has"}
)

// dhcp6 emits what a client says of itself, and passes over everything else.
func (t *Tracker) dhcp6(emit func(Event)) {
	h := &t.hdr
	if h.IPVersion != 6 || len(h.Payload) > 0 && !fromDHCP6Client(h.Payload[0]) {
		return
	}
	t.ev.dhcp6 = DHCP6{Meta: t.here(), Src: h.Src.Netip(), ClientID: t.ev.dhcp6.ClientID[:0]}
	if t.parse(parseDHCP6, h.Payload, emit) {
		t.stats.DHCP++
		emit(&t.ev.dhcp6)
	}
}

// fromDHCP6Client says that a message type is a client's: RFC 8415, 7.3 lists
// SOLICIT, REQUEST, CONFIRM, RENEW, REBIND, RELEASE, DECLINE and
// INFORMATION-REQUEST.
func fromDHCP6Client(kind byte) bool {
	switch kind {
	case 1, 3, 4, 5, 6, 8, 9, 11:
		return true
	}
	return false
}

// readDHCP6 reads a client's message: type, transaction, options. The first of
// a repeated option counts.
func readDHCP6(p []byte, e *DHCP6) *Error {
	if len(p) < 4 {
		return errDHCP6Short
	}
	e.Type = p[0]
	for b := p[4:]; len(b) > 0; {
		if len(b) < 4 || len(b) < 4+int(binary.BigEndian.Uint16(b[2:])) {
			return errDHCP6Option
		}
		kind, data := binary.BigEndian.Uint16(b), b[4:4+int(binary.BigEndian.Uint16(b[2:]))]
		b = b[4+len(data):]
		switch {
		case kind == dhcp6ClientID && len(e.ClientID) == 0:
			if len(data) < 3 || len(data) > maxDUID {
				return errDHCP6DUID
			}
			e.ClientID = append(e.ClientID, data...)
		case kind == dhcp6FQDN && e.Hostname == "" && len(data) > 1:
			e.Hostname = fqdn(4, data[1:min(len(data), 256)]) // always in wire form
		}
	}
	return nil
}
