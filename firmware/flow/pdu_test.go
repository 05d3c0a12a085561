package flow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

// turn is what one side says before the other one answers.
type turn struct {
	dir  int
	data []byte
}

// wire plays a connection and writes down what SMB, DCE/RPC, LDAP and Kerberos
// events say.
type wire struct {
	track *Tracker
	port  uint16
	seq   [2]uint32
	now   int64
	seen  []string
	snap  int // bytes of a frame that are captured; 0: all
}

func newWire(port uint16) *wire {
	w := &wire{track: New(Config{}), port: port, seq: [2]uint32{99, 499}}
	w.send(0, FlagSYN, nil)
	w.send(1, FlagSYN|FlagACK, nil)
	w.seq = [2]uint32{100, 500}
	return w
}

func (w *wire) send(dir int, flags uint8, data []byte) {
	w.track.Frame(w.segment(dir, flags, data), w.emit)
}

func (w *wire) frame(dir int, data []byte) *capture.Frame { return w.segment(dir, FlagACK, data) }

func (w *wire) segment(dir int, flags uint8, data []byte) *capture.Frame {
	w.now += 1e6
	ip := flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoTCP}
	s := flowtest.Segment{SrcPort: 40000, DstPort: w.port, Seq: w.seq[dir], Ack: w.seq[1-dir], Flags: flags}
	if dir == 1 {
		ip.Src, ip.Dst, s.SrcPort, s.DstPort = hostB, hostA, w.port, 40000
	}
	b := ether.Frame(ip.EtherType(), ip.Packet(s.Bytes(data)))
	w.seq[dir] += uint32(len(data))
	f := capture.Frame{Time: w.now, Data: b, OrigLen: len(b), Link: capture.LinkEthernet}
	if w.snap > 0 && len(b) > w.snap {
		f.Data = b[:w.snap]
	}
	return &f
}

// say sends data in segments of at most 1,460 bytes.
func (w *wire) say(dir int, data []byte) {
	for chunk := range slices.Chunk(data, 1460) {
		w.send(dir, FlagACK, chunk)
	}
}

func (w *wire) emit(ev Event) {
	var line string
	switch e := ev.(type) {
	case *SMB:
		line = smbLine(e)
	case *RPC:
		line = fmt.Sprintf("rpc %d %s opnum=%d pipe=%s status=%x auth=%d/%d stub=%q", e.Kind, e.Interface, e.Opnum, e.Pipe,
			e.Status, e.AuthType, e.AuthLevel, e.Stub)
	case *Login:
		line = fmt.Sprintf("login %s %s %q %q %q result=%d clear=%v", e.Service, e.Mechanism, e.Domain, e.User, e.Workstation,
			e.Result, e.Cleartext)
	case *LDAP:
		line = fmt.Sprintf("ldap %d %q scope=%d %s %v", e.Op, e.Base, e.Scope, e.Filter, e.Attributes)
		if e.Connectionless {
			line += " udp"
		}
	case *Kerberos:
		line = fmt.Sprintf("krb %d %s@%s %s etype=%d%v pre=%v error=%d", e.Type, e.User, e.Realm, e.Service, e.EType, e.ETypes,
			e.PreAuth, e.Error)
	case *Malformed:
		line = "malformed " + e.Layer + ": " + e.Reason
	default:
		return
	}
	w.seen = append(w.seen, line)
}

var opNames = [...]string{
	"other", "negotiate", "setup", "tree", "open", "close", "read", "write", "rename", "delete", "truncate", "find", "pipe",
	"ioctl", "echo", "transaction",
}

// smbLine leaves out what is zero.
func smbLine(e *SMB) string {
	var b strings.Builder
	fmt.Fprintf(&b, "smb%d %s", e.Version, opNames[e.Op])
	if e.Response {
		b.WriteString(" answer")
	}
	add := func(name string, v uint64, format string) {
		if v != 0 {
			fmt.Fprintf(&b, " %s="+format, name, v)
		}
	}
	add("status", uint64(e.Status), "%x")
	for _, p := range []string{e.Path, e.NewPath} {
		if p != "" {
			b.WriteString(" " + p)
		}
	}
	add("access", uint64(e.Access), "%x")
	add("disposition", uint64(e.Disposition), "%d")
	add("length", e.Length, "%d")
	add("offset", e.Offset, "%d")
	add("function", uint64(e.Function), "%x")
	add("dialect", uint64(e.Dialect), "%x")
	if e.Sample > 0 {
		fmt.Fprintf(&b, " entropy=%.1f/%d", e.Entropy, e.Sample)
	}
	return b.String()
}

