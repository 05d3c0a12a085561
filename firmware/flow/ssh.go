package flow

import (
	"bytes"
	"strings"
)

// sshState follows a connection of SSH until its log-in is over. What is
// encrypted is not read; the lengths say how it went, as in the SSH analyzer of
// Zeek (scripts/base/protocols/ssh, "auth_success ... inferred"): the server's
// answer to a refused request (RFC 4252 section 5.1) is as long each time, and
// that to one that is accepted is the shortest packet that there is, one byte.
//
// Zeek compares lengths with each other. Here each is computed from the
// algorithms that both sides name in the clear (RFC 4253 sections 6 and 7.1),
// and nothing is said of a connection unless the two messages that are always
// alike, the request for the service and its acceptance (section 10), have
// exactly the length that they should have: that leaves out random padding and
// unknown algorithms.
//
// Limits. Requests as long as one for a key are not told when they are refused:
// keys are not guessed, and programs with many keys offer one after the other.
// OpenSSH's client pads its passwords to that length. Nor is the answer to the
// first request told, which as a rule asks only for the methods ("none"). A
// second question of the server that is exactly as long as a refusal passes for
// one. Where lengths are encrypted a message is taken to be a segment.
type sshState struct {
	named   [2]bool // its identification was read
	half    [2][]byte
	pass    [2]int // bytes of a packet in the clear that are of no interest
	init    [2]*sshOffer
	secret  [2]bool // NEWKEYS was sent
	form    [2]sshForm
	step    sshStep
	packets int
	lone    int // packets of the server since the client's last

	none    int  // length of the client's first request
	refusal int  // length of the answer to it
	request int  // length of the client's last packet
	sure    bool // it was no key and no first half of a question and answer
	held    bool // the server's last was either a refusal or a question
	asked   bool // LoginTried was told of it
	out     [4]LoginResult
	n       int
}

type sshStep uint8

const (
	sshService sshStep = iota // the client asks for the service
	sshAccept                 // the server accepts
	sshFirst                  // the client's first request
	sshMethods                // the answer to it; the last before the next request counts
	sshAnswer                 // to a request
	sshBetween                // the answer has come
	sshLetIn                  // the answer was as short as success
	sshOpening                // and the client goes on
	sshFinished
)

const (
	// sshPackets is more than OpenSSH lets a client send before it has logged
	// in: six tries (MaxAuthTries), each with a question and an answer.
	sshPackets = 64
	// sshInit bounds KEXINIT. OpenSSH's, the longest of the usual ones, has less than 2 KB.
	sshInit = 4096

	sshDisconnect = 35000 // RFC 4253 section 6.1: longer packets need not be understood

	sshMsgKexInit = 20
	sshMsgNewKeys = 21

	// Lengths of payloads, of RFC 4253 section 10, RFC 4252 sections 5, 7 and
	// 8 and RFC 4256 section 3.1, for a user name of one to 32 bytes (useradd(8)).
	sshLenService = 1 + 4 + len("ssh-userauth")
	sshLenSuccess = 1
	sshLenRequest = 1 + 4 + 4 + len("ssh-connection") + 4
	sshLenNone    = sshLenRequest + len("none")
	sshLenAsk     = len("keyboard-interactive") + 4 + 4 - len("none") // more than none
	// Ed25519 has the shortest keys (RFC 8709 section 4).
	sshLenKey  = sshLenRequest + len("publickey") + 1 + 4 + len("ssh-ed25519") + 4 + 4 + len("ssh-ed25519") + 4 + 32
	sshMaxUser = 32
	// Refusals name one method at least, "password", and hardly more than all that are registered.
	sshLenRefusal = 1 + 4 + len("password") + 1
	sshMaxRefusal = 128
	// What PAM asks at least (pam_unix(8)); a refusal that offers questions has five bytes less.
	sshLenQuestion = 1 + 4 + 4 + 4 + 4 + 4 + len("Password:") + 1
)

// sshForm is how packets look after NEWKEYS.
type sshForm struct {
	block, mac int
	clear      bool // the length stands in front of what is padded to blocks
	readable   bool // and is not encrypted
}

// size is the length on the wire of a payload with the least padding.
func (f sshForm) size(payload int) int {
	n, front := 1+payload+4, 0
	if f.clear {
		front = 4
	} else {
		n += 4
	}
	n = (n + f.block - 1) / f.block * f.block // never below the least length, 16: a payload has a byte
	return front + n + f.mac
}

// sshOffer is what of a KEXINIT decides about lengths (RFC 4253 section 7.1):
// for client to server and server to client.
type sshOffer struct{ cipher, mac, compression [2]string }

func readSSHOffer(payload []byte) *sshOffer {
	const cookie = 1 + 16
	if len(payload) < cookie {
		return nil
	}
	b := payload[cookie:]
	var lists [8]string
	for i := range lists {
		if len(b) < 4 || be32(b) > len(b)-4 || be32(b) < 0 {
			return nil
		}
		n := be32(b)
		lists[i], b = string(b[4:4+n]), b[4+n:]
	}
	return &sshOffer{[2]string(lists[2:4]), [2]string(lists[4:6]), [2]string(lists[6:8])}
}

