package detect_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// exchange opens a connection, lets fill add what is spoken, and closes it.
func (o *office) exchange(from int, to netip.AddrPort, proto uint8, sent, received uint64, fill func(id uint64, client netip.AddrPort)) {
	o.ids++
	id, client := o.ids, netip.AddrPortFrom(ip(from), uint16(20000+o.ids%40000))
	c := flow.Conn{Meta: o.meta(mac(from)), ID: id, State: flow.ConnAttempt, Proto: proto, Client: client, Server: to, ClientMAC: mac(from), ServerMAC: gatewayMAC, Start: o.now}
	o.play(&c)
	c.State = flow.ConnEstablished
	o.play(&c)
	if fill != nil {
		fill(id, client)
	}
	c.Prev, c.State, c.Sent, c.Received = c.State, flow.ConnClosed, sent, received
	o.play(&c)
}

func (o *office) opaque(from int, to netip.AddrPort, proto uint8, sent uint64) {
	o.exchange(from, to, proto, sent, 100, func(id uint64, client netip.AddrPort) {
		if proto == 6 {
			o.play(&flow.Opaque{Meta: o.meta(mac(from)), ConnID: id, Client: client, Server: to, Data: []byte{1, 2, 3}})
		}
	})
}

func (o *office) tlsTo(from int, to netip.AddrPort, sni string, sent uint64) {
	o.exchange(from, to, 6, sent, 3000, func(id uint64, client netip.AddrPort) {
		o.play(&flow.TLSHello{Meta: o.meta(mac(from)), ConnID: id, Client: client, Server: to, SNI: sni})
	})
}

func (o *office) resolve(from int, name string, a netip.Addr) {
	o.play(&flow.DNS{Meta: flow.Meta{Time: o.now, SrcMAC: gatewayMAC, DstMAC: mac(from)}, Src: netip.AddrPortFrom(gatewayIP, 53), Dst: netip.AddrPortFrom(ip(from), 5000),
		Response: true, QName: name, QType: 1, Answers: []flow.DNSRecord{{Name: name, Type: 1, TTL: 60, Data: a.String()}}})
}

func port(a netip.Addr, p uint16) netip.AddrPort { return netip.AddrPortFrom(a, p) }

func TestARegularCallToANamelessServiceIsFound(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, c := range []struct {
		name   string
		proto  uint8
		jitter float64
		n      int
		want   detect.Confidence
	}{
		{"TCP, no jitter", 6, 0, 12, detect.Medium},
		{"TCP, half jittered", 6, 0.5, 60, detect.Medium},
		{"UDP, as games and cameras do", 17, 0.1, 20, detect.Low},
	} {
		o := newOffice(t, detect.Config{})
		o.resolve(10, "www.example.org", net4(9))
		for range c.n {
			o.opaque(10, port(net4(1), 4433), c.proto, 120)
			o.now = o.now.Add(time.Duration(30 * (1 - c.jitter*r.Float64()) * float64(time.Second)))
		}
		o.want("beacon", c.want)
		if f := o.last("beacon"); f.Host.IP != ip(10) || f.Peers[0].IP != net4(1) {
			t.Errorf("%s: %v called %v", c.name, f.Host.IP, f.Peers)
		}
	}
}

func TestACallAtRandomIsNoBeacon(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	o := newOffice(t, detect.Config{})
	o.resolve(10, "www.example.org", net4(9))
	for range 300 {
		o.opaque(10, port(net4(1), 4433), 6, 120)
		o.now = o.now.Add(time.Duration(r.ExpFloat64() * float64(time.Minute)))
	}
	o.want("beacon", "")
}

func TestBurstsInsideAConnectionKeepTime(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.resolve(10, "www.example.org", net4(9))
	to, client := port(net4(1), 7010), port(ip(10), 5555)
	o.exchange(10, to, 6, 0, 0, func(id uint64, c netip.AddrPort) {
		o.play(&flow.Opaque{Meta: o.meta(mac(10)), ConnID: id, Client: c, Server: to, Data: []byte("hello")})
		client = c
		for i := range 20 {
			o.now = o.now.Add(20 * time.Second)
			o.play(&flow.Activity{Meta: o.meta(mac(10)), ID: id, Proto: 6, Client: client, Server: to, ClientMAC: mac(10), ServerMAC: gatewayMAC,
				FromServer: true, Idle: 20 * time.Second, Sent: uint64(i), Received: uint64(i), SentPackets: 9, RecvPackets: 9})
		}
	})
	o.want("beacon", detect.Medium)
}

