package flow

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

// caller is one of many connections of a crowd.
type caller struct {
	client, server netip.Addr
	port           uint16
	seq            [2]uint32
}

// crowd plays more connections than an office has, each from an address of its
// own.
type crowd struct {
	track *Tracker
	now   int64
	hear  func(Event)
}

func (w *crowd) emit(ev Event) {
	if w.hear != nil {
		w.hear(ev)
	}
}

func (w *crowd) call(i int, port uint16, client, server uint32) *caller {
	c := &caller{
		client: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), server: hostB, port: port, seq: [2]uint32{client, server},
	}
	w.send(c, 0, FlagSYN, nil)
	w.send(c, 1, FlagSYN|FlagACK, nil)
	c.seq = [2]uint32{client + 1, server + 1}
	return c
}

func (w *crowd) send(c *caller, dir int, flags uint8, data []byte) {
	w.now += 1e4
	ip := flowtest.IP{Src: c.client, Dst: c.server, Proto: ProtoTCP}
	s := flowtest.Segment{SrcPort: 40000, DstPort: c.port, Seq: c.seq[dir], Ack: c.seq[1-dir], Flags: flags}
	if dir == 1 {
		ip.Src, ip.Dst, s.SrcPort, s.DstPort = ip.Dst, ip.Src, s.DstPort, s.SrcPort
	}
	b := ether.Frame(ip.EtherType(), ip.Packet(s.Bytes(data)))
	c.seq[dir] += uint32(len(data))
	w.track.Frame(&capture.Frame{Time: w.now, Data: b, OrigLen: len(b), Link: capture.LinkEthernet}, w.emit)
}

func (w *crowd) say(c *caller, dir int, data []byte) {
	for segment := range slices.Chunk(data, 1460) {
		w.send(c, dir, FlagACK, segment)
	}
}

