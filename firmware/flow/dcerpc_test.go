package flow

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

const (
	svcctl = "367abb81-9844-35f1-ad32-98f038001003"
	epm    = "e1af8308-5d1f-11c9-91a4-08002b14a0fa"
)

// svcctlWire is the UUID of svcctl in little-endian order.
var svcctlWire = []byte{0x81, 0xbb, 0x7a, 0x36, 0x44, 0x98, 0xf1, 0x35, 0xad, 0x32, 0x98, 0xf0, 0x38, 0, 0x10, 3}

// rpcMsg is a fragment; auth, when there is one, is what comes behind the
// eight bytes of the trailer.
func rpcMsg(kind, flags byte, call uint32, body []byte, authType, level byte, auth []byte) []byte {
	b := append([]byte{5, 0, kind, flags, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, body...)
	le.PutUint32(b[12:], call)
	if auth != nil {
		le.PutUint16(b[10:], uint16(len(auth)))
		b = append(append(b, authType, level, 0, 0, 0, 0, 0, 0), auth...)
	}
	le.PutUint16(b[8:], uint16(len(b)))
	return b
}

// rpcBindMsg offers interfaces; each is offered twice, as for two encodings.
func rpcBindMsg(call uint32, authType, level byte, auth []byte, uuids ...[]byte) []byte {
	body := []byte{0xb8, 0x10, 0xb8, 0x10, 0, 0, 0, 0, byte(2 * len(uuids)), 0, 0, 0}
	for i := range 2 * len(uuids) {
		body = append(body, byte(i), 0, 1, 0)
		body = append(append(body, uuids[i/2]...), 1, 0, 0, 0)
		body = append(body, make([]byte, 20)...)
	}
	return rpcMsg(rpcBind, 3, call, body, authType, level, auth)
}

func rpcRequestMsg(call uint32, context, opnum uint16, stub []byte) []byte {
	return rpcMsg(rpcRequest, 3, call, rpcRequestBody(context, opnum, stub), 0, 0, nil)
}

func rpcRequestBody(context, opnum uint16, stub []byte) []byte {
	b := make([]byte, 8)
	le.PutUint16(b[4:], context)
	le.PutUint16(b[6:], opnum)
	return append(b, stub...)
}

func rpcAnswer(kind byte, call uint32, context uint16) []byte {
	return rpcMsg(kind, 3, call, append(rpcRequestBody(context, 0, nil), 5, 0, 0, 0, 0, 0, 0, 0), 0, 0, nil)
}

func rpcScript() []turn {
	return []turn{
		{0, rpcBindMsg(1, 0, 0, nil, svcctlWire)},
		{1, rpcMsg(12, 3, 1, make([]byte, 40), 0, 0, nil)},
		{0, rpcRequestMsg(2, 1, 15, []byte("open"))},
		{1, rpcAnswer(rpcResponse, 2, 1)},
		{0, rpcRequestMsg(3, 0, 12, bytes.Repeat([]byte("x"), 3000))},
		{1, rpcAnswer(rpcFault, 3, 0)},
	}
}

func TestDCERPCIsKnownOnAnyPort(t *testing.T) {
	play(49670, rpcScript()).want(t,
		"rpc 0 "+svcctl+` opnum=0 pipe= status=0 auth=0/0 stub=""`,
		"rpc 1 "+svcctl+` opnum=15 pipe= status=0 auth=0/0 stub="open"`,
		"rpc 2 "+svcctl+` opnum=15 pipe= status=0 auth=0/0 stub=""`,
		"rpc 1 "+svcctl+` opnum=12 pipe= status=0 auth=0/0 stub="`+strings.Repeat("x", maxStub)+`"`,
		"rpc 3 "+svcctl+` opnum=12 pipe= status=5 auth=0/0 stub=""`)
}

func TestOfAPacketInFragmentsTheFirstIsReported(t *testing.T) {
	w := newWire(49670)
	w.say(0, rpcBindMsg(1, 0, 0, nil, svcctlWire))
	w.seen = nil
	w.say(0, rpcMsg(rpcRequest, 1, 2, rpcRequestBody(0, 12, []byte("a")), 0, 0, nil))
	w.say(0, rpcMsg(rpcRequest, 0, 2, rpcRequestBody(0, 12, []byte("b")), 0, 0, nil))
	w.say(0, rpcMsg(rpcRequest, 2, 2, rpcRequestBody(0, 12, []byte("c")), 0, 0, nil))
	w.want(t, "rpc 1 "+svcctl+` opnum=12 pipe= status=0 auth=0/0 stub="a"`)
}

func TestBigEndianCallersAreRead(t *testing.T) {
	b := []byte{5, 0, rpcBind, 3, 0, 0, 0, 0, 0, 72, 0, 0, 0, 0, 0, 1, 16, 0xb8, 16, 0xb8, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0}
	b = binary.BigEndian.AppendUint32(b, 0x367abb81)
	b = binary.BigEndian.AppendUint16(b, 0x9844)
	b = binary.BigEndian.AppendUint16(b, 0x35f1)
	b = append(append(b, svcctlWire[8:]...), 0, 2, 0, 0)
	b = append(b, make([]byte, 20)...)
	w := newWire(1025)
	w.say(0, b)
	w.want(t, "rpc 0 "+svcctl+` opnum=0 pipe= status=0 auth=0/0 stub=""`)
}

func TestAPrivateRequestHasNoStubAndASignedOneHas(t *testing.T) {
	for level, stub := range map[byte]string{5: "visible!", 6: ""} {
		w := newWire(49670)
		w.say(0, rpcBindMsg(1, 10, level, []byte("NTLMSSP\x00\x01\x00\x00\x00"), svcctlWire))
		w.say(0, rpcMsg(rpcAuth3, 3, 1, make([]byte, 4), 10, level, ntlmType3("OFFICE", "svc", "PC7", 24)))
		w.say(0, rpcMsg(rpcRequest, 3, 2, rpcRequestBody(0, 12, []byte("visible!")), 10, level, make([]byte, 16)))
		auth := map[byte]string{5: "10/5", 6: "10/6"}[level]
		w.want(t, "rpc 0 "+svcctl+" opnum=0 pipe= status=0 auth="+auth+` stub=""`,
			`login dcerpc ntlm "OFFICE" "svc" "PC7" result=0 clear=false`,
			"rpc 1 "+svcctl+" opnum=12 pipe= status=0 auth="+auth+` stub="`+stub+`"`)
	}
}

func TestAnInterfaceAmongManyMadeUpOnesIsFound(t *testing.T) {
	var uuids [][]byte
	for i := range byte(13) {
		uuids = append(uuids, bytes.Repeat([]byte{i + 1}, 16))
	}
	uuids = append(uuids, svcctlWire)
	w := newWire(49670)
	w.say(0, rpcBindMsg(1, 0, 0, nil, uuids...))
	if len(w.seen) != 14 || !strings.Contains(w.seen[13], svcctl) {
		t.Errorf("saw %q", w.seen)
	}
	w.seen = nil
	w.say(0, rpcRequestMsg(2, 27, 15, nil))
	w.want(t, "rpc 1 "+svcctl+` opnum=15 pipe= status=0 auth=0/0 stub=""`)
}

func TestDCERPCOverAPipeNamesThePipe(t *testing.T) {
	ioctl := func(mid uint64, data []byte) []byte {
		return nbss(withFile(smb2Ioctl, mid, 9, 56, func(b []byte) {
			le.PutUint32(b[4:], fsctlPipeTransceive)
			le.PutUint32(b[24:], 120)
			le.PutUint32(b[28:], uint32(len(data)))
		}, data))
	}
	w := newWire(445)
	w.say(0, nbss(smb2TreeMsg(1, `\\PC9\IPC$`)))
	w.say(1, nbss(smb2TreeAnswer(1, 5, smb2ShareIsPipe)))
	w.say(0, nbss(smb2CreateMsg(2, "SvcCtl", 0x12019f, 1, 0)))
	w.say(1, nbss(smb2CreateAnswer(2, 9)))
	w.seen = nil
	w.say(0, nbss(smb2WriteMsg(3, 9, 0, rpcBindMsg(1, 0, 0, nil, svcctlWire))))
	w.say(0, nbss(smb2ReadMsg(4, 9, 0, 1024)))
	w.say(1, nbss(smb2ReadAnswer(4, rpcMsg(12, 3, 1, make([]byte, 40), 0, 0, nil))))
	w.say(0, ioctl(5, rpcRequestMsg(2, 0, 12, []byte("service"))))
	answer := rpcAnswer(rpcResponse, 2, 0)
	w.say(1, nbss(smb2Msg(smb2Ioctl, smb2Response, 5, 48, func(b []byte) {
		le.PutUint32(b[32:], 112)
		le.PutUint32(b[36:], uint32(len(answer)))
	}, answer)))
	w.want(t, "smb2 write SvcCtl length=116", "rpc 0 "+svcctl+` opnum=0 pipe=svcctl status=0 auth=0/0 stub=""`,
		"smb2 read SvcCtl length=1024", "smb2 read answer SvcCtl length=56",
		"smb2 pipe SvcCtl length=31 function=c017", "rpc 1 "+svcctl+` opnum=12 pipe=svcctl status=0 auth=0/0 stub="service"`,
		"smb2 pipe answer SvcCtl length=32 function=c017", "rpc 2 "+svcctl+` opnum=12 pipe=svcctl status=0 auth=0/0 stub=""`)
}

func TestDCERPCInATransactionOfSMB1(t *testing.T) {
	w := newWire(139)
	open := smb1CreateMsg(1, `\svcctl`, 0)
	w.say(0, nbss(open))
	pipe := smb1CreateAnswer(1, 0x4000)
	le.PutUint16(pipe[33+63:], 2) // a message mode pipe
	w.say(1, nbss(pipe))
	w.seen = nil
	w.say(0, nbss(smb1Trans(smb1Transaction, 2, []uint16{transactPipe, 0x4000}, `\PIPE\`, nil, rpcBindMsg(1, 0, 0, nil, svcctlWire))))
	w.say(0, nbss(smb1Trans(smb1Transaction, 3, []uint16{transactPipe, 0x4000}, `\PIPE\`, nil, rpcRequestMsg(2, 0, 12, nil))))
	w.want(t, `smb1 pipe \svcctl length=116 function=26`, "rpc 0 "+svcctl+` opnum=0 pipe=svcctl status=0 auth=0/0 stub=""`,
		`smb1 pipe \svcctl length=24 function=26`, "rpc 1 "+svcctl+` opnum=12 pipe=svcctl status=0 auth=0/0 stub=""`)
}

func TestAFileThatLooksLikeDCERPCIsAFile(t *testing.T) {
	w := newWire(445)
	w.say(0, nbss(smb2TreeMsg(1, `\\nas\share`)))
	w.say(1, nbss(smb2TreeAnswer(1, 5, 1)))
	w.say(0, nbss(smb2CreateMsg(2, "capture.bin", 0x12019f, 5, 0)))
	w.say(1, nbss(smb2CreateAnswer(2, 9)))
	w.seen = nil
	w.say(0, nbss(smb2WriteMsg(3, 9, 0, rpcRequestMsg(2, 0, 12, nil))))
	if len(w.seen) != 1 || !strings.HasPrefix(w.seen[0], "smb2 write capture.bin") {
		t.Errorf("saw %q", w.seen)
	}
}

func TestSOCKSIsNotTakenForDCERPC(t *testing.T) {
	for _, hello := range [][]byte{{5, 1, 0}, {5, 2, 0, 2}, {5, 0}, slices.Concat([]byte{5, 0}, bytes.Repeat([]byte{9}, 20))} {
		w := newWire(1080)
		w.say(0, hello)
		w.want(t)
	}
}

func TestUUIDText(t *testing.T) {
	if got := uuidText(svcctlWire, le); got != svcctl {
		t.Errorf("%s, want %s", got, svcctl)
	}
	if got := uuidText([]byte{0xe1, 0xaf, 0x83, 8, 0x5d, 0x1f, 0x11, 0xc9, 0x91, 0xa4, 8, 0, 0x2b, 0x14, 0xa0, 0xfa}, binary.BigEndian); got != epm {
		t.Errorf("%s, want %s", got, epm)
	}
}
