package twin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// FetchPackages returns a folder with what Debian 13's arm64 packages of these
// names, and all that they depend on, install: a tree for an Initramfs. It is
// kept in cache; nothing is configured, no script of a package runs. Manuals
// and translations are left out.
func FetchPackages(ctx context.Context, cache string, names ...string) (string, error) {
	if len(names) == 0 {
		return "", errors.New("fetch packages: no names")
	}
	names = slices.Sorted(slices.Values(names))
	dir := filepath.Join(cache, "packages", strings.Join(names, "+"))
	_, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = downloadPackages(ctx, cache, dir, names)
	}
	if err != nil {
		return "", fmt.Errorf("fetch packages %s: %w", strings.Join(names, " "), err)
	}
	return dir, nil
}

// downloadPackages fills dir in one step, as downloadKernel does.
func downloadPackages(ctx context.Context, cache, dir string, names []string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	a, err := newApt(ctx, filepath.Join(work, "apt"), suite, arch)
	if err != nil {
		return err
	}
	debs, err := a.downloadAll(ctx, names)
	if err != nil {
		return err
	}
	made := filepath.Join(work, "tree")
	if err := mergedRoot(made); err != nil {
		return err
	}
	for _, deb := range debs {
		if err := a.unpack(ctx, deb, made); err != nil {
			return err
		}
	}
	for _, spare := range []string{"doc", "man", "info", "locale", "lintian", "bug"} {
		if err := os.RemoveAll(filepath.Join(made, "usr", "share", spare)); err != nil {
			return err
		}
	}
	err = os.Rename(made, dir)
	if errors.Is(err, fs.ErrExist) { // another run was faster
		err = nil
	}
	return err
}

// mergedRoot makes the links into /usr that Debian's base-files would bring.
func mergedRoot(root string) error {
	for _, dir := range []string{"bin", "sbin", "lib"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", dir), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	return nil
}

// downloadAll returns the package files of names and of what they depend on.
func (a apt) downloadAll(ctx context.Context, names []string) ([]string, error) {
	args := append([]string{"-q", "-y", "--download-only", "--no-install-recommends", "install"}, names...)
	if _, err := a.run(ctx, "apt-get", args...); err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(a.dir, "archives", "*.deb"))
	if err == nil && len(found) == 0 {
		err = errors.New("nothing came")
	}
	return found, err
}

// unpack lays the files of one package over root. It goes by tar, which keeps
// root's links of folders; dpkg-deb -x would put a folder in their place.
func (a apt) unpack(ctx context.Context, deb, root string) error {
	_, err := run(ctx, func(c *exec.Cmd) { c.Env = append(os.Environ(), "LC_ALL=C") },
		"sh", "-e", "-c", `dpkg-deb --fsys-tarfile "$1" >"$3" && tar -x --keep-directory-symlink --no-same-owner -C "$2" -f "$3"`,
		"unpack", deb, root, filepath.Join(a.dir, "unpack.tar"))
	return err
}
