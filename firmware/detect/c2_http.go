package detect

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// talk is one device's plain HTTP with one server.
//
// Polling. A person's browser loads a page with its styles, scripts and
// pictures; a script that asks for data gets data. A control channel asks for
// pages again and again, one at a time, looks at nothing in them, gets the
// same answer under different names, and when the answer differs for once it
// posts something back. Each of these is weighed.
//
// Programs. Where a program comes from, under what name and who asks for it.
type talk struct {
	first     time.Time
	last      time.Time // request before
	requests  int
	quick     int // GET within a second of another: a page loading
	parts     int // different styles, scripts, pictures
	posts     int
	results   int // POST right after an answer that differed
	browser   bool
	bare      bool
	paths     [8]uint64 // hashes of distinct paths
	pathCount int
	answers   int
	size      int64 // of the usual answer, or its hash
	same      int   // answers of that size
	sameOf    uint8 // which paths gave it, bits
	data      int   // answers that are data for a script
	differed  bool  // the last answer did
	path      uint8 // index of the last request's path
	number    int
	connID    uint64
	get       bool
	name      nameKind
	agent     bool // the last request named a browser
	hellos    int  // TLS connections without a server name
	together  int  // of them: at once, as browsers open them
}

// nameKind is what a request's path says about a program.
type nameKind uint8

const (
	namePlain    nameKind = iota
	nameProgram           // .exe, .msi …
	nameClass             // .class, .jar
	nameFolder            // ends with a slash or has no extension
	nameChecksum          // sums up to what a stager asks for
)

const (
	pollsNeeded = 8 // as many requests as leave by chance (1/3 each) three paths unvisited in 4 % of cases
	pollsSpan   = 20 * time.Second

	notLooking     = 2.3 // a browser that never loads a part of a page
	onePicture     = 2.3 // or one part, and no page
	partsElsewhere = 0.7 // a named site may keep its parts elsewhere
	sameAnswer     = 0.7 // all but a fifth of the answers have one size; so it is with devices that report
	manyNames      = 2.3 // under different names
	postsResults   = 2.3 // what differs is followed by a POST
	alwaysPosts    = 0.7 // nothing is fetched, all is handed in
	scripted       = -2.3
	bareServer     = 1.6
)

func (d *c2Channel) request(e *flow.HTTP) {
	src, mac := d.net.client(&e.Meta, e.Client.Addr(), false)
	d.injected(src, mac, e)
	if e.CleartextProxy || e.SOAPAction != "" || d.places.announced(e.Server) || !d.outward(e.Client.Addr(), e.Server.Addr()) {
		return
	}
	t := d.talks.get(talkKey{src, e.Server})
	host := hostOnly(e.Host)
	t.note(e, host == "" || isAddr(host))
	d.polls(t, src, mac, e)
	d.handsIn(t, src, mac, e)
}

// outward: towards the outside, or between hosts of the office.
func (d *c2Channel) outward(client, server netip.Addr) bool {
	return !server.IsMulticast() && !server.IsLoopback() && (d.net.onLAN(client) || !d.net.onLAN(server))
}

func (t *talk) note(e *flow.HTTP, bare bool) {
	if t.first.IsZero() {
		t.first = e.Time
	} else if e.Time.Sub(t.last) < time.Second && t.get && e.Method == "GET" {
		t.quick++
	}
	t.last = e.Time
	t.requests++
	t.bare = bare
	t.agent = strings.HasPrefix(e.UserAgent, "Mozilla/")
	t.browser = t.browser || t.agent
	t.get = e.Method == "GET"
	t.connID, t.number = e.ConnID, e.Number
	p, _, _ := strings.Cut(e.Path, "?")
	t.name = pathName(p)
	if e.Method == "POST" || e.Method == "PUT" {
		t.posts++
		if t.differed {
			t.results++
		}
	}
	t.differed = false
	known := t.pathCount
	t.path = t.pathIndex(p)
	if t.pathCount > known && isPart(p) {
		t.parts++
	}
}

// pathIndex numbers distinct paths; the last number stands for all others.
func (t *talk) pathIndex(p string) uint8 {
	h := hash64(p)
	for i := range t.pathCount {
		if t.paths[i] == h {
			return uint8(i)
		}
	}
	if t.pathCount < len(t.paths) {
		t.paths[t.pathCount] = h
		t.pathCount++
	}
	return uint8(t.pathCount - 1)
}

// isPart names what belongs to a page.
func isPart(p string) bool {
	switch extension(p) {
	case "css", "js", "png", "jpg", "jpeg", "gif", "svg", "ico", "webp", "woff", "woff2", "ttf":
		return true
	}
	return false
}

