package impact_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/capture"
	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
	"sekisho/firmware/impact"
)

var (
	begin   = time.Date(2026, 4, 20, 9, 0, 0, 0, time.UTC)
	gateway = host{[6]byte{2, 0, 0, 0, 0, 254}, netip.MustParseAddr("192.168.10.254")}
	nas     = host{[6]byte{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("192.168.10.1")}
	printer = host{[6]byte{2, 0, 0, 0, 0, 2}, netip.MustParseAddr("fd00::2")}
	worm    = host{[6]byte{2, 0, 0, 0, 0, 66}, netip.MustParseAddr("192.168.10.66")}
)

type host struct {
	mac  [6]byte
	addr netip.Addr
}

func desk(n int) host {
	return host{[6]byte{2, 0, 0, 0, 1, byte(n)}, netip.AddrFrom4([4]byte{192, 168, 10, byte(100 + n)})}
}

func (h host) six() host {
	b := [16]byte{0: 0xfd, 15: h.addr.As4()[3]}
	return host{h.mac, netip.AddrFrom16(b)}
}

// tape is a capture as the frames of an office make it.
type tape struct {
	frames []capture.Frame
	now    time.Time
	port   uint16
}

func (t *tape) frame(a, b host, proto uint8, body []byte) {
	ip := flowtest.IP{Src: a.addr, Dst: b.addr, Proto: proto}
	data := flowtest.Ether{Src: a.mac, Dst: b.mac}.Frame(ip.EtherType(), ip.Packet(body))
	t.frames = append(t.frames, capture.Frame{Time: t.now.UnixNano(), Data: data, OrigLen: len(data), Link: capture.LinkEthernet})
	t.now = t.now.Add(5 * time.Millisecond)
}

// tcp is a connection that opens, says n bytes each way and closes.
func (t *tape) tcp(a, b host, port uint16, n int) {
	t.port++
	from, seq, ack := 50000+t.port, uint32(1000), uint32(9000)
	seg := func(client bool, flags uint8, body []byte) {
		s := flowtest.Segment{SrcPort: from, DstPort: port, Seq: seq, Ack: ack, Flags: flags}
		if client {
			t.frame(a, b, 6, s.Bytes(body))
			seq += uint32(len(body))
			return
		}
		s.SrcPort, s.DstPort, s.Seq, s.Ack = port, from, ack, seq
		t.frame(b, a, 6, s.Bytes(body))
		ack += uint32(len(body))
	}
	seg(true, flow.FlagSYN, nil)
	seq++
	seg(false, flow.FlagSYN|flow.FlagACK, nil)
	ack++
	seg(true, flow.FlagACK, nil)
	if n > 0 {
		seg(true, flow.FlagACK|flow.FlagPSH, make([]byte, n))
		seg(false, flow.FlagACK|flow.FlagPSH, make([]byte, n))
	}
	seg(true, flow.FlagFIN|flow.FlagACK, nil)
	seq++
	seg(false, flow.FlagFIN|flow.FlagACK, nil)
	ack++
	seg(true, flow.FlagACK, nil)
}

func (t *tape) udp(a, b host, port uint16) {
	t.port++
	t.frame(a, b, 17, flowtest.UDP(50000+t.port, port, make([]byte, 40)))
	t.frame(b, a, 17, flowtest.UDP(port, 50000+t.port, make([]byte, 80)))
}

// morning is work in an office, then a worm that tries everybody.
func morning() []capture.Frame {
	t := &tape{now: begin}
	for round := range 3 {
		for n := range 4 {
			t.tcp(desk(n), nas, 445, 700)
			t.udp(desk(n), gateway, 53)
		}
		t.tcp(desk(0).six(), printer, 631, 900)
		t.tcp(desk(1).six(), printer, 631, 900)
		t.now = begin.Add(time.Duration(round+1) * 10 * time.Minute)
	}
	for n := range 40 { // connects to everybody, and is told something by those who answer
		t.tcp(worm, desk(n), 445, 0)
		t.tcp(worm, desk(n), 135, 300)
	}
	return t.frames
}

func replay(frames []capture.Frame) (*impact.Usage, *asset.Inventory, time.Time) {
	inv := asset.New(asset.Config{Self: []flow.MAC{gateway.mac}, SelfAddrs: []netip.Addr{gateway.addr}})
	use := impact.New(impact.Config{Assets: inv})
	tr := flow.New(flow.Config{})
	emit := func(ev flow.Event) {
		inv.Observe(ev)
		use.Observe(ev)
	}
	for i := range frames {
		tr.Frame(&frames[i], emit)
	}
	end := frames[len(frames)-1].Time + int64(10*time.Minute)
	tr.Advance(end, emit)
	return use, inv, time.Unix(0, end).UTC()
}

func of(use *impact.Usage, h host, now time.Time) impact.Preview {
	return use.Preview(impact.Device{ID: asset.ID("mac:" + flow.MAC(h.mac).String()), MACs: []flow.MAC{h.mac}}, now)
}

func TestAReplayedMorningSaysWhoServesWhom(t *testing.T) {
	frames := morning()
	use, _, now := replay(frames)
	for _, c := range []struct {
		host host
		want string
	}{
		{nas, "Isolating it stops shared files for 4 devices."},
		{printer, "Isolating it stops printing for 2 devices."},
		{worm, "Nobody was seen using this device as a server since 20 Apr 09:00, when watching it began."},
		{desk(0), "Nobody was seen using this device as a server since 20 Apr 09:00, when watching it began."},
		{gateway, "Nobody was seen using this device as a server since 20 Apr 09:00, when watching it began."},
	} {
		if got := of(use, c.host, now).Sentence().EN; got != c.want {
			t.Errorf("%v: %s", c.host.addr, got)
		}
	}
	if uses := of(use, desk(0), now).Uses; !slices.Equal(uses, []impact.Service{impact.Files, impact.Print}) {
		t.Errorf("a desk uses %v", uses)
	}
	again, _, _ := replay(frames)
	one, err := use.Snapshot()
	two, err2 := again.Snapshot()
	if err != nil || err2 != nil || string(one) != string(two) {
		t.Errorf("two replays differ: %d and %d bytes, %v %v", len(one), len(two), err, err2)
	}
}

// BenchmarkPipelineShare is what a Usage adds to a million packets: with and
// without it, the same frames pass tracker and inventory.
func BenchmarkPipelineShare(b *testing.B) {
	frames := flowtest.Mix(200_000, 1)
	for _, with := range []bool{false, true} {
		name := "without"
		if with {
			name = "with"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				inv := asset.New(asset.Config{})
				use := impact.New(impact.Config{Assets: inv})
				tr := flow.New(flow.Config{})
				emit := func(ev flow.Event) {
					inv.Observe(ev)
					if with {
						use.Observe(ev)
					}
				}
				for i := range frames {
					tr.Frame(&frames[i], emit)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(frames)), "ns/packet")
		})
	}
}

