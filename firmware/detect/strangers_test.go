package detect_test

import (
	"net/netip"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// rings plays one call of a device into the internet, of any kind.
func (o *office) rings(from int, to netip.Addr, proto uint8, port uint16, states ...flow.ConnState) {
	for _, s := range append([]flow.ConnState{flow.ConnAttempt}, states...) {
		c := flow.Conn{Meta: o.meta(mac(from)), State: s, Proto: proto, Client: netip.AddrPortFrom(ip(from), 40000), Server: netip.AddrPortFrom(to, port),
			ClientMAC: mac(from), Start: o.now}
		if s == flow.ConnEstablished {
			c.RecvPackets = 1
		}
		o.play(&c)
	}
	o.now = o.now.Add(time.Second)
}

func TestCallsToAddressesThatNobodyNamedAreSeenOnAnyPort(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i, port := range []uint16{2323, 28856, 8080} {
		o.rings(66, net4(1000+i), 6, port)
	}
	o.quiet()
	o.rings(66, net4(2000), 17, 13749)
	o.want("host_scan", detect.Low)
	if f := o.last("host_scan"); f.Host.MAC != mac(66) || f.PeerCount != 4 {
		t.Errorf("finding %+v", f)
	}
	n := len(o.found)
	for i := range 100 {
		o.rings(66, net4(3000+i), 17, uint16(20000+i))
	}
	if len(o.found) != n {
		t.Errorf("told %d times", len(o.found)-n+1)
	}
}

func TestCallsByNameAndCallsThatAreAnsweredAreOrdinary(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 30 { // a browser, and the line is down
		o.play(&flow.DNS{Meta: o.meta(mac(10)), Src: netip.AddrPortFrom(gatewayIP, 53), Dst: netip.AddrPortFrom(ip(10), 5000), Response: true, QName: "www.example.com", QType: 1,
			Answers: []flow.DNSRecord{{Name: "www.example.com", Type: 1, TTL: 60, Data: net4(i).String()}}})
		o.rings(10, net4(i), 6, 443)
	}
	for i := range 30 { // built-in addresses that answer
		o.rings(11, net4(500+i), 17, 9000, flow.ConnEstablished)
	}
	for i := range 30 { // clocks and resolvers
		o.rings(12, net4(700+i), 17, 123)
	}
	for i := range 6 { // a dead server or two, retried all day
		o.rings(13, net4(800+i%2), 6, 8883)
		o.wait(10 * time.Minute)
	}
	if o.best("host_scan") != "" {
		t.Error(o.dump())
	}
}
