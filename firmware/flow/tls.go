package flow

import "golang.org/x/crypto/cryptobyte"

var (
	errTLSRecord = &Error{"tls", "record of a wrong type or length inside a hello"}
	errTLSHello  = &Error{"tls", "hello cannot be read"}
)

// TLS constants (RFC 8446 appendix B).
const (
	tlsRecordHandshake   = 22
	tlsClientHello       = 1
	tlsServerHello       = 2
	extServerName        = 0
	extGroups            = 10
	extPointFormats      = 11
	extSignatures        = 13
	extALPN              = 16
	extSupportedVersions = 43
	maxRecord            = 1<<14 + 256
	maxALPN              = 8
)

// tlsHead reads the hello that a direction begins with, and the certificate of
// a server that sends it in the clear, as those before TLS 1.3 do.
func (t *Tracker) tlsHead(c *conn, dir int, data []byte, emit func(Event)) bool {
	if c.part[dir] > 0 {
		return t.tlsCert(c, data, emit)
	}
	e := &t.ev.tls
	*e = TLSHello{FromServer: dir == 1, ALPN: e.ALPN[:0]}
	err := t.guarded(parseTLS, data)
	if err == errMore {
		return false
	}
	if err != nil {
		c.app[dir] = appDone
		t.malformed(err, emit)
		return true
	}
	t.stats.TLS++
	e.Meta, e.ConnID = t.here(), c.id
	e.Client, e.Server = c.addrPorts()
	c.part[dir] = 1
	more := dir == 1 && e.Version < 0x0304
	emit(e)
	if more {
		return t.tlsCert(c, data, emit)
	}
	c.app[dir] = appDone
	return true
}

// readTLS reads a ClientHello or ServerHello, whichever e.FromServer asks for.
func (d *deepDecoders) readTLS(data []byte, e *TLSHello) *Error {
	msg, err := d.handshake(data, 0)
	if err != nil {
		return err
	}
	return d.readHello(msg, e)
}

// readHello reads one whole handshake message.
func (d *deepDecoders) readHello(msg []byte, e *TLSHello) *Error {
	s := cryptobyte.String(msg)
	var kind uint8
	var body cryptobyte.String
	if !s.ReadUint8(&kind) || !s.ReadUint24LengthPrefixed(&body) {
		return errTLSHello
	}
	f := &d.hello
	f.reset()
	switch {
	case kind == tlsClientHello && !e.FromServer:
		if !readClientHello(body, e, f) {
			return errTLSHello
		}
		e.JA3, e.JA4 = f.ja3(), f.ja4(e.QUIC)
		return nil
	case kind == tlsServerHello && e.FromServer:
		if !readServerHello(body, e, f) {
			return errTLSHello
		}
		e.JA3 = f.ja3s()
		return nil
	}
	return errTLSHello
}

// handshake returns the handshake message with number n, from one record or
// put together from several, its header included.
func (d *deepDecoders) handshake(data []byte, n int) ([]byte, *Error) {
	d.tls = d.tls[:0]
	for first := true; ; first = false {
		if len(data) < 5 {
			return nil, errMore
		}
		size := int(data[3])<<8 | int(data[4])
		if data[0] != tlsRecordHandshake || data[1] != 3 || size == 0 || size > maxRecord {
			return nil, errTLSRecord
		}
		body := data[5:min(5+size, len(data))]
		if first {
			if msg := message(body, n); msg != nil {
				return msg, nil
			}
		}
		d.tls = append(d.tls, body...)
		if msg := message(d.tls, n); msg != nil {
			return msg, nil
		}
		if len(body) < size {
			return nil, errMore
		}
		data = data[5+size:]
	}
}

// message returns the whole handshake message with number n, nil when it has
// not arrived.
func message(b []byte, n int) []byte {
	for len(b) >= 4 {
		size := helloLen(b)
		switch {
		case size > len(b):
			return nil
		case n == 0:
			return b[:size]
		}
		b, n = b[size:], n-1
	}
	return nil
}

func helloLen(b []byte) int { return 4 + int(b[1])<<16 + int(b[2])<<8 + int(b[3]) }

