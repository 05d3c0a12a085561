package offsite

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
)

func newS3(t *testing.T, c S3Config) *S3 {
	t.Helper()
	s, err := smallS3(c)
	must(t, err)
	return s
}

func TestTheServerRefusesToDeleteOrUnlockACopy(t *testing.T) {
	server := startS3(t)
	data := contents("bundle", 5000)
	c, err := put(t, newS3(t, server.c), objectOf("inc-1.tar", data))
	must(t, err)
	if d := time.Until(c.Until); c.Version == "" || d < 29*24*time.Hour || d > 31*24*time.Hour {
		t.Errorf("the copy is %+v", c)
	}
	ctx, admin, key := t.Context(), server.client, server.key("inc-1.tar")
	if err := admin.RemoveObject(ctx, lockedIn, key, minio.RemoveObjectOptions{VersionID: c.Version}); err == nil {
		t.Error("the version was deleted")
	}
	if err := admin.RemoveObject(ctx, lockedIn, key, minio.RemoveObjectOptions{VersionID: c.Version, GovernanceBypass: true}); err == nil {
		t.Error("the version was deleted by the bypass")
	}
	soon, mode := time.Now().Add(time.Hour), minio.Governance
	if err := admin.PutObjectRetention(ctx, lockedIn, key, minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &soon, VersionID: c.Version, GovernanceBypass: true}); err == nil {
		t.Error("the lock was shortened")
	}
	// Whoever has the credentials can put something over it, not in its place.
	_, err = admin.PutObject(ctx, lockedIn, key, strings.NewReader("other"), 5, minio.PutObjectOptions{})
	must(t, err)
	o, err := admin.GetObject(ctx, lockedIn, key, minio.GetObjectOptions{VersionID: c.Version})
	must(t, err)
	if !bytes.Equal(readAllOrNil(o), data) {
		t.Error("the version changed")
	}
}

func TestABucketWithoutObjectLockIsNoCopy(t *testing.T) {
	server := startS3(t)
	c := server.c
	c.Bucket = openIn
	for name, size := range map[string]int{"one.tar": 100, "parts.tar": 6 << 20} {
		_, err := put(t, newS3(t, c), objectOf(name, contents("x", size)))
		wantError(t, err, ErrNoLock)
		if p := explain(err); !strings.Contains(p.Help.EN, "bucket with object lock") {
			t.Errorf("help is %q", p.Help.EN)
		}
	}
	// The same bytes are there already, without a lock.
	_, err := server.client.PutObject(t.Context(), openIn, "office-a/inc-2.tar", strings.NewReader("same"), 4, minio.PutObjectOptions{})
	must(t, err)
	_, err = put(t, newS3(t, c), objectOf("inc-2.tar", []byte("same")))
	wantError(t, err, ErrNoLock)
}

func TestTheSameBytesThatSomebodyPutThereAreLockedNotCopied(t *testing.T) {
	server := startS3(t)
	server.place(t).plant("inc-1.tar", contents("x", 70_000))
	c, err := put(t, newS3(t, server.c), objectOf("inc-1.tar", contents("x", 70_000)))
	must(t, err)
	if len(server.versions(t, "inc-1.tar")) != 1 || time.Until(c.Until) < 29*24*time.Hour {
		t.Errorf("the copy is %+v of %d", c, len(server.versions(t, "inc-1.tar")))
	}
	if err := server.client.RemoveObject(t.Context(), lockedIn, server.key("inc-1.tar"), minio.RemoveObjectOptions{VersionID: c.Version}); err == nil {
		t.Error("it was deleted")
	}
}

func TestGovernanceIsALockThatOnlyTheBypassLifts(t *testing.T) {
	server := startS3(t)
	conf := server.c
	conf.Governance = true
	c, err := put(t, newS3(t, conf), objectOf("inc-1.tar", contents("x", 10)))
	must(t, err)
	name := server.key("inc-1.tar")
	if err := server.client.RemoveObject(t.Context(), lockedIn, name, minio.RemoveObjectOptions{VersionID: c.Version}); err == nil {
		t.Error("it was deleted without the bypass")
	}
	info, err := server.client.StatObject(t.Context(), lockedIn, name, minio.StatObjectOptions{})
	must(t, err)
	if mode := info.Metadata.Get(lockMode); mode != "GOVERNANCE" {
		t.Errorf("the lock is %q", mode)
	}
}

