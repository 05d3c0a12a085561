package blklog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
)

const sector = 512

// entries of a test log; data is filled with fill.
type request struct {
	at, sectors int64
	flags       Flags
	fill        byte
}

// encode writes a log as QEMU does.
func encode(requests ...request) []byte {
	le := binary.LittleEndian
	b := make([]byte, sector)
	le.PutUint64(b, magic)
	le.PutUint64(b[8:], version)
	le.PutUint64(b[16:], uint64(len(requests)))
	le.PutUint32(b[24:], sector)
	for _, r := range requests {
		head := make([]byte, sector)
		le.PutUint64(head, uint64(r.at))
		le.PutUint64(head[8:], uint64(r.sectors))
		le.PutUint64(head[16:], uint64(r.flags))
		b = append(b, head...)
		if r.flags&Discard == 0 {
			b = append(b, bytes.Repeat([]byte{r.fill}, int(r.sectors)*sector)...)
		}
	}
	return b
}

func mustOpen(t *testing.T, raw []byte) *Log {
	t.Helper()
	l, err := Open(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestALogIsReadToItsLastEntry(t *testing.T) {
	raw := encode(request{3, 2, 0, 'a'}, request{0, 0, Flush, 0}, request{9, 4, Discard, 0}, request{1, 1, FUA, 'b'})
	l := mustOpen(t, append(raw, make([]byte, 5*sector)...)) // QEMU's file is longer
	if len(l.Entries) != 4 || l.Size != int64(len(raw)) {
		t.Fatalf("%d entries, %d bytes of %d", len(l.Entries), l.Size, len(raw))
	}
	if e := l.Entries[0]; e.Sector != 3 || e.Sectors != 2 || !e.Writes() {
		t.Errorf("first entry %+v", e)
	}
	if l.Entries[1].Writes() || l.Entries[2].Writes() {
		t.Error("a flush and a discard write nothing")
	}
	data, err := l.Data(l.Entries[3])
	if err != nil || !bytes.Equal(data, bytes.Repeat([]byte{'b'}, sector)) {
		t.Errorf("data behind a discard: %q, %v", data, err)
	}
}

func TestADamagedLogIsRefused(t *testing.T) {
	good := func() []byte { return encode(request{3, 2, 0, 'a'}, request{0, 0, Flush, 0}) }
	for name, damage := range map[string]func(b []byte) []byte{
		"empty":                 func([]byte) []byte { return nil },
		"other magic":           func(b []byte) []byte { b[0]++; return b },
		"other version":         func(b []byte) []byte { b[8] = 2; return b },
		"no sectors":            func(b []byte) []byte { copy(b[24:], make([]byte, 4)); return b },
		"odd sectors":           func(b []byte) []byte { b[24] = 1; return b },
		"a billion entries":     func(b []byte) []byte { b[19] = 64; return b },
		"more entries than are": func(b []byte) []byte { b[16]++; return b },
		"an unknown flag":       func(b []byte) []byte { b[sector+16] = byte(mark); return b },
		"data that is not all":  func(b []byte) []byte { return b[:3*sector-1] },
		"an endless write":      func(b []byte) []byte { b[sector+15] = 127; return b },
		"past any disk":         func(b []byte) []byte { b[sector+7] = 255; return b },
	} {
		raw := damage(good())
		if l, err := Open(bytes.NewReader(raw), int64(len(raw))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
}

// FuzzOpen also cuts the power on whatever could be read.
func FuzzOpen(f *testing.F) {
	f.Add(encode(request{3, 2, 0, 'a'}, request{0, 0, Flush, 0}, request{1, 1, FUA, 'b'}))
	f.Add(encode(request{9, 4, Discard, 0}, request{1 << 40, 1, 0, 'c'}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := Open(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		before := make([]byte, 16*sector)
		_, loose, err := NewReplay(l, Drive{}, before).Cut(len(l.Entries), rand.New(rand.NewPCG(1, 1)))
		if err == nil && loose > len(l.Entries) {
			t.Errorf("%d of %d writes", loose, len(l.Entries))
		}
	})
}
