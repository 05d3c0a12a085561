package capture

import (
	"fmt"
	"io"
)

// Writer writes one pcapng section. Each call writes whole blocks with one
// Write of the underlying writer, so that a crash leaves at most one block
// torn. It is not safe for use by several goroutines.
type Writer struct {
	w      io.Writer
	buf    []byte
	ifaces uint32
	err    error
}

// NewWriter starts a section on w. Wrap w in a bufio.Writer when many small
// frames follow, and flush that: Writer keeps nothing back.
func NewWriter(w io.Writer, s Section) (*Writer, error) {
	pw := &Writer{w: w}
	return pw, pw.write(AppendSHB(nil, s))
}

// AddInterface describes the next interface and returns its number for
// WriteFrame. It may come between frames.
func (w *Writer) AddInterface(i Interface) (uint32, error) {
	if w.ifaces == maxInterface {
		return 0, fmt.Errorf("write capture: more than %d interfaces in a section", maxInterface)
	}
	if err := w.write(AppendIDB(w.buf[:0], i)); err != nil {
		return 0, err
	}
	w.ifaces++
	return w.ifaces - 1, nil
}

// WriteFrame writes f as seen on interface iface.
func (w *Writer) WriteFrame(f *Frame, iface uint32) error {
	if iface >= w.ifaces {
		return fmt.Errorf("write capture: frame of interface %d, only %d described", iface, w.ifaces)
	}
	return w.write(AppendEPB(w.buf[:0], f, iface))
}

// WriteCounters writes what was received and dropped on interface iface until
// at, nanoseconds since the Unix epoch.
func (w *Writer) WriteCounters(iface uint32, at int64, c Counters) error {
	if iface >= w.ifaces {
		return fmt.Errorf("write capture: counters of interface %d, only %d described", iface, w.ifaces)
	}
	return w.write(AppendISB(w.buf[:0], iface, at, c))
}

// WriteCustom writes a custom block of private enterprise number pen.
func (w *Writer) WriteCustom(pen uint32, data []byte) error {
	return w.write(AppendCustom(w.buf[:0], pen, data))
}

// write remembers the first failure: after a torn block everything that
// follows would be unreadable.
func (w *Writer) write(block []byte) error {
	w.buf = block
	if w.err != nil {
		return w.err
	}
	if _, err := w.w.Write(block); err != nil {
		w.err = fmt.Errorf("write capture: %w", err)
	}
	return w.err
}
