package offsite

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// worker copies to one target. Its goroutine is the only one that changes
// records; what the page reads is behind mu.
type worker struct {
	Named
	c    Config
	book book
	log  *slog.Logger

	wake chan struct{} // holds one: somebody wants a turn now

	mu       sync.Mutex
	rescan   bool // the vault is to be looked through
	again    bool // pauses are over
	scanned  time.Time
	loaded   bool
	records  map[string]*record // by key
	present  map[string]bool    // keys of what the vault holds
	place    string             // reachable now; empty: none, or not known
	state    State
	current  *Progress
	problem  *Problem // of the target as a whole
	failures int      // of the target as a whole, in a row
}

func newWorker(c Config, n Named, b book) *worker {
	return &worker{Named: n, c: c, book: b, log: c.Logger.With("component", "offsite", "target", n.Name),
		wake: make(chan struct{}, 1), rescan: true, records: map[string]*record{}, present: map[string]bool{}, state: Away}
}

func (w *worker) notice() {
	w.mu.Lock()
	w.rescan = true
	w.mu.Unlock()
	w.stir()
}

func (w *worker) retry() {
	w.mu.Lock()
	w.again = true
	w.mu.Unlock()
	w.stir()
}

func (w *worker) stir() {
	select {
	case w.wake <- struct{}{}:
	default: // a turn is coming anyway
	}
}

func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := w.turn(ctx)
		if wait <= 0 {
			continue
		}
		timer := time.NewTimer(min(wait, scanEvery))
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// turn makes one copy, if one is due, and says how long there is nothing to do.
func (w *worker) turn(ctx context.Context) time.Duration {
	now := w.c.Now()
	w.begin(now)
	w.scan(now)
	if w.problem != nil && w.problem.Next.After(now) {
		return w.problem.Next.Sub(now)
	}
	place, err := w.Target.Place(ctx)
	switch {
	case ctx.Err() != nil:
		return 0
	case errors.Is(err, ErrAway):
		w.set(func() { w.place, w.state, w.problem, w.failures = "", Away, nil, 0 })
		return farAway
	case err != nil:
		return w.failed(nil, err)
	}
	w.set(func() { w.place = place })
	r, next := w.due(now)
	if r == nil {
		w.set(func() { w.state, w.problem, w.failures = Idle, nil, 0 })
		return next
	}
	return w.move(ctx, r, place)
}

func (w *worker) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// begin reads the records once, and ends pauses when somebody asked for it.
func (w *worker) begin(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.loaded {
		all, err := w.book.load(now)
		if err != nil {
			w.log.Warn("records of copies cannot be read; the target is asked again", "error", err)
		}
		for _, r := range all {
			w.records[r.Key] = r
		}
		w.loaded = true
	}
	if w.again {
		w.again, w.problem, w.failures = false, nil, 0
		for _, r := range w.records {
			if r.Problem != nil {
				r.Problem.Next = now
			}
		}
	}
}

