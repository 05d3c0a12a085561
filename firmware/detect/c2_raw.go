package detect

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

var stageTitle = Text{EN: "%s was sent a program to run from memory", JA: "%s へ、メモリー上で動くプログラムが送り込まれました"}

// opaque reads the first payload of a protocol that nobody knows.
func (d *c2Channel) opaque(e *flow.Opaque) {
	src, mac := d.net.client(&e.Meta, e.Client.Addr(), e.FromServer)
	a := accusation{src: src, mac: mac, from: e.Client.Addr(), to: e.Server, first: e.Time, now: e.Time}
	d.announce(e)
	if e.FromServer {
		d.answered(a, e)
		return
	}
	d.callsBack(src, mac, e.Client.Addr(), e.Server, calledBack, e.Time)
	switch kind := shellText(e.Data); {
	case kind != "" && shellBanner(e.Data) == "" && d.net.onLAN(e.Server.Addr()):
		d.shell(a, kind, Medium) // an adapter hands a machine's serial console to a collector
	case kind != "":
		d.shell(a, kind, High)
	case isBind(e.Data):
		d.directory(&e.Meta, e.Client, e.Server)
	case minerText(e.Data):
		d.miner(a, Medium, "a mining pool", "マイニングプール")
	case coinPeer(e.Data, e.Server.Port()) != "":
		coin := coinPeer(e.Data, e.Server.Port())
		d.miner(a, Low, "the network of "+coin, coin+" のネットワーク")
	case isMirai(e.Data) && !d.net.onLAN(e.Server.Addr()):
		a.cause, a.tech, a.conf, a.score = "mirai", "T1071", Medium, 0.8
		a.title = Text{EN: "%s reports to a controller as IoT bots do", JA: "%s が IoT ボットと同じ方法で外部に登録しています"}
		a.explain = Text{
			EN: "%s opened a connection to " + e.Server.String() + " and sent the four bytes 00 00 00 01 by which bots of the Mirai family report.",
			JA: "%s が " + e.Server.String() + " へ接続し、Mirai 系ボットが登録に使う 4 バイト（00 00 00 01）を送りました。",
		}
		d.say(a)
	}
}

// answered reads the server's first payload.
func (d *c2Channel) answered(a accusation, e *flow.Opaque) {
	to := e.Server.String()
	switch {
	case isStage(e.Data):
		a.cause, a.tech, a.conf, a.score = "stage", "T1105", Medium, 0.95 // home-made updaters of business programs may do the same
		a.title = stageTitle
		a.explain = Text{
			EN: fmt.Sprintf("%%s called %s, which began at once with a length and a Windows program of %s. That is how a first stage of an attack loads the second one.",
				to, bytesText(uint64(binary.LittleEndian.Uint32(e.Data)))),
			JA: fmt.Sprintf("%%s が %s へ接続すると、相手はただちに長さと %s の Windows プログラムを送ってきました。攻撃の最初の段階が次の段階を読み込むときの動きです。",
				to, bytesText(uint64(binary.LittleEndian.Uint32(e.Data)))),
		}
	case shellText(e.Data) != "" && e.Server.Port() != 23:
		// A bind shell: who serves it is the device that was taken over.
		_, serverMAC := d.net.client(&e.Meta, e.Server.Addr(), false)
		a.src, a.mac, a.from, a.to = d.net.source(serverMAC, e.Server.Addr()), serverMAC, e.Server.Addr(), e.Client
		conf := High
		if isPrompt(e.Data) { // a console server may greet like this
			conf = Medium
		}
		d.shell(a, shellText(e.Data), conf)
		return
	case isOrder(e.Data):
		a.cause, a.tech, a.conf, a.score = "order", "T1059", Medium, 0.9
		a.title = Text{EN: "%s takes commands from another computer", JA: "%s がほかのコンピューターから命令を受けています"}
		a.explain = Text{
			EN: "%s called " + to + " and said nothing; the first thing that came back was a command line (" + firstLine(e.Data) + ").",
			JA: "%s が " + to + " へ接続して何も送らず待つと、最初に届いたのはコマンド（" + firstLine(e.Data) + "）でした。",
		}
	default:
		return
	}
	d.say(a)
}

