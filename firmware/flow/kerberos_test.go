package flow

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

// der is one element in DER.
func der(tag byte, parts ...[]byte) []byte {
	v := slices.Concat(parts...)
	switch n := len(v); {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, v...)
	case n < 0x100:
		return append([]byte{tag, 0x81, byte(n)}, v...)
	default:
		return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, v...)
	}
}

func derInt(n int) []byte { return der(2, []byte{byte(n)}) }

func field(n byte, v []byte) []byte { return der(0xa0|n, v) }

func derPrincipal(parts ...string) []byte {
	var list []byte
	for _, p := range parts {
		list = append(list, der(0x1b, []byte(p))...)
	}
	return der(0x30, field(0, derInt(1)), field(1, der(0x30, list)))
}

func krbRequestMsg(kind byte, user string, preAuth bool, service []string, etypes ...int) []byte {
	var pa, cname, list []byte
	if preAuth {
		pa = field(3, der(0x30, der(0x30, field(1, derInt(2)), field(2, der(4, make([]byte, 60))))))
	}
	if user != "" {
		cname = field(1, derPrincipal(user))
	}
	for _, e := range etypes {
		list = append(list, derInt(e)...)
	}
	body := der(0x30, field(0, der(3, make([]byte, 5))), cname, field(2, der(0x1b, []byte("OFFICE.LAN"))),
		field(3, derPrincipal(service...)), field(5, der(0x18, []byte("20370913024805Z"))), field(7, derInt(9)), field(8, der(0x30, list)))
	return der(0x60|kind, der(0x30, field(1, derInt(5)), field(2, derInt(int(kind))), pa, field(4, body)))
}

func krbReplyMsg(kind byte, user string, etype int, service ...string) []byte {
	ticket := der(0x61, der(0x30, field(0, derInt(5)), field(1, der(0x1b, []byte("OFFICE.LAN"))), field(2, derPrincipal(service...)),
		field(3, der(0x30, field(0, derInt(etype)), field(2, der(4, make([]byte, 900)))))))
	return der(0x60|kind, der(0x30, field(0, derInt(5)), field(1, derInt(int(kind))), field(3, der(0x1b, []byte("OFFICE.LAN"))),
		field(4, derPrincipal(user)), field(5, ticket), field(6, der(0x30, field(0, derInt(18))))))
}

func krbErrorMsg(code int) []byte {
	return der(0x7e, der(0x30, field(0, derInt(5)), field(1, derInt(30)), field(4, der(0x18, []byte("20240101000000Z"))),
		field(5, derInt(1)), field(6, derInt(code)), field(9, der(0x1b, []byte("OFFICE.LAN"))), field(10, derPrincipal("krbtgt", "OFFICE.LAN"))))
}

