package flow

import "bytes"

const maxBanner = 128

// banner emits the line by which one side names itself.
func (t *Tracker) banner(c *conn, dir int, service string, line []byte, emit func(Event)) {
	t.stats.Banners++
	client, server := c.addrPorts()
	t.ev.banner = Banner{
		Meta: t.here(), ConnID: c.id, Client: client, Server: server, FromServer: dir == 1,
		Service: service, Text: printableN(bytes.TrimRight(line, "\r\n"), maxBanner),
	}
	emit(&t.ev.banner)
}

// ssh reads the identification of each side (RFC 4253 section 4.2): one line,
// before everything is encrypted.
func (t *Tracker) ssh(c *conn, d *dialogue, dir int, data []byte, emit func(Event)) {
	line, _, whole := bytes.Cut(data, []byte{'\n'})
	if bytes.HasPrefix(line, []byte("SSH-")) && (whole || len(line) >= 8) {
		t.banner(c, dir, "ssh", line, emit)
	}
	c.app[dir] = appDone
	if c.app[1-dir] == appDone {
		t.hangUp(c)
	}
}