func extension(p string) string {
	name := p[strings.LastIndexByte(p, '/')+1:]
	if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= 6 {
		return strings.ToLower(name[i+1:])
	}
	return ""
}

// pathName judges a path. The sum of its letters modulo 256 is by what stagers
// of Metasploit (lib/rex/payloads/meterpreter/uri_checksum.rb) and its kin ask
// for a Windows (92), Python (80), Java (88) or 64-bit (93) stage: one in 64
// of other names.
func pathName(p string) nameKind {
	switch extension(p) {
	case "exe", "msi", "dll", "scr", "com", "sys", "apk", "bin", "cab", "msu", "msp", "deb", "rpm", "dmg", "pkg", "sh", "elf", "so", "run", "img", "fw":
		return nameProgram
	case "class", "jar":
		return nameClass
	case "":
	default:
		return namePlain
	}
	name := strings.TrimPrefix(p, "/")
	if len(name) < 4 || strings.IndexByte(name, '/') >= 0 {
		return nameFolder
	}
	sum := 0
	for i := range len(name) {
		c := name[i]
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_') {
			return nameFolder
		}
		sum += int(c)
	}
	switch sum % 256 {
	case 92, 93, 80, 88:
		return nameChecksum
	}
	return nameFolder
}

func (d *c2Channel) reply(e *flow.HTTPReply) {
	src, mac := d.net.client(&e.Meta, e.Client.Addr(), true)
	t := d.talks.peek(talkKey{src, e.Server})
	if t == nil || e.ConnID != t.connID || e.Number != t.number || e.Status < 200 {
		return
	}
	size := max(e.Length, int64(len(e.Body)))
	t.answer(e, size)
	if e.Status == 200 {
		d.program(t, src, mac, e, size)
	}
}

// answer counts what comes back. An answer in chunks has no size that is known
// at its head; what there is of its text stands for it.
func (t *talk) answer(e *flow.HTTPReply, size int64) {
	if e.Length < 0 && len(e.Body) > 0 {
		size = -int64(hash64(string(e.Body)) >> 1)
	}
	t.answers++
	if e.ContentType != "" && isData(e.ContentType) {
		t.data++
	}
	switch {
	case t.same == 0 && e.Status == 200:
		t.size, t.same, t.sameOf = size, 1, 1<<t.path
	case size == t.size:
		t.same++
		t.sameOf |= 1 << t.path
	case t.same == 1: // the first answer was the odd one
		t.size, t.sameOf = size, 1<<t.path
	default:
		t.differed = true
	}
}

// isData: what scripts of a page ask for.
func isData(contentType string) bool {
	return strings.Contains(contentType, "json") || strings.Contains(contentType, "xml") || strings.Contains(contentType, "javascript") ||
		strings.HasPrefix(contentType, "image/") || strings.HasPrefix(contentType, "audio/") || strings.HasPrefix(contentType, "video/") ||
		strings.HasPrefix(contentType, "multipart/x-mixed")
}

