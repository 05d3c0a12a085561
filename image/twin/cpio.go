package twin

import (
	"fmt"
	"io"
)

// cpioWriter writes an archive as the kernel unpacks it: "newc", see
// Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
// Owner is root, times are zero: the same content gives the same bytes. After
// the first error it writes nothing more; close returns it.
type cpioWriter struct {
	w     io.Writer
	inode int
	at    int64
	err   error
}

const (
	modeFolder = 0o040755
	modeFile   = 0o100644
	modeRun    = 0o100755
	modeLink   = 0o120777 // its data is where it points
)

func (c *cpioWriter) add(name string, mode uint32, data []byte) {
	c.inode++
	links := 1
	if mode == modeFolder {
		links = 2
	}
	c.header(name, c.inode, mode, links, len(data))
	c.write(data)
	c.align()
}

// header is "070701" and thirteen numbers of eight hex digits: inode, mode,
// user, group, links, time, size, four of devices, name's length, checksum.
func (c *cpioWriter) header(name string, inode int, mode uint32, links, size int) {
	c.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, len(name)+1, 0, name))
	c.align()
}

func (c *cpioWriter) align() { c.write(make([]byte, -c.at&3)) }

func (c *cpioWriter) write(b []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(b)
		c.at += int64(len(b))
	}
}

func (c *cpioWriter) close() error {
	c.header("TRAILER!!!", 0, 0, 1, 0)
	return c.err
}
