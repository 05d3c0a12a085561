package flow

import (
	"encoding/binary"
)

// Capabilities of a client (MySQL, "Protocol::CapabilityFlags").
const (
	mysqlWithDB     = 1 << 3
	mysql41         = 1 << 9
	mysqlSSL        = 1 << 11
	mysqlSecure     = 1 << 15
	mysqlPluginAuth = 1 << 19
	mysqlLongAuth   = 1 << 21
)

// sniffMySQL recognises a server's greeting: a packet with number 0 that begins
// with protocol version 10 and a version text, or the error by which a server
// refuses before it.
func sniffMySQL(b []byte, port uint16) app {
	if len(b) < 6 {
		if b[0] >= 20 && port == 3306 {
			return appUnknown
		}
		return appDone
	}
	size := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
	switch {
	case b[3] != 0 || size > 512:
	case b[4] == 10 && size >= 32 && b[5] >= '0' && b[5] <= '9':
		return appMySQL
	case b[4] == 0xff && port == 3306:
		return appMySQL
	}
	return appDone
}

// Steps of a MySQL log-in.
const (
	mysqlGreeting uint8 = iota
	mysqlAnswer
	mysqlOutcome
)

// mysql reads the connection phase ("Connection Phase", MySQL internals). The
// password is answered by a hash of it and of a challenge, but for the plugin
// mysql_clear_password.
func (k *talk) mysql(dir int, b []byte) (int, act) {
	if len(b) < 4 {
		return 0, talkOn
	}
	size := 4 + (int(b[0]) | int(b[1])<<8 | int(b[2])<<16)
	if !arrived(b, size) {
		return 0, talkOn
	}
	if size == 4 {
		return size, talkOn
	}
	b = b[4:min(size, len(b))]
	switch {
	case dir == 1 && k.step == mysqlGreeting:
		version, _, ok := nulText(b[1:])
		if b[0] != 10 || !ok {
			return size, talkEnd
		}
		k.banner = string(version)
		k.step = mysqlAnswer
	case dir == 0 && k.step == mysqlAnswer:
		return size, k.mysqlAnswer(b)
	case dir == 1 && k.step == mysqlOutcome:
		return size, k.mysqlOutcome(b)
	case k.step != mysqlOutcome:
		return size, talkEnd
	}
	return size, talkOn
}

// mysqlAnswer reads HandshakeResponse41 and, from before 4.1, its elder.
func (k *talk) mysqlAnswer(b []byte) act {
	if len(b) < 5 {
		return talkEnd
	}
	caps := binary.LittleEndian.Uint32(b)
	if caps&mysqlSSL != 0 && len(b) == 32 {
		return talkTLS
	}
	at := 32
	if caps&mysql41 == 0 {
		at = 5
	}
	user, rest, ok := nulText(b[min(at, len(b)):])
	if !ok {
		return talkEnd
	}
	k.login.User = printableN(user, maxUser)
	if at == 32 {
		k.mysqlPlugin(mysqlPluginOf(caps, rest))
	}
	k.step = mysqlOutcome
	k.try()
	return talkOn
}

// mysqlPluginOf finds the name of the plugin behind the response and the
// database.
func mysqlPluginOf(caps uint32, b []byte) []byte {
	switch {
	case caps&(mysqlSecure|mysqlLongAuth) != 0:
		if len(b) == 0 || int(b[0]) >= 251 || 1+int(b[0]) > len(b) {
			return nil
		}
		b = b[1+int(b[0]):]
	default:
		var ok bool
		if _, b, ok = nulText(b); !ok {
			return nil
		}
	}
	if caps&mysqlWithDB != 0 {
		var ok bool
		if _, b, ok = nulText(b); !ok {
			return nil
		}
	}
	if caps&mysqlPluginAuth == 0 {
		return nil
	}
	name, _, _ := nulText(b)
	return name
}

func (k *talk) mysqlPlugin(name []byte) {
	if len(name) > 0 {
		k.login.Mechanism = printableN(name, 64)
		k.login.Cleartext = string(name) == "mysql_clear_password"
	}
}

// mysqlErrors are those that say "wrong name or password" (ER_ACCESS_DENIED_ERROR,
// ER_ACCESS_DENIED_NO_PASSWORD_ERROR, ER_DBACCESS_DENIED_ERROR came after a good one).
const (
	mysqlDenied       = 1045
	mysqlDeniedNoPass = 1698
	mysqlDeniedDB     = 1044
)

func (k *talk) mysqlOutcome(b []byte) act {
	switch b[0] {
	case 0:
		return k.result(LoginOK)
	case 0xff:
		if len(b) < 3 {
			return talkEnd
		}
		switch binary.LittleEndian.Uint16(b[1:]) {
		case mysqlDenied, mysqlDeniedNoPass:
			return k.result(LoginFailed)
		case mysqlDeniedDB:
			return k.result(LoginOK)
		}
		return talkEnd
	case 0xfe: // another plugin is asked for
		name, _, _ := nulText(b[1:])
		k.mysqlPlugin(name)
	}
	return talkOn
}
