// Package blklog reads what QEMU's blklogwrites recorded of a disk, every write
// and flush in order, and makes from it what the disk may hold after a power
// cut.
//
// Tests of the twin call it. It is pure: no file is opened here. It must never
// trust the log's numbers, and never leave out a write that a flush covers.
package blklog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The format is that of Linux's dm-log-writes
// (Documentation/admin-guide/device-mapper/log-writes.rst): a header and
// entries, each with its data behind it, all in whole sectors, little-endian.
const (
	magic      = 0x6a736677736872
	version    = 1
	headerSize = 28 // magic, version, entries: 8 bytes each; bytes of a sector: 4
	entrySize  = 32 // sector, sectors, flags, length of a mark: 8 bytes each

	maxEntries = 1 << 20
	maxSector  = 64 << 10 // bytes
)

// Flags says what an entry is beside a write.
type Flags uint64

// Flags of an entry.
const (
	Flush   Flags = 1 << iota // what was written before is to last
	FUA                       // this write lasts by itself
	Discard                   // no data; what the sectors hold does not matter
	mark                      // a note in the log; QEMU makes none
	meta                      // a hint of the file system

	known = Flush | FUA | Discard | meta
)

// ErrFormat says that the log is not one, or breaks off.
var ErrFormat = errors.New("not a log of blklogwrites")

// Entry is one request, in the order in which the disk was given them.
type Entry struct {
	Sector  int64 // first sector
	Sectors int64 // 0 for a flush alone
	Flags   Flags
	data    int64 // offset in the log
}

// Writes says that the entry has data.
func (e Entry) Writes() bool { return e.Sectors > 0 && e.Flags&Discard == 0 }

// Log is a recording. Entries is not to be changed.
type Log struct {
	SectorSize int // bytes
	Entries    []Entry
	Size       int64 // bytes; what follows means nothing
	r          io.ReaderAt
}

// Open reads the entries of a log of size bytes, whose data it reads from r
// when asked. Errors that are not of r wrap ErrFormat.
func Open(r io.ReaderAt, size int64) (*Log, error) {
	le := binary.LittleEndian
	head := make([]byte, headerSize)
	if _, err := r.ReadAt(head, 0); err != nil {
		return nil, unreadable("header", err)
	}
	entries, sector := le.Uint64(head[16:]), le.Uint32(head[24:])
	switch {
	case le.Uint64(head) != magic || le.Uint64(head[8:]) != version:
		return nil, fmt.Errorf("header: %w", ErrFormat)
	case sector < 512 || sector > maxSector || sector&(sector-1) != 0:
		return nil, fmt.Errorf("sectors of %d bytes: %w", sector, ErrFormat)
	case entries > maxEntries:
		return nil, fmt.Errorf("%d entries, above %d: %w", entries, maxEntries, ErrFormat)
	}
	l := &Log{SectorSize: int(sector), r: r}
	at := int64(sector)
	for i := range entries {
		e, err := l.entry(at, size)
		if err != nil {
			return nil, unreadable(fmt.Sprintf("entry %d", i), err)
		}
		l.Entries = append(l.Entries, e)
		at = e.data
		if e.Writes() {
			at += e.Sectors * int64(sector)
		}
	}
	l.Size = at
	return l, nil
}

// entry reads the one at offset at.
func (l *Log) entry(at, size int64) (Entry, error) {
	le := binary.LittleEndian
	b := make([]byte, entrySize)
	if _, err := l.r.ReadAt(b, at); err != nil {
		return Entry{}, err
	}
	sector, sectors, flags := le.Uint64(b), le.Uint64(b[8:]), Flags(le.Uint64(b[16:]))
	limit := uint64(1<<62) / uint64(l.SectorSize) // no offset on the disk overflows
	if sector > limit || sectors > limit-sector || flags&^known != 0 {
		return Entry{}, ErrFormat
	}
	e := Entry{Sector: int64(sector), Sectors: int64(sectors), Flags: flags, data: at + int64(l.SectorSize)}
	if e.Writes() && e.Sectors > (size-e.data)/int64(l.SectorSize) {
		return Entry{}, io.ErrUnexpectedEOF
	}
	return e, nil
}

func unreadable(what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: it breaks off", ErrFormat)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Data returns what e wrote, nil when it wrote nothing.
func (l *Log) Data(e Entry) ([]byte, error) {
	if !e.Writes() {
		return nil, nil
	}
	b := make([]byte, e.Sectors*int64(l.SectorSize))
	if _, err := l.r.ReadAt(b, e.data); err != nil {
		return nil, unreadable("data of an entry", err)
	}
	return b, nil
}