// readClientHello reads RFC 8446 section 4.1.2.
func readClientHello(s cryptobyte.String, e *TLSHello, f *fingerprint) bool {
	var session, suites, compression, exts cryptobyte.String
	if !s.ReadUint16(&e.Version) || !s.Skip(32) || !s.ReadUint8LengthPrefixed(&session) ||
		!s.ReadUint16LengthPrefixed(&suites) || !s.ReadUint8LengthPrefixed(&compression) {
		return false
	}
	f.legacy = e.Version
	f.suites = numbers(f.suites, suites)
	if s.Empty() { // before extensions, RFC 5246 section 7.4.1.2
		return true
	}
	if !s.ReadUint16LengthPrefixed(&exts) {
		return false
	}
	for !exts.Empty() {
		var kind uint16
		var data cryptobyte.String
		if !exts.ReadUint16(&kind) || !exts.ReadUint16LengthPrefixed(&data) || !e.clientExtension(kind, data, f) {
			return false
		}
	}
	return true
}

func (e *TLSHello) clientExtension(kind uint16, data cryptobyte.String, f *fingerprint) bool {
	if !grease(kind) {
		f.extensions = append(f.extensions, kind)
	}
	var list cryptobyte.String
	switch kind {
	case extServerName:
		f.sni = true
		return e.serverName(data)
	case extALPN:
		return e.alpn(data, f)
	case extGroups:
		if data.ReadUint16LengthPrefixed(&list) {
			f.groups = numbers(f.groups[:0], list)
		}
	case extSignatures:
		if data.ReadUint16LengthPrefixed(&list) {
			f.signatures = numbers(f.signatures[:0], list)
		}
	case extPointFormats:
		if data.ReadUint8LengthPrefixed(&list) {
			f.formats = f.formats[:0]
			for _, v := range list {
				f.formats = append(f.formats, uint16(v))
			}
		}
	case extSupportedVersions:
		if !data.ReadUint8LengthPrefixed(&list) {
			return false
		}
		var v uint16
		for list.ReadUint16(&v) {
			if !grease(v) {
				f.offered = max(f.offered, v)
			}
		}
		e.Version = max(e.Version, f.offered)
		return list.Empty()
	}
	return true
}

// serverName reads RFC 6066 section 3.
func (e *TLSHello) serverName(data cryptobyte.String) bool {
	var list cryptobyte.String
	if data.Empty() {
		return true
	}
	if !data.ReadUint16LengthPrefixed(&list) {
		return false
	}
	for !list.Empty() {
		var kind uint8
		var name cryptobyte.String
		if !list.ReadUint8(&kind) || !list.ReadUint16LengthPrefixed(&name) {
			return false
		}
		if kind == 0 && e.SNI == "" {
			e.SNI = printable(name)
		}
	}
	return true
}

// alpn reads RFC 7301 section 3.1.
func (e *TLSHello) alpn(data cryptobyte.String, f *fingerprint) bool {
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) {
		return false
	}
	for !list.Empty() {
		var name cryptobyte.String
		if !list.ReadUint8LengthPrefixed(&name) {
			return false
		}
		if f.alpn == nil {
			f.alpn = name
		}
		if len(e.ALPN) < maxALPN {
			e.ALPN = append(e.ALPN, printable(name))
		}
	}
	return true
}

// readServerHello reads RFC 8446 section 4.1.3.
func readServerHello(s cryptobyte.String, e *TLSHello, f *fingerprint) bool {
	var session, exts cryptobyte.String
	var suite uint16
	if !s.ReadUint16(&e.Version) || !s.Skip(32) || !s.ReadUint8LengthPrefixed(&session) ||
		!s.ReadUint16(&suite) || !s.Skip(1) {
		return false
	}
	f.legacy = e.Version
	f.suites = append(f.suites, suite)
	if s.Empty() {
		return true
	}
	if !s.ReadUint16LengthPrefixed(&exts) {
		return false
	}
	for !exts.Empty() {
		var kind uint16
		var data cryptobyte.String
		if !exts.ReadUint16(&kind) || !exts.ReadUint16LengthPrefixed(&data) {
			return false
		}
		f.extensions = append(f.extensions, kind)
		switch kind {
		case extSupportedVersions:
			if !data.ReadUint16(&e.Version) {
				return false
			}
		case extALPN:
			if !e.alpn(data, f) {
				return false
			}
		}
	}
	return true
}
