package flow

import (
	"slices"
	"strings"
	"testing"
)

// smb1 is a command as words and bytes behind a header with Unicode strings.
func smb1(command byte, flags byte, mid uint16, words, data []byte) []byte {
	b := make([]byte, 32)
	copy(b, "\xffSMB")
	b[4], b[9] = command, flags
	le.PutUint16(b[10:], smb1Unicode|1)
	le.PutUint16(b[24:], 2048) // tree
	le.PutUint16(b[26:], 77)   // process
	le.PutUint16(b[28:], 2049) // user
	le.PutUint16(b[30:], mid)
	b = append(append(b, byte(len(words)/2)), words...)
	return append(le.AppendUint16(b, uint16(len(data))), data...)
}

// words fills n words of a command; at each place a little-endian number of
// that many bytes.
func words(n int, fill func(b []byte)) []byte {
	b := make([]byte, 2*n)
	if fill != nil {
		fill(b)
	}
	return b
}

func andX(n int, fill func(b []byte)) []byte {
	return words(n, func(b []byte) { b[0] = smb1NoAndX; fill(b) })
}

func zt(s string) []byte { return append(utf16Bytes(s), 0, 0) }

func smb1CreateMsg(mid uint16, name string, options uint32) []byte {
	return smb1(smb1NTCreateX, 0, mid, andX(24, func(b []byte) {
		le.PutUint32(b[15:], 0x2019f)
		le.PutUint32(b[35:], 5)
		le.PutUint32(b[39:], options)
	}), append([]byte{0}, zt(name)...)) // a byte of padding: bytes begin at 83
}

func smb1CreateAnswer(mid, fid uint16) []byte {
	return smb1(smb1NTCreateX, 0x80, mid, andX(34, func(b []byte) {
		le.PutUint16(b[5:], fid)
		le.PutUint64(b[55:], 777)
	}), nil)
}

func smb1WriteMsg(mid, fid uint16, data []byte) []byte {
	return smb1(smb1WriteX, 0, mid, andX(14, func(b []byte) {
		le.PutUint16(b[4:], fid)
		le.PutUint32(b[6:], 100)
		le.PutUint16(b[20:], uint16(len(data)))
		le.PutUint16(b[22:], 63)
	}), data)
}

func smb1ReadMsg(mid, fid uint16) []byte {
	return smb1(smb1ReadX, 0, mid, andX(12, func(b []byte) {
		le.PutUint16(b[4:], fid)
		le.PutUint16(b[10:], 4000)
	}), nil)
}

func smb1ReadAnswer(mid uint16, data []byte) []byte {
	return smb1(smb1ReadX, 0x80, mid, andX(12, func(b []byte) {
		le.PutUint16(b[10:], uint16(len(data)))
		le.PutUint16(b[12:], 59)
	}), data)
}

// smb1Trans is TRANSACTION or TRANSACTION2 with one word of set-up, or two.
func smb1Trans(command byte, mid uint16, setup []uint16, name string, param, data []byte) []byte {
	at := 32 + 1 + 28 + 2*len(setup) + 2
	head := append([]byte{0}, zt(name)...)
	for (at+len(head))%4 != 0 {
		head = append(head, 0)
	}
	return smb1(command, 0, mid, words(14+len(setup), func(b []byte) {
		le.PutUint16(b[0:], uint16(len(param)))
		le.PutUint16(b[2:], uint16(len(data)))
		le.PutUint16(b[18:], uint16(len(param)))
		le.PutUint16(b[20:], uint16(at+len(head)))
		le.PutUint16(b[22:], uint16(len(data)))
		le.PutUint16(b[24:], uint16(at+len(head)+len(param)))
		b[26] = byte(len(setup))
		for i, s := range setup {
			le.PutUint16(b[28+2*i:], s)
		}
	}), slices.Concat(head, param, data))
}

// setupAndTree is a session set-up with plain names and, in the same message,
// a tree connect.
func setupAndTree(mid uint16, oem, uni int) []byte {
	names := append(zt("suzuki"), zt("OFFICE")...)
	pass := make([]byte, oem+uni)
	first := append(pass, names...)
	if (32+1+26+2+len(pass))%2 != 0 {
		first = append(append(pass, 0), names...)
	}
	tree := append([]byte{0}, zt(`\\SRV\C$`)...)
	m := smb1(smb1SetupX, 0, mid, words(13, func(b []byte) {
		b[0] = smb1TreeX
		le.PutUint16(b[2:], uint16(32+1+26+2+len(first)))
		le.PutUint16(b[14:], uint16(oem))
		le.PutUint16(b[16:], uint16(uni))
	}), first)
	second := andX(4, func(b []byte) { le.PutUint16(b[6:], 1) })
	m = append(append(m, byte(len(second)/2)), second...)
	return append(append(m, byte(len(tree)+6), 0), append(tree, "?????\x00"...)...)
}

