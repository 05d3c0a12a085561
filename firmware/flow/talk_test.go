package flow

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"sekisho/firmware/flow/flowtest"
)

const helloTold = "> hello quic=false 0304 shop.example [h2 http/1.1]"

// rdpRequest is a TPKT with an X.224 connection request (MS-RDPBCGR 2.2.1.1).
func rdpRequest(cookie string, offers uint32) []byte {
	tail := append([]byte(cookie), 1, 0, 8, 0)
	tail = binary.LittleEndian.AppendUint32(tail, offers)
	n := 11 + len(tail)
	return append([]byte{3, 0, 0, byte(n), byte(n - 5), 0xe0, 0, 0, 0, 0, 0}, tail...)
}

func rdpConfirm(kind byte, v uint32) []byte {
	return binary.LittleEndian.AppendUint32([]byte{3, 0, 0, 19, 14, 0xd0, 0, 0, 0x12, 0x34, 0, kind, 0, 8, 0}, v)
}

func TestRDPNamesItsUserAndThenSpeaksTLS(t *testing.T) {
	k := newTape(13389) // on any port
	k.say(0, rdpRequest("Cookie: mstshash=tanaka\r\n", 3)...)
	k.say(1, rdpConfirm(2, 2)...)
	k.say(0, flowtest.ClientHello("shop.example", 300)...)
	k.want(t,
		"> banner rdp: RDP client offers CredSSP",
		`> rdp login tried user="tanaka" domain="" host=""  clear=false`,
		"< banner rdp: RDP CredSSP", helloTold)
}

func TestRDPWithoutEncryptionAndRefusals(t *testing.T) {
	k := newTape(3389)
	k.say(0, rdpRequest("", 0)[:11]...) // an old client: no request behind the fixed part
	k.want(t)
	k = newTape(3389)
	k.say(0, 3, 0, 0, 11, 6, 0xe0, 0, 0, 0, 0, 0)
	k.say(1, 3, 0, 0, 11, 6, 0xd0, 0, 0, 0x12, 0x34, 0)
	k.want(t, "> banner rdp: RDP client offers standard security", "< banner rdp: RDP standard security")
	k = newTape(3389)
	k.say(0, rdpRequest("Cookie: msts=1.2.3\r\n", 1)...)
	k.say(1, rdpConfirm(3, 5)...)
	k.want(t, "> banner rdp: RDP client offers TLS", "< banner rdp: RDP refused, failure code 5")
}

func TestAControllerIsNotADesktop(t *testing.T) {
	k := newTape(102)
	k.say(0, 3, 0, 0, 22, 17, 0xe0, 0, 0, 0, 1, 0, 0xc0, 1, 10, 0xc1, 2, 1, 0, 0xc2, 2, 1, 2) // S7
	k.want(t)
	if k.track.table.at(1).app[0] != appDone {
		t.Error("a controller's connection is read on")
	}
}

func vnc(k *tape, version string, types ...byte) {
	k.say(1, []byte("RFB 003.008\n")...)
	k.say(0, []byte(version+"\n")...)
	k.say(1, types...)
}

func TestVNCPasswords(t *testing.T) {
	challenge, response := make([]byte, 16), slices.Repeat([]byte{9}, 16)
	banners := []string{"< banner vnc: RFB 003.008", "> banner vnc: RFB 003.008"}
	for name, c := range map[string]struct {
		result []byte
		want   string
	}{
		"right": {[]byte{0, 0, 0, 0}, "ok"},
		"wrong": {append([]byte{0, 0, 0, 1, 0, 0, 0, 4}, "sigh"...), "failed"},
		"many":  {[]byte{0, 0, 0, 2}, "failed"},
	} {
		k := newTape(5901)
		vnc(k, "RFB 003.008", 2, 2, 16)
		k.say(0, 2)
		k.say(1, challenge...)
		k.say(0, response[:5]...) // by halves
		k.say(0, response[5:]...)
		k.say(1, c.result...)
		k.want(t, append(banners, `> vnc login tried user="" domain="" host="" vnc clear=false`,
			`< vnc login `+c.want+` user="" domain="" host="" vnc clear=false`)...)
		if c := k.track.table.at(1); c.dialogue != 0 {
			t.Errorf("%s: the connection is read on", name)
		}
	}
}

