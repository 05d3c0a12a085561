package flow

import (
	"bytes"
	"cmp"
	"strconv"
)

var (
	errHTTP   = &Error{"http", "request line cannot be read"}
	errNoHTTP = &Error{"http", "a protocol that looks alike"} // never emitted
)

const (
	maxPath   = 512
	maxBody   = 512
	maxCookie = 256

	// maxRequests bounds what one connection may cost: as many as Apache
	// takes on one, and a half (MaxKeepAliveRequests, 100 by default).
	maxRequests = 256
)

// methods are those that are met in plain text (IANA registry, and what UPnP
// and WebDAV add).
var methods = [...]string{
	"GET ", "POST ", "HEAD ", "PUT ", "OPTIONS ", "DELETE ", "CONNECT ", "PATCH ", "TRACE ",
	"PROPFIND ", "SUBSCRIBE ", "NOTIFY ", "M-SEARCH ",
}

// sniffHTTP needs a whole method, and waits while the bytes may become one.
func sniffHTTP(b []byte) app {
	for _, m := range methods {
		n := min(len(m), len(b))
		if string(b[:n]) == m[:n] {
			if n == len(m) {
				return appHTTP
			}
			return appUnknown
		}
	}
	return appDone
}

// httpState is what is known between the messages of a connection.
type httpState struct {
	requests int // seen
	replies  int // seen, interim ones too
	answered int // of them
	unsure   [2]bool
	form     bool // the next segment is the beginning of a form
	body     int64

	// Of the last request. A client that pipelines authorised requests gets
	// the result of the last one only.
	method  string
	connect bool
	login   Login // Service is empty when it carried none
}

// httpMessage is what the framing of one message needs.
type httpMessage struct {
	size    int // of the head
	chunked bool
	auth    []byte // value of Authorization or Proxy-Authorization
	kept    *texts // nil: every text is made anew
}

// http reads the heads of a connection and passes over the bodies. A body
// whose length is not known, or a gap, ends at the next segment that begins
// like a message.
func (t *Tracker) http(c *conn, d *dialogue, dir int, data []byte, emit func(Event)) {
	d.left[dir]++ // bounded by maxRequests; bodies cost nothing
	s, _ := d.state.(*httpState)
	if s == nil {
		s = &httpState{unsure: [2]bool{c.midStream, c.midStream}}
		d.state = s
	}
	if d.lost[dir] {
		t.streams.give(c, dir)
		s.unsure[dir], s.form = true, false
	}
	if s.form && dir == 0 {
		s.form = false
		t.httpForm(c, s, data, emit)
		if d.skip[0] = s.body - int64(len(data)); d.skip[0] >= 0 {
			return
		}
		data, d.skip[0] = data[s.body:], 0
	}
	if i := c.stream[dir]; i != 0 {
		b := &t.streams.slot[i]
		b.add(b.base+uint32(len(b.head())), data)
		data = b.head()
	}
	for len(data) > 0 {
		n := t.httpNext(c, d, s, dir, data, emit)
		if c.dialogue == 0 { // over
			return
		}
		if n == 0 {
			t.httpKeep(c, dir, data)
			return
		}
		t.streams.give(c, dir)
		if n >= int64(len(data)) {
			if s.form && dir == 0 {
				s.body = n - int64(len(data))
			} else {
				d.skip[dir] = n - int64(len(data))
			}
			return
		}
		data = data[n:]
	}
}

// httpKeep stores the beginning of a head until the rest of it comes.
func (t *Tracker) httpKeep(c *conn, dir int, data []byte) {
	if c.stream[dir] != 0 {
		return
	}
	c.tries[dir] = 1
	t.takeStream(c, dir, 0).add(0, data)
}