func (w *wire) want(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(w.seen, want) {
		t.Errorf("saw\n\t%s\nwant\n\t%s", strings.Join(w.seen, "\n\t"), strings.Join(want, "\n\t"))
	}
	w.seen = nil
}

// dialogues of all protocols, for the tests that hold for each.
func wireScripts() map[string]struct {
	port  uint16
	turns []turn
} {
	type script = struct {
		port  uint16
		turns []turn
	}
	return map[string]script{
		"smb2":     {445, smb2Script()},
		"smb1":     {139, smb1Script()},
		"dcerpc":   {49670, rpcScript()},
		"ldap":     {389, ldapScript()},
		"kerberos": {88, kerberosScript()},
	}
}

func TestEventsDoNotDependOnWhereAStreamIsCut(t *testing.T) {
	for name, s := range wireScripts() {
		t.Run(name, func(t *testing.T) {
			whole := newWire(s.port)
			for _, turn := range s.turns {
				whole.send(turn.dir, FlagACK, turn.data)
			}
			if len(whole.seen) < len(s.turns)/2 {
				t.Fatalf("only %d events: %q", len(whole.seen), whole.seen)
			}
			rapid.Check(t, func(t *rapid.T) {
				cut := newWire(s.port)
				for _, turn := range s.turns {
					rest := turn.data
					for len(rest) > 0 {
						n := rapid.IntRange(1, len(rest)).Draw(t, "bytes")
						if rapid.IntRange(0, 3).Draw(t, "short") == 0 {
							n = min(n, 9)
						}
						cut.send(turn.dir, FlagACK, rest[:n])
						if rapid.IntRange(0, 9).Draw(t, "again") == 0 { // a retransmission
							cut.seq[turn.dir] -= uint32(n)
							cut.send(turn.dir, FlagACK, rest[:n])
						}
						rest = rest[n:]
					}
				}
				if !slices.Equal(cut.seen, whole.seen) {
					t.Fatalf("saw\n\t%s\nwant\n\t%s", strings.Join(cut.seen, "\n\t"), strings.Join(whole.seen, "\n\t"))
				}
			})
		})
	}
}

func TestAFilesContentIsNeverTakenForACommand(t *testing.T) {
	bait := nbss(smb2Head(smb2SetInfo, 0, 9))
	content := bytes.Repeat(bait, 400)
	w := newWire(445)
	w.say(0, nbss(smb2WriteMsg(1, 7, 0, content)))
	w.say(0, nbss(smb2Head(smb2Echo, 0, 2)))
	if len(w.seen) != 2 || !strings.HasPrefix(w.seen[0], "smb2 write") || w.seen[1] != "smb2 echo" {
		t.Errorf("saw %q", w.seen)
	}
}

func TestAfterAGapTheNextMessageThatBeginsASegmentIsRead(t *testing.T) {
	w := newWire(445)
	w.say(0, nbss(smb2Head(smb2Echo, 0, 1)))
	w.seq[0] += 3000 // lost
	w.send(0, FlagACK, []byte("the middle of something"))
	w.send(0, FlagACK, nbss(smb2Head(smb2Echo, 0, 2)))
	w.want(t, "smb2 echo", "smb2 echo")
}

func TestALossInsideAFilesContentLosesNothingElse(t *testing.T) {
	write := nbss(smb2WriteMsg(1, 7, 0, make([]byte, 30000)))
	w := newWire(445)
	w.send(0, FlagACK, write[:9000])
	w.seq[0] += 12000
	w.send(0, FlagACK, write[21000:])
	w.send(0, FlagACK, nbss(smb2Head(smb2Echo, 0, 2)))
	w.want(t, "smb2 write length=30000 entropy=0.0/4096", "smb2 echo")
}

func TestAHeadWhoseRestIsLostIsReadAsFarAsItGoes(t *testing.T) {
	open := nbss(smb2CreateMsg(1, `plans\budget.xlsx`, 0x120089, 1, 0))
	w := newWire(445)
	w.say(0, nbss(smb2Head(smb2Echo, 0, 0)))
	w.send(0, FlagACK, open[:130]) // three letters of the name
	w.seq[0] += uint32(len(open) - 130)
	w.send(0, FlagACK, nbss(smb2Head(smb2Echo, 0, 2)))
	w.want(t, "smb2 echo", "smb2 open pla access=120089 disposition=1", "smb2 echo")
}

