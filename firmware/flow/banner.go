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
