package offsite

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// fake is a target in memory: what the queue does is seen without waiting.
type fake struct {
	mu    sync.Mutex
	place string                  // empty: away
	fails func(name string) error // nil: nothing fails
	puts  []string                // names, in order
	times []time.Time
	media map[string]map[string][]byte // by place
}

func newFake(place string) *fake { return &fake{place: place, media: map[string]map[string][]byte{}} }

func (f *fake) insert(place string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.place = place
}

func (f *fake) failWith(fails func(name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = fails
}

func (f *fake) Place(context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.place == "" {
		return "", ErrAway
	}
	return f.place, nil
}

func (f *fake) Put(ctx context.Context, o Object) (Copy, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.puts, f.times = append(f.puts, o.Name), append(f.times, time.Now())
	if f.fails != nil {
		if err := f.fails(o.Name); err != nil {
			return Copy{}, err
		}
	}
	r, err := o.reader(ctx, 0)
	if err != nil {
		return Copy{}, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return Copy{}, err
	}
	if f.media[f.place] == nil {
		f.media[f.place] = map[string][]byte{}
	}
	if old, there := f.media[f.place][o.Name]; there && !bytes.Equal(old, data) {
		return Copy{}, fmt.Errorf("%s: %w", o.Name, ErrConflict)
	}
	f.media[f.place][o.Name] = data
	return Copy{Name: o.Name, Size: o.Size, SHA256: o.hex()}, nil
}

// taken returns the names that were put since the last call.
func (f *fake) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := f.puts
	f.puts = nil
	return names
}