// overTCP puts the length in front.
func overTCP(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func kerberosScript() []turn {
	return []turn{
		{0, overTCP(krbRequestMsg(krbASReq, "tanaka", true, []string{"krbtgt", "OFFICE.LAN"}, 18, 17, 23))},
		{1, overTCP(krbReplyMsg(krbASRep, "tanaka", 18, "krbtgt", "OFFICE.LAN"))},
		{0, overTCP(krbRequestMsg(krbTGSReq, "", false, []string{"MSSQLSvc", "db1"}, 23))},
		{1, overTCP(krbReplyMsg(krbTGSRep, "tanaka", 23, "MSSQLSvc", "db1"))},
	}
}

func TestKerberosSaysWhoAsksForWhichTicket(t *testing.T) {
	play(88, kerberosScript()).want(t,
		`login kerberos  "OFFICE.LAN" "tanaka" "" result=0 clear=false`,
		"krb 10 tanaka@OFFICE.LAN krbtgt/OFFICE.LAN etype=18[18 17 23] pre=true error=0",
		`login kerberos  "OFFICE.LAN" "tanaka" "" result=1 clear=false`,
		"krb 11 tanaka@OFFICE.LAN krbtgt/OFFICE.LAN etype=18[] pre=false error=0",
		"krb 12 @OFFICE.LAN MSSQLSvc/db1 etype=23[23] pre=false error=0",
		"krb 13 tanaka@OFFICE.LAN MSSQLSvc/db1 etype=23[] pre=false error=0")
}

func (w *wire) datagram(dir int, port uint16, data []byte) {
	w.now += 1e6
	src, dst, sp, dp := hostA, hostB, uint16(40000), port
	if dir == 1 {
		src, dst, sp, dp = dst, src, dp, sp
	}
	b := ether.Frame(0x0800, flowtest.IP{Src: src, Dst: dst, Proto: ProtoUDP}.Packet(flowtest.UDP(sp, dp, data)))
	w.track.Frame(&capture.Frame{Time: w.now, Data: b, OrigLen: len(b), Link: capture.LinkEthernet}, w.emit)
}

func TestAKerberosErrorOverUDPIsTheLogInOfWhoAsked(t *testing.T) {
	w := &wire{track: New(Config{})}
	w.datagram(0, 88, krbRequestMsg(krbASReq, "sato", false, []string{"krbtgt", "OFFICE.LAN"}, 18))
	w.datagram(1, 88, krbErrorMsg(25)) // more is required: no failure
	w.datagram(0, 88, krbRequestMsg(krbASReq, "sato", true, []string{"krbtgt", "OFFICE.LAN"}, 18))
	w.datagram(1, 88, krbErrorMsg(krbPreAuthFailed))
	w.want(t,
		"krb 10 sato@OFFICE.LAN krbtgt/OFFICE.LAN etype=18[18] pre=false error=0",
		"krb 30 sato@OFFICE.LAN krbtgt/OFFICE.LAN etype=0[] pre=false error=25",
		`login kerberos  "OFFICE.LAN" "sato" "" result=0 clear=false`,
		"krb 10 sato@OFFICE.LAN krbtgt/OFFICE.LAN etype=18[18] pre=true error=0",
		`login kerberos  "OFFICE.LAN" "sato" "" result=2 clear=false`,
		"krb 30 sato@OFFICE.LAN krbtgt/OFFICE.LAN etype=0[] pre=false error=24")
}

func TestARequestWhoseTicketIsTooLargeIsStillCounted(t *testing.T) {
	big := der(0x6c, der(0x30, field(1, derInt(5)), field(2, derInt(12)), field(3, der(4, make([]byte, 9000)))))
	w := newWire(88)
	w.say(0, overTCP(big))
	w.want(t, "krb 12 @  etype=0[] pre=false error=0")
}

func TestWhatIsNoKerberosIsMalformed(t *testing.T) {
	w := &wire{track: New(Config{})}
	w.datagram(0, 88, []byte("GET / HTTP/1.1"))
	w.datagram(0, 88, krbRequestMsg(krbASReq, "sato", false, []string{"a"}, 18)[:40])
	w.want(t, "malformed kerberos: no message of RFC 4120", "malformed kerberos: no message of RFC 4120")
}

func TestListsOfKerberosAreBounded(t *testing.T) {
	many := bytes.Repeat([]byte{18}, 100)
	etypes := make([]int, len(many))
	var got Kerberos
	w := &wire{track: New(Config{})}
	b := ether.Frame(0x0800, flowtest.IP{Src: hostA, Dst: netip.MustParseAddr("192.168.1.3"), Proto: ProtoUDP}.Packet(
		flowtest.UDP(40000, 88, krbRequestMsg(krbASReq, "a", false, []string{"b"}, etypes...))))
	w.track.Frame(&capture.Frame{Data: b, OrigLen: len(b), Link: capture.LinkEthernet}, func(ev Event) {
		if e, ok := ev.(*Kerberos); ok {
			got = *e
		}
	})
	if len(got.ETypes) != maxETypes {
		t.Errorf("%d encryption types, limit %d", len(got.ETypes), maxETypes)
	}
}
