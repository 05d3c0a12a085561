package offsite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
)

const (
	maxName = 128
	partial = ".part" // behind the name of what is not whole yet
)

// checkName accepts what is one plain file name on vfat, exFAT, ext4, S3 and
// SFTP, and on the Windows machine where the stick is read. The rules are those
// of "Naming Files, Paths, and Namespaces" (Microsoft), cut down to ASCII.
func checkName(name string) error {
	bad := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}
	stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
	devices := []string{"CON", "PRN", "AUX", "NUL"}
	numbered := len(stem) == 4 && (stem[:3] == "COM" || stem[:3] == "LPT") && stem[3] >= '0' && stem[3] <= '9'
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, bad) || name[0] == '.' || name[0] == '-' ||
		name[len(name)-1] == '.' || slices.Contains(devices, stem) || numbered {
		return fmt.Errorf("%w: %q", ErrName, name)
	}
	return nil
}

// bytesObject is a small file made here.
func bytesObject(name string, data []byte) Object {
	return Object{Name: name, Size: int64(len(data)), SHA256: sha256.Sum256(data),
		Open: func() (io.ReadSeekCloser, error) { return nopCloser{bytes.NewReader(data)}, nil }}
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

// hex returns the object's hash as it is written.
func (o Object) hex() string { return hex.EncodeToString(o.SHA256[:]) }

// reader returns the object's bytes from offset on. It lets the last of them go
// only when the whole, with what lies before offset, has the object's hash: no
// target completes a file whose source was damaged on the way. The caller
// closes it. It stops when ctx ends.
func (o Object) reader(ctx context.Context, offset int64) (*source, error) {
	body, err := o.Open()
	if err != nil {
		return nil, err
	}
	s := &source{ctx: ctx, o: o, body: body, hash: sha256.New()}
	if _, err := io.CopyN(io.Discard, s, offset); err != nil {
		_ = body.Close()
		return nil, err
	}
	return s, nil
}

// source has no method but Read and Close, so that nobody seeks past the hash.
type source struct {
	ctx  context.Context
	o    Object
	body io.ReadSeekCloser
	hash hash.Hash
	done int64
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	left := s.o.Size - s.done
	if left == 0 {
		return 0, io.EOF
	}
	n, err := s.body.Read(p[:min(int64(len(p)), left)])
	_, _ = s.hash.Write(p[:n])
	s.done += int64(n)
	if s.done == s.o.Size {
		if [32]byte(s.hash.Sum(nil)) != s.o.SHA256 {
			return 0, fmt.Errorf("%s: %w: the hash differs", s.o.Name, ErrSource)
		}
		err = nil
	}
	if err == io.EOF {
		return 0, fmt.Errorf("%s: %w: %d of %d bytes", s.o.Name, ErrSource, s.done, s.o.Size)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %w", s.o.Name, ErrSource, err)
	}
	if s.o.Progress != nil {
		s.o.Progress(s.done)
	}
	return n, nil
}

func (s *source) Close() error { return s.body.Close() }

// same reads r to its end and says whether it is the object.
func (o Object) same(ctx context.Context, r io.Reader) (bool, error) {
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(contextReader{ctx, r}, o.Size+1))
	if err != nil {
		return false, err
	}
	return n == o.Size && [32]byte(h.Sum(nil)) == o.SHA256, nil
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
