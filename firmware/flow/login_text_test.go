package flow

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sekisho/firmware/flow/flowtest"
)

const secret = "hunter2"

// dialogues are log-ins as they stand on the wire, and what they mean.
var textDialogues = []struct {
	name  string
	port  uint16
	lines []string
	want  []string
}{
	{"ftp refused, then let in", 2121, []string{
		"<220-Welcome\r\n220 files FTP ready\r\n", ">USER amy\r\n", "<331 Password?\r\n", ">PASS wrong" + secret + "\r\n", "<530 Login incorrect.\r\n",
		">USER amy\r\n", "<331 Password?\r\n", ">PASS " + secret + "\r\n", "<230-Hello\r\n230 you are in\r\n", ">USER bob\r\n", ">PASS " + secret + "\r\n",
	}, []string{
		`banner ftp server=true 220 files FTP ready`,
		`login ftp  user="amy" result=0 clear=true server=false`, `login ftp  user="amy" result=2 clear=true server=true`,
		`login ftp  user="amy" result=0 clear=true server=false`, `login ftp  user="amy" result=1 clear=true server=true`,
	}},
	{"ftp by port, user refused by name", 21, []string{"<220 x\r\n", ">LIST\r\n", "<530 Please log in\r\n", ">USER root\r\n", "<530 No\r\n"},
		[]string{`banner ftp server=true 220 x`, `login ftp  user="root" result=0 clear=false server=true`, `login ftp  user="root" result=2 clear=false server=true`}},
	{"ftp goes over to TLS", 21, []string{"<220 x\r\n", ">AUTH TLS\r\n", "<234 go\r\n", ">" + string(flowtest.ClientHello("shop.example", 600))},
		[]string{`banner ftp server=true 220 x`, helloSeen}},
	{"smtp, both mechanisms", 9999, []string{
		"<220 mail ESMTP\r\n", ">EHLO me\r\n", "<250-mail\r\n250 AUTH PLAIN LOGIN\r\n", ">AUTH LOGIN\r\n", "<334 VXNlcm5hbWU6\r\n", ">YW15\r\n",
		"<334 UGFzc3dvcmQ6\r\n", ">aHVudGVyMg==\r\n", "<535 5.7.8 no\r\n", ">AUTH PLAIN AGFteQBodW50ZXIy\r\n", "<235 yes\r\n", ">DATA\r\n", ">AUTH LOGIN\r\n",
	}, []string{
		`banner smtp server=true 220 mail ESMTP`,
		`login smtp login user="amy" result=0 clear=true server=false`, `login smtp login user="amy" result=2 clear=true server=true`,
		`login smtp plain user="amy" result=0 clear=true server=false`, `login smtp plain user="amy" result=1 clear=true server=true`,
	}},
	{"smtp, challenge and answer", 587, []string{"<220 x\r\n", ">AUTH CRAM-MD5\r\n", "<334 PDE+\r\n", ">YW15IGQxOGQ=\r\n", "<535 no\r\n"},
		[]string{`banner smtp server=true 220 x`, `login smtp cram-md5 user="amy" result=0 clear=false server=false`, `login smtp cram-md5 user="amy" result=2 clear=false server=true`}},
	{"smtp, a mail that speaks of log-ins", 25, []string{"<220 x\r\n", ">DATA\r\n", "<354 go\r\n", ">AUTH PLAIN AGFteQBodW50ZXIy\r\n", "<235 no\r\n"},
		[]string{`banner smtp server=true 220 x`}},
	{"pop3 with commands sent ahead", 1100, []string{"<+OK ready\r\n", ">USER amy\r\nPASS " + secret + "\r\n", "<+OK\r\n", "<-ERR no\r\n", ">APOP bob c4c9\r\n", "<+OK\r\n"},
		[]string{`banner pop3 server=true +OK ready`,
			`login pop3  user="amy" result=0 clear=true server=false`, `login pop3  user="amy" result=2 clear=true server=true`,
			`login pop3 apop user="bob" result=0 clear=false server=false`, `login pop3 apop user="bob" result=1 clear=false server=true`}},
	{"imap", 1143, []string{"<* OK ready\r\n", ">a1 LOGIN \"amy\" " + secret + "\r\n", "<* BYE soon\r\na1 NO wrong\r\n", ">a2 LOGIN {3}\r\n", "<+ go\r\n",
		">amy {7}\r\n", "<+ go\r\n", ">" + secret + "\r\n", "<a2 BAD what\r\n", ">a3 AUTHENTICATE PLAIN\r\n", "<+ \r\n", ">AGFteQBodW50ZXIy\r\n", "<a3 OK in\r\n"},
		[]string{`banner imap server=true * OK ready`,
			`login imap login user="amy" result=0 clear=true server=false`, `login imap login user="amy" result=2 clear=true server=true`,
			`login imap login user="amy" result=0 clear=true server=false`,
			`login imap plain user="amy" result=0 clear=true server=false`, `login imap plain user="amy" result=1 clear=true server=true`}},
	{"telnet, a key at a time, wrong, then right", 23, []string{
		"<\xff\xfb\x01\xff\xfd\x18", ">\xff\xfd\x01\xff\xfa\x18\x00xterm: login:\xff\xf0", "<Router 7\r\n\r\nlogin: ", ">r", "<r", ">o", "<o", ">x", "<x", ">\x7fot\r\n", "<\r\nPassword: ",
		">" + secret + "\r\x00", "<\r\nLogin incorrect\r\nlogin: ", ">root\r\n", "<Password: ", ">\r\n", "<\r\nLast login: Tue\r\n# ", ">password: x\r\n"},
		[]string{`banner telnet server=true \255\251\001\255\253\024`,
			`login telnet  user="root" result=0 clear=true server=false`, `login telnet  user="root" result=2 clear=true server=true`,
			`login telnet  user="root" result=0 clear=true server=false`, `login telnet  user="root" result=1 clear=true server=true`}},
	{"irc", 8000, []string{"<:irc.x NOTICE AUTH :*** hi\r\n", ">PASS " + secret + "\r\nNICK bot1\r\nUSER a 0 * :real name\r\n",
		"<:irc.x 001 bot1 :Welcome\r\n", ">JOIN #c " + secret + "\r\n", "<PING :1\r\n", "<PING :2\r\n", "<:m!u@h PRIVMSG #c :.scan 10.0.0.0/8 23\r\n",
		">PRIVMSG NickServ :IDENTIFY " + secret + "\r\n"},
		[]string{`banner irc server=true :irc.x NOTICE AUTH :*** hi`, `irc server=true NOTICE AUTH "*** hi"`, `irc server=false PASS  ""`,
			`irc server=false NICK bot1 "bot1"`, `irc server=false USER a "real name"`, `irc server=true 001 bot1 "Welcome"`,
			`irc server=false JOIN #c ""`, `irc server=true PING 1 "1"`, `irc server=true PRIVMSG #c ".scan 10.0.0.0/8 23"`,
			`irc server=false PRIVMSG NickServ ""`}},
}

