package flow

import (
	"net/netip"

	"github.com/google/gopacket/layers"
	"golang.org/x/net/dns/dnsmessage"
)

// app is what one direction of a connection was found to carry.
type app uint8

// What is read at its head, and in SMB's way.
const (
	appUnknown app = iota
	appDone        // nothing that is read, or read to the end
	appTLS
	appSMB // and those below: messages with a length in front, see pdu.go
	appRPC
	appLDAP
	appKerberos
	appDNS
)

// What is read as a dialogue (see dialogue.hear): one constant, one case in
// sniff, one in hear.
const (
	appDialogue app = iota + 64
	appHTTP
	appSSH
	appFTP // and those below: see login_text.go
	appSMTP
	appPOP3
	appIMAP
	appIRC
	appGreeting // FTP or SMTP
	appTelnet
	appRDP // and those below: see talk.go
	appVNC
	appMySQL
	appMSSQL
	appPostgreSQL
)

// maxTries is how many payload segments of a direction may pass until its head
// must be complete; maxTriesTLS is the same for a TLS server, whose head is
// its certificates too.
const (
	maxTries    = 8
	maxTriesTLS = 32
)

func headLimits(c *conn, dir int) (tries uint8, bytes int) {
	if dir == 1 && c.app[1] == appTLS {
		return maxTriesTLS, streamBytesTLS
	}
	return maxTries, streamBytes
}

// deepDecoders are reused: what they read is copied into an event before the
// next message.
type deepDecoders struct {
	dhcp   layers.DHCPv4
	ndp    layers.ICMPv6Options
	dns    dnsmessage.Parser
	masked []byte // a body without its passwords
	names  texts  // of DNS
	addrs  texts  // of its records
	heads  texts  // of HTTP
	tls    []byte // handshake bytes of a hello that spans records

	hello fingerprint // of the hello at hand
	certs certReader
	quic  quicReader
}

type parser uint8

const (
	parseNDP parser = iota
	parseDHCP
	parseDHCP6
	parseDNS
	parseTLS
	parseHTTP
	parseSMB
	parseRPC
	parseLDAP
	parseKerberos
	parseCert
	parseQUIC
	parseRDP
	parseVNC
	parseMySQL
	parseMSSQL
	parsePostgreSQL
	parseText
	parseSSDP
	parseSSH
)

var errPanic = [...]*Error{
	parseNDP:        {"ndp", "the decoder panicked"},
	parseDHCP:       {"dhcp", "the decoder panicked"},
	parseDHCP6:      {"dhcp6", "the decoder panicked"},
	parseDNS:        {"dns", "the decoder panicked"},
	parseTLS:        {"tls", "the decoder panicked"},
	parseHTTP:       {"http", "the decoder panicked"},
	parseSMB:        {"smb", "the decoder panicked"},
	parseRPC:        {"dcerpc", "the decoder panicked"},
	parseLDAP:       {"ldap", "the decoder panicked"},
	parseKerberos:   {"kerberos", "the decoder panicked"},
	parseCert:       {"tls", "the decoder panicked"},
	parseQUIC:       {"quic", "the decoder panicked"},
	parseRDP:        {"rdp", "the decoder panicked"},
	parseVNC:        {"vnc", "the decoder panicked"},
	parseMySQL:      {"mysql", "the decoder panicked"},
	parseMSSQL:      {"mssql", "the decoder panicked"},
	parsePostgreSQL: {"postgresql", "the decoder panicked"},
	parseText:       {"text", "the decoder panicked"},
	parseSSDP:       {"ssdp", "the decoder panicked"},
	parseSSH:        {"ssh", "the decoder panicked"},
}

// errMore says that a head is not complete yet. It is never emitted.
var errMore = &Error{"stream", "more is needed"}

// parse runs one deep parser and says whether its event is complete. What
// could not be decoded is emitted as Malformed.
func (t *Tracker) parse(p parser, data []byte, emit func(Event)) bool {
	err := t.guarded(p, data)
	if err != nil {
		t.malformed(err, emit)
	}
	return err == nil
}

