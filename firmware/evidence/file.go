package evidence

import "os"

// segmentFile is what the spool does with a segment that it writes.
type segmentFile interface {
	Write(p []byte) (int, error) // whole pages from page-aligned memory
	Sync() error
	Close() error
}

// disk makes segments; tests put a failing one in its place.
type disk interface {
	create(path string, size int64) (segmentFile, error)
	link(from, to string) error
	remove(path string) error
}

func (systemDisk) link(from, to string) error { return os.Link(from, to) }
func (systemDisk) remove(path string) error   { return os.Remove(path) }
