package evidence

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"filippo.io/age"
)

// source is a bundle to verify: a folder or a package.
type source interface {
	exact() error // that exactly the files of a bundle are there
	open(name string) (io.ReadCloser, error)
	stamped() bool        // whether a time-stamp is there; after exact
	matches(m seal) error // whether what is around the files agrees with the seal
	io.Closer
}

// openSource finds out what path is.
func openSource(path string, identities []age.Identity) (source, error) {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return &folder{dir: path}, nil
	case !info.Mode().IsRegular():
		return nil, errors.New("neither a folder nor a file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	plain, size, err := decryptedAt(f, info.Size(), identities)
	if err != nil {
		return nil, errors.Join(&FileError{filepath.Base(path), err}, f.Close())
	}
	return &archive{r: plain, size: size, Closer: f}, nil
}

// decryptedAt is r itself unless it is an age file.
func decryptedAt(r io.ReaderAt, size int64, identities []age.Identity) (io.ReaderAt, int64, error) {
	head := make([]byte, len(ageMagic))
	if _, err := r.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, 0, err
	}
	if string(head) != ageMagic {
		return r, size, nil
	}
	if len(identities) == 0 {
		return nil, 0, ErrEncrypted
	}
	return age.DecryptReaderAt(r, size, identities...)
}

// folder is a bag as it is on disk.
type folder struct {
	dir  string
	seen map[string]bool
}

func (d *folder) open(name string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(d.dir, filepath.FromSlash(name)))
}

func (d *folder) stamped() bool      { return d.seen[timestampFile] }
func (d *folder) matches(seal) error { return nil }
func (d *folder) Close() error       { return nil }

// exact allows no other files, no links, and only the time-stamp to be missing.
func (d *folder) exact() error {
	want := tarMembers(true)
	d.seen = map[string]bool{}
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(d.dir, path)
		name := filepath.ToSlash(rel)
		switch {
		case err != nil:
			return &FileError{name, err}
		case e.IsDir():
			if name != "." && name != "data" && name != "ledger" {
				return broken(name, "this folder does not belong to the bundle")
			}
			return nil
		case !e.Type().IsRegular():
			return broken(name, "not a regular file")
		case !slices.Contains(want, name):
			return broken(name, "this file does not belong to the bundle")
		}
		d.seen[name] = true
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range want {
		if !d.seen[name] && name != timestampFile {
			return broken(name, "missing")
		}
	}
	return nil
}

// archive is a bag inside its tar, read in place: nothing of an encrypted one
// reaches a disk.
type archive struct {
	r       io.ReaderAt
	size    int64
	tar     *tarReader
	members map[string]*io.SectionReader
	io.Closer
}

func (a *archive) exact() error {
	whole := io.NewSectionReader(a.r, 0, a.size)
	a.tar, a.members = newTarReader(whole), map[string]*io.SectionReader{}
	for {
		name, size, err := a.tar.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		at, err := whole.Seek(0, io.SeekCurrent)
		if err == nil {
			_, err = whole.Seek(size, io.SeekCurrent)
		}
		if err != nil {
			return &FileError{name, err}
		}
		a.members[name] = io.NewSectionReader(a.r, at, size)
	}
}

// open reads in large pieces: an encrypted chunk is 64 KiB.
func (a *archive) open(name string) (io.ReadCloser, error) {
	m := a.members[name]
	if m == nil {
		return nil, fs.ErrNotExist
	}
	if _, err := m.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return io.NopCloser(bufio.NewReaderSize(m, int(min(m.Size(), 256<<10)))), nil
}

func (a *archive) stamped() bool        { return a.members[timestampFile] != nil }
func (a *archive) matches(m seal) error { return a.tar.matches(m) }
