package flow

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

func newCert(t testing.TB, x *x509.Certificate) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if x.SerialNumber == nil {
		x.SerialNumber = big.NewInt(1)
	}
	if x.NotBefore.IsZero() {
		x.NotBefore = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	}
	if x.NotAfter.IsZero() {
		x.NotAfter = time.Date(2054, 1, 2, 3, 4, 5, 0, time.UTC) // from 2050 on the other form of time
	}
	der, err := x509.CreateCertificate(rand.Reader, x, x, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func certMessage(ders ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddUint8(tlsCertificate)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, der := range ders {
				b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(der) })
			}
		})
	})
	return b.BytesOrPanic()
}

// records packs handshake bytes into records of at most size bytes.
func records(msg []byte, size int) (out []byte) {
	for len(msg) > 0 {
		n := min(size, len(msg))
		out = append(out, 22, 3, 3, byte(n>>8), byte(n))
		out, msg = append(out, msg[:n]...), msg[n:]
	}
	return out
}

var nasName = pkix.Name{CommonName: "nas.office.example", Organization: []string{"Example\x1b[2J"}}

func nasCert(t testing.TB) []byte {
	return newCert(t, &x509.Certificate{Subject: nasName, DNSNames: []string{"nas", "nas.office.example"}, IPAddresses: []net.IP{net.IPv4(192, 168, 1, 2)}})
}

func serverHello12() []byte {
	return helloBytes{tlsServerHello, 0x0303, []uint16{0xc02f}, nil}.message()
}

// certificates lets a server of TLS 1.2 speak and returns what was seen of its
// certificate. cut divides what it sends into segments.
func certificates(t *testing.T, flight []byte, cut int) (certs []string, k *tape) {
	k = newTape(8443)
	k.hear = func(ev Event) {
		if e, ok := ev.(*TLSCert); ok {
			certs = append(certs, fmt.Sprintf("%s | %s | %s | %q | self=%v | %s %s | %d", e.Subject, e.Issuer, e.CommonName,
				e.Names, e.SelfSigned, e.NotBefore.Format(time.DateOnly), e.NotAfter.Format(time.DateOnly), e.Chain))
			if e.ConnID != 1 || e.Server.Port() != 8443 || e.Time.IsZero() || e.Client.Addr() != hostA {
				t.Errorf("of connection %d %v->%v at %v", e.ConnID, e.Client, e.Server, e.Time)
			}
		}
	}
	for segment := range slices.Chunk(flight, cut) {
		k.say(1, segment...)
	}
	return certs, k
}

const nasSeen = `CN=nas.office.example,O=Example\027[2J | CN=nas.office.example,O=Example\027[2J | nas.office.example | ` +
	`["nas" "nas.office.example" "192.168.1.2"] | self=true | 2024-01-02 2054-01-02 | 3`

func TestCertificateIsReadWhicheverWayItIsCut(t *testing.T) {
	filler := bytes.Repeat([]byte{7}, 9000) // a chain above the 8 kB of other heads
	msg := slices.Concat(serverHello12(), certMessage(nasCert(t), filler, filler), []byte{14, 0, 0, 0})
	for _, record := range []int{1 << 14, 700, 61} {
		for _, segment := range []int{1 << 15, 1460, 900} {
			got, k := certificates(t, records(msg, record), segment)
			if len(got) != 1 || got[0] != nasSeen {
				t.Errorf("records of %d, segments of %d: saw %q, want %q", record, segment, got, nasSeen)
			}
			if n := k.track.Stats().TLS; n != 1 {
				t.Errorf("%d hellos, want 1", n)
			}
			if c := k.track.table.at(1); c.stream != [2]uint32{} || c.app[1] != appDone {
				t.Error("the server's bytes are read on")
			}
		}
	}
}

