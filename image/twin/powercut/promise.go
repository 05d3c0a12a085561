// Package powercut writes to a disk through the appliance's real packages, and
// says of everything that they acknowledged: this is promised now. Its tests
// hold what a power cut leaves against the promises.
//
// powercut/init runs Work in the twin; the lane in lane_twin_test.go records the
// disk below it and cuts. It must never promise what a package has not
// acknowledged, nor sync anything itself: that would hide a sync which a package
// forgot.
package powercut

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Kind is what was promised.
type Kind string

// Kinds of promises, and what ID, From and To mean.
const (
	Key      Kind = "key"      // the device's key; ID is its public half
	Frames   Kind = "frames"   // the spool has the frames up to number To
	Pin      Kind = "pin"      // pin ID keeps the frames From to To
	Unpin    Kind = "unpin"    // no promise any more, from before the spool is told: of pin ID
	Entry    Kind = "entry"    // entry To of the ledger is of subject ID
	Bundle   Kind = "bundle"   // bundle ID is sealed, with To packets
	Incident Kind = "incident" // incident ID is saved, with To transitions
	Policy   Kind = "policy"   // the policy file is of version To, or newer
)

// Promise is one acknowledgement.
type Promise struct {
	N    int64  `json:"n"` // from 1, in the order in which they were given
	Kind Kind   `json:"kind"`
	ID   string `json:"id,omitempty"`
	From int64  `json:"from,omitempty"`
	To   int64  `json:"to,omitempty"`
}

// A disk of the lane: a file system, and behind it an area that takes one
// sector for each promise, in turn. Such a mark is written after the
// acknowledgement and is not flushed; its place in the log of the disk says
// from which point on the promise counts.
const (
	FilesystemBytes = 64 << 20
	MarkBytes       = 1 << 20
	MarkSize        = 512 // one sector
)

const markMagic = "SEKISHO PROMISE "

// encode makes the sector of p. The caller keeps IDs short.
func (p Promise) encode() ([]byte, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	sector := append([]byte(markMagic), text...)
	if len(sector) >= MarkSize {
		return nil, fmt.Errorf("promise of %d bytes does not fit a sector", len(sector))
	}
	return append(sector, make([]byte, MarkSize-len(sector))...), nil
}

// decodeMark reads a sector; false when it is no mark.
func decodeMark(sector []byte) (Promise, bool) {
	text, ok := bytes.CutPrefix(bytes.TrimRight(sector, "\x00"), []byte(markMagic))
	var p Promise
	if !ok || json.Unmarshal(text, &p) != nil || p.N < 1 {
		return Promise{}, false
	}
	return p, true
}

// Marks gives promises: it numbers them and writes each one's mark.
type Marks struct {
	Disk   io.WriterAt   // past every cache of the guest; it must not flush
	Buffer []byte        // MarkSize bytes, as Disk wants them aligned
	Say    func(Promise) // where a person can read it

	mu sync.Mutex
	n  int64
}

// Give is for several goroutines.
func (m *Marks) Give(p Promise) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n++
	p.N = m.n
	sector, err := p.encode()
	if err == nil {
		copy(m.Buffer, sector)
		_, err = m.Disk.WriteAt(m.Buffer[:MarkSize], FilesystemBytes+p.N*MarkSize%MarkBytes)
	}
	if err != nil {
		return fmt.Errorf("promise %s %s: %w", p.Kind, p.ID, err)
	}
	m.Say(p)
	return nil
}
