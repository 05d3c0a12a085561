package evidence

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// authority is a real time-stamping authority: openssl behind HTTP.
type authority struct {
	t     testing.TB
	dir   string
	roots *x509.CertPool
	url   string
	// answer, when not nil, stands between the query and openssl.
	answer func(w http.ResponseWriter, query []byte)
}

// newAuthority signs with key; certID is how the token names its certificate.
func newAuthority(t testing.TB, key crypto.Signer, certID string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), roots: x509.NewCertPool()}
	rootKey := ecKey(t)
	root := a.certificate("root", rootKey, nil, nil)
	a.roots.AddCert(root)
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	a.certificate("tsa", key, root, rootKey, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage})
	a.certificate("other", key, root, rootKey)
	a.write("serial", []byte("01\n"))
	a.write("conf", fmt.Appendf(nil, "[tsa]\ndefault_tsa=t\n[t]\nserial=%[1]s/serial\nsigner_cert=%[1]s/tsa.pem\ncerts=%[1]s/root.pem\nsigner_key=%[1]s/tsa.key\n"+
		"signer_digest=sha256\ndefault_policy=1.2.3.4\ndigests=sha256\naccuracy=secs:1\ness_cert_id_alg=%[2]s\n", a.dir, certID))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if a.answer != nil {
			a.answer(w, query)
			return
		}
		_, _ = w.Write(a.reply(query))
	}))
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certificate writes name.pem and name.key; without a parent it signs itself.
func (a *authority) certificate(name string, key crypto.Signer, parent *x509.Certificate, parentKey crypto.Signer, more ...pkix.Extension) *x509.Certificate {
	a.t.Helper()
	now := time.Now()
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "Test " + name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		SerialNumber: big.NewInt(now.UnixNano()), ExtraExtensions: more, IsCA: parent == nil, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature}
	if parent == nil {
		parent, parentKey = c, key
		c.KeyUsage = x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	a.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	if c, err = x509.ParseCertificate(der); err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *authority) write(name string, data []byte) {
	if err := os.WriteFile(filepath.Join(a.dir, name), data, 0o600); err != nil {
		a.t.Error(err)
	}
}

// openssl runs in the authority's folder and returns the file "out".
func (a *authority) openssl(args ...string) []byte {
	cmd := exec.Command("openssl", args...)
	cmd.Dir = a.dir
	if text, err := cmd.CombinedOutput(); err != nil {
		a.t.Errorf("openssl (Debian package openssl) %v: %v\n%s", args, err, text)
	}
	out, err := os.ReadFile(filepath.Join(a.dir, "out"))
	if err != nil {
		a.t.Error(err)
	}
	return out
}

func (a *authority) reply(query []byte) []byte {
	a.write("query", query)
	return a.openssl("ts", "-reply", "-config", "conf", "-queryfile", "query", "-out", "out")
}

// resigned is a token with the same content, signed in the name of "other",
// whose certificate is not for time-stamps.
func (a *authority) resigned(token []byte) []byte {
	var outer contentInfo
	var data signedData
	var content []byte
	for _, step := range []func() error{
		func() error { return exactly(token, &outer) },
		func() error { return exactly(outer.Content.Bytes, &data) },
		func() error { return exactly(data.Content.Content.Bytes, &content) },
	} {
		if err := step(); err != nil {
			a.t.Fatal(err)
		}
	}
	a.write("content", content)
	return a.openssl("cms", "-sign", "-binary", "-nodetach", "-cades", "-in", "content", "-econtent_type", oidTSTInfo.String(),
		"-signer", "other.pem", "-inkey", "other.key", "-outform", "DER", "-out", "out")
}