const unixShell = "a Unix shell"

func (d *c2Channel) shell(a accusation, kind string, conf Confidence) {
	kindJA := kind
	if kind == unixShell {
		kindJA = "Unix シェル"
	}
	a.cause, a.tech, a.conf, a.score = "shell", "T1059", conf, 0.99
	a.title = Text{EN: "%s hands its command line to another computer", JA: "%s がコマンド操作をほかのコンピューターに渡しています"}
	a.explain = Text{
		EN: fmt.Sprintf("In a plain connection between %%s and %s (port %d), %%[1]s began with the prompt of %s. Remote administration never begins like that; an intruder's connection does.",
			a.to.Addr(), a.to.Port(), kind),
		JA: fmt.Sprintf("%%s と %s（ポート %d）の間の平文の通信が、%%[1]s 側からの %s のプロンプトで始まりました。正規の遠隔管理はこのようには始まりません。侵入者の接続に見られる動きです。",
			a.to.Addr(), a.to.Port(), kindJA),
	}
	d.say(a)
}

// shellText names the shell whose first words these are; a prompt alone must be
// complete.
func shellText(data []byte) string {
	if kind := shellBanner(data); kind != "" {
		return kind
	}
	if isPrompt(data[:min(len(data), 256)]) {
		return unixShell
	}
	return ""
}

