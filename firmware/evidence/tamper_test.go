package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sekisho/firmware/ledger"
)

// bagFiles makes the bundle writable and lists its files.
func bagFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		rel, _ := filepath.Rel(dir, path)
		files = append(files, filepath.ToSlash(rel))
		return os.Chmod(path, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func wantBroken(t *testing.T, dir, what string, files ...string) {
	t.Helper()
	_, err := Verify(dir, VerifyOptions{})
	var f *FileError
	if !errors.As(err, &f) || !slices.Contains(files, f.File) {
		t.Errorf("%s: %v, want one of %v to be named", what, err, files)
	}
}

func TestEveryFlippedByteIsNoticedAndItsFileNamed(t *testing.T) {
	t.Parallel() // with its like: they take long
	_, b := sealedAt(t, newAuthority(t, ecKey(t), "sha256"))
	for _, name := range bagFiles(t, b.Path) {
		path := filepath.Join(b.Path, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range good {
			put := func(b byte) {
				if _, err := f.WriteAt([]byte{b}, int64(i)); err != nil {
					t.Fatal(err)
				}
			}
			put(good[i] ^ 1<<(i%8))
			if wantBroken(t, b.Path, "flip", name); t.Failed() {
				t.Fatalf("%s byte %d", name, i)
			}
			put(good[i])
		}
		_ = f.Close()
	}
	if _, err := Verify(b.Path, VerifyOptions{}); err != nil {
		t.Fatalf("the restored bundle: %v", err)
	}
}

func TestFilesRemovedAddedCutSwappedOrLinkedAreNoticed(t *testing.T) {
	_, b := sealedAt(t, newAuthority(t, ecKey(t), "sha256"))
	files := bagFiles(t, b.Path)
	for i, name := range files {
		path := filepath.Join(b.Path, name)
		good, _ := os.ReadFile(path)
		next := files[(i+1)%len(files)]
		nextPath := filepath.Join(b.Path, next)
		nextGood, _ := os.ReadFile(nextPath)
		write := func(p string, data []byte) {
			if err := os.WriteFile(p, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		wantBroken(t, b.Path, "removed", name)
		if err := os.Symlink(nextPath, path); err != nil {
			t.Fatal(err)
		}
		wantBroken(t, b.Path, "linked", name)
		_ = os.Remove(path)
		if len(good) > 0 {
			write(path, good[:len(good)-1])
			wantBroken(t, b.Path, "cut", name)
		}
		write(path, append(bytes.Clone(good), '\n'))
		wantBroken(t, b.Path, "longer", name)
		write(path, nextGood)
		write(nextPath, good)
		if !bytes.Equal(good, nextGood) {
			wantBroken(t, b.Path, "swapped", name, next)
		}
		write(path, good)
		write(nextPath, nextGood)
		extra := path + ".extra"
		write(extra, nil)
		wantBroken(t, b.Path, "added", name+".extra")
		_ = os.Remove(extra)
	}
	if _, err := Verify(b.Path, VerifyOptions{}); err != nil {
		t.Fatalf("the restored bundle: %v", err)
	}
}

// swapLast exchanges the last two neighbours that differ.
func swapLast(t *testing.T, parts [][]byte) []byte {
	t.Helper()
	for i := len(parts) - 1; i > 0; i-- {
		if !bytes.Equal(parts[i-1], parts[i]) {
			parts[i-1], parts[i] = parts[i], parts[i-1]
			return bytes.Join(parts, nil)
		}
	}
	t.Fatal("nothing to reorder")
	return nil
}

func pcapBlocks(data []byte) [][]byte {
	var out [][]byte
	blocks := newBlockSlice(data)
	for _, b := blocks.next(); b != nil; _, b = blocks.next() {
		out = append(out, b)
	}
	return out
}

// replaced writes bad in place of a file, calls then, and puts the file back.
func replaced(t *testing.T, path string, bad []byte, then func()) {
	t.Helper()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bad, 0o644); err != nil {
		t.Fatal(err)
	}
	then()
	if err := os.WriteFile(path, good, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReorderedLinesEntriesAndPacketsAreNoticed(t *testing.T) {
	v := testVault(t, t.TempDir())
	for i := range 3 {
		if _, err := v.c.Ledger.Append(ledger.Entry{Time: base, Action: "test", Subject: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := v.Seal(t.Context(), testInput("B-1"))
	if err != nil {
		t.Fatal(err)
	}
	bagFiles(t, b.Path)
	for _, name := range []string{manifestFile, tagManifestFile, ledgerFile, "bag-info.txt", checkpointFile, signatureFile, packetsFile} {
		path := filepath.Join(b.Path, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		parts := slices.Collect(bytes.Lines(good))
		if name == packetsFile {
			parts = pcapBlocks(good)
		}
		replaced(t, path, swapLast(t, parts), func() { wantBroken(t, b.Path, "reordered", name) })
	}
	if _, err := Verify(b.Path, VerifyOptions{}); err != nil {
		t.Fatalf("the restored bundle: %v", err)
	}
}

func TestAFileOfAnotherBundleOfTheSameDeviceIsNoticed(t *testing.T) {
	v, b := sealedAt(t, newAuthority(t, ecKey(t), "sha256"))
	in := testInput("B-2")
	in.Packets = packetsOf(4)
	in.Flows = func(w io.Writer, _ io.Reader) error { _, err := io.WriteString(w, "{}\n"); return err }
	second, err := v.Seal(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	differ := 0
	for _, name := range bagFiles(t, b.Path) {
		theirs, err := os.ReadFile(filepath.Join(second.Path, name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(b.Path, name)
		if ours, err := os.ReadFile(path); err != nil || bytes.Equal(ours, theirs) {
			continue
		}
		differ++
		blame := []string{name}
		if name == signatureFile { // genuine, and what it is about is not here
			blame = append(blame, timestampFile)
		}
		replaced(t, path, theirs, func() { wantBroken(t, b.Path, "replaced", blame...) })
	}
	if differ < 10 {
		t.Errorf("only %d files differ", differ)
	}
}

func TestHashesThatWereMadeAgainAreNoticed(t *testing.T) {
	_, b := sealed(t)
	bagFiles(t, b.Path)
	again := newBag(b.Path)
	for _, name := range tarMembers(false) {
		data, err := os.ReadFile(filepath.Join(b.Path, name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "data/assets.json" {
			data = []byte("[{}]\n")
			if err := os.WriteFile(filepath.Join(b.Path, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if name != signatureFile && name != tagManifestFile {
			again.sums[name] = hexSum(data)
		}
	}
	if err := os.WriteFile(filepath.Join(b.Path, manifestFile), again.manifest("data/"), 0o644); err != nil {
		t.Fatal(err)
	}
	again.sums[manifestFile] = hexSum(again.manifest("data/"))
	if err := os.WriteFile(filepath.Join(b.Path, tagManifestFile), again.tagManifest(), 0o644); err != nil {
		t.Fatal(err)
	}
	wantBroken(t, b.Path, "hashes made again", tagManifestFile)
}
