package flow

import (
	"bytes"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

var errLDAP = &Error{"ldap", "no LDAPMessage of RFC 4511"}

const (
	ldapRoom       = 2048 // of a message: base, filter and names
	maxFilter      = 512
	maxFilterDepth = 8
	maxLDAPNames   = 16
	maxLDAPBundle  = 8 // messages in one protected buffer
)

// protocolOp tag numbers (RFC 4511 section 4.2 and following) that are met.
const (
	ldapBind         = 0
	ldapBindResponse = 1
	ldapUnbind       = 2
	ldapSearch       = 3
	ldapModify       = 6
	ldapAdd          = 8
	ldapDelete       = 10
	ldapRename       = 12
	ldapCompare      = 14
	ldapAbandon      = 16
	ldapExtended     = 23

	ldapInProgress = 14 // resultCode saslBindInProgress
)

// ldapConn is what is kept of a connection: the log-in that waits for its
// answer.
type ldapConn struct{ login *Login }

// ber is a sequence of BER elements (X.690 section 8.1). Active Directory
// writes lengths in more bytes than DER allows, which is why cryptobyte does
// not read them.
type ber []byte

// length reads tag and length: the bytes that they take and the length of the
// value. ok is false when there are too few bytes or the form is none of
// LDAP's (RFC 4511 section 5.1: definite only).
func (b ber) length() (head int, n int64, ok bool) {
	if len(b) < 2 || b[0]&31 == 31 {
		return 0, 0, false
	}
	if b[1] < 0x80 {
		return 2, int64(b[1]), true
	}
	k := int(b[1] & 0x7f)
	if k == 0 || k > 4 || len(b) < 2+k {
		return 0, 0, false
	}
	for _, c := range b[2 : 2+k] {
		n = n<<8 | int64(c)
	}
	return 2 + k, n, true
}

// next takes one element. A value that is cut short is returned as far as it
// is there; behind what is no element nothing can be read, and nothing is left.
func (b *ber) next() (tag byte, value ber, ok bool) {
	head, n, ok := b.length()
	if !ok {
		*b = nil
		return 0, nil, false
	}
	tag = (*b)[0]
	end := int(min(int64(head)+n, int64(len(*b))))
	value = (*b)[head:end]
	*b = (*b)[end:]
	return tag, value, true
}

// want takes one element of that kind.
func (b *ber) want(tag byte) (ber, bool) {
	if len(*b) == 0 || (*b)[0] != tag {
		return nil, false
	}
	_, v, ok := b.next()
	return v, ok
}

func (b ber) number() (n int64) {
	for _, c := range b[:min(len(b), 7)] {
		n = n<<8 | int64(c)
	}
	return n
}

// sniffLDAP needs the head of a request: sequence, message id, protocolOp.
func sniffLDAP(b []byte) app {
	head, _, ok := ber(b).length()
	switch {
	case ok && len(b) >= head+4:
		if ldapStarts(b) {
			return appLDAP
		}
	case len(b) < 10:
		return appUnknown
	}
	return appDone
}

// ldapStarts recognises a request or answer by its first bytes.
func ldapStarts(b []byte) bool {
	if len(b) == 0 || b[0] != 0x30 {
		return false
	}
	head, n, ok := ber(b).length()
	if !ok || n < 5 || len(b) < head+4 || b[head] != 2 || b[head+1] == 0 || b[head+1] > 4 {
		return false
	}
	at := head + 2 + int(b[head+1])
	return at >= len(b) || b[at]>>6 == 1 // application class
}

// ldapMeasure finds the next message, or the next protected buffer (RFC 4422
// section 3.7: four bytes of length).
func ldapMeasure(b []byte) (size int64, head int) {
	if len(b) < 6 {
		return 0, 6
	}
	switch b[0] {
	case 0x30:
		at, n, ok := ber(b).length()
		if !ok {
			return -1, 0
		}
		return int64(at) + n, ldapRoom
	case 0:
		return 4 + int64(b[1])<<16 + int64(b[2])<<8 + int64(b[3]), ldapRoom
	}
	return -1, 0
}

// readLDAP reads one message of a TCP connection, or those in a buffer that is
// signed and not sealed.
func (m *pduAt) readLDAP() *Error {
	b := ber(m.body)
	if b[0] == 0x30 {
		return m.ldapMessage(b, false)
	}
	b = unsealed(b[4:])
	for n := 0; n < maxLDAPBundle && ldapStarts(b); n++ {
		_, value, _ := b.next()
		m.ldapOp(value, false)
	}
	return nil
}

// unsealed is what a GSS-API or NTLM token protects when it only signs: NTLM
// puts 16 bytes of signature in front (MS-NLMP section 2.2.2.9), Kerberos a
// header of 16 bytes and, rotated by RRC, the checksum (RFC 4121 section 4.2).
func unsealed(b ber) ber {
	switch {
	case len(b) < 16:
	case le32(b, 0) == 1:
		return b[16:]
	case b[0] == 5 && b[1] == 4 && b[2]&2 == 0:
		if at := 16 + int(b[6])<<8 + int(b[7]); at < len(b) {
			return b[at:]
		}
	}
	return nil
}

// ldapMessage reads one LDAPMessage (RFC 4511 section 4.1.1).
func (m *pduAt) ldapMessage(b ber, udp bool) *Error {
	value, ok := b.want(0x30)
	if !ok || !m.ldapOp(value, udp) {
		return errLDAP
	}
	return nil
}

// ldapOp reads message id and operation. Answers are not reported, but for
// what they say about a log-in.
func (m *pduAt) ldapOp(b ber, udp bool) bool {
	if _, ok := b.want(2); !ok {
		return false
	}
	tag, v, ok := b.next()
	if !ok || tag>>6 != 1 {
		return false
	}
	e := LDAP{Op: tag & 31, Connectionless: udp}
	switch e.Op {
	case ldapBind:
		m.ldapBind(v, &e)
	case ldapBindResponse:
		m.ldapBound(v)
		return true
	case ldapSearch:
		e.search(v)
	case ldapDelete:
		e.Base = ldapText(v)
	case ldapModify, ldapAdd, ldapRename, ldapCompare, ldapExtended:
		if _, name, ok := v.next(); ok { // LDAPDN; of an extended request its object id
			e.Base = ldapText(name)
		}
	case ldapUnbind, ldapAbandon:
	default:
		return true
	}
	m.out.ldap = append(m.out.ldap, e)
	return true
}

// ldapBind reads who logs in (RFC 4511 section 4.2; the NTLM choices: MS-ADTS
// section 5.1.1.1.3).
func (m *pduAt) ldapBind(v ber, e *LDAP) {
	v.want(2)
	name, _ := v.want(4)
	e.Base = ldapText(name)
	tag, auth, ok := v.next()
	if !ok {
		return
	}
	user := string(whole([]byte(e.Base), maxLoginName))
	switch tag {
	case 0x80:
		m.p.ldap.login = m.login(Login{Service: "ldap", Mechanism: "simple", User: user, Cleartext: len(auth) > 0})
	case 0x8a, 0x8b:
		m.p.ldap.login = m.securityBlob("ldap", auth)
	case 0xa3:
		mechanism, _ := auth.want(4)
		blob, _ := auth.want(4)
		m.p.ldap.login = m.ldapSASL(string(mechanism[:min(len(mechanism), 20)]), blob)
	}
}

// ldapSASL reads the credentials of the mechanisms that name a user.
func (m *pduAt) ldapSASL(mechanism string, blob ber) *Login {
	e := Login{Service: "ldap", Mechanism: strings.ToLower(printable([]byte(mechanism)))}
	switch mechanism {
	case "PLAIN": // RFC 4616
		parts := bytes.SplitN(blob, []byte{0}, 3)
		if len(parts) < 3 {
			return nil
		}
		e.User, e.Cleartext = printableN(parts[1], maxLoginName), true
	case "DIGEST-MD5": // RFC 2831
		_, rest, ok := bytes.Cut(blob, []byte(`username="`))
		if !ok {
			return nil
		}
		name, _, _ := bytes.Cut(rest, []byte(`"`))
		e.User = printableN(name, maxLoginName)
	case "EXTERNAL":
	default:
		return m.securityBlob("ldap", blob)
	}
	return m.login(e)
}

// ldapBound reads how a log-in ended.
func (m *pduAt) ldapBound(v ber) {
	code, ok := v.want(10)
	if !ok || m.p.ldap.login == nil || code.number() == ldapInProgress {
		return
	}
	e := *m.p.ldap.login
	m.p.ldap.login = nil
	e.Result = LoginFailed
	if code.number() == 0 {
		e.Result = LoginOK
	}
	m.out.login = append(m.out.login, e)
}

// search reads a SearchRequest (RFC 4511 section 4.5.1).
func (e *LDAP) search(v ber) {
	base, _ := v.want(4)
	e.Base = ldapText(base)
	scope, _ := v.want(10)
	e.Scope = uint8(scope.number())
	for range 4 { // derefAliases, sizeLimit, timeLimit, typesOnly
		v.next()
	}
	text := make([]byte, 0, 128)
	if filter := v; len(v) > 0 {
		text = filterText(text, &filter, 0)
		v = filter
	}
	e.Filter = string(whole(text, maxFilter))
	names, _ := v.want(0x30)
	for len(e.Attributes) < maxLDAPNames {
		name, ok := names.want(4)
		if !ok {
			break
		}
		e.Attributes = append(e.Attributes, printableN(name, 64))
	}
}

// Filter choices (RFC 4511 section 4.5.1.7) and what stands between attribute
// and value in text (RFC 4515).
var filterSign = [...]string{3: "=", 5: ">=", 6: "<=", 8: "~="}

// filterText appends one filter as RFC 4515 has it. What is nested deeper than
// maxFilterDepth, or too long, is left out.
func filterText(out []byte, b *ber, depth int) []byte {
	tag, v, ok := b.next()
	if !ok || len(out) > maxFilter {
		return out
	}
	out = append(out, '(')
	switch kind := tag & 31; kind {
	case 0, 1, 2:
		out = append(out, "&|!"[kind])
		for depth < maxFilterDepth && len(v) > 0 && len(out) <= maxFilter {
			out = filterText(out, &v, depth+1)
		}
	case 3, 5, 6, 8:
		name, _ := v.want(4)
		value, _ := v.want(4)
		out = filterValue(out, name)
		out = append(out, filterSign[kind]...)
		if secretAttribute(name) {
			value = nil
		}
		out = filterValue(out, value)
	case 4:
		out = filterSubstrings(out, v)
	case 7:
		out = append(filterValue(out, v), "=*"...)
	case 9:
		out = filterExtended(out, v)
	}
	return append(out, ')')
}

// secretAttribute says that an attribute holds a password (RFC 4519 section
// 2.41, MS-ADA3 unicodePwd, MS-ADA2 ms-Mcs-AdmPwd of LAPS): who looks for a
// value of it writes the value.
func secretAttribute(name []byte) bool {
	n := bytes.ToLower(name[:min(len(name), 64)])
	return bytes.Contains(n, []byte("password")) || bytes.HasSuffix(n, []byte("pwd"))
}

func filterSubstrings(out []byte, v ber) []byte {
	name, _ := v.want(4)
	out = append(filterValue(out, name), '=')
	list, _ := v.want(0x30)
	star := false
	for len(out) <= maxFilter {
		tag, part, ok := list.next()
		if !ok {
			break
		}
		if tag != 0x80 && !star {
			out = append(out, '*')
		}
		if secretAttribute(name) {
			part = nil
		}
		out = filterValue(out, part)
		if star = tag != 0x82; star {
			out = append(out, '*')
		}
	}
	return out
}

func filterExtended(out []byte, v ber) []byte {
	rule, _ := v.want(0x81)
	name, _ := v.want(0x82)
	value, _ := v.want(0x83)
	dn, _ := v.want(0x84)
	out = filterValue(out, name)
	if dn.number() != 0 {
		out = append(out, ":dn"...)
	}
	if len(rule) > 0 {
		out = filterValue(append(out, ':'), rule)
	}
	if secretAttribute(name) {
		value = nil
	}
	return filterValue(append(out, ":="...), value)
}

// filterValue appends a value with the escapes of RFC 4515 section 3; bytes
// that are not text, as in an object GUID, are escaped too.
func filterValue(out []byte, v ber) []byte {
	for len(v) > 0 && len(out) <= maxFilter {
		r, n := utf8.DecodeRune(v)
		switch {
		case r == utf8.RuneError, r < ' ', r == 0x7f, r == '*', r == '(', r == ')', r == '\\':
			for _, c := range v[:n] {
				out = hex.AppendEncode(append(out, '\\'), []byte{c})
			}
		default:
			out = append(out, v[:n]...)
		}
		v = v[n:]
	}
	return out
}

func ldapText(b []byte) string { return string(whole([]byte(printable(b)), 255)) }
