package flow

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// sniffRDP recognises a connection request (X.224 in a TPKT, MS-RDPBCGR
// section 2.2.1.1). Industrial controllers begin with the same form: it must
// hold a cookie or a negotiation request, or come to RDP's own port.
func sniffRDP(b []byte, port uint16) app {
	switch {
	case b[0] != 3 || len(b) > 1 && b[1] != 0:
		return appDone
	case len(b) < 7:
		return appUnknown
	case b[5] != 0xe0 || int(b[4])+5 != be16(b[2:]):
		return appDone
	}
	rest := b[min(len(b), 11):]
	if port == 3389 || bytes.HasPrefix(rest, []byte("Cookie: mst")) || len(rest) == 8 && rest[0] == 1 && rest[2] == 8 {
		return appRDP
	}
	return appDone
}

// rdp reads the two messages before encryption: the request names the user to
// whom the client would connect (cut to nine characters by Microsoft's), the
// answer says which security follows. With TLS or CredSSP nothing more can be
// read; with RDP's own encryption neither.
func (k *talk) rdp(dir int, b []byte) (int, act) {
	if len(b) < 7 {
		return 0, talkOn
	}
	size := be16(b[2:])
	if b[0] != 3 || size < 11 { // RFC 905 section 13.3: the fixed part of a request
		return size, talkEnd
	}
	if !arrived(b, size) {
		return 0, talkOn
	}
	body := b[min(11, len(b)):min(size, len(b))]
	switch {
	case dir == 0 && b[5] == 0xe0:
		k.rdpRequest(body)
		return size, talkOn
	case dir == 1 && b[5] == 0xd0:
		return size, k.rdpConfirm(body)
	}
	return size, talkEnd
}

// rdpRequest reads what follows the fixed part: a cookie or routing token that
// ends in CR LF, and what security the client offers.
func (k *talk) rdpRequest(b []byte) {
	line, rest, found := bytes.Cut(b, []byte("\r\n"))
	if !found {
		line, rest = nil, b
	}
	offers := uint32(0)
	if len(rest) >= 8 && rest[0] == 1 {
		offers = binary.LittleEndian.Uint32(rest[4:])
	}
	k.banner = "RDP client offers " + rdpSecurity(offers)
	if user, ok := bytes.CutPrefix(line, []byte("Cookie: mstshash=")); ok && len(user) > 0 {
		k.login.User = printableN(user, maxUser)
		k.try()
	}
}

// rdpConfirm reads MS-RDPBCGR sections 2.2.1.2.1 and 2.2.1.2.2.
func (k *talk) rdpConfirm(b []byte) act {
	if len(b) < 8 || b[0] != 2 && b[0] != 3 {
		k.banner = "RDP standard security"
		return talkEnd
	}
	v := binary.LittleEndian.Uint32(b[4:])
	if b[0] == 3 {
		k.banner = fmt.Sprintf("RDP refused, failure code %d", v)
		return talkEnd
	}
	k.banner = "RDP " + rdpSecurity(v)
	if v == 0 {
		return talkEnd
	}
	return talkTLS
}

func rdpSecurity(v uint32) string {
	switch {
	case v == 0:
		return "standard security"
	case v&(2|8) != 0:
		return "CredSSP"
	case v&4 != 0:
		return "RDSTLS"
	case v&1 != 0:
		return "TLS"
	}
	return fmt.Sprintf("security %d", v)
}