func TestASnapLengthCutsNamesNotTheCountOfMessages(t *testing.T) {
	w := newWire(445)
	w.say(0, nbss(smb2Head(smb2Echo, 0, 0)))
	w.snap = 14 + 20 + 20 + 4 + 64
	w.say(0, nbss(smb2CreateMsg(1, "a", 1, 1, 0)))
	w.send(0, FlagACK, nbss(smb2WriteMsg(2, 7, 0, make([]byte, 30000))))
	w.send(0, FlagACK, nbss(smb2Head(smb2Echo, 0, 3)))
	w.want(t, "smb2 echo", "smb2 open", "smb2 write", "smb2 echo")
}

func TestAConnectionWhoseBeginningWasNotSeenIsRead(t *testing.T) {
	w := &wire{track: New(Config{}), port: 445, seq: [2]uint32{7000, 9000}}
	w.send(1, FlagACK, []byte("the end of an answer"))
	w.send(0, FlagACK, nbss(smb2Head(smb2Echo, 0, 1)))
	w.send(1, FlagACK, nbss(smb2Head(smb2Echo, smb2Response, 1)))
	w.want(t, "smb2 echo", "smb2 echo answer")
}

func TestAMalformedMessageInPiecesEndsReadingUntilTheNextStart(t *testing.T) {
	bad := overTCP([]byte{0x6a, 3, 1, 2, 3})
	w := newWire(88)
	w.say(0, overTCP(krbErrorMsg(6)))
	w.seen = nil
	w.send(0, FlagACK, bad[:7])
	w.send(0, FlagACK, bad[7:])
	w.send(0, FlagACK, overTCP(krbErrorMsg(25)))
	w.want(t, "malformed kerberos: no message of RFC 4120", "krb 30 @OFFICE.LAN krbtgt/OFFICE.LAN etype=0[] pre=false error=25")
}

func TestWhatIsRememberedIsBoundedAndComesBack(t *testing.T) {
	w := newWire(445)
	for i := range uint64(3000) {
		w.say(0, nbss(smb2CreateMsg(i, "never answered", 1, 1, 0)))
	}
	for i := range uint64(3000) {
		w.say(0, nbss(smb2CreateMsg(5000, "f", 1, 1, 0)))
		w.say(1, nbss(smb2CreateAnswer(5000, i+1)))
	}
	p := w.track.dialogues.slot[w.track.table.at(1).dialogue].state.(*pduConn)
	if n := len(p.smb.asks); n > maxSMBAsks {
		t.Errorf("%d requests wait, limit %d", n, maxSMBAsks)
	}
	if n := len(p.smb.files.m); n != maxSMBFiles {
		t.Errorf("%d files are open, limit %d", n, maxSMBFiles)
	}
	if n := len(p.smb.files.order); n > 2*maxSMBFiles+1 {
		t.Errorf("the order of %d files has %d entries", maxSMBFiles, n)
	}
	if got := p.smb.entries(); w.track.pdus.entries != got {
		t.Errorf("%d entries are counted, %d are there", w.track.pdus.entries, got)
	}
	w.send(0, FlagRST|FlagACK, nil)
	if n := w.track.pdus.entries; n != 0 {
		t.Errorf("%d entries after the end of the only connection", n)
	}
}

func TestAMountedShareThatWasSilentIsReadAgain(t *testing.T) {
	w := newWire(445)
	w.say(0, nbss(smb2Head(smb2Echo, 0, 1)))
	for port := range dialogueSlots + 10 {
		for dir, b := range [][]byte{nil, nil, []byte("SSH-2.0-x\r\n")} {
			s := flowtest.Segment{SrcPort: uint16(10000 + port), DstPort: 22, Seq: 9, Flags: FlagSYN}
			ip := flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoTCP}
			switch dir {
			case 1:
				ip.Src, ip.Dst, s.SrcPort, s.DstPort, s.Flags = hostB, hostA, s.DstPort, s.SrcPort, FlagSYN|FlagACK
			case 2:
				s.Flags, s.Seq = FlagACK, 10
			}
			w.now += 1e6
			f := ether.Frame(0x0800, ip.Packet(s.Bytes(b)))
			w.track.Frame(&capture.Frame{Time: w.now, Data: f, OrigLen: len(f), Link: capture.LinkEthernet}, w.emit)
		}
	}
	if c := w.track.table.at(1); c.dialogue != 0 {
		t.Fatal("the slot of the silent share was not needed: the test proves nothing")
	}
	w.say(0, nbss(smb2Head(smb2Echo, 0, 2)))
	w.say(1, nbss(smb2Head(smb2Echo, smb2Response, 2)))
	w.want(t, "smb2 echo", "smb2 echo", "smb2 echo answer")
}

