package remote

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"time"

	"sekisho/firmware/durable"
)

// serverKey reads the certificate and key at path, or makes them, mode 0600. A
// damaged file is an error: another key would turn every vendor away.
func serverKey(path string) (tls.Certificate, error) {
	data, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		if data, err = newServerKey(); err == nil {
			err = durable.WriteFile(path, data, 0o600)
		}
	}
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("server key %s: %w", path, err)
	}
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("server key %s: %w", path, err)
	}
	return cert, nil
}

// newServerKey is a P-256 key and its certificate as PEM. The certificate is
// only the key's envelope: the key is what vendors pin, so the dates say "no
// end" (RFC 5280, section 4.1.2.5) and do not depend on a clock that may be
// wrong at the first start.
func newServerKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "sekisho"},
		NotBefore:    time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: der}, {Type: "PRIVATE KEY", Bytes: private}} {
		if err := pem.Encode(&b, block); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}
