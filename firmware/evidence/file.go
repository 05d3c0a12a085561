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
	// room is what is free on the file system that dir lies on, and what there
	// is in all, bytes; 0 of 0 when that is not known.
	room(dir string) (free, size int64)
}

func (systemDisk) link(from, to string) error { return os.Link(from, to) }
func (systemDisk) remove(path string) error   { return os.Remove(path) }