// httpNext reads the message that data begins with and says how many bytes it
// has, the body included; 0 when more of it is needed.
func (t *Tracker) httpNext(c *conn, d *dialogue, s *httpState, dir int, data []byte, emit func(Event)) int64 {
	whole := int64(len(data))
	if s.unsure[dir] && !httpBegins(dir, data) {
		return whole
	}
	m := httpMessage{kept: &t.deep.heads}
	err := t.guard(parseHTTP, func() *Error {
		if dir == 0 {
			return readHTTP(data, &t.ev.http, &m)
		}
		return readHTTPReply(data, &t.ev.reply, &m)
	})
	if err == errMore {
		if c.tries[dir]++; c.stream[dir] == 0 || c.tries[dir] <= maxTries && len(data) < streamBytes {
			return 0
		}
		t.stats.DeepSkipped++
		if m.size, s.unsure[dir] = len(data), true; dir == 0 && t.ev.http.Path == "" {
			return whole
		}
	} else if err != nil {
		return t.httpWrong(c, s, dir, err, whole, emit)
	} else {
		s.unsure[dir] = false
	}
	if dir == 0 {
		return t.httpRequest(c, s, data, &m, emit)
	}
	return t.httpReply(c, s, data, &m, emit)
}

// httpBegins recognises the first bytes of a request or a reply.
func httpBegins(dir int, b []byte) bool {
	if dir == 1 {
		return len(b) >= 7 && string(b[:7]) == "HTTP/1."
	}
	return b[0] >= 'A' && b[0] <= 'Z' && sniffHTTP(b) == appHTTP
}

// httpWrong handles what is no message. Behind a first message that was one,
// it only says that the framing was lost.
func (t *Tracker) httpWrong(c *conn, s *httpState, dir int, err *Error, whole int64, emit func(Event)) int64 {
	if s.requests > 0 || dir == 1 && err != errPanic[parseHTTP] {
		s.unsure[dir] = true
		return whole
	}
	if err != errNoHTTP {
		t.malformed(err, emit)
	}
	t.hangUp(c)
	return whole
}

func (t *Tracker) httpRequest(c *conn, s *httpState, data []byte, m *httpMessage, emit func(Event)) int64 {
	if s.requests++; s.requests > maxRequests {
		t.stats.DeepSkipped++
		t.hangUp(c)
		return int64(len(data))
	}
	e := &t.ev.http
	size := int64(m.size) + max(e.Length, 0)
	body := data[m.size:min(int64(len(data)), size)]
	if m.chunked || s.unsure[0] {
		body, size, s.unsure[0] = chunk(data[m.size:], m), int64(len(data)), true
	}
	t.stats.HTTP++
	e.Meta, e.ConnID, e.Number = t.here(), c.id, s.requests
	e.Client, e.Server = c.addrPorts()
	s.method, s.connect, s.login = e.Method, e.Method == "CONNECT", Login{}
	var secret bool
	_ = t.guard(parseHTTP, func() *Error { // a panic is counted there
		secret = t.deep.maskRequest(e, body[:min(len(body), maxBody)])
		s.authorization(m.auth)
		return nil
	})
	form := httpFormType(e.ContentType)
	s.form = len(body) == 0 && e.Length > 0 && form
	emit(e)
	switch {
	case s.login.Service != "":
		t.login(c, 0, &s.login, emit)
	case secret && (form || e.ContentType == ""):
		t.login(c, 0, &Login{Service: "http", Mechanism: "form", Cleartext: true}, emit)
	}
	return size
}

// httpForm looks into a body that came apart from its head, as browsers send it.
func (t *Tracker) httpForm(c *conn, s *httpState, data []byte, emit func(Event)) {
	if _, secret := t.deep.mask(data[:min(len(data), maxBody)]); secret && s.login.Service == "" {
		t.login(c, 0, &Login{Service: "http", Mechanism: "form", Cleartext: true}, emit)
	}
}

func (t *Tracker) httpReply(c *conn, s *httpState, data []byte, m *httpMessage, emit func(Event)) int64 {
	if s.replies++; s.replies > 2*maxRequests { // a reply may have an interim one before it
		t.stats.DeepSkipped++
		t.hangUp(c)
		return int64(len(data))
	}
	e := &t.ev.reply
	if s.unsure[0] || s.answered >= s.requests {
		s.answered = max(s.requests-1, 0)
	}
	last := s.answered+1 >= s.requests
	size := int64(m.size) + max(e.Length, 0)
	switch {
	case e.Status < 200 || e.Status == 204 || e.Status == 304 || last && s.method == "HEAD":
		size = int64(m.size)
	case m.chunked || e.Length < 0 || s.unsure[1]:
		size, s.unsure[1] = int64(len(data)), true
	}
	body := chunk(data[m.size:min(int64(len(data)), size)], m)
	e.Body = body[:min(len(body), maxBody)]
	e.Meta, e.ConnID, e.Number = t.here(), c.id, s.answered+1
	e.Client, e.Server = c.addrPorts()
	emit(e)
	if last && s.login.Service != "" {
		if s.login.Result = httpLogin(e.Status); s.login.Result != LoginTried {
			t.login(c, 1, &s.login, emit)
			s.login = Login{}
		}
	}
	switch {
	case e.Status == 101:
		t.hangUp(c)
	case e.Status/100 == 2 && last && s.connect:
		t.upgrade(c) // what follows is the tunnelled protocol
	case e.Status >= 200:
		s.answered++
	}
	return size
}

