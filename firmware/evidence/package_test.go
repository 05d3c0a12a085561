package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
)

func testIdentity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// sealedFor is a vault with one bundle and one recipient.
func sealedFor(t testing.TB) (*Vault, Bundle, *age.X25519Identity) {
	t.Helper()
	who := testIdentity(t)
	v := testVault(t, t.TempDir())
	v.c.Recipients = []age.Recipient{who.Recipient()}
	b, err := v.Seal(t.Context(), testInput("B-1"))
	if err != nil {
		t.Fatal(err)
	}
	return v, b, who
}

func packageBytes(t testing.TB, v *Vault) ([]byte, Package) {
	t.Helper()
	r, p, err := v.OpenPackage("B-1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(data); int64(len(data)) != p.Size || hex.EncodeToString(sum[:]) != p.SHA256 {
		t.Fatalf("%d bytes of %x, said were %+v", len(data), sum, p)
	}
	return data, p
}

func first(v *Vault, _ Bundle) *Vault                         { return v }
func first3(v *Vault, _ Bundle, _ *age.X25519Identity) *Vault { return v }

func TestAPackageIsTheSameAfterARestartAndStoredOnlyWhenEncrypted(t *testing.T) {
	plain, b := sealed(t)
	secret, _, who := sealedFor(t)
	for _, v := range []*Vault{plain, secret} {
		first, p := packageBytes(t, v)
		again, err := OpenVault(v.c)
		if err != nil {
			t.Fatal(err)
		}
		second, q := packageBytes(t, again)
		if p != q || !bytes.Equal(first, second) || !p.Sealed.Equal(b.Sealed) {
			t.Errorf("%+v, after a restart %+v", p, q)
		}
		_, err = os.Stat(v.packagePath(p.Name))
		if stored := err == nil; stored != p.Encrypted {
			t.Errorf("%s: stored is %v", p.Name, stored)
		}
		dir, err := Unpack(t.Context(), bytes.NewReader(first), t.TempDir(), UnpackOptions{Identities: []age.Identity{who}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(dir, VerifyOptions{Key: v.c.Ledger.Key().Public()}); err != nil {
			t.Error(err)
		}
	}
	if _, err := plain.Package("B-2"); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrMissing) {
		t.Errorf("no such bundle: %v", err)
	}
}

func TestOtherProgramsUnpackAPackage(t *testing.T) {
	v, b, who := sealedFor(t)
	data, _ := packageBytes(t, v)
	dir := t.TempDir()
	for name, text := range map[string]string{"p.tar.age": string(data), "key": who.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", "-ec", "age -d -i key p.tar.age | tar -xf -")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("age and tar (Debian packages of these names): %v\n%s", err, out)
	}
	if _, err := Verify(filepath.Join(dir, b.ID), VerifyOptions{}); err != nil {
		t.Error(err)
	}
}

func TestAnyRangeOfAPackageIsServed(t *testing.T) {
	for _, v := range []*Vault{first(sealed(t)), first3(sealedFor(t))} {
		whole, p := packageBytes(t, v)
		for from := 0; from < len(whole); from += 499 { // across headers, files and padding
			r, _, err := v.OpenPackage("B-1")
			if err != nil {
				t.Fatal(err)
			}
			answer := httptest.NewRecorder()
			ask := httptest.NewRequest(http.MethodGet, "/", nil)
			ask.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+1199))
			http.ServeContent(answer, ask, p.Name, p.Sealed, r)
			if want := whole[from:min(from+1200, len(whole))]; answer.Code != http.StatusPartialContent || !bytes.Equal(answer.Body.Bytes(), want) {
				t.Fatalf("%s from %d: status %d, %d bytes, want %d", p.Name, from, answer.Code, answer.Body.Len(), len(want))
			}
			_ = r.Close()
		}
	}
}

