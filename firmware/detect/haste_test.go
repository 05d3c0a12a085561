package detect_test

import (
	"net/netip"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// calls plays attempts whose outcome is not known yet.
func (o *office) calls(from int, port uint16, every time.Duration, to ...netip.Addr) {
	for _, a := range to {
		o.play(&flow.Conn{Meta: o.meta(mac(from)), Proto: 6, Client: netip.AddrPortFrom(ip(from), 40000), Server: netip.AddrPortFrom(a, port), ClientMAC: mac(from), Start: o.now})
		o.now = o.now.Add(every)
	}
}

func hosts(from, n int) (out []netip.Addr) {
	for i := range n {
		out = append(out, ip(from+i))
	}
	return out
}

func TestAScannerIsSeenBeforeItsFirstTimeOut(t *testing.T) {
	for name, scan := range map[string]func(o *office, n int){
		"connections": func(o *office, n int) { o.calls(66, 445, time.Millisecond, hosts(100, n)...) },
		"pings": func(o *office, n int) {
			for _, a := range hosts(100, n) {
				o.play(&flow.ICMP{Meta: o.meta(mac(66)), Src: ip(66), Dst: a, Type: 8})
			}
		},
		"ARP": func(o *office, n int) {
			for _, a := range hosts(100, n) {
				o.play(&flow.ARP{Meta: o.meta(mac(66)), Op: 1, SenderMAC: mac(66), SenderIP: ip(66), TargetIP: a})
			}
		},
	} {
		o := newOffice(t, detect.Config{})
		scan(o, 3)
		o.quiet()
		scan(o, 4)
		if len(o.found) != 1 || o.found[0].Confidence != detect.Low || o.found[0].Host.MAC != mac(66) {
			t.Errorf("%s: findings after four hosts in the air:\n%s", name, o.dump())
		}
		scan(o, 100)
		for _, f := range o.found {
			if f.Confidence != detect.Low {
				t.Errorf("%s: %s before any outcome is known", name, f.Confidence)
			}
		}
	}
}

func TestCallsThatAreAnsweredAreNotInTheAir(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for _, a := range hosts(100, 40) {
		o.tcp(10, a, 445, flow.ConnEstablished)
	}
	o.calls(11, 445, 30*time.Second, hosts(100, 20)...) // slowly: old ones are no longer in the air
	for range 20 {
		o.calls(12, 445, time.Millisecond, hosts(100, 3)...) // the same few again and again
	}
	if o.best("host_scan") != "" {
		t.Error(o.dump())
	}
}

func TestCallsToTheInternetAreOrdinary(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 30 { // a browser opens a page
		o.calls(10, 443, time.Millisecond, net4(i))
	}
	o.quiet()
	for i := range 4 {
		o.calls(10, 23, time.Millisecond, net4(i))
	}
	o.want("host_scan", detect.Low)
}

func TestQuestionsForAddressesHereAndThereAreNoRow(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 12 { // a laptop comes back, and its network of yesterday is gone
		o.play(&flow.ARP{Meta: o.meta(mac(10)), Op: 1, SenderMAC: mac(10), SenderIP: ip(10), TargetIP: ip(40 + 9*i)})
	}
	o.quiet()
	for i := range 4 {
		o.play(&flow.ARP{Meta: o.meta(mac(11)), Op: 1, SenderMAC: mac(11), SenderIP: ip(11), TargetIP: ip(200 + 2*i)}) // every other one is known
	}
	o.want("arp_scan", detect.Low)
}

// hasty says that nothing is known but that some calls were in the air.
func (o *office) hasty() {
	o.t.Helper()
	for _, f := range o.found {
		if f.Confidence != detect.Low || f.Score != 0.5 {
			o.t.Errorf("more than haste:\n%s", o.dump())
		}
	}
}
