package twin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// ModuleList names the file of an initramfs that lists the modules beside it,
// in the order in which they are loaded.
const ModuleList = "modules/list"

// BuildGuest compiles a main package of this module as one static program for
// arm64, with cgo: SQLite comes along.
func BuildGuest(ctx context.Context, pkg, out string) error {
	_, err := run(ctx, func(c *exec.Cmd) {
		c.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=1", "CC=aarch64-linux-gnu-gcc")
	}, "go", "build", "-o", out, "-tags", "netgo,osusergo,sqlite_omit_load_extension",
		"-ldflags", "-s -w -linkmode external -extldflags -static", pkg)
	if err != nil {
		return fmt.Errorf("build guest %s: %w", pkg, err)
	}
	return nil
}

// WriteInitramfs writes what a guest starts from: the program at init as /init,
// empty folders to mount on, and the modules of these names with what they
// need.
func WriteInitramfs(out string, k Kernel, init string, modules ...string) error {
	f, err := os.Create(out)
	if err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	w := bufio.NewWriter(f)
	err = errors.Join(writeInitramfs(w, k, init, modules), w.Flush(), f.Close())
	if err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	return nil
}

func writeInitramfs(w io.Writer, k Kernel, init string, modules []string) error {
	program, err := os.ReadFile(init)
	if err != nil {
		return err
	}
	needed, err := k.Needed(modules...)
	if err != nil {
		return err
	}
	c := &cpioWriter{w: w}
	for _, dir := range []string{"dev", "proc", "sys", "disk", "modules"} {
		c.add(dir, modeFolder, nil)
	}
	c.add("init", modeRun, program)
	var list strings.Builder
	for _, file := range needed {
		data, err := os.ReadFile(filepath.Join(k.Modules, file))
		if err != nil {
			return err
		}
		c.add(path.Join("modules", path.Base(file)), modeFile, data)
		fmt.Fprintln(&list, path.Base(file))
	}
	c.add(ModuleList, modeFile, []byte(list.String()))
	return c.close()
}
