package evidence

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"sekisho/firmware/durable"
)

// Package is a sealed bundle as one file: a tar of the bag (ID.tar), or, when
// the vault has recipients, that tar encrypted with age (ID.tar.age).
type Package struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Size      int64     `json:"size"`
	SHA256    string    `json:"sha256"` // hex, of the file
	Encrypted bool      `json:"encrypted"`
	Sealed    time.Time `json:"sealed"`
}

// packageFolder, in the vault, holds a note about each package and the encrypted
// ones. Nothing there is evidence: what is missing or of another length is made
// again. One whose bytes were changed is noticed by whoever verifies it.
const (
	packageFolder = ".packages"
	noteSuffix    = ".json"
	plainSuffix   = ".tar"
	sealedSuffix  = ".tar.age"
	halfSuffix    = ".tmp"
)

// packageNote remembers a package, so that it is read through only once.
type packageNote struct {
	Package
	Layout     string `json:"layout"`     // of the tar: other members or headers are another file
	Recipients string `json:"recipients"` // other recipients are another file
}

// Package says what the package of a bundle is, and makes it when that was not
// done yet. The error wraps fs.ErrNotExist when there is no such bundle, and
// ErrMissing when the whole folder is away.
func (v *Vault) Package(id string) (Package, error) {
	r, p, err := v.OpenPackage(id)
	if err != nil {
		return Package{}, err
	}
	return p, r.Close()
}

// OpenPackage returns the package of a bundle for reading: the same bytes every
// time, also after a restart. It may take as long as reading the whole bundle
// when the package was not made yet. An encrypted package that was lost is made
// anew, and then has another SHA256.
func (v *Vault) OpenPackage(id string) (io.ReadSeekCloser, Package, error) {
	return v.openPackage(context.Background(), id)
}

// openPackage ends with ctx when the package has to be made.
func (v *Vault) openPackage(ctx context.Context, id string) (io.ReadSeekCloser, Package, error) {
	b, err := v.Get(id)
	if err != nil {
		return nil, Package{}, fmt.Errorf("package: %w", err)
	}
	t, err := openTarball(b)
	if err != nil {
		return nil, Package{}, fmt.Errorf("package %s: %w", id, err)
	}
	p, err := v.packed(ctx, b, t)
	if err != nil {
		return nil, Package{}, errors.Join(fmt.Errorf("package %s: %w", id, err), t.Close())
	}
	if !p.Encrypted {
		return t.reader(), p, nil
	}
	f, err := os.Open(v.packagePath(p.Name))
	if err := errors.Join(err, t.Close()); err != nil {
		return nil, Package{}, fmt.Errorf("package %s: %w", id, err)
	}
	return f, p, nil
}

func (v *Vault) packagePath(name string) string { return filepath.Join(v.dir, packageFolder, name) }

// packed finds the package, or makes it; one at a time.
func (v *Vault) packed(ctx context.Context, b Bundle, t *tarball) (Package, error) {
	if p, ok := v.noted(b.ID, t); ok {
		return p, nil
	}
	v.packing.Lock()
	defer v.packing.Unlock()
	if p, ok := v.noted(b.ID, t); ok { // made while waiting
		return p, nil
	}
	if _, err := os.Lstat(b.Path); err != nil { // deleted while waiting: t has it still
		return Package{}, err
	}
	if err := os.Mkdir(v.packagePath(""), 0o755); err == nil {
		if err := durable.SyncDir(v.dir); err != nil {
			return Package{}, named(err)
		}
	}
	return v.pack(ctx, b, t)
}

// noted returns what an earlier call made, when it is still that.
func (v *Vault) noted(id string, t *tarball) (Package, bool) {
	data, err := os.ReadFile(v.packagePath(id + noteSuffix))
	if err != nil {
		return Package{}, false
	}
	var n packageNote
	line, sum, _ := bytes.Cut(data, []byte("\n"))
	if hexSum(line)+"\n" != string(sum) || json.Unmarshal(line, &n) != nil {
		v.c.Logger.Warn("note about a package is damaged, it is made again", "bundle", id)
		return Package{}, false
	}
	if n.ID != id || n.Layout != t.layout || n.Recipients != v.recipients() || n.Encrypted != (len(v.c.Recipients) > 0) {
		return Package{}, false
	}
	if n.Encrypted {
		info, err := os.Lstat(v.packagePath(n.Name))
		if err != nil || !info.Mode().IsRegular() || info.Size() != n.Size {
			return Package{}, false
		}
	}
	return n.Package, true
}

