package evidence

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// written is a tar of these headers, each with one byte of content.
func written(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = 1
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size == 1 {
			if _, err := w.Write([]byte{'x'}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnpackTakesNothingButABagAndLeavesNothing(t *testing.T) {
	file := func(name string) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o444, ModTime: base}
	}
	outside := t.TempDir()
	for name, data := range map[string][]byte{
		"parent":       written(t, file("../signature.note")),
		"deep parent":  written(t, file("B-1/../../signature.note")),
		"absolute":     written(t, file("/etc/signature.note")),
		"drive":        written(t, file("C:/signature.note")),
		"backslash":    written(t, file(`B-1\signature.note`)),
		"no folder":    written(t, file("signature.note")),
		"hidden":       written(t, file(".git/signature.note")),
		"other file":   written(t, file("B-1/autorun.inf")),
		"symlink":      written(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "B-1/signature.note", Linkname: outside, ModTime: base}),
		"hard link":    written(t, tar.Header{Typeflag: tar.TypeLink, Name: "B-1/signature.note", Linkname: "/etc/passwd", ModTime: base}),
		"folder":       written(t, tar.Header{Typeflag: tar.TypeDir, Name: "B-1/", ModTime: base}),
		"fifo":         written(t, tar.Header{Typeflag: tar.TypeFifo, Name: "B-1/signature.note", ModTime: base}),
		"unsigned":     written(t, file("B-1/signature.note")),
		"nothing":      nil,
		"text":         []byte("<html>"),
		"zeros":        make([]byte, 4096),
		"age, no more": []byte(ageMagic),
	} {
		dir := t.TempDir()
		path, err := Unpack(t.Context(), bytes.NewReader(data), dir, UnpackOptions{})
		left, _ := os.ReadDir(dir)
		if err == nil || path != "" || len(left) > 0 {
			t.Errorf("%s: %q, %v, left %v", name, path, err, left)
		}
	}
}

// Windows takes some names for devices, and drops a dot at the end.
func TestUnpackRefusesAGenuineBundleThatNoFolderCanBeNamedAfter(t *testing.T) {
	for _, id := range []string{"CON", "nul.x", "COM1", "lpt9.txt", "B-1."} {
		v := testVault(t, t.TempDir())
		if _, err := v.Seal(t.Context(), testInput(id)); err != nil {
			t.Fatal(err)
		}
		r, _, err := v.OpenPackage(id)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Unpack(t.Context(), r, t.TempDir(), UnpackOptions{}); err == nil || !strings.Contains(err.Error(), "name of a folder") {
			t.Errorf("%s: %v", id, err)
		}
		_ = r.Close()
	}
	for _, id := range []string{"COM10", "CONS", "LPT", "COM"} {
		if _, err := (&unpacker{dir: t.TempDir()}).final(id); err != nil {
			t.Error(err)
		}
	}
}

func TestUnpackNeverReplacesAFolder(t *testing.T) {
	v, _ := sealed(t)
	data, _ := packageBytes(t, v)
	dir := t.TempDir()
	mine := filepath.Join(dir, "B-1")
	if err := os.Mkdir(mine, 0o755); err != nil { // an empty one too
		t.Fatal(err)
	}
	if _, err := Unpack(t.Context(), bytes.NewReader(data), dir, UnpackOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a folder: %v", err)
	}
	if left, _ := os.ReadDir(mine); len(left) > 0 {
		t.Errorf("written into it: %v", left)
	}
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	if path, err := Unpack(t.Context(), iotest.OneByteReader(bytes.NewReader(data)), dir, UnpackOptions{}); err != nil || path != mine {
		t.Errorf("%q, %v", path, err)
	}
}

func TestUnpackEndsAtItsLimitAtACutAndWhenItIsCancelled(t *testing.T) {
	v, b := sealed(t)
	data, _ := packageBytes(t, v)
	var size int64
	for _, name := range tarMembers(false) {
		info, err := os.Stat(filepath.Join(b.Path, name))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	dir := t.TempDir()
	if _, err := Unpack(t.Context(), bytes.NewReader(data), dir, UnpackOptions{MaxBytes: size - 1}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte above the limit: %v", err)
	}
	for n := 0; n < len(data); n += 401 {
		if _, err := Unpack(t.Context(), bytes.NewReader(data[:n]), dir, UnpackOptions{}); err == nil {
			t.Errorf("cut after %d of %d bytes", n, len(data))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	stop := io.MultiReader(bytes.NewReader(data[:5000]), readerFunc(func([]byte) (int, error) { cancel(); return 0, nil }), bytes.NewReader(data[5000:]))
	if _, err := Unpack(ctx, stop, dir, UnpackOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := Unpack(t.Context(), bytes.NewReader(data), dir, UnpackOptions{MaxBytes: size}); err != nil {
		t.Errorf("exactly the limit: %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func FuzzTarsAreTotal(f *testing.F) {
	for _, size := range []int64{0, 5, 9 << 30} {
		header, err := tarHeader("B-1", signatureFile, size, base)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(header, make([]byte, 512)...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &archive{r: bytes.NewReader(data), size: int64(len(data))}
		if err := p.exact(); err == nil && len(p.members) < len(tarMembers(false)) {
			t.Errorf("accepted with %d members", len(p.members))
		}
	})
}
