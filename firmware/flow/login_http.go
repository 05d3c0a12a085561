package flow

import (
	"bytes"
	"encoding/base64"
	"strings"
)

const maxUser = 128

// login emits an attempt or its result.
func (t *Tracker) login(c *conn, dir int, l *Login, emit func(Event)) {
	t.stats.Logins++
	e := &t.ev.login
	*e = *l
	e.Meta, e.ConnID, e.FromServer = t.here(), c.id, dir == 1
	e.Client, e.Server = c.addrPorts()
	emit(e)
}

// authorization reads who logs in: Basic (RFC 7617) and Digest (RFC 7616) name
// the user. Bearer tokens are what a log-in elsewhere gave.
func (s *httpState) authorization(value []byte) {
	kind := strings.ToLower(string(scheme(value)))
	_, rest, _ := bytes.Cut(value, []byte{' '})
	rest = bytes.TrimSpace(rest)
	switch kind {
	case "basic":
		user, _, _ := bytes.Cut(decode64(rest), []byte{':'})
		s.login = Login{User: printableN(user, maxUser), Cleartext: true}
	case "digest":
		_, after, ok := bytes.Cut(rest, []byte(`username="`))
		if !ok {
			return
		}
		user, _, _ := bytes.Cut(after, []byte{'"'})
		s.login = Login{User: printableN(user, maxUser)}
	case "ntlm", "negotiate":
		a, ok := readNTLM(decode64(rest))
		if !ok { // a step on the way; or Kerberos, which does not guess
			return
		}
		s.login = Login{User: a.User, Domain: a.Domain, Workstation: a.Workstation}
	default:
		return
	}
	s.login.Service, s.login.Mechanism = "http", kind
}

// decode64 decodes as much as is whole, at most 4 kB of it.
func decode64(b []byte) []byte {
	b = bytes.TrimRight(b[:min(len(b), 4096)], "=")
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(b)))
	n, _ := base64.RawStdEncoding.Decode(out, b)
	return out[:n]
}

// maskRequest sets the event's body and blots passwords out of it and of the
// query. It says whether there was one.
func (d *deepDecoders) maskRequest(e *HTTP, body []byte) bool {
	secret := false
	if path, query, ok := strings.Cut(e.Path, "?"); ok {
		var q []byte
		if q, secret = d.mask([]byte(query)); secret {
			e.Path = path + "?" + string(q)
		}
	}
	var inBody bool
	e.Body, inBody = d.mask(body)
	return secret || inBody
}

func httpFormType(kind string) bool {
	return strings.Contains(kind, "urlencoded") || strings.Contains(kind, "json")
}

// mask looks for the fields of a form or of a JSON object that hold a password,
// and returns the text with their values blotted out. It is copied only when
// there is one.
func (d *deepDecoders) mask(b []byte) ([]byte, bool) {
	found := false
	next := formField
	if t := bytes.TrimLeft(b, "[ \r\n\t"); len(t) > 0 && t[0] == '{' {
		next = jsonField
	}
	for at := 0; at < len(b); {
		name, from, to := next(b, at)
		if from < to && secretName(name) {
			if !found {
				b = append(d.masked[:0], b...)
				d.masked, found = b, true
			}
			for i := from; i < to; i++ {
				b[i] = '*'
			}
		}
		at = to + 1
	}
	return b, found
}

// formField reads name=value (WHATWG URL, application/x-www-form-urlencoded)
// from at on, and says where the value stands. from is to when there is none.
func formField(b []byte, at int) (name []byte, from, to int) {
	to = len(b)
	if i := bytes.IndexByte(b[at:], '&'); i >= 0 {
		to = at + i
	}
	name, _, ok := bytes.Cut(b[at:to], []byte{'='})
	if !ok {
		return nil, to, to
	}
	return name, at + len(name) + 1, to
}

// jsonField reads "name": "value" (RFC 8259) from the next quote on. A value
// that was cut off goes to the end.
func jsonField(b []byte, at int) (name []byte, from, to int) {
	open := bytes.IndexByte(b[at:], '"')
	if open < 0 {
		return nil, len(b), len(b)
	}
	start := at + open + 1
	end := jsonString(b, start)
	name = b[start:end]
	i := end + 1
	for i < len(b) && (b[i] == ' ' || b[i] == ':') {
		i++
	}
	if i >= len(b) || !bytes.ContainsRune(b[end:i], ':') || b[i] != '"' {
		return nil, end, end
	}
	return name, i + 1, jsonString(b, i+1)
}

// jsonString is where the string that begins at i ends.
func jsonString(b []byte, i int) int {
	for ; i < len(b) && b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return min(i, len(b))
}

// secretName knows what web forms call a password.
func secretName(name []byte) bool {
	var lower [64]byte
	if len(name) > len(lower) {
		return false
	}
	n := string(lowerASCII(lower[:], name))
	switch n {
	case "pass", "pw", "psw", "psd", "upass", "login_pass", "userpass":
		return true
	}
	return strings.Contains(n, "passw") || strings.Contains(n, "passphrase") || strings.Contains(n, "pwd")
}
