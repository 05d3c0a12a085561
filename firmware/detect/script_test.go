package detect_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// office plays events to an inventory and an engine, as the gateway does.
type office struct {
	t     testing.TB
	inv   *asset.Inventory
	eng   *detect.Engine
	now   time.Time
	found []detect.Finding
	ids   uint64 // connections so far
}

func newOffice(t testing.TB, c detect.Config) *office {
	inv := asset.New(asset.Config{LAN: c.LAN, Self: []flow.MAC{gatewayMAC}})
	c.Assets = inv
	return &office{t: t, inv: inv, eng: detect.New(c), now: time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC)}
}

var (
	gatewayMAC = mac(0xfe)
	gatewayIP  = ip(254)
)

func mac(n int) flow.MAC {
	return flow.MAC{0x00, 0x16, 0x3e, byte(n >> 16), byte(n >> 8), byte(n)}
}

func ip(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 0, byte(n)}) }

func net4(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{203, byte(n >> 16), byte(n >> 8), byte(n)})
}

func (o *office) play(ev flow.Event) {
	o.inv.Observe(ev)
	o.found = append(o.found, o.eng.Observe(ev)...)
}

func (o *office) meta(src flow.MAC) flow.Meta {
	return flow.Meta{Time: o.now, SrcMAC: src, DstMAC: gatewayMAC}
}

// wait lets packet time pass, with the tick of each second.
func (o *office) wait(d time.Duration) {
	end := o.now.Add(d)
	for n := o.now.Truncate(time.Second).Add(time.Second); !n.After(end); n = n.Add(time.Second) {
		o.play(&flow.Tick{Meta: flow.Meta{Time: n}})
	}
	o.now = end
}

func (o *office) conn(from int, to netip.Addr, proto uint8, port uint16, s flow.ConnState) {
	src := netip.AddrPortFrom(ip(from), 40000)
	for _, st := range []flow.ConnState{flow.ConnAttempt, s} {
		c := flow.Conn{Meta: o.meta(mac(from)), State: st, Prev: flow.ConnAttempt, Proto: proto, Client: src,
			Server: netip.AddrPortFrom(to, port), ClientMAC: mac(from), Start: o.now}
		if st == flow.ConnEstablished {
			c.RecvPackets = 1
		}
		o.play(&c)
	}
	o.now = o.now.Add(50 * time.Millisecond)
}

func (o *office) tcp(from int, to netip.Addr, port uint16, s flow.ConnState) {
	o.conn(from, to, 6, port, s)
}

func (o *office) arp(op uint16, from flow.MAC, fromIP, target netip.Addr) {
	o.play(&flow.ARP{Meta: o.meta(from), Op: op, SenderMAC: from, SenderIP: fromIP, TargetIP: target})
	o.now = o.now.Add(50 * time.Millisecond)
}

func (o *office) ping(from int, to netip.Addr, answered bool) {
	o.play(&flow.ICMP{Meta: o.meta(mac(from)), Src: ip(from), Dst: to, Type: 8})
	if answered {
		o.play(&flow.ICMP{Meta: o.meta(mac(200)), Src: to, Dst: ip(from), Type: 0})
	}
	o.now = o.now.Add(50 * time.Millisecond)
}

// best returns the highest band that a detector reached, "" for none.
func (o *office) best(name string) detect.Confidence {
	var b detect.Confidence
	order := map[detect.Confidence]int{"": 0, detect.Low: 1, detect.Medium: 2, detect.High: 3}
	for _, f := range o.found {
		if f.Detector == name && order[f.Confidence] > order[b] {
			b = f.Confidence
		}
	}
	return b
}

func (o *office) want(name string, c detect.Confidence) {
	o.t.Helper()
	if got := o.best(name); got != c {
		o.t.Errorf("%s: confidence %q, want %q\n%s", name, got, c, o.dump())
	}
}

func (o *office) quiet() {
	o.t.Helper()
	if len(o.found) > 0 {
		o.t.Errorf("findings where none belong:\n%s", o.dump())
	}
}

func (o *office) dump() string {
	s := ""
	for _, f := range o.found {
		s += fmt.Sprintf("  %s %s %.2f: %s\n", f.Detector, f.Confidence, f.Score, f.Explain.EN)
	}
	return s
}

func (o *office) last(name string) detect.Finding {
	o.t.Helper()
	for i := len(o.found) - 1; i >= 0; i-- {
		if o.found[i].Detector == name {
			return o.found[i]
		}
	}
	o.t.Fatalf("no finding by %s", name)
	return detect.Finding{}
}
