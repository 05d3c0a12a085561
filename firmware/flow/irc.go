package flow

import (
	"bytes"
	"strings"
)

const (
	maxIRC     = 256 // events of one connection
	maxIRCText = 256
)

// irc reads one message (RFC 2812 section 2.3.1). Only the first PING and PONG
// of each side are told: they come for days and say nothing more.
func (s *textState) irc(dir int, line []byte, out *said, e *IRC) {
	*e = IRC{}
	if len(line) == 0 {
		return
	}
	if line[0] == '@' { // tags of IRCv3
		_, line, _ = bytes.Cut(line, []byte{' '})
	}
	if len(line) > 0 && line[0] == ':' { // who it is from
		_, line, _ = bytes.Cut(line, []byte{' '})
	}
	verb, rest := command(bytes.TrimLeft(line, " "))
	if !ircCommand(verb) {
		if s.lines[0]+s.lines[1] == 0 { // a protocol that begins alike
			out.end, out.banner = stop, false
		}
		return
	}
	if verb == "PING" || verb == "PONG" {
		if s.pings[dir]++; s.pings[dir] > 1 {
			s.pings[dir] = 2
			return
		}
	}
	if s.lines[dir]++; s.lines[0]+s.lines[1] > maxIRC {
		out.end = stop
		return
	}
	e.Command = verb
	e.Target, e.Text = ircParams(rest)
	if ircSecret(verb, e) {
		e.Text = ""
	}
	out.irc = true
}

// ircCommand accepts letters, or three digits.
func ircCommand(v string) bool {
	if len(v) == 3 && v[0] >= '0' && v[0] <= '9' {
		return strings.Trim(v, "0123456789") == ""
	}
	return len(v) >= 3 && strings.Trim(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// ircParams returns the first and the last parameter.
func ircParams(b []byte) (target, text string) {
	head, trailing, has := b, []byte(nil), false
	if len(b) > 0 && b[0] == ':' {
		head, trailing, has = nil, b[1:], true
	} else if i := bytes.Index(b, []byte(" :")); i >= 0 {
		head, trailing, has = b[:i], b[i+2:], true
	}
	words := bytes.Fields(head)
	if !has && len(words) > 0 {
		trailing = words[len(words)-1]
	}
	text = printableN(trailing, maxIRCText)
	if len(words) > 0 {
		return printable(words[0]), text
	}
	return text, text
}

// ircSecret recognises what carries a password, and takes it out of the target.
func ircSecret(verb string, e *IRC) bool {
	switch verb {
	case "PASS", "AUTHENTICATE":
		e.Target = ""
		return true
	case "OPER", "IDENTIFY", "NICKSERV":
		e.Target = ""
		return true
	case "JOIN": // a channel's key
		return e.Text != e.Target
	case "NS", "AUTH", "LOGIN":
		e.Target = ""
		return true
	case "PRIVMSG", "SQUERY":
		// What is said to the services of a network is mostly passwords, in
		// too many forms to know: IDENTIFY, GHOST, REGAIN, AUTH.
		to := strings.ToLower(e.Target)
		for _, s := range [...]string{"nickserv", "authserv", "userserv", "chanserv", "q@", "x@"} {
			if strings.HasPrefix(to, s) {
				return true
			}
		}
	}
	return false
}

func (t *Tracker) ircEvent(c *conn, dir int, emit func(Event)) {
	t.stats.IRC++
	e := &t.ev.irc
	e.Meta, e.ConnID, e.FromServer = t.here(), c.id, dir == 1
	e.Client, e.Server = c.addrPorts()
	emit(e)
}