// guard is the one place where a panic of a decoder ends. It covers parsers
// only and never a consumer: those run after it has returned.
func (t *Tracker) guard(p parser, read func() *Error) (err *Error) {
	defer func() {
		if recover() != nil {
			t.stats.Panics++
			err = errPanic[p]
		}
	}()
	t.stats.DeepParsed++
	return read()
}

// guarded runs the parsers that read into the Tracker's own event.
func (t *Tracker) guarded(p parser, data []byte) *Error {
	return t.guard(p, func() *Error {
		switch p {
		case parseNDP:
			return t.deep.readNDP(data, &t.ev.ndp)
		case parseDHCP:
			return t.deep.readDHCP(data, &t.ev.dhcp)
		case parseDHCP6:
			return readDHCP6(data, &t.ev.dhcp6)
		case parseDNS:
			return t.deep.readDNS(data, &t.ev.dns)
		}
		return t.deep.readTLS(data, &t.ev.tls)
	})
}

// udpPayload reads the datagrams of protocols that are known by their port. c
// is the pair that the datagram belongs to; c.tries[dir] is free for readers
// that want only the first ones.
func (t *Tracker) udpPayload(c *conn, dir int, emit func(Event)) {
	h := &t.hdr
	src, dst := h.SrcPort, h.DstPort
	if dst == 67 || dst == 68 { // a client believes a server on whatever source port
		t.ev.dhcp = DHCP{
			Meta: t.here(), Src: h.Src.Netip(), Dst: h.Dst.Netip(),
			Routers: t.ev.dhcp.Routers[:0], DNS: t.ev.dhcp.DNS[:0], Params: t.ev.dhcp.Params[:0],
			ClientID: t.ev.dhcp.ClientID[:0],
		}
		if t.parse(parseDHCP, h.Payload, emit) {
			t.stats.DHCP++
			emit(&t.ev.dhcp)
		}
		return
	}
	if dst == portDHCP6 {
		t.dhcp6(emit)
		return
	}
	proto, ok := nameProto(dst)
	if !ok {
		proto, ok = nameProto(src)
	}
	if ok {
		t.message(proto, false, h.Payload, emit)
		return
	}
	if dir == 0 && c.app[0] == appUnknown && len(h.Payload) >= quicInitial && t.quic(c, emit) {
		return
	}
	if src == portSSDP || dst == portSSDP {
		t.ssdp(emit)
		return
	}
	switch _, _, _, server := c.ends(); server {
	// One case for each protocol that is read by its server's port.
	case 88:
		t.pduDatagram(c, dir, appKerberos, emit)
	case 389:
		t.pduDatagram(c, dir, appLDAP, emit)
	}
}

// message reads and emits one DNS-format message.
func (t *Tracker) message(proto NameProto, tcp bool, msg []byte, emit func(Event)) {
	h := &t.hdr
	t.ev.dns = DNS{
		Meta: t.here(), Proto: proto, TCP: tcp, Answers: t.ev.dns.Answers[:0],
		Src: netip.AddrPortFrom(h.Src.Netip(), h.SrcPort), Dst: netip.AddrPortFrom(h.Dst.Netip(), h.DstPort),
	}
	if t.parse(parseDNS, msg, emit) {
		t.stats.DNS++
		emit(&t.ev.dns)
	}
}

// tcpPayload reads the first bytes of each direction of a connection.
func (t *Tracker) tcpPayload(c *conn, dir int, emit func(Event)) {
	switch a := c.app[dir]; {
	case a == appDone:
		return
	case a >= appSMB && a <= appKerberos:
		t.pduSegment(c, dir, emit)
		return
	case a >= appDialogue && c.dialogue != 0:
		t.listen(c, dir, emit)
		return
	}
	h := &t.hdr
	if h.Truncated {
		t.giveUp(c, dir, true)
		return
	}
	first := c.isn[dir] + 1 + c.shift[dir]
	if c.stream[dir] == 0 && int32(h.Seq+uint32(len(h.Payload))-first) <= 0 {
		return // sent again
	}
	tries, size := headLimits(c, dir)
	if c.tries[dir]++; c.tries[dir] > tries {
		t.giveUp(c, dir, c.app[dir] != appUnknown || c.stream[dir] != 0)
		return
	}
	data := h.Payload
	if c.stream[dir] != 0 || h.Seq != first {
		if c.stream[dir] == 0 {
			t.takeStream(c, dir, first)
		}
		s := &t.streams.slot[c.stream[dir]]
		s.limit = size
		s.add(h.Seq, data)
		if data = s.head(); len(data) == 0 {
			return
		}
	}
	if t.head(c, dir, data, emit) {
		if c.app[dir] < appDialogue && c.app[dir] != appDNS { // those may hold another one by now
			t.streams.give(c, dir)
		}
		return
	}
	if c.stream[dir] == 0 { // the first segment, and not enough
		t.takeStream(c, dir, h.Seq).add(h.Seq, data)
	}
	if len(t.streams.slot[c.stream[dir]].head()) == size {
		t.giveUp(c, dir, true)
	}
}

