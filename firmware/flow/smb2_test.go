package flow

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

var le = binary.LittleEndian

func utf16Bytes(s string) (b []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		b = le.AppendUint16(b, u)
	}
	return b
}

// nbss puts the length in front of one message, or of a compound.
func nbss(parts ...[]byte) []byte {
	b := slices.Concat(parts...)
	return append([]byte{0, byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
}

// compound links messages by the offset of the next one (MS-SMB2 section
// 3.2.4.1.4).
func compound(parts ...[]byte) []byte {
	var all []byte
	for i, p := range parts {
		for len(p)%8 != 0 {
			p = append(p, 0)
		}
		if i < len(parts)-1 {
			le.PutUint32(p[20:], uint32(len(p)))
		}
		if i > 0 {
			le.PutUint32(p[16:], le.Uint32(p[16:])|smb2Related)
		}
		all = append(all, p...)
	}
	return nbss(all)
}

func smb2Head(command uint16, flags uint32, mid uint64) []byte {
	b := make([]byte, 64)
	copy(b, "\xfeSMB")
	b[4] = 64
	le.PutUint16(b[12:], command)
	le.PutUint32(b[16:], flags)
	le.PutUint64(b[24:], mid)
	le.PutUint32(b[36:], 5)    // tree
	le.PutUint64(b[40:], 0x77) // session
	return b
}

func status(b []byte, s uint32) []byte { le.PutUint32(b[8:], s); return b }

func onTree(b []byte, tree uint32) []byte { le.PutUint32(b[36:], tree); return b }

// smb2Msg is a header with a fixed part, filled by place, and what follows it.
func smb2Msg(command uint16, flags uint32, mid uint64, size int, fill func(b []byte), tail []byte) []byte {
	b := append(smb2Head(command, flags, mid), make([]byte, size)...)
	if fill != nil {
		fill(b[64:])
	}
	return append(b, tail...)
}

func smb2CreateMsg(mid uint64, name string, access, disposition, options uint32) []byte {
	n := utf16Bytes(name)
	return smb2Msg(smb2Create, 0, mid, 56, func(b []byte) {
		le.PutUint32(b[24:], access)
		le.PutUint32(b[36:], disposition)
		le.PutUint32(b[40:], options)
		le.PutUint16(b[44:], 120)
		le.PutUint16(b[46:], uint16(len(n)))
	}, n)
}

func smb2CreateAnswer(mid, file uint64) []byte {
	return smb2Msg(smb2Create, smb2Response, mid, 88, func(b []byte) {
		le.PutUint64(b[48:], 12345)
		le.PutUint64(b[64:], file)
		le.PutUint64(b[72:], file)
	}, nil)
}

// withFile is a message with a FileId at its place; file 0 means "the one of
// this compound".
func withFile(command uint16, mid, file uint64, size int, fill func(b []byte), tail []byte) []byte {
	return smb2Msg(command, 0, mid, size, func(b []byte) {
		if file == 0 {
			file--
		}
		at := smb2FileAt(command) - 64
		le.PutUint64(b[at:], file)
		le.PutUint64(b[at+8:], file)
		if fill != nil {
			fill(b)
		}
	}, tail)
}

func smb2WriteMsg(mid, file, offset uint64, data []byte) []byte {
	return withFile(smb2Write, mid, file, 48, func(b []byte) {
		le.PutUint16(b[2:], 112)
		le.PutUint32(b[4:], uint32(len(data)))
		le.PutUint64(b[8:], offset)
	}, data)
}

func smb2ReadMsg(mid, file, offset uint64, length uint32) []byte {
	return withFile(smb2Read, mid, file, 49, func(b []byte) {
		le.PutUint32(b[4:], length)
		le.PutUint64(b[8:], offset)
	}, nil)
}

func smb2ReadAnswer(mid uint64, data []byte) []byte {
	return smb2Msg(smb2Read, smb2Response, mid, 16, func(b []byte) {
		b[2] = 80
		le.PutUint32(b[4:], uint32(len(data)))
	}, data)
}

func smb2CloseMsg(mid, file uint64) []byte { return withFile(smb2Close, mid, file, 24, nil, nil) }

func smb2SetMsg(mid, file uint64, class byte, data []byte) []byte {
	return withFile(smb2SetInfo, mid, file, 32, func(b []byte) {
		b[2], b[3] = 1, class
		le.PutUint32(b[4:], uint32(len(data)))
		le.PutUint16(b[8:], 96)
	}, data)
}

func renameTo(name string) []byte {
	n := utf16Bytes(name)
	return append(append(make([]byte, 16), le.AppendUint32(nil, uint32(len(n)))...), n...)
}

func smb2TreeMsg(mid uint64, share string) []byte {
	n := utf16Bytes(share)
	return smb2Msg(smb2TreeConnect, 0, mid, 8, func(b []byte) {
		le.PutUint16(b[4:], 72)
		le.PutUint16(b[6:], uint16(len(n)))
	}, n)
}

func smb2TreeAnswer(mid uint64, tree uint32, kind byte) []byte {
	return onTree(smb2Msg(smb2TreeConnect, smb2Response, mid, 16, func(b []byte) { b[2] = kind }, nil), tree)
}

func smb2SetupMsg(mid uint64, blob []byte) []byte {
	return smb2Msg(smb2SessionSetup, 0, mid, 24, func(b []byte) {
		le.PutUint16(b[12:], 88)
		le.PutUint16(b[14:], uint16(len(blob)))
	}, blob)
}

func ok(command uint16, mid uint64) []byte {
	return smb2Msg(command, smb2Response, mid, 16, nil, nil)
}

func noise(n int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	r.Read(b)
	return b
}

// smb2Script is a session with one of everything.
func smb2Script() []turn {
	neg := smb2Msg(smb2Negotiate, smb2Response, 0, 64, func(b []byte) { le.PutUint16(b[4:], 0x0311) }, nil)
	return []turn{
		{0, nbss(smb2Head(smb2Negotiate, 0, 0))},
		{1, nbss(neg)},
		{0, nbss(smb2SetupMsg(1, ntlmType3("office", "tanaka", "PC7", 24)))},
		{1, nbss(ok(smb2SessionSetup, 1))},
		{0, nbss(smb2TreeMsg(2, `\\nas\share`))},
		{1, nbss(smb2TreeAnswer(2, 5, 1))},
		{0, nbss(smb2CreateMsg(3, `docs\plan.docx`, 0x12019f, 5, 0))},
		{1, nbss(smb2CreateAnswer(3, 9))},
		{0, nbss(smb2ReadMsg(4, 9, 0, 5000))},
		{1, nbss(smb2ReadAnswer(4, make([]byte, 5000)))},
		{0, nbss(smb2WriteMsg(5, 9, 4096, noise(9000)))},
		{1, nbss(ok(smb2Write, 5))},
		{0, nbss(smb2SetMsg(6, 9, fileRename, renameTo(`docs\plan.locked`)))},
		{1, nbss(ok(smb2SetInfo, 6))},
		{0, compound(smb2CreateMsg(7, "x", 1, 1, 0), smb2ReadMsg(8, 0, 0, 10), smb2CloseMsg(9, 0))},
		{1, compound(smb2CreateAnswer(7, 11), smb2ReadAnswer(8, []byte("0123456789")), ok(smb2Close, 9))},
		{0, nbss(smb2CloseMsg(10, 9))},
		{1, nbss(ok(smb2Close, 10))},
	}
}

func play(port uint16, turns []turn) *wire {
	w := newWire(port)
	for _, t := range turns {
		w.say(t.dir, t.data)
	}
	return w
}

func TestAnSMB2SessionSaysWhatIsDoneToWhichFile(t *testing.T) {
	play(445, smb2Script()).want(t,
		"smb2 negotiate", "smb2 negotiate answer dialect=311",
		"smb2 setup", `login smb ntlm "office" "tanaka" "PC7" result=0 clear=false`,
		"smb2 setup answer", `login smb ntlm "office" "tanaka" "PC7" result=1 clear=false`,
		`smb2 tree \\nas\share`, `smb2 tree answer \\nas\share`,
		`smb2 open docs\plan.docx access=12019f disposition=5`,
		`smb2 open answer docs\plan.docx access=12019f disposition=5 length=12345`,
		`smb2 read docs\plan.docx length=5000`,
		`smb2 read answer docs\plan.docx length=5000 entropy=0.0/4096`,
		`smb2 write docs\plan.docx length=9000 offset=4096 entropy=8.0/4096`,
		`smb2 write answer docs\plan.docx offset=4096`,
		`smb2 rename docs\plan.docx docs\plan.locked`,
		`smb2 rename answer docs\plan.docx docs\plan.locked`,
		"smb2 open x access=1 disposition=1", "smb2 read x length=10", "smb2 close x",
		"smb2 open answer x access=1 disposition=1 length=12345",
		"smb2 read answer x length=10 entropy=3.3/10", "smb2 close answer x",
		`smb2 close docs\plan.locked`, // by its new name
		`smb2 close answer docs\plan.locked`)
}

func TestDeletionsAndTruncationsOfSMB2(t *testing.T) {
	w := newWire(445)
	w.say(0, nbss(smb2CreateMsg(1, "old.doc", 0x10080, 1, 0)))
	w.say(1, nbss(smb2CreateAnswer(1, 3)))
	w.seen = nil
	w.say(0, nbss(smb2SetMsg(2, 3, fileDisposition, []byte{1})))
	w.say(0, nbss(smb2SetMsg(3, 3, fileDisposition, []byte{0}))) // taken back
	w.say(0, nbss(smb2SetMsg(4, 3, fileDispositionEx, []byte{1, 0, 0, 0})))
	w.say(0, nbss(smb2SetMsg(5, 3, fileEndOfFile, []byte{0, 1, 0, 0, 0, 0, 0, 0})))
	w.say(0, nbss(smb2CreateMsg(6, "temp", 0x10000, 2, createDoomed)))
	w.say(1, nbss(smb2CreateAnswer(6, 4)))
	w.want(t, "smb2 delete old.doc", "smb2 other old.doc", "smb2 delete old.doc", "smb2 truncate old.doc length=256",
		"smb2 open temp access=10000 disposition=2", "smb2 delete temp access=10000 disposition=2",
		"smb2 open answer temp access=10000 disposition=2 length=12345",
		"smb2 delete answer temp access=10000 disposition=2 length=12345")
}

func TestARefusedRequestChangesNothing(t *testing.T) {
	w := newWire(445)
	w.say(0, nbss(smb2CreateMsg(1, "a", 1, 1, 0)))
	w.say(1, nbss(smb2CreateAnswer(1, 3)))
	w.say(0, nbss(smb2SetMsg(2, 3, fileRename, renameTo("b"))))
	w.say(1, nbss(status(ok(smb2SetInfo, 2), 0xc0000022)))
	w.seen = nil
	w.say(0, nbss(smb2CloseMsg(3, 3)))
	w.want(t, "smb2 close a")
}

func TestAnInterimAnswerKeepsTheRequest(t *testing.T) {
	w := newWire(445)
	w.say(0, nbss(smb2CreateMsg(1, "a", 1, 1, 0)))
	w.say(1, nbss(status(smb2Msg(smb2Create, smb2Response|smb2Async, 1, 8, nil, nil), statusPending)))
	w.say(1, nbss(smb2CreateAnswer(1, 3)))
	w.want(t, "smb2 open a access=1 disposition=1",
		"smb2 open answer status=103 a access=1 disposition=1",
		"smb2 open answer a access=1 disposition=1 length=12345")
}

func TestListingsCarryDirectoryAndPattern(t *testing.T) {
	w := newWire(445)
	w.say(0, nbss(smb2CreateMsg(1, "docs", 1, 1, 0)))
	w.say(1, nbss(smb2CreateAnswer(1, 3)))
	w.seen = nil
	pattern := utf16Bytes("*.pdf")
	w.say(0, nbss(withFile(smb2QueryDirectory, 2, 3, 32, func(b []byte) {
		le.PutUint16(b[24:], 96)
		le.PutUint16(b[26:], uint16(len(pattern)))
	}, pattern)))
	w.want(t, `smb2 find docs\*.pdf`)
}

func TestEncryptedSMB3ShowsSizeDirectionAndSession(t *testing.T) {
	b := make([]byte, 52+400)
	copy(b, "\xfdSMB")
	le.PutUint64(b[44:], 0xabc)
	w := newWire(445)
	var got []SMB
	w.track.Frame(w.frame(0, nbss(b)), func(ev Event) {
		if e, ok := ev.(*SMB); ok {
			got = append(got, *e)
		}
	})
	w.track.Frame(w.frame(1, nbss(b[:100])), func(ev Event) {
		if e, ok := ev.(*SMB); ok {
			got = append(got, *e)
		}
	})
	if len(got) != 2 {
		t.Fatalf("%d events", len(got))
	}
	if e := got[0]; e.Version != 3 || e.Response || e.Size != 452 || e.Session != 0xabc || e.Op != SMBOther {
		t.Errorf("request %+v", e)
	}
	if e := got[1]; !e.Response || e.Size != 100 {
		t.Errorf("answer %+v", e)
	}
}

func TestASMB2MessageHasItsIdsAndItsOwnSize(t *testing.T) {
	w := newWire(445)
	var got []SMB
	w.track.Frame(w.frame(0, compound(smb2CreateMsg(7, "x", 1, 1, 0), smb2CloseMsg(8, 0))), func(ev Event) {
		if e, ok := ev.(*SMB); ok {
			got = append(got, *e)
		}
	})
	if len(got) != 2 {
		t.Fatalf("%d events", len(got))
	}
	e, f := got[0], got[1]
	if e.MID != 7 || f.MID != 8 || e.Session != 0x77 || e.Tree != 5 || e.Size != 128 || f.Size != 88 || e.Version != 2 || f.Command != smb2Close {
		t.Errorf("%+v\n%+v", e, f)
	}
}

func TestNamesOfSMBAreTextAndBounded(t *testing.T) {
	for in, want := range map[string]string{
		"見積書\\2024.xlsx":                    "見積書\\2024.xlsx",
		"a\u202exe.txt":                     `a\226\128\174xe.txt`,
		"line\nbreak":                       `line\010break`,
		"\U0001f4c4.pdf":                    "\U0001f4c4.pdf",
		strings.Repeat("あ", 300):            strings.Repeat("あ", 86),
		strings.Repeat("a", 259) + "あ":      strings.Repeat("a", 259),
		"before\x00after the end of a name": "before",
	} {
		w := newWire(445)
		w.say(0, nbss(smb2CreateMsg(1, in, 1, 1, 0)))
		w.want(t, "smb2 open "+want+" access=1 disposition=1")
	}
}

func TestALogInFailsOrGoesOn(t *testing.T) {
	w := newWire(445)
	w.say(0, nbss(smb2SetupMsg(1, []byte("NTLMSSP\x00\x01\x00\x00\x00"))))
	w.say(1, nbss(status(ok(smb2SessionSetup, 1), statusMore)))
	w.say(0, nbss(smb2SetupMsg(2, ntlmType3("", "admin", "KALI", 24))))
	w.say(1, nbss(status(smb2Msg(smb2SessionSetup, smb2Response, 2, 9, nil, nil), 0xc000006d)))
	w.say(0, nbss(smb2SetupMsg(3, ntlmType3("", "", "", 0))))
	w.say(1, nbss(ok(smb2SessionSetup, 3)))
	w.want(t, "smb2 setup", "smb2 setup answer status=c0000016",
		"smb2 setup", `login smb ntlm "" "admin" "KALI" result=0 clear=false`,
		"smb2 setup answer status=c000006d", `login smb ntlm "" "admin" "KALI" result=2 clear=false`,
		"smb2 setup", `login smb ntlm "" "" "" result=0 clear=false`,
		"smb2 setup answer", `login smb ntlm "" "" "" result=1 clear=false`)
}

func TestEntropyOfKnownData(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	s := &pduShared{}
	for _, c := range []struct {
		data []byte
		want float64
		n    int
	}{
		{nil, -1, 0}, {[]byte{7}, 0, 1}, {[]byte("aabb"), 1, 4}, {all, 8, 256}, {make([]byte, 9000), 0, 4096},
	} {
		if got, n := s.entropy(c.data); got < c.want-1e-9 || got > c.want+1e-9 || n != c.n {
			t.Errorf("entropy of %d bytes is %v of %d, want %v of %d", len(c.data), got, n, c.want, c.n)
		}
	}
	if got, _ := s.entropy(noise(4096)); got < 7.9 || got > 7.99 {
		t.Errorf("random data has %v bits, the estimate for 4,096 bytes is 7.955", got)
	}
}

// TestAFileIsKnownOnEveryConnectionOfItsSession: SMB 3 multichannel.
func TestAFileIsKnownOnEveryConnectionOfItsSession(t *testing.T) {
	w := newWire(445)
	w.say(0, nbss(smb2CreateMsg(1, "film.mp4", 3, 1, 0)))
	w.say(1, nbss(smb2CreateAnswer(1, 9)))
	w.seen = nil
	second := &wire{track: w.track, seq: [2]uint32{7000, 9000}, now: w.now}
	other := nbss(smb2WriteMsg(1, 9, 0, []byte("aaaa")))
	send := func(from uint16, data []byte) {
		second.now += 1e6
		s := flowtest.Segment{SrcPort: from, DstPort: 445, Seq: second.seq[0], Flags: FlagACK}
		ip := flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoTCP}
		b := ether.Frame(0x0800, ip.Packet(s.Bytes(data)))
		second.seq[0] += uint32(len(data))
		second.track.Frame(&capture.Frame{Time: second.now, Data: b, OrigLen: len(b), Link: capture.LinkEthernet}, second.emit)
	}
	send(40001, other)
	second.want(t, "smb2 write film.mp4 length=4 entropy=0.0/4")
	w.now = second.now
	w.say(0, nbss(smb2CloseMsg(2, 9)))
	w.say(1, nbss(ok(smb2Close, 2)))
	send(40001, other)
	second.want(t, "smb2 write length=4 entropy=0.0/4")
	foreign := smb2WriteMsg(3, 9, 0, []byte("aaaa"))
	w.say(0, nbss(smb2CreateMsg(4, "film.mp4", 3, 1, 0)))
	w.say(1, nbss(smb2CreateAnswer(4, 9)))
	le.PutUint64(foreign[40:], 0x1234) // another session
	send(40001, nbss(foreign))
	second.want(t, "smb2 write length=4 entropy=0.0/4")
}