// shellBanner names the shell that begins with data. cmd.exe and PowerShell do
// with their banner, and interactive shells without a terminal say so (bash,
// dash and busybox in their sources). The same words further on are somebody's
// log that is sent along.
func shellBanner(data []byte) string {
	text := bytes.TrimLeft(data[:min(len(data), 256)], "\r\n")
	line, _, _ := bytes.Cut(text, []byte("\n"))
	switch {
	case bytes.HasPrefix(line, []byte("Microsoft Windows ")) && bytes.Contains(line[:min(len(line), 40)], []byte("[")):
		return "cmd.exe"
	case bytes.HasPrefix(text, []byte("Windows PowerShell running as user")), bytes.HasPrefix(text, []byte("Windows PowerShell\r\nCopyright")),
		bytes.HasPrefix(line, []byte(`PS C:\`)):
		return "PowerShell"
	case complains(line, "bash: cannot set terminal process group"), complains(line, "bash: no job control in this shell"):
		return "bash"
	case complains(line, "can't access tty; job control turned off"):
		return "sh"
	}
	return ""
}

// complains says that a program begins to speak with these words, behind
// nothing but its path and the number of a line ("/bin/sh: 0: ").
func complains(line []byte, words string) bool {
	i := bytes.Index(line, []byte(words))
	return i == 0 || i > 0 && len(bytes.Trim(line[:i], "abcdefghijklmnopqrstuvwxyz0123456789/.-: ")) == 0
}

// isPrompt recognises the default prompts user@host:path$ and [user@host dir]#,
// with the window title before them that terminals are sent.
func isPrompt(text []byte) bool {
	if bytes.HasPrefix(text, []byte("\x1b]0;")) {
		i := bytes.IndexByte(text, 7)
		if i < 0 {
			return false
		}
		text = text[i+1:]
	}
	if len(text) > 128 || len(text) < 6 || !bytes.HasSuffix(text, []byte("$ ")) && !bytes.HasSuffix(text, []byte("# ")) {
		return false
	}
	at, colon := bytes.IndexByte(text, '@'), bytes.IndexAny(text, ":]")
	return at > 0 && colon > at+1 && bytes.IndexByte(text, '\n') < 0
}

// isStage: a length in little-endian order, as the stager's loader reads it
// into a register, and the DOS header of the library that follows.
func isStage(data []byte) bool {
	if len(data) < 6 || data[4] != 'M' || data[5] != 'Z' {
		return false
	}
	n := binary.LittleEndian.Uint32(data)
	return n >= 4<<10 && n < 64<<20
}

// stage is a length that one side began a connection with, and nothing else.
type stage struct {
	size uint32
	push bool // by the side that opened it: the server is the victim
}

// Loaders of Metasploit and its kin read four bytes, then as many as these
// say, before they send anything (lib/msf/core/payload/…/reverse_tcp.rb).
// Stages that were measured are 100 kB to some MB.
const (
	leastStage = 64 << 10
	mostStage  = 16 << 20
)

// announce keeps a length that comes alone.
func (d *c2Channel) announce(e *flow.Opaque) {
	if len(e.Data) != 4 {
		return
	}
	if n := binary.LittleEndian.Uint32(e.Data); n >= leastStage && n <= mostStage {
		*d.stages.get(e.ConnID) = stage{n, !e.FromServer}
	}
}

// delivered looks whether what was announced came, and hardly anything back.
func (d *c2Channel) delivered(m *flow.Meta, id uint64, client, server netip.AddrPort, clientMAC, serverMAC flow.MAC, sent, received uint64, start time.Time) {
	s := d.stages.peek(id)
	if s == nil {
		return
	}
	a := accusation{src: d.net.source(clientMAC, client.Addr()), mac: clientMAC, from: client.Addr(), to: server, first: start, now: m.Time}
	if s.push {
		sent, received = received, sent
		a.src, a.mac, a.from, a.to = d.net.source(serverMAC, server.Addr()), serverMAC, server.Addr(), client
	}
	if received < 4+uint64(s.size) || sent*oneWay > received {
		return
	}
	size := bytesText(uint64(s.size))
	d.stages.remove(id)
	a.cause, a.tech, a.conf, a.score = "stage", "T1105", Medium, 0.9
	a.title = stageTitle
	a.explain = Text{
		EN: fmt.Sprintf("%%s said nothing while %s sent it four bytes with a length and then as much (%s). That is how a first stage of an attack loads the second one.", a.to, size),
		JA: fmt.Sprintf("%%s が何も送らないうちに、%s が長さを示す 4 バイトと、そのとおりの量（%s）を送ってきました。攻撃の最初の段階が次の段階を読み込むときの動きです。", a.to, size),
	}
	d.say(a)
}

// isOrder: whoever waits at a listening netcat types one of these first.
func isOrder(data []byte) bool {
	line, rest, found := bytes.Cut(data, []byte("\n"))
	if !found || len(rest) > 0 || len(line) > 64 {
		return false
	}
	word, _, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
	switch string(word) {
	case "id", "whoami", "uname", "hostname", "ifconfig", "ipconfig", "pwd", "ls", "dir", "systeminfo":
		return true
	}
	return false
}

func firstLine(data []byte) string {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '%' {
			return -1
		}
		return r
	}, string(line[:min(len(line), 64)]))
	return strings.TrimSpace(clean)
}

// isMirai is the greeting of the published source (bot/main.c: a version of
// one in network order, then the length of a name).
func isMirai(data []byte) bool {
	if len(data) < 4 || binary.BigEndian.Uint32(data) != 1 {
		return false
	}
	return len(data) == 4 || len(data) == 5+int(data[4])
}

func (d *c2Channel) miner(a accusation, conf Confidence, en, ja string) {
	a.cause, a.tech, a.conf, a.score = "miner", "T1496", conf, 0.9
	a.once, a.familiar = true, "miner"
	if conf == Low {
		a.score = 0.3
	}
	a.title = Text{EN: "%s takes part in coin mining", JA: "%s が暗号資産のマイニングに参加しています"}
	a.explain = Text{
		EN: fmt.Sprintf("%%s speaks to %s in the language of %s.", a.to, en),
		JA: fmt.Sprintf("%%s が %s と、%s の方式で通信しています。", a.to, ja),
	}
	d.say(a)
}

// minerText: the methods of Stratum (BIP 310 and its variants for Monero and
// Ethereum) as the first JSON-RPC request of a connection.
func minerText(data []byte) bool {
	if len(data) == 0 || data[0] != '{' {
		return false
	}
	for _, m := range [...]string{`"mining.`, `"eth_submitLogin"`, `"eth_getWork"`, `"eth_login"`} {
		if bytes.Contains(data, []byte(m)) {
			return true
		}
	}
	return bytes.Contains(data, []byte(`"login"`)) && bytes.Contains(data, []byte(`"method"`)) &&
		(bytes.Contains(data, []byte(`"agent"`)) || bytes.Contains(data, []byte(`"pass"`)))
}

// coinPeer recognises peers of coin networks: Bitcoin and its kin by network
// magic and the command "version" (Bitcoin developer reference, message
// headers), Monero by the signature of Levin (levin_base.h), Ethereum by the
// size prefix of an RLPx handshake (EIP-8: 300 bytes and some padding, all
// else is cipher text) on its own port.
func coinPeer(data []byte, port uint16) string {
	switch {
	case len(data) >= 24 && bytes.HasPrefix(data[4:], []byte("version\x00\x00\x00\x00\x00")):
		return "Bitcoin"
	case len(data) >= 8 && binary.LittleEndian.Uint64(data) == 0x0101010101012101:
		return "Monero"
	case port == 30303 && len(data) >= 256:
		if n := binary.BigEndian.Uint16(data); n >= 300 && n < 1024 {
			return "Ethereum"
		}
	}
	return ""
}

// coinPort names the ports on which nodes of coin networks wait for each
// other, as their sources set them: Bitcoin, Litecoin, Dogecoin, Monero,
// Ethereum.
func coinPort(port uint16) string {
	switch port {
	case 8333:
		return "Bitcoin"
	case 9333:
		return "Litecoin"
	case 22556:
		return "Dogecoin"
	case 18080:
		return "Monero"
	case 30303:
		return "Ethereum"
	}
	return ""
}

// coinPeers: one stranger on such a port is chance, three are a network. The
// handshake itself is often not seen: nodes stay connected for days.
const coinPeers = 3

func (d *c2Channel) coins(e *flow.Conn) {
	coin := coinPort(e.Server.Port())
	if coin == "" || e.State != flow.ConnEstablished || e.Proto != protoTCP || d.net.onLAN(e.Server.Addr()) {
		return
	}
	src := d.net.source(e.ClientMAC, e.Client.Addr())
	k := coinKey{src, e.Server.Port()}
	peers := d.coin.get(k)
	if !peers.add(e.Server.Addr()) {
		return
	}
	d.coin.grow(k, 1)
	if peers.len() >= coinPeers {
		a := accusation{src: src, mac: e.ClientMAC, from: e.Client.Addr(), to: e.Server, first: e.Start, now: e.Time}
		d.miner(a, Low, "the network of "+coin, coin+" のネットワーク")
	}
}

type coinKey struct {
	src  source
	port uint16
}

// lookup is what was seen of code loading by look-up at one device.
type lookup struct {
	told    netip.Addr // who sent the string
	toldAt  time.Time
	asked   netip.AddrPort // directory that the device called
	askedAt time.Time
}

// Log4Shell (CVE-2021-44228): a string in a request makes a Java program ask a
// directory of the sender's choice, which names code that it then loads. The
// steps follow within the program's one call; a minute allows for slow ones.
const lookupWithin = time.Minute

// isBind: the anonymous simple bind (RFC 4511, 4.2) of version 3, by which
// Java's JNDI opens a directory.
func isBind(data []byte) bool {
	return bytes.HasPrefix(data, []byte("0\x0c\x02\x01\x01`\x07\x02\x01\x03\x04\x00\x80\x00"))
}

// jndiText finds the look-up, also when its letters are hidden in nested
// look-ups, as "${${lower:j}ndi:": then nesting itself is the sign.
func jndiText(s string) bool {
	i := strings.Index(s, "${")
	if i < 0 {
		return false
	}
	low := strings.ToLower(s[i:])
	return strings.Contains(low, "${jndi:") || strings.HasPrefix(low, "${${") || strings.Contains(low, "}${") && strings.Contains(low, ":-")
}

// directory takes a device that asks a directory on a port that is not one.
func (d *c2Channel) directory(m *flow.Meta, client, server netip.AddrPort) {
	switch server.Port() {
	case 389, 636, 3268, 3269:
		return
	}
	src, mac := d.net.client(m, client.Addr(), false)
	l := d.jndi.get(src)
	l.asked, l.askedAt = server, m.Time
	if l.told.IsValid() && m.Time.Sub(l.toldAt) <= lookupWithin {
		d.loaded(src, mac, client.Addr(), l, Medium, m.Time, server)
	}
}

// loaded reports the device that followed the look-up.
func (d *c2Channel) loaded(src source, mac flow.MAC, from netip.Addr, l *lookup, conf Confidence, now time.Time, to netip.AddrPort) {
	a := accusation{cause: "jndi", tech: "T1190", src: src, mac: mac, from: from, to: to, first: now, now: now, conf: conf, score: 0.9}
	a.title = Text{EN: "%s loads code that a stranger pointed it to", JA: "%s が、第三者に指示されたコードを読み込んでいます"}
	en, ja := fmt.Sprintf("%%s called the directory %s on a port that directories do not use", l.asked), fmt.Sprintf("%%s が、ディレクトリーサービス用ではないポート %s へ問い合わせました", l.asked)
	if l.told.IsValid() && now.Sub(l.toldAt) <= lookupWithin {
		a.first = l.toldAt
		en += fmt.Sprintf(", right after %s had sent it a text with a look-up inside (Log4Shell)", l.told)
		ja += fmt.Sprintf("。直前に %s から look-up を含む文字列（Log4Shell）を受け取っています", l.told)
	}
	if conf == High {
		a.score = 0.99
		en += fmt.Sprintf(", and fetched program code from %s", to)
		ja += fmt.Sprintf("。続いて %s からプログラムを取得しました", to)
	}
	a.explain = Text{EN: en + ".", JA: ja + "。"}
	d.say(a)
}

// chat is one IRC conversation.
type chat struct {
	joined string
	first  time.Time
}

// chat judges IRC: people still use it, on its own ports (RFC 7194, IANA).
// Orders of bots begin with a sign and name one of few verbs.
func (d *c2Channel) chat(e *flow.IRC) {
	src, mac := d.net.client(&e.Meta, e.Client.Addr(), e.FromServer)
	c := d.irc.get(talkKey{src, e.Server})
	if c.first.IsZero() {
		c.first = e.Time
	}
	if e.Command == "JOIN" && !e.FromServer {
		c.joined = strings.Clone(e.Target[:min(len(e.Target), 64)])
	}
	order := e.FromServer && (e.Command == "PRIVMSG" || e.Command == "332" || e.Command == "TOPIC") && isBotOrder(e.Text)
	odd := c.joined != "" && !ircPort(e.Server.Port())
	if !order && !odd {
		return
	}
	a := accusation{cause: "irc", tech: "T1071", src: src, mac: mac, from: e.Client.Addr(), to: e.Server, first: c.first, now: e.Time, conf: Low, score: 0.3}
	a.title = Text{EN: "%s takes part in a chat that bots use", JA: "%s がボットの使うチャットに参加しています"}
	a.explain = Text{
		EN: fmt.Sprintf("%%s joined a channel at %s, which is not a port of IRC.", e.Server),
		JA: fmt.Sprintf("%%s が %s（IRC の通常ポートではありません）のチャンネルに参加しました。", e.Server),
	}
	if order {
		a.conf, a.score, a.familiar = Medium, 0.9, ""
		a.explain = Text{
			EN: fmt.Sprintf("%%s was sent an order over IRC by %s: %s", e.Server, firstLine([]byte(e.Text))),
			JA: fmt.Sprintf("%%s が IRC で %s から命令を受けました: %s", e.Server, firstLine([]byte(e.Text))),
		}
	}
	d.say(a)
}

func ircPort(port uint16) bool {
	return port >= 6660 && port <= 6669 || port == 194 || port == 994 || port == 6697 || port == 7000
}

// isBotOrder: ".advscan …", "!udp …", "@download http…": the verbs of the
// published bot families (SDBot, Agobot, Kaiten, Perl bots).
func isBotOrder(text string) bool {
	if len(text) < 3 || strings.IndexByte(".!@$-%", text[0]) < 0 {
		return false
	}
	verb, _, _ := strings.Cut(strings.ToLower(text[1:]), " ")
	for _, v := range [...]string{"scan", "flood", "ddos", "udp", "syn", "tsunami", "download", "dl", "execute", "exec", "update", "spread", "keylog", "login", "http.", "wget", "sh"} {
		if verb == v || len(v) >= 4 && strings.Contains(verb, v) {
			return true
		}
	}
	return false
}
