package capture

import (
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

const (
	// maxData bounds one frame and one block that has to be in memory at
	// once. Wireshark's bound is lower, the kernel's longest GSO packet 512 KiB.
	maxData = 16 << 20

	bufferOne  = 1 << 20   // read size of a single file
	bufferMany = 128 << 10 // the same for each of several merged ones
)

// Reader reads one capture file: pcap in all byte orders and resolutions,
// pcapng, and either of them gzipped. It never holds more than maxData bytes
// and one buffer, whatever the length fields say.
type Reader struct {
	name   string
	closer io.Closer
	win    window
	format format
	end    error // what Next returns from now on

	packets, bytes, drops atomic.Uint64
}

var _ Source = (*Reader)(nil)

// format is what differs between pcap and pcapng. next fills everything of f;
// its errors are io.EOF at a clean end, or made by damage.
type format interface {
	next(r *Reader, f *Frame) error
}

// OpenFile opens a capture file. The error wraps ErrNotCapture when the file
// is something else; a file damaged further on opens, and Next says where.
func OpenFile(path string) (*Reader, error) { return openSized(path, bufferOne) }

func openSized(path string, size int) (*Reader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open capture: %w", err)
	}
	r, err := newReader(path, file, size)
	if err != nil {
		file.Close()
		return nil, err
	}
	r.closer = file
	return r, nil
}

// OpenReader reads a capture from a stream; name is for messages. Close does
// not close rd.
func OpenReader(name string, rd io.Reader) (*Reader, error) {
	return newReader(name, rd, bufferOne)
}

func newReader(name string, rd io.Reader, size int) (*Reader, error) {
	r := &Reader{name: name, win: newWindow(rd, size)}
	head, err := r.win.peek(4)
	if len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b {
		packed := r.win
		zr, zerr := gzip.NewReader(&unread{&packed})
		if zerr != nil {
			return nil, fmt.Errorf("open capture %s: gzip: %w", name, zerr)
		}
		r.win = newWindow(zr, size)
		head, err = r.win.peek(4)
	}
	if err != nil && !errors.Is(err, io.EOF) && len(head) < 4 {
		return nil, fmt.Errorf("open capture %s: %w", name, err)
	}
	r.format = sniff(head)
	if r.format == nil {
		if len(head) < 4 {
			return nil, fmt.Errorf("open capture %s: %w: only %d bytes long", name, ErrNotCapture, len(head))
		}
		return nil, fmt.Errorf("open capture %s: %w: starts with % x", name, ErrNotCapture, head)
	}
	return r, nil
}

// unread gives a window's bytes back as a stream.
type unread struct{ w *window }

func (u *unread) Read(p []byte) (int, error) {
	b, err := u.w.peek(1)
	if len(b) == 0 {
		return 0, err
	}
	n := copy(p, u.w.buf[u.w.lo:u.w.hi])
	u.w.consume(n)
	return n, nil
}

func sniff(head []byte) format {
	if len(head) < 4 {
		return nil
	}
	if binary.LittleEndian.Uint32(head) == blockSHB {
		return &pcapng{}
	}
	for _, order := range []byteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(head) {
		case magicMicro:
			return &pcap{order: order, unit: 1000, head: 16}
		case magicNano:
			return &pcap{order: order, unit: 1, head: 16}
		case magicModified:
			return &pcap{order: order, unit: 1000, head: 24}
		}
	}
	return nil
}

// byteOrder is binary.ByteOrder without its String method.
type byteOrder interface {
	Uint16([]byte) uint16
	Uint32([]byte) uint32
	Uint64([]byte) uint64
}

// Next implements Source. After the end it returns the same error again.
func (r *Reader) Next(f *Frame) error {
	if r.end != nil {
		return r.end
	}
	if err := r.format.next(r, f); err != nil {
		r.end = err
		return err
	}
	r.packets.Store(r.packets.Load() + 1)
	r.bytes.Store(r.bytes.Load() + uint64(len(f.Data)))
	return nil
}

// Stats implements Source.
func (r *Reader) Stats() Stats {
	return Stats{Packets: r.packets.Load(), Bytes: r.bytes.Load(), Drops: r.drops.Load()}
}

// Close implements Source.
func (r *Reader) Close() error {
	if r.end == nil || !errors.Is(r.end, os.ErrClosed) {
		r.end = fmt.Errorf("read capture %s: %w", r.name, os.ErrClosed)
	}
	if r.closer == nil {
		return nil
	}
	c := r.closer
	r.closer = nil
	return c.Close()
}

// damage says what is wrong with the record that starts at the current place.
func (r *Reader) damage(format string, args ...any) error {
	return &DamageError{File: r.name, Offset: r.win.off, Reason: fmt.Sprintf(format, args...)}
}

// short turns a window's error within what into the error for Next.
func (r *Reader) short(what string, have []byte, want int, err error) error {
	if errors.Is(err, io.EOF) {
		return r.damage("%s is cut off: %d of %d bytes are there", what, len(have), want)
	}
	return &DamageError{File: r.name, Offset: r.win.off + int64(len(have)), Reason: what + ": " + err.Error(), Err: err}
}
