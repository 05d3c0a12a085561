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
	extALPN              = 16
	extSupportedVersions = 43
	maxRecord            = 1<<14 + 256
	maxALPN              = 8
)

// tlsHead reads the hello that a direction begins with.
func (t *Tracker) tlsHead(c *conn, dir int, data []byte, emit func(Event)) bool {
	e := &t.ev.tls
	*e = TLSHello{FromServer: dir == 1, ALPN: e.ALPN[:0]}
	err := t.guarded(parseTLS, data)
	if err == errMore {
		return false
	}
	c.app[dir] = appDone
	if err != nil {
		t.malformed(err, emit)
		return true
	}
	t.stats.TLS++
	e.Meta, e.ConnID = t.here(), c.id
	e.Client, e.Server = c.addrPorts()
	emit(e)
	return true
}

// readTLS reads a ClientHello or ServerHello, whichever e.FromServer asks for.
func (d *deepDecoders) readTLS(data []byte, e *TLSHello) *Error {
	msg, err := d.handshake(data)
	if err != nil {
		return err
	}
	s := cryptobyte.String(msg)
	var kind uint8
	var body cryptobyte.String
	if !s.ReadUint8(&kind) || !s.ReadUint24LengthPrefixed(&body) {
		return errTLSHello
	}
	switch {
	case kind == tlsClientHello && !e.FromServer:
		return readClientHello(body, e)
	case kind == tlsServerHello && e.FromServer:
		return readServerHello(body, e)
	}
	return errTLSHello
}

// handshake returns the first handshake message, from one record or put
// together from several.
func (d *deepDecoders) handshake(data []byte) ([]byte, *Error) {
	d.tls = d.tls[:0]
	for first := true; ; first = false {
		if len(data) < 5 {
			return nil, errMore
		}
		n := int(data[3])<<8 | int(data[4])
		if data[0] != tlsRecordHandshake || data[1] != 3 || n == 0 || n > maxRecord {
			return nil, errTLSRecord
		}
		body := data[5:min(5+n, len(data))]
		if first {
			if len(body) >= 4 && helloLen(body) <= len(body) {
				return body[:helloLen(body)], nil
			}
		}
		d.tls = append(d.tls, body...)
		if len(d.tls) >= 4 && helloLen(d.tls) <= len(d.tls) {
			return d.tls[:helloLen(d.tls)], nil
		}
		if len(body) < n {
			return nil, errMore
		}
		data = data[5+n:]
	}
}

func helloLen(b []byte) int { return 4 + int(b[1])<<16 + int(b[2])<<8 + int(b[3]) }

// readClientHello reads RFC 8446 section 4.1.2.
func readClientHello(s cryptobyte.String, e *TLSHello) *Error {
	var session, suites, compression, exts cryptobyte.String
	if !s.ReadUint16(&e.Version) || !s.Skip(32) || !s.ReadUint8LengthPrefixed(&session) ||
		!s.ReadUint16LengthPrefixed(&suites) || !s.ReadUint8LengthPrefixed(&compression) {
		return errTLSHello
	}
	if s.Empty() { // before extensions, RFC 5246 section 7.4.1.2
		return nil
	}
	if !s.ReadUint16LengthPrefixed(&exts) {
		return errTLSHello
	}
	for !exts.Empty() {
		var kind uint16
		var data cryptobyte.String
		if !exts.ReadUint16(&kind) || !exts.ReadUint16LengthPrefixed(&data) || !e.clientExtension(kind, data) {
			return errTLSHello
		}
	}
	return nil
}

func (e *TLSHello) clientExtension(kind uint16, data cryptobyte.String) bool {
	switch kind {
	case extServerName:
		return e.serverName(data)
	case extALPN:
		return e.alpn(data)
	case extSupportedVersions:
		var list cryptobyte.String
		if !data.ReadUint8LengthPrefixed(&list) {
			return false
		}
		for !list.Empty() {
			var v uint16
			if !list.ReadUint16(&v) {
				return false
			}
			if v&0x0f0f != 0x0a0a { // GREASE, RFC 8701
				e.Version = max(e.Version, v)
			}
		}
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
func (e *TLSHello) alpn(data cryptobyte.String) bool {
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) {
		return false
	}
	for !list.Empty() {
		var name cryptobyte.String
		if !list.ReadUint8LengthPrefixed(&name) {
			return false
		}
		if len(e.ALPN) < maxALPN {
			e.ALPN = append(e.ALPN, printable(name))
		}
	}
	return true
}

// readServerHello reads RFC 8446 section 4.1.3.
func readServerHello(s cryptobyte.String, e *TLSHello) *Error {
	var session, exts cryptobyte.String
	if !s.ReadUint16(&e.Version) || !s.Skip(32) || !s.ReadUint8LengthPrefixed(&session) || !s.Skip(3) {
		return errTLSHello
	}
	if s.Empty() {
		return nil
	}
	if !s.ReadUint16LengthPrefixed(&exts) {
		return errTLSHello
	}
	for !exts.Empty() {
		var kind uint16
		var data cryptobyte.String
		if !exts.ReadUint16(&kind) || !exts.ReadUint16LengthPrefixed(&data) {
			return errTLSHello
		}
		switch kind {
		case extSupportedVersions:
			if !data.ReadUint16(&e.Version) {
				return errTLSHello
			}
		case extALPN:
			if !e.alpn(data) {
				return errTLSHello
			}
		}
	}
	return nil
}
