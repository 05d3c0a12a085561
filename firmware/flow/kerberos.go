package flow

import (
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

var errKerberos = &Error{"kerberos", "no message of RFC 4120"}

// Message types (RFC 4120 section 5.10), which are their application tags too.
const (
	krbASReq  = 10
	krbASRep  = 11
	krbTGSReq = 12
	krbTGSRep = 13
	krbError  = 30
)

// Errors that tell how a log-in ended (RFC 4120 section 7.5.9).
const (
	krbUnknownClient = 6
	krbRevoked       = 18
	krbKeyExpired    = 23
	krbPreAuthFailed = 24
)

const (
	paEncTimestamp = 2 // RFC 4120 section 5.2.7
	maxETypes      = 16
	krbAsked       = 64
)

// krbAsk remembers for whom a client asks: many servers leave the name out of
// an error.
type krbAsk struct {
	conn        uint64
	user, realm string
	preAuth     bool
}

// krbAsks is a ring over all connections; each is one question in UDP.
type krbAsks struct {
	ask [krbAsked]krbAsk
	n   int
}

func (k *krbAsks) of(conn uint64) (krbAsk, bool) {
	for i := range k.ask {
		if a := k.ask[i]; a.conn == conn && conn != 0 {
			return a, true
		}
	}
	return krbAsk{}, false
}

func (k *krbAsks) put(a krbAsk) {
	for i := range k.ask {
		if k.ask[i].conn == a.conn {
			k.ask[i] = a
			return
		}
	}
	k.ask[k.n%krbAsked] = a
	k.n++
}

// kerberosMeasure finds the next message of a TCP connection (RFC 4120 section
// 7.2.2: four bytes of length, the first bit reserved).
func kerberosMeasure(b []byte) (size int64, head int) {
	if len(b) < 5 {
		return 0, 5
	}
	if b[0] != 0 || b[4]>>5 != 3 {
		return -1, 0
	}
	size = 4 + int64(b[1])<<16 + int64(b[2])<<8 + int64(b[3])
	return size, int(min(size, pduHead))
}

// readKerberos reads a message of a TCP connection.
func (m *pduAt) readKerberos() *Error {
	if len(m.body) < 5 {
		return nil
	}
	return m.kerberos(m.body[4:])
}

// kerberos reads one message. One that is larger than the head of it that is
// at hand, as with a ticket of many groups, is reported as far as it goes.
func (m *pduAt) kerberos(b []byte) *Error {
	if len(b) < 2 || b[0]>>5 != 3 {
		return errKerberos
	}
	e := Kerberos{Type: b[0] & 31}
	in := cryptobyte.String(b)
	var app, seq cryptobyte.String
	whole := in.ReadAnyASN1(&app, new(asn1.Tag)) && app.ReadASN1(&seq, asn1.SEQUENCE)
	if whole {
		switch e.Type {
		case krbASReq, krbTGSReq:
			whole = e.request(seq)
		case krbASRep, krbTGSRep:
			whole = e.reply(seq)
		case krbError:
			whole = e.failure(seq)
		default: // AP and safe messages are not the KDC's
			return nil
		}
	}
	if !whole && len(m.body) < pduHead {
		return errKerberos
	}
	m.krbEmit(&e)
	return nil
}

// krbEmit reports a message and what it says about a log-in.
func (m *pduAt) krbEmit(e *Kerberos) {
	login := Login{Service: "kerberos", User: e.User, Domain: e.Realm}
	switch a, asked := m.asks.of(m.conn); {
	case e.Type == krbASReq:
		m.asks.put(krbAsk{m.conn, e.User, e.Realm, e.PreAuth})
		if e.PreAuth {
			m.out.login = append(m.out.login, login)
		}
	case e.Type == krbASRep:
		login.Result = LoginOK
		m.out.login = append(m.out.login, login)
	case e.Type == krbError:
		if asked && e.User == "" {
			e.User = a.user
			login.User = a.user
			if e.Realm == "" {
				login.Domain = a.realm
			}
		}
		switch e.Error {
		case krbUnknownClient, krbRevoked, krbKeyExpired, krbPreAuthFailed:
			login.Result = LoginFailed
			m.out.login = append(m.out.login, login)
		}
	}
	m.out.krb = append(m.out.krb, *e)
}

// krbField takes the next field of a sequence when it has that number.
func krbField(s *cryptobyte.String, number uint8, field *cryptobyte.String) bool {
	tag := asn1.Tag(number).ContextSpecific().Constructed()
	return s.PeekASN1Tag(tag) && s.ReadASN1(field, tag)
}

// request reads a KDC-REQ (RFC 4120 section 5.4.1).
func (e *Kerberos) request(s cryptobyte.String) bool {
	var f, body cryptobyte.String
	krbField(&s, 1, &f)
	krbField(&s, 2, &f)
	if krbField(&s, 3, &f) {
		e.PreAuth = hasPreAuth(f)
	}
	if !krbField(&s, 4, &f) || !f.ReadASN1(&body, asn1.SEQUENCE) {
		return false
	}
	krbField(&body, 0, &f)
	if krbField(&body, 1, &f) {
		e.User = principal(f)
	}
	if !krbField(&body, 2, &f) {
		return false
	}
	e.Realm = krbString(f)
	if krbField(&body, 3, &f) {
		e.Service = principal(f)
	}
	for n := uint8(4); n < 8; n++ {
		krbField(&body, n, &f)
	}
	var list cryptobyte.String
	if !krbField(&body, 8, &f) || !f.ReadASN1(&list, asn1.SEQUENCE) {
		return false
	}
	for len(e.ETypes) < maxETypes && !list.Empty() {
		var v int32
		if !list.ReadASN1Integer(&v) {
			return false
		}
		e.ETypes = append(e.ETypes, v)
	}
	if len(e.ETypes) > 0 {
		e.EType = e.ETypes[0]
	}
	return true
}

// hasPreAuth looks for an encrypted time stamp among the PA-DATA.
func hasPreAuth(s cryptobyte.String) bool {
	var list, pa, f cryptobyte.String
	if !s.ReadASN1(&list, asn1.SEQUENCE) {
		return false
	}
	for list.ReadASN1(&pa, asn1.SEQUENCE) {
		var kind int32
		if krbField(&pa, 1, &f) && f.ReadASN1Integer(&kind) && kind == paEncTimestamp {
			return true
		}
	}
	return false
}

// reply reads a KDC-REP (section 5.4.2) and the head of its ticket (5.3).
func (e *Kerberos) reply(s cryptobyte.String) bool {
	var f, ticket, enc cryptobyte.String
	for n := uint8(0); n < 3; n++ {
		krbField(&s, n, &f)
	}
	if !krbField(&s, 3, &f) {
		return false
	}
	e.Realm = krbString(f)
	if !krbField(&s, 4, &f) {
		return false
	}
	e.User = principal(f)
	if !krbField(&s, 5, &f) || !f.ReadASN1(&ticket, asn1.Tag(1|0x60)) || !ticket.ReadASN1(&ticket, asn1.SEQUENCE) {
		return false
	}
	krbField(&ticket, 0, &f)
	krbField(&ticket, 1, &f)
	if krbField(&ticket, 2, &f) {
		e.Service = principal(f)
	}
	return krbField(&ticket, 3, &f) && f.ReadASN1(&enc, asn1.SEQUENCE) &&
		krbField(&enc, 0, &f) && f.ReadASN1Integer(&e.EType)
}

// failure reads a KRB-ERROR (section 5.9.1).
func (e *Kerberos) failure(s cryptobyte.String) bool {
	var f cryptobyte.String
	for n := uint8(0); n < 6; n++ {
		krbField(&s, n, &f)
	}
	if !krbField(&s, 6, &f) || !f.ReadASN1Integer(&e.Error) {
		return false
	}
	krbField(&s, 7, &f)
	if krbField(&s, 8, &f) {
		e.User = principal(f)
	}
	if krbField(&s, 9, &f) {
		e.Realm = krbString(f)
	}
	if krbField(&s, 10, &f) {
		e.Service = principal(f)
	}
	return true
}

// principal joins the parts of a PrincipalName (section 5.2.2).
func principal(s cryptobyte.String) string {
	var seq, f, list cryptobyte.String
	if !s.ReadASN1(&seq, asn1.SEQUENCE) {
		return ""
	}
	krbField(&seq, 0, &f)
	if !krbField(&seq, 1, &f) || !f.ReadASN1(&list, asn1.SEQUENCE) {
		return ""
	}
	var name strings.Builder
	for n := 0; n < 8 && !list.Empty(); n++ {
		var part cryptobyte.String
		if !list.ReadASN1(&part, asn1.GeneralString) {
			break
		}
		if n > 0 {
			name.WriteByte('/')
		}
		name.WriteString(printable(part))
	}
	return string(whole([]byte(name.String()), 255))
}

func krbString(s cryptobyte.String) string {
	var v cryptobyte.String
	if !s.ReadASN1(&v, asn1.GeneralString) {
		return ""
	}
	return string(whole([]byte(printable(v)), 255))
}
