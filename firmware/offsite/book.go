package offsite

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sekisho/firmware/durable"
)

const (
	maxPlaces     = 16      // sticks remembered for each bundle; the oldest copy is forgotten first
	maxRecord     = 1 << 20 // bytes of a record's file
	recordSuffix  = ".json"
	bundlePrefix  = "bundle-"
	checkpointKey = "checkpoint"
)

// record is what is known about one bundle, or about the checkpoints, at one
// target: a small file of its own.
type record struct {
	Key     string   `json:"key"`              // bundle-ID, or checkpoint
	Copies  []Copy   `json:"copies,omitempty"` // the newest last, at most one a place
	Problem *Problem `json:"problem,omitempty"`
}

// at returns the copy at that place.
func (r *record) at(place string) (Copy, bool) {
	for _, c := range r.Copies {
		if c.Place == place {
			return c, true
		}
	}
	return Copy{}, false
}

// waits says whether a copy is still to be made: at this place, or, while none
// is reachable, anywhere.
func (r *record) waits(place string) bool {
	if place == "" {
		return len(r.Copies) == 0
	}
	_, there := r.at(place)
	return !there
}

func (r *record) add(c Copy) {
	r.Copies = slices.DeleteFunc(r.Copies, func(old Copy) bool { return old.Place == c.Place })
	r.Copies = append(r.Copies, c)
	r.Copies = r.Copies[max(0, len(r.Copies)-maxPlaces):]
	r.Problem = nil
}

// book is the records of one target on disk.
type book struct{ dir string }

func openBook(dir string) (book, error) { return book{dir}, os.MkdirAll(dir, 0o700) }

func (b book) save(r *record) error {
	data, err := json.Marshal(r)
	if err == nil {
		err = durable.WriteFile(filepath.Join(b.dir, r.Key+recordSuffix), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("record copies of %s: %w", r.Key, err)
	}
	return nil
}

func (b book) remove(r *record) error {
	err := os.Remove(filepath.Join(b.dir, r.Key+recordSuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget %s: %w", r.Key, err)
	}
	return nil
}

// load reads every record. One that cannot be read is left out and its error
// returned beside the others: its bundle is looked for at the target again.
func (b book) load(now time.Time) ([]*record, error) {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return nil, err
	}
	var all []*record
	var bad []error
	for _, e := range entries {
		key, isRecord := strings.CutSuffix(e.Name(), recordSuffix)
		if !isRecord {
			continue
		}
		r, err := b.read(key)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		// A clock that was wrong must not keep a bundle here for years.
		if r.Problem != nil && r.Problem.Next.After(now.Add(longestPause)) {
			r.Problem.Next = now
		}
		all = append(all, r)
	}
	return all, errors.Join(bad...)
}

func (b book) read(key string) (*record, error) {
	path := filepath.Join(b.dir, key+recordSuffix)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxRecord {
		return nil, fmt.Errorf("record %s: %d bytes", key, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("record %s: %w", key, err)
	}
	if r.Key != key {
		return nil, fmt.Errorf("record %s: is of %q", key, r.Key)
	}
	return r, nil
}
