package flow

import (
	"bytes"
	"strings"
)

const maxLine = 512 // RFC 5321 section 4.5.3.1.4 and RFC 2812 section 2.3 alike

// ending is what a line means for the dialogue.
type ending uint8

const (
	goOn ending = iota
	stop        // nothing that comes later is of interest
	toTLS
)

// said is what one line of a text dialogue means.
type said struct {
	banner bool
	logins [2]Login
	n      int
	irc    bool
	end    ending
}

// textState is what is known of a dialogue in lines: FTP, SMTP, POP3, IMAP,
// Telnet, IRC.
type textState struct {
	part    [2]textLine
	iac     [2]uint8 // Telnet
	greeted bool
	user    string // named, and not tried yet
	named   bool   // by the command before
	waiting bool   // for the answer to last
	last    Login
	ahead   int // POP3: commands before the secret that are not answered
	open    int
	tls     bool // asked for
	tag     string
	literal bool // IMAP: the name comes on the next line
	sasl    saslState
	stage   telnetStage
	pings   [2]uint8 // IRC
	lines   [2]uint16
}

// textLine is the beginning of a line whose end is still to come.
type textLine struct {
	buf  [maxLine]byte
	n    int
	lost bool // its beginning is not known: pass over the rest
}

// next cuts one line off data. It is nil while its end is missing; too long a
// line loses its end.
func (p *textLine) next(data []byte) (line, rest []byte, whole bool) {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		p.n += copy(p.buf[p.n:], data)
		return nil, nil, false
	}
	line, rest = data[:i], data[i+1:]
	if p.n > 0 {
		p.n += copy(p.buf[p.n:], line)
		line = p.buf[:p.n]
	}
	lost := p.lost
	p.n, p.lost = 0, false
	if lost {
		return nil, rest, true
	}
	return bytes.TrimRight(line[:min(len(line), maxLine)], "\r"), rest, true
}

func textStateOf(c *conn, d *dialogue) *textState {
	s, _ := d.state.(*textState)
	if s == nil {
		s = &textState{greeted: c.midStream}
		d.state = s
	}
	return s
}

// text reads the lines of a segment.
func (t *Tracker) text(c *conn, d *dialogue, dir int, data []byte, emit func(Event)) {
	s := textStateOf(c, d)
	p := &s.part[dir]
	if d.lost[dir] {
		p.n, p.lost = 0, true
	}
	for len(data) > 0 {
		line, rest, whole := p.next(data)
		if !whole {
			return
		}
		if data = rest; line == nil {
			continue
		}
		t.said = said{}
		kind := c.app[dir]
		err := t.guard(parseText, func() *Error {
			kind = s.step(kind, dir, line, &t.said, &t.ev.irc)
			return nil
		})
		if err != nil {
			t.malformed(err, emit)
			t.hangUp(c)
			return
		}
		c.app = [2]app{kind, kind}
		if t.say(c, dir, line, emit); c.dialogue == 0 {
			return
		}
	}
}

// say emits what a line meant and ends what it ended.
func (t *Tracker) say(c *conn, dir int, line []byte, emit func(Event)) {
	if t.said.banner {
		t.banner(c, dir, services[c.app[dir]], line, emit)
	}
	for i := range t.said.n {
		t.login(c, dir, &t.said.logins[i], emit)
	}
	if t.said.irc {
		t.ircEvent(c, dir, emit)
	}
	switch t.said.end {
	case stop:
		t.hangUp(c)
	case toTLS:
		t.upgrade(c)
	}
}

var services = [...]string{
	appFTP: "ftp", appSMTP: "smtp", appPOP3: "pop3", appIMAP: "imap", appTelnet: "telnet", appIRC: "irc",
}

// step reads one line and says which protocol it turned out to be.
func (s *textState) step(kind app, dir int, line []byte, out *said, irc *IRC) app {
	if kind == appGreeting {
		if kind = greeting(dir, line); kind == appGreeting {
			return kind
		}
	}
	if dir == 1 && !s.greeted && len(line) > 0 {
		s.greeted, out.banner = true, true
		if kind != appIRC {
			return kind
		}
	}
	switch kind {
	case appFTP:
		s.ftp(dir, line, out)
	case appSMTP:
		s.smtp(dir, line, out)
	case appPOP3:
		s.pop3(dir, line, out)
	case appIMAP:
		s.imap(dir, line, out)
	case appIRC:
		s.irc(dir, line, out, irc)
	default:
		out.end = stop
	}
	return kind
}

// greeting tells FTP from SMTP, whose servers greet alike: by what the server
// calls itself (RFC 5321 section 4.2 wants the word), then by the first command.
func greeting(dir int, line []byte) app {
	upper := bytes.ToUpper(line)
	if dir == 1 {
		switch {
		case bytes.Contains(upper, []byte("SMTP")):
			return appSMTP
		case bytes.Contains(upper, []byte("FTP")):
			return appFTP
		}
		return appGreeting
	}
	switch verb, _ := command(line); verb {
	case "EHLO", "HELO", "MAIL":
		return appSMTP
	case "USER", "AUTH", "FEAT", "SYST", "OPTS", "QUIT":
		return appFTP
	}
	return appDone
}

