package flow

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustAES(t *testing.T, key []byte) cipher.Block {
	t.Helper()
	b, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustGCM(t *testing.T, key []byte) cipher.AEAD {
	t.Helper()
	a, err := cipher.NewGCM(mustAES(t, key))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The keys of RFC 9001 appendix A.1 and RFC 9369 appendix A.1.
func TestInitialKeysOfTheStandards(t *testing.T) {
	id := []byte("\x83\x94\xc8\xf0\x3e\x51\x57\x08")
	for i, want := range [][3]string{
		{"1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c", "9f50449e04a0e810283a1e9933adedd2"},
		{"8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f", "45b95e15235d6f45a6b19cbcb0294ba9"},
	} {
		v := &quicVersions[i]
		var k quicKeys
		if !k.derive(v, id) || hex.EncodeToString(k.iv[:]) != want[1] {
			t.Errorf("version %x: nonce %x, want %s", v.first, k.iv, want[1])
		}
		var got, same [16]byte
		k.mask.Encrypt(got[:], make([]byte, 16))
		other := mustAES(t, unhex(t, want[2]))
		if other.Encrypt(same[:], make([]byte, 16)); got != same {
			t.Errorf("version %x: the key of the header protection is not %s", v.first, want[2])
		}
		sealed := k.seal.Seal(nil, k.iv[:], []byte("a"), nil)
		if want := mustGCM(t, unhex(t, want[0])).Seal(nil, k.iv[:], []byte("a"), nil); !bytes.Equal(sealed, want) {
			t.Errorf("version %x: the key of the packets is another", v.first)
		}
	}
}

// initial seals frames into one datagram of 1,200 bytes or more.
func initial(t testing.TB, v *quicVersion, id []byte, number uint32, frames []byte) []byte {
	t.Helper()
	var k quicKeys
	if !k.derive(v, id) {
		t.Fatal("no keys")
	}
	head := append([]byte{0xc3 | v.initial<<4}, binary.BigEndian.AppendUint32(nil, v.first)...)
	head = append(append(append(head, byte(len(id))), id...), 0, 0)
	frames = append(bytes.Clone(frames), make([]byte, max(0, 1200-len(head)-2-4-16-len(frames)))...)
	head = binary.BigEndian.AppendUint16(head, 0x4000|uint16(4+len(frames)+16))
	at := len(head)
	head = binary.BigEndian.AppendUint32(head, number)
	nonce := k.iv
	for i := range 4 {
		nonce[8+i] ^= head[at+i]
	}
	b := append(bytes.Clone(head), k.seal.Seal(nil, nonce[:], frames, head)...)
	var mask [16]byte
	k.mask.Encrypt(mask[:], b[at+4:at+20])
	b[0] ^= mask[0] & 0x0f
	for i := range 4 {
		b[at+i] ^= mask[1+i]
	}
	return b
}

func cryptoFrame(off int, data []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{frameCrypto}, 0x4000|uint16(off))
	return append(binary.BigEndian.AppendUint16(b, 0x4000|uint16(len(data))), data...)
}

// The client's first packet of RFC 9001 appendix A.2, from the plain text that
// stands there; the beginning of the protected packet is compared, too.
func TestInitialPacketOfTheStandard(t *testing.T) {
	id := []byte("\x83\x94\xc8\xf0\x3e\x51\x57\x08")
	frame := unhex(t, "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302010000c0"+
		"00000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c706e"+
		"000500050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748"+
		"002b0003020304000d0010000e0403050306030203080408050806002d00020101001c00024001003900320408ffffffffffffffff"+
		"05048000ffff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff")
	b := initial(t, &quicVersions[0], id, 2, frame)
	if want := unhex(t, "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9b"); !bytes.HasPrefix(b, want) {
		t.Errorf("the packet begins with\n%x, want\n%x", b[:len(want)], want)
	}
	k := newTape(443)
	k.udp(0, b)
	k.want(t, "> hello quic=true 0304 example.com [alpn]")
}

func TestQUICHelloInPiecesOfAnyOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	hello := chrome()
	hello.extensions = append(hello.extensions, extension{0x7777, make([]byte, 1500)}) // too much for one datagram
	msg := hello.message()
	for round := range 20 {
		v := &quicVersions[round%len(quicVersions)]
		var frames [][]byte
		for at := 0; at < len(msg); {
			n := min(1+r.IntN(300), len(msg)-at)
			frames = append(frames, cryptoFrame(at, msg[at:at+n]))
			at += n
		}
		frames = append(frames, frames[0], []byte{framePing}, []byte{frameACK, 0, 0, 1, 0, 5, 5}, []byte{frameACKECN, 1, 1, 0, 0, 1, 2, 3})
		r.Shuffle(len(frames), func(i, j int) { frames[i], frames[j] = frames[j], frames[i] })
		k := newTape(8443)
		half := len(frames) / 2
		id := []byte{1, 2, 3, byte(round)}
		first, second := initial(t, v, id, 0, slices.Concat(frames[:half]...)), initial(t, v, id, 1, slices.Concat(frames[half:]...))
		k.udp(0, first)
		k.udp(0, first)
		k.udp(1, second) // not from the client
		k.want(t)
		k.udp(0, second)
		k.udp(0, first)
		k.want(t, "> hello quic=true 0304 example.com [h2 http/1.1]")
		if held := heldQUIC(k.track); held != 0 {
			t.Errorf("%d hellos are still held", held)
		}
	}
}