func TestVNCOfOtherKinds(t *testing.T) {
	k := newTape(5900)
	vnc(k, "RFB 003.003", 0, 0, 0, 2) // the server decides; both at once
	k.say(1, make([]byte, 16)...)
	k.say(0, make([]byte, 16)...)
	k.say(1, 0, 0, 0, 0)
	k.want(t, "< banner vnc: RFB 003.008", "> banner vnc: RFB 003.003",
		`> vnc login tried user="" domain="" host="" vnc clear=false`, `< vnc login ok user="" domain="" host="" vnc clear=false`)

	k = newTape(5900)
	vnc(k, "RFB 003.008", 1, 1)
	k.say(0, 1)
	k.say(1, 0, 0, 0, 0)
	k.want(t, "< banner vnc: RFB 003.008", "> banner vnc: RFB 003.008",
		`< vnc login tried user="" domain="" host="" none clear=false`, `< vnc login ok user="" domain="" host="" none clear=false`)

	k = newTape(5900)
	vnc(k, "RFB 003.008", append([]byte{0, 0, 0, 0, 4}, "busy"...)...) // too many tries before
	k.want(t, "< banner vnc: RFB 003.008", "> banner vnc: RFB 003.008")

	k = newTape(5900)
	vnc(k, "RFB 003.008", 1, 30) // Apple
	k.say(0, 30)
	k.say(1, append([]byte{0, 2, 0, 8}, make([]byte, 16)...)...)
	k.say(0, make([]byte, 136)...)
	k.say(1, 0, 0, 0, 1)
	k.want(t, "< banner vnc: RFB 003.008", "> banner vnc: RFB 003.008",
		`> vnc login tried user="" domain="" host="" apple clear=false`, `< vnc login failed user="" domain="" host="" apple clear=false`)
}

func mysqlPacket(n byte, body ...byte) []byte {
	return append([]byte{byte(len(body)), byte(len(body) >> 8), byte(len(body) >> 16), n}, body...)
}

func mysqlHello() []byte {
	return mysqlPacket(0, append([]byte("\x0a8.0.32\x00"), make([]byte, 60)...)...)
}

func mysqlLogin(caps uint32, tail string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, caps)
	return mysqlPacket(1, append(append(b, make([]byte, 28)...), tail...)...)
}

func TestMySQLLogins(t *testing.T) {
	const caps = mysql41 | mysqlSecure | mysqlPluginAuth
	answer := mysqlLogin(caps|mysqlWithDB, "root\x00\x03abcshop\x00mysql_native_password\x00")
	told := func(dir, result, user, how string, clear string) string {
		return dir + " mysql login " + result + ` user="` + user + `" domain="" host="" ` + how + " clear=" + clear
	}
	for name, c := range map[string]struct {
		answer, outcome []byte
		want            []string
	}{
		"right": {answer, mysqlPacket(2, 0, 0, 0), []string{told(">", "tried", "root", "mysql_native_password", "false"), told("<", "ok", "root", "mysql_native_password", "false")}},
		"wrong": {answer, mysqlPacket(2, append([]byte{0xff, 0x15, 0x04}, "#28000Access denied"...)...),
			[]string{told(">", "tried", "root", "mysql_native_password", "false"), told("<", "failed", "root", "mysql_native_password", "false")}},
		"no such database": {answer, mysqlPacket(2, 0xff, 0x19, 0x04), []string{told(">", "tried", "root", "mysql_native_password", "false")}},
		"old client":       {mysqlPacket(1, append([]byte{5, 0, 0, 0, 1}, "bob\x00xyz"...)...), mysqlPacket(2, 0xff, 0xa2, 0x06), []string{told(">", "tried", "bob", "", "false"), told("<", "failed", "bob", "", "false")}},
		"in the clear": {answer, slices.Concat(mysqlPacket(2, append([]byte{0xfe}, "mysql_clear_password\x00"...)...), mysqlPacket(4, 0)),
			[]string{told(">", "tried", "root", "mysql_native_password", "false"), told("<", "ok", "root", "mysql_clear_password", "true")}},
	} {
		k := newTape(33060)
		k.say(1, mysqlHello()...)
		k.say(0, c.answer...)
		k.say(1, c.outcome...)
		if want := append([]string{"< banner mysql: 8.0.32"}, c.want...); !slices.Equal(k.seen, want) {
			t.Errorf("%s: saw\n\t%s\nwant\n\t%s", name, strings.Join(k.seen, "\n\t"), strings.Join(want, "\n\t"))
		}
	}
	k := newTape(3306)
	k.say(1, mysqlHello()...)
	k.say(0, mysqlLogin(caps|mysqlSSL, "")...)
	k.say(0, flowtest.ClientHello("shop.example", 300)...)
	k.want(t, "< banner mysql: 8.0.32", helloTold)
}