// polls weighs a talk that only ever asks, every fourth time.
func (d *c2Channel) polls(t *talk, src source, mac flow.MAC, e *flow.HTTP) {
	if t.requests < pollsNeeded || t.requests%4 != 0 || t.parts > 1 || t.parts > 0 && t.quick > 0 || 4*t.quick > t.requests || t.pathCount == len(t.paths) ||
		e.Time.Sub(t.first) < pollsSpan || !d.places.alone(src, e.Server.Addr()) {
		return
	}
	r := reasons{sum: priorC2}
	if d.net.onLAN(e.Server.Addr()) {
		r.add(neighbour, "", "")
	}
	if t.bare {
		r.add(bareServer, "it calls the server by its bare address", "サーバーを名前ではなくアドレスで呼び出しています")
	}
	switch {
	case t.browser && t.parts == 0 && !t.bare:
		r.add(partsElsewhere, "", "")
	case t.browser && t.parts > 0:
		r.add(onePicture, "it asks for the same picture or script over and over", "同じ画像やスクリプトだけを繰り返し要求しています")
	case t.browser:
		r.add(notLooking, "it claims to be a browser but loads no picture or style of any page", "ブラウザーを名乗りながら、ページの画像やスタイルを一度も読み込んでいません")
	}
	if t.answers >= pollsNeeded/2 && 10*t.same >= 8*t.answers {
		r.add(sameAnswer, fmt.Sprintf("%d of %d answers have the same size", t.same, t.answers), fmt.Sprintf("応答 %d 回のうち %d 回が同じ大きさです", t.answers, t.same))
		if t.browser && t.sameOf&(t.sameOf-1) != 0 { // interfaces of programs say "done" to everything
			r.add(manyNames, "pages of different names are the same page", "名前の違うページの中身が同じです")
		}
	}
	if t.results > 0 {
		r.add(postsResults, "when an answer differs, it posts something back", "応答が変わったときだけ、データを送り返しています")
	}
	if t.posts == t.requests {
		r.add(alwaysPosts, "it only hands in data and fetches nothing", "データを渡すだけで、何も取得していません")
	}
	if 2*t.data > t.answers {
		r.add(scripted, "", "")
	}
	if kind, nats := d.places.loadedBy(src, e.Server.Addr()); kind != "" {
		r.add(nats, "it had fetched a program from there", "そこからプログラムを取得しています")
	}
	p, conf := weigh(r.sum)
	if conf == "" || d.net.infrastructure(e.Server.Addr()) {
		return
	}
	tEN, tJA := span(e.Time.Sub(t.first))
	to := e.Server.String()
	d.say(accusation{
		cause: "poll", tech: "T1071.001", src: src, mac: mac, from: e.Client.Addr(), to: e.Server, conf: conf, score: p,
		first: t.first, now: e.Time, familiar: "poll " + to,
		title: Text{EN: "%s asks a server for orders", JA: "%s がサーバーへ繰り返し指示を取りに行っています"},
		explain: Text{
			EN: fmt.Sprintf("%%s asked %s %d times within %s for %s, one at a time: %s.", to, t.requests, tEN, plural(t.pathCount, "page"), strings.Join(r.en, "; ")),
			JA: fmt.Sprintf("%%s が %s の間に %s へ %d 回、%d 種類のページを 1 つずつ要求しました。%s。", tJA, to, t.requests, t.pathCount, strings.Join(r.ja, "。")),
		},
	})
}

// hello counts TLS connections to a server without name: many, short, one
// after the other, are a shell or a poll over HTTPS. While orders come in it
// keeps no time, so beacon does not see it. Low at most: home-made clients of
// honest servers do so too.
func (d *c2Channel) hello(e *flow.TLSHello, src source, mac flow.MAC) {
	if !d.outward(e.Client.Addr(), e.Server.Addr()) || d.places.name(e.Server.Addr()) != "" {
		return
	}
	t := d.talks.get(talkKey{src, e.Server})
	switch {
	case t.hellos == 0:
		t.first = e.Time
	case e.Time.Sub(t.last) < 100*time.Millisecond: // a person's page opens them within one
		t.together++
	}
	t.last = e.Time
	t.hellos++
	over := e.Time.Sub(t.first)
	if t.hellos < hellosNeeded || 10*t.together > t.hellos || over < retrying || over > time.Duration(t.hellos)*10*time.Second ||
		!d.places.alone(src, e.Server.Addr()) || d.net.infrastructure(e.Server.Addr()) {
		return
	}
	r := reasons{sum: priorC2 + noServerName + hasty}
	if d.net.onLAN(e.Server.Addr()) {
		r.add(neighbour, "", "")
	} else {
		r.add(noNamesAtAll, "", "")
	}
	p, _ := weigh(r.sum)
	tEN, tJA := span(over)
	d.say(accusation{
		cause: "hello", tech: "T1071.001", src: src, mac: mac, from: e.Client.Addr(), to: e.Server, conf: Low, score: p,
		first: t.first, now: e.Time, familiar: "hello " + e.Server.String(),
		title: Text{EN: "%s keeps calling a server that has no name", JA: "%s が名前のないサーバーに接続を繰り返しています"},
		explain: Text{
			EN: fmt.Sprintf("%%s opened %d TLS connections to %s within %s, one after the other, without the name of a server.", t.hellos, e.Server, tEN),
			JA: fmt.Sprintf("%%s が %s の間に %s へ、サーバー名のない TLS 接続を 1 本ずつ %d 回開きました。", tJA, e.Server, t.hellos),
		},
	})
}

// hellosNeeded: more than a page with all its parts opens (browsers hold six
// connections a server), and no library tries as often.
const hellosNeeded = 20

