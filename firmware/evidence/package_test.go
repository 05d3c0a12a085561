package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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