func tds(kind byte, body ...byte) []byte {
	n := 8 + len(body)
	return append([]byte{kind, 1, byte(n >> 8), byte(n), 0, 0, 1, 0}, body...)
}

func tdsPre(encrypt byte) []byte {
	return []byte{0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff, 15, 0, 0x10, 0x91, 0, 0, encrypt}
}

func tdsLogin(host, user string) []byte {
	b := make([]byte, 94)
	put := func(at int, s string) {
		binary.LittleEndian.PutUint16(b[at:], uint16(len(b)))
		binary.LittleEndian.PutUint16(b[at+2:], uint16(len(s)))
		for _, u := range utf16.Encode([]rune(s)) {
			b = binary.LittleEndian.AppendUint16(b, u)
		}
	}
	put(36, host)
	put(40, user)
	put(44, "secret")
	return b
}

func token(kind byte, body ...byte) []byte {
	return append([]byte{kind, byte(len(body)), byte(len(body) >> 8)}, body...)
}

func TestSQLServerLogins(t *testing.T) {
	wrong := tds(tdsResponse, slices.Concat(token(tdsEnv, 1, 0), token(tdsInfo, make([]byte, 300)...),
		token(tdsError, append(binary.LittleEndian.AppendUint32(nil, tdsLoginFailed), make([]byte, 40)...)...))...)
	right := tds(tdsResponse, slices.Concat(token(tdsEnv, 1, 0), token(tdsLoginAck, 1, 2, 3))...)
	for _, c := range []struct {
		answer []byte
		want   string
	}{{wrong, "failed"}, {right, "ok"}} {
		k := newTape(1433)
		k.say(0, tds(tdsPrelogin, tdsPre(2)...)...)
		k.say(1, tds(tdsResponse, tdsPre(tdsEncryptNone)...)...)
		k.say(0, tds(tdsLogin7, tdsLogin("PC-7", "sa")...)...)
		k.say(1, c.answer...)
		k.want(t, "< banner mssql: SQL Server 15.0.4241",
			`> mssql login tried user="sa" domain="" host="PC-7"  clear=true`,
			`< mssql login `+c.want+` user="sa" domain="" host="PC-7"  clear=true`)

		k = newTape(1433) // only the log-in is encrypted
		k.say(0, tds(tdsPrelogin, tdsPre(0)...)...)
		k.say(1, tds(tdsResponse, tdsPre(0)...)...)
		k.say(0, tds(tdsPrelogin, make([]byte, 3000)...)...) // TLS, in packets
		k.say(1, tds(tdsPrelogin, make([]byte, 900)...)...)
		k.say(0, append([]byte{23, 3, 3, 0, 200}, make([]byte, 200)...)...)
		k.say(1, c.answer...)
		k.want(t, "< banner mssql: SQL Server 15.0.4241",
			`< mssql login tried user="" domain="" host=""  clear=false`,
			`< mssql login `+c.want+` user="" domain="" host=""  clear=false`)
	}
	k := newTape(1433) // everything is encrypted
	k.say(0, tds(tdsPrelogin, tdsPre(1)...)...)
	k.say(1, tds(tdsResponse, tdsPre(1)...)...)
	k.say(0, append([]byte{23, 3, 3, 0, 200}, make([]byte, 200)...)...)
	k.say(1, append([]byte{23, 3, 3, 0, 200}, make([]byte, 200)...)...)
	k.say(1, wrong...)
	k.want(t, "< banner mssql: SQL Server 15.0.4241")
}

func pg(tag byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{tag}, uint32(4+len(body)))
	return append(b, body...)
}