func TestWhatOfficesDoByTheClock(t *testing.T) {
	every := func(o *office, d time.Duration, n int, do func(i int)) {
		for i := range n {
			do(i)
			o.wait(d)
		}
	}
	cloud := port(net4(7), 443)
	for name, play := range map[string]func(o *office){
		"NTP, DNS and push": func(o *office) {
			every(o, 64*time.Second, 40, func(int) {
				o.opaque(10, port(net4(1), 123), 17, 48)
				o.opaque(10, port(net4(2), 53), 17, 40)
				o.opaque(10, port(net4(3), 5223), 6, 40)
			})
		},
		"device that polls its cloud every five minutes": func(o *office) {
			o.resolve(10, "iot.example.com", cloud.Addr())
			every(o, 5*time.Minute, 40, func(int) { o.tlsTo(10, cloud, "iot.example.com", 700) })
		},
		"keep-alive of a held connection to a named cloud": func(o *office) {
			o.resolve(10, "iot.example.com", cloud.Addr())
			o.exchange(10, cloud, 6, 0, 0, func(id uint64, c netip.AddrPort) {
				o.play(&flow.TLSHello{Meta: o.meta(mac(10)), ConnID: id, Client: c, Server: cloud, SNI: "iot.example.com"})
				every(o, 30*time.Second, 60, func(i int) {
					o.play(&flow.Activity{Meta: o.meta(mac(10)), ID: id, Proto: 6, Client: c, Server: cloud, ClientMAC: mac(10), Idle: 30 * time.Second, Sent: uint64(40 * i), RecvPackets: 9})
				})
			})
		},
		"three devices with the same odd service": func(o *office) {
			for from := 10; from < 13; from++ {
				o.opaque(from, port(net4(1), 4433), 6, 120)
			}
			every(o, 30*time.Second, 40, func(int) { o.opaque(10, port(net4(1), 4433), 6, 120) })
		},
		"monitoring of a server in the office": func(o *office) {
			every(o, time.Minute, 60, func(int) { o.exchange(10, port(ip(20), 5666), 6, 200, 200, nil) })
		},
		"control point of a UPnP device": func(o *office) {
			at := port(ip(40), 49152)
			o.play(&flow.SSDP{Meta: o.meta(mac(40)), Src: port(ip(40), 1900), Dst: port(ip(10), 1900), Location: "http://192.168.0.40:49152/d.xml"})
			every(o, 5*time.Second, 60, func(i int) {
				o.exchange(10, at, 6, 200, 900, func(id uint64, c netip.AddrPort) {
					o.play(&flow.HTTP{Meta: o.meta(mac(10)), ConnID: id, Client: c, Server: at, Number: 1, Method: "GET", Host: "192.168.0.40:49152", Path: "/state", UserAgent: "upnp/1.1"})
				})
			})
		},
		"dead cloud server retried": func(o *office) {
			o.resolve(10, "dead.example.com", net4(7))
			every(o, 30*time.Second, 200, func(int) { o.tcp(10, net4(7), 443, flow.ConnUnanswered) })
		},
		"a client that tries again for half a minute": func(o *office) {
			every(o, 2*time.Second, 15, func(int) { o.opaque(10, port(net4(1), 4433), 6, 80) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			play(o)
			o.want("beacon", "")
		})
	}
}

func TestADeadControllerIsWorthALook(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 30 {
		o.tcp(10, net4(1), 4433, flow.ConnUnanswered)
		o.wait(40 * time.Second)
	}
	o.want("beacon", detect.Low)
}

func TestAFetchedProgramThatCallsByTheClockWeighsMore(t *testing.T) {
	o := newOffice(t, detect.Config{})
	from := port(ip(66), 8888)
	o.exchange(10, from, 6, 100, 1<<20, func(id uint64, c netip.AddrPort) {
		o.httpGet(id, 10, c, from, 1, "GET", "192.168.0.66:8888", "/agent", "curl/8")
		o.httpReply(id, 10, c, from, 1, "application/octet-stream", 1<<20, []byte("\x7fELF\x02\x01\x01\x00"))
	})
	for range 12 {
		o.exchange(10, port(ip(66), 7011), 17, 238, 0, nil)
		o.wait(time.Minute)
	}
	o.want("beacon", detect.Medium)
}

func TestWhatWasLearntIsNotToldAndWhatIsNewIs(t *testing.T) {
	learn := 24 * time.Hour
	suspect := false
	o := newOffice(t, detect.Config{Learn: learn, Suspect: func(flow.MAC) bool { return suspect }})
	call := func(a int) {
		for range 12 {
			o.opaque(10, port(net4(a), 4433), 17, 120)
			o.wait(time.Minute)
		}
	}
	call(1)
	suspect = true
	call(2)
	suspect = false
	if len(o.found) != 2 {
		t.Fatalf("%d findings while learning, want 2\n%s", len(o.found), o.dump())
	}
	data, err := o.eng.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	later := newOffice(t, detect.Config{Learn: learn})
	if err := later.eng.Restore(data); err != nil {
		t.Fatal(err)
	}
	later.now = o.now.Add(learn)
	o = later
	call(1)
	if len(o.found) != 0 {
		t.Errorf("a call of the learning time was told:\n%s", o.dump())
	}
	call(2)
	call(3)
	if len(o.found) != 2 {
		t.Errorf("%d findings, want the one seen while suspect and the new one\n%s", len(o.found), o.dump())
	}
}

func TestManyDestinationsStayBounded(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 100_000 {
		o.exchange(10+i%50, port(net4(i), uint16(i)), 6, 10, 10, nil)
	}
	s := o.eng.Stats()
	if s.Entries["beacon"] > 60_000 || s.Evicted["beacon"] == 0 {
		t.Errorf("%d entries, %d evicted", s.Entries["beacon"], s.Evicted["beacon"])
	}
}

func BenchmarkBeaconOfManyConnections(b *testing.B) {
	o := newOffice(b, detect.Config{})
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		o.exchange(10+i%50, port(net4(i%2000), 443), 6, 10, 10, nil)
		o.now = o.now.Add(10 * time.Millisecond)
	}
}

