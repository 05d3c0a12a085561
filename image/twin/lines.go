package twin

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// longestLine bounds what a line of QEMU or of the guest may take, bytes. The
// longest that we ask for is a page of the gateway.
const longestLine = 1 << 20

// errLong is a line beyond longestLine; the next line can be read all the same.
var errLong = errors.New("line too long")

// lineReader reads lines of bounded length from an untrusted side.
type lineReader struct{ r *bufio.Reader }

func newLineReader(c net.Conn) lineReader { return lineReader{bufio.NewReaderSize(c, 64<<10)} }

// next returns the next line without its end; errLong says that one was
// skipped.
func (l lineReader) next() ([]byte, error) {
	var line []byte
	for long := false; ; {
		part, err := l.r.ReadSlice('\n')
		if long = long || len(line)+len(part) > longestLine; !long {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			return nil, err
		case long:
			return nil, errLong
		default:
			return bytes.TrimRight(line, "\r\n"), nil
		}
	}
}

// socketPair returns our end of a connection, and the one for QEMU.
func socketPair(name string) (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("connect %s: %w", name, err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("connect %s: %w", name, err)
	}
	return conn, theirs, nil
}
