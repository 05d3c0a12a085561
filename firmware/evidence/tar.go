package evidence

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"
)

// The tar of a bag is a function of the bag alone: these members in this order,
// and headers of nothing but name, size and the time of the seal. So it need
// not be stored, and no byte of it can be changed unnoticed.
//
// The signature comes first: who reads a stream knows at once what it should be.

const (
	tarBlock  = 512
	tarAlign  = tarBlock - 1
	tarEnding = 2 * tarBlock // of zeros
)

// tarMembers are the files of a bag in the order of its tar.
func tarMembers(stamped bool) []string {
	names := []string{signatureFile}
	if stamped {
		names = append(names, timestampFile)
	}
	return slices.Concat(names, []string{tagManifestFile}, tagFiles, payloadFiles)
}

// tarHeader is the header of one member: USTAR, with a PAX record before it for
// a size from 8 GiB on.
func tarHeader(id, name string, size int64, sealed time.Time) ([]byte, error) {
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: id + "/" + name, Size: size, Mode: 0o444, ModTime: sealed.Truncate(time.Second),
	})
	return b.Bytes(), err
}

// tarball reads the tar of a bag out of the bag's files. It is no copy: it holds
// them open, so that they can be read to the end even when they are deleted.
type tarball struct {
	parts  []tarPart
	size   int64
	layout string // hex SHA-256 of all headers
	files  []*os.File
}

type tarPart struct {
	from, to int64
	r        io.ReaderAt
}

func openTarball(b Bundle) (*tarball, error) {
	t := &tarball{}
	if err := t.open(b); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *tarball) open(b Bundle) error {
	_, err := os.Lstat(filepath.Join(b.Path, timestampFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	layout := sha256.New()
	for _, name := range tarMembers(err == nil) {
		f, err := os.Open(filepath.Join(b.Path, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		t.files = append(t.files, f)
		info, err := f.Stat()
		if err != nil {
			return err
		}
		header, err := tarHeader(b.ID, name, info.Size(), b.Sealed)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		layout.Write(header)
		t.add(bytes.NewReader(header), int64(len(header)))
		t.add(f, info.Size())
		t.zeros(-info.Size() & tarAlign)
	}
	t.zeros(tarEnding)
	t.layout = hex.EncodeToString(layout.Sum(nil))
	return nil
}

func (t *tarball) add(r io.ReaderAt, n int64) {
	if n > 0 {
		t.parts = append(t.parts, tarPart{t.size, t.size + n, r})
		t.size += n
	}
}

func (t *tarball) zeros(n int64) { t.add(bytes.NewReader(make([]byte, n)), n) }

// ReadAt is io.ReaderAt. A file that has become shorter is an error.
func (t *tarball) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	at := sort.Search(len(t.parts), func(i int) bool { return t.parts[i].to > off })
	for ; n < len(p) && at < len(t.parts); at++ {
		part := t.parts[at]
		want := min(int64(len(p)-n), part.to-off)
		got, err := part.r.ReadAt(p[n:n+int(want)], off-part.from)
		n, off = n+got, off+int64(got)
		if int64(got) < want {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// reader is the tar from its start; closing it closes the files.
func (t *tarball) reader() io.ReadSeekCloser {
	return struct {
		*io.SectionReader
		io.Closer
	}{io.NewSectionReader(t, 0, t.size), t}
}

func (t *tarball) Close() error {
	var errs []error
	for _, f := range t.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// tarReader goes through the tar of a bag and takes nothing but what tarHeader
// and tarMembers make.
type tarReader struct {
	r      io.Reader
	want   []string // members that may follow
	last   string   // whose content is being read
	pad    int64    // behind it
	id     string
	sealed time.Time // to the second
}

func newTarReader(r io.Reader) *tarReader { return &tarReader{r: r, want: tarMembers(true)} }

// next returns the next member, whose content the caller reads to its end from
// r; io.EOF after the last one. Every other error names the file to blame.
func (t *tarReader) next() (name string, size int64, err error) {
	if err := t.zeros(t.pad); err != nil {
		return "", 0, &FileError{t.last, err}
	}
	if len(t.want) == 0 {
		return "", 0, t.end()
	}
	raw, h, err := t.header()
	if err != nil {
		return "", 0, &FileError{t.want[0], err}
	}
	id, name, _ := strings.Cut(h.Name, "/")
	if t.last == "" {
		t.id, t.sealed = id, h.ModTime
	}
	if name != t.want[0] && t.want[0] == timestampFile {
		t.want = t.want[1:]
	}
	if name != t.want[0] {
		return "", 0, broken(t.want[0], "in the tar %q stands in its place", name)
	}
	if ours, err := tarHeader(t.id, name, h.Size, t.sealed); err != nil || !bytes.Equal(raw, ours) {
		return "", 0, broken(name, "its header in the tar is not the one that a gateway makes")
	}
	if err := validID(t.id); err != nil {
		return "", 0, &FileError{name, err}
	}
	t.last, t.pad, t.want = name, -h.Size&tarAlign, t.want[1:]
	return name, h.Size, nil
}

// header reads one header, and the record before it that a large file has.
func (t *tarReader) header() ([]byte, *tar.Header, error) {
	raw := make([]byte, tarBlock, 3*tarBlock)
	if _, err := io.ReadFull(t.r, raw); err != nil {
		return nil, nil, cut(err)
	}
	if raw[156] == tar.TypeXHeader {
		raw = raw[:3*tarBlock]
		if _, err := io.ReadFull(t.r, raw[tarBlock:]); err != nil {
			return nil, nil, cut(err)
		}
	}
	h, err := tar.NewReader(bytes.NewReader(raw)).Next()
	if err != nil {
		return nil, nil, errors.New("its header in the tar is broken")
	}
	return raw, h, nil
}

func (t *tarReader) zeros(n int64) error {
	data := make([]byte, n)
	if _, err := io.ReadFull(t.r, data); err != nil && n > 0 {
		return cut(err)
	}
	if len(bytes.Trim(data, "\x00")) > 0 {
		return errors.New("what follows it in the tar was changed")
	}
	return nil
}

func (t *tarReader) end() error {
	if err := t.zeros(tarEnding); err != nil {
		return &FileError{t.last, err}
	}
	switch _, err := io.ReadFull(t.r, make([]byte, 1)); err {
	case io.EOF:
		return io.EOF
	case nil:
		return broken(t.last, "something follows the end of the tar")
	default:
		return &FileError{t.last, err}
	}
}

// matches holds the tar against the seal inside it.
func (t *tarReader) matches(m seal) error {
	if m.ID != t.id || !m.Sealed.Truncate(time.Second).Equal(t.sealed) {
		return broken(signatureFile, "it is about bundle %s of %s, the tar is about %s of %s", m.ID, stamp(m.Sealed), t.id, stamp(t.sealed))
	}
	return nil
}

func cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("the tar ends here, it is not whole")
	}
	return err
}
