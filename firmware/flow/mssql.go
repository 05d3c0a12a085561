package flow

import (
	"encoding/binary"
	"fmt"
	"unicode/utf16"
)

// TDS packet types and tokens (MS-TDS sections 2.2.3.1.1 and 2.2.7).
const (
	tdsResponse = 4
	tdsLogin7   = 16
	tdsSSPI     = 17
	tdsPrelogin = 18

	tdsError    = 0xaa
	tdsInfo     = 0xab
	tdsLoginAck = 0xad
	tdsEnv      = 0xe3
	tdsDone     = 0xfd

	tdsLoginFailed = 18456 // "Login failed for user"
	tdsEncryptNone = 2     // the server cannot encrypt: the log-in is in the clear
)

// sniffMSSQL recognises a client's pre-login packet: it is short, ends its
// message, and begins with the option that carries the version.
func sniffMSSQL(b []byte) app {
	switch {
	case b[0] != tdsPrelogin:
		return appDone
	case len(b) < 9:
		return appUnknown
	case b[1] > 1 || b[2] > 1 || b[8] != 0 || be16(b[2:]) < 9:
		return appDone
	}
	return appMSSQL
}

// Steps of a SQL Server log-in.
const (
	tdsHello uint8 = iota
	tdsHelloSent
	tdsAnswered
	tdsLoginSent
)

// mssql reads the connection of MS-TDS section 4. The log-in goes through TLS
// whose records lie in packets, or bare, unless the server cannot encrypt; but
// the answer to it is in the clear where only the log-in is encrypted.
func (k *talk) mssql(dir int, b []byte) (int, act) {
	if len(b) < 8 {
		return 0, talkOn
	}
	if b[0] >= 20 && b[0] <= 23 && b[1] == 3 { // a bare TLS record
		if dir == 1 {
			return 5 + be16(b[3:]), talkEnd // the answer is encrypted, too
		}
		if b[0] == 23 && k.step == tdsAnswered {
			k.step = tdsLoginSent
		}
		return 5 + be16(b[3:]), talkOn
	}
	size := be16(b[2:])
	if size < 8 {
		return 8, talkEnd
	}
	if !arrived(b, size) {
		return 0, talkOn
	}
	kind, body := b[0], b[8:min(size, len(b))]
	switch {
	case dir == 0 && kind == tdsPrelogin:
		k.step = max(k.step, tdsHelloSent)
	case dir == 1 && kind == tdsResponse && k.step == tdsHelloSent:
		k.tdsAnswer(body)
	case dir == 0 && kind == tdsLogin7:
		k.tdsLogin(body)
	case dir == 1 && kind == tdsResponse && k.step == tdsLoginSent:
		return size, k.tdsOutcome(body)
	case dir == 0 && kind == tdsSSPI, kind == tdsPrelogin:
	default:
		return size, talkEnd
	}
	return size, talkOn
}

// tdsAnswer reads the server's options: kind, offset, length (section 2.2.6.5).
func (k *talk) tdsAnswer(b []byte) {
	for o := b; len(o) >= 5 && o[0] != 0xff; o = o[5:] {
		at, n := be16(o[1:]), be16(o[3:])
		if at+n > len(b) {
			continue
		}
		switch {
		case o[0] == 0 && n >= 4:
			k.banner = fmt.Sprintf("SQL Server %d.%d.%d", b[at], b[at+1], be16(b[at+2:]))
		case o[0] == 1 && n >= 1:
			k.login.Cleartext = b[at] == tdsEncryptNone
		}
	}
	k.step = tdsAnswered
}

// tdsLogin reads section 2.2.6.4. The password in it is only scrambled.
func (k *talk) tdsLogin(b []byte) {
	k.login.Workstation = tdsText(b, 36)
	if k.login.User = tdsText(b, 40); k.login.User == "" {
		k.login.Mechanism, k.login.Cleartext = "integrated", false
	} else {
		k.login.Cleartext = true
	}
	k.step = tdsLoginSent
	k.try()
}

// tdsText reads one of the texts to which offset and length stand at at.
func tdsText(b []byte, at int) string {
	if at+4 > len(b) {
		return ""
	}
	from := int(binary.LittleEndian.Uint16(b[at:]))
	n := min(int(binary.LittleEndian.Uint16(b[at+2:])), maxUser)
	if from+2*n > len(b) {
		return ""
	}
	units := make([]uint16, n)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[from+2*i:])
	}
	return printableN([]byte(string(utf16.Decode(units))), maxUser)
}

// tdsOutcome walks the tokens up to the one that decides.
func (k *talk) tdsOutcome(b []byte) act {
	for len(b) >= 3 {
		n := 3 + int(binary.LittleEndian.Uint16(b[1:]))
		switch b[0] {
		case tdsLoginAck:
			return k.result(LoginOK)
		case tdsError:
			if len(b) < 7 {
				return talkEnd
			}
			if binary.LittleEndian.Uint32(b[3:]) == tdsLoginFailed {
				return k.result(LoginFailed)
			}
		case tdsEnv, tdsInfo:
		case 0xed: // a step of integrated security: the client answers
			return talkOn
		default:
			return talkEnd
		}
		b = b[min(n, len(b)):]
	}
	return talkEnd
}
