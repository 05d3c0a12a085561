package capture

import "io"

// window is a reader's view of a stream: bytes [lo,hi) of buf are read and
// not yet consumed. It hands out slices of its buffer instead of copies, and
// grows only as far as bytes really arrive, so that a lying length field in a
// short file costs nothing.
type window struct {
	r      io.Reader
	buf    []byte
	lo, hi int
	off    int64 // stream offset of buf[lo]
	err    error // sticky, io.EOF at the end
}

func newWindow(r io.Reader, size int) window {
	return window{r: r, buf: make([]byte, size)}
}

// peek returns the next n bytes without consuming them, fewer only with an
// error. The slice is valid until the next peek or skip.
func (w *window) peek(n int) ([]byte, error) {
	if w.hi-w.lo >= n {
		return w.buf[w.lo : w.lo+n], nil
	}
	return w.fill(n)
}

func (w *window) fill(n int) ([]byte, error) {
	if w.lo > 0 {
		w.hi = copy(w.buf, w.buf[w.lo:w.hi])
		w.lo = 0
	}
	for empty := 0; w.hi < n && w.err == nil; {
		if w.hi == len(w.buf) {
			w.buf = append(w.buf, make([]byte, len(w.buf))...)
		}
		k, err := w.r.Read(w.buf[w.hi:])
		w.hi += k
		w.err = err
		if k > 0 {
			empty = 0
		} else if empty++; empty == 100 && err == nil {
			w.err = io.ErrNoProgress
		}
	}
	if w.hi < n {
		return w.buf[:w.hi], w.err
	}
	return w.buf[:n], nil
}

// consume drops n bytes that peek returned.
func (w *window) consume(n int) {
	w.lo += n
	w.off += int64(n)
}

// skip drops n bytes, read or not, and reports how many there were.
func (w *window) skip(n int64) (int64, error) {
	var done int64
	for done < n {
		have, err := w.peek(int(min(n-done, int64(len(w.buf)))))
		w.consume(len(have))
		done += int64(len(have))
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
