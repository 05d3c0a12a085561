package evidence

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
