package flow

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

var (
	hostA = netip.MustParseAddr("192.168.1.1")
	hostB = netip.MustParseAddr("192.168.1.2")
	ether = flowtest.Ether{Src: [6]byte{2, 0, 0, 0, 0, 1}, Dst: [6]byte{2, 0, 0, 0, 0, 2}}
)

// talker sends segments of one connection and collects what they mean.
type talker struct {
	track *Tracker
	seen  []string
	port  uint16
	now   int64
	hook  func(Event)
}

func newTalker(port uint16) *talker {
	k := &talker{track: New(Config{}), port: port}
	k.tcp(0, FlagSYN, 99, nil)
	k.tcp(1, FlagSYN|FlagACK, 499, nil)
	return k
}

func (k *talker) emit(ev Event) {
	if k.hook != nil {
		k.hook(ev)
	}
	switch e := ev.(type) {
	case *TLSHello:
		k.seen = append(k.seen, fmt.Sprintf("tls server=%v %04x %s %v", e.FromServer, e.Version, e.SNI, e.ALPN))
	case *HTTP:
		k.seen = append(k.seen, fmt.Sprintf("http %s %s %s [%s]", e.Method, e.Host, e.Path, e.UserAgent))
	case *HTTPReply:
		k.seen = append(k.seen, fmt.Sprintf("reply %d status=%d %s [%s] auth=%s body=%q", e.Number, e.Status, e.ContentType, e.Product, e.Authenticate, e.Body))
	case *Login:
		k.seen = append(k.seen, fmt.Sprintf("login %s %s user=%q result=%d clear=%v server=%v", e.Service, e.Mechanism, e.User, e.Result, e.Cleartext, e.FromServer))
	case *IRC:
		k.seen = append(k.seen, fmt.Sprintf("irc server=%v %s %s %q", e.FromServer, e.Command, e.Target, e.Text))
	case *Opaque:
		k.seen = append(k.seen, fmt.Sprintf("opaque server=%v %q", e.FromServer, e.Data))
	case *SSDP:
		k.seen = append(k.seen, fmt.Sprintf("ssdp %s %s %s %s", e.Method, e.Target, e.Location, e.Product))
	case *SMB:
		k.seen = append(k.seen, fmt.Sprintf("smb%d command=%d response=%v status=%x", e.Version, e.Command, e.Response, e.Status))
	case *DNS:
		line := fmt.Sprintf("dns %d tcp=%v response=%v opcode=%d %s/%d", e.Proto, e.TCP, e.Response, e.Opcode, e.QName, e.QType)
		for _, a := range e.Answers {
			line += fmt.Sprintf(" %s=%s", a.Name, a.Data)
		}
		k.seen = append(k.seen, line)
	case *DHCP:
		k.seen = append(k.seen, fmt.Sprintf("dhcp type=%d %v %q %q your=%v requested=%v server=%v routers=%v dns=%v params=%v from=%v",
			e.Type, e.ClientMAC, e.Hostname, e.VendorClass, e.YourIP, e.RequestedIP, e.ServerID, e.Routers, e.DNS, e.Params, e.FromServer))
	case *NDP:
		k.seen = append(k.seen, fmt.Sprintf("ndp %d target=%v link=%v life=%d %v %v", e.Type, e.Target, e.LinkAddr, e.Lifetime, e.Prefixes, e.RDNSS))
	case *ARP:
		k.seen = append(k.seen, fmt.Sprintf("arp %d %v %v %v %v", e.Op, e.SenderMAC, e.SenderIP, e.TargetMAC, e.TargetIP))
	case *Banner:
		k.seen = append(k.seen, fmt.Sprintf("banner %s server=%v %s", e.Service, e.FromServer, e.Text))
	case *Malformed:
		k.seen = append(k.seen, "malformed "+e.Layer+": "+e.Reason)
	}
}

func (k *talker) frame(b []byte) {
	k.now += 1e6
	k.track.Frame(&capture.Frame{Time: k.now, Data: b, OrigLen: len(b), Link: capture.LinkEthernet}, k.emit)
}

// tcp sends bytes at seq; client data starts at 100, server data at 500.
func (k *talker) tcp(dir int, flags uint8, seq uint32, data []byte) {
	ip := flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoTCP}
	s := flowtest.Segment{SrcPort: 40000, DstPort: k.port, Seq: seq, Flags: flags}
	if dir == 1 {
		ip.Src, ip.Dst, s.SrcPort, s.DstPort = hostB, hostA, k.port, 40000
	}
	k.frame(ether.Frame(ip.EtherType(), ip.Packet(s.Bytes(data))))
}