func TestLoginsInText(t *testing.T) {
	for _, c := range textDialogues {
		t.Run(c.name, func(t *testing.T) {
			k := newTalker(c.port)
			web(k, c.lines...)
			k.want(t, c.want...)
			if strings.Contains(strings.Join(k.seen, ""), secret) {
				t.Error("a secret left the parser")
			}
		})
	}
}

// Segments may end anywhere, for all protocols whose messages end by themselves.
func TestCutsDoNotChangeWhatALoginMeans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(textDialogues).Draw(t, "dialogue")
		if strings.HasPrefix(c.name, "telnet") || strings.HasPrefix(c.name, "ftp goes") {
			t.Skip("prompts and a change of protocol stand at the end of a segment")
		}
		k := newTalker(c.port)
		var cut []string
		for i, l := range c.lines {
			if n := rapid.IntRange(5, 20).Draw(t, "n"); i > 1 && n < len(l) {
				cut = append(cut, l[:n], l[:1]+l[n:])
			} else {
				cut = append(cut, l)
			}
		}
		web(k, cut...)
		if strings.Join(k.seen, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%q means\n%s", cut, strings.Join(k.seen, "\n"))
		}
	})
}

func TestALineWithAHoleIsNotRead(t *testing.T) {
	k := newTalker(21)
	k.tcp(1, FlagACK, 500, []byte("220 x\r\n"))
	k.tcp(0, FlagACK, 100, []byte("USER am"))
	k.tcp(0, FlagACK, 120, []byte("SER eve\r\nPASS a\r\n"))
	k.tcp(0, FlagACK, 107, []byte("y\r\n")) // too late
	k.want(t, `banner ftp server=true 220 x`, `login ftp  user="" result=0 clear=true server=false`)
}

