package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Block types of draft-ietf-opsawg-pcapng that we write ourselves.
const (
	kindSHB    = 0x0A0D0D0A
	kindIDB    = 1
	kindISB    = 5
	kindEPB    = 6
	kindCustom = 0x00000BAD

	epbHeader = 28       // bytes before the frame
	maxBlock  = 16 << 20 // no block of ours is longer
)

var errTorn = errors.New("not a whole pcapng block")

// walker goes through pcapng blocks as this package writes them: little-endian,
// times in nanoseconds. It is strict, because anything else is damage.
type walker struct {
	r          io.Reader
	buf        []byte
	start, end int
	offset     int64 // of the block that next returns
	size       int64
}

func newWalker(r io.Reader) *walker { return &walker{r: r, buf: make([]byte, 256<<10)} }

// reset goes on in r, which begins at offset.
func (w *walker) reset(r io.Reader, offset int64) {
	*w = walker{r: r, buf: w.buf, offset: offset}
}

// next returns a block, valid until the next call; io.EOF at a clean end, an
// error that wraps errTorn anywhere else. offset tells where.
func (w *walker) next() (kind uint32, block []byte, err error) {
	w.offset += w.size
	w.size = 0
	if err := w.need(12); err != nil {
		return 0, nil, err
	}
	head := w.buf[w.start:]
	kind = binary.LittleEndian.Uint32(head)
	size := int(binary.LittleEndian.Uint32(head[4:]))
	if size < 12 || size > maxBlock || size%4 != 0 {
		return 0, nil, fmt.Errorf("length %d at byte %d: %w", size, w.offset, errTorn)
	}
	if err := w.need(size); err != nil {
		if err == io.EOF {
			err = errTorn
		}
		return 0, nil, err
	}
	block = w.buf[w.start : w.start+size]
	if int(binary.LittleEndian.Uint32(block[size-4:])) != size {
		return 0, nil, fmt.Errorf("lengths differ at byte %d: %w", w.offset, errTorn)
	}
	w.start += size
	w.size = int64(size)
	return kind, block, nil
}

func (w *walker) need(n int) error {
	if w.end-w.start >= n {
		return nil
	}
	copy(w.buf, w.buf[w.start:w.end])
	w.end -= w.start
	w.start = 0
	if n > len(w.buf) {
		w.buf = append(w.buf[:w.end], make([]byte, n-w.end)...)
	}
	got, err := io.ReadAtLeast(w.r, w.buf[w.end:], n-w.end)
	w.end += got
	if err == nil {
		return nil
	}
	if err == io.EOF && w.end == 0 {
		return io.EOF
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("cut short at byte %d: %w", w.offset, errTorn)
	}
	return err
}

// packet reads the fixed part of an enhanced packet block.
func packet(block []byte) (iface uint32, ns int64, data []byte, err error) {
	le := binary.LittleEndian
	if len(block) < epbHeader+4 {
		return 0, 0, nil, errTorn
	}
	n := int64(le.Uint32(block[20:]))
	if n > int64(len(block)-epbHeader-4) {
		return 0, 0, nil, errTorn
	}
	ns = int64(uint64(le.Uint32(block[12:]))<<32 | uint64(le.Uint32(block[16:])))
	return le.Uint32(block[8:]), ns, block[epbHeader : epbHeader+int(n)], nil
}

// blockSlice goes through blocks in memory that this process has just made.
type blockSlice struct{ b []byte }

func newBlockSlice(b []byte) *blockSlice { return &blockSlice{b} }

func (s *blockSlice) next() (kind uint32, block []byte) {
	if len(s.b) < 12 {
		return 0, nil
	}
	size := int(binary.LittleEndian.Uint32(s.b[4:]))
	if size < 12 || size > len(s.b) {
		return 0, nil
	}
	block, s.b = s.b[:size], s.b[size:]
	return binary.LittleEndian.Uint32(block), block
}
