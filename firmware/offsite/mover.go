package offsite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	scanEvery       = 5 * time.Minute // the vault is looked through, also when nobody says so
	checkpointEvery = 24 * time.Hour  // a checkpoint is copied without a bundle too
	firstPause      = 30 * time.Second
	longestPause    = 6 * time.Hour
	farAway         = 365 * 24 * time.Hour
)

// Config of a Mover. Rand, Now and Logger have defaults; Copied may be nil.
type Config struct {
	Dir        string // made when it is missing; a folder for each target
	Bundles    Bundles
	Checkpoint func() (size int64, signed []byte, err error) // the newest of the ledger
	Targets    []Named

	// Copied is called before the copy is recorded, so that the ledger knows
	// every copy; after a crash in between it is called again.
	Copied func(target, bundle string, c Copy)

	Rand   func() float64 // [0, 1), for the jitter
	Now    func() time.Time
	Logger *slog.Logger
}

// Named is a target with what the page calls it.
type Named struct {
	Name   string // [a-z0-9-], at most 32; names the folder of its records
	Kind   Kind
	Target Target
}

// Mover copies what the vault holds to every target, each at its own pace.
type Mover struct {
	workers []*worker
}

// New reads the records of what was copied.
func New(c Config) (*Mover, error) {
	if c.Bundles == nil || c.Checkpoint == nil {
		return nil, errors.New("off-box copies: no vault or no ledger")
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Mover{}
	for _, t := range c.Targets {
		if err := t.validate(m.workers); err != nil {
			return nil, err
		}
		b, err := openBook(filepath.Join(c.Dir, t.Name))
		if err != nil {
			return nil, fmt.Errorf("off-box copies to %s: %w", t.Name, err)
		}
		m.workers = append(m.workers, newWorker(c, t, b))
	}
	return m, nil
}

func (n Named) validate(others []*worker) error {
	if !plainName(n.Name) {
		return fmt.Errorf("off-box target %q: write lower-case letters, digits and hyphens, at most 32", n.Name)
	}
	if n.Target == nil {
		return fmt.Errorf("off-box target %s: nothing behind it", n.Name)
	}
	for _, w := range others {
		if w.Name == n.Name {
			return fmt.Errorf("off-box target %s is there twice", n.Name)
		}
	}
	return nil
}

func plainName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 32 && s[0] != '-'
}

// Run copies until ctx ends. What was on its way then is begun, or resumed, at
// the next start. A medium that hangs in the kernel holds up its own target and
// the end of Run, nothing else.
func (m *Mover) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, w := range m.workers {
		all.Go(func() { w.run(ctx) })
		if eye, ok := w.Target.(watcher); ok {
			all.Go(func() {
				if err := eye.Watch(ctx, w.retry); err != nil && ctx.Err() == nil {
					w.log.Error("new media are noticed late: the mounts cannot be watched", "error", err)
				}
			})
		}
	}
	all.Wait()
	return ctx.Err()
}

// Notice says that a bundle was sealed. It never waits.
func (m *Mover) Notice() {
	for _, w := range m.workers {
		w.notice()
	}
}

// Retry tries what failed at the target of that name at once, and says whether
// there is one. It never waits.
func (m *Mover) Retry(target string) bool {
	i := slices.IndexFunc(m.workers, func(w *worker) bool { return w.Name == target })
	if i < 0 {
		return false
	}
	m.workers[i].retry()
	return true
}

// pause is how long to wait after so many failures in a row: doubled each time,
// bounded, and spread over half of itself, so that the gateways of many offices
// do not come back to one server in the same second.
func pause(failures int, random float64) time.Duration {
	d := longestPause
	if failures <= 16 { // 2^16 first pauses are beyond the longest
		d = min(firstPause<<max(0, failures-1), longestPause)
	}
	return d/2 + time.Duration(random*float64(d/2))
}
