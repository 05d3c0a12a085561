package evidence

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	_ "crypto/sha1" // of ESSCertID, RFC 2634
	_ "crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// A time-stamp token (RFC 3161) is a CMS SignedData (RFC 5652) around a TSTInfo.
// This reads exactly that, strictly: one signer, signed attributes, the signer's
// certificate inside and named by one of them (RFC 5816).

var (
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSignerCert    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12}
	oidSignerCertV2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidPSS           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidSHA256        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
)

const maxRSABits = 16384 // a larger one only costs time

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"explicit,tag:0"`
}

type signedData struct {
	Version      int
	Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
	Content      contentInfo
	Certificates asn1.RawValue `asn1:"optional,tag:0"`
	CRLs         asn1.RawValue `asn1:"optional,tag:1"`
	Signers      []signerInfo  `asn1:"set"`
}

type signerInfo struct {
	Version int
	ID      struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	Digest        pkix.AlgorithmIdentifier
	Attributes    asn1.RawValue `asn1:"tag:0"`
	Algorithm     pkix.AlgorithmIdentifier
	Signature     []byte
	NotAttributes asn1.RawValue `asn1:"optional,tag:1"`
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values asn1.RawValue
}

type messageImprint struct {
	Algorithm pkix.AlgorithmIdentifier
	Hash      []byte
}

// tstInfo goes as far as it is used; package asn1 allows more behind it.
type tstInfo struct {
	Version  int
	Policy   asn1.ObjectIdentifier
	Imprint  messageImprint
	Serial   *big.Int
	Time     time.Time `asn1:"generalized"`
	Accuracy struct {
		Seconds int `asn1:"optional"`
		Millis  int `asn1:"optional,tag:0"`
		Micros  int `asn1:"optional,tag:1"`
	} `asn1:"optional"`
	Ordering bool     `asn1:"optional"`
	Nonce    *big.Int `asn1:"optional"`
}

// token is a time-stamp token whose signature holds.
type token struct {
	info   tstInfo
	signer *x509.Certificate
	others *x509.CertPool // what else came with it
}

// openToken checks the token's signature by the certificate inside it, and that
// this certificate is for time-stamps. Whose it is, trusted decides.
func openToken(der []byte) (token, error) {
	var outer contentInfo
	var data signedData
	if err := exactly(der, &outer); err != nil || !outer.Type.Equal(oidSignedData) {
		return token{}, errors.New("not a time-stamp token")
	}
	if err := exactly(outer.Content.Bytes, &data); err != nil || !data.Content.Type.Equal(oidTSTInfo) || len(data.Signers) != 1 {
		return token{}, errors.New("not a time-stamp token")
	}
	var t token
	var content []byte
	if err := exactly(data.Content.Content.Bytes, &content); err != nil {
		return t, fmt.Errorf("its content: %w", err)
	}
	if err := exactly(content, &t.info); err != nil || t.info.Version != 1 {
		return t, fmt.Errorf("its content is not a time-stamp: %v", err)
	}
	s := data.Signers[0]
	if err := t.findSigner(s, data.Certificates.Bytes); err != nil {
		return t, err
	}
	return t, t.checkSignature(s, content)
}

// exactly parses DER with nothing behind it.
func exactly(der []byte, to any) error {
	rest, err := asn1.Unmarshal(der, to)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes follow it", len(rest))
	}
	return err
}

func (t *token) findSigner(s signerInfo, der []byte) error {
	certs, err := x509.ParseCertificates(der)
	if err != nil {
		return fmt.Errorf("its certificates: %w", err)
	}
	t.others = x509.NewCertPool()
	for _, c := range certs {
		if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSABits {
			return fmt.Errorf("a key of %d bits is not accepted", k.N.BitLen())
		}
		if bytes.Equal(c.RawIssuer, s.ID.Issuer.FullBytes) && c.SerialNumber.Cmp(s.ID.Serial) == 0 {
			t.signer = c
		} else {
			t.others.AddCert(c)
		}
	}
	if t.signer == nil {
		return errors.New("its signer's certificate is not in it")
	}
	if !slices.Contains(t.signer.ExtKeyUsage, x509.ExtKeyUsageTimeStamping) {
		return errors.New("its signer's certificate is not for time-stamps")
	}
	return nil
}

func (t *token) checkSignature(s signerInfo, content []byte) error {
	hash, err := hashOf(s.Digest)
	if err != nil {
		return err
	}
	var kind asn1.ObjectIdentifier
	var digest []byte
	if err := s.attribute(oidContentType, &kind); err != nil || !kind.Equal(oidTSTInfo) {
		return errors.New("what is signed is not a time-stamp")
	}
	if err := s.attribute(oidMessageDigest, &digest); err != nil || !bytes.Equal(digest, sumOf(hash, content)) {
		return errors.New("what is signed is another time-stamp")
	}
	if err := s.names(t.signer); err != nil {
		return err
	}
	algorithm, err := signatureAlgorithm(t.signer, s.Algorithm, hash)
	if err != nil {
		return err
	}
	signed := bytes.Clone(s.Attributes.FullBytes)
	signed[0] = 0x31 // signed as the SET OF that it is, RFC 5652, section 5.4
	if err := t.signer.CheckSignature(algorithm, signed, s.Signature); err != nil {
		return fmt.Errorf("the authority's signature does not hold: %w", err)
	}
	return nil
}

// attribute reads the one value of a signed attribute, which stands there once.
func (s signerInfo) attribute(kind asn1.ObjectIdentifier, to any) error {
	found := false
	for rest := s.Attributes.Bytes; len(rest) > 0; {
		var a attribute
		var err error
		if rest, err = asn1.Unmarshal(rest, &a); err != nil {
			return err
		}
		if !a.Type.Equal(kind) {
			continue
		}
		if found {
			return errors.New("stands there twice")
		}
		found = true
		if err := exactly(a.Values.Bytes, to); err != nil {
			return err
		}
	}
	if !found {
		return errors.New("missing")
	}
	return nil
}

// names checks that the signer signed which certificate is its own.
func (s signerInfo) names(c *x509.Certificate) error {
	type certID struct {
		Algorithm pkix.AlgorithmIdentifier `asn1:"optional"`
		Hash      []byte
	}
	var ids struct{ Certificates []certID }
	hash := crypto.SHA256
	err := s.attribute(oidSignerCertV2, &ids)
	if err != nil {
		hash = crypto.SHA1
		err = s.attribute(oidSignerCert, &ids)
	}
	if err != nil || len(ids.Certificates) == 0 {
		return errors.New("the signer does not say which certificate is its own")
	}
	id := ids.Certificates[0]
	if len(id.Algorithm.Algorithm) > 0 {
		if hash, err = hashOf(id.Algorithm); err != nil {
			return err
		}
	}
	if !bytes.Equal(id.Hash, sumOf(hash, c.Raw)) {
		return errors.New("the signer says that another certificate is its own")
	}
	return nil
}

func hashOf(a pkix.AlgorithmIdentifier) (crypto.Hash, error) {
	switch {
	case a.Algorithm.Equal(oidSHA256):
		return crypto.SHA256, nil
	case a.Algorithm.Equal(oidSHA384):
		return crypto.SHA384, nil
	case a.Algorithm.Equal(oidSHA512):
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("hash algorithm %v is not accepted", a.Algorithm)
}

func sumOf(hash crypto.Hash, data []byte) []byte {
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}

func signatureAlgorithm(c *x509.Certificate, a pkix.AlgorithmIdentifier, hash crypto.Hash) (x509.SignatureAlgorithm, error) {
	i := slices.Index([]crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}, hash)
	switch {
	case a.Algorithm.Equal(oidPSS):
		return []x509.SignatureAlgorithm{x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS}[i], nil
	case c.PublicKeyAlgorithm == x509.RSA:
		return []x509.SignatureAlgorithm{x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA}[i], nil
	case c.PublicKeyAlgorithm == x509.ECDSA:
		return []x509.SignatureAlgorithm{x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512}[i], nil
	case c.PublicKeyAlgorithm == x509.Ed25519:
		return x509.PureEd25519, nil
	}
	return 0, fmt.Errorf("the authority's kind of key (%v) is not accepted", c.PublicKeyAlgorithm)
}

// trusted checks that the signer's certificate led to one of roots at the time
// that it states.
func (t *token) trusted(roots *x509.CertPool) error {
	_, err := t.signer.Verify(x509.VerifyOptions{Roots: roots, Intermediates: t.others, CurrentTime: t.info.Time,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}})
	return err
}
