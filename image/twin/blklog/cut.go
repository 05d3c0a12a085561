package blklog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// Drive is how a disk treats its volatile cache.
type Drive struct {
	// Lies makes it answer a flush without doing it, as broken and cheap drives
	// do. It then has Holds writes in its cache at any time. An honest drive
	// has what came after the last flush there.
	Lies  bool
	Holds int
}

// settled is how many of the entries are on the medium, whatever happens.
func (d Drive) settled(entries []Entry) int {
	if d.Lies {
		return max(0, len(entries)-d.Holds)
	}
	for i := len(entries) - 1; i >= 0; i-- {
		if entries[i].Flags&Flush != 0 {
			return i + 1
		}
	}
	return 0
}

// Replay makes images of one drive, for cuts that come later and later.
type Replay struct {
	log   *Log
	drive Drive
	image []byte // with the first done entries
	done  int
}

// NewReplay starts with the disk as it was before the log, which it copies.
func NewReplay(l *Log, d Drive, before []byte) *Replay {
	return &Replay{log: l, drive: d, image: bytes.Clone(before)}
}

// Cut returns a new image that the disk may hold when the power goes after the
// first n entries: what is settled, and of the rest any subset, torn between
// any two sectors; with FUA always, on an honest drive. loose is how many
// writes were left to chance. n never gets smaller.
//
// The log does not tell when a request was done, only when it was made. So a
// write that was under way while the flush was asked for counts as flushed;
// Linux waits for the writes that it wants flushed, thus relies on none of them.
func (r *Replay) Cut(n int, random *rand.Rand) (image []byte, loose int, err error) {
	if n < r.done || n > len(r.log.Entries) {
		return nil, 0, fmt.Errorf("cut after %d of %d entries, %d are settled", n, len(r.log.Entries), r.done)
	}
	entries := r.log.Entries[:n]
	settled := max(r.done, r.drive.settled(entries))
	for ; r.done < settled; r.done++ {
		if err := r.apply(r.image, entries[r.done], nil); err != nil {
			return nil, 0, err
		}
	}
	image = bytes.Clone(r.image)
	for _, e := range entries[settled:] {
		var keep func() bool
		if e.Writes() && (e.Flags&FUA == 0 || r.drive.Lies) {
			keep = someSectors(random)
			loose++
		}
		if err := r.apply(image, e, keep); err != nil {
			return nil, 0, err
		}
	}
	return image, loose, nil
}

// apply writes the sectors of e that keep wants, all when it is nil.
func (r *Replay) apply(image []byte, e Entry, keep func() bool) error {
	if !e.Writes() {
		return nil
	}
	size := int64(r.log.SectorSize)
	if e.Sector+e.Sectors > int64(len(image))/size {
		return fmt.Errorf("sectors %d to %d are not on the disk: %w", e.Sector, e.Sector+e.Sectors, ErrFormat)
	}
	data, err := r.log.Data(e)
	if err != nil {
		return err
	}
	for i := range e.Sectors {
		if keep == nil || keep() {
			copy(image[(e.Sector+i)*size:], data[i*size:(i+1)*size])
		}
	}
	return nil
}

// someSectors is the fate of one write: lost, whole, or torn.
func someSectors(random *rand.Rand) func() bool {
	switch fate := random.IntN(10); {
	case fate < 4:
		return func() bool { return false }
	case fate < 7:
		return func() bool { return true }
	}
	return func() bool { return random.IntN(2) == 0 }
}