func smb1Script() []turn {
	treeWords := andX(3, func(b []byte) {})
	setupAnswer := smb1(smb1SetupX, 0x80, 2, words(3, func(b []byte) {
		b[0] = smb1TreeX
		le.PutUint16(b[2:], 32+1+6+2)
	}), nil)
	setupAnswer = append(append(setupAnswer, byte(len(treeWords)/2)), treeWords...)
	setupAnswer = append(append(setupAnswer, 3, 0), "A:\x00"...)
	return []turn{
		{0, nbss(smb1(smb1Negotiate, 0, 1, nil, []byte("\x02NT LM 0.12\x00")))},
		{1, nbss(smb1(smb1Negotiate, 0x80, 1, words(17, nil), nil))},
		{0, nbss(setupAndTree(2, 24, 24))},
		{1, nbss(setupAnswer)},
		{0, nbss(smb1CreateMsg(3, `\plan.doc`, 0))},
		{1, nbss(smb1CreateAnswer(3, 0x4001))},
		{0, nbss(smb1ReadMsg(4, 0x4001))},
		{1, nbss(smb1ReadAnswer(4, []byte("aaaabbbb")))},
		{0, nbss(smb1WriteMsg(5, 0x4001, noise(5000)))},
		{1, nbss(smb1(smb1WriteX, 0x80, 5, andX(6, func(b []byte) { le.PutUint16(b[4:], 5000) }), nil))},
		{0, nbss(smb1(smb1Close, 0, 6, words(3, func(b []byte) { le.PutUint16(b, 0x4001) }), nil))},
		{1, nbss(smb1(smb1Close, 0x80, 6, nil, nil))},
	}
}

func TestAnSMB1SessionSaysWhatIsDoneToWhichFile(t *testing.T) {
	play(139, smb1Script()).want(t,
		"smb1 negotiate", "smb1 negotiate answer dialect=1",
		"smb1 setup", `smb1 tree \\SRV\C$`, `login smb ntlm "OFFICE" "suzuki" "" result=0 clear=false`,
		"smb1 setup answer", `smb1 tree answer \\SRV\C$`, `login smb ntlm "OFFICE" "suzuki" "" result=1 clear=false`,
		`smb1 open \plan.doc access=2019f disposition=5`,
		`smb1 open answer \plan.doc access=2019f disposition=5 length=777`,
		`smb1 read \plan.doc length=4000`,
		`smb1 read answer \plan.doc length=8 entropy=1.0/8`,
		`smb1 write \plan.doc length=5000 offset=100 entropy=8.0/4096`,
		`smb1 write answer \plan.doc length=5000 offset=100`,
		`smb1 close \plan.doc`, `smb1 close answer \plan.doc`)
}

func TestAPasswordInThePlainIsCleartext(t *testing.T) {
	w := newWire(139)
	w.say(0, nbss(setupAndTree(2, 9, 0)))
	if !slices.Contains(w.seen, `login smb plain "OFFICE" "suzuki" "" result=0 clear=true`) {
		t.Errorf("saw %q", w.seen)
	}
}

func TestRenamesAndDeletionsOfSMB1(t *testing.T) {
	names := func(list ...string) (b []byte) {
		for i, n := range list {
			b = append(b, 4)
			if (32+1+2+2+len(b))%2 != 0 && i >= 0 { // one word
				b = append(b, 0)
			}
			b = append(b, zt(n)...)
		}
		return b
	}
	w := newWire(139)
	w.say(0, nbss(smb1CreateMsg(1, `\a.doc`, createDoomed)))
	w.say(1, nbss(smb1CreateAnswer(1, 0x4001)))
	w.seen = nil
	w.say(0, nbss(smb1(smb1Rename, 0, 2, words(1, nil), names(`\a.doc`, `\a.locked`))))
	w.say(0, nbss(smb1(smb1Delete, 0, 3, words(1, nil), names(`\b.doc`))))
	set := func(level uint16, data []byte) []byte {
		return nbss(smb1Trans(smb1Trans2, 4, []uint16{trans2SetFile}, "", []byte{1, 0x40, byte(level), byte(level >> 8), 0, 0}, data))
	}
	w.say(0, set(0x102, []byte{1}))
	w.say(0, set(1013, []byte{1}))
	w.say(0, set(0x104, []byte{0, 1, 0, 0, 0, 0, 0, 0}))
	w.say(0, set(1010, renameTo(`a.enc`)))
	w.want(t, `smb1 rename \a.doc \a.locked`, `smb1 delete \b.doc`,
		`smb1 delete \a.doc length=1 function=8`, `smb1 delete \a.doc length=1 function=8`,
		`smb1 truncate \a.doc length=256 function=8`, `smb1 rename \a.doc a.enc length=30 function=8`)
}

