// Package guest is the beginning of a program that is the first and only one
// of a twin: /init of the initramfs.
//
// Each such program calls it; nothing else does. It must never run on a
// machine that is not a twin.
package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"sekisho/image/twin"
)

// Up mounts what a program expects and loads the modules that came along, in
// their order. When it returns, the devices of these modules are there.
func Up() error {
	for _, m := range []struct{ path, kind string }{{"/proc", "proc"}, {"/sys", "sysfs"}, {"/dev", "devtmpfs"}} {
		if err := unix.Mount(m.kind, m.path, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	list, err := os.ReadFile("/" + twin.ModuleList)
	if err != nil {
		return fmt.Errorf("load modules: %w", err)
	}
	for _, name := range strings.Fields(string(list)) {
		if err := load(filepath.Join("/modules", name)); err != nil {
			return fmt.Errorf("load module %s: %w", name, err)
		}
	}
	return nil
}

// load lets the kernel decompress the file: Debian's modules are packed.
func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(path, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	return unix.FinitModule(int(f.Fd()), "", flags)
}

// PowerOff ends the machine at once; nothing is synced.
func PowerOff() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }
