package evidence

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"filippo.io/age"
)

// verifyBytes verifies a package in memory.
func verifyBytes(data []byte, identities ...age.Identity) error {
	plain, size, err := decryptedAt(bytes.NewReader(data), int64(len(data)), identities)
	if err != nil {
		return err
	}
	v := verifier{src: &archive{r: plain, size: size}, sums: map[string]string{}}
	return v.run()
}

// member is one of a tar: its header, content and padding.
type member struct {
	name     string
	from, to int
}

// spans finds the members; what ends the tar counts to the last one.
func spans(t testing.TB, data []byte) []member {
	t.Helper()
	r := bytes.NewReader(data)
	members := newTarReader(r)
	var out []member
	for at := 0; ; {
		name, size, err := members.next()
		if err == io.EOF {
			out[len(out)-1].to = len(data)
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Seek(size, io.SeekCurrent); err != nil {
			t.Fatal(err)
		}
		end := (len(data) - r.Len() + tarAlign) &^ tarAlign
		out = append(out, member{name, at, end})
		at = end
	}
}

func TestEveryFlippedByteOfATarIsNoticedAndItsFileNamed(t *testing.T) {
	t.Parallel() // with its like: they take long
	v, _ := sealedAt(t, newAuthority(t, ecKey(t), "sha256"))
	data, _ := packageBytes(t, v)
	if err := verifyBytes(data); err != nil {
		t.Fatal(err)
	}
	all := spans(t, data)
	if len(all) != 15 || all[1].name != timestampFile || all[0].from != 0 {
		t.Fatalf("members %v", all)
	}
	for _, s := range all {
		for i := s.from; i < s.to; i++ {
			data[i] ^= 1 << (i % 8)
			var f *FileError
			if err := verifyBytes(data); !errors.As(err, &f) || f.File != s.name {
				t.Fatalf("%s: byte %d of %d: %v", s.name, i-s.from, s.to-s.from, err)
			}
			data[i] ^= 1 << (i % 8)
		}
	}
}

func TestEveryFlippedByteOfAnEncryptedPackageIsNoticed(t *testing.T) {
	t.Parallel() // with its like: they take long
	v, _, who := sealedFor(t)
	data, _ := packageBytes(t, v)
	if err := verifyBytes(data, who); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i] ^= 1 << (i % 8)
		if err := verifyBytes(data, who); err == nil {
			t.Fatalf("byte %d of %d", i, len(data))
		}
		data[i] ^= 1 << (i % 8)
	}
	for n := range 3 {
		if verifyBytes(data[:len(data)-1-n*tarBlock], who) == nil || verifyBytes(append(bytes.Clone(data), make([]byte, n+1)...), who) == nil {
			t.Errorf("cut or longer by %d", n)
		}
	}
}

func TestTarMembersReorderedRemovedRepeatedOrAddedAreNoticed(t *testing.T) {
	v, _ := sealed(t)
	data, _ := packageBytes(t, v)
	all := spans(t, data)
	all[len(all)-1].to -= tarEnding
	join := func(order ...[]member) []byte {
		var out []byte
		for _, s := range slices.Concat(order...) {
			out = append(out, data[s.from:s.to]...)
		}
		return append(out, make([]byte, tarEnding)...)
	}
	if !bytes.Equal(join(all), data) {
		t.Fatal("the parts are not the whole")
	}
	refused := func(what string, bad []byte, names ...string) {
		t.Helper()
		var f *FileError
		if err := verifyBytes(bad); !errors.As(err, &f) || !slices.Contains(names, f.File) {
			t.Errorf("%s: %v, want one of %v to be named", what, err, names)
		}
		dir := t.TempDir()
		if _, err := Unpack(t.Context(), bytes.NewReader(bad), dir, UnpackOptions{}); err == nil {
			t.Errorf("%s: unpacked", what)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: left %v", what, left)
		}
	}
	for i, s := range all {
		refused("removed", join(all[:i], all[i+1:]), s.name)
		if i+1 < len(all) {
			next := all[i+1]
			refused("reordered", join(all[:i], []member{next, s}, all[i+2:]), s.name)
			refused("repeated", join(all[:i+1], all[i:]), next.name)
		} else {
			refused("repeated", join(all, all[i:]), s.name)
		}
	}
	refused("longer", append(bytes.Clone(data), 0), all[len(all)-1].name)
	refused("cut", data[:len(data)-1], all[len(all)-1].name)
}
