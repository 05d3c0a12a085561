package flow

// Steps of the RFB handshake (RFC 6143 section 7.1); the two sides take turns.
const (
	vncServerVersion uint8 = iota
	vncClientVersion
	vncTypes  // 3.7 and 3.8: the server lists
	vncType   // 3.3: the server decides
	vncChoice // the client chooses
	vncChallenge
	vncResponse
	vncKey // Apple's: Diffie-Hellman, then the encrypted name and password
	vncSecret
	vncResult
)

// Security types (RFC 6143 section 7.1.2 and the IANA registry).
const (
	vncNone  = 1
	vncAuth  = 2
	vncTLS   = 18
	vncApple = 30
)

// vnc reads who may enter. The password itself is never sent, only a response
// to a challenge.
func (k *talk) vnc(dir int, b []byte) (int, act) {
	fromServer := k.step != vncClientVersion && k.step != vncChoice && k.step != vncResponse && k.step != vncSecret
	if fromServer != (dir == 1) {
		return 0, talkOn
	}
	size, ok := k.vncSize(b)
	if !ok || len(b) < size {
		return 0, talkOn
	}
	b = b[:size]
	switch k.step {
	case vncServerVersion, vncClientVersion:
		return size, k.vncVersion(b)
	case vncTypes:
		if size == 1 { // none: the server refuses, and says why
			return size, talkEnd
		}
		k.step = vncChoice
	case vncType:
		return size, k.vncSecurity(b[3])
	case vncChoice:
		return size, k.vncSecurity(b[0])
	case vncResponse, vncSecret:
		k.step = vncResult
		k.try()
	case vncResult:
		switch be32(b) {
		case 0:
			return size, k.result(LoginOK)
		case 1, 2: // failed, too many
			if k.login.Mechanism != "none" {
				return size, k.result(LoginFailed)
			}
		}
		return size, talkEnd
	default:
		k.step++ // challenge -> response, key -> secret
	}
	return size, talkOn
}

// vncSize is the length of the message that is due.
func (k *talk) vncSize(b []byte) (n int, ok bool) {
	switch k.step {
	case vncServerVersion, vncClientVersion:
		return 12, true
	case vncTypes:
		return 1 + int(b[0]), true
	case vncChoice:
		return 1, true
	case vncChallenge, vncResponse:
		return 16, true
	case vncKey:
		if len(b) < 4 {
			return 0, false
		}
		k.choice = uint32(min(be16(b[2:]), talkBytes/4))
		return 4 + 2*int(k.choice), true
	case vncSecret:
		return 128 + int(k.choice), true
	}
	return 4, true
}

// vncVersion reads "RFB 003.008\n". The client's is at most the server's.
func (k *talk) vncVersion(b []byte) act {
	if string(b[:4]) != "RFB " || b[11] != '\n' {
		return talkEnd
	}
	k.banner = string(b[:11])
	k.step++
	if k.step == vncTypes {
		// "003.003" and what is taken for it; others know the list.
		if k.choice = uint32(b[10] - '0'); k.choice < 7 && string(b[4:7]) == "003" {
			k.step = vncType
		}
	}
	return talkOn
}

// vncSecurity goes on with the type that was chosen.
func (k *talk) vncSecurity(kind byte) act {
	switch kind {
	case vncNone:
		if k.step == vncType || k.choice == 7 { // no result is sent
			return talkEnd
		}
		k.login.Mechanism = "none"
		k.step = vncResult
		return talkOn
	case vncAuth:
		k.login.Mechanism = "vnc"
		k.step = vncChallenge
		return talkOn
	case vncApple:
		k.login.Mechanism = "apple"
		k.step = vncKey
		return talkOn
	case vncTLS:
		return talkTLS
	}
	return talkEnd
}
