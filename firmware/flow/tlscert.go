package flow

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var errCert = &Error{"tls", "certificate message cannot be read"}

const (
	tlsCertificate = 11 // RFC 5246 section 7.4
	maxNames       = 16
	maxNameText    = 256

	// certCache is how many certificates are remembered, so that the next
	// connection to the same server costs a hash only. An office talks to a
	// few hundred servers a day.
	certCache = 256
)

// certReader remembers what it read, newest in place of the oldest.
type certReader struct {
	known  map[[32]byte]*TLSCert
	ring   [certCache][32]byte
	at     int
	parsed bool // the last one was not known; for tests
	event  TLSCert
}

// read takes the body of a Certificate message (RFC 5246 section 7.4.2). It
// returns errMore when the message names no certificate.
func (r *certReader) read(body cryptobyte.String) *Error {
	var list, leaf cryptobyte.String
	if !body.ReadUint24LengthPrefixed(&list) {
		return errCert
	}
	n := 0
	for ; !list.Empty(); n++ {
		var der cryptobyte.String
		if !list.ReadUint24LengthPrefixed(&der) {
			return errCert
		}
		if n == 0 {
			leaf = der
		}
	}
	if n == 0 {
		return errMore
	}
	sum := sha256.Sum256(leaf)
	c, ok := r.known[sum]
	r.parsed = !ok
	if !ok {
		c = &TLSCert{SHA256: sum, SHA1: sha1.Sum(leaf)}
		if !c.parse(leaf) && !c.scan(leaf) {
			return errCert
		}
		r.keep(c)
	}
	r.event = *c
	r.event.Chain = n
	return nil
}

func (r *certReader) keep(c *TLSCert) {
	if r.known == nil {
		r.known = make(map[[32]byte]*TLSCert, certCache)
	}
	if len(r.known) == certCache {
		delete(r.known, r.ring[r.at])
	}
	r.ring[r.at] = c.SHA256
	r.at = (r.at + 1) % certCache
	r.known[c.SHA256] = c
}

// parse reads a certificate that keeps the rules of RFC 5280.
func (c *TLSCert) parse(der []byte) bool {
	x, err := x509.ParseCertificate(der)
	if err != nil {
		return false
	}
	c.name(x.Subject, x.Issuer)
	c.SelfSigned = bytes.Equal(x.RawSubject, x.RawIssuer)
	c.NotBefore, c.NotAfter = x.NotBefore.UTC(), x.NotAfter.UTC()
	for _, n := range x.DNSNames {
		if len(c.Names) < maxNames {
			c.Names = append(c.Names, printable([]byte(n)))
		}
	}
	for _, a := range x.IPAddresses {
		if len(c.Names) < maxNames {
			c.Names = append(c.Names, a.String())
		}
	}
	return true
}

// scan gets who and until when out of a certificate that crypto/x509 refuses,
// as it does for odd serial numbers, extensions or keys: those of devices, and
// of whoever makes his own.
func (c *TLSCert) scan(der []byte) bool {
	var cert, tbs, validity cryptobyte.String
	var issuer, subject cryptobyte.String
	outer := cryptobyte.String(der)
	ok := outer.ReadASN1(&cert, cbasn1.SEQUENCE) && cert.ReadASN1(&tbs, cbasn1.SEQUENCE) &&
		tbs.SkipOptionalASN1(cbasn1.Tag(0).Constructed().ContextSpecific()) &&
		tbs.SkipASN1(cbasn1.INTEGER) && tbs.SkipASN1(cbasn1.SEQUENCE) &&
		tbs.ReadASN1Element(&issuer, cbasn1.SEQUENCE) &&
		tbs.ReadASN1(&validity, cbasn1.SEQUENCE) &&
		tbs.ReadASN1Element(&subject, cbasn1.SEQUENCE)
	if !ok {
		return false
	}
	var s, i pkix.RDNSequence
	var sn, in pkix.Name
	if _, err := asn1.Unmarshal(subject, &s); err == nil {
		sn.FillFromRDNSequence(&s)
	}
	if _, err := asn1.Unmarshal(issuer, &i); err == nil {
		in.FillFromRDNSequence(&i)
	}
	c.name(sn, in)
	c.SelfSigned = bytes.Equal(subject, issuer)
	c.NotBefore, c.NotAfter = readTime(&validity), readTime(&validity)
	return true
}

// readTime reads one of the two forms of RFC 5280 section 4.1.2.5; the zero
// time when it is neither.
func readTime(s *cryptobyte.String) (t time.Time) {
	switch {
	case s.PeekASN1Tag(cbasn1.UTCTime):
		s.ReadASN1UTCTime(&t)
	case s.PeekASN1Tag(cbasn1.GeneralizedTime):
		s.ReadASN1GeneralizedTime(&t)
	}
	return t.UTC()
}

func (c *TLSCert) name(subject, issuer pkix.Name) {
	c.Subject = printableN([]byte(subject.String()), maxNameText)
	c.Issuer = printableN([]byte(issuer.String()), maxNameText)
	c.CommonName = printable([]byte(subject.CommonName))
}

// tlsCert emits the certificate that follows the hello of a TLS 1.2 server, and
// says whether the head is done with. A server that resumes a session sends
// none.
func (t *Tracker) tlsCert(c *conn, data []byte, emit func(Event)) bool {
	msg, err := t.deep.handshake(data, 1)
	if err == errMore {
		return false
	}
	c.app[1] = appDone
	if err != nil || msg[0] != tlsCertificate {
		return true
	}
	r := &t.deep.certs
	err = t.guard(parseCert, func() *Error { return r.read(cryptobyte.String(msg[4:])) })
	if err == errMore {
		return true
	}
	if err != nil {
		t.malformed(err, emit)
		return true
	}
	e := &r.event
	e.Meta, e.ConnID = t.here(), c.id
	e.Client, e.Server = c.addrPorts()
	emit(e)
	return true
}