// handsIn: a program in the guise of a browser hands something to a bare
// address on an odd port, though it never saw a page there. It is low at most:
// some programs of honest makers do so too.
func (d *c2Channel) handsIn(t *talk, src source, mac flow.MAC, e *flow.HTTP) {
	if t.requests != 1 || t.posts != 1 || !t.browser || !t.bare || webPort(e.Server.Port()) || d.net.onLAN(e.Server.Addr()) {
		return
	}
	d.say(accusation{
		cause: "post", tech: "T1071.001", src: src, mac: mac, from: e.Client.Addr(), to: e.Server, conf: Low, score: 0.3,
		first: e.Time, now: e.Time, familiar: "post " + e.Server.String(),
		title: Text{EN: "%s hands data to a server that has no name", JA: "%s が名前のないサーバーへデータを渡しています"},
		explain: Text{
			EN: fmt.Sprintf("%%s claims to be a browser, and posted data to %s as its first request there, by its bare address and on an unusual port.", e.Server),
			JA: fmt.Sprintf("%%s がブラウザーを名乗り、%s へ、ページを開くことなく最初からデータを送りました（アドレス直接指定、通常と異なるポート）。", e.Server),
		},
	})
}

// Evidence for a program that an intruder makes a device fetch.
const (
	bareSource = 2.3 // from an address without name: makers have names
	noBrowser  = 1.2 // by a tool or library; makers' updaters too
	hiddenName = 2.3 // under a name that says nothing of a program
	hiddenType = 2.3 // declared as text or picture
	stagerName = 4.2 // ln 64, see pathName
	oddWebPort = 1.2
	calledBack = 4.6      // and then speaks an unknown protocol with the same host
	calledTLS  = 2.3      // or TLS without a name: its web pages may do that
	perhaps    = -1.6     // a binary that may be none
	bigBinary  = 48 << 10 // no stage is smaller, most answers are
)

// program weighs a fetched program.
func (d *c2Channel) program(t *talk, src source, mac flow.MAC, e *flow.HTTPReply, size int64) {
	kind, sure := t.programKind(e, size)
	if kind == "" {
		return
	}
	d.places.load(src, e.Server, kind, sure, e.Time)
	if kind == "Java" && !t.agent {
		if l := d.jndi.peek(src); l != nil && l.asked.IsValid() && e.Time.Sub(l.askedAt) <= lookupWithin {
			conf := Medium
			if l.told.IsValid() && e.Time.Sub(l.toldAt) <= lookupWithin || t.bare && l.asked.Addr() == e.Server.Addr() {
				conf = High // it was told to, or one nameless host is directory and code store: a tool for that purpose
			}
			d.loaded(src, mac, e.Client.Addr(), l, conf, e.Time, e.Server)
			return
		}
	}
	r := reasons{sum: priorC2}
	if !sure {
		r.add(perhaps, "", "")
	}
	if d.net.onLAN(e.Server.Addr()) {
		r.add(neighbour, "", "")
	}
	if t.bare {
		r.add(bareSource, "the server has no name", "サーバーに名前がありません")
	}
	if !t.agent {
		r.add(noBrowser, "no browser asked for it", "ブラウザー以外が取得しました")
	}
	if t.name == nameFolder || t.name == nameChecksum {
		r.add(hiddenName, "its name hides that it is a program", "プログラムとわからない名前です")
	}
	if t.name == nameChecksum && t.bare {
		r.add(stagerName, "the name fits the check sum by which attack tools ask for their second stage", "攻撃ツールが次の段階を要求するときの検査値に合う名前です")
	}
	if strings.HasPrefix(e.ContentType, "text/") || strings.HasPrefix(e.ContentType, "image/") {
		r.add(hiddenType, "it was declared as something else", "別の種類のデータと偽っています")
	}
	if !webPort(e.Server.Port()) {
		r.add(oddWebPort, "the port is unusual", "通常と異なるポートです")
	}
	d.fetched(src, mac, e.Client.Addr(), e.Server, r, kind, e.Time)
}

// programKind says what an answer is: by its first bytes when they came with
// the head, else by what it is declared as or called. Of what is only binary,
// that which a stager or a tool asks a nameless server for may be one.
func (t *talk) programKind(e *flow.HTTPReply, size int64) (kind string, sure bool) {
	kind = program(e.Body)
	binary := strings.HasPrefix(e.ContentType, "application/octet-stream") || e.ContentType == ""
	switch {
	case kind != "":
		return kind, true
	case len(e.Body) >= 8:
		kind = "" // it can be read, and is none that we know
	case strings.HasPrefix(e.ContentType, "application/") && (strings.Contains(e.ContentType, "ms-program") ||
		strings.Contains(e.ContentType, "msdos-program") || strings.Contains(e.ContentType, "msdownload") ||
		strings.Contains(e.ContentType, "portable-executable")):
		return "Windows", true
	case t.name == nameClass && !strings.HasPrefix(e.ContentType, "text/html"):
		return "Java", true
	case t.name == nameProgram && (binary || strings.HasPrefix(e.ContentType, "application/x-")):
		return programByName, true
	}
	if binary && t.bare && size >= bigBinary && (t.name == nameChecksum || !t.agent) {
		return programUnknown, false
	}
	return "", false
}

