package netcontain

import (
	"context"
	"sync"
	"time"
)

// turn lets a Set go first: it ends the look that is under way, and those that
// would begin before it.
type turn struct {
	mu      sync.Mutex
	waiting int                     // Sets
	stop    context.CancelCauseFunc // of the look under way, nil when there is none
}

// first is called before a Set waits for the Reconciler's lock, taken when it has
// it.
func (t *turn) first() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting++
	if t.stop != nil {
		t.stop(ErrGaveWay)
	}
}

func (t *turn) taken() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting--
}

// begin returns the context of a look, and what ends it.
func (t *turn) begin(ctx context.Context) (context.Context, func()) {
	ctx, stop := context.WithCancelCause(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop = stop
	if t.waiting > 0 {
		stop(ErrGaveWay)
	}
	return ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.stop = nil
		stop(nil)
	}
}

// sayAgain is how often the log is told of the same trouble: the reconciler looks
// twice a second, and what it cannot mend may last all night.
const sayAgain = time.Minute

// said is what the log was told last.
type said struct {
	text string
	at   time.Time
}

// news says that the log should be told.
func (s *said) news(text string) bool {
	if text == s.text && time.Since(s.at) < sayAgain {
		return false
	}
	s.text, s.at = text, time.Now()
	return true
}