func TestANameThatIsTakenDuringTheUploadGetsNoSecondVersion(t *testing.T) {
	server := startS3(t)
	for name, size := range map[string]int{"one.tar": 100_000, "parts.tar": 11 << 20} {
		o := objectOf(name, contents("ours", size))
		var once bool
		o.Progress = func(done int64) {
			if !once {
				once = true
				server.place(t).plant(name, []byte("theirs"))
			}
		}
		_, err := put(t, newS3(t, server.c), o)
		wantError(t, err, ErrConflict)
		if n := len(server.versions(t, name)); n != 1 {
			t.Errorf("%s has %d versions", name, n)
		}
	}
}

func TestOverTLSOnlyAServerWithAKnownCertificateGetsAnything(t *testing.T) {
	cert, key := selfSigned(t)
	server := startS3(t, "--cert", cert, "--key", key)
	stranger := server.c
	stranger.CAFile = ""
	_, err := put(t, newS3(t, stranger), objectOf("inc-1.tar", []byte("x")))
	wantError(t, err, ErrIdentity)
	for name, size := range map[string]int{"one.tar": 100_000, "parts.tar": 6 << 20} {
		data := contents(name, size)
		if _, err := put(t, newS3(t, server.c), objectOf(name, data)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(server.place(t).read(name), data) {
			t.Errorf("%s differs", name)
		}
	}
}

func selfSigned(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	return certFile, keyFile
}

func TestRefusedCredentialsAndSilentServersAreNamed(t *testing.T) {
	server := startS3(t)
	wrong := server.c
	wrong.Credentials = filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(wrong.Credentials, []byte("aws_access_key_id="+s3Key+"\naws_secret_access_key=guess\n"), 0o600))
	_, err := put(t, newS3(t, wrong), objectOf("inc-1.tar", []byte("x")))
	wantError(t, err, ErrDenied)
	nobody := server.c
	nobody.Endpoint = "http://" + freeAddress()
	_, err = put(t, newS3(t, nobody), objectOf("inc-1.tar", []byte("x")))
	wantError(t, err, ErrNoAddress)
}

func TestUnsafeSettingsOfS3AreRefused(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), mode))
		return path
	}
	const lines = "aws_access_key_id = a\naws_secret_access_key = b\n"
	good := S3Config{Endpoint: "https://s3.example", Bucket: "b", Credentials: file("good", lines, 0o600), Days: 1, Line: NewLine(0)}
	if _, err := NewS3(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*S3Config){
		"in clear over the net": func(c *S3Config) { c.Endpoint = "http://s3.example" },
		"no host":               func(c *S3Config) { c.Endpoint = "https://" },
		"no lock":               func(c *S3Config) { c.Days = 0 },
		"no bucket":             func(c *S3Config) { c.Bucket = "" },
		"others can read it":    func(c *S3Config) { c.Credentials = file("open", lines, 0o640) },
		"no secret":             func(c *S3Config) { c.Credentials = file("half", "aws_access_key_id = a\n", 0o600) },
		"no file":               func(c *S3Config) { c.Credentials = filepath.Join(dir, "none") },
		"no certificate":        func(c *S3Config) { c.CAFile = good.Credentials },
	} {
		c := good
		change(&c)
		if _, err := NewS3(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPartsStayWithinWhatS3Takes(t *testing.T) {
	s := &S3{one: onePut, part: partBytes}
	for _, size := range []int64{1, onePut, onePut + 1, 100 << 30, 1 << 40} {
		part := s.partSize(size)
		if n := (size + part - 1) / part; n > 10_000 || size <= onePut && n != 1 || size > onePut && part < partBytes {
			t.Errorf("%d bytes: %d parts of %d", size, n, part)
		}
	}
	if errors.Is(asS3(errors.New("x")), ErrDenied) {
		t.Error("any error is a refusal")
	}
}