func (k *talker) udp(src, dst uint16, data []byte) {
	ip := flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoUDP}
	k.frame(ether.Frame(ip.EtherType(), ip.Packet(flowtest.UDP(src, dst, data))))
}

func (k *talker) want(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(k.seen, want) {
		t.Errorf("saw\n\t%s\nwant\n\t%s", strings.Join(k.seen, "\n\t"), strings.Join(want, "\n\t"))
	}
}

const helloSeen = "tls server=false 0304 shop.example [h2 http/1.1]"

func TestHelloIsReadWhicheverWayItIsCut(t *testing.T) {
	hello := flowtest.ClientHello("shop.example", 1800)
	third := len(hello) / 3
	part := func(k *talker, from, to int) { k.tcp(0, FlagACK, 100+uint32(from), hello[from:to]) }
	for name, send := range map[string]func(k *talker){
		"whole":      func(k *talker) { part(k, 0, len(hello)) },
		"two":        func(k *talker) { part(k, 0, 1460); part(k, 1460, len(hello)) },
		"swapped":    func(k *talker) { part(k, 1460, len(hello)); part(k, 0, 1460) },
		"reversed":   func(k *talker) { part(k, 2*third, len(hello)); part(k, third, 2*third); part(k, 0, third) },
		"repeated":   func(k *talker) { part(k, 0, third); part(k, 0, third); part(k, third, len(hello)) },
		"overlapped": func(k *talker) { part(k, 0, third); part(k, third-50, len(hello)) },
		"first byte": func(k *talker) { part(k, 0, 1); part(k, 1, len(hello)) },
		"by fives":   func(k *talker) { part(k, 0, 5); part(k, 5, 9); part(k, 9, len(hello)) },
	} {
		t.Run(name, func(t *testing.T) {
			k := newTalker(8443)
			send(k)
			k.tcp(1, FlagACK, 500, flowtest.ServerHello())
			k.want(t, helloSeen, "tls server=true 0304  []")
			if c := k.track.table.at(1); c.stream != [2]uint32{} {
				t.Errorf("reassembly slots %v are still held", c.stream)
			}
		})
	}
}

func TestAHelloMaySpanRecords(t *testing.T) {
	hello := flowtest.ClientHello("shop.example", 600)
	body := hello[5:]
	two := append([]byte{22, 3, 1, 0, 100}, body[:100]...)
	two = append(append(two, 22, 3, 1, byte((len(body)-100)>>8), byte(len(body)-100)), body[100:]...)
	k := newTalker(443)
	k.tcp(0, FlagACK, 100, two)
	k.want(t, helloSeen)
}

func TestASecondVersionOfBytesDoesNotReplaceTheFirst(t *testing.T) {
	hello := flowtest.ClientHello("shop.example", 600)
	other := flowtest.ClientHello("evil.example", 600)
	k := newTalker(443)
	k.tcp(0, FlagACK, 100, hello[:300])
	k.tcp(0, FlagACK, 100, other[:300])
	k.tcp(0, FlagACK, 400, hello[300:])
	k.want(t, helloSeen)
}

func TestAHeadWithAHoleIsGivenUpAndCounted(t *testing.T) {
	hello := flowtest.ClientHello("shop.example", 1800)
	k := newTalker(443)
	k.tcp(0, FlagACK, 100, hello[:500])
	for i := range uint32(maxTries) {
		k.tcp(0, FlagACK, 100+1000+i, hello[1000+i:1001+i])
	}
	k.tcp(0, FlagACK, 600, hello[500:])
	k.want(t)
	if s := k.track.Stats(); s.DeepSkipped != 1 || s.TLS != 0 {
		t.Errorf("skipped %d, want 1; hellos %d, want 0", s.DeepSkipped, s.TLS)
	}
}