// chunk drops the line in front of the first chunk (RFC 9112 section 7.1).
func chunk(body []byte, m *httpMessage) []byte {
	if _, rest, ok := bytes.Cut(body[:min(len(body), 20)], []byte{'\n'}); m.chunked && ok {
		return body[len(body[:min(len(body), 20)])-len(rest):]
	}
	return body
}

// httpLogin is what a status says about credentials (RFC 9110 section 11): a
// server that was not satisfied asks again, and one in trouble says nothing.
func httpLogin(status int) LoginResult {
	switch {
	case status == 401 || status == 407:
		return LoginFailed
	case status >= 200 && status < 500 && status != 408 && status != 429:
		return LoginOK
	}
	return LoginTried
}

// readHTTP reads a request line and the header fields that are wanted
// (RFC 9112 sections 3 and 5). While the head is not complete it returns
// errMore and leaves in e what was there.
func readHTTP(b []byte, e *HTTP, m *httpMessage) *Error {
	*e = HTTP{Length: -1}
	line, rest, whole := bytes.Cut(b, []byte{'\n'})
	if !whole {
		return errMore
	}
	method, target, _ := bytes.Cut(bytes.TrimRight(line, "\r "), []byte{' '})
	at := bytes.LastIndexByte(target, ' ') // targets with a blank are met (RFC 9112 section 3)
	if at < 0 {
		return errHTTP
	}
	target, version := bytes.TrimSpace(target[:at]), target[at+1:]
	switch {
	case bytes.HasPrefix(version, []byte("RTSP/")), bytes.HasPrefix(version, []byte("SIP/")):
		return errNoHTTP
	case len(target) == 0 || !bytes.HasPrefix(version, []byte("HTTP/1.")):
		return errHTTP
	}
	m.first(&e.Method, method, 255)
	m.first(&e.Path, withoutUser(target), maxPath)
	e.CleartextProxy = e.Method == "CONNECT" || bytes.Contains(target[:min(len(target), 8)], []byte("://"))
	return httpFields(b, rest, m, &e.Length, &e.ContentType, func(name string, value []byte) {
		switch name {
		case "host":
			m.first(&e.Host, value, 255)
		case "user-agent":
			m.first(&e.UserAgent, value, 255)
		case "soapaction":
			m.first(&e.SOAPAction, value, 255)
		case "": // no browser sends it; log4j resolves it in whatever is logged
			m.first(&e.Lookup, value, 256)
		case "cookie":
			m.first(&e.Cookie, value, maxCookie)
		case "authorization", "proxy-authorization":
			e.Auth = cmp.Or(e.Auth, authScheme(value))
			m.auth = value
		}
	})
}

// withoutUser takes a name and password out of an absolute target (RFC 3986
// section 3.2.1).
func withoutUser(target []byte) []byte {
	scheme, rest, ok := bytes.Cut(target, []byte("://"))
	host, _, _ := bytes.Cut(rest, []byte{'/'})
	at := bytes.LastIndexByte(host, '@')
	if !ok || len(scheme) > 8 || at < 0 {
		return target
	}
	return append(append([]byte{}, target[:len(scheme)+3]...), rest[at+1:]...)
}

