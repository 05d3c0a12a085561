package flow

import (
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

// helloBytes builds a ClientHello or ServerHello message from its parts.
type helloBytes struct {
	kind       uint8
	version    uint16
	suites     []uint16
	extensions []extension
}

type extension struct {
	kind uint16
	data []byte
}

func (h helloBytes) message() []byte {
	var b cryptobyte.Builder
	b.AddUint8(h.kind)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16(h.version)
		b.AddBytes(make([]byte, 32))
		b.AddUint8(0)
		if h.kind == tlsServerHello {
			b.AddUint16(h.suites[0])
			b.AddUint8(0)
		} else {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				for _, s := range h.suites {
					b.AddUint16(s)
				}
			})
			b.AddBytes([]byte{1, 0})
		}
		if h.extensions == nil {
			return
		}
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, e := range h.extensions {
				b.AddUint16(e.kind)
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.data) })
			}
		})
	})
	return b.BytesOrPanic()
}

// list16 is a list of 16-bit values with its length in front.
func list16(v ...uint16) []byte {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, n := range v {
			b.AddUint16(n)
		}
	})
	return b.BytesOrPanic()
}

func protocols(names ...string) []byte {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, n := range names {
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(n)) })
		}
	})
	return b.BytesOrPanic()
}

func readPrint(t *testing.T, h helloBytes) TLSHello {
	t.Helper()
	e := TLSHello{FromServer: h.kind == tlsServerHello}
	if err := new(deepDecoders).readHello(h.message(), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// chrome is the hello of the example in FoxIO's technical description of JA4,
// with the GREASE values that its raw form leaves out.
func chrome() helloBytes {
	name := append([]byte{0, 14, 0, 0, 11}, "example.com"...)
	return helloBytes{tlsClientHello, 0x0303,
		[]uint16{0x3a3a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x9c, 0x9d, 0x2f, 0x35},
		[]extension{
			{0xbaba, nil}, {0x1b, []byte{2, 0, 2}}, {0, name}, {0x33, nil}, {0x10, protocols("h2", "http/1.1")}, {0x4469, nil}, {0x17, nil}, {0x2d, nil},
			{0x0d, list16(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601)}, {0x05, nil}, {0x23, nil}, {0x12, nil},
			{0x2b, []byte{6, 0x4a, 0x4a, 3, 4, 3, 3}}, {0xff01, []byte{0}}, {0x0b, []byte{1, 0}}, {0x0a, list16(0xdada, 0x1d, 0x17, 0x18)}, {0x15, nil}, {0x8a8a, nil},
		}}
}

func TestJA4OfThePublishedExample(t *testing.T) {
	h := chrome()
	e := readPrint(t, h)
	if want := "t13d1516h2_8daaf6152771_e5627efa2ab1"; e.JA4 != want {
		t.Errorf("JA4 %s, want %s", e.JA4, want)
	}
	ext := h.extensions
	ext[1], ext[9], ext[3], ext[14] = ext[9], ext[1], ext[14], ext[3]
	h.suites[1], h.suites[5] = h.suites[5], h.suites[1]
	if shuffled := readPrint(t, h); shuffled.JA4 != e.JA4 {
		t.Error("JA4 depends on the order of extensions and suites")
	} else if shuffled.JA3 == e.JA3 {
		t.Error("JA3 does not depend on the order of extensions")
	}
	f := fingerprint{suites: []uint16{1}}
	if got := f.ja4(true); !strings.HasPrefix(got, "q00i010000_") || !strings.HasSuffix(got, "_000000000000") {
		t.Errorf("a QUIC hello without extensions is %s", got)
	}
}

// The vector is sigalg-grease.pcapng of FoxIO's test data, from its raw form.
func TestJA4LeavesGREASEOutOfSignatureAlgorithms(t *testing.T) {
	h := chrome()
	h.suites = []uint16{0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x9c, 0x9d, 0x2f, 0x35}
	h.extensions = h.extensions[:0:0]
	for _, kind := range []uint16{0xfe0d, 0x17, 0x33, 0x44cd, 0xff01, 0x23, 0xca34, 0x2d, 0, 5, 0x1b, 0x12} {
		h.extensions = append(h.extensions, extension{kind, nil})
	}
	h.extensions = append(h.extensions, extension{extALPN, protocols("h2", "http/1.1")}, extension{extGroups, list16(0x1d)},
		extension{extPointFormats, []byte{1, 0}}, extension{extSupportedVersions, []byte{4, 3, 4, 3, 3}},
		extension{extSignatures, list16(0x3a3a, 0x0904, 0x0905, 0x0906, 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601)})
	if got, want := readPrint(t, h).JA4, "t13d1517h2_8daaf6152771_cb7bf5808d99"; got != want {
		t.Errorf("JA4 %s, want %s", got, want)
	}
}

// The strings and digests are the examples of the project's README
// (github.com/salesforce/ja3).
func TestJA3OfThePublishedExamples(t *testing.T) {
	for _, c := range []struct {
		f    fingerprint
		text string
		want string
	}{
		{fingerprint{
			legacy: 769, suites: []uint16{47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4},
			extensions: []uint16{0, 10, 11}, groups: []uint16{23, 24, 25}, formats: []uint16{0},
		}, "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0", "ada70206e40642a3e4461f35503241d5"},
		{fingerprint{legacy: 769, suites: []uint16{4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99}},
			"769,4-5-10-9-100-98-3-6-19-18-99,,,", "de350869b8c85de67a350c8d186f11e6"},
	} {
		if got := c.f.ja3(); got != c.want || string(c.f.text) != c.text {
			t.Errorf("JA3 of %s is %s, want %s of %s", c.f.text, got, c.want, c.text)
		}
	}
}

// The texts are the README's; the digests come from md5sum.
func TestJA3S(t *testing.T) {
	f := fingerprint{legacy: 769, suites: []uint16{47}}
	if got, want := f.ja3s(), "18e962e106761869a61045bed0e81c2c"; got != want || string(f.text) != "769,47," {
		t.Errorf("JA3S of %s is %s, want %s", f.text, got, want)
	}
	f.extensions = []uint16{65281, 0, 11, 35, 5, 16}
	if got, want := f.ja3s(), "836ce314215654b5b1f85f97c73e506f"; got != want {
		t.Errorf("JA3S of %s is %s, want %s", f.text, got, want)
	}
}

func TestFingerprintsLeaveGREASEOut(t *testing.T) {
	plain, greased := chrome(), chrome()
	plain.suites = plain.suites[1:]
	plain.extensions = plain.extensions[1 : len(plain.extensions)-1]
	plain.extensions[len(plain.extensions)-2].data = list16(0x1d, 0x17, 0x18)
	a, b := readPrint(t, plain), readPrint(t, greased)
	if a.JA3 != b.JA3 || a.JA4 != b.JA4 {
		t.Errorf("with GREASE %s %s, without %s %s", b.JA3, b.JA4, a.JA3, a.JA4)
	}
	if !grease(0x0a0a) || !grease(0xfafa) || grease(0x0a1a) || grease(0x1301) {
		t.Error("GREASE values are told wrongly")
	}
}

func TestAHelloLeavesNothingInTheNextOne(t *testing.T) {
	var d deepDecoders
	first, second := TLSHello{}, TLSHello{}
	short := helloBytes{kind: tlsClientHello, version: 0x0301, suites: []uint16{5}}
	if err := d.readHello(chrome().message(), &first); err != nil {
		t.Fatal(err)
	}
	if err := d.readHello(short.message(), &second); err != nil {
		t.Fatal(err)
	}
	if want := readPrint(t, short); second.JA3 != want.JA3 || second.JA4 != want.JA4 {
		t.Errorf("after another hello %s %s, alone %s %s", second.JA3, second.JA4, want.JA3, want.JA4)
	}
	if !strings.HasPrefix(second.JA4, "t10i010000_") {
		t.Errorf("JA4 of a bare hello is %s", second.JA4)
	}
}

// The table is that of FoxIO's description; GREASE counts as any other name.
func TestJA4ProtocolCharacters(t *testing.T) {
	for name, want := range map[string]string{
		"": "00", "h2": "h2", "http/1.1": "h1", "h": "hh", "\xab": "ab", "\xab\xcd": "ad", "0\xab": "3b", "01\xab\xcd": "3d", "0\xab\xcd1": "01",
	} {
		first, last := ja4ALPN([]byte(name))
		if got := string([]byte{first, last}); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

func TestServerHelloHasOnlyJA3S(t *testing.T) {
	e := readPrint(t, helloBytes{tlsServerHello, 0x0303, []uint16{0xc030}, []extension{{5, nil}, {0x17, nil}, {0xff01, []byte{0}}, {0, nil}}})
	f := fingerprint{legacy: 771, suites: []uint16{0xc030}, extensions: []uint16{5, 0x17, 0xff01, 0}}
	if want := f.ja3s(); e.JA3 != want || e.JA4 != "" {
		t.Errorf("JA3S %s JA4 %q, want %s and none", e.JA3, e.JA4, want)
	}
}
