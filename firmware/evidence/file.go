package evidence

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// segmentFile is what the spool does with a segment that it writes.
type segmentFile interface {
	Write(p []byte) (int, error) // whole pages from page-aligned memory
	Sync() error
	Close() error
}

// disk makes segments; tests put a failing one in its place.
type disk interface {
	create(path string, size int64) (segmentFile, error)
}

// writeFile publishes data at path in one step and syncs it.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there; only verification runs on it
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
