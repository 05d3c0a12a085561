package evidence

import (
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"
)

// BenchmarkVerify verifies a bundle of about 20 MB as folder and as package.
// x-sha256 is the time by that of one SHA-256 over the same file.
func BenchmarkVerify(b *testing.B) {
	v := testVault(b, b.TempDir())
	in := testInput("B-1")
	in.Packets = packetsOf(200_000)
	bundle, err := v.Seal(b.Context(), in)
	if err != nil {
		b.Fatal(err)
	}
	who := testIdentity(b)
	dir := b.TempDir()
	plain := storePackage(b, v, dir)
	v.c.Recipients = []age.Recipient{who.Recipient()}
	secret := storePackage(b, v, dir)
	for _, c := range []struct{ name, path string }{{"folder", bundle.Path}, {"tar", plain}, {"tar.age", secret}} {
		b.Run(c.name, func(b *testing.B) {
			info, err := os.Stat(plain)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(info.Size())
			var floor time.Duration
			for b.Loop() {
				if _, err := Verify(c.path, VerifyOptions{Identities: []age.Identity{who}}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				floor += hashing(b, plain)
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed())/float64(floor), "x-sha256")
		})
	}
}

func hashing(b *testing.B, path string) time.Duration {
	begun := time.Now()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(sha256.New(), f); err != nil {
		b.Fatal(err)
	}
	return time.Since(begun)
}

// storePackage writes the package into dir as a vendor would.
func storePackage(b *testing.B, v *Vault, dir string) string {
	r, p, err := v.OpenPackage("B-1")
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	path := filepath.Join(dir, p.Name)
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(f, r); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}
