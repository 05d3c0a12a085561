package evidence

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/firmware/ledger"
)

// sealedAt is a vault with one bundle, time-stamped by a.
func sealedAt(t testing.TB, a *authority) (*Vault, Bundle) {
	t.Helper()
	v := testVault(t, t.TempDir())
	v.c.TimestampURL = a.url
	b, err := v.Seal(t.Context(), testInput("B-1"))
	if err != nil {
		t.Fatal(err)
	}
	return v, b
}

func lastEntry(t testing.TB, v *Vault) ledger.Entry {
	t.Helper()
	l := v.c.Ledger
	entries, err := l.Entries(l.Size()-1, l.Size())
	if err != nil {
		t.Fatal(err)
	}
	return entries[0]
}

// query asks for a time-stamp of a file as the vault does.
func query(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	q, err := asn1.Marshal(timestampQuery{Version: 1, Nonce: big.NewInt(7), Certs: true,
		Imprint: messageImprint{pkix.AlgorithmIdentifier{Algorithm: oidSHA256}, sum[:]}})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestATimestampIsCheckedHereAndByOpenssl(t *testing.T) {
	for _, a := range []*authority{newAuthority(t, ecKey(t), "sha256"), newAuthority(t, rsaKey(t), "sha1")} {
		before := time.Now().Truncate(time.Second)
		v, b := sealedAt(t, a)
		if b.Timestamp != Timestamped {
			t.Fatalf("bundle %+v: %+v", b, lastEntry(t, v))
		}
		r, err := Verify(b.Path, VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if s := r.Timestamp; s.Trusted || s.Authority != "CN=Test tsa" || s.Time.Before(before) || s.Time.After(time.Now()) {
			t.Errorf("time-stamp %+v, asked for after %v", s, before)
		}
		if r, err = Verify(b.Path, VerifyOptions{TimestampRoots: a.roots}); err != nil || !r.Timestamp.Trusted {
			t.Errorf("with its root: %+v, %v", r.Timestamp, err)
		}
		stranger := newAuthority(t, ecKey(t), "sha256")
		if _, err := Verify(b.Path, VerifyOptions{TimestampRoots: stranger.roots}); err == nil || !strings.Contains(err.Error(), timestampFile) {
			t.Errorf("with another's root: %v", err)
		}
		cmd := exec.Command("openssl", "ts", "-verify", "-in", timestampFile, "-data", signatureFile, "-CAfile", filepath.Join(a.dir, "root.pem"))
		cmd.Dir = b.Path
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("openssl ts -verify: %v\n%s", err, out)
		}
		if e := lastEntry(t, v); e.Action != "bundle.timestamp" || e.Detail["ok"] != true || e.Detail["authority"] != "CN=Test tsa" {
			t.Errorf("ledger says %+v", e)
		}
	}
}

func TestAWrongAnswerIsSealedWithoutAndSaid(t *testing.T) {
	a := newAuthority(t, ecKey(t), "sha256")
	altered := func(change func(*timestampQuery)) func(http.ResponseWriter, []byte) {
		return func(w http.ResponseWriter, query []byte) {
			var q timestampQuery
			if err := exactly(query, &q); err != nil {
				t.Error(err)
			}
			change(&q)
			other, err := asn1.Marshal(q)
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write(a.reply(other))
		}
	}
	for _, c := range []struct {
		name, says string
		answer     func(http.ResponseWriter, []byte)
	}{
		{"imprint", "about something else", altered(func(q *timestampQuery) { q.Imprint.Hash[0] ^= 1 })},
		{"nonce", "another question", altered(func(q *timestampQuery) { q.Nonce.Add(q.Nonce, big.NewInt(1)) })},
		{"no certificate", "certificate is not in it", altered(func(q *timestampQuery) { q.Certs = false })},
		{"refused", "refused with status 2", altered(func(q *timestampQuery) { q.Imprint.Algorithm.Algorithm = oidSHA512; q.Imprint.Hash = make([]byte, 64) })},
		{"not for time-stamps", "is not for time-stamps", func(w http.ResponseWriter, query []byte) {
			var r timestampReply
			if err := exactly(a.reply(query), &r); err != nil {
				t.Error(err)
			}
			r.Token = asn1.RawValue{FullBytes: a.resigned(r.Token.FullBytes)}
			data, _ := asn1.Marshal(r)
			_, _ = w.Write(data)
		}},
		{"garbage", "not a time-stamp reply", func(w http.ResponseWriter, _ []byte) { _, _ = io.WriteString(w, "<html>") }},
		{"nothing", "not a time-stamp reply", func(http.ResponseWriter, []byte) {}},
		{"error", "500", func(w http.ResponseWriter, _ []byte) { w.WriteHeader(500) }},
		{"huge", "longer than", func(w http.ResponseWriter, _ []byte) {
			for _, err := w.Write(make([]byte, 4096)); err == nil; _, err = w.Write(make([]byte, 4096)) {
			}
		}},
	} {
		a.answer = c.answer
		v, b := sealedAt(t, a)
		if e := lastEntry(t, v); e.Action != "bundle.timestamp" || e.Detail["ok"] != false || !strings.Contains(e.Detail["error"].(string), c.says) {
			t.Errorf("%s: ledger says %+v, want %q", c.name, e, c.says)
		}
		if got, err := v.Get("B-1"); err != nil || got.Timestamp != TimestampFailed || got != b {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
		if r, err := Verify(b.Path, VerifyOptions{}); err != nil || r.Timestamp != nil {
			t.Errorf("%s: %+v, %v", c.name, r.Timestamp, err)
		}
	}
}

// hanging accepts everything and never answers, or never ends its answer.
type hanging struct{ starts bool }

func (h hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	if !h.starts {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: http.StatusOK, Body: endless{r}}, nil
}

type endless struct{ r *http.Request }

func (e endless) Read([]byte) (int, error) { <-e.r.Context().Done(); return 0, e.r.Context().Err() }
func (e endless) Close() error             { return nil }

func TestAnAuthorityThatHangsHoldsUpASealForFifteenSecondsAtMost(t *testing.T) {
	for _, starts := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := testVault(t, t.TempDir())
			v.c.TimestampURL, v.c.TimestampClient = "http://tsa.invalid/?key=secret", &http.Client{Transport: hanging{starts}}
			begun := time.Now()
			b, err := v.Seal(t.Context(), testInput("B-1"))
			if waited := time.Since(begun); err != nil || b.Timestamp != TimestampFailed || waited > 15*time.Second || waited < time.Second {
				t.Errorf("%+v after %v: %v", b, waited, err)
			}
			if text := lastEntry(t, v).Detail["error"].(string); strings.Contains(text, "secret") {
				t.Errorf("the ledger holds the account: %s", text)
			}
		})
	}
}

