package guest

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Path is where Debian's programs are.
const Path = "/usr/sbin:/usr/bin:/sbin:/bin"

// Settle makes, after Up, what programs of Debian expect of a machine: folders
// for temporary files, terminals, debugfs, an environment, the loopback link.
// Everything lives in memory.
func Settle() error {
	for dir, mode := range map[string]os.FileMode{"/tmp": 0o777 | os.ModeSticky, "/run": 0o755, "/var/tmp": 0o777 | os.ModeSticky,
		"/root": 0o700, "/etc": 0o755, "/dev/pts": 0o755, "/dev/shm": 0o777 | os.ModeSticky} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return err
		}
		if err := os.Chmod(dir, mode); err != nil {
			return err
		}
	}
	for _, m := range []struct{ path, kind string }{{"/dev/pts", "devpts"}, {"/dev/shm", "tmpfs"}, {"/sys/kernel/debug", "debugfs"}, {"/sys/fs/cgroup", "cgroup2"}} {
		if err := unix.Mount(m.kind, m.path, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	for name, value := range map[string]string{"PATH": Path, "HOME": "/root", "TMPDIR": "/tmp", "LC_ALL": "C.UTF-8"} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return linkUp("lo")
}

// linkUp is all of netlink that a guest needs at its beginning, see netdevice(7).
func linkUp(name string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("raise %s: %w", name, err)
	}
	return nil
}