func TestPostgreSQLLogins(t *testing.T) {
	start := pg(0, "\x00\x03\x00\x00user\x00shop\x00database\x00x\x00\x00")[1:]
	told := func(dir, result, how, clear string) string {
		return dir + " postgresql login " + result + ` user="shop" domain="" host="" ` + how + " clear=" + clear
	}
	for name, c := range map[string]struct {
		ask, outcome []byte
		want         []string
	}{
		"md5":   {pg('R', "\x00\x00\x00\x05salt"), pg('R', "\x00\x00\x00\x00"), []string{told(">", "tried", "md5", "false"), told("<", "ok", "md5", "false")}},
		"plain": {pg('R', "\x00\x00\x00\x03"), pg('E', "SFATAL\x00C28P01\x00Mpassword\x00\x00"), []string{told(">", "tried", "plain", "true"), told("<", "failed", "plain", "true")}},
		"no database": {pg('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"), pg('E', "SFATAL\x00C3D000\x00\x00"),
			[]string{told(">", "tried", "scram", "false")}},
	} {
		k := newTape(15432)
		k.say(0, start...)
		k.say(1, c.ask...)
		k.say(0, pg('p', "secret\x00")...)
		k.say(1, c.outcome...)
		if !slices.Equal(k.seen, c.want) {
			t.Errorf("%s: saw\n\t%s\nwant\n\t%s", name, strings.Join(k.seen, "\n\t"), strings.Join(c.want, "\n\t"))
		}
	}
	k := newTape(5432) // nobody asks for anything
	k.say(0, start...)
	k.say(1, pg('R', "\x00\x00\x00\x00")...)
	k.want(t, told("<", "tried", "trust", "false"), told("<", "ok", "trust", "false"))

	ask := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, pgSSL)
	k = newTape(5432)
	k.say(0, ask...)
	k.say(1, 'S')
	k.say(0, flowtest.ClientHello("shop.example", 300)...)
	k.want(t, helloTold)
	k = newTape(5432)
	k.say(0, ask...)
	k.say(1, 'N')
	k.say(0, start...)
	k.say(1, pg('E', "SFATAL\x00C28000\x00\x00")...)
	k.want(t, told("<", "tried", "", "false"), told("<", "failed", "", "false"))
}

func TestAGapEndsALogin(t *testing.T) {
	k := newTape(3306)
	k.say(1, mysqlHello()...)
	k.say(0, mysqlLogin(mysql41, "root\x00")...)
	k.seq[1] += 50
	k.say(1, mysqlPacket(2, 0, 0, 0)...)
	k.want(t, "< banner mysql: 8.0.32", `> mysql login tried user="root" domain="" host=""  clear=false`)
	if c := k.track.table.at(1); c.dialogue != 0 || k.track.Stats().DeepSkipped != 1 {
		t.Error("the dialogue goes on behind a gap, or is not counted")
	}
}

// FuzzTalk gives bytes to the readers of both sides in turn. The first byte of
// each piece says whose they are.
func FuzzTalk(f *testing.F) {
	f.Add(uint8(0), slices.Concat([]byte{43}, rdpRequest("Cookie: mstshash=a\r\n", 1)[:43], []byte{128 | 19}, rdpConfirm(2, 0)))
	f.Add(uint8(1), []byte("\x8cRFB 003.008\n\x0cRFB 003.008\n\x82\x01\x02\x01\x02"))
	f.Add(uint8(2), append([]byte{128 | 72}, mysqlHello()...))
	f.Add(uint8(3), append([]byte{26}, tds(tdsPrelogin, tdsPre(2)...)...))
	f.Add(uint8(4), append([]byte{15}, "\x00\x00\x00\x0f\x00\x03\x00\x00user\x00a\x00"...))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		k := talk{app: appRDP + app(which%5)}
		for len(data) > 1 {
			dir, n := int(data[0]>>7), min(int(data[0]&127), len(data)-1)
			k.half[dir] = append(k.half[dir], data[1:1+n]...)
			data = data[1+n:]
			for len(k.half[dir]) > 0 {
				n, a := k.read(dir, k.half[dir])
				if n < 0 || k.n > len(k.out) {
					t.Fatalf("took %d bytes, said %d", n, k.n)
				}
				k.n, k.banner = 0, ""
				if a != talkOn {
					return
				}
				if n == 0 {
					break
				}
				k.half[dir] = k.half[dir][min(n, len(k.half[dir])):]
			}
		}
	})
}