// scan learns what the vault holds. A bundle that is gone and was never copied
// is no longer waited for; one that was copied keeps its record.
func (w *worker) scan(now time.Time) {
	w.mu.Lock()
	wanted := w.rescan || now.Sub(w.scanned) >= scanEvery || now.Before(w.scanned)
	w.rescan = false
	w.mu.Unlock()
	if !wanted {
		return
	}
	ids, err := w.c.Bundles.List()
	if err != nil {
		w.log.Warn("bundles cannot be listed; what is known is copied", "error", err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.scanned = now
	clear(w.present)
	for _, id := range ids {
		key := bundlePrefix + id
		w.present[key] = true
		if w.records[key] == nil {
			w.records[key] = &record{Key: key}
		}
	}
	for key, r := range w.records {
		if key != checkpointKey && !w.present[key] && len(r.Copies) == 0 {
			w.log.Warn("a bundle was deleted before it was copied", "bundle", key)
			delete(w.records, key)
			if err := w.book.remove(r); err != nil {
				w.log.Warn("a record is left", "error", err)
			}
		}
	}
}

// due returns what is to be copied now: first what failed least, then by id,
// and the checkpoint when no bundle waits. With nothing due, it says when
// something will be.
func (w *worker) due(now time.Time) (*record, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := farAway
	var ready []*record
	for key, r := range w.records {
		switch {
		case !w.present[key] || !r.waits(w.place):
		case r.Problem != nil && r.Problem.Next.After(now):
			next = min(next, r.Problem.Next.Sub(now))
		default:
			ready = append(ready, r)
		}
	}
	if len(ready) > 0 {
		return slices.MinFunc(ready, func(a, b *record) int {
			return cmp.Or(cmp.Compare(a.Problem.tries(), b.Problem.tries()), cmp.Compare(a.Key, b.Key))
		}), 0
	}
	r, wait := w.checkpointDue(now)
	return r, min(next, wait)
}

// checkpointDue asks for a checkpoint after a bundle was copied to this place,
// which that checkpoint then covers, and once a day. Only the newest counts.
func (w *worker) checkpointDue(now time.Time) (*record, time.Duration) {
	r := w.records[checkpointKey]
	if r == nil {
		r = &record{Key: checkpointKey}
		w.records[checkpointKey] = r
	}
	if r.Problem != nil && r.Problem.Next.After(now) {
		return nil, r.Problem.Next.Sub(now)
	}
	last, there := r.at(w.place)
	wait := last.At.Add(checkpointEvery).Sub(now)
	if there && last.Covers == w.standing(w.place) && wait > 0 && wait <= checkpointEvery {
		return nil, wait
	}
	return r, 0
}

// standing counts the bundles at place. It counts, and compares no times: a
// clock that steps back must not make the checkpoint due for ever.
func (w *worker) standing(place string) int {
	n := 0
	for key, r := range w.records {
		if _, there := r.at(place); there && key != checkpointKey {
			n++
		}
	}
	return n
}

// move copies what r stands for and records the outcome.
func (w *worker) move(ctx context.Context, r *record, place string) time.Duration {
	w.set(func() { w.state, w.current = Copying, &Progress{Key: r.Key} })
	c, err := w.copy(ctx, r)
	w.set(func() { w.current = nil })
	switch {
	case ctx.Err() != nil:
		return 0
	case err != nil:
		if errors.Is(err, fs.ErrNotExist) {
			w.set(func() { w.rescan = true }) // deleted meanwhile
		}
		return w.failed(r, err)
	}
	c.Place, c.At = place, w.c.Now().UTC()
	if r.Key == checkpointKey {
		c.Covers = w.standing(place)
	}
	if id, isBundle := strings.CutPrefix(r.Key, bundlePrefix); isBundle && w.c.Copied != nil {
		w.c.Copied(w.Name, id, c)
	}
	w.set(func() { r.add(c); w.problem, w.failures = nil, 0 })
	w.log.Info("copied", "name", c.Name, "bytes", c.Size, "place", c.Place)
	w.save(r)
	return 0
}

// save keeps a record. When STATE does not take it, the copy still stands at its
// target and is found there after a restart.
func (w *worker) save(r *record) {
	if err := w.book.save(r); err != nil {
		w.log.Error("what was copied cannot be recorded", "error", err)
	}
}

// failed notes err, for r and, when it is not about r alone, for the target. It
// returns how long to leave both.
func (w *worker) failed(r *record, err error) time.Duration {
	w.mu.Lock()
	tries := 1
	if r != nil {
		tries = r.Problem.tries() + 1
	}
	own := r != nil && concernsOne(err)
	if !own {
		w.failures++
		tries = w.failures
	}
	now := w.c.Now().UTC()
	p := explain(err)
	p.At, p.Tries, p.Next = now, tries, now.Add(pause(tries, w.c.Rand()))
	if r != nil {
		r.Problem = &p
	}
	if !own {
		whole := p
		w.problem, w.state = &whole, Waiting
	}
	w.mu.Unlock()
	w.log.Warn("a copy was not made", "error", err, "tries", p.Tries, "next", p.Next)
	if r != nil {
		w.save(r)
	}
	if own {
		return 0
	}
	return p.Next.Sub(now)
}
