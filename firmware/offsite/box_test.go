package offsite

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// box is a vault in memory. The bytes of a bundle follow from its id, so that
// another process has the same.
type box struct {
	mu      sync.Mutex
	bundles map[string][]byte
	entries int64 // of the ledger
	readers func(io.ReadSeekCloser) io.ReadSeekCloser
}

func newBox(sizes map[string]int) *box {
	b := &box{bundles: map[string][]byte{}, entries: 7}
	for id, size := range sizes {
		b.seal(id, size)
	}
	return b
}

func (b *box) seal(id string, size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bundles[id] = contents(id, size)
	b.entries++
}

func (b *box) remove(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.bundles, id)
}

func contents(seed string, size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(data)
	return data
}

func (b *box) List() ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.bundles)), nil
}

func (b *box) OpenPackage(id string) (io.ReadSeekCloser, Package, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.bundles[id]
	if !ok {
		return nil, Package{}, fs.ErrNotExist
	}
	sum := sha256.Sum256(data)
	var r io.ReadSeekCloser = nopCloser{bytes.NewReader(data)}
	if b.readers != nil {
		r = b.readers(r)
	}
	return r, Package{ID: id, Name: id + ".tar", Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}, nil
}

func (b *box) checkpoint() (int64, []byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entries, fmt.Appendf(nil, "sekisho-test\n%d\n", b.entries), nil
}

func objectOf(name string, data []byte) Object { return bytesObject(name, data) }

func mustMover(t *testing.T, c Config) *Mover {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// drain lets the only target of m work until nothing is due, without waiting
// for pauses; it fails the test when that needs too many turns.
func drain(t *testing.T, m *Mover) Status {
	t.Helper()
	for range 200 {
		if m.workers[0].turn(t.Context()) > 0 {
			return m.Status()[0]
		}
	}
	t.Fatal("the queue does not come to an end")
	return Status{}
}

// clock is a wall clock that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
