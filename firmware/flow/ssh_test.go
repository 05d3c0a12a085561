package flow

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

func sshPacket(kind byte, body ...byte) []byte {
	n := 2 + len(body) + 4
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(n)), 4, kind), append(slices.Clone(body), 0, 0, 0, 0)...)
}

func sshKexInit(cipher, mac, compression string) []byte {
	b := make([]byte, 16)
	for _, l := range []string{"curve25519-sha256", "ssh-ed25519", cipher, cipher, mac, mac, compression, compression, "", ""} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(l))), l...)
	}
	return sshPacket(sshMsgKexInit, append(b, 0, 0, 0, 0, 0)...)
}

// sshTalk plays a key exchange, then packets by their payload lengths, the
// server's negative, and returns how the log-in was told.
func sshTalk(t *testing.T, cipher, mac string, payloads ...int) (*tape, string) {
	t.Helper()
	k := newTape(2222)
	k.say(1, []byte("SSH-2.0-x\r\n")...)
	k.say(0, []byte("SSH-2.0-y\r\n")...)
	offer := sshKexInit(cipher+",none", mac, "none,zlib@openssh.com")
	k.say(0, offer[:40]...) // by halves
	k.say(0, offer[40:]...)
	k.say(1, sshKexInit("other,"+cipher, mac, "zlib@openssh.com,none")...)
	k.say(0, sshPacket(30, make([]byte, 36)...)...)
	k.say(1, append(sshPacket(31, make([]byte, 200)...), sshPacket(sshMsgNewKeys)...)...)
	k.say(0, sshPacket(sshMsgNewKeys)...)
	list := &sshOffer{[2]string{cipher, cipher}, [2]string{mac, mac}, [2]string{}}
	form, ok := sshFormOf(list, list, 0)
	if !ok {
		t.Fatalf("%s and %s are not known", cipher, mac)
	}
	for _, n := range payloads {
		dir := 0
		if n < 0 {
			dir, n = 1, -n
		}
		b := make([]byte, form.size(n))
		if form.readable {
			binary.BigEndian.PutUint32(b, uint32(len(b)-4-form.mac))
		}
		k.say(dir, b...)
	}
	var said strings.Builder
	for _, l := range k.seen {
		for word, mark := range map[string]string{"login tried": "T", "login ok": "+", "login failed": "-"} {
			if strings.Contains(l, "ssh "+word) {
				said.WriteString(mark)
			}
		}
	}
	return k, said.String()
}

var sshForms = [][2]string{
	{"aes128-ctr", "hmac-sha1"}, {"aes256-ctr", "hmac-sha2-512"}, {"aes128-ctr", "umac-64@openssh.com"}, {"3des-cbc", "hmac-md5"},
	{"aes128-ctr", "hmac-sha2-256-etm@openssh.com"}, {"aes256-gcm@openssh.com", "any"}, {"chacha20-poly1305@openssh.com", "any"},
}

// Lengths of payloads, for the user "root": the service, "none", passwords of
// eight letters, a key that is asked for and one that signs, a question and its
// answer; the refusal offers "publickey,password".
const (
	sshService17 = 17
	sshNone      = 35
	sshPassword  = 52
	sshKeyQuery  = 111
	sshKeySigned = 198
	sshRefused   = 24
	sshChannel   = 24
)

func TestSSHTellsHowALogInWentByItsLengths(t *testing.T) {
	accepted := []int{sshService17, -sshService17}
	methods := append(accepted[:2:2], sshNone, -sshRefused)
	for name, c := range map[string]struct {
		payloads []int
		want     string
	}{
		"guesses":           {append(methods[:4:4], sshPassword, -sshRefused, sshPassword-3, -sshRefused), "T-T-"},
		"the right one":     {append(methods[:4:4], sshPassword, -1, sshChannel, -17), "T+"},
		"after a wrong one": {append(methods[:4:4], sshPassword, -sshRefused, sshPassword, -1, sshChannel, -600, 300), "T-T+"},
		"a key":             {append(methods[:4:4], sshKeyQuery, -71, sshKeySigned, -1, -500, sshChannel, -17), "T+"},
		"refused keys":      {append(methods[:4:4], sshKeyQuery, -sshRefused, 400, -sshRefused), ""},
		"no password":       {append(accepted[:2:2], sshNone, -1, sshChannel, -17), "T+"},
		"a banner":          {append(accepted[:2:2], sshNone, -300, -sshRefused, sshPassword, -sshRefused), "T-"},
		"methods only":      {methods, ""},
		"let in, not shown": {append(methods[:4:4], sshPassword, -1), "T"},
		"no more methods":   {append(methods[:4:4], sshPassword, -6), "T"},
		"padded at random":  {[]int{sshService17 + 100, -sshService17 - 90, sshNone, -sshRefused, sshPassword, -sshRefused}, ""},
		"answers ahead":     {append(methods[:4:4], sshPassword, sshPassword, -sshRefused, -sshRefused), "T"},
		"extensions":        {append([]int{-300, 120, sshService17, -sshService17}, sshNone, -sshRefused, sshPassword, -sshRefused), "T-"},
	} {
		for _, f := range sshForms {
			if _, got := sshTalk(t, f[0], f[1], c.payloads...); got != c.want {
				t.Errorf("%s with %s: %q, want %q", name, f, got, c.want)
			}
		}
	}
}