// pack reads the bundle through once. It wants packing held.
func (v *Vault) pack(ctx context.Context, b Bundle, t *tarball) (Package, error) {
	n := packageNote{Layout: t.layout, Recipients: v.recipients(),
		Package: Package{ID: b.ID, Sealed: b.Sealed, Encrypted: len(v.c.Recipients) > 0}}
	sum := &countedHash{w: io.Discard, h: sha256.New()}
	whole := contextReader{ctx, t.reader()}
	if n.Encrypted {
		n.Name = b.ID + sealedSuffix
		if err := v.encrypt(n.Name, whole, sum); err != nil {
			return Package{}, err
		}
	} else {
		n.Name = b.ID + plainSuffix
		_ = os.Remove(v.packagePath(b.ID + sealedSuffix)) // for recipients of before
		if _, err := io.Copy(sum, whole); err != nil {
			return Package{}, err
		}
	}
	n.Size, n.SHA256 = sum.n, hex.EncodeToString(sum.h.Sum(nil))
	line, err := json.Marshal(n)
	if err != nil {
		return Package{}, err
	}
	note := fmt.Appendf(nil, "%s\n%s\n", line, hexSum(line))
	if err := durable.WriteFile(v.packagePath(b.ID+noteSuffix), note, 0o644); err != nil {
		if n.Encrypted {
			return Package{}, named(err) // without its note it would be made, and be another, each time
		}
		v.c.Logger.Warn("package is read through again next time", "bundle", b.ID, "error", named(err))
	}
	return n.Package, nil
}

// encrypt writes the tar for the recipients; sum sees what is written.
func (v *Vault) encrypt(name string, whole io.Reader, sum *countedHash) error {
	half := v.packagePath(name + halfSuffix)
	f, err := os.OpenFile(half, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return named(err)
	}
	buf := bufio.NewWriterSize(f, 256<<10)
	sum.w = buf
	w, err := age.Encrypt(sum, v.c.Recipients...)
	if err == nil {
		_, err = io.Copy(w, whole)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = buf.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = v.step("encrypted")
	}
	if err == nil {
		err = os.Rename(half, v.packagePath(name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("encrypt: %w", err), os.Remove(half))
	}
	return durable.SyncDir(v.packagePath(""))
}

// recipients names them, so that a package for others is noticed. A kind that
// cannot name itself stands for all of its kind.
func (v *Vault) recipients() string {
	var names []string
	for _, r := range v.c.Recipients {
		name := fmt.Sprintf("%T", r)
		if s, ok := r.(fmt.Stringer); ok {
			name = s.String()
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// removePackage removes what was made of a bundle. Removing none is no error.
func (v *Vault) removePackage(id string) error {
	v.packing.Lock()
	defer v.packing.Unlock()
	var errs []error
	for _, path := range v.packageFiles(id) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// packageFiles are the files that a package of the bundle may have. No name is
// guessed from its beginning: "A" is a bundle, and "A.tar" may be another.
func (v *Vault) packageFiles(id string) (out []string) {
	for _, suffix := range []string{noteSuffix, sealedSuffix, noteSuffix + halfSuffix, sealedSuffix + halfSuffix} {
		out = append(out, v.packagePath(id+suffix))
	}
	return out
}

// tidyPackages removes what a crash left half-made, and what belongs to no
// bundle any more.
func (v *Vault) tidyPackages() error {
	entries, err := os.ReadDir(v.packagePath(""))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		id := strings.TrimSuffix(strings.TrimSuffix(e.Name(), noteSuffix), sealedSuffix)
		_, err := os.Lstat(filepath.Join(v.dir, id))
		if err == nil {
			continue
		}
		v.c.Logger.Info("unfinished or left package is removed", "file", e.Name())
		if err := os.RemoveAll(v.packagePath(e.Name())); err != nil {
			return err
		}
	}
	return nil
}
