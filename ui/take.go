package ui

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A download that a browser resumes, or fetches in parts, is one take.
const (
	takeSpan = time.Hour // one entry for so long of one person and bundle
	maxTakes = 64        // kept at one time; who is forgotten is recorded again
)

type take struct{ bundle, by string }

// takes remembers which takes the ledger knows.
type takes struct {
	mu sync.Mutex // held while the ledger is told: nothing goes out before
	at map[take]time.Time
}

// once calls record for the first take of an hour.
func (t *takes) once(one take, now time.Time, record func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, known := t.at[one]; known && now.Sub(last) < takeSpan && !now.Before(last) {
		return nil
	}
	if err := record(); err != nil {
		return err
	}
	if len(t.at) >= maxTakes {
		delete(t.at, t.oldest())
	}
	t.at[one] = now
	return nil
}

func (t *takes) oldest() (first take) {
	for one, at := range t.at {
		if first == (take{}) || at.Before(t.at[first]) {
			first = one
		}
	}
	return first
}

// apiPackage hands out a bundle to a person who gives a name. A HEAD is recorded
// as a GET is: it tells size and hash.
func (s *site) apiPackage(w http.ResponseWriter, r *http.Request) {
	by := strings.TrimSpace(r.URL.Query().Get("by"))
	if !person(by) {
		s.fail(w, r, http.StatusUnprocessableEntity, "name")
		return
	}
	id := r.PathValue("id")
	f, p, err := s.cfg.Evidence.Open(r.Context(), id)
	if err != nil {
		s.answer(w, r, nil, err)
		return
	}
	defer f.Close()
	by = "web:" + by
	if err := s.takes.once(take{id, by}, s.cfg.Now(), func() error { return s.cfg.Evidence.Taken(r.Context(), id, by, p) }); err != nil {
		s.answer(w, r, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", p.Name))
	w.Header().Set("ETag", `"`+p.SHA256+`"`)
	http.ServeContent(w, r, p.Name, p.Sealed, f)
}
