package evidence

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"sekisho/firmware/durable"
)

// What a package can be besides damaged.
var (
	ErrEncrypted = errors.New("the package is encrypted, an age identity is needed")
	ErrTooLarge  = errors.New("the package is larger than allowed")
)

const ageMagic = "age-encryption.org/v1\n"

// UnpackOptions says how Unpack reads a package. The zero value takes a plain
// tar of up to 64 GiB.
type UnpackOptions struct {
	Identities []age.Identity // for a .tar.age; without one it is ErrEncrypted
	MaxBytes   int64          // of all files together; more is ErrTooLarge
}

// Unpack writes the bag of a package that r delivers into dir/ID, a folder that
// only its owner can read, and returns its path. It takes nothing but what a
// gateway packs: no other names, no links, no devices. An existing folder stays
// as it is (the error wraps fs.ErrExist), and after an error nothing is left.
// It does not verify what the files hold: Verify does.
func Unpack(ctx context.Context, r io.Reader, dir string, o UnpackOptions) (bagDir string, err error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 30
	}
	plain, err := decrypted(contextReader{ctx, r}, o.Identities)
	if err != nil {
		return "", fmt.Errorf("unpack: %w", err)
	}
	work, err := os.MkdirTemp(dir, ".unpacking-")
	if err != nil {
		return "", fmt.Errorf("unpack: %w", err)
	}
	u := unpacker{dir: dir, work: work, left: o.MaxBytes}
	final, err := u.run(newTarReader(plain))
	if err == nil {
		err = os.Rename(work, final)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("unpack: %w", err), os.RemoveAll(work))
	}
	if err := durable.SyncDir(dir); err != nil {
		return "", fmt.Errorf("unpack: %w", err)
	}
	return final, nil
}

// decrypted is r itself unless it is an age file.
func decrypted(r io.Reader, identities []age.Identity) (io.Reader, error) {
	buf := bufio.NewReaderSize(r, 256<<10)
	if head, _ := buf.Peek(len(ageMagic)); string(head) != ageMagic {
		return buf, nil
	}
	if len(identities) == 0 {
		return nil, ErrEncrypted
	}
	return age.Decrypt(buf, identities...)
}

type unpacker struct {
	dir, work string
	left      int64 // bytes that may still come
}

func (u *unpacker) run(t *tarReader) (final string, err error) {
	for {
		name, size, err := t.next()
		if err == io.EOF {
			return final, durable.SyncDir(u.work)
		}
		if err != nil {
			return "", err
		}
		if name == signatureFile {
			if final, err = u.final(t.id); err != nil {
				return "", err
			}
		}
		if size > u.left {
			return "", fmt.Errorf("%s: %d bytes: %w", name, size, ErrTooLarge)
		}
		u.left -= size
		if err := u.write(name, size, t.r); err != nil {
			return "", &FileError{name, err}
		}
		if name == signatureFile {
			if err := u.sealed(t); err != nil {
				return "", err
			}
		}
	}
}

// final is the folder's path; an id that Windows takes for a device or for
// another name is refused everywhere, so that evidence opens everywhere.
func (u *unpacker) final(id string) (string, error) {
	device := strings.ToUpper(strings.TrimRight(id, "."))
	device, _, _ = strings.Cut(device, ".")
	switch port := strings.TrimRight(device, "123456789"); {
	case strings.HasSuffix(id, "."), device == "CON", device == "PRN", device == "AUX", device == "NUL",
		port != device && (port == "COM" || port == "LPT"):
		return "", fmt.Errorf("id %q cannot be the name of a folder on every system", id)
	}
	path := filepath.Join(u.dir, id)
	_, err := os.Lstat(path)
	if err == nil {
		return "", fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return path, nil
}

func (u *unpacker) write(name string, size int64, r io.Reader) error {
	path := filepath.Join(u.work, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, r, size)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(cut(err), f.Close())
}

// sealed compares the seal, which comes first, with what the tar says it is.
func (u *unpacker) sealed(t *tarReader) error {
	data, err := os.ReadFile(filepath.Join(u.work, signatureFile))
	if err != nil {
		return err
	}
	m, err := openSeal(data, nil)
	if err != nil {
		return broken(signatureFile, "the signature does not hold: %w", err)
	}
	return t.matches(m)
}

// contextReader ends when its context does, between two reads.
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