// Kinds of programs beside those that program names.
const (
	programByName  = "name"
	programUnknown = "unknown"
)

// programText is how a text calls a kind of program.
func programText(kind string) Text {
	switch kind {
	case programByName:
		return Text{EN: "by its name", JA: "名前から判断"}
	case programUnknown:
		return Text{EN: "or other binary data", JA: "またはその他のバイナリデータ"}
	case "script":
		return Text{EN: "a script", JA: "スクリプト"}
	}
	return Text{EN: kind, JA: kind}
}

func (d *c2Channel) fetched(src source, mac flow.MAC, from netip.Addr, to netip.AddrPort, r reasons, kind string, now time.Time) {
	p, conf := weigh(r.sum)
	if conf == "" {
		return
	}
	d.say(accusation{
		cause: "program", tech: "T1105", src: src, mac: mac, from: from, to: to, conf: conf, score: p, first: now, now: now,
		familiar: "program " + to.Addr().String(),
		title:    Text{EN: "%s fetched a program from an unusual place", JA: "%s が不審な場所からプログラムを取得しました"},
		explain: Text{
			EN: fmt.Sprintf("%%s fetched a program (%s) from %s: %s.", programText(kind).EN, to, strings.Join(r.en, "; ")),
			JA: fmt.Sprintf("%%s が %s からプログラム（%s）を取得しました。%s。", to, programText(kind).JA, strings.Join(r.ja, "。")),
		},
	})
}

// callsBack: the device fetched a program from a host and now speaks with that
// host, on another port, a protocol without name. Half an hour is an order of
// magnitude: people start what they fetch at once or on another day.
const callBackWithin = 30 * time.Minute

func (d *c2Channel) callsBack(src source, mac flow.MAC, from netip.Addr, to netip.AddrPort, nats float64, now time.Time) {
	v := d.places.used.peek(to.Addr())
	if v == nil || v.loaded == "" || v.by != src || v.port == to.Port() || now.Sub(v.when) > callBackWithin {
		return
	}
	r := reasons{sum: priorC2 + nats}
	if !v.sure {
		r.add(perhaps, "", "")
	}
	if d.net.onLAN(to.Addr()) {
		r.add(neighbour, "", "")
	}
	if v.bare {
		r.add(bareSource, "the server has no name", "サーバーに名前がありません")
	}
	tEN, tJA := span(now.Sub(v.when))
	r.add(0, "and "+tEN+" later the device called the same host on port "+fmt.Sprint(to.Port()), tJA+" 後に同じ相手のポート "+fmt.Sprint(to.Port())+" へ接続しました")
	d.fetched(src, mac, from, netip.AddrPortFrom(to.Addr(), v.port), r, v.loaded, now)
}

// injected remembers who sent a look-up to whom, and reports a device of the
// office that does. From outside it is the noise of the internet.
func (d *c2Channel) injected(src source, mac flow.MAC, e *flow.HTTP) {
	if !jndiText(e.Path) && !jndiText(e.UserAgent) && !jndiText(e.Cookie) && !jndiText(e.Host) && !jndiText(e.ContentType) && !jndiText(e.Lookup) && (!bytes.Contains(e.Body, []byte("${")) || !jndiText(string(e.Body))) {
		return
	}
	_, serverMAC := d.net.client(&flow.Meta{SrcMAC: e.DstMAC}, e.Server.Addr(), false)
	l := d.jndi.get(d.net.source(serverMAC, e.Server.Addr()))
	l.told, l.toldAt = e.Client.Addr(), e.Time
	if !d.net.onLAN(e.Client.Addr()) {
		return
	}
	d.say(accusation{
		cause: "inject", tech: "T1190", src: src, mac: mac, from: e.Client.Addr(), to: e.Server, conf: Medium, score: 0.8, first: e.Time, now: e.Time,
		title: Text{EN: "%s tries to make a server load code", JA: "%s がサーバーにコードを読み込ませようとしています"},
		explain: Text{
			EN: fmt.Sprintf("%%s sent %s a request with a look-up inside (Log4Shell, CVE-2021-44228). Only attacks and vulnerability scanners do that.", e.Server),
			JA: fmt.Sprintf("%%s が、look-up を埋め込んだ要求（Log4Shell、CVE-2021-44228）を %s へ送りました。攻撃か脆弱性検査でしか見られない内容です。", e.Server),
		},
	})
}
