package twin

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ModuleList names the file of an initramfs that lists the modules beside it,
// in the order in which they are loaded.
const ModuleList = "modules/list"

// Initramfs says what a guest starts from.
type Initramfs struct {
	Init    string            // path of the program that becomes /init
	Modules []string          // names; what they need comes along
	Files   map[string]string // path in the guest -> path here; both may be folders
	Trees   []string          // folders whose content is laid over the guest's root, such as FetchPackages returns
}

// WriteInitramfs writes an initramfs of a program and modules alone.
func WriteInitramfs(out string, k Kernel, init string, modules ...string) error {
	return Initramfs{Init: init, Modules: modules}.Write(out, k)
}

// Write writes it to the file out: the program, empty folders to mount on, the
// modules and the files. Of two files with one path, the one named in Files
// wins, then the one of the earlier tree.
func (i Initramfs) Write(out string, k Kernel) error {
	f, err := os.Create(out)
	if err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	w := bufio.NewWriter(f)
	err = errors.Join(i.write(w, k), w.Flush(), f.Close())
	if err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	return nil
}

func (i Initramfs) write(w io.Writer, k Kernel) error {
	program, err := os.ReadFile(i.Init)
	if err != nil {
		return err
	}
	needed, err := k.Needed(i.Modules...)
	if err != nil {
		return err
	}
	a := &archive{cpio: cpioWriter{w: w}, has: map[string]bool{".": true}}
	for _, dir := range []string{"dev", "proc", "sys", "disk", "modules"} {
		a.add(dir, modeFolder, nil)
	}
	a.add("init", modeRun, program)
	var list strings.Builder
	for _, file := range needed {
		data, err := os.ReadFile(filepath.Join(k.Modules, file))
		if err != nil {
			return err
		}
		a.add(path.Join("modules", path.Base(file)), modeFile, data)
		fmt.Fprintln(&list, path.Base(file))
	}
	a.add(ModuleList, modeFile, []byte(list.String()))
	for _, name := range slices.Sorted(maps.Keys(i.Files)) {
		if err := a.copy(i.Files[name], strings.Trim(path.Clean("/"+name), "/")); err != nil {
			return err
		}
	}
	for _, tree := range i.Trees {
		if err := a.copy(tree, "."); err != nil {
			return err
		}
	}
	return a.cpio.close()
}

// archive adds the folders above a file, and leaves out what it has already.
type archive struct {
	cpio cpioWriter
	has  map[string]bool
}

func (a *archive) add(name string, mode uint32, data []byte) {
	if a.has[name] {
		return
	}
	if dir := path.Dir(name); !a.has[dir] {
		a.add(dir, modeFolder, nil)
	}
	a.has[name] = true
	a.cpio.add(name, mode, data)
}

// copy adds the file, link or folder at from under the name at. Links are kept
// as they are: they mean paths of the guest. Devices and sockets are left out.
func (a *archive) copy(from, at string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		name := path.Join(at, filepath.ToSlash(rel))
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch mode := info.Mode(); {
		case mode.IsDir():
			a.add(name, modeFolder, nil)
		case mode&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			a.add(name, modeLink, []byte(to))
		case mode.IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			a.add(name, modeFile|uint32(mode.Perm()&0o111), data)
		}
		return nil
	})
}