// command splits a line into its first word, in capitals, and the rest.
func command(line []byte) (verb string, arg []byte) {
	word, arg, _ := bytes.Cut(line, []byte{' '})
	if len(word) > 16 {
		return "", arg
	}
	return strings.ToUpper(string(word)), bytes.TrimSpace(arg)
}

// replyCode reads a reply of FTP or SMTP (RFC 959 section 4.2); 0 for all but
// the last line of one.
func replyCode(line []byte) int {
	if len(line) < 3 || len(line) > 3 && line[3] != ' ' {
		return 0
	}
	code := 0
	for _, b := range line[:3] {
		if b < '0' || b > '9' {
			return 0
		}
		code = code*10 + int(b-'0')
	}
	return code
}

// try notes that a secret was sent.
func (s *textState) try(out *said, l Login) {
	s.last, s.waiting, s.named, s.user = l, true, false, ""
	out.add(l)
}

// result notes the answer to it.
func (s *textState) result(out *said, r LoginResult) {
	if !s.waiting {
		return
	}
	s.waiting = false
	s.last.Result = r
	out.add(s.last)
	if r == LoginOK {
		out.end = stop
	}
}

func (out *said) add(l Login) {
	if out.n < len(out.logins) {
		out.logins[out.n] = l
		out.n++
	}
}

// nameOnly is for a name that was accepted or refused without a secret.
func (s *textState) nameOnly(service string, out *said, r LoginResult) {
	s.try(out, Login{Service: service, User: s.user})
	s.result(out, r)
}

// ftp reads RFC 959 section 4.1.1 and RFC 4217.
func (s *textState) ftp(dir int, line []byte, out *said) {
	if dir == 0 {
		switch verb, arg := command(line); verb {
		case "USER":
			s.user, s.named = printableN(arg, maxUser), true
		case "PASS":
			s.try(out, Login{Service: "ftp", User: s.user, Cleartext: true})
		case "AUTH":
			s.tls = true
		}
		return
	}
	switch code := replyCode(line); {
	case s.tls && code == 234:
		out.end = toTLS
	case code == 230 || code == 232:
		if s.named && !s.waiting {
			s.nameOnly("ftp", out, LoginOK)
		}
		s.result(out, LoginOK)
	case code == 530 || code == 430:
		if s.named && !s.waiting {
			s.nameOnly("ftp", out, LoginFailed)
		}
		s.result(out, LoginFailed)
	case code == 331 || code == 332:
		s.named = false
	case code >= 400:
		s.waiting, s.tls = false, false
	}
}

// smtp reads RFC 5321, RFC 4954 and RFC 3207. Mail itself is not looked at.
func (s *textState) smtp(dir int, line []byte, out *said) {
	if dir == 0 {
		if s.sasl.mechanism != "" {
			s.saslLine("smtp", line, out)
			return
		}
		switch verb, arg := command(line); verb {
		case "AUTH":
			s.saslBegin("smtp", arg, out)
		case "STARTTLS":
			s.tls = true
		case "MAIL", "DATA", "BDAT": // no log-in after that (RFC 4954 section 4)
			out.end = stop
		}
		return
	}
	switch code := replyCode(line); {
	case s.tls && code == 220:
		out.end = toTLS
	case code == 235:
		s.sasl = saslState{}
		s.result(out, LoginOK)
	case code == 535 || code == 534 || code == 538:
		s.sasl = saslState{}
		s.result(out, LoginFailed)
	case code >= 400:
		s.sasl, s.waiting, s.tls = saslState{}, false, false
	}
}

// pop3 reads RFC 1939 and RFC 5034. Answers say only yes or no, and commands
// may be sent ahead, so that they are counted.
func (s *textState) pop3(dir int, line []byte, out *said) {
	if dir == 0 {
		if s.sasl.mechanism != "" {
			s.saslLine("pop3", line, out)
			return
		}
		s.pop3Command(line, out)
		return
	}
	ok := bytes.HasPrefix(line, []byte("+OK"))
	if !ok && !bytes.HasPrefix(line, []byte("-ERR")) {
		return
	}
	s.open = max(s.open-1, 0)
	r := LoginFailed
	if ok {
		r = LoginOK
	}
	switch {
	case s.waiting && s.ahead > 0:
		s.ahead--
	case s.waiting:
		s.sasl = saslState{}
		s.result(out, r)
	case s.tls && ok:
		out.end = toTLS
	case s.named && !ok:
		s.nameOnly("pop3", out, r)
	default:
		s.sasl, s.tls, s.named = saslState{}, false, false
	}
}

