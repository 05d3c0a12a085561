package offsite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	usbFolder = "SEKISHO-EVIDENCE"
	spare     = 1 << 20   // bytes that stay free: folder entries, the small files
	fatLimit  = 1<<32 - 1 // bytes of the largest file on FAT32
)

// USBConfig says where sticks appear. Mounting them is the system's work.
type USBConfig struct {
	Folder string   // each medium is mounted as a folder directly in it: /media/sekisho
	Own    []string // folders on disks of this box (STATE, EVIDENCE): never taken for a stick
}

// USB copies to whatever medium is mounted in a folder: any stick that somebody
// plugs in, the last one when there are several. Each is a place of its own, so
// that everything is copied to each. It trusts nothing that is on a stick: no
// link leads out of it, no special file is opened.
type USB struct{ c USBConfig }

var (
	_ Target  = (*USB)(nil)
	_ watcher = (*USB)(nil)
)

// NewUSB checks the settings; the folder need not be there yet.
func NewUSB(c USBConfig) (*USB, error) {
	if !filepath.IsAbs(c.Folder) || filepath.Clean(c.Folder) == "/" || len(c.Own) == 0 {
		return nil, fmt.Errorf("usb target: folder %q and the own folders are needed, absolute", c.Folder)
	}
	c.Folder = filepath.Clean(c.Folder)
	return &USB{c: c}, nil
}

// Watch implements watcher.
func (u *USB) Watch(ctx context.Context, changed func()) error {
	return watchMounts(ctx, u.c.Folder, changed)
}

// Place names the medium by the mark on it, which is made on a new one.
func (u *USB) Place(context.Context) (string, error) {
	dir, err := u.open()
	if err != nil {
		return "", err
	}
	defer dir.Close()
	id, err := readMark(dir)
	if errors.Is(err, fs.ErrNotExist) {
		id, err = writeMark(dir)
	}
	if err != nil {
		return "", fmt.Errorf("medium: %w", asMedium(err))
	}
	return "usb " + id, nil
}

// open returns the evidence folder of the medium that was plugged in last.
func (u *USB) open() (*os.Root, error) {
	media, err := mountsUnder(u.c.Folder)
	if err != nil {
		return nil, err
	}
	for _, m := range slices.Backward(media) {
		root, err := os.OpenRoot(m.point)
		if err != nil {
			return nil, asMedium(err)
		}
		defer root.Close()
		if u.own(root) {
			continue
		}
		if m.readOnly {
			return nil, fmt.Errorf("%s: %w", m.point, ErrReadOnly)
		}
		dir, err := evidenceFolder(root)
		if err != nil {
			return nil, asMedium(err)
		}
		return dir, nil
	}
	return nil, ErrAway
}

func evidenceFolder(root *os.Root) (*os.Root, error) {
	switch err := root.Mkdir(usbFolder, 0o755); {
	case err == nil:
		if err := syncDir(root); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrExist):
		return nil, err
	}
	return root.OpenRoot(usbFolder)
}

// own says that root lies on a disk of this box: a bind mount of one, say.
func (u *USB) own(root *os.Root) bool {
	info, err := root.Stat(".")
	if err != nil {
		return true
	}
	for _, path := range u.c.Own {
		var st syscall.Stat_t
		if syscall.Stat(path, &st) != nil || st.Dev == info.Sys().(*syscall.Stat_t).Dev {
			return true // not known is not safe
		}
	}
	return false
}

// Put implements Target: temporary file, sync, read back past the page cache,
// rename, folder synced.
func (u *USB) Put(ctx context.Context, o Object) (Copy, error) {
	if err := checkName(o.Name); err != nil {
		return Copy{}, err
	}
	dir, err := u.open()
	if errors.Is(err, ErrAway) {
		return Copy{}, ErrRemoved
	}
	if err != nil {
		return Copy{}, err
	}
	defer dir.Close()
	switch there, err := holds(ctx, dir, o.Name, o); {
	case err == nil && !there:
		return Copy{}, fmt.Errorf("%s: %w", o.Name, ErrConflict)
	case errors.Is(err, fs.ErrNotExist):
		if err := write(ctx, dir, o); err != nil {
			return Copy{}, asMedium(err)
		}
	case err != nil:
		return Copy{}, asMedium(err)
	}
	if err := syncDir(dir); err != nil {
		return Copy{}, asMedium(err)
	}
	return Copy{Name: filepath.Join(usbFolder, o.Name), Size: o.Size, SHA256: o.hex()}, nil
}