func heldQUIC(t *Tracker) (n int) {
	for _, h := range t.deep.quic.slot {
		if h != nil && h.conn != 0 {
			n++
		}
	}
	return n
}

func TestQUICKeysFollowARetry(t *testing.T) {
	k := newTape(443)
	v := &quicVersions[0]
	msg := chrome().message()
	k.udp(0, initial(t, v, []byte("first id"), 0, []byte{framePing}))
	k.udp(0, initial(t, v, []byte("asked for by the ser"), 1, cryptoFrame(0, msg)))
	k.want(t, "> hello quic=true 0304 example.com [h2 http/1.1]")
}

func TestWhatOnlyLooksLikeQUIC(t *testing.T) {
	v := &quicVersions[0]
	good := initial(t, v, []byte("12345678"), 0, cryptoFrame(0, chrome().message()))
	forged := bytes.Clone(good)
	forged[len(forged)-1]++
	cut := bytes.Clone(good)
	binary.BigEndian.PutUint16(cut[16:], 0x7fff)
	for name, c := range map[string]struct {
		first []byte
		want  []string
	}{
		"short":         {good[:1100], nil},
		"other version": {append([]byte{0xc0, 0, 0, 0, 9}, good[5:]...), nil},
		"short header":  {append([]byte{0x40}, good[1:]...), nil},
		"forged":        {forged, nil},
		"too long":      {cut, []string{"malformed quic: initial packet cannot be read"}},
		"server hello":  {initial(t, v, []byte("1"), 0, cryptoFrame(0, serverHello12())), []string{"malformed tls: hello cannot be read"}},
		"closes":        {initial(t, v, []byte("1"), 0, []byte{0x1c, 0, 0, 0}), nil},
	} {
		k := newTape(443)
		k.udp(0, c.first)
		if !slices.Equal(k.seen, c.want) {
			t.Errorf("%s: saw %q, want %q", name, k.seen, c.want)
		}
	}
}

func TestUnfinishedQUICHellosAreBoundedAndCounted(t *testing.T) {
	v := &quicVersions[0]
	piece := initial(t, v, []byte("12345678"), 0, cryptoFrame(0, chrome().message()[:100]))
	k := newTape(443)
	const more = 10
	for port := range uint16(quicSlots + more) {
		k.port = 1000 + port
		k.udp(0, piece)
	}
	if got := k.track.Stats().DeepSkipped; got != more || heldQUIC(k.track) != quicSlots {
		t.Errorf("%d hellos were given up and %d held, want %d and %d", got, heldQUIC(k.track), more, quicSlots)
	}
	for range quicDatagrams {
		k.udp(0, piece)
	}
	if got := k.track.Stats().DeepSkipped; got != more+1 {
		t.Errorf("a hello that never ends: %d given up, want %d", got, more+1)
	}
	parsed := k.track.Stats().DeepParsed
	if k.udp(0, piece); k.track.Stats().DeepParsed != parsed {
		t.Error("datagrams after the bound are still opened")
	}
}

func FuzzQUIC(f *testing.F) {
	v := &quicVersions[0]
	id := []byte("12345678")
	msg := chrome().message()
	f.Add(slices.Concat(cryptoFrame(0, msg[:40]), cryptoFrame(40, msg[40:])), true)
	f.Add([]byte{frameACK, 0, 0, 1, 0, 5, 5, frameACKECN, 1, 1, 0, 0, 1, 2, 3, framePing}, true)
	f.Add(initial(f, v, id, 0, cryptoFrame(0, msg)), false)
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		var d deepDecoders
		var e TLSHello
		if !seal {
			if v, ok := mayBeInitial(data); ok {
				d.readQUIC(v, data, 1, &e)
			}
			return
		}
		if len(data) > 1<<13 { // the length field of the test's packets
			return
		}
		b := initial(t, v, id, 0, data)
		before := bytes.Clone(b)
		d.readQUIC(v, b, 1, &e)
		if !bytes.Equal(b, before) {
			t.Fatal("the packet was changed")
		}
	})
}