// heap is what is in use, in MB.
func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// halfSaid begins every protocol that keeps something, and ends none: port,
// who speaks, what.
var halfSaid = []struct {
	port uint16
	dir  int
	data string
}{
	{443, 0, string(flowtest.ClientHello("a.example", 1400)[:1300])},
	{80, 0, "POST / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 1300)},
	{21, 1, "220 FTP " + strings.Repeat("x", 600)},
	{143, 1, "* OK " + strings.Repeat("x", 600)},
	{6667, 0, "NICK " + strings.Repeat("x", 600)},
	{3306, 1, "\xff\x00\x00\x00\x0a5.7" + strings.Repeat("x", 200)},
	{5432, 0, "\x00\x00\x27\x10\x00\x03\x00\x00user\x00" + strings.Repeat("x", 1300)},
	{389, 0, "\x30\x84\x00\x00\x20\x00\x02\x01\x01\x63\x84\x00\x00\x1f\x00" + strings.Repeat("x", 1300)},
	{135, 0, string(rpcBindMsg(1, 0, 0, nil, interfaces(32)...)[:1400])},
	{53, 0, "\x10\x00\x00\x01\x01\x00\x00\x01" + strings.Repeat("x", 1000)},
}

func interfaces(n int) (list [][]byte) {
	for i := range n {
		list = append(list, append(bytes.Repeat([]byte{byte(i)}, 15), 1))
	}
	return list
}

// TestMemoryIsBoundedWhenEveryPoolIsFull keeps the promise of the package
// comment, by an office of which every connection is an attack.
func TestMemoryIsBoundedWhenEveryPoolIsFull(t *testing.T) {
	before := heap()
	w := &crowd{track: New(Config{})}
	for i := range 1<<16 - dialogueSlots {
		h := &halfSaid[i%len(halfSaid)]
		w.say(w.call(i, h.port, 99, 499), h.dir, []byte(h.data))
	}
	for i := range dialogueSlots {
		w.share(w.call(1<<16-dialogueSlots+i, 445, 99, 499), i)
	}
	used := heap() - before
	s := w.track.Stats()
	t.Logf("%.0f MB with %d connections, %d entries, %d pipes", used, s.Live, w.track.pdus.entries, w.track.pdus.pipes.entries)
	if s.Live != 1<<16 || len(w.track.dialogues.slot) != dialogueSlots+1 || w.track.pdus.pipes.entries != pipeBudget ||
		w.track.pdus.entries < pduBudget-1 {
		t.Errorf("the pools are not full: %+v, %d entries, %d pipes", s, w.track.pdus.entries, w.track.pdus.pipes.entries)
	}
	if used > worstMemory {
		t.Errorf("%.0f MB are in use, %d were promised", used, worstMemory)
	}
	w.track.Flush(w.emit)
	if n := w.track.pdus.entries + w.track.pdus.pipes.entries; n != 0 {
		t.Errorf("%d entries are counted after the end", n)
	}
	runtime.KeepAlive(w.track)
}

// worstMemory in MB, see the package comment.
const worstMemory = 100

// share fills what one SMB connection may hold: requests without an answer,
// pipes with many interfaces, half a message in each direction.
func (w *crowd) share(c *caller, i int) {
	path := strings.Repeat("x", 250)
	for mid := range uint64(12) {
		w.say(c, 0, nbss(smb2CreateMsg(mid+1, fmt.Sprint(path, i, mid), 1, 1, 0)))
	}
	for file := uint64(1); i%8 == 0 && file <= 12; file++ {
		bind := rpcBindMsg(1, 0, 0, nil, interfaces(32)...)
		w.say(c, 0, nbss(smb2WriteMsg(100, file, 0, bind)))
	}
	w.say(c, 0, nbss(smb2ReadMsg(200, 77, 0, 1<<16)))
	w.say(c, 1, nbss(smb2ReadAnswer(200, make([]byte, 1<<16)))[:4000])
	w.say(c, 0, nbss(smb2WriteMsg(201, 77, 0, make([]byte, 1<<16)))[:4000])
}

func TestABurstOfRequestsLeavesNoMemoryBehind(t *testing.T) {
	w := newWire(445)
	for id := range uint64(maxSMBAsks) {
		w.say(0, nbss(smb2CreateMsg(id+1, "a", 1, 1, 0)))
	}
	for id := range uint64(maxSMBAsks) {
		w.say(1, nbss(smb2CreateAnswer(id+1, id+1)))
	}
	p := w.track.dialogues.slot[1].state.(*pduConn)
	if n := len(p.smb.files.m); n != maxSMBAsks || p.smb.files.peak != n {
		t.Fatalf("%d files are open, peak %d", n, p.smb.files.peak)
	}
	for id := range uint64(maxSMBAsks) - 1 {
		w.say(0, nbss(smb2CloseMsg(id+1, id+1)))
		w.say(1, nbss(smb2Msg(smb2Close, smb2Response, id+1, 60, nil, nil)))
	}
	if n := cap(p.smb.asks); n > keepPeak {
		t.Errorf("room for %d requests, none waits", n)
	}
	if f := &p.smb.files; len(f.m) != 1 || f.peak > keepPeak || len(f.order) > keepPeak {
		t.Errorf("%d files open, a map made for %d, %d in order", len(f.m), f.peak, len(f.order))
	}
	if _, ok := p.smb.files.get(foldFile(maxSMBAsks, maxSMBAsks)); !ok {
		t.Error("the file that is open still was forgotten")
	}
}

// TestASegmentFarAheadHidesNothingForLong plays the oldest trick against who
// listens: a segment that its receiver drops, so that all that follows looks
// as if it had been sent before.
func TestASegmentFarAheadHidesNothingForLong(t *testing.T) {
	k := newTalker(21)
	k.tcp(1, FlagACK, 500, []byte("220 FTP\r\n"))
	k.tcp(0, FlagACK, 100+1<<20, []byte("NOOP\r\n"))
	for i := range 20 {
		k.tcp(0, FlagACK, uint32(100+8*i), []byte("PASS x\r\n"))
	}
	if n := len(k.seen) - 1; n != 20-maxBehind-1 { // and the line of which the beginning may be lost
		t.Errorf("%d of 20 passwords were seen, want all behind the first %d", n, maxBehind+1)
	}
	w := newWire(445)
	w.say(0, nbss(smb2CreateMsg(1, "a", 1, 1, 0)))
	w.seq[0] += 1 << 20
	w.say(0, nbss(smb2CreateMsg(2, "b", 1, 1, 0)))
	w.seq[0] -= 1<<20 + uint32(len(nbss(smb2CreateMsg(2, "b", 1, 1, 0))))
	w.seen = nil
	for id := range uint64(20) {
		w.say(0, nbss(smb2CreateMsg(3+id, "c", 1, 1, 0)))
	}
	if n := len(w.seen); n != 20-maxBehind {
		t.Errorf("%d of 20 requests were seen, want all behind the first %d", n, maxBehind)
	}
}

func TestAFlightThatIsSentAgainIsReadOnce(t *testing.T) {
	k := newTalker(21)
	k.tcp(1, FlagACK, 500, []byte("220 FTP\r\n"))
	w := newWire(445)
	for range 2 {
		w.seq[0] = 100
		for i := range maxBehind {
			k.tcp(0, FlagACK, uint32(100+8*i), []byte("PASS x\r\n"))
			w.say(0, nbss(smb2CreateMsg(3+uint64(i), "c", 1, 1, 0)))
		}
	}
	for range 3 * maxBehind { // keep-alive probes
		k.tcp(0, FlagACK|FlagPSH, 100+8*maxBehind-1, []byte("\n"))
	}
	k.tcp(0, FlagACK, 100+8*maxBehind, []byte("PASS x\r\n"))
	if len(k.seen) != 1+maxBehind+1 || len(w.seen) != maxBehind {
		t.Errorf("saw %d log-ins and %d requests:\n%s", len(k.seen)-1, len(w.seen), strings.Join(k.seen, "\n"))
	}
}

// TestRepliesOfOneConnectionAreBounded: a server may send interim replies as
// long as it likes (RFC 9110 section 15.2).
func TestRepliesOfOneConnectionAreBounded(t *testing.T) {
	k := newTalker(80)
	k.tcp(0, FlagACK, 100, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	reply := bytes.Repeat([]byte("HTTP/1.1 100 Continue\r\n\r\n"), 40)
	for i := range 100 {
		k.tcp(1, FlagACK, uint32(500+i*len(reply)), reply)
	}
	if n := len(k.seen); n != 1+2*maxRequests {
		t.Errorf("%d events, want %d", n, 1+2*maxRequests)
	}
	if k.track.table.at(1).dialogue != 0 {
		t.Error("its slot is still held")
	}
}

// TestSecretsInOddPlacesStayOnTheWire holds every event of odd log-ins against
// the secret in them.
func TestSecretsInOddPlacesStayOnTheWire(t *testing.T) {
	const hidden = "hunter2"
	filter := element(0xa3, slices.Concat(element(4, []byte("userPassword")), element(4, []byte(hidden))))
	part := element(0xa4, slices.Concat(element(4, []byte("unicodePwd")), element(0x30, element(0x81, []byte(hidden)))))
	rule := element(0xa9, slices.Concat(element(0x82, []byte("ms-Mcs-AdmPwd")), element(0x83, []byte(hidden))))
	both := element(0xa1, slices.Concat(filter, part, rule))
	search := slices.Concat([]byte{4, 0, 10, 1, 0, 10, 1, 0, 2, 1, 0, 2, 1, 0, 1, 1, 0}, both, []byte{0x30, 0})
	for _, c := range []struct {
		port uint16
		say  string
	}{
		{80, "GET / HTTP/1.1\r\nAuthorization: " + hidden + "\r\n\r\n"},
		{80, "GET / HTTP/1.1\r\nProxy-Authorization: " + hidden + ", x\r\n\r\n"},
		{80, "GET http://root:" + hidden + "@a/ HTTP/1.1\r\n\r\n"},
		{80, "POST /login?user=a&password=" + hidden + " HTTP/1.1\r\nContent-Length: 20\r\n\r\npass=" + hidden},
		{6667, "NICK a\r\nPRIVMSG NickServ@services :GHOST a " + hidden + "\r\nPRIVMSG Q@CServe.quakenet.org :AUTH a " + hidden + "\r\nJOIN #a " + hidden + "\r\n"},
		{389, string(element(0x30, append([]byte{2, 1, 1}, element(0x63, search)...)))},
	} {
		k, seen := newTalker(c.port), 0
		k.hook = func(ev Event) {
			text := fmt.Sprintf("%+v", ev)
			if e, ok := ev.(*HTTP); ok {
				text += string(e.Body)
			}
			if strings.Contains(text, hidden) {
				t.Errorf("%q is told: %s", c.say, text)
			}
			switch ev.(type) {
			case *HTTP, *IRC, *LDAP:
				seen++
			}
		}
		k.tcp(0, FlagACK, 100, []byte(c.say))
		if seen == 0 {
			t.Errorf("%q: no event", c.say)
		}
	}
}

// TestSequenceNumbersWrapAnywhere lets them pass zero inside a head, a
// dialogue and a message with its length in front.
func TestSequenceNumbersWrapAnywhere(t *testing.T) {
	for _, before := range []uint32{1, 7, 20, 45} {
		isn := -before - 1
		const cut = 40 // so that no head takes more segments than are read
		for port, say := range map[uint16][]byte{
			80:  []byte("GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"),
			21:  []byte("USER a\r\nPASS x\r\nPASS y\r\nPASS z\r\nPASS v\r\nPASS w\r\n"),
			445: slices.Concat(nbss(smb2Head(smb2Echo, 0, 1)), nbss(smb2Head(smb2Echo, 0, 2))),
			443: flowtest.ClientHello("a.example", 300),
		} {
			seen := func(from uint32) []string {
				k := &talker{}
				w := &crowd{track: New(Config{}), hear: k.emit}
				c := w.call(1, port, from, from)
				if port == 21 {
					w.say(c, 1, []byte("220 FTP\r\n"))
				}
				for i := 0; i < len(say); i += cut {
					c.seq[0] = from + 1 + uint32(i)
					w.send(c, 0, FlagACK, say[i:min(i+cut+4, len(say))]) // each overlaps the next
				}
				return k.seen
			}
			if got, want := seen(isn), seen(99); !slices.Equal(got, want) || len(want) == 0 {
				t.Errorf("port %d, %d bytes before zero: saw %q, want %q", port, before, got, want)
			}
		}
	}
}