// readHTTPReply reads a status line (RFC 9112 section 4) and header fields.
func readHTTPReply(b []byte, e *HTTPReply, m *httpMessage) *Error {
	*e = HTTPReply{Length: -1}
	line, rest, whole := bytes.Cut(b, []byte{'\n'})
	if !whole {
		return errMore
	}
	version, status, _ := bytes.Cut(bytes.TrimRight(line, "\r"), []byte{' '})
	code, err := strconv.Atoi(string(status[:min(len(status), 3)]))
	if !bytes.HasPrefix(version, []byte("HTTP/")) || err != nil || code < 100 || code > 999 {
		return errHTTP
	}
	e.Status = code
	return httpFields(b, rest, m, &e.Length, &e.ContentType, func(name string, value []byte) {
		switch name {
		case "server":
			m.first(&e.Product, value, 255)
		case "www-authenticate", "proxy-authenticate":
			m.first(&e.Authenticate, bytes.ToLower(scheme(value)), 32)
		}
	})
}

// httpFields walks the header fields; b is the whole head, rest what follows
// its first line.
func httpFields(b, rest []byte, m *httpMessage, length *int64, kind *string, field func(string, []byte)) *Error {
	var lower [24]byte
	for {
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		if !whole {
			return errMore
		}
		rest = after
		if line = bytes.TrimRight(line, "\r"); len(line) == 0 {
			m.size = len(b) - len(rest)
			return nil
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		name = name[:min(len(name), len(lower))] // none that is wanted is longer
		value = bytes.TrimSpace(value)
		n := lowerASCII(lower[:], name)
		switch string(n) {
		case "content-length":
			if v, err := strconv.ParseInt(string(value[:min(len(value), 20)]), 10, 64); err == nil && v >= 0 && *length < 0 {
				*length = min(v, 1<<40)
			}
		case "transfer-encoding":
			m.chunked = true
		case "content-type":
			m.first(kind, value, 255)
		default:
			if name := wanted(n); name != "" {
				field(name, value)
			} else if bytes.Contains(value, []byte("${")) {
				field("", value)
			}
		}
	}
}

// wanted returns the name as a constant, so that fields that nobody reads do
// not cost a string each.
func wanted(name []byte) string {
	switch string(name) {
	case "host":
		return "host"
	case "user-agent":
		return "user-agent"
	case "soapaction":
		return "soapaction"
	case "cookie":
		return "cookie"
	case "authorization":
		return "authorization"
	case "proxy-authorization":
		return "proxy-authorization"
	case "server":
		return "server"
	case "www-authenticate":
		return "www-authenticate"
	case "proxy-authenticate":
		return "proxy-authenticate"
	}
	return ""
}

func lowerASCII(to, from []byte) []byte {
	for i, c := range from {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		to[i] = c
	}
	return to[:len(from)]
}

// first keeps the first value of a field that is repeated. What a browser says
// of itself comes again with each request.
func (m *httpMessage) first(s *string, value []byte, limit int) {
	if m.kept == nil || len(value) > min(limit, maxKept) {
		first(s, value, limit)
		return
	}
	if *s != "" {
		return
	}
	k := m.kept.slot(value)
	if !k.holds(value) {
		k.keep(value, printableN(value, limit))
	}
	*s = k.text
}

// maxKept bounds the fields that are kept: longer ones are cookies and paths
// with parameters, which seldom come again.
const maxKept = 255

// first is that for what seldom comes again.
func first(s *string, value []byte, limit int) {
	if *s == "" {
		*s = printableN(value, limit)
	}
}

// scheme is the first word of an authorisation.
func scheme(value []byte) []byte {
	word, _, _ := bytes.Cut(value, []byte{' '})
	return bytes.TrimRight(word, ",")
}

// authSchemes are those of the IANA registry and what is met beside them.
var authSchemes = [...]string{
	"basic", "bearer", "digest", "negotiate", "ntlm", "kerberos", "oauth", "token", "apikey", "aws4-hmac-sha256", "hoba",
	"mutual", "dpop", "gnap", "vapid", "privatetoken", "scram-sha-1", "scram-sha-256", "wsse", "hawk",
}

// authScheme is the scheme of an authorisation, "other" when it is not known:
// programs of all sorts put the secret where the scheme should stand.
func authScheme(value []byte) string {
	word := scheme(value)
	if len(word) > 32 {
		return "other"
	}
	var lower [32]byte
	n := lowerASCII(lower[:], word)
	for _, s := range authSchemes {
		if string(n) == s {
			return s
		}
	}
	return "other"
}
