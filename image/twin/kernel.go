// Package twin runs programs of the appliance on an emulated one: Debian 13's
// unmodified arm64 kernel in QEMU, started from an initramfs that holds one
// static program and the kernel's own modules.
//
// Tests of the whole machine call it, by `make test-vm`; nothing of the
// appliance does. It must never need root, and never write outside the cache
// folder and the paths that it is given.
//
//	k, _ := twin.FetchKernel(ctx, cache)              once, from Debian
//	twin.BuildGuest(ctx, "sekisho/…/init", "init")    cross-compiled
//	twin.WriteInitramfs("initramfs", k, "init", "ext4", …)
//	m, _ := twin.Start(ctx, twin.Config{…})           QEMU
//	m.Await(ctx, "READY")                             its serial console
package twin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The twin is a Debian 13 on the architecture of the appliance.
const (
	suite = "trixie"
	arch  = "arm64"
)

// kernelPackage depends on the newest kernel of its suite.
const kernelPackage = "linux-image-arm64"

// Kernel is an unpacked kernel package.
type Kernel struct {
	Version string // "6.12.117+deb13-arm64"
	Image   string // path of vmlinuz
	Modules string // path of the folder with modules.dep
}

// CacheFolder is where the kernel is kept between runs: sekisho/twin in the
// user's cache (XDG_CACHE_HOME, or ~/.cache).
func CacheFolder() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	return filepath.Join(dir, "sekisho", "twin"), nil
}

// FetchKernel returns the kernel that cache holds. An empty cache is filled
// with Debian 13's: apt fetches and checks it, as an ordinary user, into a
// state of its own, so that nothing of this machine's apt changes. Remove the
// folder to get a newer kernel.
func FetchKernel(ctx context.Context, cache string) (Kernel, error) {
	k, err := cachedKernel(cache)
	if errors.Is(err, fs.ErrNotExist) {
		if err = downloadKernel(ctx, cache); err == nil {
			k, err = cachedKernel(cache)
		}
	}
	if err != nil {
		return Kernel{}, fmt.Errorf("fetch kernel: %w", err)
	}
	return k, nil
}

func cachedKernel(cache string) (Kernel, error) {
	// depmod insists on the path lib/modules/VERSION.
	found, err := filepath.Glob(filepath.Join(cache, "kernel", "lib", "modules", "*"))
	if err != nil {
		return Kernel{}, err
	}
	if len(found) == 0 {
		return Kernel{}, fs.ErrNotExist
	}
	return Kernel{Version: filepath.Base(found[0]), Image: filepath.Join(cache, "kernel", "vmlinuz"), Modules: found[0]}, nil
}

// downloadKernel fills cache/kernel in one step, so that half a download is
// never taken for a kernel.
func downloadKernel(ctx context.Context, cache string) error {
	if err := os.MkdirAll(cache, 0o755); err != nil {
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
	name, err := a.dependency(ctx, kernelPackage)
	if err != nil {
		return err
	}
	deb, err := a.download(ctx, name)
	if err != nil {
		return err
	}
	unpacked := filepath.Join(work, "unpacked")
	if _, err := run(ctx, nil, "dpkg-deb", "-x", deb, unpacked); err != nil {
		return err
	}
	made := filepath.Join(work, "kernel")
	if err := arrange(ctx, unpacked, made, strings.TrimPrefix(name, "linux-image-")); err != nil {
		return err
	}
	err = os.Rename(made, filepath.Join(cache, "kernel"))
	if errors.Is(err, fs.ErrExist) { // another run was faster
		err = nil
	}
	return err
}

// arrange takes what is needed out of the unpacked package and lists the
// modules' dependencies, as the package does when it is installed.
func arrange(ctx context.Context, unpacked, made, version string) error {
	if err := os.MkdirAll(filepath.Join(made, "lib", "modules"), 0o755); err != nil {
		return err
	}
	for from, to := range map[string]string{
		filepath.Join("boot", "vmlinuz-"+version):       "vmlinuz",
		filepath.Join("usr", "lib", "modules", version): filepath.Join("lib", "modules", version),
	} {
		if err := os.Rename(filepath.Join(unpacked, from), filepath.Join(made, to)); err != nil {
			return err
		}
	}
	_, err := run(ctx, nil, "/usr/sbin/depmod", "-b", made, version)
	return err
}