// giveUp stops reading a direction; counted says that something was missed.
func (t *Tracker) giveUp(c *conn, dir int, counted bool) {
	if counted {
		t.stats.DeepSkipped++
	}
	c.app[dir] = appDone
	t.streams.give(c, dir)
}

// head reads what a direction begins with and says whether it is done with it;
// else more bytes are needed.
func (t *Tracker) head(c *conn, dir int, data []byte, emit func(Event)) bool {
	if c.app[dir] == appUnknown {
		if c.app[dir] = sniff(c, dir, data); c.app[dir] > appDone {
			c.known = true
		} else if c.app[dir] == appDone && !c.known && !c.midStream {
			t.opaque(c, dir, data, emit)
		}
	}
	switch c.app[dir] {
	case appUnknown:
		return false
	case appTLS:
		return t.tlsHead(c, dir, data, emit)
	case appDNS:
		return t.dnsStream(c, dir, data, emit)
	case appSMB, appRPC, appLDAP, appKerberos:
		t.pduBegin(c, dir, data, emit)
	case appDone:
	default:
		t.converse(c, dir, data, emit)
	}
	return true
}

// sniff recognises a protocol by its first bytes, on whatever port it runs;
// only DNS and SMB, whose first bytes are a length, are believed by their port. It is
// appUnknown as long as there are too few bytes to tell.
func sniff(c *conn, dir int, b []byte) app {
	_, _, _, port := c.ends()
	switch {
	case port == 53 && b[0] < ' ' && b[0] != 0x16:
		return sniffDNS(b)
	case b[0] == 0x16:
		if len(b) < 3 {
			return appUnknown
		}
		if b[1] == 3 && b[2] <= 4 {
			return appTLS
		}
	case port == 445, port == 139:
		return appSMB
	case b[0] == 5 && (dir == 0 || c.midStream):
		return sniffRPC(b)
	case b[0] == 0x30 && (dir == 0 || c.midStream):
		return sniffLDAP(b)
	case port == 88 && b[0] == 0:
		return appKerberos
	}
	found := textByPort(port, sniffText(c, b, dir), b)
	if found == appDone {
		found = sniffTalk(b, dir, port)
	}
	if found != appDone || !c.midStream {
		return found
	}
	return appInTheMiddle(port)
}

// appInTheMiddle is what a connection whose beginning was not captured is taken
// for, by its port: the next message of such a protocol can be recognised.
func appInTheMiddle(port uint16) app {
	switch port {
	case 80, 8000, 8080, 3128:
		return appHTTP
	}
	return appDone
}

// openings are texts with which a direction begins. from says who sends it: 0
// the client, 1 the server, 2 either, 3 the server before the client has spoken:
// what the answer to something unknown would look like too.
var openings = [...]struct {
	text string
	from int
	app  app
}{
	{"SSH-", 2, appSSH},
	{"RFB 00", 1, appVNC},
	{"HTTP/1.", 1, appHTTP},
	{"220 ", 3, appGreeting},
	{"220-", 3, appGreeting},
	{"+OK", 3, appPOP3},
	{"* OK", 3, appIMAP},
	{"* PREAUTH", 3, appIMAP},
	{"EHLO ", 0, appSMTP},
	{"HELO ", 0, appSMTP},
	{"NICK ", 0, appIRC},
	{"USER ", 0, appIRC},
	{"PASS ", 0, appIRC},
	{"CAP LS", 0, appIRC},
	{"NOTICE AUTH", 3, appIRC},
	{"NOTICE *", 3, appIRC},
	{":", 3, appIRC},
	{"\xff\xfa", 2, appTelnet}, // RFC 854: IAC SB, WILL, WON'T, DO, DON'T
	{"\xff\xfb", 2, appTelnet},
	{"\xff\xfc", 2, appTelnet},
	{"\xff\xfd", 2, appTelnet},
	{"\xff\xfe", 2, appTelnet},
}

