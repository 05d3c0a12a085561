package evidence

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

type systemDisk struct{}

type linuxFile struct{ *os.File }

// create opens a segment past the page cache, so that a day of packets does not
// push out everything else, and takes its room at once. Neither is a must: not
// every file system knows O_DIRECT or fallocate.
func (systemDisk) create(path string, size int64) (segmentFile, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := os.OpenFile(path, flags|syscall.O_DIRECT, 0o644)
	if err != nil {
		_ = os.Remove(path) // an EINVAL for O_DIRECT may come after the file was made
		if f, err = os.OpenFile(path, flags, 0o644); err != nil {
			return nil, err
		}
	}
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size); err == unix.ENOSPC {
		_ = f.Close()
		_ = os.Remove(path)
		return nil, &os.PathError{Op: "fallocate", Path: path, Err: err}
	}
	return linuxFile{f}, nil
}

func (systemDisk) room(dir string) (free, size int64) {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return 0, 0
	}
	block := int64(fs.Bsize)
	return int64(fs.Bavail) * block, int64(fs.Blocks) * block
}

func (f linuxFile) Sync() error { return unix.Fdatasync(int(f.Fd())) }

// Close gives back the room beyond what was written.
func (f linuxFile) Close() error {
	if info, err := f.Stat(); err == nil {
		_ = f.Truncate(info.Size())
	}
	err := f.File.Sync()
	if closeErr := f.File.Close(); err == nil {
		err = closeErr
	}
	return err
}
