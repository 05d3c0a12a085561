package detect

import (
	"encoding/base64"
	"math"
	"math/rand/v2"
	"testing"
)

func entropy(b []byte) float64 {
	var n [256]float64
	for _, c := range b {
		n[c]++
	}
	h := 0.0
	for _, k := range n {
		if k > 0 {
			h -= k / float64(len(b)) * math.Log2(k/float64(len(b)))
		}
	}
	return h
}

// The test for uniform data holds for real random bytes of every length that a
// segment brings, also behind the short head that ransomware writes.
func TestUniformAcceptsCipherTextOnly(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := 1024; n <= 4096; n += 7 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if uniform(entropy(b), n) != 1 {
			t.Fatalf("%d random bytes are not uniform: %.3f", n, entropy(b))
		}
		copy(b, "WANACRY!\x00\x01\x00\x00")
		if uniform(entropy(b), n) != 1 {
			t.Fatalf("%d random bytes behind a mark are not uniform: %.3f", n, entropy(b))
		}
		l := []byte(base64.StdEncoding.EncodeToString(b)[:n])
		if uniform(entropy(l), n) != 1 {
			t.Fatalf("%d bytes of base64 are not uniform: %.3f", n, entropy(l))
		}
		copy(b[n/8:], make([]byte, n/6)) // a head with a sixth of zeros, as Office writes
		if uniform(entropy(b), n) != -1 {
			t.Fatalf("%d bytes with structure are uniform: %.3f", n, entropy(b))
		}
	}
	if uniform(8, 1000) != 0 || uniform(-1, 4096) != 0 {
		t.Error("too little was measured to tell")
	}
}

func TestSplitPathSeesTheSameFileHoweverItIsWritten(t *testing.T) {
	a, b := splitPath(`Office\Plan.DOCX`), splitPath(`office\plan.docx:Zone.Identifier`)
	if a.hash != b.hash || a.ending() != "docx" || a.stem != splitPath(`office\plan`).hash {
		t.Errorf("%+v and %+v", a, b)
	}
	if locked := splitPath(`office\plan.docx.locked`); locked.stem != a.hash || locked.folder != a.folder {
		t.Error("an added ending is not recognised")
	}
	for _, s := range []string{"", ".", `\`, `a\`, ":x", ".profile", "x.", `\\\\`} {
		splitPath(s)
	}
}

func TestNameChangeKnowsHowProgramsSave(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     renaming
	}{
		{"docx", "docx", sameName}, {"docx", "tmp", sameName}, {"", "docx", knownName}, {"nef", "dng", knownName},
		{"log", "gz", knownName}, {"docx", "gpg", knownName}, {"docx", "locked", oddName}, {"pdf", "enc", oddName}, {"jpg", "id-3f.eking", oddName},
	} {
		if got := nameChange(c.from, c.to); got != c.want {
			t.Errorf("%s -> %s is %d, want %d", c.from, c.to, got, c.want)
		}
	}
}

func FuzzSplitPath(f *testing.F) {
	f.Add(`dir\file.ext:stream`)
	f.Add("...")
	f.Fuzz(func(t *testing.T, s string) {
		p := splitPath(s)
		if len(p.base) > len(s) || len(p.end) > len(p.base) {
			t.Error(p)
		}
	})
}