func TestReassemblySlotsAreBoundedAndComeBack(t *testing.T) {
	track := New(Config{})
	send := func(port uint16, flags uint8, dir int, data []byte, seq uint32) {
		ip := flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoTCP}
		s := flowtest.Segment{SrcPort: port, DstPort: 443, Seq: seq, Flags: flags}
		if dir == 1 {
			ip.Src, ip.Dst, s.SrcPort, s.DstPort = hostB, hostA, 443, port
		}
		b := ether.Frame(0x0800, ip.Packet(s.Bytes(data)))
		track.Frame(&capture.Frame{Data: b, OrigLen: len(b), Link: capture.LinkEthernet}, func(Event) {})
	}
	const more = 10
	for port := uint16(1000); port < 1000+streamSlots+more; port++ {
		send(port, FlagSYN, 0, nil, 0)
		send(port, FlagSYN|FlagACK, 1, nil, 0)
		send(port, FlagACK, 0, []byte{22, 3, 1}, 1)
	}
	if got := track.Stats().DeepSkipped; got != more {
		t.Errorf("%d heads went unread, want %d", got, more)
	}
	for port := uint16(1000); port < 1000+streamSlots+more; port++ {
		send(port, FlagRST, 0, nil, 4)
	}
	for range streamSlots {
		if track.streams.take(0) == 0 {
			t.Fatal("a closed connection keeps its reassembly slot")
		}
	}
}

func TestHTTPRequest(t *testing.T) {
	req := "GET /a?b=1 HTTP/1.1\r\nhost: office.example\r\nUser-Agent: x\x1b[31m\r\n\r\n"
	want := `http GET office.example /a?b=1 [x\027[31m]`
	k := newTalker(8080)
	k.tcp(0, FlagACK, 100, []byte(req))
	k.want(t, want)
	k = newTalker(8080)
	for i := 0; i < len(req); i += 20 {
		k.tcp(0, FlagACK, uint32(100+i), []byte(req[i:min(i+20, len(req))]))
	}
	k.want(t, want)
	k = newTalker(8080)
	k.tcp(0, FlagACK, 100, []byte("GET me out of here\r\n\r\n"))
	k.want(t, "malformed http: request line cannot be read")
}

func smb2(command, flags byte) []byte {
	b := append([]byte{0, 0, 0, 64, 0xfe, 'S', 'M', 'B', 64, 0, 0, 0, 0x22, 0, 0, 0xc0, command, 0, 0, 0, flags}, make([]byte, 47)...)
	return b
}

func TestSMBCommands(t *testing.T) {
	k := newTalker(445)
	write := smb2(9, 0)
	write[2], write[3] = 0x10, 0 // 4096 bytes follow
	content := append(make([]byte, 500), smb2(8, 0)...)
	smb1 := append([]byte{0, 0, 0, 32, 0xff, 'S', 'M', 'B', 0x72, 1, 0, 0, 0xc0, 0x80}, make([]byte, 22)...)
	k.tcp(0, FlagACK, 100, slices.Concat(smb2(5, 0), write))
	k.tcp(0, FlagACK, 100+136, content) // part of the 4096: no commands in there
	at := uint32(100 + 68 + 4 + 4096)
	k.tcp(0, FlagACK, at, smb2(6, 0))
	k.tcp(1, FlagACK, 500, smb2(5, 1))
	k.tcp(1, FlagACK, 568, smb1)
	k.tcp(0, FlagACK, at+68+1000, smb2(14, 0)) // after a gap
	k.tcp(0, FlagACK, at+68+1068, []byte{0, 0, 0, 4, 0xfd, 'S', 'M', 'B'})
	k.want(t,
		"smb2 command=5 response=false status=0",
		"smb2 command=9 response=false status=0",
		"smb2 command=6 response=false status=0",
		"smb2 command=5 response=true status=c0000022",
		"smb1 command=114 response=true status=c0000001",
		"smb2 command=14 response=false status=0",
		"smb3 command=0 response=false status=0")
}