// A question (RFC 4256) can be as long as a refusal that offers questions.
func TestSSHDoesNotTakeAQuestionForARefusal(t *testing.T) {
	const refused, question, answer = 36, 32, 17 // both 48 bytes in blocks of 16
	ask := sshNone + sshLenAsk
	begin := []int{sshService17, -sshService17, sshNone, -refused, ask, -question, answer}
	for _, c := range []struct {
		then []int
		want string
	}{
		{[]int{-1, sshChannel, -17}, "T+"},
		{[]int{-refused, ask, -question, answer, -1, sshChannel, -17}, "T-T+"},
	} {
		if _, got := sshTalk(t, "aes128-ctr", "hmac-sha1", append(begin[:7:7], c.then...)...); got != c.want {
			t.Errorf("%v: %q, want %q", c.then, got, c.want)
		}
	}
	// Two requests of that length: the second one shows that the first was refused.
	both := append(begin[:4:4], ask, -refused, ask, -refused, ask)
	if _, got := sshTalk(t, "aes128-ctr", "hmac-sha1", both...); got != "T-T-" {
		t.Errorf("requests as long as one for a question: %q", got)
	}
}

func TestSSHIsReadNoFurtherThanTheLogIn(t *testing.T) {
	in := []int{sshService17, -sshService17, sshNone, -sshRefused, sshPassword, -1, sshChannel, -17}
	k, _ := sshTalk(t, "aes128-ctr", "hmac-sha1", in...)
	if c := k.track.table.at(1); c.dialogue != 0 {
		t.Error("an open session is read on")
	}
	long := in[:4:4]
	for range sshPackets {
		long = append(long, sshKeyQuery, -sshRefused)
	}
	k, _ = sshTalk(t, "aes128-ctr", "hmac-sha1", long...)
	if c := k.track.table.at(1); c.dialogue != 0 {
		t.Error("requests without end are read on")
	}
}

func TestSSHSaysNothingOfWhatItDoesNotKnow(t *testing.T) {
	for _, c := range [][3]string{
		{"aes128-ctr", "hmac-sha1", "zlib"}, {"new-cipher", "hmac-sha1", "none"}, {"aes128-ctr", "new-mac", "none"}, {"none", "hmac-sha1", "none"},
	} {
		l := &sshOffer{[2]string{c[0], c[0]}, [2]string{c[1], c[1]}, [2]string{c[2], c[2]}}
		if _, ok := sshFormOf(l, l, 1); ok {
			t.Errorf("%v is taken for known", c)
		}
	}
	k := newTape(22)
	k.say(0, []byte("SSH-1.5-x\r\n")...)
	k.say(1, []byte("SSH-1.5-x\r\n")...)
	k.say(1, make([]byte, 40)...)
	k.want(t, "> banner ssh: SSH-1.5-x", "< banner ssh: SSH-1.5-x")
}

// FuzzSSH gives bytes to both sides in turn: the first byte of each piece says
// whose they are.
func FuzzSSH(f *testing.F) {
	piece := func(dir byte, b []byte) (out []byte) {
		for len(b) > 0 {
			n := min(len(b), 127)
			out = append(append(out, dir<<7|byte(n)), b[:n]...)
			b = b[n:]
		}
		return out
	}
	offer, keys := sshKexInit("aes128-gcm@openssh.com", "x", "none"), sshPacket(sshMsgNewKeys)
	seed := slices.Concat(piece(0, offer), piece(1, offer), piece(0, keys), piece(1, keys))
	gcm := func(n byte) []byte { return append([]byte{0, 0, 0, n}, make([]byte, int(n)+16)...) }
	f.Add(slices.Concat(seed, piece(0, gcm(32)), piece(1, gcm(32)), piece(0, gcm(48)), piece(1, gcm(32)), piece(0, gcm(64)), piece(1, gcm(32))))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s sshState
		for len(data) > 1 {
			dir, n := int(data[0]>>7), min(int(data[0]&127), len(data)-1)
			more := s.read(dir, data[1:1+n])
			data = data[1+n:]
			if len(s.half[0]) > 4+sshInit || len(s.half[1]) > 4+sshInit || s.n > len(s.out) {
				t.Fatal("more is kept than was promised")
			}
			s.n = 0
			if !more {
				return
			}
		}
	})
}
