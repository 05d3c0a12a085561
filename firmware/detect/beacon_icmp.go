package detect

import (
	"net/netip"

	"sekisho/firmware/flow"
)

// pingData is what the last ping of a pair carried.
type pingData struct {
	seen bool
	size int
	sum  uint32
}

// changedData is the evidence of pings that each carry something else: ping
// programs repeat their data but for a time stamp, which flow leaves out, and
// nothing but a channel has a use for more.
const changedData = 3.4

// echo follows pings whose data differs from that of the ping before. Those
// that repeat themselves are monitoring, however regular: a heartbeat that
// carries nothing new cannot be told from them.
func (d *beacon) echo(e *flow.ICMP) {
	if e.Type != 8 && !e.V6 || e.Type != 128 && e.V6 || e.Out || e.Length == 0 || e.DstMAC.IsGroup() {
		return
	}
	to := netip.AddrPortFrom(e.Dst, 0)
	if !d.watched(e.Src, to, protoICMP) || d.net.own(e.SrcMAC, e.Src) {
		return
	}
	p := d.pings.get(echoKey{e.Src, e.Dst})
	changed := p.seen && (p.size != e.Length || p.sum != e.Sum)
	*p = pingData{true, e.Length, e.Sum}
	if !changed {
		return
	}
	k := serviceSeries{src: d.net.source(e.SrcMAC, e.Src), to: to, proto: protoICMP}
	b := d.begin(d.live, k, e.SrcMAC, e.Src)
	b.answered = true // by the host itself; it says nothing here
	if b.note(e.Time, uint64(e.Length)) {
		d.judge(k, b, e.Time)
	}
}