func write(ctx context.Context, dir *os.Root, o Object) error {
	tmp := o.Name + partial
	if err := dir.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // what an earlier cut has left takes the room that is needed
	}
	if err := room(dir, o.Size); err != nil {
		return err
	}
	err := fill(ctx, dir, tmp, o)
	if err == nil {
		var same bool
		if same, err = holds(ctx, dir, tmp, o); err == nil && !same {
			err = fmt.Errorf("%s: %w", o.Name, ErrDamaged)
		}
	}
	if err == nil {
		err = dir.Rename(tmp, o.Name)
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(dir.Remove(tmp)))
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// room asks before it begins, and knows that FAT has a largest file.
func room(dir *os.Root, size int64) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return err
	}
	return fits(size, int64(st.Type), int64(st.Bavail)*int64(st.Bsize))
}

func fits(size, kind, free int64) error {
	if kind == unix.MSDOS_SUPER_MAGIC && size > fatLimit {
		return fmt.Errorf("%d bytes: %w", size, ErrTooLarge)
	}
	if free < size+spare {
		return fmt.Errorf("%d bytes free, %d needed: %w", free, size+spare, ErrFull)
	}
	return nil
}

func fill(ctx context.Context, dir *os.Root, name string, o Object) error {
	from, err := o.reader(ctx, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(struct{ io.Writer }{f}, from)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		// Dropped from memory, so that what is read back comes from the medium.
		err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
	return errors.Join(err, f.Close())
}

// holds says whether the file of that name has o's bytes. It reads past the page
// cache where the file system lets it. A link or a special file is no file.
func holds(ctx context.Context, dir *os.Root, name string, o Object) (bool, error) {
	const flags = os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOFOLLOW
	info, err := dir.Lstat(name)
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() || info.Size() != o.Size {
		return false, nil
	}
	f, err := dir.OpenFile(name, flags|syscall.O_DIRECT, 0)
	if errors.Is(err, syscall.EINVAL) {
		f, err = dir.OpenFile(name, flags, 0)
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	// O_DIRECT wants memory that is aligned: a mapping is.
	buf, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Munmap(buf) }()
	return o.same(ctx, &aligned{f: f, buf: buf})
}

// aligned reads in whole buffers, as O_DIRECT asks; the last may be short.
type aligned struct {
	f    *os.File
	buf  []byte
	rest []byte
	end  bool
}

func (a *aligned) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		if a.end {
			return 0, io.EOF
		}
		n, err := a.f.Read(a.buf)
		if err != nil {
			return 0, err
		}
		a.rest, a.end = a.buf[:n], n%unix.Getpagesize() != 0
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// syncDir makes names last, and everything else on the medium with them. Some
// file systems cannot sync a folder; syncfs does it for them.
func syncDir(dir *os.Root) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return unix.Syncfs(int(f.Fd()))
}

// asMedium names what the kernel says about a medium. One that was pulled out
// answers with one of several errors, by file system and moment.
func asMedium(err error) error {
	gone := []error{syscall.EIO, syscall.ENODEV, syscall.ENXIO, syscall.ENOMEDIUM, syscall.ESHUTDOWN, syscall.EUCLEAN, syscall.ESTALE, syscall.ENOTCONN}
	named := []struct {
		with []error
		as   error
	}{
		{[]error{ErrSource}, nil},
		{gone, ErrRemoved},
		{[]error{syscall.EROFS}, ErrReadOnly},
		{[]error{syscall.ENOSPC, syscall.EDQUOT}, ErrFull},
		{[]error{syscall.EFBIG}, ErrTooLarge},
	}
	for _, n := range named {
		if slices.ContainsFunc(n.with, func(e error) bool { return errors.Is(err, e) }) {
			if n.as == nil {
				return err
			}
			return fmt.Errorf("%w: %w", n.as, err)
		}
	}
	return err
}