// What is beside the bags is made again, whatever happened to it; only an
// encrypted package that is gone comes back as another.
func TestALostOrDamagedNoteOrPackageIsMadeAgain(t *testing.T) {
	for _, c := range []struct {
		name, file string
		harm       func(path string) error
		encrypted  bool
		same       bool
	}{
		{"note gone", "B-1.json", os.Remove, false, true},
		{"note damaged", "B-1.json", flip, false, true},
		{"note cut", "B-1.json", func(path string) error { return os.Truncate(path, 40) }, false, true},
		{"note empty", "B-1.json", func(path string) error { return os.Truncate(path, 0) }, false, true},
		{"encrypted, note gone", "B-1.json", os.Remove, true, false},
		{"encrypted, note damaged", "B-1.json", flip, true, false},
		{"package gone", "B-1.tar.age", os.Remove, true, false},
		{"package half", "B-1.tar.age", func(path string) error { return os.Truncate(path, 900) }, true, false},
		{"folder gone", ".", os.RemoveAll, true, false},
		{"unharmed", ".", func(string) error { return nil }, true, true},
	} {
		v, who := first(sealed(t)), testIdentity(t)
		if c.encrypted {
			v, _, who = sealedFor(t)
		}
		before, _ := packageBytes(t, v)
		if err := c.harm(v.packagePath(c.file)); err != nil {
			t.Fatal(err)
		}
		after, _ := packageBytes(t, v)
		if bytes.Equal(before, after) != c.same {
			t.Errorf("%s: the same bytes: %v", c.name, !c.same)
		}
		if err := verifyBytes(after, who); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func flip(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	at := bytes.Index(data, []byte(`"sha256":"`)) + 12
	data[at] ^= 1
	return os.WriteFile(path, data, 0o644)
}

func TestAPackageIsForTheRecipientsOfNow(t *testing.T) {
	v, _, former := sealedFor(t)
	_, p := packageBytes(t, v)
	next := testIdentity(t)
	v.c.Recipients = []age.Recipient{next.Recipient()}
	data, q := packageBytes(t, v)
	if verifyBytes(data, former) == nil || verifyBytes(data, next) != nil || p.SHA256 == q.SHA256 {
		t.Error("a former recipient reads the package, or the new one does not")
	}
	if err := verifyBytes(data); !errors.Is(err, ErrEncrypted) {
		t.Errorf("without an identity: %v", err)
	}
	v.c.Recipients = nil
	if _, q = packageBytes(t, v); q.Encrypted || q.Name != "B-1.tar" {
		t.Errorf("without recipients: %+v", q)
	}
	if _, err := os.Stat(v.packagePath("B-1.tar.age")); err == nil {
		t.Error("the package for the former recipients is kept")
	}
}

func TestABundleWhosePackageFailsIsSealedAndPackedLater(t *testing.T) {
	v := testVault(t, t.TempDir())
	who := testIdentity(t)
	v.c.Recipients = []age.Recipient{who.Recipient()}
	v.step = func(s string) error {
		if s == "encrypted" {
			return errors.New("power")
		}
		return nil
	}
	if _, err := v.Seal(t.Context(), testInput("B-1")); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Package("B-1"); err == nil {
		t.Error("the package of a failed encryption is offered")
	}
	v.step = func(string) error { return nil }
	if data, _ := packageBytes(t, v); verifyBytes(data, who) != nil {
		t.Error("made later, it does not verify")
	}
}

func TestAtStartHalfMadeAndLeftPackagesGo(t *testing.T) {
	v, _, _ := sealedFor(t)
	_, want := packageBytes(t, v)
	for _, name := range []string{"B-1.tar.age.tmp", "B-1.json.tmp", "B-2.tar.age", "B-2.json", "junk"} {
		if err := os.WriteFile(v.packagePath(name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v, err := OpenVault(v.c)
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(v.packagePath(""))
	if err != nil || len(left) != 2 {
		t.Errorf("left are %v, %v", left, err)
	}
	if _, got := packageBytes(t, v); got != want {
		t.Errorf("package %+v, was %+v", got, want)
	}
	if err := v.removePackage("B-1"); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(v.packagePath("")); len(left) != 0 {
		t.Errorf("after removal: %v", left)
	}
	if err := v.removePackage("B-1"); err != nil {
		t.Errorf("removing none: %v", err)
	}
}

func TestAFileBeyondEightGiBHasAHeaderThatIsReadBack(t *testing.T) {
	const size = 9 << 30
	header, err := tarHeader("B-1", signatureFile, size, base)
	if err != nil {
		t.Fatal(err)
	}
	r := newTarReader(io.MultiReader(bytes.NewReader(header), strings.NewReader("content")))
	name, got, err := r.next()
	if err != nil || name != signatureFile || got != size || len(header) != 3*tarBlock || !r.sealed.Equal(base.Truncate(time.Second)) {
		t.Errorf("%s of %d bytes, %d of header: %v", name, got, len(header), err)
	}
}
