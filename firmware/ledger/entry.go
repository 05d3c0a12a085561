package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Entry is one action, access or transition.
type Entry struct {
	Time    time.Time      `json:"time"`             // UTC, when it happened
	Actor   string         `json:"actor"`            // "gateway", "person:panel", "vendor:NAME" …
	Action  string         `json:"action"`           // "isolate", "bundle.seal", …
	Subject string         `json:"subject"`          // what it was done to
	Detail  map[string]any `json:"detail,omitempty"` // JSON values; sorted by key when written
}

// Line is the canonical form that is hashed: one JSON object with fields in the
// order of Entry and sorted detail keys, without HTML escapes, and a newline.
// It is an error when an entry without action is given, or one above 64 KiB.
//
// What JSON cannot hold as it is, bytes that are no UTF-8 and fields of structs
// that are not sorted, takes another form when it is read back. The line is that
// form already: an entry that ParseEntry refuses would spoil every extract.
func (e Entry) Line() ([]byte, error) {
	if e.Action == "" {
		return nil, errors.New("entry without an action")
	}
	line, err := e.encode()
	if err == nil {
		e, err = decode(line)
	}
	if err == nil {
		line, err = e.encode()
	}
	if err != nil {
		return nil, fmt.Errorf("encode entry: %w", err)
	}
	if len(line) > maxLine {
		return nil, fmt.Errorf("entry of %d bytes is longer than %d", len(line), maxLine)
	}
	return line, nil
}

func (e Entry) encode() ([]byte, error) {
	e.Time = e.Time.UTC()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(e)
	return b.Bytes(), err
}

func decode(line []byte) (e Entry, err error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	dec.UseNumber() // large integers come back as they were written
	err = dec.Decode(&e)
	return e, err
}

// ParseEntry reads a line as written by Entry.Line and refuses every other
// spelling of the same content.
func ParseEntry(line []byte) (Entry, error) {
	e, err := decode(line)
	if err != nil {
		return Entry{}, fmt.Errorf("parse ledger entry: %w", err)
	}
	again, err := e.encode()
	if err != nil {
		return Entry{}, fmt.Errorf("parse ledger entry: %w", err)
	}
	if e.Action == "" || len(line) > maxLine || !bytes.Equal(again, line) {
		return Entry{}, errors.New("parse ledger entry: not in canonical form")
	}
	return e, nil
}

type lineReader struct{ r *bufio.Reader }

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{bufio.NewReaderSize(r, maxLine)}
}

// next returns one line with its newline; it is valid until the next call.
func (l *lineReader) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if err == io.EOF {
		return nil, errors.New("the record is missing or cut short")
	}
	if err == bufio.ErrBufferFull {
		return nil, errors.New("the record is too long")
	}
	return line, err
}
