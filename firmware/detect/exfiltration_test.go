package detect_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

const mega = 1 << 20

// upload sends size bytes within a minute, told at every look.
func (o *office) upload(from int, to netip.AddrPort, size, back uint64) {
	o.ids++
	a := flow.Activity{ID: o.ids, Proto: 6, Client: port(ip(from), 40000), Server: to, ClientMAC: mac(from), ServerMAC: gatewayMAC, Start: o.now, RecvPackets: 1}
	for i := range uint64(10) {
		a.Meta = o.meta(mac(from))
		a.Sent, a.Received = size*(i+1)/10, back*(i+1)/10
		o.play(&a)
		o.now = o.now.Add(6 * time.Second)
	}
	o.play(&flow.Conn{Meta: o.meta(mac(from)), ID: a.ID, State: flow.ConnClosed, Proto: 6, Client: a.Client, Server: to, ClientMAC: mac(from), Sent: size, Received: back, Start: a.Start})
}

func TestUploadWithoutAPastNeedsMuch(t *testing.T) {
	to := port(net4(1), 443)
	for _, c := range []struct {
		name       string
		sent, back uint64
		named      bool
		want       detect.Confidence
	}{
		{"documents to a bare address", 100 * mega, mega, false, detect.Low},
		{"an archive to a bare address", 600 * mega, mega, false, detect.Medium},
		{"a few files", 20 * mega, 0, false, ""},
		{"a video call", 900 * mega, 800 * mega, false, ""},
		{"photos to a named cloud", 700 * mega, mega, true, ""},
		{"a disk to a named cloud", 2000 * mega, mega, true, detect.Low},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			if c.named {
				o.resolve(10, "up.example.com", to.Addr())
			}
			o.upload(10, to, c.sent, c.back)
			o.want("exfiltration", c.want)
		})
	}
}

func TestUploadInsideTheOfficeAndDownloadAreNone(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.upload(10, port(ip(20), 445), 5000*mega, mega)
	o.upload(10, port(net4(1), 443), mega, 5000*mega)
	o.want("exfiltration", "")
}

func TestAServerThatIsEmptiedFromOutside(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.play(&flow.Conn{Meta: o.meta(gatewayMAC), ID: 9, State: flow.ConnClosed, Proto: 6, Client: port(net4(1), 4000), Server: port(ip(20), 8080),
		ClientMAC: gatewayMAC, ServerMAC: mac(20), Sent: mega, Received: 900 * mega})
	o.want("exfiltration", detect.Medium)
	if f := o.last("exfiltration"); f.Host.MAC != mac(20) {
		t.Errorf("host %v, want the server", f.Host.MAC)
	}
}

// liveAWeek lets a device live: some megabytes an hour by day to one cloud, a
// backup each night.
func liveAWeek(o *office, cloud, backup netip.AddrPort) {
	for hour := range 7 * 24 {
		end := o.now.Add(time.Hour)
		if h := hour % 24; h < 9 {
			o.upload(10, cloud, uint64(3+h)*mega, mega)
		} else if h == 14 {
			o.upload(10, backup, 400*mega, mega)
		}
		o.now = end
	}
}

func TestUploadAgainstTheDevicesOwnPast(t *testing.T) {
	cloud, backup, strange := port(net4(1), 443), port(net4(2), 443), port(net4(3), 443)
	for _, c := range []struct {
		name string
		to   netip.AddrPort
		size uint64
		want detect.Confidence
	}{
		{"far more than ever, to a new place", strange, 3000 * mega, detect.Medium},
		{"twice a usual hour", strange, 80 * mega, ""},
		{"the backup has grown", backup, 1500 * mega, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			for i, a := range []netip.AddrPort{cloud, backup, strange} {
				o.resolve(10, []string{"a.example.com", "b.example.net", "c.example.org"}[i], a.Addr())
			}
			liveAWeek(o, cloud, backup)
			before := len(o.found)
			o.now = o.now.Add(time.Hour)
			o.upload(10, c.to, c.size, mega)
			o.found = o.found[before:]
			o.want("exfiltration", c.want)
		})
	}
}

