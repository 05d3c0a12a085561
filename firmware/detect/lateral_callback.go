package detect

import (
	"time"

	"sekisho/firmware/flow"
)

// callbackTime: code that was just started connects back at once. Stagers do
// within two or three seconds; a process needs some to start.
const callbackTime = 10 * time.Second

// conn notices when a server calls its client back on a port where the client
// never served anything, right after the client used remote operations on it.
// Windows calls back for some services by itself: RPC, its dynamic ports
// (RFC 6335 section 6) and SMB, which are left out.
func (d *lateral) conn(e *flow.Conn) {
	if e.Proto != protoTCP || e.MidStream {
		return
	}
	port := e.Server.Port()
	fromServer := e.SrcMAC == e.ServerMAC && !e.ServerMAC.IsZero()
	if e.State == flow.ConnClosed && port == 3389 {
		d.idleDesktop(e, fromServer)
	}
	if e.State != flow.ConnEstablished {
		return
	}
	switch port {
	case 3389:
		d.fan(&e.Meta, e.Client, e.Server, fromServer, fanRDP)
	case 5986:
		d.did(&e.Meta, e.Client, e.Server, fromServer, actWinRMSealed)
		d.fan(&e.Meta, e.Client, e.Server, fromServer, fanWinRM)
	}
	if !d.net.onLAN(e.Server.Addr()) {
		return
	}
	before := d.served.peek(e.Server) != nil
	d.served.get(e.Server)
	if before || port >= 49152 {
		return
	}
	switch port {
	case 53, 88, 113, 135, 137, 139, 389, 445, 5357, 5985, 5986:
		return
	}
	p := d.pairs.peek(tradeKey{e.Server.Addr(), e.Client.Addr()})
	if p == nil || p.touched == 0 || e.Time.UnixNano()-p.touched > int64(callbackTime) {
		return
	}
	d.did(&e.Meta, e.Server, e.Client, e.SrcMAC == e.ClientMAC && !e.ClientMAC.IsZero(), actCallback)
}

// A client's half of the opening of a remote desktop is about 2 kB (the sequence
// of MS-RDPBCGR 1.3.1.1); a minute of a person's mouse adds more than one.
// Windows cuts a desktop on which nobody logs on after two minutes.
const (
	idleBytes  = 3000
	idleLeast  = time.Minute
	idleWindow = time.Hour
	idleTimes  = 3
)

// idleDesktop counts desktops that a program opened: nothing was typed, the
// log-on screen was looked at for minutes. Exploits of RDP work so (BlueKeep,
// EsteemedAudit), and so does a thin client that nobody uses, which is why it
// is low.
func (d *lateral) idleDesktop(e *flow.Conn, fromServer bool) {
	if e.Sent == 0 || e.Received == 0 || e.Sent > idleBytes || e.Time.Sub(e.Start) < idleLeast {
		return
	}
	p := d.trader(&e.Meta, e.Client, e.Server, fromServer)
	if p == nil {
		return
	}
	if e.Start.Sub(p.idleSince) > idleWindow {
		p.idleSince, p.idle = e.Start, 0
	}
	if p.idle++; p.idle == idleTimes {
		d.did(&e.Meta, e.Client, e.Server, fromServer, actIdleDesktop)
	}
}

// opaque finds command shells on connections of no known protocol. Who opened
// the connection is not who commands: whoever gets the shell's greeting is. A
// commander outside is the matter of c2_channel, which names the device inside.
func (d *lateral) opaque(e *flow.Opaque) {
	if e.Server.Port() == 23 { // a Windows telnet server greets so too
		return
	}
	switch {
	case shellBanner(e.Data) == "":
	case e.FromServer:
		d.did(&e.Meta, e.Client, e.Server, true, actShell)
	case d.net.onLAN(e.Server.Addr()):
		d.did(&e.Meta, e.Server, e.Client, true, actShell)
	}
}
