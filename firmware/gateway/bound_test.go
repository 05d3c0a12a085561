package gateway

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
)

// heapMost is what the pipeline may hold whatever strangers send, of the 1 GB
// that the smallest board has.
const heapMost = 256 << 20

// strangers sends frames in turn, each from a device that was never seen
// before. The templates are changed in place.
type strangers struct {
	frames []stranger
	f      capture.Frame
	n      uint64
}

type stranger struct {
	data []byte
	mac  []int // offsets of the sender's MAC
	ip   []int // offsets of the sender's IPv4 address
	to   int   // offset of the target's IPv4 address, 0: fixed
}

func newStrangers() *strangers {
	from, to := netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("192.168.77.0")
	mac, dst, all := [6]byte{2}, [6]byte{0, 0, 0x5e, 0, 0x53, 1}, [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	unicast, broadcast := flowtest.Ether{Src: mac, Dst: dst}, flowtest.Ether{Src: mac, Dst: all}
	syn := flowtest.Segment{SrcPort: 40000, DstPort: 445, Seq: 1, Flags: flow.FlagSYN}
	bootp := func(op, typ byte) []byte { // offsets: chaddr 28
		b := make([]byte, 236, 260)
		copy(b, []byte{op, 1, 6, 0})
		copy(b[16:], to.AsSlice())
		return append(b, 0x63, 0x82, 0x53, 0x63, 53, 1, typ, 255)
	}
	tcp := flowtest.IP{Src: from, Dst: to, Proto: 6}
	echo := flowtest.IP{Src: from, Dst: to, Proto: 1}
	client := flowtest.IP{Src: netip.IPv4Unspecified(), Dst: netip.AddrFrom4([4]byte{255, 255, 255, 255}), Proto: 17}
	server := flowtest.IP{Src: from, Dst: client.Dst, Proto: 17}
	const eth, ipSrc, ipDst, arpMAC, arpIP, arpTo, chaddr = 6, 26, 30, 22, 28, 38, 14 + 20 + 8 + 28
	return &strangers{frames: []stranger{
		{unicast.Frame(flow.EtherIPv4, tcp.Packet(syn.Bytes(nil))), []int{eth}, []int{ipSrc}, ipDst},
		{broadcast.Frame(flow.EtherARP, flowtest.ARP(1, mac, from, [6]byte{}, to)), []int{eth, arpMAC}, []int{arpIP}, arpTo},
		{broadcast.Frame(flow.EtherARP, flowtest.ARP(2, mac, to, all, from)), []int{eth, arpMAC}, nil, arpIP}, // fights over 256 addresses
		{broadcast.Frame(flow.EtherIPv4, client.Packet(flowtest.UDP(68, 67, bootp(1, 1)))), []int{eth, chaddr}, nil, 0},
		{broadcast.Frame(flow.EtherIPv4, server.Packet(flowtest.UDP(67, 68, bootp(2, 5)))), []int{eth, chaddr}, []int{ipSrc}, 0},
		{unicast.Frame(flow.EtherIPv4, echo.Packet([]byte{8, 0, 0, 0, 0, 1, 0, 1})), []int{eth}, []int{ipSrc}, ipDst},
	}}
}

// next is 40 µs after the frame before: 25,000 frames a second.
func (s *strangers) next() *capture.Frame {
	t := &s.frames[s.n%uint64(len(s.frames))]
	s.n++
	for _, at := range t.mac {
		binary.BigEndian.PutUint32(t.data[at+2:], uint32(s.n))
	}
	for _, at := range t.ip {
		binary.BigEndian.PutUint32(t.data[at:], 10<<24|uint32(s.n)&0xffffff)
	}
	if t.to != 0 {
		t.data[t.to+3] = byte(s.n >> 3)
	}
	s.f = capture.Frame{Time: start.UnixNano() + int64(s.n)*40_000, Data: t.data, OrigLen: len(t.data), Link: capture.LinkEthernet}
	return &s.f
}

// flood sends n frames through a pipeline and returns it with the largest live
// heap that was seen, in bytes, above what was there before.
func flood(n int) (p *Pipeline, most uint64, findings int) {
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	p = NewPipeline(PipelineConfig{})
	s := newStrangers()
	for i := range n {
		findings += len(p.Frame(s.next()))
		if i%(n/8) == n/8-1 {
			most = max(most, live())
		}
	}
	return p, most - min(before, most), findings
}

// The test stays short under the race detector: a quarter of a million fill
// every table several times. bound_full_test.go sends ten million.
func TestStrangersDoNotFillTheMemory(t *testing.T) {
	const n = 250_000
	p, most, findings := flood(n)
	t.Logf("%d MB live, %d findings", most>>20, findings)
	if most > heapMost {
		t.Errorf("%d MB live, at most %d", most>>20, heapMost>>20)
	}
	if s := p.Flows(); s.Packets != n || s.Malformed > 0 || s.DHCP == 0 || s.Evicted == 0 {
		t.Errorf("flow: %+v", s)
	}
	if s := p.Inventory().Stats(); s.Evicted == 0 {
		t.Errorf("asset: %+v", s)
	}
	if findings > 2000 {
		t.Errorf("%d findings for a person to read", findings)
	}
	for _, name := range []string{"worm", "host_scan", "port_scan", "arp_scan", "arp_spoof", "rogue_dhcp"} {
		if p.engine.Stats().Evicted[name] == 0 {
			t.Errorf("%s forgets nobody, or does not count whom", name)
		}
	}
}