func (s *textState) pop3Command(line []byte, out *said) {
	verb, arg := command(line)
	switch verb {
	case "USER":
		s.user, s.named = printableN(arg, maxUser), true
	case "PASS":
		s.ahead = s.open
		s.try(out, Login{Service: "pop3", User: s.user, Cleartext: true})
	case "APOP":
		user, _, _ := bytes.Cut(arg, []byte{' '})
		s.ahead = s.open
		s.try(out, Login{Service: "pop3", Mechanism: "apop", User: printableN(user, maxUser)})
	case "AUTH":
		s.ahead = s.open
		s.saslBegin("pop3", arg, out)
	case "STLS":
		s.tls = true
	}
	s.open++
}

// imap reads RFC 9051 sections 6.2 and 7.1.
func (s *textState) imap(dir int, line []byte, out *said) {
	if dir == 0 {
		switch {
		case s.sasl.mechanism != "":
			s.saslLine("imap", line, out)
		case s.literal:
			s.literal = false
			user, _ := astring(line)
			s.try(out, Login{Service: "imap", Mechanism: "login", User: user, Cleartext: true})
		default:
			s.imapCommand(line, out)
		}
		return
	}
	tag, rest, _ := bytes.Cut(line, []byte{' '})
	if s.tag == "" || string(tag) != s.tag {
		return
	}
	status, _ := command(rest)
	s.tag, s.sasl = "", saslState{}
	switch {
	case s.tls && status == "OK":
		out.end = toTLS
	case status == "OK":
		s.result(out, LoginOK)
	case status == "NO":
		s.result(out, LoginFailed)
	default:
		s.waiting, s.tls = false, false
	}
}

func (s *textState) imapCommand(line []byte, out *said) {
	tag, rest, _ := bytes.Cut(line, []byte{' '})
	verb, arg := command(rest)
	if verb != "LOGIN" && verb != "AUTHENTICATE" && verb != "STARTTLS" || len(tag) > 32 {
		return
	}
	s.tag = string(tag)
	switch verb {
	case "STARTTLS":
		s.tls = true
	case "AUTHENTICATE":
		s.saslBegin("imap", arg, out)
	case "LOGIN":
		user, literal := astring(arg)
		if s.literal = literal; !literal {
			s.try(out, Login{Service: "imap", Mechanism: "login", User: user, Cleartext: true})
		}
	}
}

// astring reads an atom or a quoted string (RFC 9051 section 9), or says that
// a literal follows on the next line.
func astring(b []byte) (text string, literal bool) {
	if len(b) > 0 && b[0] == '"' {
		return printableN(b[1:max(jsonString(b, 1), 1)], maxUser), false
	}
	word, _, _ := bytes.Cut(b, []byte{' '})
	if len(word) > 2 && word[0] == '{' && len(word) == len(b) {
		return "", true
	}
	return printableN(word, maxUser), false
}

// saslState is an exchange of RFC 4422 in base64 lines.
type saslState struct {
	mechanism string // lower case; empty when none runs
	user      string
	step      int
}

// saslBegin reads "MECHANISM [initial-response]".
func (s *textState) saslBegin(service string, arg []byte, out *said) {
	mech, initial, _ := bytes.Cut(arg, []byte{' '})
	if len(mech) == 0 || len(mech) > 32 {
		return
	}
	s.sasl = saslState{mechanism: strings.ToLower(printable(mech))}
	if initial = bytes.TrimSpace(initial); len(initial) > 0 {
		s.saslLine(service, initial, out)
	}
}

// saslLine reads what the client answers to a challenge: who it is, never with
// what it proves it.
func (s *textState) saslLine(service string, line []byte, out *said) {
	if string(line) == "*" { // cancelled
		s.sasl = saslState{}
		return
	}
	b := decode64(bytes.TrimSpace(line))
	l := Login{Service: service, Mechanism: s.sasl.mechanism}
	s.sasl.step++
	switch s.sasl.mechanism {
	case "plain": // RFC 4616
		if f := bytes.SplitN(b, []byte{0}, 3); len(f) == 3 {
			l.User, l.Cleartext = printableN(f[1], maxUser), true
			s.try(out, l)
		}
	case "login": // draft-murchison-sasl-login
		if s.sasl.step == 1 {
			s.sasl.user = printableN(b, maxUser)
		} else if s.sasl.step == 2 {
			l.User, l.Cleartext = s.sasl.user, true
			s.try(out, l)
		}
	case "cram-md5": // RFC 2195
		if i := bytes.LastIndexByte(b, ' '); i > 0 {
			l.User = printableN(b[:i], maxUser)
			s.try(out, l)
		}
	case "digest-md5": // RFC 2831
		if _, after, ok := bytes.Cut(b, []byte(`username="`)); ok {
			user, _, _ := bytes.Cut(after, []byte{'"'})
			l.User = printableN(user, maxUser)
			s.try(out, l)
		}
	case "ntlm":
		if a, ok := readNTLM(b); ok {
			l.User, l.Domain, l.Workstation = a.User, a.Domain, a.Workstation
			s.try(out, l)
		}
	}
}
