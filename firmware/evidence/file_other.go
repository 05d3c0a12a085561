//go:build !linux

package evidence

import "os"

type systemDisk struct{}

// create serves tests and tools only; the gateway runs on Linux.
func (systemDisk) create(path string, _ int64) (segmentFile, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}

func (systemDisk) room(string) (free, size int64) { return 0, 0 }