// sniffDNS looks for a header behind the length (RFC 1035 sections 4.1.1 and
// 4.2.2): a known kind of query, one question at most. Port 53 is open in many
// an office, and not only names pass there.
func sniffDNS(b []byte) app {
	if len(b) < 8 {
		return appUnknown
	}
	n, opcode, questions := int(b[0])<<8|int(b[1]), b[4]>>3&15, int(b[6])<<8|int(b[7])
	if n < 12 || opcode > 6 || questions > 1 {
		return appDone
	}
	return appDNS
}

// textByPort decides between text protocols that begin alike, and takes text
// on the port of one for that one: FTP's and SMTP's servers may begin with any
// reply, Telnet's with any text.
func textByPort(port uint16, found app, b []byte) app {
	var p app
	switch port {
	case 21:
		p = appFTP
	case 25, 26, 587, 2525:
		p = appSMTP
	case 110:
		p = appPOP3
	case 143:
		p = appIMAP
	case 23, 2323:
		p = appTelnet
	case 194, 6660, 6661, 6662, 6663, 6664, 6665, 6666, 6667, 6668, 6669, 7000:
		p = appIRC
	default:
		return found
	}
	switch {
	case found == appGreeting, found == appIRC && (p == appFTP || p == appPOP3), found == appDone && plain(b[:min(len(b), 4)]),
		found == appDone && p == appTelnet:
		return p
	}
	return found
}

// sniffText needs a whole opening or HTTP method, and waits while the bytes
// may become one.
func sniffText(c *conn, b []byte, dir int) app {
	found := appDone
	greets := dir == 1 && c.app[0] == appUnknown && c.tries[0] == 0
	if dir == 0 && b[0] >= 'A' && b[0] <= 'Z' {
		if found = sniffHTTP(b); found == appHTTP {
			return found
		}
	}
	for i := range openings {
		o := &openings[i]
		if n := min(len(o.text), len(b)); (o.from == dir || o.from == 2 || o.from == 3 && greets) && string(b[:n]) == o.text[:n] {
			if n == len(o.text) {
				return o.app
			}
			found = appUnknown
		}
	}
	return found
}

const maxOpaque = 256

// opaque shows what a direction begins with when no parser knows the
// connection. That the other direction is found to be something later on is
// not known yet.
func (t *Tracker) opaque(c *conn, dir int, data []byte, emit func(Event)) {
	t.stats.Opaque++
	e := &t.ev.opaque
	*e = Opaque{Meta: t.here(), ConnID: c.id, FromServer: dir == 1, Data: data[:min(len(data), maxOpaque)]}
	e.Client, e.Server = c.addrPorts()
	emit(e)
}

// dnsMessages bounds what is read of a direction of DNS over TCP: a resolver's
// work, not a zone transfer.
const dnsMessages = 255

// dnsStream reads the messages of a direction of DNS over TCP, each with its
// length in front (RFC 1035 section 4.2.2, RFC 7766). Behind each one the head
// of the direction begins anew.
func (t *Tracker) dnsStream(c *conn, dir int, data []byte, emit func(Event)) bool {
	before := c.shift[dir]
	for len(data) >= 2 {
		n := 2 + int(data[0])<<8 + int(data[1])
		if n > streamBytes {
			t.giveUp(c, dir, true)
			return true
		}
		if len(data) < n {
			break
		}
		t.message(NameDNS, true, data[2:n], emit)
		data = data[n:]
		c.shift[dir] += uint32(n)
		c.tries[dir] = 0
		if c.part[dir]++; c.part[dir] == dnsMessages {
			t.giveUp(c, dir, true)
			return true
		}
	}
	if c.shift[dir] == before {
		return false
	}
	t.streams.give(c, dir)
	if base := c.isn[dir] + 1 + c.shift[dir]; len(data) > 0 {
		t.takeStream(c, dir, base).add(base, data)
	}
	return true
}