func TestTransactionsSayTheirFunctionAndSize(t *testing.T) {
	w := newWire(445)
	find := append(make([]byte, 12), zt(`\docs\*`)...)
	w.say(0, nbss(smb1Trans(smb1Trans2, 1, []uint16{trans2Find}, "", find, nil)))
	w.say(0, nbss(smb1Trans(smb1Trans2, 65, []uint16{0x0e}, "", make([]byte, 12), nil))) // DoublePulsar's question
	answer := smb1(smb1Trans2, 0x80, 81, nil, nil)
	le.PutUint32(answer[5:], 0xc0000002)
	w.say(1, nbss(answer))
	w.say(0, nbss(smb1Trans(smb1Transaction, 2, []uint16{0x23, 0}, `\PIPE\`, nil, nil))) // PeekNamedPipe
	w.say(0, nbss(smb1(smb1NTTransact, 0, 3, words(19, func(b []byte) { le.PutUint32(b[7:], 66512) }), nil)))
	w.say(0, nbss(smb1(smb1Trans2More, 0, 3, words(9, func(b []byte) {
		le.PutUint16(b[2:], 4096)
		le.PutUint16(b[14:], 976)
	}), make([]byte, 4096))))
	w.want(t, `smb1 find \docs\* function=1`, "smb1 transaction function=e", "smb1 transaction answer status=c0000002",
		`smb1 transaction \PIPE\ function=23`, "smb1 transaction length=66512", "smb1 transaction length=4096 offset=976")
}

func TestTheMultiplexIdOfSMB1IsAsSent(t *testing.T) {
	w := newWire(445)
	var mids []uint64
	for _, mid := range []uint16{65, 81} {
		w.track.Frame(w.frame(0, nbss(smb1(smb1Echo, 0, mid, words(1, nil), nil))), func(ev Event) {
			if e, ok := ev.(*SMB); ok {
				mids = append(mids, e.MID)
			}
		})
	}
	if !slices.Equal(mids, []uint64{65, 81}) {
		t.Errorf("multiplex ids %v", mids)
	}
}

func TestAnAndXChainThatGoesInACircleEnds(t *testing.T) {
	m := smb1(smb1LogoffX, 0, 1, words(2, func(b []byte) {
		b[0] = smb1LogoffX
		le.PutUint16(b[2:], 32) // itself
	}), nil)
	w := newWire(445)
	w.say(0, nbss(m))
	w.say(0, nbss(smb1(smb1Echo, 0, 2, words(1, nil), nil)))
	w.want(t, "smb1 other", "smb1 echo")
	long := smb1(smb1LogoffX, 0, 1, nil, nil)[:32]
	for range 30 {
		at := len(long) + 7
		long = append(long, 2, smb1LogoffX, 0, byte(at), byte(at>>8), 0, 0)
	}
	w.say(0, nbss(long))
	if len(w.seen) != smb1MaxAndX {
		t.Errorf("%d commands of one chain, limit %d", len(w.seen), smb1MaxAndX)
	}
}

func TestOldStringsOfSMB1AreReadByteByByte(t *testing.T) {
	m := smb1(smb1Delete, 0, 1, words(1, nil), []byte("\x04\\OLD\x82.TXT\x00"))
	le.PutUint16(m[10:], 0)
	w := newWire(139)
	w.say(0, nbss(m))
	w.want(t, `smb1 delete \OLD\130.TXT`)
}

func TestSessionServiceMessagesArePassedOver(t *testing.T) {
	w := newWire(139)
	w.say(0, append([]byte{0x81, 0, 0, 68}, make([]byte, 68)...))
	w.say(1, []byte{0x82, 0, 0, 0})
	w.say(0, []byte{0x85, 0, 0, 0})
	w.say(0, nbss(smb1(smb1Echo, 0, 1, words(1, nil), nil)))
	w.want(t, "smb1 echo")
}

func TestWhatIsNoSMBOnItsPortIsLeftAlone(t *testing.T) {
	w := newWire(445)
	w.say(0, []byte("SSH-2.0-OpenSSH\r\n"))
	w.say(0, []byte(strings.Repeat("x", 5000)))
	w.want(t)
}