// agreed is the client's first choice that the server has too.
func agreed(client, server string) string {
	for c := range strings.SplitSeq(client, ",") {
		for s := range strings.SplitSeq(server, ",") {
			if c == s {
				return c
			}
		}
	}
	return ""
}

// sshFormOf is the form that both agree upon for one direction.
func sshFormOf(client, server *sshOffer, dir int) (f sshForm, ok bool) {
	if agreed(client.compression[dir], server.compression[dir]) == "zlib" { // the delayed one begins after the log-in
		return f, false
	}
	cipher := agreed(client.cipher[dir], server.cipher[dir])
	switch {
	case cipher == "chacha20-poly1305@openssh.com":
		return sshForm{block: 8, mac: 16, clear: true}, true
	case strings.HasPrefix(cipher, "aes") && strings.HasSuffix(cipher, "-gcm@openssh.com"):
		return sshForm{block: 16, mac: 16, clear: true, readable: true}, true
	case strings.HasPrefix(cipher, "aes") && (strings.HasSuffix(cipher, "-ctr") || strings.HasSuffix(cipher, "-cbc")),
		cipher == "rijndael-cbc@lysator.liu.se":
		f.block = 16
	case cipher == "3des-cbc", cipher == "3des-ctr", cipher == "blowfish-cbc", cipher == "blowfish-ctr", cipher == "cast128-cbc",
		cipher == "arcfour", cipher == "arcfour128", cipher == "arcfour256":
		f.block = 8
	default:
		return f, false
	}
	mac, etm := strings.CutSuffix(agreed(client.mac[dir], server.mac[dir]), "-etm@openssh.com")
	f.clear, f.readable = etm, etm
	f.mac = sshMAC(mac)
	return f, f.mac > 0
}

func sshMAC(name string) int {
	switch strings.TrimSuffix(name, "@openssh.com") {
	case "umac-64":
		return 8
	case "hmac-md5-96", "hmac-sha1-96":
		return 12
	case "hmac-md5", "umac-128":
		return 16
	case "hmac-sha1", "hmac-ripemd160":
		return 20
	case "hmac-sha2-256":
		return 32
	case "hmac-sha2-512":
		return 64
	}
	return 0
}

// ssh reads the identification of each side (RFC 4253 section 4.2), the key
// exchange, and then lengths, until the session is open.
func (t *Tracker) ssh(c *conn, d *dialogue, dir int, data []byte, emit func(Event)) {
	s, _ := d.state.(*sshState)
	if s == nil {
		s = &sshState{}
		d.state = s
	}
	if d.lost[dir] {
		t.hangUp(c)
		return
	}
	if !s.named[dir] {
		line, rest, whole := bytes.Cut(data, []byte{'\n'})
		if !bytes.HasPrefix(line, []byte("SSH-")) || !whole && len(line) < 8 {
			t.hangUp(c)
			return
		}
		t.banner(c, dir, "ssh", line, emit)
		if s.named[dir] = true; !whole || bytes.HasPrefix(line, []byte("SSH-1.")) && !bytes.HasPrefix(line, []byte("SSH-1.99")) {
			s.step = sshFinished
		}
		data = rest
	}
	more := true
	if err := t.guard(parseSSH, func() *Error { more = s.read(dir, data); return nil }); err != nil {
		t.malformed(err, emit)
		more = false
	}
	for _, r := range s.out[:s.n] {
		t.login(c, dir, &Login{Service: "ssh", Result: r}, emit)
	}
	s.n = 0
	if !more && (s.named[1-dir] || s.step != sshFinished) { // else the other side has yet to name itself
		t.hangUp(c)
	}
}

// read takes a segment and says whether the next one is wanted.
func (s *sshState) read(dir int, data []byte) bool {
	if s.step == sshFinished {
		return false
	}
	if !s.secret[dir] {
		var ok bool
		if data, ok = s.plain(dir, data); !ok {
			return false
		}
	}
	f := s.form[dir]
	for len(data) > 0 {
		n := len(data)
		if f.readable {
			if len(data) < 4 {
				return false
			}
			if n = 4 + be32(data) + f.mac; n < 4 || n > len(data) {
				return false
			}
		}
		if s.packets++; s.packets > sshPackets || !s.packet(dir, n) {
			return false
		}
		data = data[n:]
	}
	return true
}

// plain passes over packets before NEWKEYS and returns what stands behind it.
func (s *sshState) plain(dir int, data []byte) (rest []byte, ok bool) {
	for len(data) > 0 {
		if n := min(s.pass[dir], len(data)); n > 0 {
			s.pass[dir] -= n
			data = data[n:]
			continue
		}
		if s.secret[dir] {
			break
		}
		want := 6
		if h := s.half[dir]; len(h) >= want {
			want = 4 + be32(h)
		}
		n := min(want-len(s.half[dir]), len(data))
		s.half[dir] = append(s.half[dir], data[:n]...)
		data = data[n:]
		if h := s.half[dir]; len(h) == want && !s.plainPacket(dir, h) {
			return nil, false
		}
	}
	return data, true
}