func TestATimestampCannotBeTakenAwayAddedOrExchanged(t *testing.T) {
	a := newAuthority(t, ecKey(t), "sha256")
	v, b := sealedAt(t, a)
	v.c.TimestampURL = ""
	second, err := v.Seal(t.Context(), testInput("B-2"))
	if err != nil {
		t.Fatal(err)
	}
	v.c.TimestampURL = a.url
	third, err := v.Seal(t.Context(), testInput("B-3"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{b.Path, second.Path, third.Path} {
		bagFiles(t, dir)
	}
	stamp, err := os.ReadFile(filepath.Join(b.Path, timestampFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{second.Path, third.Path} {
		if err := os.WriteFile(filepath.Join(dir, timestampFile), stamp, 0o644); err != nil {
			t.Fatal(err)
		}
		wantBroken(t, dir, "another's time-stamp", timestampFile)
	}
	var r timestampReply
	if err := exactly(stamp, &r); err != nil {
		t.Fatal(err)
	}
	fresh := a.reply(query(t, filepath.Join(b.Path, signatureFile))) // genuine, but the device never saw it
	var got timestampReply
	if err := exactly(fresh, &got); err != nil {
		t.Fatal(err)
	}
	forged, err := storedReply(r.Status.Text[0], got.Token)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.Path, timestampFile), forged, 0o644); err != nil {
		t.Fatal(err)
	}
	wantBroken(t, b.Path, "another genuine time-stamp", timestampFile)
	if err := os.Remove(filepath.Join(b.Path, timestampFile)); err != nil {
		t.Fatal(err)
	}
	wantBroken(t, b.Path, "taken away", timestampFile)
}

func TestAKeyThatOnlyCostsTimeIsRefused(t *testing.T) {
	huge := new(big.Int).Lsh(big.NewInt(1), maxRSABits)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}}
	key := ecKey(t)
	der, err := x509.CreateCertificate(rand.Reader, c, c, &rsa.PublicKey{N: huge.Add(huge, big.NewInt(1)), E: 65537}, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := new(token).findSigner(signerInfo{}, der); err == nil || !strings.Contains(err.Error(), "bits is not accepted") {
		t.Error(err)
	}
}

func FuzzTimestampsAreTotal(f *testing.F) {
	a := newAuthority(f, ecKey(f), "sha256")
	path := filepath.Join(f.TempDir(), "file")
	if err := os.WriteFile(path, []byte("signed"), 0o600); err != nil {
		f.Fatal(err)
	}
	var r timestampReply
	if err := exactly(a.reply(query(f, path)), &r); err != nil {
		f.Fatal(err)
	}
	f.Add(r.Token.FullBytes)
	f.Fuzz(func(t *testing.T, data []byte) {
		token, err := openToken(data)
		if err == nil && (token.signer == nil || token.info.Imprint.Hash == nil) {
			t.Errorf("accepted without signer or imprint: %+v", token)
		}
	})
}
