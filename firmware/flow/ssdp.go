package flow

import (
	"bytes"
	"net/netip"
)

const portSSDP = 1900

var errSSDP = &Error{"ssdp", "no SSDP message"}

// ssdp reads a message of UPnP discovery, multicast or an answer to it.
func (t *Tracker) ssdp(emit func(Event)) {
	h := &t.hdr
	e := &t.ev.ssdp
	err := t.guard(parseSSDP, func() *Error { return readSSDP(h.Payload, e) })
	if err != nil {
		t.malformed(err, emit)
		return
	}
	t.stats.SSDP++
	e.Meta = t.here()
	e.Src = netip.AddrPortFrom(h.Src.Netip(), h.SrcPort)
	e.Dst = netip.AddrPortFrom(h.Dst.Netip(), h.DstPort)
	emit(e)
}

// readSSDP reads UPnP Device Architecture 2.0, sections 1.2 and 1.3. Lists of
// more than 64 header fields are cut off.
func readSSDP(b []byte, e *SSDP) *Error {
	*e = SSDP{}
	line, rest, ok := bytes.Cut(b, []byte{'\n'})
	method, _, _ := bytes.Cut(line, []byte{' '})
	switch {
	case !ok || !bytes.Contains(line, []byte("HTTP/1.")):
		return errSSDP
	case !bytes.HasPrefix(method, []byte("HTTP/")):
		e.Method = printableN(method, 32)
	}
	for range 64 {
		if line, rest, ok = bytes.Cut(rest, []byte{'\n'}); !ok {
			return nil
		}
		name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r"), []byte{':'})
		value = bytes.TrimSpace(value)
		if len(name) > 16 {
			continue
		}
		var lower [16]byte
		switch string(lowerASCII(lower[:], name)) {
		case "st", "nt":
			first(&e.Target, value, 255)
		case "location":
			first(&e.Location, value, 255)
		case "server", "user-agent":
			first(&e.Product, value, 255)
		}
	}
	return nil
}