func TestOnlySoManySegmentsOfADialogueAreRead(t *testing.T) {
	k := newTalker(21)
	k.tcp(1, FlagACK, 500, []byte("220 x\r\n"))
	seq := uint32(100)
	for range dialogueSegments + 10 {
		k.tcp(0, FlagACK, seq, []byte("PASS x\r\n"))
		seq += 8
	}
	if n := len(k.seen) - 1; n != dialogueSegments {
		t.Errorf("%d attempts were read", n)
	}
	if k.track.Stats().DeepSkipped != 1 {
		t.Errorf("given up %d times", k.track.Stats().DeepSkipped)
	}
}

func TestWhatNoParserKnowsIsShown(t *testing.T) {
	k := newTalker(4444)
	web(k, ">\x00\x01magic", "<whoami\n", ">root\n")
	k.want(t, `opaque server=false "\x00\x01magic"`, `opaque server=true "whoami\n"`)
	k = newTalker(6379) // Redis answers as POP3 greets
	web(k, ">*1\r\n$4\r\nPING\r\n", "<+OK\r\n")
	k.want(t, `opaque server=false "*1\r\n$4\r\nPING\r\n"`, `opaque server=true "+OK\r\n"`)
	k = newTalker(53) // no DNS
	web(k, "<\x00\x10\x05\x00", "<MZ\x90\x00\x03\x00")
	k.want(t, `opaque server=true "\x00\x10\x05\x00MZ\x90\x00\x03\x00"`)
	k = newTalker(53)
	web(k, "<SSH-2.0-x\r\n")
	k.want(t, "banner ssh server=true SSH-2.0-x")
	k = newTalker(443)
	web(k, ">"+string(flowtest.ClientHello("shop.example", 600)), "<\x15\x03\x03\x00\x02\x02\x28")
	k.want(t, helloSeen)
}

func TestSSDP(t *testing.T) {
	k := newTalker(1)
	k.udp(50000, 1900, []byte("M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nST: ssdp:all\r\n\r\n"))
	k.udp(1900, 50000, []byte("HTTP/1.1 200 OK\r\nlocation: http://192.168.1.1:80/d.xml\r\nSERVER: UPnP/1.0 x\r\nST: upnp:rootdevice\r\n\r\n"))
	k.udp(50000, 1900, []byte("\x00\x00\x00"))
	k.want(t, "ssdp M-SEARCH ssdp:all  ", "ssdp  upnp:rootdevice http://192.168.1.1:80/d.xml UPnP/1.0 x", "malformed ssdp: no SSDP message")
}

// FuzzDialogue plays its input as a connection, each line a segment: whatever
// the other side says, nothing panics, slots come back, events are bounded.
func FuzzDialogue(f *testing.F) {
	for _, c := range textDialogues {
		f.Add(c.port, strings.ReplaceAll(strings.Join(c.lines, "\x00"), "\n", "\x01"))
	}
	f.Add(uint16(80), get("/")+"\x00<HTTP/1.1 200 OK\r\x01\r\x01")
	f.Fuzz(func(t *testing.T, port uint16, text string) {
		k := newTalker(port)
		next := [2]uint32{100, 500}
		for _, l := range strings.Split(text, "\x00") {
			if len(l) < 2 || len(l) > 1400 {
				continue
			}
			dir := int(l[0]) & 1
			if l[0] == '<' {
				dir = 1
			} else if l[0] == '>' {
				dir = 0
			}
			b := []byte(strings.ReplaceAll(l[1:], "\x01", "\n"))
			k.tcp(dir, FlagACK|FlagPSH, next[dir], b)
			next[dir] += uint32(len(b)) + uint32(l[0]&8)/8
		}
		k.tcp(0, FlagRST, next[0], nil)
		s := k.track.Stats()
		if s.Panics != 0 {
			t.Fatalf("%d panics", s.Panics)
		}
		if c := k.track.table.at(1); c.dialogue != 0 || c.stream != [2]uint32{} {
			t.Fatalf("slots %d and %v are still held", c.dialogue, c.stream)
		}
	})
}
