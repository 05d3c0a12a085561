package detect_test

import (
	"net/netip"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// opens plays n connections of one client to one service that end as told.
func (o *office) opens(from int, to netip.Addr, n int, every time.Duration, end flow.ConnState, sent uint64) {
	for i := range n {
		c := flow.Conn{Meta: o.meta(mac(from)), Proto: 6, Client: netip.AddrPortFrom(ip(from), uint16(1024+i)),
			Server: netip.AddrPortFrom(to, 80), ClientMAC: mac(from), Start: o.now}
		o.play(&c)
		if end != flow.ConnAttempt {
			prev := flow.ConnAttempt
			if end == flow.ConnClosed {
				c.State, c.Prev = flow.ConnEstablished, flow.ConnAttempt
				o.play(&c)
				prev = flow.ConnEstablished
			}
			c.State, c.Prev, c.Sent = end, prev, sent
			o.play(&c)
		}
		o.now = o.now.Add(every)
	}
}

func TestOpeningsThatAreNeverUsedAreAFlood(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.opens(66, ip(2), 511, time.Millisecond, flow.ConnAttempt, 0)
	o.quiet()
	o.opens(66, ip(2), 300, time.Millisecond, flow.ConnAttempt, 0)
	o.want("flood", detect.Medium)
	o.opens(66, ip(2), 4200, time.Millisecond, flow.ConnAttempt, 0)
	o.want("flood", detect.High)
	if f := o.last("flood"); f.Host.MAC != mac(66) || f.Peers[0].IP != ip(2) {
		t.Errorf("host %+v peers %+v", f.Host, f.Peers)
	}
	if n := len(o.found); n > 8 {
		t.Errorf("%d findings of one flood", n)
	}
}

func TestAcceptedAndAbandonedIsAFloodToo(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.opens(66, ip(2), 700, time.Millisecond, flow.ConnClosed, 0) // SYN cookies answer, the client resets
	o.want("flood", detect.Medium)
}

func TestLoadThatIsServedIsNoFlood(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.opens(10, ip(2), 20000, time.Millisecond, flow.ConnClosed, 400)  // a load test
	o.opens(11, ip(3), 5000, time.Millisecond, flow.ConnRefused, 0)    // a program that tries again at once
	o.opens(12, ip(4), 900, 100*time.Millisecond, flow.ConnAttempt, 0) // ten a second for a dead server
	if o.best("flood") != "" {
		t.Error(o.dump())
	}
}

func TestStrangersCannotBeIsolated(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 5000 {
		o.play(&flow.Conn{Meta: o.meta(gatewayMAC), Proto: 6, Client: netip.AddrPortFrom(net4(9), uint16(i)),
			Server: netip.AddrPortFrom(ip(2), 443), Start: o.now})
	}
	o.want("flood", detect.Low)
}

func TestPingFloodIsLowUntilItIsAbsurd(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 300 {
		o.ping(10, ip(2), true) // 20 a second
	}
	if o.best("flood") != "" {
		t.Error(o.dump())
	}
	for i := range 30000 {
		o.play(&flow.ICMP{Meta: o.meta(mac(66)), Src: ip(66), Dst: ip(2), Type: 8})
		if i == 3000 {
			o.want("flood", detect.Low)
		}
		o.now = o.now.Add(time.Millisecond)
	}
	o.want("flood", detect.Medium)
}

func (o *office) discover(from, client flow.MAC, every time.Duration) {
	o.ids++
	o.play(&flow.DHCP{Meta: o.meta(from), Type: 1, ClientMAC: client, XID: uint32(o.ids)})
	o.now = o.now.Add(every)
}

func TestDHCPStarvation(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 40 { // an office that starts in the morning
		o.discover(mac(i), mac(i), 100*time.Millisecond)
	}
	for range 30 { // a client whose server is dead, for two minutes
		o.discover(mac(50), mac(50), 4*time.Second)
	}
	o.quiet()
	for i := range 40 {
		o.discover(mac(66), mac(1000+i), 10*time.Millisecond)
	}
	o.want("flood", detect.Medium)
	if f := o.last("flood"); f.Host.MAC != mac(66) {
		t.Errorf("host %+v", f.Host)
	}
	o = newOffice(t, detect.Config{})
	for range 60 {
		o.discover(mac(66), mac(66), time.Millisecond)
	}
	o.want("flood", detect.Medium)
}

// stream plays one connection for some seconds.
func (o *office) stream(id uint64, seconds int, rate, size, answers uint64) {
	a := flow.Activity{ID: id, Proto: 17, Client: netip.AddrPortFrom(ip(66), 5000), Server: netip.AddrPortFrom(net4(1), 80), ClientMAC: mac(66), Start: o.now}
	for range seconds {
		o.now = o.now.Add(time.Second)
		a.Meta = o.meta(mac(66))
		a.SentPackets += rate
		a.Sent += rate * size
		a.RecvPackets += answers
		o.play(&a)
	}
}

func TestSmallPacketsWithoutAnswerAreAFlood(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.stream(1, 60, 900, 1100, 0)      // a camera
	o.stream(2, 60, 30000, 1200, 0)    // a bulk transfer over UDP
	o.stream(3, 60, 20000, 100, 20000) // a game server of many players
	if o.best("flood") != "" {
		t.Error(o.dump())
	}
	o.stream(4, 5, 50000, 18, 0)
	o.want("flood", detect.Medium)
}
