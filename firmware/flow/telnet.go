package flow

import (
	"bytes"
	"strings"
)

// telnetStage is what a Telnet server has asked for.
type telnetStage uint8

const (
	telnetOther telnetStage = iota
	telnetName
	telnetSecret
)

// Telnet commands (RFC 854).
const (
	telnetSE   = 0xf0
	telnetSB   = 0xfa
	telnetWill = 0xfb
	telnetIAC  = 0xff
)

// telnet reads a log-in by its prompts (RFC 854 knows none), as well as that
// goes: what the server asks at the end of a segment, what the client answers
// up to the end of a line, and whether the server then asks again, complains
// or shows a shell's prompt. Prompts in other languages than English are not
// understood.
func (t *Tracker) telnet(c *conn, d *dialogue, dir int, data []byte, emit func(Event)) {
	s := textStateOf(c, d)
	if d.lost[dir] {
		s.part[dir].n, s.iac[dir] = 0, 0
	}
	t.said = said{}
	err := t.guard(parseText, func() *Error {
		for _, b := range data {
			if s.plain(dir, b) {
				s.telnetByte(dir, b, &t.said)
			}
		}
		if dir == 1 {
			s.prompt(s.part[1].buf[:s.part[1].n], &t.said)
		}
		return nil
	})
	if err != nil {
		t.malformed(err, emit)
		t.hangUp(c)
		return
	}
	line := data
	if dir == 1 && !s.greeted {
		s.greeted, t.said.banner = true, true
		if i := bytes.LastIndexByte(data, telnetIAC); i >= 0 && len(bytes.TrimSpace(data[min(i+3, len(data)):])) > 0 {
			line = bytes.TrimSpace(data[i+3:])
		}
		line, _, _ = bytes.Cut(line, []byte{'\n'})
	}
	t.say(c, dir, line, emit)
}

// plain takes the option negotiation out (RFC 854, RFC 855) and says whether b
// is text.
func (s *textState) plain(dir int, b byte) bool {
	const (
		text = iota
		command
		option
		sub
		subCommand
	)
	state := &s.iac[dir]
	switch *state {
	case text:
		if b == telnetIAC {
			*state = command
			return false
		}
		return true
	case command:
		switch {
		case b == telnetSB:
			*state = sub
		case b >= telnetWill && b != telnetIAC:
			*state = option
		default:
			*state = text
		}
	case option:
		*state = text
	case sub:
		if b == telnetIAC {
			*state = subCommand
		}
	case subCommand:
		if *state = sub; b == telnetSE {
			*state = text
		}
	}
	return false
}

func (s *textState) telnetByte(dir int, b byte, out *said) {
	p := &s.part[dir]
	switch {
	case b == '\r' || b == '\n' || b == 0:
		if dir == 0 {
			s.typed(p.buf[:p.n], out)
		} else if p.n > 0 {
			s.telnetLine(p.buf[:p.n], out)
		}
		p.n = 0
	case (b == 8 || b == 0x7f) && p.n > 0:
		p.n--
	case p.n < len(p.buf) && b >= ' ':
		p.buf[p.n] = b
		p.n++
	}
}

// typed is a line of the client. Passwords may be empty, names not.
func (s *textState) typed(line []byte, out *said) {
	switch {
	case s.stage == telnetName && len(line) > 0:
		s.user, s.stage = printableN(line, maxUser), telnetOther
	case s.stage == telnetSecret:
		s.stage = telnetOther
		user := s.user
		s.try(out, Login{Service: "telnet", User: user, Cleartext: true})
		s.user = user // some servers ask for the password only, again and again
	}
}

// telnetLine is a whole line of the server.
func (s *textState) telnetLine(line []byte, out *said) {
	if !s.waiting {
		return
	}
	switch l := strings.ToLower(string(line)); {
	case containsAny(l, "last login", "last failed login", "welcome"):
		s.result(out, LoginOK)
	case containsAny(l, "incorrect", "fail", "denied", "invalid", "bad password", "wrong", "not allowed"):
		s.result(out, LoginFailed)
	}
}

// prompt is a line of the server that has no end yet.
func (s *textState) prompt(line []byte, out *said) {
	l := strings.ToLower(strings.TrimSpace(string(line)))
	if l == "" {
		return
	}
	colon := strings.HasSuffix(l, ":")
	switch {
	case colon && containsAny(l, "password", "passwd", "passcode"):
		s.result(out, LoginFailed) // asked again
		s.stage = telnetSecret
	case colon && containsAny(l, "login", "user", "account") && !strings.Contains(l, "last login"):
		s.result(out, LoginFailed)
		s.stage = telnetName
	case strings.ContainsRune("$#>%", rune(l[len(l)-1])):
		s.result(out, LoginOK)
	}
}

func containsAny(s string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}