func TestAllConnectionsTogetherRememberABoundedAmount(t *testing.T) {
	shared := &pduRoom{entries: pduBudget}
	var files recent[int, int]
	files.put(1, 1, 10, shared)
	if len(files.m) != 0 || shared.refused != 1 {
		t.Errorf("an entry beyond the budget is kept: %v, refused %d", files.m, shared.refused)
	}
	shared.entries = pduBudget - 1
	files.put(1, 1, 10, shared)
	files.put(2, 2, 10, shared) // in place of the own oldest
	if _, ok := files.get(2); !ok || len(files.m) != 1 || shared.entries != pduBudget {
		t.Errorf("kept %v with %d entries in all", files.m, shared.entries)
	}
}

func TestTheRateOfMessagesIsBoundedAndRecovers(t *testing.T) {
	w := newWire(445)
	echo := bytes.Repeat(nbss(smb2Head(smb2Echo, 0, 1)), 20)
	events := 0
	for range pduEvents/20 + 100 {
		w.now -= 1e6
		w.send(0, FlagACK, echo)
		events += len(w.seen)
		w.seen = nil
	}
	if events != pduEvents {
		t.Errorf("%d events at a stretch, want %d", events, pduEvents)
	}
	if w.track.Stats().DeepSkipped != 2000-pduEvents%20 {
		t.Errorf("%d messages were counted as skipped", w.track.Stats().DeepSkipped)
	}
	w.now += 10e9
	w.send(0, FlagACK, echo)
	if len(w.seen) != 20 {
		t.Errorf("%d events ten seconds later, want 20", len(w.seen))
	}
}

func TestASteadyFileTransferAllocatesNothing(t *testing.T) {
	w := newWire(445)
	w.say(0, nbss(smb2CreateMsg(1, "film.mp4", 1, 1, 0)))
	w.say(1, nbss(smb2CreateAnswer(1, 7)))
	var rounds [40][]*capture.Frame
	for i := range rounds {
		for chunk := range slices.Chunk(nbss(smb2WriteMsg(2, 7, 0, make([]byte, 60000))), 1460) {
			rounds[i] = append(rounds[i], w.frame(0, chunk))
		}
	}
	next, events := 0, 0
	if got := testing.AllocsPerRun(len(rounds)-2, func() {
		for _, f := range rounds[next] {
			w.track.Frame(f, func(Event) { events++ })
		}
		next++
	}); got > 0 {
		t.Errorf("%v allocations for a write of %d segments", got, len(rounds[0]))
	}
	if events < next {
		t.Errorf("%d events for %d writes", events, next)
	}
}

// readPDUs gives the same bytes to every parser of messages with a length in
// front, as request and as answer, without a guard.
func readPDUs(data []byte) {
	for _, dir := range []int{0, 1} {
		for a := appSMB; a <= appKerberos; a++ {
			p := &pduConn{shared: &pduShared{}}
			c := &conn{app: [2]app{a, a}}
			t := &Tracker{}
			size, head := t.pduMeasure(c, p, dir, data)
			if size <= 0 || head > len(data) {
				continue
			}
			m := pduAt{p: p, dir: dir, body: data[:head], size: size, out: &pduOut{}, asks: &krbAsks{}, conn: 1}
			_ = m.read(a)
		}
	}
}

// FuzzPDU gives a conversation to each parser as a stream: one byte says who
// speaks, two how much. Nothing may panic, also inside the guard, and what is
// kept stays within its bounds.
func FuzzPDU(f *testing.F) {
	for _, s := range wireScripts() {
		var seed []byte
		for _, t := range s.turns {
			seed = append(seed, byte(t.dir), byte(len(t.data)>>8), byte(len(t.data)))
			seed = append(seed, t.data...)
		}
		f.Add(s.port, seed)
	}
	f.Fuzz(func(t *testing.T, port uint16, data []byte) {
		w := newWire(port)
		for len(data) >= 3 {
			n := min(int(binary.BigEndian.Uint16(data[1:3])), len(data)-3)
			w.send(int(data[0]&1), FlagACK, data[3:3+n])
			data = data[3+n:]
		}
		if s := w.track.Stats(); s.Panics > 0 {
			t.Fatalf("%d panics: %q", s.Panics, w.seen)
		}
		if i := w.track.table.at(1).dialogue; i != 0 {
			p, ok := w.track.dialogues.slot[i].state.(*pduConn)
			if ok && (p.smb.entries() != w.track.pdus.entries || cap(p.half[0].buf) > 4*pduHead) {
				t.Fatalf("%d entries, counted %d; buffer of %d", p.smb.entries(), w.track.pdus.entries, cap(p.half[0].buf))
			}
		}
		w.track.Flush(w.emit)
		if w.track.pdus.entries != 0 {
			t.Fatalf("%d entries after the end", w.track.pdus.entries)
		}
	})
}