// windows lets a device say by DHCP what it is.
func (o *office) windows(n int) {
	o.play(&flow.DHCP{Meta: o.meta(mac(n)), Type: 3, ClientMAC: mac(n), VendorClass: "MSFT 5.0", Hostname: fmt.Sprint("pc-", n)})
}

func TestANewDeviceIsMeasuredByOthersOfItsRole(t *testing.T) {
	cloud := port(net4(1), 443)
	for _, c := range []struct {
		name   string
		others int // computers with a past
		size   uint64
		want   detect.Confidence
	}{
		{"no more than other computers", 3, 150 * mega, ""},
		{"three times the most of any", 3, 400 * mega, detect.Low},
		{"nobody to compare with", 2, 400 * mega, ""}, // to a named cloud, that is photos
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			for n := 10; n < 10+c.others; n++ {
				o.windows(n)
				o.resolve(n, "a.example.com", cloud.Addr())
			}
			for range 7*24 + 1 {
				end := o.now.Add(time.Hour)
				for n := 10; n < 10+c.others; n++ {
					o.upload(n, cloud, 120*mega, mega)
				}
				o.now = end
			}
			o.windows(50)
			o.resolve(50, "a.example.com", cloud.Addr())
			o.found = nil
			o.upload(50, cloud, c.size, mega)
			o.want("exfiltration", c.want)
		})
	}
}

func (o *office) echo(from int, to netip.Addr, reply bool, seq uint16, size int, sum uint32) {
	e := flow.ICMP{Meta: o.meta(mac(from)), Src: ip(from), Dst: to, Type: 8, ID: 7, Seq: seq, Length: size, Sum: sum}
	if reply {
		e.Src, e.Dst, e.Type, e.SrcMAC, e.DstMAC = to, ip(from), 0, gatewayMAC, mac(from)
	}
	o.play(&e)
	o.now = o.now.Add(20 * time.Millisecond)
}

func TestDataInsidePing(t *testing.T) {
	for _, c := range []struct {
		name string
		want detect.Confidence
		play func(o *office, i int)
	}{
		{"replies that answer instead of repeating", detect.High, func(o *office, i int) {
			o.echo(10, net4(1), false, uint16(i), 200+i, uint32(i))
			o.echo(10, net4(1), true, uint16(i), 300+i, uint32(1000+i))
		}},
		{"one way, nobody answers", detect.Medium, func(o *office, i int) {
			o.echo(10, net4(1), false, uint16(i), 200+i%50, uint32(i))
		}},
		{"ordinary ping", "", func(o *office, i int) {
			o.echo(10, net4(1), false, uint16(i), 56, 42)
			o.echo(10, net4(1), true, uint16(i), 56, 42)
		}},
		{"ping that fills in random data", "", func(o *office, i int) {
			o.echo(10, net4(1), false, uint16(i), 56, uint32(i*i))
			o.echo(10, net4(1), true, uint16(i), 56, uint32(i*i))
		}},
		{"ping that tries sizes", "", func(o *office, i int) {
			o.echo(10, net4(1), false, uint16(i), 100+i, 42)
			o.echo(10, net4(1), true, uint16(i), 100+i, 42)
		}},
		{"long ping, cut into fragments of different sizes", "", func(o *office, i int) {
			o.echo(10, net4(1), false, uint16(i), 1472, 42)
			o.echo(10, net4(1), true, uint16(i), 1420, 42)
		}},
		{"flood whose replies come late", "", func(o *office, i int) {
			o.echo(10, net4(1), false, uint16(i), 56, 42)
			if i >= 40 {
				o.echo(10, net4(1), true, uint16(i-40), 56, 42)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			for i := range 200 {
				c.play(o, i)
			}
			o.want("exfiltration", c.want)
		})
	}
}