func TestServersThatSendNoCertificateInTheClear(t *testing.T) {
	resumed := append(records(serverHello12(), 1000), 20, 3, 3, 0, 1, 1)
	ticket := records(slices.Concat(serverHello12(), []byte{4, 0, 0, 2, 1, 1}), 1000)
	none := records(slices.Concat(serverHello12(), certMessage()), 1000)
	tls13 := records(helloBytes{tlsServerHello, 0x0303, []uint16{0x1301}, []extension{{extSupportedVersions, []byte{3, 4}}}}.message(), 1000)
	for name, flight := range map[string][]byte{"resumed": resumed, "ticket": ticket, "empty list": none, "TLS 1.3": tls13} {
		got, k := certificates(t, flight, 1460)
		if len(got) > 0 || k.track.Stats().Malformed > 0 || k.track.Stats().TLS != 1 || k.track.table.at(1).app[1] != appDone {
			t.Errorf("%s: certificates %q, seen %q", name, got, k.seen)
		}
	}
	_, k := certificates(t, records(slices.Concat(serverHello12(), []byte{tlsCertificate, 0, 0, 4, 0, 0, 9, 1}), 1000), 1460)
	if !slices.Contains(k.seen, "malformed tls: certificate message cannot be read") {
		t.Errorf("a list longer than its message: saw %q", k.seen)
	}
}

func TestCertificateHashes(t *testing.T) {
	der := nasCert(t)
	var r certReader
	if err := r.read(cryptobyte.String(certMessage(der)[4:])); err != nil {
		t.Fatal(err)
	}
	if r.event.SHA256 != sha256.Sum256(der) || r.event.SHA1 != sha1.Sum(der) || r.event.Chain != 1 {
		t.Error("the hashes are not those of the certificate")
	}
}

func TestACertificateThatTheLibraryRefusesIsScanned(t *testing.T) {
	der := nasCert(t)
	at := bytes.Index(der, []byte{2, 1, 1}) // the serial number
	der[at+2] = 0x80                        // negative: RFC 5280 forbids it, devices have it
	if _, err := x509.ParseCertificate(der); err == nil {
		t.Fatal("the library takes it; the test tests nothing")
	}
	var r certReader
	if err := r.read(cryptobyte.String(certMessage(der)[4:])); err != nil {
		t.Fatal(err)
	}
	e := r.event
	if e.CommonName != "nas.office.example" || !e.SelfSigned || e.NotAfter.Year() != 2054 || !strings.HasPrefix(e.Issuer, "CN=nas") {
		t.Errorf("scanned %+v", e)
	}
	if r.read(cryptobyte.String(certMessage([]byte("no certificate"))[4:])) != errCert {
		t.Error("noise passes for a certificate")
	}
}

func TestNamesAreBounded(t *testing.T) {
	x := &x509.Certificate{Subject: pkix.Name{CommonName: strings.Repeat("n", 64), Organization: slices.Repeat([]string{strings.Repeat("o", 64)}, 9)}}
	for i := range 40 {
		x.DNSNames = append(x.DNSNames, fmt.Sprintf("host%d.example", i))
	}
	var r certReader
	if err := r.read(cryptobyte.String(certMessage(newCert(t, x))[4:])); err != nil {
		t.Fatal(err)
	}
	if e := r.event; len(e.Names) != maxNames || len(e.Subject) != maxNameText {
		t.Errorf("%d names, subject of %d bytes", len(e.Names), len(e.Subject))
	}
}

func TestKnownCertificatesAreNotParsedAgain(t *testing.T) {
	var r certReader
	ders := make([][]byte, certCache+1)
	read := func(n int) {
		if ders[n] == nil { // signatures differ each time
			ders[n] = newCert(t, &x509.Certificate{SerialNumber: big.NewInt(int64(n) + 1)})
		}
		der := ders[n]
		if err := r.read(cryptobyte.String(certMessage(der)[4:])); err != nil {
			t.Fatal(err)
		}
	}
	read(0)
	if read(0); r.parsed {
		t.Error("the same certificate was parsed twice")
	}
	for n := range certCache {
		read(n + 1)
	}
	if len(r.known) != certCache {
		t.Errorf("%d certificates are kept, want %d", len(r.known), certCache)
	}
	if read(0); !r.parsed {
		t.Error("the oldest was kept")
	}
}

func FuzzCertificate(f *testing.F) {
	der := nasCert(f)
	f.Add(certMessage(der, der)[4:])
	bad := bytes.Clone(der)
	bad[bytes.Index(bad, []byte{2, 1, 1})+2] = 0x80
	f.Add(certMessage(bad)[4:])
	f.Add(certMessage()[4:])
	f.Fuzz(func(t *testing.T, data []byte) {
		var r certReader
		if r.read(data) == nil {
			if e := &r.event; len(e.Names) > maxNames || len(e.Subject) > 4*maxNameText || e.Chain < 1 {
				t.Fatalf("beyond its bounds: %+v", e)
			}
		}
		var c TLSCert
		c.scan(data)
	})
}