// BenchmarkPreview is one question about the busiest server of a full memory.
func BenchmarkPreview(b *testing.B) {
	t := &tape{now: begin}
	for n := range 250 {
		for range 2 {
			h := host{[6]byte{2, 0, 0, 0, 2, byte(n)}, netip.AddrFrom4([4]byte{192, 168, 11, byte(n)})}
			t.tcp(h, nas, 445, 20000)
		}
	}
	use, _, now := replay(t.frames)
	if p := of(use, nas, now); p.Clients != 250 {
		b.Fatalf("%+v", p.Clients)
	}
	for b.Loop() {
		of(use, nas, now)
	}
}

// BenchmarkObserve is one connection that ends: between a client and a server
// that are known, and of a stranger each time.
func BenchmarkObserve(b *testing.B) {
	use, inv, now := replay(morning())
	e := flow.Conn{Meta: flow.Meta{Time: now}, State: flow.ConnClosed, Proto: 6, Sent: 900, Received: 900, RecvPackets: 9,
		Client: netip.AddrPortFrom(desk(1).addr, 50000), Server: netip.AddrPortFrom(nas.addr, 445), ClientMAC: desk(1).mac, ServerMAC: nas.mac}
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			use.Observe(&e)
		}
	})
	b.Run("stranger", func(b *testing.B) {
		use := impact.New(impact.Config{Assets: inv})
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			e.ClientMAC = flow.MAC{2, 1, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
			use.Observe(&e)
		}
	})
}