func TestDNSOverUDPAndTCP(t *testing.T) {
	answer := flowtest.DNSQuery(7, "WWW.Example.net", netip.MustParseAddr("198.51.100.7"))
	k := newTalker(53)
	k.udp(40000, 53, flowtest.DNSQuery(7, "WWW.Example.net", netip.Addr{}))
	k.udp(53, 40000, answer)
	k.tcp(1, FlagACK, 500, append([]byte{0, byte(len(answer))}, answer[:20]...))
	k.tcp(1, FlagACK, 522, answer[20:])
	k.udp(40000, 53, []byte("no DNS"))
	k.udp(40000, 53, append([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, 0xc0, 12, 0, 1, 0, 1)) // a name that points to itself
	k.want(t,
		"dns 0 tcp=false response=false opcode=0 www.example.net/1",
		"dns 0 tcp=false response=true opcode=0 www.example.net/1 www.example.net=198.51.100.7",
		"dns 0 tcp=true response=true opcode=0 www.example.net/1 www.example.net=198.51.100.7",
		"malformed dns: shorter than its header",
		"malformed dns: question or record cannot be read")
}

func TestEveryMessageOfDNSOverTCPIsRead(t *testing.T) {
	var stream []byte
	var want []string
	for i := range 300 {
		name := fmt.Sprintf("n%d.example.net", i)
		q := flowtest.DNSQuery(7, name, netip.Addr{})
		stream = append(append(stream, 0, byte(len(q))), q...)
		if i < dnsMessages {
			want = append(want, "dns 0 tcp=true response=false opcode=0 "+name+"/1")
		}
	}
	for _, size := range []int{len(stream), 10, 40, 1460} {
		k := newTalker(53)
		for at := 0; at < len(stream); at += size {
			k.tcp(0, FlagACK, uint32(100+at), stream[at:min(at+size, len(stream))])
			k.tcp(0, FlagACK, uint32(100+at), stream[at:min(at+size, len(stream))]) // sent again
		}
		if !slices.Equal(k.seen, want) {
			t.Errorf("in pieces of %d: %d messages, want %d", size, len(k.seen), len(want))
		}
		if c := k.track.table.at(1); c.stream != [2]uint32{} {
			t.Errorf("in pieces of %d: slots %v are still held", size, c.stream)
		}
	}
}

// nbEncode is the first-level encoding of RFC 1001 section 14.1.
func nbEncode(name string) (out []byte) {
	out = append(out, 32)
	for _, c := range []byte(fmt.Sprintf("%-15s\x00", name)) {
		out = append(out, 'A'+c>>4, 'A'+c&15)
	}
	return append(out, 0)
}

func TestNetBIOSNames(t *testing.T) {
	reg := append([]byte{0, 1, 0x29, 0x10, 0, 1, 0, 0, 0, 0, 0, 1}, nbEncode("ACCOUNTS-PC")...)
	reg = append(reg, 0, 32, 0, 1, 0xc0, 12, 0, 32, 0, 1, 0, 0, 0, 0, 0, 6, 0, 0, 192, 168, 1, 1)
	k := newTalker(1)
	k.udp(137, 137, reg)
	k.want(t, "dns 3 tcp=false response=false opcode=5 accounts-pc/32 accounts-pc=192.168.1.1")
}

func TestLLMNRAndUnicastMDNSAnswersAreReadByTheirSourcePort(t *testing.T) {
	k := newTalker(1)
	k.udp(5355, 50000, flowtest.DNSQuery(7, "pc", hostA))
	k.udp(5353, 50001, flowtest.DNSQuery(7, "pc.local", hostA))
	k.udp(5354, 50002, flowtest.DNSQuery(7, "pc", hostA)) // no name service
	k.want(t,
		"dns 2 tcp=false response=true opcode=0 pc/1 pc=192.168.1.1",
		"dns 1 tcp=false response=true opcode=0 pc.local/1 pc.local=192.168.1.1")
}

func TestMDNSAnnouncement(t *testing.T) {
	b := []byte{0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 1}
	b = append(b, "\x04_ipp\x04_tcp\x05local\x00"...)
	b = append(b, 0, 12, 0, 1, 0, 0, 0, 60, 0, 5, 2, 'm', 'y', 0xc0, 12)
	b = append(b, "\x07printer\x05local\x00\x00\x01\x80\x01\x00\x00\x00\x3c\x00\x04\xc0\xa8\x01\x09"...)
	k := newTalker(1)
	k.udp(5353, 5353, b)
	k.want(t, "dns 1 tcp=false response=true opcode=0 /0 _ipp._tcp.local=my._ipp._tcp.local printer.local=192.168.1.9")
}

func dhcpMessage(op byte, options string) []byte {
	b := make([]byte, 240)
	b[0], b[1], b[2] = op, 1, 6
	copy(b[28:], []byte{2, 0, 0, 0, 0, 9})
	copy(b[236:], []byte{99, 130, 83, 99})
	return append(b, options...)
}

func TestDHCP(t *testing.T) {
	k := newTalker(1)
	k.udp(68, 67, dhcpMessage(1, "\x35\x01\x03\x32\x04\xc0\xa8\x01\x09\x0c\x04pc\x07\x00\x3c\x08MSFT 5.0\x37\x02\x01\x03\xff"))
	offer := dhcpMessage(2, "\x35\x01\x02\x36\x04\xc0\xa8\x01\x01\x03\x04\xc0\xa8\x01\x01\x06\x08\xc0\xa8\x01\x01\x08\x08\x08\x08\xff")
	copy(offer[16:], []byte{192, 168, 1, 9})
	k.udp(67, 68, offer)
	k.udp(68, 67, dhcpMessage(1, "\x51\x0d\x04\x00\x00\x02pc\x05local\x00\xff")) // option 81 in wire form
	k.udp(68, 67, dhcpMessage(1, "\x35\x07\x01"))
	k.want(t,
		`dhcp type=3 02:00:00:00:00:09 "pc\\007" "MSFT 5.0" your=invalid IP requested=192.168.1.9 server=invalid IP routers=[] dns=[] params=[1 3] from=false`,
		`dhcp type=2 02:00:00:00:00:09 "" "" your=192.168.1.9 requested=invalid IP server=192.168.1.1 routers=[192.168.1.1] dns=[192.168.1.1 8.8.8.8] params=[] from=true`,
		`dhcp type=0 02:00:00:00:00:09 "pc.local" "" your=invalid IP requested=invalid IP server=invalid IP routers=[] dns=[] params=[] from=false`,
		"malformed dhcp: no DHCP message")
}

func TestAPanicOfADecoderIsOneMalformedMessage(t *testing.T) {
	b := dhcpMessage(1, "\x35\x01\x01\xff")
	b[2] = 240 // gopacket slices by this
	k := newTalker(1)
	k.udp(68, 67, b)
	k.udp(68, 67, dhcpMessage(1, "\xff"))
	if len(k.seen) != 2 || k.seen[0] != "malformed dhcp: the decoder panicked" || !strings.HasPrefix(k.seen[1], "dhcp type=0") {
		t.Errorf("saw %q", k.seen)
	}
	if s := k.track.Stats(); s.Panics != 1 || s.Malformed != 1 {
		t.Errorf("panics %d, malformed %d, want 1 and 1", s.Panics, s.Malformed)
	}
}

func TestAPanicOfAConsumerIsNotHidden(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("the consumer's panic was swallowed")
		}
	}()
	track := New(Config{})
	b := ether.Frame(0x0800, flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoUDP}.Packet(flowtest.UDP(9, 53, flowtest.DNSQuery(1, "a", netip.Addr{}))))
	track.Frame(&capture.Frame{Data: b, Link: capture.LinkEthernet}, func(ev Event) {
		if _, ok := ev.(*DNS); ok {
			panic("consumer")
		}
	})
}