func (o *office) question(from int, name string, qtype uint16) {
	o.play(&flow.DNS{Meta: o.meta(mac(from)), Src: port(ip(from), 5000), Dst: port(gatewayIP, 53), QName: name, QType: qtype, MessageLen: 60})
}

func TestNewNamesByTheClock(t *testing.T) {
	for _, c := range []struct {
		name string
		of   func(i int) string
		gap  func(r *rand.Rand) float64
		want detect.Confidence
	}{
		{"a new name each minute", func(i int) string { return fmt.Sprintf("x%d.example.com", i*7919) }, func(r *rand.Rand) float64 { return 60 - 10*r.Float64() }, detect.Low},
		{"one name whose time to live is a minute", func(int) string { return "www.example.com" }, func(*rand.Rand) float64 { return 60 }, ""},
		{"new names as a person browses", func(i int) string { return fmt.Sprintf("x%d.example.com", i*7919) }, func(r *rand.Rand) float64 { return 60 * r.ExpFloat64() }, ""},
		{"reverse look-ups of a monitor", func(i int) string { return fmt.Sprintf("%d.2.0.192.in-addr.arpa", i) }, func(*rand.Rand) float64 { return 60 }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, o := rand.New(rand.NewPCG(5, 5)), newOffice(t, detect.Config{})
			for i := range 40 {
				o.question(10, c.of(i), 1)
				o.now = o.now.Add(time.Duration(c.gap(r) * float64(time.Second)))
			}
			o.want("beacon", c.want)
		})
	}
}

func TestANameFromTheWireIsShownReadable(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 30 {
		o.tlsTo(10, port(net4(1), 443), "evil\x1b[2J\n.example", 300)
		o.now = o.now.Add(5 * time.Second)
	}
	if say := o.last("beacon").Explain.EN; !strings.Contains(say, "evil?[2J?.example") {
		t.Errorf("%q", say)
	}
}

func TestPingsThatCarryNewDataByTheClock(t *testing.T) {
	for _, c := range []struct {
		name string
		to   netip.Addr
		size func(i int) int
		sum  func(i int) uint32
		want detect.Confidence
	}{
		{"data that changes, to a stranger", net4(1), func(i int) int { return 40 + i%3 }, func(i int) uint32 { return uint32(i * 7919) }, detect.Medium},
		{"data that changes, to a neighbour", ip(20), func(i int) int { return 40 + i%3 }, func(i int) uint32 { return uint32(i * 7919) }, detect.Low},
		{"monitoring", net4(1), func(int) int { return 56 }, func(int) uint32 { return 5 }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			for i := range 20 {
				o.play(&flow.ICMP{Meta: o.meta(mac(66)), Src: ip(66), Dst: c.to, Type: 8, ID: 3, Seq: uint16(i), Length: c.size(i), Sum: c.sum(i)})
				o.wait(30 * time.Second)
			}
			o.want("beacon", c.want)
		})
	}
}
