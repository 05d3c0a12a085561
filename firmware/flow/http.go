package flow

import "bytes"

var errHTTP = &Error{"http", "request line cannot be read"}

const maxPath = 512

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

// httpHead reads the first request of a connection.
func (t *Tracker) httpHead(c *conn, dir int, data []byte, emit func(Event)) bool {
	e := &t.ev.http
	*e = HTTP{}
	err := t.guarded(parseHTTP, data)
	if err == errMore && c.tries[dir] < maxTries && len(data) < streamBytes {
		return false
	}
	c.app[dir] = appDone
	if err == errMore {
		if t.stats.DeepSkipped++; e.Path == "" {
			return true
		}
	} else if err != nil {
		t.malformed(err, emit)
		return true
	}
	t.stats.HTTP++
	e.Meta, e.ConnID = t.here(), c.id
	e.Client, e.Server = c.addrPorts()
	emit(e)
	return true
}

// readHTTP reads a request line and the header fields that are wanted
// (RFC 9112 sections 3 and 5). While the head is not complete it returns
// errMore and leaves in e what was there.
func readHTTP(b []byte, e *HTTP) *Error {
	line, rest, whole := bytes.Cut(b, []byte{'\n'})
	if !whole {
		return errMore
	}
	method, target, ok := bytes.Cut(bytes.TrimRight(line, "\r"), []byte{' '})
	target, version, ok2 := bytes.Cut(target, []byte{' '})
	if !ok || !ok2 || len(target) == 0 || !bytes.HasPrefix(version, []byte("HTTP/1.")) {
		return errHTTP
	}
	e.Method = printable(method)
	e.Path = printableN(target, maxPath)
	for {
		line, rest, whole = bytes.Cut(rest, []byte{'\n'})
		if !whole {
			return errMore
		}
		if line = bytes.TrimRight(line, "\r"); len(line) == 0 {
			return nil
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimSpace(value)
		switch {
		case e.Host == "" && bytes.EqualFold(name, []byte("host")):
			e.Host = printable(value)
		case e.UserAgent == "" && bytes.EqualFold(name, []byte("user-agent")):
			e.UserAgent = printable(value)
		}
	}
}