// plainPacket takes the head of a packet, or all of a KEXINIT.
func (s *sshState) plainPacket(dir int, h []byte) bool {
	size := be32(h)
	if size < 2 || size > sshDisconnect {
		return false
	}
	if h[5] != sshMsgKexInit {
		s.half[dir], s.pass[dir] = h[:0], 4+size-len(h)
		if h[5] == sshMsgNewKeys {
			s.half[dir], s.secret[dir] = nil, true
			return s.form[0].block > 0
		}
		return true
	}
	if size > sshInit {
		return false
	}
	if len(h) < 4+size {
		return true
	}
	s.half[dir] = nil
	if s.init[dir] = readSSHOffer(h[5:]); s.init[dir] == nil {
		return false
	}
	if s.init[1-dir] == nil {
		return true
	}
	for way := range s.form {
		var ok bool
		if s.form[way], ok = sshFormOf(s.init[0], s.init[1], way); !ok {
			return false
		}
	}
	s.init = [2]*sshOffer{}
	return true
}

// packet takes the length of an encrypted packet.
func (s *sshState) packet(dir, n int) bool {
	if dir == 0 {
		s.lone = 0
		return s.client(n)
	}
	s.lone++
	return s.server(n)
}

func (s *sshState) client(n int) bool {
	f := s.form[0]
	switch s.step {
	case sshService:
		if n == f.size(sshLenService) { // before it, EXT_INFO may come (RFC 8308 section 2.4)
			s.step = sshAccept
		}
	case sshAccept, sshAnswer: // ahead of the answer: whose is the next?
		return false
	case sshFirst:
		s.none, s.step = n, sshMethods
		return n >= f.size(sshLenNone+1)
	case sshMethods, sshBetween:
		if s.step == sshMethods && !s.refuses() {
			return false
		}
		s.try(n)
		s.step = sshAnswer
	case sshLetIn:
		s.step = sshOpening
	}
	return true
}

func (s *sshState) server(n int) bool {
	f := s.form[1]
	switch s.step {
	case sshService: // EXT_INFO
	case sshAccept:
		if n == f.size(sshLenService) {
			s.step = sshFirst
		} else if s.lone > 1 {
			return false
		}
	case sshMethods: // a banner may come before it (RFC 4252 section 5.4)
		s.refusal = n
		if s.lone == 1 && n == f.size(sshLenSuccess) {
			s.step = sshLetIn
		}
	case sshAnswer:
		s.step = sshBetween
		s.answer(n)
	case sshOpening: // only who is let in is answered once more
		s.tell(LoginOK)
		return false
	}
	return true
}

// refuses says that the answer to the first request can be a refusal.
func (s *sshState) refuses() bool {
	f := s.form[1]
	return s.refusal >= f.size(sshLenRefusal) && s.refusal <= f.size(sshMaxRefusal)
}

// try takes a request, or the answer to a question of the server.
func (s *sshState) try(n int) {
	f := s.form[0]
	if s.held && n >= s.none && !padded(f, n) {
		s.tell(LoginFailed) // this is a request: there was no question
		s.held = false
	}
	s.asked = false
	s.request = n
	s.sure = n < f.size(sshLenKey+1) && s.none <= f.size(sshLenNone+sshMaxUser) && !s.asks(n)
	if s.sure {
		s.asked = true
		s.say(LoginTried)
	}
}

// padded says that OpenSSH's client may have sent it as the answer to a
// question: it fills packets with passwords up to 64 bytes (sshconnect2.c).
func padded(f sshForm, n int) bool {
	n -= f.mac
	if f.clear {
		n -= 4
	}
	return n%64 == 0
}

// asks says that a request may be for a question and answer
// (keyboard-interactive), to which a question follows that may be as long as a
// refusal. Its length follows from that of "none" for the same user.
func (s *sshState) asks(n int) bool {
	alike := false
	for p := sshLenQuestion; p <= sshMaxRefusal; p++ {
		alike = alike || s.form[1].size(p) == s.refusal
	}
	if !alike {
		return false
	}
	for p := sshLenNone + 1; p <= sshLenNone+sshMaxUser; p++ {
		if s.form[0].size(p) == s.none && s.form[0].size(p+sshLenAsk) == n {
			return true
		}
	}
	return false
}

// answer takes the server's answer to a request.
func (s *sshState) answer(n int) {
	switch {
	case n == s.form[1].size(sshLenSuccess):
		s.step = sshLetIn
	case n == s.refusal && s.sure:
		s.tell(LoginFailed)
	case n == s.refusal && s.request < s.form[0].size(sshLenKey+1):
		s.held = true
		return
	}
	s.held = false
}

// tell says how the last request went.
func (s *sshState) tell(r LoginResult) {
	if !s.asked {
		s.say(LoginTried)
	}
	s.asked = false
	s.say(r)
}

func (s *sshState) say(r LoginResult) {
	if s.n < len(s.out) {
		s.out[s.n] = r
		s.n++
	}
}
