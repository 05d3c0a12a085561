package flow

import "bytes"

// First messages of a client (PostgreSQL documentation, "Message Formats").
const (
	pgVersion3 = 196608
	pgCancel   = 80877102
	pgSSL      = 80877103
	pgGSS      = 80877104
)

// sniffPostgreSQL recognises what a client begins with: a length and a version
// or one of the codes in its place.
func sniffPostgreSQL(b []byte, port uint16) app {
	if b[0] != 0 || len(b) > 1 && b[1] != 0 {
		return appDone
	}
	if len(b) < 8 {
		if port == 5432 {
			return appUnknown
		}
		return appDone
	}
	size := be32(b)
	switch be32(b[4:]) {
	case pgVersion3, pgVersion3 + 2:
		if size >= 9 && size <= 10000 {
			return appPostgreSQL
		}
	case pgSSL, pgGSS:
		if size == 8 {
			return appPostgreSQL
		}
	}
	return appDone
}

// Steps of a PostgreSQL log-in.
const (
	pgStartup uint8 = iota
	pgAsked         // for encryption; the server answers by one letter
	pgNamed
)

// postgresql reads the start-up phase ("Message Flow", Start-up).
func (k *talk) postgresql(dir int, b []byte) (int, act) {
	if k.step == pgAsked {
		if dir == 0 {
			return 0, talkOn
		}
		switch b[0] {
		case 'S':
			return 1, talkTLS
		case 'N':
			k.step = pgStartup
			return 1, talkOn
		}
		return 1, talkEnd
	}
	tag := 1
	if dir == 0 && k.step == pgStartup {
		tag = 0
	}
	if len(b) < tag+4 {
		return 0, talkOn
	}
	size := tag + be32(b[tag:])
	if size < tag+4 || size > 1<<20 {
		return len(b), talkEnd
	}
	if !arrived(b, size) {
		return 0, talkOn
	}
	body := b[tag+4 : min(size, len(b))]
	switch {
	case tag == 0:
		return size, k.pgStart(body)
	case dir == 0 && b[0] == 'p':
		k.try()
	case dir == 1 && b[0] == 'R':
		return size, k.pgAuth(body)
	case dir == 1 && b[0] == 'E':
		return size, k.pgError(body)
	case dir == 1 && b[0] != 'N' && b[0] != 'v': // notice, version
		return size, talkEnd
	}
	return size, talkOn
}

func (k *talk) pgStart(b []byte) act {
	if len(b) < 4 {
		return talkEnd
	}
	switch be32(b) {
	case pgSSL, pgGSS:
		k.step = pgAsked
		return talkOn
	case pgVersion3, pgVersion3 + 2:
	default:
		return talkEnd
	}
	for b = b[4:]; ; {
		name, rest, ok := nulText(b)
		value, rest, ok2 := nulText(rest)
		if !ok || !ok2 || len(name) == 0 {
			break
		}
		if string(name) == "user" {
			k.login.User = printableN(value, maxUser)
		}
		b = rest
	}
	k.step = pgNamed
	return talkOn
}

// pgAuth reads what the server asks for, or that it is content.
func (k *talk) pgAuth(b []byte) act {
	if len(b) < 4 {
		return talkEnd
	}
	switch be32(b) {
	case 0:
		if k.login.Mechanism == "" {
			k.login.Mechanism = "trust"
		}
		return k.result(LoginOK)
	case 3:
		k.login.Mechanism, k.login.Cleartext = "plain", true
	case 5:
		k.login.Mechanism = "md5"
	case 7, 8, 9:
		k.login.Mechanism = "gss"
	case 10:
		k.login.Mechanism = "scram"
	}
	return talkOn
}

// pgError reads the SQLSTATE: 28P01 is a wrong password, 28000 a name that may
// not enter.
func (k *talk) pgError(b []byte) act {
	for len(b) > 1 {
		value, rest, ok := nulText(b[1:])
		if !ok {
			break
		}
		if b[0] == 'C' && (bytes.Equal(value, []byte("28P01")) || bytes.Equal(value, []byte("28000"))) {
			return k.result(LoginFailed)
		}
		b = rest
	}
	return talkEnd
}
