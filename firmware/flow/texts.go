package flow

import (
	"encoding/binary"
	"math/bits"
)

// texts remembers texts made from bytes, so that a name that comes again costs
// no memory: offices ask for the same few hundred all day. Every slot holds the
// last text that fell on it, so that invented names only cost the rest their
// saving. Whoever uses it makes all its texts alike.
type texts struct {
	slots [1024]keptText
}

type keptText struct{ raw, text string }

// slot is where the text of b stands when it is kept.
func (t *texts) slot(b []byte) *keptText { return &t.slots[spread(b)%uint64(len(t.slots))] }

func (k *keptText) holds(b []byte) bool { return k.raw == string(b) }

func (k *keptText) keep(b []byte, text string) {
	if k.raw, k.text = text, text; !k.holds(b) {
		k.raw = string(b)
	}
}

// spread hashes bytes, eight at a time.
func spread(b []byte) uint64 {
	const odd = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio
	h := uint64(len(b))
	for ; len(b) >= 8; b = b[8:] {
		h = (h ^ binary.LittleEndian.Uint64(b)) * odd
		h = bits.RotateLeft64(h, 29)
	}
	var tail uint64
	for _, c := range b {
		tail = tail<<8 | uint64(c)
	}
	h = (h ^ tail) * odd
	return h >> 40
}