func TestNeighbourDiscovery(t *testing.T) {
	router := netip.MustParseAddr("fe80::1")
	ra := append([]byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}, 1, 1, 2, 0, 0, 0, 0, 1)
	ra = append(ra, append([]byte{3, 4, 64, 0xc0}, make([]byte, 12)...)...)
	ra = append(ra, netip.MustParseAddr("2001:db8::").AsSlice()...)
	ra = append(ra, append([]byte{25, 3, 0, 0, 0, 0, 0, 9}, netip.MustParseAddr("2001:db8::53").AsSlice()...)...)
	send := func(k *talker, ttl uint8, b []byte) {
		ip := flowtest.IP{Src: router, Dst: netip.MustParseAddr("ff02::1"), Proto: ProtoICMPv6, TTL: ttl}
		k.frame(ether.Frame(0x86dd, ip.Packet(b)))
	}
	k := newTalker(1)
	send(k, 255, ra)
	send(k, 64, ra) // came through a router
	ra[17] = 0      // an option without a length
	send(k, 255, ra)
	send(k, 255, []byte{135, 0, 0, 0, 0, 0, 0, 0, 1})
	k.want(t,
		"ndp 134 target=invalid IP link=02:00:00:00:00:01 life=1800 [2001:db8::/64] [2001:db8::53]",
		"malformed ndp: hop limit is not 255",
		"malformed ndp: option has no length or ends beyond the message",
		"malformed ndp: shorter than its header")
}

func TestARP(t *testing.T) {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 192, 168, 1, 1, 2, 0, 0, 0, 0, 2, 192, 168, 1, 2}
	k := newTalker(1)
	k.frame(ether.Frame(EtherARP, b))
	k.frame(ether.Frame(EtherARP, b[:20]))
	k.want(t, "arp 2 02:00:00:00:00:01 192.168.1.1 02:00:00:00:00:02 192.168.1.2", "malformed arp: shorter than its header")
}
